"""The raters' languages: every text is there in each, with the same values in it, and the browser's wish is heard."""

from __future__ import annotations

from string import Formatter

import pytest

from dashboards import rate, screen
from dashboards.screen import Note
from dashboards.texts import CATALOGUES, LANGUAGES, Texts, language_of


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_every_text_with_the_same_values(language: str) -> None:
    def fields(text: str) -> set[str | None]:
        return {name for _, name, _, _ in Formatter().parse(text) if name is not None}

    english, other = CATALOGUES[LANGUAGES[0]], CATALOGUES[language]
    assert list(other) == list(english)
    assert {key: fields(text) for key, text in other.items()} == {key: fields(text) for key, text in english.items()}
    assert all(text.strip() for text in other.values())


def test_every_note_has_a_text() -> None:
    notes = [one for place in (screen, rate) for one in vars(place).values() if isinstance(one, Note)]
    assert {f"note_{note.key}" for note in notes} == {key for key in CATALOGUES["en"] if key.startswith("note_")}


def test_a_value_in_a_text_is_only_text() -> None:
    shown = Texts("en")("thanks", rater="<b>${x}")
    assert shown == "Thank you, &lt;b&gt;&#36;&#123;x&#125;"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("", "en"), ("de", "de"), ("de-CH, en;q=0.5", "de"), ("fr, en;q=0.3, de;q=0.7", "de"), ("fr;q=1", "en"),
     ("en-GB,de;q=0.9", "en"), ("de;q=x, de;q=0", "en"), (",;q=,*", "en"), ("DE-at", "de")],
)  # fmt: skip
def test_the_browser_says_which_language(accepted: str, language: str) -> None:
    assert language_of(accepted) == language
