"""One whole turn of the ratchet through the command line, with every real component, on the embedded base."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from loop import ROOT, answer, json_lines, ratchet, small_spec, sql, succeed

PROMPT = [{"role": "user", "content": "Say it: { I ; PRONOUN } { want ; VERB } { apple ; NOUN }"}]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, engines_dir: Path) -> Path:
    return tmp_path_factory.mktemp("loop")


@pytest.fixture(scope="module")
def lab(place: Path) -> Path:
    return place / "lab"


@pytest.fixture(scope="module")
def spec(place: Path) -> Path:
    return small_spec(place)


@pytest.fixture(scope="module")
def first_run(lab: Path, spec: Path) -> subprocess.CompletedProcess[str]:
    done = ratchet(lab, "run", str(spec))
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def report(lab: Path, spec: Path, first_run: object) -> dict:
    done = ratchet(lab, "report", str(spec), "--format", "json")
    assert done.returncode in (0, 10, 11)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def promoted(lab: Path, report: dict) -> str:
    """The run that aac's alias serves, promoted whatever so few items say."""
    run_id = report["candidates"][0]["run_id"]
    succeed(lab, "promote", run_id, "--as", "small@prod", "--force", "--reason", "a test")
    return run_id


@pytest.fixture(scope="module")
def endpoint(lab: Path, promoted: str) -> Iterator[str]:
    """`ratchet serve` on the shared engine, stopped by its own pid."""
    command = [sys.executable, "-m", "harness.cli", "serve", "small", "--port", "0"]
    environment = {**os.environ, "RATCHET_LAB": str(lab), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        for line in server.stderr:
            if "serving at " in line:
                yield line.split("serving at ")[1].split()[0]
                break
        else:
            pytest.fail("ratchet serve ended without serving")
        server.terminate()
        server.stderr.read()
    assert server.returncode == 0


def test_the_grid_is_trained_served_scored_and_compared(lab: Path, report: dict) -> None:
    assert [one["candidate"] for one in report["candidates"]] == ["r=4", "r=8 nf4"]
    for one in report["candidates"]:
        folder = lab / "runs" / one["run_id"]
        assert (folder / "adapter" / "adapter_model.safetensors").is_file()
        assert len(json_lines(folder / "metrics.jsonl")) > 5
        chrf = [row for row in one["comparisons"] if row["metric"] == "aac/chrf"]
        assert {row["against"] for row in chrf} == {"zero-shot", "2-shot"}
        assert all(row["paired"] == 40 for row in chrf)
        assert all(row["difference"]["low"] < row["difference"]["high"] for row in chrf)
    metrics = {board["metric"] for board in report["boards"]}
    assert {"aac/chrf", "aac/exact", "aac_style/warm", "lm_eval/tiny_general/acc"} <= metrics
    assert report["look"] == 1
    assert {(one["subject"], one["metric"]) for one in report["repeats"]} >= {("zero-shot", "aac/chrf")}


def test_every_item_is_in_the_store_once_with_its_lineage(lab: Path, report: dict) -> None:
    rows = sql(lab, "select eval_id, count(*) n, count(distinct item_id) d from items group by 1")
    # Two evalsets for two bases' rows and two adapters; lm-eval without few-shot; base and one adapter asked again.
    assert len(rows) == 4 * 2 + 3 + 2
    assert all(row["n"] == row["d"] for row in rows)
    assert {row["n"] for row in rows} == {80, len(json_lines(ROOT / "evalsets/tiny_general/release.jsonl"))}
    (run, *_) = sql(lab, "select * from runs")
    assert run["base_sha256"]
    assert run["adapter_sha256"]
    assert "torch" in str(run["versions"])
    assert len(sql(lab, "select * from parity where passed")) == 2


def test_any_duckdb_reads_the_published_file(lab: Path, report: dict) -> None:
    code = (
        f"import duckdb; print(duckdb.connect({str(lab / 'ratchet.duckdb')!r}, read_only=True).sql('from evals').shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(13,")


def test_running_again_repeats_nothing(lab: Path, spec: Path, report: dict) -> None:
    def stamps() -> dict[str, int]:
        paths = [*lab.glob("runs/*/adapter.json"), *lab.glob("evals/*/*.json*"), *lab.glob("evals/parity/*")]
        return {str(path): path.stat().st_mtime_ns for path in paths}

    before, rows = stamps(), sql(lab, "select count(*) n from items")
    again = ratchet(lab, "run", str(spec))
    assert again.returncode == 0
    assert stamps() == before
    assert sql(lab, "select count(*) n from items") == rows
    assert "already finished" in again.stderr
    assert "already stored" in again.stderr


def test_report_formats_and_exit_code(lab: Path, spec: Path, report: dict) -> None:
    done = ratchet(lab, "report", str(spec), "--format", "md")
    assert done.returncode == {"SHIP": 0, "BLOCK": 10, "INCONCLUSIVE": 11}[report["verdict"]]
    assert "| " in done.stdout
    assert "r=8 nf4" in done.stdout
    assert len(list((lab / "reports").glob("*.png"))) == 2


def test_promotion_without_force_needs_a_ship_verdict(lab: Path, report: dict) -> None:
    for place, one in enumerate(report["candidates"]):
        promote = ("promote", one["run_id"], "--as", f"other{place}@prod")
        assert ratchet(lab, *promote).returncode != 0, "the verdict was made against another alias"
        done = ratchet(lab, *promote, "--judged-for", "small@prod")
        assert done.returncode == {"SHIP": 0, "BLOCK": 10, "INCONCLUSIVE": 11, "INVALID": 12}[one["verdict"]]


def test_openai_client_gets_answers_from_alias_version_and_base(endpoint: str) -> None:
    client = openai.OpenAI(base_url=endpoint, api_key="unused", max_retries=0)
    said = {}
    for model in ("small", "small@prod", "small@v1", "base"):
        reply = client.chat.completions.create(model=model, messages=PROMPT, temperature=0, max_tokens=24)  # type: ignore[arg-type]
        said[model] = reply.choices[0].message.content
        chunks = client.chat.completions.create(
            model=model,
            messages=PROMPT,
            temperature=0,
            max_tokens=24,
            stream=True,  # type: ignore[arg-type]
        )
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert streamed == said[model]
    assert said["small"] == said["small@prod"] == said["small@v1"] != said["base"]
    plain = client.completions.create(model="small@v1", prompt="The dog", temperature=0, max_tokens=8)
    assert plain.choices[0].text
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="small@v9", prompt="The dog", max_tokens=8)


def test_curl_streams_and_names_the_version(endpoint: str) -> None:
    body = json.dumps({"model": "small", "messages": PROMPT, "stream": True, "max_tokens": 8})
    done = subprocess.run(
        ["curl", "-sS", "-i", f"{endpoint}/chat/completions", "-H", "Content-Type: application/json", "-d", body],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "x-ratchet-model: small@v1" in done.stdout
    assert done.stdout.rstrip().endswith("data: [DONE]")


def test_an_alias_moves_and_rolls_back_while_the_server_runs(lab: Path, report: dict, endpoint: str) -> None:
    def version() -> str:
        body = {"model": "small@prod", "messages": PROMPT, "max_tokens": 4}
        return httpx.post(f"{endpoint}/chat/completions", json=body, timeout=60).headers["x-ratchet-model"]

    second = report["candidates"][1]["run_id"]
    assert version() == "small@v1"
    succeed(lab, "promote", second, "--as", "small@prod", "--force", "--reason", "a test")
    assert version() == "small@v2"
    succeed(lab, "rollback", "small")
    assert version() == "small@v1"
    moves = sql(lab, "select alias, before, after, who, why from alias_moves where name = 'small' order by seq")
    assert [(move["before"], move["after"]) for move in moves] == [(None, 1), (1, 2), (2, 1)]


def test_votes_train_a_dpo_round_that_is_compared_in_turn(lab: Path, place: Path, promoted: str) -> None:
    made = answer(
        lab, "campaign", "create", "warmth", "small@prod", "small@prod", "--name", "small",
        "--pool", "experiments/data/aac/pool.jsonl", "--limit", "120", "--max-tokens", "40",
    )  # fmt: skip
    assert made["pairs"] + sum(made["refused"].values()) == 120
    rater = [sys.executable, "-m", "experiments.scripted_rater", "warmth", "--lab", str(lab)]
    subprocess.run(rater, cwd=ROOT, check=True, capture_output=True)
    following = answer(lab, "next", "small", "--primary", "aac_style/warm", "--out", str(place / "rounds"))
    assert following["pairs"] > 5
    spec = Path(following["spec"])
    row = json_lines(spec.parent / "pairs.jsonl")[0]
    assert {"prompt", "chosen", "rejected", "campaign", "pair_id"} <= set(row)
    assert "init_adapter: small@v" in spec.read_text(encoding="utf-8")

    done = ratchet(lab, "run", str(spec))
    assert done.returncode == 0, done.stdout + done.stderr
    judged = json.loads(ratchet(lab, "report", str(spec), "--format", "json").stdout)
    (candidate,) = judged["candidates"]
    against = {row["against"] for row in candidate["comparisons"] if row["metric"] == "aac_style/warm"}
    assert "small@v1" in against
    (run,) = sql(lab, f"select * from runs where run_id = '{candidate['run_id']}'")
    assert run["init_adapter_sha256"]
    assert (lab / "runs" / candidate["run_id"] / "adapter" / "ref").exists() is False
