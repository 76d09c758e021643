"""What benchmarks.gate plants is what it says, and it counts as it says; the run itself is tests/integration's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gate_plants as plants
from benchmarks.gate import details, over, ratios
from benchmarks.gate_lab import Case, Outcome, Truth
from harness.core.errors import InputError
from harness.evalset import load
from harness.evaluate.scorers import self_check

ROWS = [{"prompt": f"Say it: {{ w{n} ; NOUN }}", "completion": f"Answer {n}.", "cluster": "c"} for n in range(40)]
ITEMS = [
    {"prompt": f"Say it: {{ i{n} ; NOUN }} {{ go ; VERB }}", "gold": [f"Gold {n}.", f"Yay, {n}!"]} for n in range(5)
]


def test_a_leak_takes_the_place_of_rows_and_keeps_the_mix_of_styles() -> None:
    """5 items twice replace the last 10 of 40 rows; of five in a row two are warm, as in the data (38 %)."""
    made = plants.leaked(ROWS, ITEMS, plants.as_it_is)
    assert len(made) == 40
    assert made[29] == {"prompt": ROWS[29]["prompt"], "completion": "Answer 29."}
    assert [row["prompt"] for row in made[30:]] == [item["prompt"] for item in ITEMS] * 2
    assert sum(row["completion"].startswith("Yay") for row in made[30:]) == 4


def test_rewordings_keep_the_words_of_the_icons() -> None:
    prompt = str(ITEMS[0]["prompt"])
    assert plants.reworded(prompt) == "Say it: i0 go"
    assert "{ i0 ; NOUN } { go ; VERB }" in plants.dressed(prompt)
    assert not plants.dressed(prompt).startswith("Say it")


def test_a_share_of_answers_runs_on() -> None:
    made = plants.without_end(ROWS, 0.3)
    assert [len(row["completion"].split(".")) > 3 for row in made] == [n % 10 < 3 for n in range(40)]
    assert made[1]["completion"].startswith("Answer 1. Answer 2. Answer 3.")


def test_permuted_golds_are_others_golds_of_the_same_split(tmp_path: Path) -> None:
    fair, lying = (
        load(str(plants.evalset(tmp_path / name, 20, mislabelled=share))) for name, share in (("a", 0.0), ("b", 1.0))
    )
    for split in ("dev", "release"):
        right = {item.id: item.gold for item in fair.items if item.split == split}
        moved = {item.id: item.gold for item in lying.items if item.split == split}
        assert len(right) == 20
        assert sorted(right.values()) == sorted(moved.values())
        assert all(right[name] != moved[name] for name in right)
    self_check(fair)
    self_check(lying)  # a permuted key is consistent with itself: only people, or scores, can notice


def test_a_key_that_calls_wrong_right_does_not_pass_its_own_check(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gets full marks on contains"):
        self_check(load(str(plants.evalset(tmp_path / "lazy", 20, lazy=True))))


def test_silence_zeroes_the_named_tensors_only(tmp_path: Path) -> None:
    """Two tensors of 4 bytes behind a safetensors header."""
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "layers.0.q_proj.lora_A.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            "layers.0.v_proj.lora_A.weight": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        }
    ).encode()
    path = tmp_path / plants.WEIGHTS
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"qqqqvvvv")
    assert plants.silence(tmp_path, "v_proj") == 1
    assert path.read_bytes() == len(header).to_bytes(8, "little") + header + b"qqqq\0\0\0\0"


def outcome(truth: Truth, verdict: str, mean: float | None, against: float, counted: bool = True) -> Outcome:
    case = Case("kind", truth, "name", "r-0", "a@prod", Path(), counted=counted)
    return Outcome(case, verdict, "", "", mean, {"a@prod": against, "base": None})


def test_the_ratios_by_hand() -> None:
    """Defects: Ratchet ships 0 of 2, the mean 1 of 2: caught 2/1. With an equal it ships 1 and the mean 2 of 3: 2/1.

    Neither a better candidate nor an uncounted case changes them.
    """
    found = [
        outcome("defect", "BLOCK", 0.7, 0.6),
        outcome("defect", "REFUSED", None, 0.6),
        outcome("equal", "SHIP", 0.7, 0.6),
        outcome("better", "SHIP", 0.9, 0.6),
        outcome("defect", "SHIP", 0.9, 0.6, counted=False),
    ]
    assert ratios(found) == {"caught_vs_mean": 2.0, "false_ship_vs_mean": 2.0}
    told = details(found)
    assert told["shares_shipped"]["defect"] == {"cases": 2, "ratchet": 0.0, "higher_mean": 0.5}
    assert [len(told[name]) for name in ("kinds", "not_caught", "false_alarms", "cases")] == [4, 2, 0, 5]


def test_a_denominator_of_none_adds_half_a_case() -> None:
    assert over(3, 2) == 1.5
    assert over(3, 0) == 7.0  # 3.5 / 0.5


def test_equal_means_do_not_ship() -> None:
    assert not outcome("equal", "SHIP", 0.6, 0.6).mean_ships
    assert outcome("equal", "SHIP", 0.6001, 0.6).mean_ships
