"""What memory a run needs, by arithmetic: `python -m det_files.memory EXPERIMENT.yaml`."""
