"""Questions in Japanese and English, for models that are to know both, such as Swallow."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from det_files.faults import ConfigError, Fault, did_you_mean
from det_files.showing.answers import show_answers
from det_files.showing.asking import ask_both, plain_questions
from det_files.showing.fragment import Fragment
from det_files.trained.pair import Pair

QUESTIONS = {
    "Japanese": (
        "日本で一番高い山は何ですか。",
        "「猫に小判」ということわざの意味を一文で説明してください。",
        "次の文を英語に訳してください。「明日は雨が降るので、傘を持っていきます。」",
    ),
    "English": (
        "What is the highest mountain in Japan?",
        "Explain the proverb 'a stitch in time saves nine' in one sentence.",
        "Translate into Japanese: 'It will rain tomorrow, so I will take an umbrella.'",
    ),
}


def show_languages(pair: Pair, languages: Sequence[str] | None = None) -> Fragment:
    """Both models' answers to the questions of each language; a remark where none is wanted.

    Raises:
        ConfigError: see `languages_to_show`.
    """
    wanted = languages_to_show(pair.checkpoint.model.source, languages)
    if not wanted:
        return Fragment('<p class="note">Left out: the model is none of Swallow\'s.</p>')
    shown = Fragment("")
    for language in wanted:
        answered = ask_both(pair, plain_questions(pair, QUESTIONS[language]))
        shown += Fragment(f"<h3>{escape(language)}</h3>") + show_answers(answered)
    return shown


def languages_to_show(model_name: str, asked: Sequence[str] | None) -> list[str]:
    """The languages that have a section: those asked for, or where none are said, Swallow's two.

    Raises:
        ConfigError: there are no questions in a language that is asked for, or it is no list.
    """
    if asked is None:
        return list(QUESTIONS) if "swallow" in model_name.lower() else []
    if isinstance(asked, str):
        raise ConfigError(Fault("languages", f"expected a list, as in [{asked}]"))
    if strange := [name for name in asked if name not in QUESTIONS]:
        near = did_you_mean(strange[0], QUESTIONS) or f"; there are in {', '.join(QUESTIONS)}"
        reason = f"there are no questions in {strange[0]!r}{near}"
        raise ConfigError(Fault("languages", reason))
    return list(asked)
