"""Generation within evaluations: scored as the finished model's own answers would be."""

import json
from pathlib import Path

import pytest
import torch
from in_process import last_validation, run_here

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.languages import forced_language
from det_files.evaluation.questions import AskedRow, make_questions
from det_files.evaluation.text_metrics import text_scores
from det_files.generation.decoding import generate_answers
from det_files.generation.sampling import Sampling
from det_files.generation.searching import search_config
from det_files.models import SEQ2SEQ, ModelArguments, load_model
from tiny import make_echoes, make_mbart, make_model

LIMIT = 12
POSITIONS = 20


def make_own(directory: Path, name: str) -> Path:
    """A model whose own generation config would bend a search, and that has few positions."""
    if name.startswith("mbart"):
        make_mbart(directory, name)
    else:
        more = {} if name == "t5" else {"max_position_embeddings": POSITIONS}
        make_model(directory, name, **more)
    file = directory / "generation_config.json"
    own = {"no_repeat_ngram_size": 1, "min_length": 8, "length_penalty": 2.0, "num_beams": 3}
    file.write_text(json.dumps(json.loads(file.read_text()) | own))
    return directory


@pytest.mark.parametrize("name", ["t5", "bart", "mbart", "mbart50"])
def test_an_evaluation_scores_what_the_model_then_generates(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_own(tmp_path / "model", name)
    data = make_echoes(tmp_path / "data")
    languages = {"source_language": "en_XX", "target_language": "ja_XX"}
    languages = languages if name.startswith("mbart") else {}
    checkpoint = run_here(
        tmp_path / "trial",
        {
            "model_arguments": {"model_name_or_path": str(model), "dtype": "float32"},
            "data_arguments": {
                "sources": [{"path": str(data)}],
                "max_output_tokens": LIMIT,
                **languages,
            },
            "training_arguments": {
                "max_steps": 40,
                "per_device_train_batch_size": 8,
                "per_device_eval_batch_size": 3,
                "learning_rate": 1e-2,
                "use_cpu": True,
                "predict_with_generate": True,
                # More than BART has positions.
                "generation_max_length": 40 if name == "bart" else LIMIT,
            },
        },
        "det_files.run_seq2seq",
    )
    assert ("40 new tokens are more than the decoder's 20 positions" in caplog.text) == (
        name == "bart"
    )
    logged = last_validation(tmp_path / "trial")
    trained, tokenizer = load_model(ModelArguments(str(checkpoint), dtype="float32"), kind=SEQ2SEQ)
    # As `compare` asks, which knows the arguments and has a tokenizer that training never saw.
    source = SourceArguments(path=str(data))
    args = DataArguments(sources=[source], max_output_tokens=LIMIT, **languages)
    rows = [
        AskedRow(json.loads(line), "", args.settled_sources()[0])
        for line in (data / "val" / "rows.jsonl").read_text().splitlines()
    ]
    questions = make_questions(rows, args, tokenizer, separate=True)
    prompts = [question.prompt for question in questions]
    answers = generate_answers(
        trained, tokenizer, prompts, max_new_tokens=POSITIONS if name == "bart" else LIMIT
    )
    if languages:
        (language,) = forced_language(tokenizer).values()
        assert language == tokenizer.convert_tokens_to_ids("ja_XX")
    expected = text_scores(answers, [question.reference for question in questions])
    assert 0 < expected["rouge1"] < 100
    assert {name: logged[f"eval_{name}"] for name in expected} == pytest.approx(expected)


def test_beams_are_those_asked_for_and_the_rest_is_plain(tmp_path: Path) -> None:
    model, tokenizer = load_model(
        ModelArguments(str(make_own(tmp_path, "bart")), dtype="float32"), kind=SEQ2SEQ
    )
    greedy, beams = (
        search_config(model, tokenizer, Sampling(30, num_beams=count)) for count in (1, 4)
    )
    assert (greedy.num_beams, beams.num_beams) == (1, 4)
    assert greedy.max_new_tokens == beams.max_new_tokens == POSITIONS
    plain = (
        "do_sample",
        "min_new_tokens",
        "no_repeat_ngram_size",
        "length_penalty",
        "early_stopping",
    )
    for config in (greedy, beams):
        assert [getattr(config, name) for name in plain] == [False, 0, 0, 1.0, False]
    answer = model.generate(torch.tensor([[5, 6]]), generation_config=beams)
    assert answer.shape[1] <= POSITIONS + 1
