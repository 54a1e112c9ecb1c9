"""Fine-tunes a causal language model: an entrypoint of a trial (fine_tuning.py says what happens).

python -m determined.launch.deepspeed python -m det_files.run_clm
torchrun --nproc_per_node 2 -m det_files.run_clm --experiment experiments/smollm2_135m_ds2.yaml
"""

from det_files.faults import exit_on_config_error
from det_files.fine_tuning import fine_tune
from det_files.models import CAUSAL


def main() -> None:
    fine_tune(CAUSAL)


if __name__ == "__main__":
    exit_on_config_error(main)
