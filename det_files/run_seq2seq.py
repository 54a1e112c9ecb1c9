"""Fine-tunes an encoder-decoder model: an entrypoint of a trial, as run_clm.py.

python -m determined.launch.deepspeed python -m det_files.run_seq2seq
torchrun --nproc_per_node 2 -m det_files.run_seq2seq --experiment experiments/t5_base_ds1.yaml
"""

from det_files.faults import exit_on_config_error
from det_files.fine_tuning import fine_tune
from det_files.models import SEQ2SEQ


def main() -> None:
    fine_tune(SEQ2SEQ)


if __name__ == "__main__":
    exit_on_config_error(main)
