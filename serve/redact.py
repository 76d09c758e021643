"""Takes personal data and secrets out of text before it is written: e-mail, phone, card numbers, keys.

By form alone, so it errs both ways: names and addresses stay, and what only looks like a phone number goes. Patterns
have bounded repeats: no text makes them slow. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

# Of an address the part from '@' on is looked for first, then what stands before it: from the left, every position of
# a long text would be tried.
HOST = r"(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])"
SPELT_DOT = r"(?:\.|\s{0,3}[\[({]\s?dot\s?[\])}]\s{0,3})"
AT = re.compile(rf"[@＠﹫]{HOST}")
SPELT_AT = re.compile(
    rf"[\[({{]\s?at\s?[\])}}]\s{{0,3}}[\w-]{{1,63}}(?:{SPELT_DOT}[\w-]{{1,63}}){{1,4}}", re.IGNORECASE
)
LOCAL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}\s{0,3}\Z")
LOCAL_LENGTH = 64 + 3

# Keys by the prefixes that their makers chose, so that leaks are found. `(?<![\w-])`: not inside a word.
KEYS = re.compile(
    r"(?<![\w-])(?:"
    r"(?:rk|sk|pk)[-_](?=[\w-]{0,200}\d)[\w-]{12,200}"
    r"|(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}"
    r"|gh[opusr]_\w{20,255}|github_pat_\w{20,255}|glpat-[\w-]{16,64}"
    r"|xox[abeoprs]-[\w-]{10,200}|xapp-[\w-]{10,200}"
    r"|AIza[\w-]{35}|ya29\.[\w-]{20,400}"
    r"|hf_[A-Za-z0-9]{20,64}|npm_[A-Za-z0-9]{30,64}"
    r"|eyJ[\w-]{8,2000}\.eyJ[\w-]{8,4000}\.[\w-]{8,2000}"
    r")"
)
BEARER = re.compile(
    r"(?i)\b(?P<kept>authorization\s{0,4}[:=]\s{0,4}[\"']?(?:bearer|basic|token)\s{1,4}"
    r"|(?:x-api-key|api[_-]?key|password|passwd|secret)[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?=[\w.~+/=-]{8})"
    r"|bearer\s{1,4}(?=[a-z._~+/=-]{0,400}\d))"
    r"[\w.~+/=-]{8,4000}"
)
PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", re.DOTALL)

SEPARATOR = r"[ \u00a0\u202f.\-\u2010-\u2015]"
DIGITS = re.compile(rf"\d(?<![\w.,]\d)(?:{SEPARATOR}?\d){{11,60}}(?!\w)")
GROUPS = re.compile(r"\d+")
MAX_GROUPS = 5
ISSUERS = "23456"  # first digits of payment cards

PHONES = re.compile(
    r"(?<![\w.,/=-])(?:"
    r"(?:\+|00(?=[1-9]))[1-9]\d{0,2}(?:[\s./-]{0,2}\(?\d{1,5}\)?){2,6}"  # international
    r"|\(\d{2,5}\)[\s.-]{0,2}\d{3,4}(?:[\s.-]?\d{2,4}){1,3}"  # (555) 123-4567
    r"|(?:1[\s.-])?\d{3}([.-])\d{3}\1\d{4}"  # 555-123-4567
    r"|(?:1\s)?\d{3}\s\d{3}\s\d{4}"
    r"|0[1-9]\d{0,4}(?:[\s/-]{1,2}\d{2,8}){1,5}"  # 06 12 34 56 78, 030 1234567
    r")(?![\w%]|[.,:]\d)"
)
SAID_PHONE = re.compile(
    r"(?i)\b(?P<kept>(?:tele)?(?:phone|fon|fono)|tel|mobile|cell|handy|whatsapp|sms|fax|call (?:me|us)(?: (?:at|on))?)"
    r"(?P<gap>(?:\s(?:number|no\.?|is|nr\.?)){0,2}\W{1,4})\+?\d(?:[\s()./-]{0,2}\d){5,14}(?!\w)"
)
DATE = re.compile(r"(?:\d{1,2}([./-])\d{1,2}\1\d{2,4}|\d{1,2} \d{1,2} (?:19|20)\d\d)(?:\s.*)?")
PHONE_DIGITS = (8, 15)

# What a text must hold before a slow pattern is tried; case-folded for the second two.
KEY_SIGNS = (
    "rk-",
    "rk_",
    "sk-",
    "sk_",
    "pk-",
    "pk_",
    "IA",
    "CCA",
    "gh",
    "glpat",
    "xox",
    "xapp",
    "ya29",
    "hf_",
    "npm_",
    "eyJ",
)
BEARER_SIGNS = ("bearer", "authorization", "api", "passw", "secret")
PHONE_SIGNS = ("fon", "phon", "tel", "mobile", "cell", "handy", "whatsapp", "sms", "fax", "call ")
PIECE = 8_192  # characters; a pattern at work holds Python's lock, and the event loop waits for it

DATA_URL = re.compile(r"data:[\w.+/-]{1,80}(?:;[\w=-]{1,40}){0,4};base64,[A-Za-z0-9+/=]{64,}")

Replacement = Callable[[re.Match[str]], str]


def redact(text: str, found: Counter[str] | None = None) -> str:
    """`text` with '[email]', '[phone]', '[card]', '[key]' in place of what has that form; `found` counts them.

    Pictures and sounds inside the text become '[data]'. Half characters become '?', so that the result can be written.
    """
    counts: Counter[str] = Counter() if found is None else found
    text = text.encode("utf-8", "replace").decode()
    if "data:" in text:
        text = DATA_URL.sub(_mark("data", counts), text)
    if "-----BEGIN" in text:
        text = PEM.sub(_mark("key", counts), text)
    return "".join(_redact(piece, counts) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """Long text in parts of about PIECE characters that end with a line: no line is cut."""
    start = 0
    while len(text) - start > PIECE:
        end = text.find("\n", start + PIECE) + 1
        if not end:
            break
        yield text[start:end]
        start = end
    yield text[start:]


def _redact(text: str, counts: Counter[str]) -> str:
    folded = text.casefold()
    if any(sign in folded for sign in BEARER_SIGNS):
        text = BEARER.sub(_mark("key", counts), text)
    if any(sign in text for sign in KEY_SIGNS):
        text = KEYS.sub(_mark("key", counts), text)
    text = _addresses(_addresses(text, AT, counts), SPELT_AT, counts)
    text = DIGITS.sub(lambda match: _cards(match.group(), counts), text)
    if any(sign in folded for sign in PHONE_SIGNS):
        text = SAID_PHONE.sub(_mark("phone", counts), text)
    return PHONES.sub(lambda match: _phone(match.group(), counts), text)


def redact_value(value: Any, found: Counter[str]) -> Any:
    """`redact` of every text in a JSON value; what JSON has no form for (NaN) becomes None."""
    if isinstance(value, str):
        return redact(value, found)
    if isinstance(value, list):
        return [redact_value(one, found) for one in value]
    if isinstance(value, dict):
        return {redact(str(key), found): redact_value(one, found) for key, one in value.items()}
    if isinstance(value, float) and value - value != 0:
        return None
    return value


def _mark(kind: str, counts: Counter[str]) -> Replacement:
    def replaced(match: re.Match[str]) -> str:
        counts[kind] += 1
        groups = match.groupdict()
        return f"{groups.get('kept') or ''}{groups.get('gap') or ''}[{kind}]"

    return replaced


def _addresses(text: str, at: re.Pattern[str], counts: Counter[str]) -> str:
    parts, place = [], 0
    for match in at.finditer(text):
        start = max(place, match.start() - LOCAL_LENGTH)
        local = LOCAL.search(text[start : match.start()])
        if local:
            counts["email"] += 1
            parts += [text[place : start + local.start()], "[email]"]
            place = match.end()
    return "".join([*parts, text[place:]])


def _cards(run: str, counts: Counter[str]) -> str:
    """A run of digits and separators with the card numbers in it replaced: whole groups that pass Luhn's check."""
    groups = [match.span() for match in GROUPS.finditer(run)]
    if max(end - start for start, end in groups) < 3:
        return run
    result, place, first = "", 0, 0
    while first < len(groups):
        longest = min(first + MAX_GROUPS, len(groups))
        last = next((last for last in range(longest - 1, first - 1, -1) if _is_card(run, groups[first : last + 1])), -1)
        if last < 0:
            first += 1
            continue
        counts["card"] += 1
        result += run[place : groups[first][0]] + "[card]"
        place, first = groups[last][1], last + 1
    return result + run[place:]


def _is_card(run: str, groups: list[tuple[int, int]]) -> bool:
    sizes = [end - start for start, end in groups]
    if not 13 <= sum(sizes) <= 19 or (len(sizes) > 1 and min(sizes) < 3):
        return False  # 4 4 4 4, 4 6 5 and the like: nobody writes 1 2 1 …
    if run[: groups[0][0]].endswith("."):
        return False  # the end of a decimal
    number = "".join(run[start:end] for start, end in groups)
    return number[0] in ISSUERS and len(set(number)) > 1 and passes_luhn(number)


def passes_luhn(number: str) -> bool:
    """Luhn's check digit (ISO/IEC 7812-1 annex B): from the right, every second digit doubled, digits added, mod 10."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _phone(text: str, counts: Counter[str]) -> str:
    digits = sum(character.isdigit() for character in text)
    if not PHONE_DIGITS[0] <= digits <= PHONE_DIGITS[1] or DATE.fullmatch(text):
        return text
    counts["phone"] += 1
    return "[phone]"
