"""Bytes on the meta device live as long as real ones would."""

import torch

from det_files.memory.meta_mode import LiveBytes


def test_live_bytes_follow_storages_and_not_views() -> None:
    with LiveBytes() as counter:
        first = torch.empty(100, device="meta")
        view = first.view(10, 10)[2:]
        second = first + 1
        assert counter.live == 800
        del second
        assert (counter.live, counter.peak) == (400, 800)
        del first
        assert counter.live == 400  # the view holds it
        del view
        assert counter.live == 0
