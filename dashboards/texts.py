"""What the raters' pages and the portal's own say, in the language of whoever reads.

Catalogues: `static/texts.LANGUAGE.json`, English the fallback.

Labels of Gradio's components are translated in the browser (`I18N`); what the server writes is in the language that the
browser asks for (Accept-Language), which browsers fill from the same setting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape

import fastapi
import gradio as gr

from dashboards.web import STATIC, plain
from harness.core.errors import RatchetError

LANGUAGES = ("en", "de")  # the first where a browser wants none of them
CATALOGUES: dict[str, dict[str, str]] = {
    language: json.loads((STATIC / f"texts.{language}.json").read_text(encoding="utf-8")) for language in LANGUAGES
}
I18N = gr.I18n(**CATALOGUES)
THOUSANDS = {"de": "."}  # between three digits; where there is none, a comma


class Texts:
    """The texts of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = CATALOGUES[language]

    def __contains__(self, key: str) -> bool:
        return key in self._texts

    def __call__(self, key: str, **values: object) -> str:
        """A text as HTML that shows values as they are, whatever they contain. KeyError for one that there is not."""
        return plain(self.raw(key, **values))

    def role(self, role: str) -> str:
        """Whose turn it is, as HTML; one that is not known by its own name."""
        return self(f"role_{role}") if f"role_{role}" in self else plain(role)

    def around(self, key: str, **parts: str) -> str:
        """A text as HTML, around parts that are HTML already. Not for Gradio, which would fill what is in braces."""
        return escape(self.raw(key)).format(**parts)

    def raw(self, key: str, **values: object) -> str:
        """A text as it is, not for HTML."""
        return self._texts[key].format(**values) if values else self._texts[key]

    def counted(self, key: str, count: int, **values: object) -> str:
        """A text about `count` things, not for HTML; about one, the text called KEY_one, where there is such a one."""
        one = f"{key}_one"
        return self.raw(one if count == 1 and one in self else key, count=self.number(count), **values)

    def number(self, count: int) -> str:
        return f"{count:,}".replace(",", THOUSANDS.get(self.language, ","))

    def error(self, error: RatchetError) -> str:
        """What went wrong, not for HTML. In the reader's language if people can do something about it here; what only
        engineers can is in the command line's own words."""
        return self.said(error.code, error.one_line(), error.about)

    def said(self, code: object, otherwise: str, about: Mapping[str, object] | None = None) -> str:
        """The text for an error's code, or `otherwise` where there is none."""
        key, values = f"error_{code}", dict(about or {})
        if key not in self:
            return otherwise
        count = values.pop("count", None)
        shown = {name: self.number(value) if isinstance(value, int) else value for name, value in values.items()}
        return self.counted(key, count, **shown) if isinstance(count, int) else self.raw(key, **shown)


def texts_for(request: gr.Request | fastapi.Request) -> Texts:
    """The texts in the language that the browser wants most, of those that there are."""
    return texts_of(request.headers)


def texts_of(headers: Mapping[str, str]) -> Texts:
    """`texts_for` where a request is only its headers; their names are in lower case, or found in any."""
    return Texts(language_of(headers.get("accept-language", "")))


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
