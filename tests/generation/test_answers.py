"""What an answer holds of generated ids."""

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM

from det_files.generation.answers import end_ids, make_answer


def test_end_ids_are_the_tokenizers_and_the_models(tiny_model: Path, tokenizer: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.generation_config.eos_token_id = [9, 7]
    assert end_ids(model, tokenizer) == sorted({7, 9, tokenizer.eos_token_id})
    model.generation_config.eos_token_id = None
    assert end_ids(model, tokenizer) == [tokenizer.eos_token_id]


def test_an_answer_holds_its_end_token_and_its_text_does_not(tokenizer: Any) -> None:
    ids = tokenizer("the red cat")["input_ids"]
    answer = make_answer(tokenizer, [tokenizer.eos_token_id], [*ids, 3, 0, 0], 7, 2)
    assert (answer.number, answer.sequence, answer.text) == (7, 2, "the red cat")
    assert answer.token_ids == [*ids, 3]
    assert answer.num_generated_tokens == len(ids) + 1
    assert answer.finish_reason == "stop"


def test_an_answer_without_end_token_was_cut_off(tokenizer: Any) -> None:
    ids = tokenizer("the red cat")["input_ids"]
    answer = make_answer(tokenizer, [tokenizer.eos_token_id], ids, 0)
    assert (answer.token_ids, answer.finish_reason) == (ids, "length")
