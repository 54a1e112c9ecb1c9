"""Activations: all that layers save, or their inputs and one layer at a time."""

from memory_runs import plain_shape

from det_files.memory.activations import Activations, activations_of

TRACE = plain_shape().plain


def test_without_checkpointing_every_layer_keeps_what_it_saves() -> None:
    assert activations_of(TRACE, 2, checkpointing=False) == Activations(
        kept=2 * (7 + 10 * 100), forward=2 * 5, backward=2 * 30
    )


def test_with_checkpointing_inputs_are_kept_and_one_layer_is_made_again() -> None:
    assert activations_of(TRACE, 2, checkpointing=True) == Activations(
        kept=2 * (7 + 10 * 10), forward=2 * (5 + 100), backward=2 * (100 + 30)
    )


def test_offloaded_activations_leave_a_layers_worth_on_the_device() -> None:
    found = activations_of(TRACE, 1, checkpointing=False, offloading=True)
    assert (found.kept, found.host) == (100, 1007)
