"""The loss's bytes: the chunk is losses.py's own, and numbers are worked out by hand."""

import pytest

from det_files import losses
from det_files.memory import logits
from det_files.memory.logits import Logits, logits_of
from det_files.memory.shape import Head


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("vocabulary", [384, 43_176, 250_880])
def test_chunks_are_those_of_the_loss(device: str, vocabulary: int) -> None:
    assert logits.chunk_rows(vocabulary, device) == losses.chunk_rows(vocabulary, device)


def test_a_frozen_head_holds_a_chunk_in_float32_twice() -> None:
    head = Head(1000, 8, chunked=True, whole=False, trained=False, tied=False)
    found = logits_of(head, positions=64, supervised=16, width=4, device="cpu")
    hidden = 16 * 8 * 4
    assert found == Logits(2 * hidden + 16 * 1000 * 8, 3 * hidden)


def test_a_trained_head_keeps_its_gradient_in_float32() -> None:
    head = Head(1000, 8, chunked=True, whole=False, trained=True, tied=False)
    found = logits_of(head, positions=64, supervised=16, width=4, device="cpu")
    assert found.loss == 2 * 16 * 8 * 4 + 1000 * 8 * 4 + 16 * 1000 * 8
    assert found.backward == 16 * 8 * 4 + 2 * 1000 * 8 * 4


def test_other_heads_hold_the_logits_of_supervised_positions_or_of_all() -> None:
    head = Head(1000, 8, chunked=False, whole=False, trained=False, tied=False)
    some = logits_of(head, positions=64, supervised=16, width=2, device="cuda")
    assert some.loss == 16 * 1000 * (2 + 4 + 4)
    whole = Head(1000, 8, chunked=False, whole=True, trained=False, tied=False)
    assert logits_of(whole, 640, 16, 2, "cuda").loss == 640 * 1000 * 2 + 16 * 1000 * 2
