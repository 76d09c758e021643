"""What the stages hand to one another and what lies in the lab, as data.

A record is written last and by rename: where it exists, what it describes is complete.
Unknown fields are refused, so that a lab made by a newer Ratchet is not half understood.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.core.errors import LabError
from harness.core.fingerprint import sha256_of
from harness.core.paths import read_json, write_json

Direction = Literal["up", "down"]
Bucket = Literal["scored", "truncated", "errored", "unscorable"]
Verdict = Literal["SHIP", "BLOCK", "INCONCLUSIVE", "INVALID"]


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Record(BaseModel):
    """Frozen, strict about its keys, and the same in JSON as in Python."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def write(self, path: Path, point: str | None = None) -> None:
        """Write as JSON, atomically; `point` is a write point of harness.core.faults."""
        write_json(path, self.model_dump(mode="json"), point)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read one back; LabError names the file and what does not fit."""
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise LabError(f"{path}: {key}: {first['msg']}", "it was written by another version or damaged") from error


# --- training ---------------------------------------------------------------------------------------------------


class DataRef(Record):
    """One data file as it was when read."""

    path: str
    sha256: str
    rows: int
    format: str
    split: str = "train"


class BaseRef(Record):
    """A base model: where it lies and what it is."""

    source: str = Field(description="as written in the spec: a folder or a hub id")
    path: str = Field(description="absolute folder, or the hub id")
    sha256: str = Field(description="content of weights, config and tokenizer; the revision for a hub id not at hand")
    has_chat_template: bool = True


class RunJob(Record):
    """One run, fully resolved: all that the worker reads. `run_id` hashes what changes the weights."""

    run_id: str
    label: str = Field(description="what the grid changed, e.g. 'r=8 nf4'")
    base: BaseRef
    method: dict[str, Any] = Field(description="{'type': 'sft' | 'dpo', …own fields}")
    adapter: dict[str, Any] = Field(description="{'type': 'lora', 'r', 'lora_alpha', 'lora_dropout', …}")
    quantization: Literal["none", "nf4", "int8"]
    data: list[DataRef]
    arguments: dict[str, Any] = Field(description="TRL's own argument names and values")
    seed: int
    init_adapter: str | None = Field(None, description="absolute folder of the adapter to continue")
    init_adapter_sha256: str | None = None


class TrainSummary(Record):
    steps: int
    epochs: float
    seconds: float
    tokens: int
    first_loss: float | None
    final_loss: float | None
    device: str
    dtype: str


class AdapterRecord(Record):
    """adapter.json, written last: the run is complete and `adapter/` holds what it made."""

    run_id: str
    job: RunJob
    sha256: str = Field(description="of adapter_config.json and adapter_model.safetensors")
    rank: int
    trainable_parameters: int
    bytes: int
    summary: TrainSummary
    versions: dict[str, str]
    created: str


# --- evaluation -------------------------------------------------------------------------------------------------


class Prompting(Record):
    """How a subject is prompted: as it is, with examples or a system prompt in front, or with contexts retrieved."""

    kind: Literal["zero_shot", "few_shot", "prompt", "retrieved"] = "zero_shot"
    shots: int = 0
    examples_sha256: str | None = Field(None, description="of the example turns, in order")
    text_sha256: str | None = Field(None, description="of the system prompt, or of the file of frozen contexts")
    template: Literal["chat", "plain"] | None = Field(None, description="chosen on dev; None: as the base has one")


class Endpoint(Record):
    """Somebody's OpenAI-compatible server. The key is read from the environment when it is asked, never stored."""

    base_url: str
    model: str
    api_key_env: str | None = None


class Subject(Record):
    """Whatever is evaluated. `model` is the name the server knows it by; `endpoint` is set where it is not ours."""

    kind: Literal["base", "adapter", "endpoint"]
    label: str
    model: str
    base_sha256: str
    adapter_sha256: str | None = None
    run_id: str | None = None
    prompting: Prompting = Prompting()
    endpoint: Endpoint | None = None
    repeat: int = Field(0, description="0, or 1 for the second pass of an A/A row: the same subject, asked again")

    @property
    def identity(self) -> str:
        """Hash of what changes its answers: content, never labels or names."""
        served = [self.endpoint.base_url, self.endpoint.model] if self.endpoint else None
        content = [self.kind, self.base_sha256, self.adapter_sha256, self.prompting.model_dump(), served, self.repeat]
        return sha256_of(content)


class MetricInfo(Record):
    """How to read a metric. `unit` is 'share' (0 to 1), 'points' (0 to 100), or a name: 's', 'tokens', 'characters'."""

    direction: Direction = "up"
    unit: str = "share"
    aggregate: str = Field(
        "mean",
        description="'mean' of item values, a corpus statistic of `Score.parts`: 'bleu', …, or 'ppi': see harness.ppi",
    )
    chance: float | None = Field(
        None, description="what guessing scores; None: not known, and the unit's lowest counts"
    )


class Score(Record):
    """A score with its evidence; `value` None means "could not be scored", counted and left out of the mean."""

    value: float | None
    explanation: str = ""
    extracted: str | None = None
    parts: list[float] | None = Field(None, description="sufficient statistics of a corpus metric, see MetricInfo")


class ItemResult(Record):
    """One item, one subject: exactly one bucket. Items are paired across subjects by `item_id`."""

    item_id: str
    split: str
    cluster: str
    bucket: Bucket
    scores: dict[str, Score]
    prompt_sha256: str
    prompt: str = ""
    answer: str = ""
    thinking: str = Field("", description="what a reasoning model thought, separated before scoring")
    samples: list[str] = Field([], description="every answer, where an item is asked more than once")
    tool_calls: list[dict[str, Any]] = []
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float | None = None
    error: str | None = None


class ParityRecord(Record):
    """Proof that the server uses the adapter: |served − in-process| log-probs, and that answers differ from the base.

    All figures are in nats per token over the probe texts. See design §2, "Parity before scores".
    """

    run_id: str
    adapter_sha256: str
    dtype: str
    probes: int
    tokens: int
    max_abs_error: float = Field(description="served against in-process PEFT in fp32")
    mean_abs_error: float
    reference_mean_error: float = Field(description="in-process at the serving dtype against fp32; 0 for fp32")
    mean_effect: float = Field(description="mean |adapter − base|, in-process fp32")
    passed: bool
    reason: str
    created: str


class EvalRecord(Record):
    """eval.json, written last: every item of `eval_id` is in its journal."""

    eval_id: str
    kind: Literal["business", "lm_eval"]
    subject: Subject
    evalset: str
    evalset_version: str
    evalset_sha256: str
    metrics: dict[str, MetricInfo]
    decoding: dict[str, Any]
    engine: dict[str, Any] = Field(description="what of the engine changes text: vllm version, dtype, max_model_len, …")
    counts: dict[str, int] = Field(description="items per bucket")
    journals: list[str] = Field(description="segment file names, in the eval's folder")
    seconds: float
    versions: dict[str, str]
    created: str


class SubjectScores(Record):
    """Every usable value of one metric for one subject on one split, ready to be paired by item id."""

    subject: Subject
    eval_id: str
    metric: str = Field(description="'aac/chrf', 'lm_eval/tiny_general/acc'")
    info: MetricInfo
    split: str
    evalset_sha256: str
    values: dict[str, float] = Field(description="item id -> value, in the metric's unit")
    parts: dict[str, list[float]] = Field({}, description="item id -> `Score.parts`, for a corpus metric")
    clusters: dict[str, str] = Field(description="item id -> cluster, for every item of the split")
    counts: dict[str, int] = Field(description="items per bucket")
    problem: str = Field("", description="why these must not decide, whatever they say: a judge alone made them, …")


# --- plan -------------------------------------------------------------------------------------------------------


class PlanRecord(Record):
    """A grid, expanded and hashed before training: runs, subjects to evaluate, and the gate."""

    plan_id: str
    name: str
    spec_path: str
    folder: str = Field("", description="where the plan was made: what its paths are relative to")
    spec: dict[str, Any] = Field(description="the resolved spec")
    runs: list[RunJob]
    gate: dict[str, Any] | None
    created: str


class PlannedEval(Record):
    """One evaluation that a plan is to have. `items` is None where the tasks say how many there are (lm_eval)."""

    eval_id: str
    subject: str
    run_id: str | None
    evalset: str
    items: int | None


class PlannedEvals(Record):
    """plans/<id>/evals.json: what is evaluated of a plan, known once its runs are trained. For looking on: the next
    command works it out again."""

    plan_id: str
    evals: list[PlannedEval]


# --- serving ----------------------------------------------------------------------------------------------------


class PromptContract(Record):
    """How a version wants to be asked: what it was trained and evaluated with, as known when it was promoted.

    What is None or empty was not known, or there was none.
    """

    system_prompts: dict[str, str] = Field(
        {}, description="evalset -> the system prompt of its items, where it has one"
    )
    chat_template: str | None = Field(None, description="the text that the base renders chats with")
    chat_template_sha256: str | None = None
    template: Literal["chat", "plain"] | None = Field(None, description="how it was evaluated")
    trained_tokens: int | None = Field(None, description="longest example in training, in tokens: TRL's max_length")
    context_tokens: int | None = Field(None, description="longest prompt and answer that it was evaluated with")
    stop: list[str] = []
    sampling: dict[str, dict[str, Any]] = Field({}, description="evalset -> the sampling settings it was scored with")


class Version(Record):
    """An immutable `name@vN`. Its number is never used again, also when gc removed its files."""

    version: int
    run_id: str
    adapter_sha256: str
    base_sha256: str
    base_path: str
    verdict: Verdict | None
    plan_id: str | None
    forced_reason: str | None = None
    created: str
    kind: Literal["lora", "full"] = Field("lora", description="full: all weights; it needs an engine of its own")
    rank: int | None = Field(None, description="the largest LoRA rank in it; None: recorded before ranks were")
    contract: PromptContract | None = None
    removed: str | None = Field(None, description="when gc took its files away")


class Shadow(Record):
    """A version that answers an alias' requests too, unseen by the client."""

    version: int
    share: float = Field(1.0, gt=0, le=1, description="of the alias' requests")


class AliasMove(Record):
    """One change of an alias. `before` and `after` are its main version; empty weights mean that it gets everything."""

    seq: int
    alias: str
    before: int | None
    after: int | None
    who: str
    why: str
    at: str
    kind: Literal["move", "weights", "shadow"] = "move"
    weights_before: dict[int, int] = {}
    weights_after: dict[int, int] = {}
    shadow: Shadow | None = Field(None, description="what it is from now on, where kind is shadow")


class RegistryRecord(Record):
    """registry/<name>.json: versions, aliases and the append-only history of moves."""

    name: str
    seq: int
    versions: list[Version]
    aliases: dict[str, int] = Field(description="alias -> its main version: what the gate calls the incumbent")
    history: list[AliasMove]
    weights: dict[str, dict[int, int]] = Field(
        {}, description="alias -> version -> weight, where more than one answers"
    )
    shadows: dict[str, Shadow] = {}
