"""The output layer and the loss, in bytes: losses.py and loss_head.py as arithmetic.

N supervised positions, M positions whose logits are computed, H hidden size, V vocabulary, C
positions of a chunk, w bytes of a weight.
"""

from __future__ import annotations

from dataclasses import dataclass

from det_files.memory.shape import Head

# losses._CHUNK_ELEMENTS, which stands beside torch; a test compares them.
CHUNK_ELEMENTS = {"cpu": 2**23, "cuda": 2**27}


@dataclass(frozen=True)
class Logits:
    """Bytes at the end of the forward pass, and at the beginning of the backward pass."""

    loss: float
    backward: float


def logits_of(head: Head, positions: int, supervised: int, width: int, device: str) -> Logits:
    """Bytes of the loss of `supervised` of `positions` positions; `width` is w."""
    if head.chunked:
        return _chunked(head, supervised, width, device)
    return _whole(head, positions if head.whole else supervised, supervised, width)


def chunk_rows(vocabulary: int, device: str) -> int:
    """C, as losses.chunk_rows has it."""
    rows = CHUNK_ELEMENTS[device] // vocabulary
    return max(1, rows // 32 * 32 or rows)


def _chunked(head: Head, supervised: int, width: int, device: str) -> Logits:
    table = head.vocabulary * head.hidden
    hidden = supervised * head.hidden * width
    chunk = min(supervised, chunk_rows(head.vocabulary, device)) * head.vocabulary
    # Logits in w bytes, then float32; logsumexp makes a second of them. Then the gradient, which
    # takes the logits' place, and its copy in w bytes.
    narrow = 0 if width == 4 else width
    copies = 4 if head.capped else 0
    normalised, differentiated = chunk * (4 + 4), chunk * (4 + copies + narrow)
    by_weight = 4 * table if head.trained else 0
    # One chunk's gradient by weights, before it is added (in float32 it is added at once), which a
    # CPU does by way of a copy in float32.
    product = table * narrow if head.trained else 0
    added = product + (4 * table if product and device == "cpu" else 0)
    loss = 2 * hidden + by_weight + max(normalised, differentiated + added)
    # Scaled by the gradient of the loss in float32, then rounded; the sums are there until then.
    backward = hidden + max(
        hidden + supervised * head.hidden * 4, by_weight * 2 + product if head.trained else 0
    )
    return Logits(loss, backward)


def _whole(head: Head, positions: int, supervised: int, width: int) -> Logits:
    computed = positions * head.vocabulary * width
    chosen = supervised * head.vocabulary
    # Chosen ones, scaled in float32, their log-softmax; then its gradients beside it.
    loss = max(computed + chosen * width, chosen * (width + 4 + 4))
    backward = chosen * 12 + head.hidden * supervised * width
    return Logits(loss, max(backward, chosen * 4 + computed + chosen * width))
