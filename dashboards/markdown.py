"""Untrusted Markdown as HTML that is safe to put into a page: nothing in it runs, loads, links or looks like the page.

markdown-it (CommonMark, tables, strikethrough) with HTML off writes the tags; only those in `TAGS` can come out. Links
and images are text with their address beside it. Nothing of the text is swallowed: HTML, entities of no meaning and
link definitions stand there as they were written. `static/markdown.css` styles what is inside `class="md"`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.token import Token

from dashboards.web import no_templates, plain

# All that `as_html` can give; with class, start (of ol) and a text-align style (of cells) as the only attributes.
TAGS = frozenset(
    ("p", "br", "h4", "h5", "h6", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "hr", "table",
     "thead", "tbody", "tr", "th", "td", "span", "div")
)  # fmt: skip
LONGEST = 20_000  # characters; a longer text is shown as it is, since the worst inputs take time that grows faster
DEEPEST = 20  # levels of nesting; what lies deeper would be left out, so such a text is shown as it is
FIRST_HEADING = 4  # a heading in an answer stands below those of the page


def as_html(text: str, wrapped: bool = False) -> str:
    """`text` as HTML for gr.HTML: a `div class="md"`, or the plain text where it is too long or too deeply nested.

    A line ends where it does in `text`, as chats show it; not so in a file whose paragraphs are `wrapped`.
    """
    text = text.strip("\n")
    if len(text) > LONGEST:
        return as_written(text)
    parser = _WRAPPED if wrapped else _PARSER
    tokens = parser.parse(text)
    if any(token.level >= DEEPEST - 1 for token in tokens):
        return as_written(text)
    return f'<div class="md">{no_templates(parser.renderer.render(tokens, parser.options, {}))}</div>'


def as_written(text: str) -> str:
    """`text` as HTML that shows every character as it is, line by line."""
    return f'<div class="md written">{plain(text)}</div>'


def _parser(breaks: bool) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "xhtmlOut": False, "breaks": breaks, "maxNesting": DEEPEST})
    parser.enable(["table", "strikethrough"]).disable(["html_block", "html_inline", "reference", "autolink"])
    for kind, rule in _RULES.items():
        parser.add_render_rule(kind, rule)
    return parser


# Render rules get the renderer, the tokens of one line or of the document, and the place of the token.


def _heading(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    level = min(int(tokens[at].tag[1]) + FIRST_HEADING - 1, 6)
    return f"<h{level}>" if tokens[at].nesting == 1 else f"</h{level}>\n"


def _fence(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    return f"<pre><code>{escapeHtml(tokens[at].content)}</code></pre>\n"


def _link_open(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    return '<span class="link">'


def _link_close(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    opened = next(token for token in reversed(tokens[:at]) if token.type == "link_open")
    return f"</span>{_address(opened, 'href')}"


def _image(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    return f'<span class="link">!{escapeHtml(tokens[at].content)}</span>{_address(tokens[at], "src")}'


def _address(token: Token, attribute: str) -> str:
    to, title = token.attrs.get(attribute, ""), token.attrs.get("title")
    shown = f'{to} "{title}"' if title else str(to)
    return f' <span class="address">({escapeHtml(shown)})</span>'


_RULES = {
    "heading_open": _heading,
    "heading_close": _heading,
    "fence": _fence,
    "link_open": _link_open,
    "link_close": _link_close,
    "image": _image,
}
_PARSER, _WRAPPED = _parser(breaks=True), _parser(breaks=False)
