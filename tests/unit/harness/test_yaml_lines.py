"""YAML as people write it: every problem names file and line; nothing is lost or read as something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import InputError
from harness.yaml_lines import Lines, read_yaml


def read(tmp_path: Path, text: str | bytes) -> tuple[dict, Lines]:
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


def test_lines_of_keys_however_deep(tmp_path: Path):
    _, lines = read(tmp_path, "a: 1\n\nb:\n  c: {d: 2}\n  e:\n    - x\n    - f: 3\ndotted.key: [1]\n")

    def line(*keys: str) -> str:
        return lines.at(*keys).removeprefix(f"{tmp_path}/x.yaml:")

    assert [line("a"), line("b"), line("b", "c", "d"), line("b", "e", "1", "f")] == ["1", "3", "4", "7"]
    assert line("dotted.key") == "8"
    assert line("b", "missing", "key") == "3", "the deepest key that is there"
    assert line("b", "e", "9") == "5"
    assert line() == line("missing") == "1"


def test_numbers_as_people_mean_them(tmp_path: Path):
    """YAML 1.1 takes 2e-4 (no dot) for text; 2.0e-4, 1e5 and -1.5E+3 are what they look like."""
    value, _ = read(tmp_path, "a: [2e-4, 2.0e-4, 1e5, -1.5E+3, 007, '2e-4', 2e, e4, 1e-4x]")
    assert value["a"] == [2e-4, 2e-4, 1e5, -1500.0, 7, "2e-4", "2e", "e4", "1e-4x"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3: key 'a' stands twice"),
        ("a:\n  - {b: 1, b: 2}\n", ":2: key 'b' stands twice"),
        ("a: [1\n", ":2: not valid YAML"),
        ("a: b: c\n", ":1: not valid YAML"),
        ("a: 1\n\tb: 2\n", ":2: not valid YAML"),
        ("a: 1\n---\nb: 2\n", ":2: not valid YAML"),
        ("a: *nowhere\n", ":1: not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", ":1: not valid YAML"),
        ("? [a]\n: 1\n", ":1: a key is no text"),
        ("x: 1\na: &a [*a]\n", ":2: the value contains itself"),
        ("x: 1\na: .inf\n", ":2: '.inf' is no text or number"),
        ("x: 1\na: [1, .nan]\n", ":2: '.nan' is no text or number"),
        ("x: 1\na: 2026-11-20\n", ":2: '2026-11-20' is no text or number"),
        ("x: 1\na: 2026-13-45\n", ":2: '2026-13-45' is no text or number"),
        ('x: 1\na: "\\ud800"\n', ":2: "),
        ("a: " + "[" * 1000, ": values are nested too deeply"),
        ("", ": expected keys and values"),
        ("- a\n", ": expected keys and values"),
        ("a: \x07\n", ": not valid YAML"),
        (b"a: \xff\n", " cannot be read"),
    ],
)
def test_problems_name_file_and_line(tmp_path: Path, text, said):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert caught.value.one_line().startswith(f"{tmp_path}/x.yaml{said}")
    assert caught.value.fix


def test_a_missing_file_and_a_folder(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.yaml does not exist"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path)


def test_a_value_used_in_many_places_is_read_once(tmp_path: Path):
    """Ten aliases of ten aliases, nine deep, are 10^9 values to whoever walks them all."""
    rows = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    value, lines = read(tmp_path, "\n".join(rows))
    assert value["a1"] == [["x"]] * 10
    assert lines.at("a9").endswith(":10")
