"""Text scores: the libraries' own, per cent, over all rows."""

from pathlib import Path

import numpy as np
import pytest

from det_files.evaluation.text_metrics import is_unspaced, text_scores, text_statistics


def test_equal_texts_score_a_hundred() -> None:
    texts = ["the red cat sees a small dog", "one two three four five"]
    scores = text_scores(texts, texts)
    assert scores.keys() == {"rouge1", "rouge2", "rougeL", "bleu", "chrf", "exact_match"}
    assert scores == pytest.approx(dict.fromkeys(scores, 100.0))


def test_scores_are_those_of_the_papers_examples() -> None:
    """ROUGE of Lin 2004, section 3.1: "police killed the gunman" and two candidates."""
    references = ["police killed the gunman"] * 2
    scores = text_scores(["police kill the gunman", "the gunman kill police"], references)
    # Stems are equal, so all four words of both are found; in order, 4 and 2 of 4.
    assert scores["rouge1"] == pytest.approx(100.0)
    assert scores["rougeL"] == pytest.approx((100 + 50) / 2)
    # Bigrams: 3 of 3 and 1 of 3.
    assert scores["rouge2"] == pytest.approx((100 + 100 / 3) / 2)
    assert scores["exact_match"] == 0.0


def test_bleu_is_of_the_corpus() -> None:
    import sacrebleu

    predictions = ["the cat sat on the mat today", "a dog"]
    references = ["the cat sat on a mat today", "a big dog ran"]
    expected = sacrebleu.corpus_bleu(predictions, [references]).score
    assert 0 < expected < 100
    assert text_scores(predictions, references)["bleu"] == pytest.approx(expected)


def test_chrf_is_of_the_corpus() -> None:
    import sacrebleu

    predictions = ["the cat sat on the mat today", "a dog", "良い元気"]
    references = ["the cat sat on a mat today", "a big dog ran", "良い天気"]
    expected = sacrebleu.corpus_chrf(predictions, [references]).score
    assert 0 < expected < 100
    assert text_scores(predictions, references)["chrf"] == pytest.approx(expected)


def test_statistics_of_rows_add_up_to_the_scores_of_any_rows() -> None:
    predictions = ["the cat sat on the mat today", "a dog", "", "the red cat", "one two three four"]
    references = ["the cat sat on a mat today", "a big dog ran", "x", "the red cat", "one two"]
    statistics = text_statistics(predictions, references)
    scores = text_scores(predictions, references)
    assert {name: found.value for name, found in statistics.items()} == pytest.approx(scores)
    drawn = [0, 0, 3, 1, 4]  # a resample
    again = text_scores([predictions[n] for n in drawn], [references[n] for n in drawn])
    sums = {name: found.rows[drawn].sum(axis=0) for name, found in statistics.items()}
    for name, found in statistics.items():
        assert float(found.score(sums[name])) == pytest.approx(again[name]), name
        several = found.score(np.stack([sums[name], found.rows.sum(axis=0)]))
        assert several == pytest.approx([again[name], scores[name]])
    assert statistics["exact_match"].share_of == 100


def test_white_space_at_the_ends_does_not_count() -> None:
    assert text_scores([" a b\n", "c"], ["a b", "d"])["exact_match"] == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("今日は良い天気ですね。", "明日は雨です。"),
        ("今天天气很好，我们去公园。", "明天下雨。"),
        ("วันนี้อากาศดี", "พรุ่งนี้ฝนตก"),
        ("сегодня хорошая погода была", "завтра будет дождь"),
        ("오늘은 날씨가 매우 좋네요", "내일은 비가 온다"),
    ],
)
def test_texts_of_any_script_are_scored(text: str, other: str) -> None:
    same = text_scores([text], [text])
    assert same == pytest.approx(dict.fromkeys(same, 100.0))
    assert text_scores([text[:-2]], [text])["rouge1"] > 50
    assert text_scores([other], [text])["rouge2"] < 60


def test_characters_are_counted_where_words_have_no_spaces() -> None:
    reference, answer = "良い天気", "良い元気"  # three of four characters, one of three pairs
    scores = text_scores([answer], [reference])
    assert scores["rouge1"] == pytest.approx(75.0)
    assert scores["rouge2"] == pytest.approx(100 / 3)
    assert is_unspaced(["今日は GPU で"])
    assert not is_unspaced(["the word 天気 is Japanese", ""])
    assert not is_unspaced([])


def test_in_english_rouge_is_the_librarys_own() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    reference, answer = "The dogs' running_time: 3.5 hours, running!", "dog ran 3.5 hour running"
    own = RougeScorer(["rouge1", "rougeL"], use_stemmer=True).score(reference, answer)
    scores = text_scores([answer], [reference])
    for name, score in own.items():
        assert scores[name] == pytest.approx(100 * score.fmeasure)


def test_nothing_is_written_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "metrics")
    monkeypatch.chdir(tmp_path)
    text_scores(["a b"], ["a c"])
    assert list(tmp_path.iterdir()) == []
