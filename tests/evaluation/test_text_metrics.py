"""Text scores: the libraries' own, per cent, over all rows."""

import pytest

from det_files.evaluation.text_metrics import text_scores


def test_equal_texts_score_a_hundred() -> None:
    texts = ["the red cat sees a small dog", "one two three four five"]
    scores = text_scores(texts, texts)
    assert scores.keys() == {"rouge1", "rouge2", "rougeL", "bleu", "exact_match"}
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


def test_white_space_at_the_ends_does_not_count() -> None:
    assert text_scores([" a b\n", "c"], ["a b", "d"])["exact_match"] == pytest.approx(50.0)
