"""What is traced on the meta device is what real tensors take."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from det_files.memory.tracing import trace_rows
from tiny import ARCHITECTURES


class Block(nn.Module):
    """One linear layer and one function: x → relu(x W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(hidden_states))


def test_a_layer_keeps_its_input_and_saves_what_its_functions_need() -> None:
    with torch.device("meta"):
        layers = nn.ModuleList([Block(8), Block(8)])
        rows = torch.empty(2, 4, 8)

    def run() -> torch.Tensor:
        hidden = rows + 1
        for layer in layers:
            hidden = layer(hidden)
        return hidden

    found = trace_rows(run, [layers], list(layers.parameters()), None, False, "cpu")
    layer = found.layers[0]
    # [2, 4, 8] of float32: the input is the output of the layer before it, relu keeps its result.
    assert (layer.kept, layer.saved) == (256, 256)
    assert found.outside == 256
    # The gradients of relu's input and by the weight, [8, 8].
    assert layer.backward >= 256


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt", "gpt_neox"])
def test_layers_save_what_real_ones_do(architecture: str) -> None:
    """Against the storages that autograd really keeps on a CPU, for the same layers and rows."""
    config = AutoConfig.for_model(architecture, **ARCHITECTURES[architecture])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()
    base = model.base_model
    ids = torch.zeros(3, 64, dtype=torch.long)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        base(input_ids=ids, use_cache=False)
    real = sum(storage.nbytes() for storage in kept.values())

    with torch.device("meta"):
        on_meta = AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()
    name = next(n for n, m in on_meta.base_model.named_modules() if isinstance(m, nn.ModuleList))
    layers = on_meta.base_model.get_submodule(name)
    inputs = ids.to("meta")
    found = trace_rows(
        lambda: on_meta.base_model(input_ids=inputs, use_cache=False)[0],
        [layers],
        list(on_meta.parameters()),
        None,
        padded=False,
        device="cpu",
    )
    assert 2 * found.layers[0].saved + found.outside == pytest.approx(real, rel=0.05)
