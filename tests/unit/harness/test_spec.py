"""Specs: what people write, and what they are told when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import InputError
from harness.spec import Spec, Train, as_yaml, load_spec
from harness.spec_errors import FOREIGN_NAMES

HEAD = "name: x\nbase_model: b\nevaluate: {evalsets: [a]}\n"
TRAIN = "train:\n  dataset: d.jsonl\n"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def from_text(train: str = "", rest: str = ""):
        body = "".join(f"  {line}\n" for line in train.splitlines())
        Path("s.yaml").write_text(HEAD + TRAIN + body + rest)
        return load_spec(Path("s.yaml"))

    return from_text


def test_the_smallest_spec_has_the_defaults_of_its_docstrings(load):
    spec, points = load()
    train = points[0].train
    assert (train.method.type, train.effective_learning_rate, train.num_train_epochs) == ("sft", 2e-4, 1.0)
    assert (train.adapter.r, train.adapter.lora_alpha, train.adapter.target_modules) == (16, 32, "all-linear")
    assert [baseline.label for baseline in spec.baselines] == ["zero-shot", "4-shot"]
    assert [point.label for point in points] == ["sft"]


def test_dpo_has_a_learning_rate_of_its_own_and_alpha_follows_r(load):
    _, points = load("method: {type: dpo}\nadapter: {r: 4}")
    assert points[0].train.effective_learning_rate == 1e-5
    assert points[0].train.adapter.lora_alpha == 8
    _, points = load("method: {type: dpo}\nadapter: {r: 4, lora_alpha: 5}\nlearning_rate: 3e-6")
    assert points[0].train.effective_learning_rate == 3e-6
    assert points[0].train.adapter.lora_alpha == 5


def test_several_datasets_keep_their_split_and_format(load):
    _, points = load()
    assert [(d.path, d.split) for d in points[0].train.dataset] == [("d.jsonl", "train")]
    text = HEAD + "train:\n  dataset: [a.jsonl, {path: b.csv, split: tune, format: alpaca}]\n"
    Path("s.yaml").write_text(text)
    _, points = load_spec(Path("s.yaml"))
    assert [(d.path, d.split, d.format) for d in points[0].train.dataset] == [
        ("a.jsonl", "train", None),
        ("b.csv", "tune", "alpaca"),
    ]


def test_lists_multiply_and_an_underscore_holds_what_belongs_together(load):
    """2 ranks x 2 seeds x 2 bundles = 8 runs; alpha follows the rank that the grid sets."""
    _, points = load(
        "adapter: {type: lora}",
        "grid:\n  train.adapter.r: [2, 8]\n  train.seed: [0, 1]\n"
        "  _:\n    - {train.quantization: none, train.learning_rate: 1e-3}\n    - {train.quantization: nf4}\n",
    )
    assert len(points) == 8
    assert len({point.label for point in points}) == 8
    assert points[0].label == "r=2 seed=0 16-bit learning_rate=0.001"
    assert points[-1].label == "r=8 seed=1 nf4"
    assert [point.train.adapter.lora_alpha for point in points] == [4.0] * 4 + [16.0] * 4
    assert points[-1].train.learning_rate is None, "one bundle must not leak into the next"


def test_a_grid_may_name_other_data(load):
    _, points = load("", "grid: {train.dataset: [data/one.jsonl, two.jsonl]}\n")
    assert [point.label for point in points] == ["one", "two"]


def test_trl_arguments_go_through_by_name(load):
    _, points = load("max_steps: 3\ntrainer_extra: {adam_epsilon: 1e-8, packing: true}")
    arguments = points[0].train.arguments()
    assert (arguments["adam_epsilon"], arguments["packing"], arguments["max_steps"]) == (1e-8, True, 3)
    assert arguments["learning_rate"] == 2e-4
    assert not set(arguments) & {"seed", "dataset", "method", "adapter", "quantization", "init_adapter"}


def test_a_spec_survives_yaml(load, tmp_path: Path):
    spec, _ = load("method: {type: dpo, beta: 0.2}", "gate: {primary: {metric: a/exact}}\n")
    (tmp_path / "again.yaml").write_text(as_yaml(spec.model_dump(mode="json")))
    assert load_spec(tmp_path / "again.yaml")[0] == spec


@pytest.mark.parametrize(
    ("train", "rest", "said"),
    [
        ("learning_rat: 1", "", "s.yaml:6: unknown key 'train.learning_rat'. did you mean 'learning_rate'"),
        ("lora_rank: 8", "", "s.yaml:6: unknown key 'train.lora_rank'. here it is adapter.r"),
        ("load_in_4bit: true", "", "s.yaml:6: unknown key 'train.load_in_4bit'. here it is train.quantization: nf4"),
        ("adapter:\n  rank: 8", "", "s.yaml:7: unknown key 'train.adapter.rank'. here it is adapter.r"),
        ("adapter:\n  zzz: 8", "", "s.yaml:7: unknown key 'train.adapter.zzz'. keys here: "),
        ("", "basemodel: b\n", "s.yaml:6: unknown key 'basemodel'. did you mean 'base_model'"),
        ("method: {type: sft, beta: 0.1}", "", "s.yaml:6: unknown key 'train.method.beta'. keys here: type"),
        ("method: {type: dpo, bta: 0.1}", "", "s.yaml:6: unknown key 'train.method.bta'. did you mean 'beta'"),
        ("method: {type: ppo}", "", "s.yaml:6: train.method.type is 'ppo'. use 'sft', 'dpo'"),
        ("method: {beta: 0.1}", "", "s.yaml:6: train.method.type is missing. add it"),
        ("method: dpo", "", "s.yaml:6: train.method must hold keys of its own (it is 'dpo'). write {key: value}"),
        ("method: {type: dpo, label_smoothing: 0.5}", "", "s.yaml:6: train.method.label_smoothing: "),
        ("adapter: null", "", "s.yaml:6: train.adapter must hold keys of its own"),
        ("adapter: {r: 0}", "", "s.yaml:6: train.adapter.r: Input should be greater than or equal to 1 (it is 0)"),
        ("adapter: {target_modules: 3}", "", "s.yaml:6: train.adapter.target_modules: Input should be a valid string"),
        ("quantization: fp4", "", "s.yaml:6: train.quantization: Input should be 'none', 'nf4' or 'int8'"),
        ("trainer_extra: {seed: 3}", "", "trainer_extra.seed has a key of its own: write train.seed"),
        ("seed: 0\nseed: 1", "", "s.yaml:7: key 'seed' stands twice"),
        ("", "grid: {train.adapter.r: 8}\n", "s.yaml:6: grid.train.adapter.r must be a list of values. write [a, b]"),
        ("", "grid: {train.adapter.r: []}\n", "s.yaml:6: grid.train.adapter.r must be a list of values"),
        ("", "grid: {adapter.r: [1]}\n", "s.yaml:6: grid key 'adapter.r' does not change training. start it with"),
        ("", "grid: {name: [x, y]}\n", "s.yaml:6: grid key 'name' does not change training"),
        ("", "grid: {_: [{train.seed: 1}, 3]}\n", "s.yaml:6: each entry of grid._ maps keys to values"),
        ("", "grid: {train.dataset.path: [x]}\n", "dataset is a single value, not a group of keys"),
        ("", "grid: {train.seed: [1, x]}\n", "train.seed: Input should be a valid integer"),
        ("", "grid: {train.lora_rank: [1]}\n", "unknown key 'train.lora_rank'. here it is adapter.r"),
        ("", "grid: {_: [{train.seed: 1}], train.seed: [2]}\n", "s.yaml:6: grid sets train.seed twice"),
        ("", "baselines: [few_shot]\n", "s.yaml:6: baselines.0: write zero_shot, {few_shot: N}, {prompt: FILE}"),
        ("", "baselines:\n  - zero_shot\n  - {few_shot: 0}\n", "s.yaml:8: baselines.1: few_shot needs at least 1"),
        (
            "",
            "baselines: [{few_shot: 4, exampels: x}]\n",
            "unknown key 'baselines.0.exampels'. did you mean 'examples'",
        ),
        ("", "baselines: [{adapter: null}]\n", "s.yaml:6: baselines.0: adapter has no value"),
        ("", "gate: {primary: {metric: a/b}, guardrails: [{metric: a/c}]}\n", "gate.guardrails.0.max_loss is missing"),
        ("", "gate: {primary: {metric: a/b, better_than: []}}\n", "s.yaml:6: gate.primary.better_than: "),
        ("", "gate: {primary: a/b}\n", "s.yaml:6: gate.primary must hold keys of its own"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(load, train, rest, said):
    with pytest.raises(InputError) as caught:
        load(train, rest)
    line = caught.value.one_line()
    assert said in line
    assert line.startswith("s.yaml:")


@pytest.mark.parametrize("name", ["Has Capitals", "../up", "a/b", "", "-x", "a" * 65])
def test_a_name_must_be_safe_as_a_file(tmp_path: Path, name):
    path = tmp_path / "s.yaml"
    path.write_text(HEAD.replace("name: x", f"name: {name!r}") + TRAIN)
    with pytest.raises(InputError, match=r"s.yaml:1: name: "):
        load_spec(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD, "nothing to evaluate: give `train` or `subjects`"),
        (HEAD + "subjects: [aac@v1]\ngrid: {train.seed: [1]}\n", "grid changes training, but there is no `train`"),
        ("name: x\nevaluate: {}\n" + TRAIN, "base_model is missing: training, lm-eval and adapters need one"),
        (HEAD + "train: {}\n", "s.yaml:4: train.dataset is missing. add it"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, text, said):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError, match=said.replace("?", r"\?")):
        load_spec(tmp_path / "s.yaml")


def test_a_grid_that_exploded_is_refused_at_once(load):
    """Ten values on each of nine axes are 10^9 runs."""
    keys = ["adapter.r", "seed", "learning_rate", "max_steps", "max_length", "weight_decay", "warmup_steps",
            "num_train_epochs", "per_device_train_batch_size"]  # fmt: skip
    grid = "grid:\n" + "".join(f"  train.{key}: {list(range(10, 20))}\n" for key in keys)
    with pytest.raises(InputError, match="the grid makes 1,000,000,000 runs, more than 1,000"):
        load("", grid)


def test_subjects_without_training_make_no_runs(tmp_path: Path):
    (tmp_path / "s.yaml").write_text(HEAD + "subjects: [aac@v1]\n")
    spec, points = load_spec(tmp_path / "s.yaml")
    assert (spec.train, points) == (None, [])


def test_foreign_names_are_no_names_of_ours():
    """A name of ours in this table would be refused with a hint to itself."""
    ours = set(Spec.model_fields) | set(Train.model_fields)
    assert set(FOREIGN_NAMES) & ours == set()


def test_two_few_shot_baselines_with_other_examples_have_two_labels(load):
    spec, _ = load("", "baselines: [{few_shot: 4}, {few_shot: 4, examples: data/other.jsonl}]\n")
    assert [baseline.label for baseline in spec.baselines] == ["4-shot", "4-shot other"]


def test_the_quickstart_is_a_good_spec():
    root = Path(__file__).resolve().parents[3]
    specs = sorted((root / "experiments").glob("*.yaml"))
    assert specs
    for path in specs:
        load_spec(path)
