"""The keys that a DeepSpeed configuration may have.

Top-level keys are those of https://www.deepspeed.ai/docs/config-json/; ZeRO's are read from the
source of the installed DeepSpeed without importing it (importing takes seconds).
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path

TOP_LEVEL_KEYS = frozenset(
    """
    train_batch_size train_micro_batch_size_per_gpu gradient_accumulation_steps optimizer scheduler
    communication_data_type prescale_gradients gradient_predivide_factor sparse_gradients fp16 bf16
    bfloat16 amp gradient_clipping zero_optimization zero_allow_untested_optimizer
    zero_force_ds_cpu_optimizer graph_harvesting torch_autocast
    logging steps_per_print wall_clock_breakdown dump_state memory_breakdown autotuning
    flops_profiler activation_checkpointing sparse_attention data_efficiency curriculum_learning
    monitor_config tensorboard wandb csv_monitor comet comms_logger compression_training elasticity
    checkpoint data_types aio disable_allgather seed compile tensor_parallel inference
    pipeline hybrid_engine eigenvalue progressive_layer_drop quantize_training nebula
    use_data_before_expert_parallelism sequence_parallel_size timers
    """.split()
)


@functools.cache
def zero_fields() -> frozenset[str]:
    """Keys of `zero_optimization`, aliases included, in the installed DeepSpeed.

    Raises:
        ModuleNotFoundError: DeepSpeed is not installed.
    """
    package = importlib.util.find_spec("deepspeed")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("deepspeed is not installed: run make setup")
    path = Path(package.submodule_search_locations[0]) / "runtime" / "zero" / "config.py"
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name == "DeepSpeedZeroConfig":
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    found.add(item.target.id)
                    found.update(_aliases(item))
    return frozenset(found)


def _aliases(item: ast.AnnAssign) -> set[str]:
    call = item.value
    if not isinstance(call, ast.Call):
        return set()
    return {
        keyword.value.value
        for keyword in call.keywords
        if keyword.arg == "alias"
        and isinstance(keyword.value, ast.Constant)
        and isinstance(keyword.value.value, str)
    }
