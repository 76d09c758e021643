"""The spec a person writes in YAML: read, checked key by key, and told apart from its near misses.

Names are TRL's and PEFT's own. Impossible combinations cannot be written: `method` is a union tagged by `type`, so
`beta` exists only where it means something. Nothing here touches a model, a server or the lab.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl, urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from harness.core.errors import InputError
from harness.core.paths import check_name
from harness.spec_errors import as_input_error
from harness.yaml_lines import Lines, read_yaml

M = TypeVar("M", bound=BaseModel)
MAX_RUNS = 1000  # of one grid: lists multiply quickly, and a slip should not fill the memory


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Sft(Model):
    """Supervised fine-tuning: cross-entropy on the completion only."""

    type: Literal["sft"] = "sft"


class Dpo(Model):
    """Direct preference optimisation (Rafailov et al., 2023); its frozen reference is `init_adapter`, else the base."""

    type: Literal["dpo"]
    beta: Annotated[float, Field(gt=0)] = 0.1
    loss_type: str | list[str] = "sigmoid"
    loss_weights: list[float] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0


Method = Annotated[Sft | Dpo, Field(discriminator="type")]
TAGGED: dict[str, type[BaseModel]] = {"sft": Sft, "dpo": Dpo}


class Lora(Model):
    """A LoRA adapter, in PEFT's own names. `lora_alpha` defaults to 2r (the rule of thumb most recipes use)."""

    type: Literal["lora"] = "lora"
    r: Annotated[int, Field(ge=1)] = 16
    lora_alpha: Annotated[float, Field(gt=0)] | None = None
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: str | list[str] = "all-linear"
    use_rslora: bool = False
    # Named so that what vLLM refuses is said by name before training, not as an unknown key.
    use_dora: bool = False
    bias: str = "none"
    init_lora_weights: bool | str = True
    modules_to_save: list[str] | None = None
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}

    @model_validator(mode="before")
    @classmethod
    def default_alpha(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("lora_alpha") is None and isinstance(values.get("r", 16), int):
            return {**values, "lora_alpha": 2 * values.get("r", 16)}
        return values


class DatasetSpec(Model):
    path: str
    split: str = "train"
    format: str | None = None


class Train(Model):
    """One run's training settings. Defaults: 2e-4 for LoRA and 1 epoch (QLoRA and LoRA papers; more epochs on a
    static set often hurt); the batch of 16 is the worked example's 4 × 4."""

    method: Method = Sft()
    dataset: list[DatasetSpec]
    adapter: Lora = Lora()
    quantization: Literal["none", "nf4", "int8"] = "none"
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    num_train_epochs: Annotated[float, Field(gt=0)] = 1.0
    max_steps: int = -1
    per_device_train_batch_size: Annotated[int, Field(ge=1)] = 16
    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    warmup_steps: Annotated[float, Field(ge=0)] = 0
    lr_scheduler_type: str = "linear"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_length: Annotated[int, Field(ge=8)] = 1024
    seed: Annotated[int, Field(ge=0)] = 0
    init_adapter: str | None = None
    trainer_extra: dict[str, Any] = {}

    @field_validator("dataset", mode="before")
    @classmethod
    def as_list(cls, value: Any) -> Any:
        values = value if isinstance(value, list) else [value]
        return [{"path": entry} if isinstance(entry, str) else entry for entry in values]

    @model_validator(mode="after")
    def own_keys_are_not_extra(self) -> Train:
        twice = sorted(set(self.trainer_extra) & set(Train.model_fields))
        if twice:
            raise ValueError(f"trainer_extra.{twice[0]} has a key of its own: write train.{twice[0]}")
        return self

    @property
    def effective_learning_rate(self) -> float:
        """Facts: TRL's DPO default of 1e-6 is for full tuning; LoRA wants about ten times that."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-5 if self.method.type == "dpo" else 2e-4

    def arguments(self) -> dict[str, Any]:
        """TRL arguments by TRL's own names, without what RunJob holds apart."""
        apart = {"method", "dataset", "adapter", "quantization", "seed", "init_adapter", "trainer_extra"}
        named = self.model_dump(mode="json", exclude=apart)
        return {**named, "learning_rate": self.effective_learning_rate, **self.trainer_extra}


# Query parameters that hold a key, whatever a provider calls them.
SECRET = re.compile(r"key|token|secret|passw|pwd|auth|credential|signature|^sig$|^code$", re.IGNORECASE)
ONE_KEY_BASELINES = {"prompt", "retrieved", "adapter", "endpoint"}


def without_secrets(url: str) -> str:
    """The URL as it is; ValueError where it carries a key, which would be stored with every result."""
    try:
        parts = urlsplit(url)
        names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if "@" in parts.netloc:
        raise ValueError("has a user or a secret in it: take it out, and name the key's variable in api_key_env")
    told = next((name for name in names if SECRET.search(name)), None)
    if told is not None:
        raise ValueError(f"has a key in it ({told}=…): take it out, and name the key's variable in api_key_env")
    if parts.fragment:
        raise ValueError("has a part behind '#', which no server sees: take it out")
    if not parts.hostname:
        raise ValueError("has no host")
    return url


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("is no name of an environment variable: write the variable's name, never the key itself")
    return name


class EndpointSpec(Model):
    """Any OpenAI-compatible server. `api_key_env` names the environment variable that holds its key."""

    base_url: Annotated[str, Field(pattern=r"^https?://"), AfterValidator(without_secrets)]
    model: str
    api_key_env: Annotated[str, AfterValidator(_variable)] | None = None


class Baseline(Model):
    """A row to beat: the base as it is, with examples, a system prompt or retrieved contexts; an adapter by name; or
    anybody's OpenAI-compatible endpoint."""

    kind: Literal["zero_shot", "few_shot", "prompt", "retrieved", "adapter", "endpoint"]
    shots: Annotated[int, Field(ge=0, le=64)] = 0
    examples: str | None = Field(None, description="file the examples come from; default: the training data")
    adapter: str | None = None
    prompt: str | None = Field(None, description="file whose text is the system prompt")
    retrieved: str | None = Field(None, description="JSONL of {id, contexts: [text]} per item, frozen")
    endpoint: EndpointSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def short_forms(cls, value: Any) -> Any:
        if value == "zero_shot":
            return {"kind": "zero_shot"}
        if isinstance(value, dict) and "few_shot" in value:
            return {
                "kind": "few_shot",
                "shots": value["few_shot"],
                **{k: v for k, v in value.items() if k != "few_shot"},
            }
        if isinstance(value, dict) and len(value) == 1 and set(value) <= ONE_KEY_BASELINES:
            return {"kind": next(iter(value)), **value}
        if isinstance(value, dict) and "kind" in value:
            return value
        raise ValueError(
            "write zero_shot, {few_shot: N}, {prompt: FILE}, {retrieved: FILE}, {adapter: NAME@ALIAS} or "
            "{endpoint: {base_url: URL, model: NAME}}"
        )

    @model_validator(mode="after")
    def nothing_missing(self) -> Baseline:
        if self.kind == "few_shot" and not self.shots:
            raise ValueError("few_shot needs at least 1 example: write zero_shot for none")
        if self.kind in ONE_KEY_BASELINES and not getattr(self, self.kind):
            raise ValueError(f"{self.kind} has no value: write {{{self.kind}: …}}")
        return self

    @property
    def label(self) -> str:
        if self.kind == "few_shot":
            return f"{self.shots}-shot" + (f" {Path(self.examples).stem}" if self.examples else "")
        if self.kind in ("prompt", "retrieved"):
            return f"{self.kind} {Path(getattr(self, self.kind)).stem}"
        if self.endpoint:
            return f"endpoint {self.endpoint.model}"
        return self.adapter or "zero-shot"


class LmEval(Model):
    tasks: Annotated[list[str], Field(min_length=1)]
    num_fewshot: int | None = None
    apply_chat_template: bool | Literal["auto"] = Field(
        "auto", description="auto: per subject, whichever of chat and plain scores better on dev"
    )
    dev_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="share of the documents, by hash, that is dev where a task does not say"
    )
    limit: Annotated[int, Field(ge=1)] | None = None


class EndpointSubject(Model):
    """An endpoint to evaluate as a candidate."""

    endpoint: EndpointSpec

    @property
    def label(self) -> str:
        return f"endpoint {self.endpoint.model}"


class Evaluate(Model):
    evalsets: list[str] = []
    lm_eval: LmEval | None = None
    concurrency: Annotated[int, Field(ge=1, le=512)] = 32
    timeout_s: Annotated[float, Field(gt=0)] = Field(
        600.0, description="for one answer; a large model on a CPU is slow"
    )
    repeat: bool = Field(True, description="A/A rows: base and one adapter are scored twice on the primary's evalset")
    forgetting: Literal["auto", "off"] = Field(
        "auto", description="auto: a gate without a guardrail on lm-eval or on `general` gets one on `general`"
    )


class Primary(Model):
    """The metric the candidate must win: `evalset/metric` or `lm_eval/task/metric`. `min_gain` in the metric's unit."""

    metric: str
    better_than: Annotated[list[str], Field(min_length=1)] = ["incumbent", "best_baseline"]
    min_gain: float = 0.0
    planned_gain: float | None = Field(None, description="the true gain hoped for; `plan` says how often it would ship")


class Guardrail(Model):
    """A metric the candidate must not lose by more than `max_loss` (in the metric's unit). The base always counts."""

    metric: str
    against: Annotated[list[str], Field(min_length=1)] = ["base", "incumbent"]
    max_loss: Annotated[float, Field(ge=0)]


class Gate(Model):
    primary: Primary
    guardrails: list[Guardrail] = []
    incumbent: str | None = Field(None, description="alias that the candidate would replace; default <name>@prod")
    decide: Literal["chosen", "all"] = Field(
        "chosen", description="who is tested on release: the best on dev, or every candidate, with Holm's correction"
    )
    overrule: str | None = Field(
        None, description="why a gate that its evalsets cannot decide is used all the same; its verdicts are advisory"
    )


class Spec(Model):
    name: str
    description: str = ""
    base_model: str | None = Field(
        None, description="a folder or a hub id; without one the first endpoint of `baselines` plays the base"
    )
    train: Train | None = None
    grid: dict[str, Any] = {}
    baselines: list[Baseline] = [Baseline(kind="zero_shot"), Baseline(kind="few_shot", shots=4)]
    subjects: list[str | EndpointSubject] = Field(
        [], description="to evaluate without training: NAME@ALIAS, NAME@vN, a run id, or {endpoint: {base_url, model}}"
    )
    evaluate: Evaluate
    gate: Gate | None = None

    @field_validator("name")
    @classmethod
    def safe_name(cls, value: str) -> str:
        try:
            return check_name(value, "name")
        except InputError as error:
            raise ValueError(error.one_line()) from error

    @model_validator(mode="after")
    def something_to_do(self) -> Spec:
        if self.train is None and not self.subjects:
            raise ValueError("nothing to evaluate: give `train` or `subjects`")
        if self.grid and self.train is None:
            raise ValueError("grid changes training, but there is no `train`")
        return self

    @model_validator(mode="after")
    def a_base_where_one_is_needed(self) -> Spec:
        if self.base_model is None:
            if self.train or self.evaluate.lm_eval or self.adapter_names:
                raise ValueError("base_model is missing: training, lm-eval and adapters need one")
            if not any(baseline.endpoint for baseline in self.baselines):
                raise ValueError("base_model is missing: name one, or an endpoint among `baselines` in its place")
        return self

    @property
    def adapter_names(self) -> list[str]:
        """Every adapter that the spec names as a subject or a baseline."""
        named = [*self.subjects, *(baseline.adapter for baseline in self.baselines)]
        return [name for name in named if isinstance(name, str)]


class GridPoint(Model):
    """One run of the grid: its training settings, and what the grid changed, for people."""

    label: str
    changes: dict[str, Any]
    train: Train


def load_spec(path: Path) -> tuple[Spec, list[GridPoint]]:
    """Read and validate a spec and every point of its grid.

    Raises InputError naming the file, the line and the key, with the nearest right key or the fix.
    """
    raw, lines = read_yaml(path)
    spec = _validate(Spec, raw, lines, ())
    return spec, [_grid_point(raw, changes, lines) for changes in _expand(raw, lines)] if spec.train else []


def _expand(raw: dict[str, Any], lines: Lines) -> list[dict[str, Any]]:
    """Every combination of grid changes: lists multiply, entries of `_` belong together. Always at least one."""
    axes: list[list[dict[str, Any]]] = []
    for key, values in (raw.get("grid") or {}).items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{lines.at('grid', key)}: grid.{key} must be a list of values", "write [a, b]")
        entries = values if key == "_" else [{key: value} for value in values]
        for entry in entries:
            if not isinstance(entry, dict):
                raise InputError(f"{lines.at('grid', key)}: each entry of grid._ maps keys to values")
            for changed in entry:
                if changed.split(".")[0] != "train" or "." not in changed:
                    raise InputError(
                        f"{lines.at('grid', key)}: grid key {changed!r} does not change training",
                        "start it with 'train.'",
                    )
        axes.append(entries)
    _check_axes(axes, lines)
    return [{k: v for part in parts for k, v in part.items()} for parts in itertools.product(*axes)]


def _check_axes(axes: list[list[dict[str, Any]]], lines: Lines) -> None:
    changed = [key for entries in axes for key in {key for entry in entries for key in entry}]
    twice = next((key for key in changed if changed.count(key) > 1), None)
    if twice:
        raise InputError(f"{lines.at('grid', twice)}: grid sets {twice} twice", "set it on its own or within `_`")
    runs = math.prod(len(entries) for entries in axes)
    if runs > MAX_RUNS:
        raise InputError(
            f"{lines.at('grid')}: the grid makes {runs:,} runs, more than {MAX_RUNS:,}", "shorten its lists"
        )


def _grid_point(raw: dict[str, Any], changes: dict[str, Any], lines: Lines) -> GridPoint:
    settings = copy.deepcopy(raw)
    for key, value in changes.items():
        _set(settings, key, value, lines)
    train = _validate(Train, settings["train"], lines, ("train",))
    label = " ".join(_change_label(key, value) for key, value in changes.items()) or train.method.type
    return GridPoint(label=label, changes=changes, train=train)


def _set(settings: dict[str, Any], dotted: str, value: Any, lines: Lines) -> None:
    *parents, last = dotted.split(".")
    target = settings
    for part in parents:
        child = target.setdefault(part, {})
        if not isinstance(child, dict):
            raise InputError(
                f"{lines.at('grid', dotted)}: grid.{dotted}: {part} is a single value, not a group of keys"
            )
        target = child
    target[last] = value


def _change_label(key: str, value: Any) -> str:
    name = key.rsplit(".", 1)[-1]
    if name == "quantization":
        return "16-bit" if value == "none" else str(value)
    if name == "dataset":
        return Path(str(value)).stem if isinstance(value, str) else "dataset"
    return f"{name}={value}"


def _validate(model: type[M], raw: Any, lines: Lines, prefix: tuple[str, ...]) -> M:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise as_input_error(error, model, TAGGED, lines, prefix) from None


def as_yaml(value: dict[str, Any]) -> str:
    """YAML in the order given, for files that people read."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)
