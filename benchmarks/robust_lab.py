"""The lab of benchmarks.robust: an SFT start, campaigns rated by raters whose error is known, rounds, three arms."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gate_plants import DATA, ROOT, Row, read_lines, write_lines
from experiments.scripted_rater import choose, style_marks
from harness import store
from harness.campaign import open_handout
from harness.core.errors import EvaluationError
from harness.core.paths import Lab, write_atomic
from harness.core.records import EvalRecord, SubjectScores, now
from harness.pipeline import campaigns, rounds, steering
from harness.pipeline.context import resolve
from harness.pipeline.promotion import promote
from harness.pipeline.run import run
from harness.progress import Progress, Silent
from serve.engine import running, stop

BASE = ROOT / "experiments" / "bases" / "tiny"
METRIC, SPLIT = "aac_style/warm", "release"
GOLD_ROWS = 50  # the last of the pool, which no campaign asks
SAMPLES = 3  # answers per prompt, so three pairs
ARMS = ("sigmoid", "robust", "clean")


@dataclass(frozen=True)
class Size:
    """How much of everything. `error`: chance that a rater's vote is not what they meant; `overlap`: share of pairs
    that all of the `raters` see, the others have one vote each."""

    rows: int
    prompts: int
    seeds: int
    raters: int = 5
    error: float = 0.25
    overlap: float = 0.2
    repeats: float = 0.1
    epochs: float = 2.0


@dataclass(frozen=True)
class Votes:
    """One draw of answers, slips and training order: what was voted, fitted and written. `path`: folder of the round.

    `labels` are the rows to train on, `wrong` of them against what the raters meant; `cast` votes took a side, `slips`
    of them turned round.
    """

    seed: int
    name: str
    path: Path
    spec: dict[str, Any]
    labels: int
    wrong: int
    cast: int
    slips: int
    noise: dict[str, Any]
    label_error: float


@dataclass
class Bench:
    """One lab with one engine."""

    lab: Lab
    work: Path
    size: Size
    progress: Progress = field(default_factory=Silent)

    def start(self) -> str:
        """Train and score the SFT adapter that every arm continues; its run id."""
        data = write_lines(self.work / "train.jsonl", read_lines(DATA / "train.jsonl")[: self.size.rows])
        spec = {
            "name": "warm",
            "base_model": str(BASE),
            "train": {
                "dataset": str(data),
                "adapter": {"type": "lora", "r": 16},
                "learning_rate": 3.0e-3,
                "per_device_train_batch_size": 8,
                "warmup_steps": 10,
                "max_length": 256,
            },
            "baselines": ["zero_shot"],
            "evaluate": {"evalsets": ["aac_style"], "repeat": False, "forgetting": "off"},
            "gate": {"primary": {"metric": METRIC, "better_than": ["best_baseline"]}},
        }
        (candidate,) = run(self.lab, self._write("start", spec), self.progress).report.candidates
        assert candidate.run_id
        return candidate.run_id

    def vote(self, run_id: str, seed: int) -> Votes:
        """A campaign on the start's own answers, its votes, and the round that `ratchet next` makes of them."""
        name = f"warm{seed}"
        promote(self.lab, run_id, f"{name}@prod", "the benchmark's start", force=True, who="benchmarks.robust")
        pool, unseen = read_lines(DATA / "pool.jsonl"), read_lines(DATA / "train.jsonl")[self.size.rows :]
        prompts = write_lines(self.work / "pool.jsonl", [asked_row(row) for row in [*pool[:-GOLD_ROWS], *unseen]])
        wanted = campaigns.Wanted(
            campaign=name, name=name, subjects=(f"{name}@prod",) * SAMPLES, pool=str(prompts), limit=self.size.prompts,
            overlap=self.size.overlap, repeats=self.size.repeats, decoding={"temperature": 1.0, "max_tokens": 40},
            seed=1_000_000 * (seed + 1),
        )  # fmt: skip
        campaigns.create(self.lab, wanted, self.progress)
        gold = write_lines(self.work / "gold.jsonl", [gold_pair(row) for row in pool[-GOLD_ROWS:]])
        steering.add_gold(self.lab, name, gold)
        cast, slips = self._rate(name, seed)
        asked = rounds.Asked(name, METRIC, folder=self.work / "rounds", epochs=self.size.epochs)
        found = rounds.next_round(self.lab, asked)
        noise, error = found.found.noise, found.found.label_smoothing
        if noise is None or noise.error is None or not error:
            raise EvaluationError(f"no label error could be fitted to {name}: {noise.refused if noise else 'no votes'}")
        assert found.place
        meant = [as_meant(row) for row in found.found.rows]
        write_lines(found.place / "clean.jsonl", meant)
        wrong = sum(row["chosen"] != right["chosen"] for row, right in zip(found.found.rows, meant, strict=True))
        return Votes(
            seed, name, found.place, yaml.safe_load(found.text), len(meant), wrong, cast, slips,
            noise.model_dump(mode="json"), error,
        )  # fmt: skip

    def train(self, start: str, drawn: list[Votes]) -> tuple[SubjectScores, dict[str, list[SubjectScores]]]:
        """Train every arm on every draw from the start, serve and score all; (the start's scores, the arms' by seed).

        The spec is the first round's as `ratchet next` wrote it, with a grid over rounds and losses.
        """
        points = [(arm, grid_point(arm, votes)) for votes in drawn for arm in ARMS]
        gate = drawn[0].spec["gate"] | {"incumbent": f"{drawn[0].name}@prod"}
        spec = drawn[0].spec | {"gate": gate, "grid": {"_": [point for _, point in points]}}
        path = self._write("arms", spec)
        failures = run(self.lab, path, self.progress).failures
        if failures:
            raise EvaluationError(f"the benchmark's own training failed: {next(iter(failures.values()))}")
        scores = self._scores()
        arms: dict[str, list[SubjectScores]] = {arm: [] for arm in ARMS}
        for (arm, _), job in zip(points, resolve(self.lab, path).plan.runs, strict=True):
            arms[arm].append(scores[job.run_id])
        return scores[start], arms

    def stop(self) -> None:
        for lease in running(self.lab):
            stop(self.lab, lease.engine_id)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _rate(self, campaign: str, seed: int) -> tuple[int, int]:
        """Every rater in turn takes what the campaign hands out, gold and repeats too; (votes for a side, slips)."""
        handout, log, acts = open_handout(self.lab, campaign)
        marks = style_marks()
        generators = {
            f"scripted-{number}": random.Random(f"{seed}/{number}")  # noqa: S311 - draws to repeat, no secret
            for number in range(self.size.raters)
        }
        waiting, cast, slips = list(generators), 0, 0
        while waiting:
            for rater in list(waiting):
                assignment = handout.next(rater)
                if assignment is None:
                    waiting.remove(rater)
                    continue
                meant = choose(assignment, marks, generators[rater], 0.0)
                choice = choose(assignment, marks, generators[rater], self.size.error)
                cast += choice != "tie"
                slips += choice != meant
                log.add(assignment.vote(choice, shown_at=now(), at=now()))
        log.close()
        acts.close()
        return cast, slips

    def _scores(self) -> dict[str, SubjectScores]:
        """Run id -> its scores on the held-out split."""
        ids = [EvalRecord.read(path).eval_id for path in self.lab.evals.glob("*/eval.json")]
        return {
            one.subject.run_id: one
            for one in store.subject_scores(self.lab, ids)
            if one.subject.run_id and (one.metric, one.split) == (METRIC, SPLIT)
        }

    def _write(self, name: str, spec: dict[str, Any]) -> Path:
        path = self.work / f"{name}.yaml"
        write_atomic(path, yaml.safe_dump(spec, sort_keys=False).encode())
        return path


def asked_row(row: Row) -> Row:
    return {key: row[key] for key in ("id", "prompt", "cluster")}


def gold_pair(row: Row) -> Row:
    """A pair on which nobody who means it well can differ: a warm answer and a plain one."""
    return {"prompt": row["prompt"], "a": row["warm"], "b": row["plain"], "expected": "a"}


def as_meant(row: Row) -> Row:
    """The row as it would be had every vote been what its rater meant."""
    marks = style_marks()
    chosen, rejected = (sum(marks(row[side][-1]["content"]).values()) for side in ("chosen", "rejected"))
    return row if chosen > rejected else row | {"chosen": row["rejected"], "rejected": row["chosen"]}


def grid_point(arm: str, votes: Votes) -> dict[str, Any]:
    """What of the training an arm changes: the loss, or labels without slips."""
    robust = votes.spec["train"]["method"]
    plain = {"type": "dpo", "beta": robust["beta"], "loss_type": "sigmoid"}
    data = "clean.jsonl" if arm == "clean" else "pairs.jsonl"
    method = robust if arm == "robust" else plain
    return {"train.dataset": str(votes.path / data), "train.method": method, "train.seed": votes.seed}
