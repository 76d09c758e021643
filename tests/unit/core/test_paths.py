"""Names that are safe, and files that are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harness.core.errors import InputError, LabError, RatchetError
from harness.core.paths import Lab, check_name, disk_errors, read_json, write_atomic, write_json


@pytest.mark.parametrize("name", ["aac", "a", "0", "r-0123456789ab", "tiny_general", "v1.2-b", "a" * 64])
def test_good_names(name):
    assert check_name(name, "name") == name


@pytest.mark.parametrize(
    "name",
    ["", "A", "a/b", "..", "a..b", ".a", "-a", "_a", "a b", "a\n", "ä", "a" * 65, "a@prod", "a\x00", "a\\b", "~"],
)
def test_bad_names(name):
    with pytest.raises(InputError, match="is not a valid name"):
        check_name(name, "name")


def test_a_lab_touches_nothing_and_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RATCHET_ENGINES", raising=False)
    lab = Lab(Path("somewhere"))
    assert lab.root == tmp_path / "somewhere"
    assert lab.engines == tmp_path / "somewhere" / "engines"
    monkeypatch.setenv("RATCHET_ENGINES", "shared-engines")
    assert lab.engines == tmp_path / "shared-engines"
    assert list(tmp_path.iterdir()) == []


def test_write_atomic_replaces_whole_files_and_leaves_no_other(tmp_path: Path):
    path = tmp_path / "deep" / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_secret_is_never_readable_by_others(tmp_path: Path):
    write_atomic(tmp_path / "key", b"secret", mode=0o600)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "plan.json"
    write_json(path, {"old": True})
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "plan.record")
    with pytest.raises(LabError, match=r"the disk is full: .*plan\.json was not written\. free some space"):
        write_json(path, {"old": False}, point="plan.record")
    assert read_json(path) == {"old": True}
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]


def test_a_value_without_json_form_writes_nothing(tmp_path: Path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_lab_that_is_a_file_is_said(tmp_path: Path, place):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LabError, match="cannot be written"):
        write_json(tmp_path / place / "x.json", {})
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EIO])
def test_whatever_the_disk_refuses_names_the_file(number):
    with pytest.raises(LabError, match="/lab/x"), disk_errors(Path("/lab/x")):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1} more'])
def test_damaged_json_is_named(tmp_path: Path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(LabError, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")


def test_an_error_is_one_printable_line():
    """Column names and model answers end up in errors: no line breaks, terminal codes or reversed text from there."""
    error = RatchetError("row\n has \x1b[31mred\x1b[0m and \u202e\udc80", "fix  it.")
    assert error.one_line() == r"row has \x1b[31mred\x1b[0m and \u202e\udc80. fix it."
    assert str(error) == error.one_line()
