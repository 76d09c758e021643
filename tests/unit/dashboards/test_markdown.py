"""Untrusted Markdown: what comes out is on a short list of tags, and nothing of the text is lost."""

from __future__ import annotations

import random
from html.parser import HTMLParser

import pytest

from dashboards.markdown import DEEPEST, LONGEST, TAGS, as_html

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<iframe src=//evil.example></iframe>",
    "<style>*{display:none}</style>",
    "<!-- --><form action=//evil.example><input></form>",
    "<div style='position:fixed'>\n\n# x\n\n</div>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java&#x0A;script:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox(1))",
    "[x](https://evil.example/beacon 'on\"mouseover=alert(1)')",
    '[x](https://e.example/"onmouseover="alert(1))',
    "![x](https://evil.example/pixel.png)",
    "![x](javascript:alert(1))",
    "![<img src=x onerror=alert(1)>](x)",
    '![x](x "onerror=alert(1)")',
    "<https://evil.example>",
    "<javascript:alert(1)>",
    "[a]: https://evil.example 'title'\n\n[a]",
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\ncode\n```',
    "``` {onload=alert(1)}\ncode\n```",
    "`<script>alert(1)</script>`",
    "    <script>alert(1)</script>",
    "| <script>a</script> | b |\n|:-:|--|\n| <img src=x onerror=a> | `x` |",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;script&#62;",
    "${alert(1)} {{alert(1)}} {% x %} `${alert(1)}`",
    "\\<script\\>alert(1)",
    "<scr\x00ipt>alert(1)</scr\x00ipt>",
    "# <script>\n## <b onclick=x>",
    "* <details open ontoggle=alert(1)>",
    "1000000000) <b>\n\n999999999. x",
    "\u202e<script>\u2066",
]
ATTRIBUTES = {("ol", "start"), ("div", "class"), ("span", "class"), ("th", "style"), ("td", "style")}
VALUES = {"md", "md written", "link", "address", *(f"text-align:{side}" for side in ("left", "center", "right"))}


class Seen(HTMLParser):
    """Every tag and attribute of a piece of HTML, and its text as a reader sees it."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.others: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def check(text: str) -> Seen:
    markup = as_html(text)
    seen = Seen(markup)
    assert {tag for tag, _ in seen.tags} <= TAGS
    given = [(tag, name, value or "") for tag, attrs in seen.tags for name, value in attrs]
    assert {(tag, name) for tag, name, _ in given} <= ATTRIBUTES
    assert all(value in VALUES or (name == "start" and value.isdecimal()) for _, name, value in given)
    assert seen.others == []
    assert not set(markup) & set("{}$`\\@")  # Gradio's templates find nothing to fill
    return seen


@pytest.mark.parametrize("text", ATTACKS)
def test_an_attack_is_only_text(text: str) -> None:
    check(text)


def test_pieces_of_attacks_put_together_at_random_are_only_text() -> None:
    pieces = [part for text in ATTACKS for part in (text, text[: len(text) // 2], text[len(text) // 2 :])]
    pieces += ["\n", "\n\n", "> ", "- ", "| ", "**", "_", "`", "```\n", "[", "](", ")", "![", "<", ">", '"', "'", "&"]
    generator = random.Random(0)
    for _ in range(1500):
        check("".join(generator.choices(pieces, k=generator.randint(2, 12))))


def test_what_people_write_is_shown_as_they_mean_it() -> None:
    seen = check("# Top\n\nA **bold**, an _even_ and a ~~gone~~ word\nand.\n\n1. one\n2. two\n\n> said\n\n---\n\n`x`")
    tags = [tag for tag, _ in seen.tags]
    assert tags == ["div", "h4", "p", "strong", "em", "s", "br", "ol", "li", "li", "blockquote", "p", "hr", "p", "code"]
    table = check("| a | b |\n|--:|---|\n| 1 | 2 |")
    assert ("th", [("style", "text-align:right")]) in table.tags
    assert "".join(table.text.split()) == "ab12"


def test_lines_end_where_they_do_unless_the_text_is_wrapped() -> None:
    assert [as_html("a\nb", wrapped=wrapped).count("<br>") for wrapped in (False, True)] == [1, 0]


def test_links_and_images_load_nothing_and_keep_their_address() -> None:
    text = check("See [this](https://example.org 'why') and ![a cat](cat.png)").text
    assert text.strip() == 'See this (https://example.org "why") and !a cat (cat.png)'


@pytest.mark.parametrize("text", ["<b>bold</b> &nope; <3", "[a]: b", "<https://example.org>", "a\\b", "{x} ${y} {{z}}"])
def test_nothing_is_swallowed(text: str) -> None:
    assert check(text).text.strip() == text


@pytest.mark.parametrize("text", ["*a " * LONGEST, ">" * 500 + " deep", "- " * (DEEPEST + 5) + "deep"])
def test_what_is_too_long_or_too_deep_is_shown_as_it_is(text: str) -> None:
    seen = check(text)
    assert [tag for tag, _ in seen.tags] == ["div"]
    assert seen.text == text
