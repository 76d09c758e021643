"""Promotion through the command: what ships moves the alias, what does not leaves everything as it was."""

from __future__ import annotations

import hashlib
import json

import httpx
import psutil
import pytest

from serve import registry
from serve.fake import Script
from serve.lease import Lease
from tests.unit.harness.conftest import TEMPLATE


@pytest.fixture
def shipped(desk):
    """A run whose report says SHIP: the adapter answers everything, the base nothing."""
    context = desk.evaluated()
    assert desk.ratchet("report", "spec.yaml").code == 0
    return context.plan.runs[0].run_id


def second(desk, right=None):
    """Another run, seed 1, evaluated and reported against what the alias serves by then. Returns run id and report."""
    desk.spec("second.yaml", train__seed=1)
    context = desk.evaluated("second.yaml", right)
    return context.plan.runs[0].run_id, desk.ratchet("report", "second.yaml")


def aliases(desk) -> dict[str, int]:
    return registry.read(desk.lab, "desk").aliases


def test_what_ships_becomes_a_version_and_moves_the_alias(desk, shipped):
    done = desk.ratchet("promote", shipped, "--as", "desk@prod")
    assert (done.code, done.out.strip()) == (0, f"desk@prod -> v1 = {shipped}")
    record = registry.read(desk.lab, "desk")
    (version,) = record.versions
    assert (version.run_id, version.verdict, version.forced_reason) == (shipped, "SHIP", None)
    assert version.plan_id == desk.resolve().plan.plan_id
    assert record.history[-1].who == "tester"
    assert record.history[-1].why == f"verdict SHIP in plan {version.plan_id}"
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        served = desk.lab.registry / "desk" / "v1" / name
        assert served.read_bytes() == (desk.lab.runs / shipped / "adapter" / name).read_bytes()


def test_best_is_what_the_newest_report_of_the_name_chose(desk, shipped):
    assert desk.ratchet("promote", "best", "--as", "desk@prod").out.strip() == f"desk@prod -> v1 = {shipped}"
    assert "there is no report of 'other'" in desk.ratchet("promote", "best", "--as", "other@prod").error


def test_promoting_twice_adds_nothing(desk, shipped):
    desk.ratchet("promote", shipped, "--as", "desk@canary", "--judged-for", "desk@prod")
    before = registry.read(desk.lab, "desk")
    desk.ratchet("promote", shipped, "--as", "desk@canary", "--force", "--reason", "again")
    assert registry.read(desk.lab, "desk") == before


@pytest.mark.parametrize(
    ("right", "code", "verdict"),
    [
        (lambda subject, number: subject.kind == "base", 10, "BLOCK"),
        (lambda subject, number: number % 2 == (subject.kind == "base"), 11, "INCONCLUSIVE"),
    ],
)
def test_what_does_not_ship_moves_nothing(desk, right, code, verdict):
    run_id = desk.evaluated(right=right).plan.runs[0].run_id
    assert desk.ratchet("report", "spec.yaml").code == code
    refused = desk.ratchet("promote", run_id, "--as", "desk@prod", "--format", "json")
    assert refused.code == code
    assert json.loads(refused.out)["verdict"] == verdict
    assert "(--force --reason overrides, on record)" in json.loads(refused.out)["text"]
    assert not desk.lab.registry.exists() or aliases(desk) == {}


def test_force_is_kept_on_record(desk):
    run_id = desk.evaluated(right=lambda subject, number: False).plan.runs[0].run_id
    desk.ratchet("report", "spec.yaml")
    done = desk.ratchet("promote", run_id, "--as", "desk@prod", "--force", "--reason", "a demo")
    assert done.code == 0
    record = registry.read(desk.lab, "desk")
    assert (record.versions[0].forced_reason, record.history[0].why) == ("a demo", "forced: a demo")
    assert record.versions[0].verdict == "INCONCLUSIVE"


def test_force_without_a_verdict_is_possible_and_said(desk):
    run_id = desk.trained(desk.resolve().plan.runs[0]).run_id
    assert desk.ratchet("promote", run_id, "--as", "desk@prod", "--force", "--reason", "no gate").code == 0
    (version,) = registry.read(desk.lab, "desk").versions
    assert (version.verdict, version.plan_id) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("r-000000000000", "--as", "desk@prod"), "there is no finished run 'r-000000000000'"),
        (("../../x", "--as", "desk@prod"), "there is no finished run '../../x'"),
        (("RUN", "--as", "desk@v1"), "'desk@v1' is a version. name an alias to move"),
        (("RUN", "--as", "../desk@prod"), "registry name '../desk' is not a valid name"),
        (("RUN", "--as", "desk@PROD"), "alias 'PROD' is not a valid name"),
        (("RUN", "--as", "desk@prod"), "has no verdict. give its spec a gate and run it"),
        (("RUN", "--as", "desk@prod", "--force"), "--force needs --reason. say why"),
    ],
)
def test_what_cannot_be_promoted_is_said_and_nothing_moves(desk, arguments, said):
    run_id = desk.trained(desk.resolve().plan.runs[0]).run_id
    files = desk.files()
    refused = desk.ratchet("promote", *(run_id if one == "RUN" else one for one in arguments))
    assert said in refused.error
    assert refused.code == 1
    assert desk.files() == files


def test_a_verdict_against_another_incumbent_is_stale(desk, shipped):
    """Both runs were compared with nothing; after the first was promoted, the second must be compared with it."""
    run_id, _ = second(desk)
    assert desk.ratchet("promote", shipped, "--as", "desk@prod").code == 0
    refused = desk.ratchet("promote", run_id, "--as", "desk@prod")
    assert f"the verdict of {run_id} is stale" in refused.error
    assert aliases(desk) == {"prod": 1}


def test_the_second_round_must_beat_the_first_and_takes_its_place(desk):
    """The base answers nothing, the first round every second item, the second round all of them."""
    old = (
        desk.evaluated(right=lambda subject, number: subject.kind == "adapter" and number % 2 == 0).plan.runs[0].run_id
    )
    desk.ratchet("report", "spec.yaml")
    desk.ratchet("promote", old, "--as", "desk@prod")
    worse, report = second(desk, lambda subject, number: subject.kind == "adapter" and number % 4 == 0)
    assert report.code == 10, "a gain over the base, and a loss against what is served"
    assert desk.ratchet("promote", worse, "--as", "desk@prod").code == 10
    desk.spec("third.yaml", train__seed=2)
    new = desk.evaluated("third.yaml").plan.runs[0].run_id
    assert desk.ratchet("report", "third.yaml").code == 0
    assert desk.ratchet("promote", new, "--as", "desk@prod").out.strip() == f"desk@prod -> v2 = {new} (it served v1)"
    assert aliases(desk) == {"prod": 2}


def test_a_verdict_holds_for_the_alias_that_it_was_made_for(desk, shipped):
    """It says: better than what desk@prod serves. For another alias that must still be so, and be said."""
    refused = desk.ratchet("promote", shipped, "--as", "desk@canary")
    assert f"the verdict of {shipped} was made for desk@prod, not for desk@canary" in refused.error
    assert "--judged-for desk@prod" in refused.error
    wrong = desk.ratchet("promote", shipped, "--as", "desk@canary", "--judged-for", "desk@beta")
    assert "was made for desk@prod, not for desk@beta" in wrong.error
    assert aliases(desk) == {}
    done = desk.ratchet("promote", shipped, "--as", "desk@canary", "--judged-for", "desk")
    assert done.out.strip() == f"desk@canary -> v1 = {shipped}"
    plan_id = desk.resolve().plan.plan_id
    why = registry.read(desk.lab, "desk").history[-1].why
    assert why == f"verdict SHIP in plan {plan_id}, judged for desk@prod"


def test_an_unset_alias_does_not_make_a_stale_verdict_fresh(desk, shipped):
    run_id, _ = second(desk)
    assert desk.ratchet("promote", shipped, "--as", "desk@prod").code == 0
    refused = desk.ratchet("promote", run_id, "--as", "desk@canary", "--judged-for", "desk@prod")
    assert f"the verdict of {run_id} is stale" in refused.error


def test_an_alias_that_serves_something_else_needs_its_own_verdict(desk, shipped):
    run_id, _ = second(desk)
    desk.ratchet("promote", run_id, "--as", "desk@canary", "--force", "--reason", "x")
    refused = desk.ratchet("promote", shipped, "--as", "desk@canary", "--judged-for", "desk@prod")
    assert "is stale: desk@canary serves another adapter" in refused.error


def test_the_gate_may_name_another_alias(desk):
    desk.spec(gate__incumbent="desk@beta")
    run_id = desk.evaluated().plan.runs[0].run_id
    assert desk.ratchet("report", "spec.yaml").code == 0
    assert "was made for desk@beta" in desk.ratchet("promote", run_id, "--as", "desk@prod").error
    assert desk.ratchet("promote", run_id, "--as", "desk@beta").code == 0


def test_a_version_carries_its_prompt_contract(desk):
    desk.evalset("mini", system="Answer with one word.", sampling={"temperature": 0.0, "max_tokens": 9, "stop": ["\n"]})
    desk.spec(train__max_length=96)
    run_id = desk.evaluated().plan.runs[0].run_id
    desk.ratchet("report", "spec.yaml")
    assert desk.ratchet("promote", run_id, "--as", "desk@prod").code == 0
    contract = registry.read(desk.lab, "desk").versions[0].contract
    assert contract.system_prompts == {"mini": "Answer with one word."}
    assert contract.chat_template == TEMPLATE
    assert contract.chat_template_sha256 == hashlib.sha256(TEMPLATE.encode()).hexdigest()
    assert (contract.template, contract.trained_tokens, contract.context_tokens) == ("chat", 96, 128)
    assert contract.stop == ["\n", "</s>"]
    assert contract.sampling == {"mini": {"temperature": 0.0, "max_tokens": 9, "stop": ["\n"]}}
    shown = desk.ratchet("registry", "show", "desk").out
    assert "system prompt (mini): Answer with one word." in shown
    assert "tokens: trained up to 96, evaluated up to 128" in shown
    assert json.loads(desk.ratchet("registry", "show", "desk@v1", "--format", "json").out)["versions"][0]["contract"]


def test_a_damaged_run_is_not_promoted(desk, shipped):
    weights = desk.lab.runs / shipped / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    refused = desk.ratchet("promote", shipped, "--as", "desk@prod", "--force", "--reason", "x")
    assert "is no whole safetensors file" in refused.error
    assert aliases(desk) == {}


def test_rollback_goes_back_and_says_what_it_served(desk, shipped):
    desk.ratchet("promote", shipped, "--as", "desk@prod")
    refused = desk.ratchet("rollback", "desk")
    assert "desk@prod has no earlier version to go back to" in refused.error
    desk.spec("second.yaml", train__seed=1)
    run_id = desk.trained(desk.resolve("second.yaml").plan.runs[0]).run_id
    desk.ratchet("promote", run_id, "--as", "desk@prod", "--force", "--reason", "x")
    assert aliases(desk) == {"prod": 2}
    done = desk.ratchet("rollback", "desk", "--reason", "it swears")
    assert done.out.strip() == "desk@prod -> v1 (it served v2)"
    assert aliases(desk) == {"prod": 1}
    assert registry.read(desk.lab, "desk").history[-1].why == "it swears"
    assert "is a version" in desk.ratchet("rollback", "desk@v1").error


def test_a_full_disk_moves_nothing(desk, shipped, monkeypatch):
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "registry.record")
    assert "the disk is full" in desk.ratchet("promote", shipped, "--as", "desk@prod").error
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    assert aliases(desk) == {}
    assert not [name for name in desk.files() if name.endswith(".tmp")]
    assert desk.ratchet("promote", shipped, "--as", "desk@prod").code == 0
    assert aliases(desk) == {"prod": 1}


def test_an_advisory_verdict_does_not_promote(desk):
    """Its gate could not be decided and was overruled; that takes a person's reason."""
    desk.spec(gate__overrule="a first look")
    desk.evaluated()
    assert desk.ratchet("report", "spec.yaml").code == 0
    run_id = desk.resolve().plan.runs[0].run_id
    assert (
        "is advisory: its gate was overruled (a first look)" in desk.ratchet("promote", run_id, "--as", "d@prod").error
    )
    forced = desk.ratchet("promote", run_id, "--as", "d@prod", "--force", "--reason", "we looked at all of them")
    assert forced.code == 0


# --- ahead of time ---


@pytest.fixture
def engine(desk, serving):
    """A fake engine of the lab that looks as if a command had started it; returns its URL."""
    base_sha256 = desk.resolve().base.ref.sha256

    def start(**fields):
        url = serving(Script(base_sha256=base_sha256, registry=str(desk.lab.registry), **fields))
        own = psutil.Process()
        spec = {
            "base_sha256": base_sha256,
            "registry": str(desk.lab.registry),
            "base_path": "base",
            "base_name": "base",
        }
        Lease(
            engine_id="e-fake", pid=own.pid, pgid=own.pid, started=own.create_time(), port=int(url.rpartition(":")[2]),
            state="ready", spec=spec, admin_token="fake",
        ).write(desk.lab.engines / "e-fake" / "lease.json")  # fmt: skip
        return url

    return start


def test_a_promotion_loads_the_version_first(desk, shipped, engine):
    url = engine()
    assert desk.ratchet("promote", shipped, "--as", "desk@prod").code == 0
    answer = httpx.post(f"{url}/v1/completions", json={"model": "desk", "prompt": "x"})
    assert answer.headers["x-ratchet-model"] == "desk@v1"


def test_what_an_engine_cannot_load_does_not_become_the_alias(desk, shipped, engine):
    engine(max_lora_rank=1)
    refused = desk.ratchet("promote", shipped, "--as", "desk@prod")
    assert "engine e-fake does not load desk@v1" in refused.error
    assert "r: 8 is more than this engine serves (1)" in refused.error
    assert aliases(desk) == {}
    forced = desk.ratchet("promote", shipped, "--as", "desk@prod", "--force", "--reason", "x")
    assert "does not load desk@v1" in forced.error


def test_an_engine_that_does_not_answer_stops_no_promotion(desk, shipped, engine):
    engine()
    path = desk.lab.engines / "e-fake" / "lease.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"port": 9}))
    done = desk.ratchet("promote", shipped, "--as", "desk@prod")
    assert done.code == 0
    assert "warning: desk@v1 was not loaded ahead of time" in done.err
    assert aliases(desk) == {"prod": 1}
