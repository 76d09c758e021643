"""What the raters' pages say, in the rater's language. Catalogues: `static/texts.LANGUAGE.json`, English the fallback.

Labels of Gradio's components are translated in the browser (`I18N`); what the server writes is in the language that the
browser asks for (Accept-Language), which browsers fill from the same setting.
"""

from __future__ import annotations

import json

import fastapi
import gradio as gr

from dashboards.web import STATIC, plain

LANGUAGES = ("en", "de")  # the first where a browser wants none of them
CATALOGUES: dict[str, dict[str, str]] = {
    language: json.loads((STATIC / f"texts.{language}.json").read_text(encoding="utf-8")) for language in LANGUAGES
}
I18N = gr.I18n(**CATALOGUES)


class Texts:
    """The texts of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = CATALOGUES[language]

    def __call__(self, key: str, **values: object) -> str:
        """A text as HTML that shows values as they are, whatever they contain. KeyError for one that there is not."""
        return plain(self.raw(key, **values))

    def role(self, role: str) -> str:
        """Whose turn it is, as HTML; one that is not known by its own name."""
        return self(f"role_{role}") if f"role_{role}" in self._texts else plain(role)

    def raw(self, key: str, **values: object) -> str:
        """A text as it is, not for HTML."""
        return self._texts[key].format(**values) if values else self._texts[key]


def texts_for(request: gr.Request | fastapi.Request) -> Texts:
    """The texts in the language that the browser wants most, of those that there are."""
    header = request.headers.get("accept-language", "")
    return Texts(language_of(header))


def language_of(accepted: str) -> str:
    """The best of LANGUAGES for an Accept-Language header; the first where none is wanted."""
    wanted = []
    for place, part in enumerate(accepted.split(",")[:20]):
        name, _, rest = part.strip().partition(";")
        weight = _weight(rest)
        language = name.strip().partition("-")[0].lower()
        if weight > 0 and language in LANGUAGES:
            wanted.append((-weight, place, language))
    return min(wanted)[2] if wanted else LANGUAGES[0]


def _weight(text: str) -> float:
    try:
        return float(text.strip().removeprefix("q=")) if text.strip() else 1.0
    except ValueError:
        return 0.0
