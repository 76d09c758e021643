"""Data and a model that were not made for Ratchet: a pretrained children's-story model on real AAC pairs."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from loop import json_lines, ratchet, sql, succeed, write_lines

HELD_OUT = 60


def test_a_real_model_learns_real_aac_pairs_and_is_served(shared: Path, engines_dir: Path, tmp_path: Path) -> None:
    rows = {row["input"]: row for row in json_lines(shared / "data" / "aac" / "aac-504-fields.jsonl")}
    pairs = list(rows.values())  # one row per icon list: none may stand in training and evaluation
    data = write_lines(tmp_path / "train.jsonl", pairs[HELD_OUT:])
    items = [
        {"id": str(number), "split": "dev" if number % 3 == 0 else "release", "prompt": row["input"],
         "gold": [row["output"]]}
        for number, row in enumerate(pairs[:HELD_OUT])
    ]  # fmt: skip
    write_lines(tmp_path / "real" / "items.jsonl", items)
    (tmp_path / "real" / "evalset.yaml").write_text(
        "name: real\nversion: 1\nlicence: CC0-1.0\nsampling: {temperature: 0.0, max_tokens: 24}\n"
        "metrics: {chrf: {scorer: chrf, unit: points}}\n",
        encoding="utf-8",
    )
    spec = tmp_path / "real.yaml"
    spec.write_text(
        f"""
name: real
base_model: {shared / "models" / "stories260k"}
train:
  dataset: {data}
  adapter: {{type: lora, r: 16}}
  learning_rate: 5.0e-3
  num_train_epochs: 6
  max_length: 256
baselines: [zero_shot]
evaluate: {{evalsets: ["{tmp_path / "real"}"]}}
gate:
  primary: {{metric: real/chrf, better_than: [best_baseline], min_gain: 0}}
""",
        encoding="utf-8",
    )
    lab = tmp_path / "lab"
    succeed(lab, "run", str(spec))
    report = json.loads(ratchet(lab, "report", str(spec), "--format", "json").stdout)
    (candidate,) = report["candidates"]
    (row,) = [row for row in candidate["comparisons"] if row["metric"] == "real/chrf"]
    assert row["difference"]["low"] > 0
    (parity,) = sql(lab, "select * from parity")
    assert parity["passed"]
    assert parity["dtype"] == "float32"
    assert parity["max_abs_error"] < 1e-3

    (engine,) = json.loads(succeed(lab, "status", "--format", "json"))["engines"][-1:]
    body = {
        "model": candidate["run_id"],
        "messages": [{"role": "user", "content": pairs[0]["input"]}],
        "max_tokens": 24,
    }
    reply = httpx.post(f"{engine['url']}/v1/chat/completions", json=body, timeout=60)
    assert reply.json()["choices"][0]["message"]["content"].strip()
