"""Parity judged on synthetic references: the right server passes, every wrong one fails.

A reference is 8 texts of 24 tokens. The adapter moves each log-prob by a normal step of `effect`; a bf16 engine adds
rounding of 0.01 nats, as in-process bf16 does.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import LabError, ParityError
from harness.evaluate import parity

SHA = "a" * 64
TEXTS, TOKENS = 8, 24
ROUNDING = 0.01


class Case:
    """A reference on disk and what servers would answer."""

    def __init__(self, folder: Path, effect: float, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        shape = (TEXTS, TOKENS - 1)
        self.base = -self.random.exponential(2.0, shape)
        self.step = self.random.normal(0, effect, shape)
        self.file = folder / "reference.json"
        probes = [
            {
                "token_ids": list(range(TOKENS)),
                "base_fp32": [None, *self.base[row]],
                "adapter_fp32": [None, *(self.base + self.step)[row]],
                "adapter_serving": [None, *(self.base + self.step + self.rounding())[row]],
            }
            for row in range(TEXTS)
        ]
        self.file.write_text(json.dumps({"adapter_sha256": SHA, "probes": probes}))

    def rounding(self) -> np.ndarray:
        return self.random.normal(0, ROUNDING, self.base.shape)

    def check(self, served: np.ndarray, served_base: np.ndarray | None = None, dtype: str = "float32"):
        answers = {"r-1": served, "base": self.base if served_base is None else served_base}

        def ask(model: str, tokens: list[list[int]]) -> list[list[float | None]]:
            assert tokens == [list(range(TOKENS))] * TEXTS
            return [[None, *row] for row in answers[model].tolist()]

        return parity.check(self.file, "r-1", SHA, "r-1", "base", dtype, ask)


WRONG = {
    "base answered instead": lambda case: case.base,
    "half the scale": lambda case: case.base + 0.5 * case.step,
    "twice the scale": lambda case: case.base + 2 * case.step,
    "one of three modules dropped": lambda case: case.base + case.step * (2 / 3),
    "neighbouring version": lambda case: case.base + case.random.normal(0, 1, case.step.shape) * case.step.std(),
    "neighbour, 90 % the same": lambda case: (
        case.base + 0.9 * case.step + 0.44 * case.random.normal(0, 1, case.step.shape) * case.step.std()
    ),
    "texts in another order": lambda case: (case.base + case.step)[::-1],
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("effect", [1.0, 0.1, 5e-4])
def test_the_right_fp32_server_passes(tmp_path: Path, seed, effect):
    """Measured agreement of a right server is about 2e-6 nats; 1e-5 leaves room."""
    case = Case(tmp_path, effect, seed)
    noise = case.random.uniform(-1e-5, 1e-5, case.base.shape)
    record = case.check(case.base + case.step + noise)
    assert record.passed, record.reason
    assert record.max_abs_error <= 1e-5
    assert (record.probes, record.tokens) == (TEXTS, TEXTS * (TOKENS - 1))
    assert record.mean_effect == pytest.approx(np.abs(case.step).mean())
    assert record.reference_mean_error == 0.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("effect", [1.0, 0.1, 5e-4])
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_fp32_servers_fail(tmp_path: Path, wrong, effect, seed):
    """The weakest adapter moves log-probs by 5e-4: below the limit of 1e-3, and still told from a wrong one."""
    case = Case(tmp_path, effect, seed)
    noise = case.random.uniform(-1e-5, 1e-5, case.base.shape)
    record = case.check(WRONG[wrong](case) + noise)
    assert not record.passed, record.reason


def test_one_token_beyond_the_limit_fails_in_fp32(tmp_path: Path):
    case = Case(tmp_path, 1.0, 0)
    served = case.base + case.step
    served[3, 7] += 1.5e-3
    record = case.check(served)
    assert (record.passed, record.max_abs_error) == (False, pytest.approx(1.5e-3))
    assert "limit 0.001, fp32" in record.reason


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_right_16_bit_server_passes(tmp_path: Path, seed, dtype):
    case = Case(tmp_path, 0.3, seed)
    record = case.check(case.base + case.step + case.rounding(), case.base + case.rounding(), dtype)
    assert record.passed, record.reason
    assert record.reference_mean_error == pytest.approx(ROUNDING * np.sqrt(2 / np.pi), rel=0.25)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_16_bit_servers_fail(tmp_path: Path, wrong, seed):
    case = Case(tmp_path, 0.3, seed)
    record = case.check(WRONG[wrong](case) + case.rounding(), case.base + case.rounding(), "bfloat16")
    assert not record.passed, record.reason


def test_an_adapter_weaker_than_rounding_cannot_be_shown_in_16_bits(tmp_path: Path):
    """It moves log-probs by 0.005 nats, rounding by 0.01: nobody could tell it from the base."""
    case = Case(tmp_path, 0.005, 0)
    record = case.check(case.base + case.step + case.rounding(), case.base + case.rounding(), "bfloat16")
    assert not record.passed
    assert "a fifth of what the adapter does" in record.reason


def test_a_server_that_ignores_the_adapter_is_said_by_name(tmp_path: Path):
    record = Case(tmp_path, 1.0, 0).check(Case(tmp_path, 1.0, 0).base)
    assert record.reason == "the server answers for the adapter exactly as for the base: it does not use it"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_never_passes(tmp_path: Path, bad):
    case = Case(tmp_path, 1.0, 0)
    served = case.base + case.step
    served[0, 0] = bad
    for dtype in ("float32", "bfloat16"):
        with pytest.raises(ParityError, match="or some are not numbers"):
            case.check(served, dtype=dtype)
        with pytest.raises(ParityError, match="or some are not numbers"):
            case.check(case.base + case.step, served, dtype)


def test_too_few_log_probs_are_no_comparison(tmp_path: Path):
    case = Case(tmp_path, 1.0, 0)
    with pytest.raises(ParityError, match="the server gave 168 log-probs for 184 tokens of r-1"):
        case.check((case.base + case.step)[:, :-2])


def test_the_reference_must_be_of_this_adapter(tmp_path: Path):
    case = Case(tmp_path, 1.0, 0)
    with pytest.raises(LabError, match=r"reference\.json belongs to another adapter"):
        parity.check(case.file, "r-1", "c" * 64, "r-1", "base", "float32", lambda *_: [])
    with pytest.raises(LabError, match=r"none\.json is missing"):
        parity.check(tmp_path / "none.json", "r-1", SHA, "r-1", "base", "float32", lambda *_: [])


def test_a_record_can_be_stored(tmp_path: Path):
    case = Case(tmp_path, 1.0, 0)
    record = case.check(case.base + case.step)
    record.write(tmp_path / "parity.json")
    assert type(record).read(tmp_path / "parity.json") == record
