"""Journals: what was acknowledged survives, what was torn is left out, nothing is counted twice."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter

from harness.core import journal as journals
from harness.core.errors import LabError
from harness.core.journal import Journal, read_all, read_records, read_segment, segments


def test_events_come_back_in_order(tmp_path: Path):
    with Journal(tmp_path, "items") as journal:
        for number in range(3):
            journal.append({"n": number, "text": "é\n\u2028"})
    assert [event["n"] for event in read_all(tmp_path, "items")] == [0, 1, 2]
    assert next(read_all(tmp_path, "items"))["text"] == "é\n\u2028"


def test_a_journal_without_events_makes_no_file(tmp_path: Path):
    with Journal(tmp_path / "votes", "votes"):
        pass
    assert not (tmp_path / "votes").exists()


def test_two_writers_have_segments_of_their_own(tmp_path: Path):
    with Journal(tmp_path, "items") as one, Journal(tmp_path, "items") as two:
        one.append({"by": 1})
        two.append({"by": 2})
        one.append({"by": 1})
    assert len(segments(tmp_path, "items")) == 2
    assert sorted(event["by"] for event in read_all(tmp_path, "items")) == [1, 1, 2]
    assert segments(tmp_path, "votes") == []


def test_reading_goes_on_behind_an_offset(tmp_path: Path):
    with Journal(tmp_path, "items") as journal:
        for number in range(3):
            journal.append({"n": number})
    (path,) = segments(tmp_path, "items")
    offsets = [offset for _, offset in read_segment(path)]
    assert offsets[-1] == path.stat().st_size
    assert [event["n"] for event, _ in read_segment(path, offsets[0])] == [1, 2]
    assert list(read_segment(path, offsets[-1])) == []


@pytest.mark.parametrize("torn", [b'{"n": 2', b'{"n": 2}', b"\xc3"])
def test_a_torn_last_line_is_left_out(tmp_path: Path, torn):
    with Journal(tmp_path, "items") as journal:
        journal.append({"n": 1})
    with journal.path.open("ab") as file:
        file.write(torn)
    assert [event["n"] for event in read_all(tmp_path, "items")] == [1]


@pytest.mark.parametrize("line", [b"{\n", b"[1]\n", b"\n", b"null\n", b"\xff\n", b"[" * 100_000 + b"\n"])
def test_a_damaged_whole_line_is_an_error(tmp_path: Path, line):
    with Journal(tmp_path, "items") as journal:
        journal.append({"n": 1})
    with journal.path.open("ab") as file:
        file.write(line)
    with pytest.raises(LabError, match="items-"):
        list(read_all(tmp_path, "items"))


class Numbered(BaseModel):
    n: int
    text: str = ""


NUMBERED = TypeAdapter(list[Numbered])


def test_records_are_the_events_however_few_are_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with Journal(tmp_path, "items") as journal:
        journal.append_all({"n": number, "text": "é\n\u2028}" * number} for number in range(9))
    with journal.path.open("ab") as file:
        file.write(b'{"n": 9')
    for size in (1, 100, 1_000_000):
        monkeypatch.setattr(journals, "READ_AT_ONCE", size)
        found = list(read_records(journal.path, NUMBERED, "a number"))
        assert [(one.model_dump(), end) for one, end in found] == list(read_segment(journal.path))
        assert [one.n for one, _ in read_records(journal.path, NUMBERED, "a number", found[6][1])] == [7, 8]
        marked = read_records(journal.path, NUMBERED, "a number", marker=b'"n": 3')
        assert [(one.n, end) for one, end in marked] == [(3, found[3][1])]


@pytest.mark.parametrize("lines", [
    b"{\n", b"[1]\n", b"\n", b"null\n", b"\xff\n", b'{"text": "x"}\n', b'{"n": "x"}\n', b'{"n": 1}, {"n": 2}\n',
    b'{"n": 1\n"text": ""}\n',
])  # fmt: skip
def test_a_line_that_is_no_record_is_an_error_each_time_and_those_before_it_are_not_lost(tmp_path: Path, lines):
    with Journal(tmp_path, "items") as journal:
        journal.append_all({"n": number} for number in range(3))
    end = journal.path.stat().st_size + lines.index(b"\n") + 1
    with journal.path.open("ab") as file:
        file.write(lines + b'{"n": 9}\n')
    for _ in range(2):
        found = []
        with pytest.raises(LabError, match=rf"(is damaged|holds something else than an? \w+) before byte {end}\b"):
            found.extend(one.n for one, _ in read_records(journal.path, NUMBERED, "a number"))
        assert found == [0, 1, 2]


def test_a_full_disk_adds_nothing_and_the_journal_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with Journal(tmp_path, "votes", point="vote.event") as journal:
        journal.append({"n": 1})
        monkeypatch.setenv("RATCHET_FULL_DISK_AT", "vote.event")
        with pytest.raises(LabError, match="the disk is full"):
            journal.append({"n": 2})
        monkeypatch.delenv("RATCHET_FULL_DISK_AT")
        journal.append({"n": 3})
    assert [event["n"] for event in read_all(tmp_path, "votes")] == [1, 3]


def test_a_value_without_json_form_adds_nothing(tmp_path: Path):
    with Journal(tmp_path, "items") as journal:
        with pytest.raises(ValueError, match="JSON"):
            journal.append({"score": float("nan")})
        journal.append({"n": 1})
    assert list(read_all(tmp_path, "items")) == [{"n": 1}]


def test_a_short_write_is_cut_back(tmp_path: Path):
    """A file size limit of 100 bytes makes the kernel write a part of the third line: 2 · 40 bytes fit, 3 do not."""
    script = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from harness.core.errors import LabError
        from harness.core.journal import Journal

        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        journal = Journal(Path(sys.argv[1]), "items")
        for number in range(3):
            try:
                journal.append({"n": number, "text": "x" * 20})
                print("kept", number)
            except LabError as error:
                print("refused", number)
    """)
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["kept 0", "kept 1", "refused 2"]
    (path,) = segments(tmp_path, "items")
    assert path.read_bytes() == b"".join(
        json.dumps({"n": number, "text": "x" * 20}).encode() + b"\n" for number in range(2)
    )


def test_an_acknowledged_event_survives_the_kill_of_its_writer(tmp_path: Path):
    script = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        from harness.core.journal import Journal

        journal = Journal(Path(sys.argv[1]), "votes", point="vote.event")
        journal.append({"n": 1})
        os.environ["RATCHET_KILL_AT"] = "vote.event"
        journal.append({"n": 2})
    """)
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert ended.returncode == -9
    assert list(read_all(tmp_path, "votes")) == [{"n": 1}]
