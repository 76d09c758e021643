"""`check`: everything that can be known before compute is spent."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from harness.core import machine
from harness.core.errors import InputError
from harness.pipeline.check import check, require_clean


def findings(desk, **changes):
    desk.spec(**changes)
    return check(desk.lab, Path("spec.yaml")).findings


def errors(desk, **changes):
    return [f"{one.topic}: {one.text}. {one.fix}" for one in findings(desk, **changes) if one.level == "error"]


def test_a_good_spec_is_said_to_be_good(desk):
    checked = check(desk.lab, Path("spec.yaml"))
    require_clean(checked)
    found = {one.topic: one for one in checked.findings}
    assert [one.topic for one in checked.findings if one.level != "ok"] == ["forgetting"]
    assert found["grid"].text == "1 run, all servable by vLLM"
    assert found["evalset mini@1"].text == "10 dev, 40 release; gold answers score full marks"
    assert found["contamination"].text == "none of 50 items among 8 training rows"


def test_the_first_row_is_shown_with_what_is_trained_on(desk):
    checked = check(desk.lab, Path("spec.yaml"))
    assert checked.rendered == [("<user>train 0</s><assistant>", False), ("yes 0</s>", True)]


def test_a_base_without_a_template_shows_the_bare_texts(desk):
    (desk.root / "base" / "chat_template.jinja").unlink()
    assert check(desk.lab, Path("spec.yaml")).rendered == [("train 0", False), ("yes 0", True)]


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{%- for m in messages %}{%- generation -%}{{ m.content }}{%- endgeneration -%}{%- endfor %}", "train 0"),
        ("{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{% endfor %}{{ '<>'|tojson }}", '"<>"'),
        ("{{ strftime_now('%Y') | length }}", "4"),
    ],
)
def test_what_templates_of_the_hub_use_is_understood(desk, template, shown):
    """Generation tags, loop controls, today's date, and JSON that is not escaped for HTML."""
    (desk.root / "base" / "chat_template.jinja").write_text(template)
    assert check(desk.lab, Path("spec.yaml")).rendered[0] == (shown, False)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('no system turns') }}", r"refuses the first training row \(no system turns\)"),
        ("{% for %}", "refuses the first training row"),
        ("{{ messages.__class__.__mro__ }}", "refuses the first training row"),
        ("{{ nothing.at.all }}", "refuses the first training row"),
    ],
)
def test_a_template_that_refuses_the_data_is_said_before_training(desk, template, said):
    (desk.root / "base" / "chat_template.jinja").write_text(template)
    with pytest.raises(InputError, match=said):
        check(desk.lab, Path("spec.yaml"))


def test_adapters_that_vllm_refuses_are_refused_before_training(desk):
    (refused,) = errors(desk, train__adapter__r=1024)
    assert refused.startswith("run sft: r: 1024 is more than this engine serves (512). lower it")
    assert "use_dora" in errors(desk, train__adapter__use_dora=True)[0]
    assert "modules_to_save" in errors(desk, train__adapter__modules_to_save=["lm_head"])[0]
    assert "bias" in errors(desk, train__adapter__bias="all")[0]
    assert "init_lora_weights" in errors(desk, train__adapter__init_lora_weights="pissa")[0]
    assert "lm_head" in errors(desk, train__adapter__target_modules=["lm_head", "q_proj"])[0]


def test_only_the_bad_run_of_a_grid_is_named(desk):
    (refused,) = errors(desk, grid={"train.adapter.r": [8, 1024]})
    assert refused.startswith("run r=1024: ")


def test_trl_arguments_are_checked_by_name(desk):
    (unknown,) = errors(desk, train__trainer_extra={"adam_epsilom": 1e-8})
    assert "train.adam_epsilom is no argument of SFT in TRL. did you mean 'adam_epsilon'" in unknown
    (ours,) = errors(desk, train__trainer_extra={"output_dir": "/tmp/x"})
    assert "train.output_dir cannot be set" in ours


def preferences(desk):
    desk.write("train.jsonl", [{"prompt": f"p {i}", "chosen": "yes", "rejected": "no"} for i in range(4)])


def test_settings_that_the_loss_ignores_are_refused(desk):
    preferences(desk)
    (ignored,) = errors(desk, train__method={"type": "dpo", "label_smoothing": 0.1})
    assert "train.method.label_smoothing is ignored by loss_type sigmoid. use loss_type: robust" in ignored
    assert errors(desk, train__method={"type": "dpo", "label_smoothing": 0.1, "loss_type": "robust"}) == []


def test_data_must_fit_the_method(desk):
    with pytest.raises(
        InputError, match=r"format prompt_completion does not fit method dpo. it needs prompt, chosen and"
    ):
        findings(desk, train__method={"type": "dpo"})
    preferences(desk)
    with pytest.raises(
        InputError, match=r"format preference does not fit method sft. it needs a prompt and a completion"
    ):
        findings(desk)


def test_a_verdict_needs_release_items(desk):
    desk.evalset("mini", [{"id": "1", "split": "dev", "prompt": "q", "gold": ["a"]}])
    assert "evalset mini: has no release items. a verdict needs split: release" in errors(desk)


def test_a_gate_on_what_nobody_measures(desk):
    (unknown,) = errors(desk, gate__primary__metric="mini/exakt")
    assert unknown == "gate: metric 'mini/exakt' is not measured by this spec. use one of mini/exact"
    guardrail = [{"metric": "lm_eval/arc_easy/acc", "max_loss": 0.02}]
    assert "metric 'lm_eval/arc_easy/acc' is not measured" in errors(desk, gate__guardrails=guardrail)[0]


def test_lm_eval_is_asked_for_tasks_that_are_not_ours(desk):
    """In a child process: the metric of a task that does not exist, with the nearest that does."""
    guardrail = [{"metric": "lm_eval/arc_eazy/acc", "max_loss": 0.02}]
    measured = {"evalsets": ["mini"], "lm_eval": {"tasks": ["arc_eazy"]}}
    (unknown,) = errors(desk, gate__guardrails=guardrail, evaluate=measured)
    assert "arc_eazy" in unknown
    assert "arc_easy" in unknown


def test_a_limit_cuts_what_the_gate_decides_on(desk):
    desk.evalset("tasks", files={"tiny.yaml": "task: tiny\n"}, kind="lm_eval", tasks=["tiny"], metrics=None)
    guardrail = [{"metric": "lm_eval/tiny/acc", "max_loss": 0.02}]
    measured = {"evalsets": ["mini"], "lm_eval": {"tasks": ["tiny"], "limit": 5}}
    assert (
        "evaluate.lm_eval.limit 5 cuts the documents" in errors(desk, gate__guardrails=guardrail, evaluate=measured)[0]
    )


def test_a_comparator_that_is_not_there(desk):
    (unknown,) = errors(desk, gate__primary__better_than=["best_basline"])
    assert unknown == (
        "gate: comparator 'best_basline' is not in this spec. use one of incumbent, best_baseline, base, zero-shot"
    )
    assert errors(desk, gate__primary__better_than=["zero-shot", "base"]) == []


def power(desk, **changes):
    return [one for one in findings(desk, **changes) if one.topic in ("power", "whole gate", "looks")]


def guard(max_loss):
    return [{"metric": "mini/exact", "max_loss": max_loss}]


def test_a_margin_that_no_result_could_clear_is_refused(desk):
    """Without a single change among 40 items Tango's bound is -1.96² / (40 + 1.96²) = -0.0876: not above -0.02."""
    assert math.isclose(1.96**2 / (40 + 1.96**2), 0.0876, abs_tol=1e-4)
    (_, refused, _) = power(desk, gate__guardrails=guard(0.02))
    assert refused.level == "error"
    assert "40 release items show a difference of" in refused.text
    assert "but max_loss is 0.02; cannot be decided" in refused.text
    (_, advisory, _) = power(desk, gate__guardrails=guard(0.02), gate__overrule="a first look")
    assert (advisory.level, advisory.fix) == ("warning", "overruled: a first look; the verdict is advisory")


def test_a_margin_that_is_hard_to_clear_is_a_warning(desk):
    """0.10 lies beyond the best bound, but with 10 % of 40 items flipping the row rarely ships; 0.3 is easy."""
    assert power(desk, gate__guardrails=guard(0.10))[1].level == "warning"
    assert [one.level for one in power(desk, gate__guardrails=guard(0.3))] == ["ok", "ok", "ok"]


def test_the_power_of_the_whole_gate_is_for_the_planned_gain(desk):
    (_, whole) = power(desk, gate__primary__planned_gain=0.9)
    assert "a true gain of 0.9, with nothing lost, ships in at least 100% of cases" in whole.text
    assert "look 1 at this release split, one-sided 2.50%" in whole.text
    (row, _) = power(desk, gate__primary__planned_gain=0.9)
    assert "10 % of items assumed to flip" in row.text


def test_a_gain_beyond_the_unit_is_no_crash(desk):
    """Points where a share is meant: it would always ship, or never."""
    (_, whole) = power(desk, gate__primary__planned_gain=2)
    assert whole.level == "warning"
    (_, whole) = power(desk, gate__primary__min_gain=5)
    assert whole.level == "warning"


def test_an_evalset_that_somebody_is_writing_disturbs_nobody(desk):
    desk.evalset("tasks", kind="lm_eval", tasks=["tiny"], metrics=None)
    desk.write("evalsets/draft/evalset.yaml", "nam: draft\n")
    measured = {"evalsets": ["mini"], "lm_eval": {"tasks": ["tiny"]}}
    assert "draft" not in str(findings(desk, evaluate=measured))


def test_stored_dev_scores_replace_the_assumed_spread(desk):
    desk.evaluated()
    desk.ratchet("report", "spec.yaml")
    (row, _) = power(desk)
    assert "from 10 dev items stored" in row.text


def test_no_gate_is_a_warning(desk):
    (warning,) = [one for one in findings(desk, gate=None) if one.level == "warning"]
    assert warning.topic == "gate"


def test_memory_is_a_warning_where_it_cannot_be_known_or_had(desk):
    config = json.loads((desk.root / "base" / "config.json").read_text())
    for change in ({"hidden_size": None}, {"dtype": "float64"}):
        cut = {key: value for key, value in (config | change).items() if value is not None}
        (desk.root / "base" / "config.json").write_text(json.dumps(cut))
        (found,) = [one for one in findings(desk) if one.topic == "memory"]
        assert (found.level, found.text[:11]) == ("warning", "no estimate")
    (desk.root / "base" / "config.json").write_text(json.dumps(config | {"hidden_size": 10**9}))
    (found,) = [one for one in findings(desk) if one.topic == "memory"]
    assert (found.level, found.fix) == ("warning", "use a GPU, a smaller batch or quantization: nf4")


def test_memory_is_that_of_the_gpu_where_there_is_one(desk, monkeypatch):
    monkeypatch.setattr(machine, "gpu_bytes", lambda: 80 * 2**30)
    (found,) = [one for one in findings(desk) if one.topic == "memory"]
    assert found.level == "ok"
    assert found.text.endswith("; the GPU has 80.0 GiB")
    monkeypatch.setattr(machine, "gpu_bytes", lambda: 2**29)  # CUDA alone takes more
    (found,) = [one for one in findings(desk) if one.topic == "memory"]
    assert (found.level, found.fix) == ("warning", "use a smaller batch, quantization: nf4 or a larger GPU")


def test_memory_of_a_bf16_base_on_a_cpu_without_bf16_is_that_of_fp32(desk, monkeypatch):
    monkeypatch.setattr(machine, "gpu_bytes", lambda: None)
    config = json.loads((desk.root / "base" / "config.json").read_text())
    (desk.root / "base" / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    told = []
    for bf16 in (True, False):
        monkeypatch.setattr(machine, "cpu_computes_bf16", lambda bf16=bf16: bf16)
        (found,) = [one for one in findings(desk) if one.topic == "memory"]
        told.append(float(re.match(r"training up to ([\d.]+)", found.text)[1]))
    assert told[0] < told[1]


def test_two_evalsets_of_one_name_would_be_mixed_up(desk):
    desk.evalset("copy", name="mini")
    with pytest.raises(InputError, match=r"two of evaluate.evalsets have one name: mini, mini"):
        findings(desk, evaluate__evalsets=["mini", "copy"])


def test_lm_eval_tasks_are_no_business_evalset(desk):
    desk.evalset("tasks", kind="lm_eval", tasks=["tiny"], metrics=None)
    with pytest.raises(InputError, match=r"evalset 'tasks' holds lm-eval tasks. name its tasks under evaluate.lm_eval"):
        findings(desk, evaluate__evalsets=["tasks"])
    found = findings(desk, evaluate__lm_eval={"tasks": ["tiny"]})
    assert not [one for one in found if one.level == "error"]


def test_an_unrelated_evalset_may_be_unfinished(desk):
    """Somebody writes a new evalset while others work: only those that a spec names are read whole."""
    desk.evalset("tasks", kind="lm_eval", tasks=["tiny"], metrics=None)
    desk.evalset("draft", rows="not json\n")
    assert errors(desk, evaluate__lm_eval={"tasks": ["tiny"]}) == []


@pytest.mark.parametrize("key", ["subjects", "baselines", "train__init_adapter"])
def test_adapters_must_stand_on_the_spec_s_base(desk, key):
    made = desk.trained(desk.resolve().plan.runs[0])
    (desk.root / "base" / "tokenizer.json").write_text('{"another": "base"}')
    value = {"subjects": [made.run_id], "baselines": [{"adapter": made.run_id}], "train__init_adapter": made.run_id}[
        key
    ]
    with pytest.raises(InputError, match=r"adapter sft was trained on another base than base. give the base_model"):
        findings(desk, **{key: value})


def test_adapters_that_do_not_exist_are_named_before_training(desk):
    for changes in ({"subjects": ["r-000000000000"]}, {"baselines": [{"adapter": "r-000000000000"}]}):
        with pytest.raises(InputError, match="run r-000000000000 has no finished adapter"):
            findings(desk, **changes)


def test_the_first_error_is_said_with_the_number_of_others(desk):
    desk.spec(train__adapter__r=1024, gate__primary__metric="x/y")
    with pytest.raises(InputError, match=r"run sft: r: 1024 .* \(and 1 more: see `ratchet check`\)"):
        require_clean(check(desk.lab, Path("spec.yaml")))


def test_checking_writes_nothing_but_a_cache(desk):
    check(desk.lab, Path("spec.yaml"))
    assert desk.files() == set()
