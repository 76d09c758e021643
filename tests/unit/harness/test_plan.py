"""Ids: they change with what changes weights, text or the decision, and with nothing else."""

from __future__ import annotations

import pytest

from harness.core.fingerprint import sha256_of
from harness.core.records import Subject
from harness.plan import eval_id, plan_record

ENGINE = {"vllm": "vllm 0.32", "dtype": "float32", "max_model_len": 128}


def run_id(desk, **changes):
    desk.spec(**changes)
    (job,) = desk.resolve().plan.runs
    return job.run_id


def plan_id(desk, **changes):
    desk.spec(**changes)
    return desk.resolve().plan.plan_id


def test_the_same_spec_makes_the_same_ids(desk):
    first, again = desk.resolve().plan, desk.resolve().plan
    assert first.plan_id == again.plan_id
    assert [job.run_id for job in first.runs] == [job.run_id for job in again.runs]


def test_a_run_is_not_its_name_its_place_or_its_evaluation(desk):
    first = run_id(desk)
    assert run_id(desk, name="other", description="words") == first
    assert run_id(desk, baselines=[]) == first
    assert run_id(desk, gate=None) == first
    assert run_id(desk, evaluate__concurrency=1) == first
    (desk.root / "train.jsonl").rename(desk.root / "moved.jsonl")
    assert run_id(desk, train__dataset="moved.jsonl") == first
    (desk.root / "base").rename(desk.root / "base2")
    assert run_id(desk, train__dataset="moved.jsonl", base_model="base2") == first
    changed = run_id(desk, train__dataset="moved.jsonl", base_model="base2", grid={"train.seed": [0]})
    assert changed == first, "the grid's label is no content"


def test_what_is_said_and_what_is_the_default_are_one_run(desk):
    first = run_id(desk)
    said = {"train__learning_rate": 2e-4, "train__adapter__lora_alpha": 16, "train__method__type": "sft"}
    assert run_id(desk, **said, train__seed=0, train__quantization="none") == first


def test_everything_that_changes_weights_makes_another_run(desk):
    changes = [
        {},
        {"train__seed": 1},
        {"train__adapter__r": 4},
        {"train__adapter__lora_alpha": 1},
        {"train__adapter__lora_dropout": 0.1},
        {"train__adapter__use_rslora": True},
        {"train__adapter__target_modules": ["q_proj"]},
        {"train__learning_rate": 1e-4},
        {"train__num_train_epochs": 2},
        {"train__per_device_train_batch_size": 8},
        {"train__gradient_accumulation_steps": 2},
        {"train__max_length": 64},
        {"train__quantization": "nf4"},
        {"train__trainer_extra": {"adam_epsilon": 1e-6}},
        {"train__dataset": ["train.jsonl", "train.jsonl"]},
        {"train__dataset": {"path": "train.jsonl", "split": "tune"}},
    ]
    assert len({run_id(desk, **change) for change in changes}) == len(changes)


def test_changed_data_or_base_makes_another_run(desk):
    first = run_id(desk)
    desk.write("train.jsonl", [{"prompt": "train 0", "completion": "no"}])
    second = run_id(desk)
    (desk.root / "base" / "tokenizer.json").write_text('{"other": 1}')
    assert len({first, second, run_id(desk)}) == 3


def test_a_parent_counts_by_its_content(desk):
    alone = run_id(desk)
    desk.spec("a.yaml", train__seed=1)
    desk.spec("b.yaml", train__seed=2)
    parents = [desk.trained(desk.resolve(name).plan.runs[0]) for name in ("a.yaml", "b.yaml")]
    children = [run_id(desk, train__init_adapter=parent.run_id) for parent in parents]
    assert len({alone, *children}) == 3
    desk.spec(train__init_adapter=parents[0].run_id)
    (job,) = desk.resolve().plan.runs
    assert job.init_adapter_sha256 == parents[0].sha256
    assert job.init_adapter == str(desk.lab.runs / parents[0].run_id / "adapter")


def test_equal_runs_of_a_grid_are_one(desk):
    desk.spec(grid={"train.seed": [0, 1, 0]})
    assert len(desk.resolve().plan.runs) == 2


def test_a_plan_is_what_is_trained_evaluated_and_decided(desk):
    gate = {"primary": {"metric": "mini/exact", "better_than": ["incumbent", "best_baseline"]}}
    assert plan_id(desk) == plan_id(desk, evaluate__concurrency=1, description="words")
    changes = [
        {},
        {"name": "other"},
        {"gate": {"primary": {**gate["primary"], "min_gain": 0.1}}},
        {"gate": {**gate, "guardrails": [{"metric": "mini/exact", "max_loss": 0.1}]}},
        {"gate": {**gate, "incumbent": "other@prod"}},
        {"gate": None},
        {"baselines": []},
        {"train__seed": 1},
        {"evaluate__evalsets": []},
    ]
    assert len({plan_id(desk, **change) for change in changes}) == len(changes)


def test_a_changed_gate_trains_nothing_again(desk):
    first = desk.resolve().plan
    desk.spec(gate__primary__min_gain=0.2)
    second = desk.resolve().plan
    assert [job.run_id for job in first.runs] == [job.run_id for job in second.runs]
    assert first.plan_id != second.plan_id


def test_a_changed_evalset_is_a_new_plan(desk):
    first = plan_id(desk)
    desk.evalset("mini", version=2)
    assert plan_id(desk) != first


def test_a_plan_holds_the_whole_spec(desk):
    context = desk.resolve()
    made = plan_record(context.spec, desk.root / "spec.yaml", context.plan.runs, {"mini": "0" * 64})
    assert made.spec == context.spec.model_dump(mode="json")
    assert made.plan_id != context.plan.plan_id, "the evalset's hash counts"


def subject(**changes: object) -> Subject:
    given = {"kind": "adapter", "label": "l", "model": "m", "base_sha256": "b" * 64, "adapter_sha256": "a" * 64}
    return Subject.model_validate(given | changes)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"subject": subject(label="x", model="y", run_id="r-1")}, True),
        ({"engine": ENGINE | {"kernels": "stock", "port": 8001}}, True),
        ({"subject": subject(adapter_sha256="c" * 64)}, False),
        ({"sha": "f" * 64}, False),
        ({"decoding": {"temperature": 0.5}}, False),
        ({"engine": ENGINE | {"vllm": "vllm 0.33"}}, False),
        ({"engine": ENGINE | {"dtype": "bfloat16"}}, False),
        ({"engine": ENGINE | {"max_model_len": 64}}, False),
    ],
)
def test_an_evaluation_is_what_changes_its_text(change, same):
    given = {"subject": subject(), "sha": "e" * 64, "decoding": {"temperature": 0.0}, "engine": ENGINE}

    def made(subject, sha, decoding, engine):
        return eval_id(subject, sha, decoding, engine)

    assert (made(**given) == made(**given | change)) is same


def test_few_shot_is_another_subject_than_its_base(desk):
    desk.spec(baselines=["zero_shot", {"few_shot": 2}, {"few_shot": 4}])
    context = desk.resolve()
    base, two, four = context.baseline_subjects()
    assert len({base.identity, two.identity, four.identity}) == 3
    assert two.prompting.examples_sha256 == sha256_of(context.preface(two).turns)


def test_few_shot_with_other_examples_is_another_row(desk):
    desk.write("other.jsonl", [{"prompt": f"other {i}", "completion": "x"} for i in range(2)])
    desk.spec(baselines=[{"few_shot": 2}, {"few_shot": 2, "examples": "other.jsonl"}])
    context = desk.resolve()
    assert [one.label for one in context.baseline_subjects()] == ["zero-shot", "2-shot", "2-shot other"]
    assert len({one.identity for one in context.baseline_subjects()}) == 3
