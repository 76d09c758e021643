"""Training data: every format by its columns, every bad line by its number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.errors import InputError
from harness.data import FORMATS, few_shot_turns, inspect, is_preference, load_rows, normalised, numbered_rows, turns_of

USER, BOT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
SFT = {"prompt": [USER], "completion": [BOT]}
GOOD = {
    "preference": ({"prompt": "q", "chosen": "a", "rejected": "b"}, None),
    "labelled": ({"prompt": "q", "completion": "a", "label": True}, SFT | {"label": True}),
    "prompt_completion": ({"prompt": "q", "completion": "a"}, SFT),
    "messages": ({"messages": [USER, BOT]}, SFT),
    "alpaca": ({"instruction": "q", "input": "", "output": "a"}, SFT),
    "instruction_response": ({"instruction": "q", "response": "a", "category": "x"}, SFT),
    "input_output": ({"input": "q", "output": "a"}, SFT),
    "marked_text": ({"text": "<human>: q\n<bot>: a"}, SFT),
}


def write(tmp_path: Path, *rows: object, name: str = "d.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_there_is_an_example_of_every_format():
    assert list(GOOD) == list(FORMATS)


@pytest.mark.parametrize("name", GOOD)
def test_formats_are_recognised_by_their_columns(tmp_path: Path, name):
    row, turns = GOOD[name]
    ref = inspect(write(tmp_path, row, "", row))
    assert (ref.format, ref.rows, is_preference(ref)) == (name, 2, name == "preference")
    expected = turns or {"prompt": [USER], "chosen": [BOT], "rejected": [{"role": "assistant", "content": "b"}]}
    assert load_rows(ref) == [expected, expected]


def test_alpaca_puts_the_context_behind_the_instruction(tmp_path: Path):
    ref = inspect(write(tmp_path, {"instruction": "Sum up:", "input": "long text", "output": "short"}))
    assert load_rows(ref)[0]["prompt"] == [{"role": "user", "content": "Sum up:\n\nlong text"}]


def test_turns_keep_their_order_and_drop_other_keys(tmp_path: Path):
    system = {"role": "system", "content": "be kind"}
    ref = inspect(write(tmp_path, {"messages": [system, {**USER, "name": "x"}, BOT, USER, BOT]}))
    assert load_rows(ref) == [{"prompt": [system, USER, BOT, USER], "completion": [BOT]}]


def test_csv_as_spreadsheets_write_it(tmp_path: Path):
    """A byte order mark in front, quoted commas and line breaks."""
    path = tmp_path / "d.csv"
    path.write_bytes('\ufeffinstruction,response\r\n"a, b","line 1\nline 2"\r\n'.encode())
    ref = inspect(path)
    assert (ref.format, ref.rows) == ("instruction_response", 1)
    assert load_rows(ref)[0]["completion"][0]["content"] == "line 1\nline 2"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{'prompt': 1}", "d.jsonl:2: not JSON (Expecting property name"),
        ('{"prompt": "q", "completion": "a"', "d.jsonl:2: not JSON"),
        ("[1]", "d.jsonl:2: a list instead of an object. one JSON object per line"),
        ('"text"', "d.jsonl:2: a str instead of an object"),
        ('{"prompt": "q", "completion": NaN}', "d.jsonl:2: holds something that is no text or number"),
        ('{"prompt": "q", "completion": "\\ud83d"}', "d.jsonl:2: holds something that is no text or number"),
        ("[" * 100_000, "d.jsonl:2: holds something that is no text or number"),
        ({"prompt": "q"}, "d.jsonl:2: column 'completion' is missing. every row needs prompt and completion"),
        ({"prompt": "q", "completion": None}, "d.jsonl:2: column 'completion' is missing"),
        ({"prompt": "q", "completion": "  "}, "d.jsonl:2: column 'completion' is empty. correct the line"),
        ({"prompt": "q", "completion": 3}, "d.jsonl:2: column 'completion' must be text or a list of turns"),
        ({"prompt": [], "completion": "a"}, "d.jsonl:2: column 'prompt' must be text or a list of turns"),
        ({"prompt": ["q"], "completion": "a"}, "d.jsonl:2: column 'prompt' has a turn that is not {role: system|"),
        ({"prompt": [{"role": "bot", "content": "q"}], "completion": "a"}, "d.jsonl:2: column 'prompt' has a turn"),
        ({"prompt": [{"role": "user", "content": None}], "completion": "a"}, "d.jsonl:2: column 'prompt' has a turn"),
        ({"prompt": [{"role": "user"}], "completion": "a"}, "d.jsonl:2: column 'prompt' has a turn that is not"),
    ],
)
def test_the_first_bad_line_is_named(tmp_path: Path, row, said):
    path = write(tmp_path, {"prompt": "q", "completion": "a"}, row)
    with pytest.raises(InputError) as caught:
        inspect(path)
    assert said in caught.value.one_line()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "q", "answer": "a"}, "columns answer, question are no known format. use prompt+chosen+rejected;"),
        ({}, "columns (none) are no known format"),
        ({"messages": [USER]}, "column 'messages' must end with an answer of the assistant"),
        ({"messages": [BOT]}, "column 'messages' must end with an answer"),
        ({"text": "plain text"}, "column 'text' has no <human>: … <bot>: … turns"),
        ({"text": "<human>: q"}, "column 'text' has no <human>: … <bot>: … turns"),
        ({"instruction": " ", "output": "a"}, "column 'instruction' is empty"),
    ],
)
def test_what_no_format_takes_is_said(tmp_path: Path, row, said):
    with pytest.raises(InputError) as caught:
        inspect(write(tmp_path, row))
    assert said in caught.value.one_line()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("prompt,completion\nq,a,b\n", "d.csv:2: not CSV (more values than columns)"),
        ("prompt,completion\nq\n", "d.csv:2: column 'completion' is missing"),
        ('prompt,completion\n"q,a\n', ": not CSV (unexpected end of data)"),
        ("prompt,completion\n", "d.csv has no rows"),
        ("a,b\n1,2\n", "d.csv:2: columns a, b are no known format"),
    ],
)
def test_bad_csv_is_named(tmp_path: Path, content, said):
    (tmp_path / "d.csv").write_text(content)
    with pytest.raises(InputError) as caught:
        inspect(tmp_path / "d.csv")
    assert said in caught.value.one_line()


def test_files_that_cannot_be_read(tmp_path: Path):
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "é"}\n'.encode("latin-1"))
    (tmp_path / "latin.csv").write_bytes("prompt,completion\né,a\n".encode("latin-1"))
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "empty.jsonl").touch()
    for name, said in [
        ("latin.jsonl", "is not UTF-8 text"),
        ("latin.csv", "is not UTF-8 text"),
        ("none.jsonl", "does not exist"),
        ("none.csv", "does not exist"),
        ("folder.jsonl", "does not exist"),
        ("empty.jsonl", "has no rows"),
        ("d.parquet", "unknown kind of file"),
    ]:
        with pytest.raises(InputError, match=said):
            inspect(tmp_path / name)


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path):
    with pytest.raises(
        InputError, match=r"format 'sharegpt' is unknown. use one of preference, labelled, prompt_completion"
    ):
        inspect(write(tmp_path, {"prompt": "q", "completion": "a"}), format="sharegpt")


def test_a_format_can_be_chosen_where_columns_fit_two(tmp_path: Path):
    path = write(tmp_path, {"instruction": "q", "input": "x", "output": "a"})
    assert inspect(path).format == "alpaca"
    assert load_rows(inspect(path, format="input_output"))[0]["prompt"][0]["content"] == "x"


def test_data_that_changed_after_planning_is_refused(tmp_path: Path):
    path = write(tmp_path, {"prompt": "q", "completion": "a"})
    ref = inspect(path)
    write(tmp_path, {"prompt": "q", "completion": "b"})
    with pytest.raises(InputError, match="changed since it was planned"):
        load_rows(ref)


def test_few_shot_takes_the_first_different_prompts(tmp_path: Path):
    rows = [{"prompt": p, "completion": p.strip().upper()} for p in ("one", "One ", "two", "three")]
    path = write(tmp_path, *rows)
    turns = few_shot_turns(path, 2)
    assert [turn["content"] for turn in turns] == ["one", "ONE", "two", "TWO"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2
    with pytest.raises(InputError, match=r"has only 3 different prompts for 4 examples. ask for fewer shots"):
        few_shot_turns(path, 4)


def test_few_shot_of_preferences_shows_the_chosen_answer(tmp_path: Path):
    turns = few_shot_turns(write(tmp_path, {"prompt": "q", "chosen": "good", "rejected": "bad"}), 1)
    assert turns[-1]["content"] == "good"


def test_prompts_are_the_same_whatever_case_and_spacing():
    assert normalised(turns_of("Say  IT:\nnow", "user")) == normalised(turns_of("say it: NOW", "user"))
    assert normalised(turns_of("say it", "user")) != normalised(turns_of("say it: NOW", "user"))


def test_rows_come_with_their_lines_and_all_their_columns(tmp_path: Path):
    ref = inspect(write(tmp_path, {"prompt": "a", "completion": "b", "cluster": "c"}))
    ((number, written, row),) = numbered_rows(ref)
    assert (number, written["cluster"], sorted(row)) == (1, "c", ["completion", "prompt"])
