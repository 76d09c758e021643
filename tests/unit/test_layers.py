"""What import-linter cannot see: what a fresh process loads, and what no file may say."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "statsmodels", "gradio", "vllm", "peft", "trl", "lm_eval", "duckdb")
PROBE = """
import sys
sys.argv = ["ratchet", *sys.argv[1:]]
from harness.cli import main
try:
    main()
except SystemExit as ended:
    code = ended.code or 0
import json
print(json.dumps({"code": code, "modules": sorted({name.partition(".")[0] for name in sys.modules})}), file=sys.stderr)
"""
# Package registries and hubs, in pieces, so that this file does not hold their names. Apart from one index of
# PyTorch's CPU builds, files name no host to fetch packages from: pip's own settings do.
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (("pypi", "org"), ("pythonhosted", "org"), ("anaconda", "org"), ("download", "pytorch", "org"),
                  ("npmjs", "org"), ("pypi", "nvidia"), ("ghcr", "io"), ("docker", "io"))
)  # fmt: skip
CPU_INDEX = "https://" + "download." + "pytorch.org/whl/cpu"


def loaded(*arguments: str, cwd: Path) -> set[str]:
    """Top-level modules of a fresh interpreter after the command; it must have succeeded."""
    command = [sys.executable, "-c", PROBE, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(done.stderr.splitlines()[-1])
    assert found["code"] == 0, done.stdout
    return set(found["modules"])


def test_help_loads_nothing_heavy(tmp_path: Path):
    modules = loaded("--help", cwd=tmp_path)
    assert modules & {*HEAVY, "numpy", "scipy", "matplotlib", "jinja2"} == set()
    assert "typer" in modules


def test_check_loads_neither_torch_nor_what_waits_for_it(tmp_path: Path, shared: Path):
    (tmp_path / "train.jsonl").write_text('{"prompt": "q", "completion": "a"}\n')
    folder = tmp_path / "evalsets" / "mini"
    folder.mkdir(parents=True)
    (folder / "evalset.yaml").write_text(
        "name: mini\nversion: 1\nlicence: x\nmetrics: {chrf: {scorer: chrf, unit: points}}\n"
    )
    (folder / "items.jsonl").write_text('{"id": "1", "prompt": "p", "gold": ["a b c"], "wrong": ["a b"]}\n')
    spec = {
        "name": "x",
        "base_model": str(shared / "models" / "stories260k"),
        "train": {"dataset": "train.jsonl"},
        "baselines": ["zero_shot"],
        "evaluate": {"evalsets": ["mini"]},
        "gate": {"primary": {"metric": "mini/chrf"}},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    modules = loaded("check", "spec.yaml", cwd=tmp_path)
    assert modules & {"torch", "transformers", "statsmodels", "gradio", "vllm", "peft", "trl", "lm_eval"} == set()
    assert "sacrebleu" in modules


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Files as git sees them: tracked, and new ones that it does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted({ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()})


def test_a_sweep_over_the_packages_sees_every_file(tracked):
    """A sweep that does not recurse checks three files of two hundred and is content."""
    folders = ("harness", "serve", "dashboards", "experiments", "evalsets", "benchmarks", "tests")
    swept = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    expected = [path for path in tracked if path.suffix == ".py"]
    assert swept == expected
    assert len(swept) > 80


def test_no_file_names_this_machine_or_a_registry(tracked):
    machine, found = [str(ROOT), str(ROOT.parent / "shared")], []
    if ROOT.parent not in (Path("/"), Path(tempfile.gettempdir())):
        machine.append(f"{ROOT.parent}/")
    for path in tracked:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # weights and pictures
        if path.is_relative_to(ROOT / "requirements"):
            text = text.replace(CPU_INDEX, "")
        found += [f"{path.relative_to(ROOT)}: {name}" for name in (*machine, *REGISTRIES) if name in text]
    assert found == []


def test_only_json_and_safetensors_come_from_disk(tracked):
    """Formats that run code when they are read have no place here."""
    unsafe = ("import pickle", "pickle.load", "torch.load(", "yaml.load(", "trust_remote_code=True", "shell=True")
    code = [path for path in tracked if path.suffix == ".py" and path != Path(__file__)]
    found = [f"{path.relative_to(ROOT)}: {name}" for path in code for name in unsafe if name in path.read_text()]
    assert found == []
