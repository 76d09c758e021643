"""Personal data and keys go, ordinary text stays; no text makes it slow beyond its length."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from serve.redact import passes_luhn, redact, redact_value

GONE = {
    "mail jane.doe@example.com.": "mail [email].",
    "a jane+x@example.co.uk, b": "a [email], b",
    "müller@münchen.de": "[email]",
    "jane＠example.com": "[email]",
    "jane [at] example [dot] com": "[email]",
    "jane (at) example.com": "[email]",
    "<a@b.io>;<c@d.io>": "<[email]>;<[email]>",
    "4111 1111 1111 1111": "[card]",
    "card:4111-1111-1111-1111!": "card:[card]!",
    "5555555555554444": "[card]",
    "4111.1111.1111.1111": "[card]",
    "4111\u00a01111\u00a01111\u00a01111": "[card]",
    "12 4111 1111 1111 1111": "12 [card]",
    "3782 822463 10005": "[card]",
    "4111 1111 1111 1111 5500 0000 0000 0004": "[card] [card]",
    "+49 170 1234567": "[phone]",
    "+1 (555) 123-4567": "[phone]",
    "+14155552671": "[phone]",
    "0049 170 1234567": "[phone]",
    "(555) 123-4567": "[phone]",
    "555-123-4567 or 555.123.4567": "[phone] or [phone]",
    "06 12 34 56 78": "[phone]",
    "020 7946 0958": "[phone]",
    "call me at 98765 43210": "call me at [phone]",
    "my phone number is 5551234567": "my phone number is [phone]",
    "use rk-q7Jm2Vb4fKx9aZtR1cYw8dNs5eLp3gHu6iOoTyUvXzA now": "use [key] now",
    "sk-proj-abc123def456ghi789": "[key]",
    "sk_live_abcdefgh12345678": "[key]",
    "AKIAIOSFODNN7EXAMPLE": "[key]",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789": "[key]",
    "Authorization: Bearer abcdefgh": "Authorization: Bearer [key]",
    '{"x-api-key": "abcdefgh12"}': '{"x-api-key": "[key]"}',
    "bearer abc123def456": "bearer [key]",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijkl": "[key]",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\nend": "[key]\nend",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl": "[key]",
    "see data:image/png;base64," + "A" * 100: "see [data]",
    "half \ud800 of one": "half ? of one",
}
STAYS = [
    "support@prod, aac@v1.2 and @someone",
    "order 4111 1111 1111 1112",  # Luhn's digit is wrong
    "3.141592653589793 and 0.4111111111111111",
    "0000000000000000",
    "2026-11-27, 27.11.2026, 01-02-2026, 01 02 2026 and 2026-11-27 10:00:00",
    "192.168.100.200 and v1.2.3.4",
    "1 000 000 of 10 000 000 units, order 12345678",
    "ISBN 978-3-16-148410-0",
    "the years 1990-1999 and 2000-2010, 2024 2025 2026",
    "123e4567-e89b-12d3-a456-426614174000",
    "9f86d081884c7d659a2feaa0c55ad015",
    "5+10 20 30 40 = 105; call 12 people",
    "the bearer of good news; a ring-bearer walked",
    "sk-learn-is-great-stuff, risk-1234567890123456, task-2024-11-12-reviewed-list",
    "secret: the cake is a lie",
    "look at me (at home) and [at] work",
]


@pytest.mark.parametrize("text", GONE)
def test_what_goes(text):
    assert redact(text) == GONE[text]


@pytest.mark.parametrize("text", STAYS)
def test_what_stays(text):
    assert redact(text) == text


def test_luhn():
    """ISO/IEC 7812-1's example 4992 73 9871 6: from the right 6 + 2(1) + 7 + 7(8→16) + 9 + 6(3) + 7 + 4(2) + 9 +
    9(9→18) + 4 = 70."""
    assert passes_luhn("49927398716")
    assert not passes_luhn("49927398717")


def test_values_are_redacted_inside_and_counted():
    found: Counter[str] = Counter()
    value = {"messages": [{"role": "user", "content": ["a@b.io", 1, None, True]}], "c@d.io": float("nan"), "t": 0.5}
    redacted = redact_value(value, found)
    assert redacted == {
        "messages": [{"role": "user", "content": ["[email]", 1, None, True]}], "[email]": None, "t": 0.5
    }  # fmt: skip
    assert found == {"email": 2}
    json.dumps(redacted, allow_nan=False)


def test_long_text_is_cut_at_lines_only_for_work():
    text = ("word " * 100 + "jane@example.com\n") * 200
    assert redact(text) == text.replace("jane@example.com", "[email]")


@pytest.mark.parametrize(
    "piece", ["a", "1", "1 ", "@a.", "sk-", "bearer ", "+1(", "a[at]", "eyJ", " ", "0 1 ", "call me at 1 "]
)
def test_repeats_do_not_multiply(piece, monkeypatch):
    """100,000 characters of what each pattern begins with: a pattern that tries all ways would not come back."""
    redact(piece * (100_000 // len(piece)))
