"""Hashes name content: not its path, its key order or its machine."""

from __future__ import annotations

import datetime
import hashlib
import math
from pathlib import Path

import pytest

from harness.core.fingerprint import canonical, file_sha256, folder_sha256, sha256_of, short_id
from harness.core.paths import check_name


def test_canonical_has_one_form():
    """Keys sorted, no spaces, text as it is: {"a":[1,2.0],"ä":null}."""
    assert canonical({"ä": None, "a": (1, 2.0)}) == '{"a":[1,2.0],"ä":null}'
    assert canonical({"b": 1, "a": 2}) == canonical({"a": 2, "b": 1})


@pytest.mark.parametrize("value", [{1, 2}, Path("x"), datetime.date(2026, 1, 1), b"x", {"a": 1, 2: 3}, {"x": object()}])
def test_what_json_has_no_form_for_is_refused(value):
    with pytest.raises(TypeError):
        canonical(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}])
def test_numbers_that_json_has_no_form_for_are_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        sha256_of(value)


def test_sha256_of_is_sha256_of_the_canonical_text():
    assert sha256_of([1, "a"]) == hashlib.sha256(b'[1,"a"]').hexdigest()


def test_values_that_look_alike_differ():
    assert len({sha256_of(value) for value in (1, 1.0, "1", [1], None, "", False, {})}) == 8


def test_short_id_is_safe_as_a_name():
    made = short_id("r", {"a": 1})
    assert made == f"r-{sha256_of({'a': 1})[:12]}"
    assert check_name(made, "run") == made


def test_folder_hash_covers_names_and_bytes_but_not_place(tmp_path: Path):
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "below").mkdir(parents=True)
        (folder / "a.txt").write_text("x")
        (folder / "b.bin").write_bytes(b"y")
        (folder / "below" / "ignored.txt").write_text(name)
    one, two = tmp_path / "one", tmp_path / "two"
    assert folder_sha256(one) == folder_sha256(two)
    assert folder_sha256(one, ("a.*",)) != folder_sha256(one)
    assert folder_sha256(one, ("*", "a.*")) == folder_sha256(one)  # a file named twice counts once
    (two / "b.bin").rename(two / "c.bin")
    assert folder_sha256(one) != folder_sha256(two)
    (two / "c.bin").rename(two / "b.bin")
    (two / "b.bin").write_bytes(b"z")
    assert folder_sha256(one) != folder_sha256(two)


def test_file_hash_is_of_its_bytes(tmp_path: Path):
    (tmp_path / "f").write_bytes(b"abc")
    # FIPS 180-2, the first example
    assert file_sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
