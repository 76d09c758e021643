"""Parity before scores: is the server shown to use the adapter that was trained?

The training worker leaves `reference.json` beside each adapter: probe texts with per-token log-probs computed in
process by PEFT, from the adapter as it lies on disk, on the base that will serve it. Here they meet the server's own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.errors import LabError, ParityError
from harness.core.paths import read_json
from harness.core.records import ParityRecord, now

FP32_LIMIT = 1e-3  # nats per token; measured agreement of a right server is about 2e-6
NOISE_RATIO = 2.0  # bf16: served error against in-process bf16 error …
EFFECT_SHARE = 0.2  # … and against what the adapter does at all

Logprobs = Callable[[str, list[list[int]]], list[list[float | None]]]


def check(
    reference_file: Path, run_id: str, adapter_sha256: str, model: str, base_model: str, dtype: str, ask: Logprobs
) -> ParityRecord:
    """Compare served log-probs of `model` with the reference; `ask(model, token ids)` asks the server.

    The record says passed or not, and why, in words. Thresholds: design §2. Errors are means over tokens for 16-bit
    engines (single tokens are noisy there); for fp32 the largest one counts as well. Raises ParityError when the server
    gave too few log-probs, or some that are not finite.
    """
    reference = _read(reference_file, adapter_sha256)
    tokens = [probe["token_ids"] for probe in reference["probes"]]
    exact, base = _column(reference, "adapter_fp32"), _column(reference, "base_fp32")
    rounded = _column(reference, "adapter_serving") if dtype != "float32" else exact
    served, served_base = _flat(ask(model, tokens)), _flat(ask(base_model, tokens))
    for values in (served, served_base):
        if len(values) != len(exact) or not np.isfinite(values).all():
            raise ParityError(
                f"the server gave {len(values)} log-probs for {len(exact)} tokens of {model}, or some are not numbers",
                "see the engine's log",
            )

    error = np.abs(served - exact)
    noise = float(np.mean(np.abs(rounded - exact)))
    effect = float(np.mean(np.abs(exact - base)))
    changed = float(np.mean(np.abs(served - served_base)))
    passed, reason = _judge(dtype, float(error.max()), float(error.mean()), noise, effect, changed)
    return ParityRecord(
        run_id=run_id,
        adapter_sha256=adapter_sha256,
        dtype=dtype,
        probes=len(tokens),
        tokens=len(error),
        max_abs_error=float(error.max()),
        mean_abs_error=float(error.mean()),
        reference_mean_error=noise,
        mean_effect=effect,
        passed=passed,
        reason=reason,
        created=now(),
    )


def _judge(dtype: str, largest: float, mean: float, noise: float, effect: float, changed: float) -> tuple[bool, str]:
    if changed == 0.0:
        return False, "the server answers for the adapter exactly as for the base: it does not use it"
    if mean > EFFECT_SHARE * effect:  # in fp32 too: a weak adapter stays below the limit even at a wrong scale
        return False, (
            f"served log-probs differ from fp32 PEFT by {mean:.2g} on average, "
            f"more than a fifth of what the adapter does ({effect:.2g})"
        )
    if dtype == "float32":
        if largest > FP32_LIMIT:
            return False, f"served log-probs differ from PEFT's by up to {largest:.2g} (limit {FP32_LIMIT:g}, fp32)"
        return True, f"largest difference {largest:.1g} nats (fp32)"
    if mean > NOISE_RATIO * noise:
        return False, (
            f"served log-probs differ from fp32 PEFT by {mean:.2g} on average, "
            f"more than twice what {dtype} rounding does in process ({noise:.2g})"
        )
    return (
        True,
        f"mean difference {mean:.2g} nats, {dtype} rounding alone {noise:.2g}, effect of the adapter {effect:.2g}",
    )


def _read(path: Path, adapter_sha256: str) -> dict[str, Any]:
    if not path.is_file():
        raise LabError(f"{path} is missing", "delete the run's folder and run the command again")
    reference: dict[str, Any] = read_json(path)
    if reference.get("adapter_sha256") != adapter_sha256:
        raise LabError(f"{path} belongs to another adapter", "delete the run's folder and run the command again")
    return reference


def _column(reference: dict[str, Any], name: str) -> np.ndarray:
    """All log-probs of one kind, end to end, without each text's first token (it has none)."""
    return _flat([probe[name] for probe in reference["probes"]])


def _flat(sequences: list[list[float | None]]) -> np.ndarray:
    return np.array([value for sequence in sequences for value in sequence if value is not None], dtype=float)
