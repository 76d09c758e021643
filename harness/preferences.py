"""Votes become the next round: preference rows for TRL, and the YAML of a DPO run that a person can read.

Pure but for `write_round`. Only decisive votes train: an answer is chosen where more than half of the raters who
judged the pair preferred it. Everything else is counted, never used, never averaged away.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import InputError
from harness.core.fingerprint import sha256_of
from harness.core.paths import write_atomic
from harness.core.rating import Pair, Vote
from harness.ratings import Noise, label_error
from harness.spec import Baseline, Lora, as_yaml

View = Literal["a", "b", "tie", "both_bad", "skip"]
Outcome = Literal["used", "tie", "both_bad", "skip", "conflict", "unrated"]

OUTCOMES: tuple[Outcome, ...] = ("used", "tie", "both_bad", "skip", "conflict", "unrated")

# Fewer comparisons than this say little about agreement: at 20, a share of 0.8 is uncertain by about ±0.17.
MIN_COMPARISONS = 20

LABEL_RULE = "more than half of the raters who judged (skips aside)"

SFT_LEARNING_RATE = 2e-4  # the usual one for LoRA
SFT_TO_DPO = 20  # 2e-4 for SFT and 1e-5 for DPO on LoRA are the usual starts; the ratio carries over to other bases
TAKEN_OVER = ("per_device_train_batch_size", "gradient_accumulation_steps", "max_length")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What of the DPO round's training is chosen for it, beside what it takes over."""

    beta: float
    learning_rate: float
    epochs: float


@dataclasses.dataclass(frozen=True)
class Content:
    """One prompt with two answers, and each rater's view of it, however many pairs and campaigns showed it.

    Views name the answers of `pair`: the first pair with this content. `assignments` has, by rater, the vote itself.
    """

    pair: Pair
    campaign: str
    views: dict[str, View]
    assignments: dict[str, str] = dataclasses.field(default_factory=dict)

    def count(self, view: View) -> int:
        return sum(seen == view for seen in self.views.values())

    @property
    def winner(self) -> Literal["a", "b"] | None:
        """The answer that more than half of the raters who judged (skips aside) preferred."""
        judged = len(self.views) - self.count("skip")
        if 2 * self.count("a") > judged:
            return "a"
        return "b" if 2 * self.count("b") > judged else None

    @property
    def outcome(self) -> Outcome:
        judged = len(self.views) - self.count("skip")
        if not self.views:
            return "unrated"
        if judged == 0:
            return "skip"
        if self.winner:
            return "used"
        if 2 * self.count("tie") > judged:
            return "tie"
        return "both_bad" if 2 * self.count("both_bad") > judged else "conflict"


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How often two raters who both took a side took the same one.

    `share` is None without overlap. `flip_rate` is one rater's chance to vote against the clearer answer,
    (1 − √(2·share − 1)) / 2, which assumes independent raters and equally clear pairs; None with `note` saying why
    where it cannot be told.
    """

    pairs: int
    comparisons: int
    share: float | None
    flip_rate: float | None
    note: str


@dataclasses.dataclass(frozen=True)
class Preferences:
    """Rows to train on, what became of every pair, and what the overlap says about noise."""

    rows: list[dict[str, Any]]
    counts: dict[str, int]
    duplicates: int
    agreement: Agreement
    label_smoothing: float | None
    noise: Noise | None = None


def from_votes(rated: Mapping[str, tuple[Sequence[Pair], Iterable[Vote]]], noise: Noise | None = None) -> Preferences:
    """Preferences of one or more campaigns: campaign -> (its pairs, its votes).

    Each row is {"prompt": turns, "chosen": [turn], "rejected": [turn]} with its lineage: `campaign`, `pair_id`,
    `votes` (raters by view), `cluster`, `raters` and beside them `views` and `assignments` (which votes), `label_rule`.
    Pairs with the same prompt and the same two answers become one, with one voice per rater. `counts` has
    every outcome and adds up to the distinct pairs.
    `noise` is what gold pairs and repeats say of these votes' error (harness.ratings). Without such a fit
    `label_smoothing` comes from agreement alone, which takes real ambiguity for error.
    Raises InputError for a vote on a pair that its campaign does not have.
    """
    contents = contents_of(rated)
    counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
    counts.update(content.outcome for content in contents)
    total = sum(len(pairs) for pairs, _ in rated.values())
    found = measure_agreement(contents)
    used = [content for content in contents if content.winner]
    told = noise is not None and (noise.error is not None or noise.at_chance)
    return Preferences(
        rows=[_row(content) for content in used],
        counts=dict(counts),
        duplicates=total - len(contents),
        agreement=found,
        label_smoothing=_fitted(used, noise) if noise and told else _label_smoothing(used, found.flip_rate),
        noise=noise,
    )


def _fitted(used: Sequence[Content], noise: Noise) -> float | None:
    """Label smoothing for these labels from a fit of error and clarity; None where there is nothing to smooth."""
    if noise.error is None or noise.clarity is None or not used:
        return None
    tallies = [tuple(sorted((content.count("a"), content.count("b")), reverse=True)) for content in used]
    return round(label_error(noise.error, noise.clarity, [(won, lost) for won, lost in tallies]), 3)


def contents_of(rated: Mapping[str, tuple[Sequence[Pair], Iterable[Vote]]]) -> list[Content]:
    """Every distinct prompt with its two answers, and who said what of it. Raises as `from_votes`."""
    contents: dict[str, Content] = {}
    for campaign, (pairs, votes) in rated.items():
        by_id = {pair.pair_id: pair for pair in pairs}
        keys = {pair_id: sha256_of([p.prompt, sorted((p.a.text, p.b.text))]) for pair_id, p in by_id.items()}
        for pair_id, pair in by_id.items():
            contents.setdefault(keys[pair_id], Content(pair, campaign, {}, {}))
        for vote in votes:
            if vote.pair_id not in by_id:
                raise InputError(f"a vote of {vote.rater!r} is on {vote.pair_id!r}, which {campaign!r} does not have")
            content = contents[keys[vote.pair_id]]
            turned = by_id[vote.pair_id].a.text != content.pair.a.text
            content.views.setdefault(vote.rater, _view(vote, turned))
            content.assignments.setdefault(vote.rater, vote.assignment)
    return list(contents.values())


def _view(vote: Vote, turned: bool) -> View:
    """What the rater preferred; `turned` where the pair has the content's answers the other way round."""
    if vote.choice == "left" or vote.choice == "right":
        is_a = (vote.choice == "left") == (vote.left == "a")
        return "a" if is_a != turned else "b"
    return vote.choice


def _row(content: Content) -> dict[str, Any]:
    winner, pair = content.winner, content.pair
    chosen, rejected = (pair.a, pair.b) if winner == "a" else (pair.b, pair.a)
    return {
        "prompt": pair.prompt,
        "chosen": [{"role": "assistant", "content": chosen.text}],
        "rejected": [{"role": "assistant", "content": rejected.text}],
        "campaign": content.campaign,
        "pair_id": pair.pair_id,
        "cluster": pair.cluster,
        **lineage_of(content),
        "views": [_as_row(content.views[rater], winner) for rater in sorted(content.views)],
        "votes": {
            "chosen": content.count("a" if winner == "a" else "b"),
            "rejected": content.count("b" if winner == "a" else "a"),
            "tie": content.count("tie"),
            "both_bad": content.count("both_bad"),
            "skip": content.count("skip"),
        },
    }


def lineage_of(content: Content) -> dict[str, Any]:
    """Whose votes a row rests on, which votes they are (in the same order), and how they became its label."""
    raters = sorted(content.views)
    return {
        "raters": raters,
        "assignments": [content.assignments[rater] for rater in raters],
        "label_rule": LABEL_RULE,
    }


def _as_row(view: View, winner: str | None) -> str:
    """A rater's view in the words of a row."""
    return ("chosen" if view == winner else "rejected") if view in ("a", "b") else view


def measure_agreement(contents: Iterable[Content]) -> Agreement:
    """Agreement over every two raters who both took a side on the same content."""
    pairs = comparisons = same = 0
    for content in contents:
        sides = [view for view in content.views.values() if view in ("a", "b")]
        of_two = list(itertools.combinations(sides, 2))
        pairs += bool(of_two)
        comparisons += len(of_two)
        same += sum(first == second for first, second in of_two)
    if comparisons < MIN_COMPARISONS:
        share = same / comparisons if comparisons else None
        note = f"{comparisons} comparisons between raters; {MIN_COMPARISONS} are needed to measure agreement"
        return Agreement(pairs, comparisons, share, None, note)
    share = same / comparisons
    if share <= 0.5:
        note = f"raters agree on {share:.0%} of comparisons, no more than by chance: do not train on these votes"
        return Agreement(pairs, comparisons, share, None, note)
    return Agreement(pairs, comparisons, share, (1 - math.sqrt(2 * share - 1)) / 2, f"{comparisons} comparisons")


def _label_smoothing(used: Sequence[Content], flip_rate: float | None) -> float | None:
    """Expected share of rows whose chosen answer is the worse one, given one rater's flip rate; None if unknown.

    With c votes for and r against, the odds of a wrong majority are (e / (1 − e))^(c − r) under a flat prior.
    """
    if flip_rate is None or not used:
        return None
    if flip_rate == 0:
        return 0.0
    odds = flip_rate / (1 - flip_rate)
    wrong = [1 - 1 / (1 + odds ** abs(content.count("a") - content.count("b"))) for content in used]
    return round(sum(wrong) / len(wrong), 3)


# --- the next round ---------------------------------------------------------------------------------------------


def next_spec(
    previous: Mapping[str, Any],
    *,
    init_adapter: str,
    dataset: str,
    primary: str,
    preferences: Preferences,
    adapter: Mapping[str, Any] | None = None,
    sft_learning_rate: float = SFT_LEARNING_RATE,
    beta: float = 0.1,
    epochs: float = 1,
) -> str:
    """The YAML of the DPO round that continues `init_adapter` on `dataset`, commented for the person who runs it.

    `previous` is the spec that made the promoted adapter, as written or resolved: name, base, evalsets, lm-eval tasks,
    baselines and guardrails are taken over. `adapter` is the promoted run's own LoRA setting (a grid has several), and
    `sft_learning_rate` the rate it was trained at: DPO starts at a twentieth of it.
    `primary` is the metric that the round must win. Raises InputError when there is nothing to train on or the raters
    do not agree beyond chance.
    """
    agreement = preferences.agreement
    if not preferences.rows:
        raise InputError("no pair has a decisive majority", "collect more votes, or widen the campaign's pool")
    if agreement.share is not None and agreement.comparisons >= MIN_COMPARISONS and agreement.flip_rate is None:
        raise InputError(agreement.note, "sharpen guidelines.md and rate again")
    if preferences.noise is not None and preferences.noise.at_chance:
        raise InputError(preferences.noise.refused)
    name = str(previous["name"])
    train: Mapping[str, Any] = previous.get("train") or {}
    lora = adapter or train.get("adapter")
    gate: Mapping[str, Any] = previous.get("gate") or {}
    guardrails = list(gate.get("guardrails") or [])
    settings = Settings(beta, sft_learning_rate / SFT_TO_DPO, epochs)
    blocks = [
        _heading(init_adapter, preferences),
        as_yaml({"name": name, "base_model": previous["base_model"]}),
        f"train:\n{_indent(_train_block(init_adapter, dataset, preferences, lora, train, settings))}",
        as_yaml({"baselines": _baselines(previous)}),
        as_yaml({"evaluate": _without_none(previous.get("evaluate") or {})}),
        f"gate:\n{_indent(_gate_block(primary, guardrails, gate))}",
    ]
    return "\n".join(block.rstrip("\n") + "\n" for block in blocks)


def _heading(init_adapter: str, preferences: Preferences) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in preferences.counts.items() if count)
    campaigns = sorted({row["campaign"] for row in preferences.rows})
    share = preferences.agreement.share
    agreed = "" if share is None else f"; raters agreed on {share:.0%}"
    return (
        f"# The round after {init_adapter}, from blind ratings ({', '.join(campaigns)}).\n"
        f"# Pairs: {counts}{agreed} ({preferences.agreement.note}).\n"
    )


def _train_block(
    init_adapter: str,
    dataset: str,
    preferences: Preferences,
    lora: Mapping[str, Any] | None,
    train: Mapping[str, Any],
    settings: Settings,
) -> str:
    smoothing, noise = preferences.label_smoothing, preferences.noise
    if smoothing:  # the default loss ignores label_smoothing, "robust" reads it (facts, TRL)
        method: dict[str, Any] = {
            "type": "dpo",
            "beta": settings.beta,
            "loss_type": "robust",
            "label_smoothing": smoothing,
        }
        source = (
            "the raters' agreement" if not noise or noise.error is None else "gold pairs and repeats, ambiguity apart"
        )
        why = f"label_smoothing: expected share of wrong majorities, from {source}"
    else:
        method = {"type": "dpo", "beta": settings.beta, "loss_type": "sigmoid"}
        why = "beta: how closely to stay to the reference; larger is closer"
    lines = [
        f"init_adapter: {init_adapter}  # trained further, and DPO's frozen reference\n",
        f"# {why}\n",
        as_yaml({"method": method}),
        f"dataset: {json.dumps(dataset)}  # {len(preferences.rows)} preferences\n",
        as_yaml({"adapter": _said_lora(lora)}) if lora else "",
        as_yaml({"quantization": train.get("quantization") or "none"}),
        f"learning_rate: {settings.learning_rate:.1e}  # SFT's / {SFT_TO_DPO}; watch rewards/margins, logps/chosen\n",
        as_yaml({"num_train_epochs": settings.epochs}),
        as_yaml({key: train[key] for key in TAKEN_OVER if key in train} | {"seed": int(train.get("seed") or 0)}),
    ]
    return "".join(lines)


def _gate_block(primary: str, guardrails: list[Any], gate: Mapping[str, Any]) -> str:
    incumbent = gate.get("incumbent")
    before = (gate.get("primary") or {}).get("metric")
    text = as_yaml({"incumbent": incumbent}) if incumbent else ""
    text += "# what this round must win: the raters' wish, as a metric\n"
    text += as_yaml({"primary": {"metric": primary, "better_than": ["incumbent", "best_baseline"], "min_gain": 0}})
    if guardrails:
        text += "# taken over: what must not get worse\n" + as_yaml({"guardrails": guardrails})
    if before and before != primary and all(rail.get("metric") != before for rail in guardrails):
        text += (
            f"# {before} was the primary until now and nothing guards it here. To keep it, add to guardrails:\n"
            f"#   - {{metric: {before}, against: [base, incumbent], max_loss: <how much you can bear>}}\n"
        )
    return text


def _baselines(previous: Mapping[str, Any]) -> list[Any]:
    """The same rows to beat. Few-shot examples keep coming from the data they came from: pairs.jsonl has none."""
    dataset = (previous.get("train") or {}).get("dataset")
    first = dataset[0] if isinstance(dataset, list) and dataset else dataset
    source = first.get("path") if isinstance(first, Mapping) else first
    entries: list[Any] = []
    for written in previous.get("baselines") or ["zero_shot"]:
        baseline = Baseline.model_validate(written)
        if baseline.kind == "few_shot":
            examples = baseline.examples or source
            entries.append({"few_shot": baseline.shots} | ({"examples": examples} if examples else {}))
        else:
            entries.append({"adapter": baseline.adapter} if baseline.kind == "adapter" else "zero_shot")
    return entries


def _said_lora(lora: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter's settings without those that stand at their defaults, as a person would write them."""
    defaults = Lora().model_dump(exclude={"type", "r", "lora_alpha", "target_modules"})
    return {key: value for key, value in lora.items() if key not in defaults or value != defaults[key]}


def _indent(text: str) -> str:
    return "".join(f"  {line}\n" if line else "\n" for line in text.splitlines())


def _without_none(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(inner) if isinstance(inner, Mapping) else inner
        for key, inner in value.items()
        if inner is not None
    }


def write_round(place: Path, rows: Sequence[Mapping[str, Any]], text: str) -> tuple[Path, Path]:
    """Write `<place>/pairs.jsonl`, then `<place>/<place's name>.yaml`, each whole or not at all; return both paths.

    Writing the same again changes nothing. Raises InputError where other content stands already: rounds never change.
    """
    lines = (json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    files = {
        place / "pairs.jsonl": "".join(lines).encode(),
        place / f"{place.name}.yaml": text.encode(),
    }
    for path, data in files.items():
        if path.exists() and path.read_bytes() != data:
            raise InputError(f"{path} exists with other content", "choose another folder for this round")
    for path, data in files.items():
        if not path.exists():
            write_atomic(path, data)
    data_path, spec_path = files
    return data_path, spec_path
