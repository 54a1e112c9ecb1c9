"""One experiment file on one machine, with the cluster's semantics: `python -m det_files.local`.

__main__.py       what happens, in order
arguments.py      the command line
run_directory.py  runs/<name>/<number>/: allocating, locking, checkpoints
summary.py        summary.json: what a run was and what became of it
metrics.py        rows of metrics.jsonl; final and best values
runner.py         starting, stopping, restarting; the state of a trial
process_group.py  one torchrun a trial: its command, environment, ports
keeper.py         the process that lets no rank outlive the run, and writes log.txt
rank_logs.py      the ranks' output as whole lines with a prefix
process_tree.py   finding and killing what a process started, wherever it moved
progress.py       the one progress line; what the terminal shows
operator_builds.py  DeepSpeed's operators, built while a trial starts
failure.py        what a failed trial's log says
report.py         report.html
pictures.py       the report's pictures
"""
