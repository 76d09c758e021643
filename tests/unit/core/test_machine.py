"""What this machine trains on, told without torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core import machine

X86 = "processor\t: 0\nflags\t\t: fpu sse4_2 avx2{}\nbugs\t\t: x\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd{}\n"


@pytest.mark.parametrize(
    ("cpuinfo", "has"),
    [
        (X86.format(""), False),
        (X86.format(" avx512f avx512bw"), True),
        (X86.format(" amx_bf16"), True),
        (X86.format(" avx512_bf16_not"), False),
        (ARM.format(""), False),
        (ARM.format(" bf16"), True),
        ("processor\t: 0\n", False),
    ],
)
def test_bf16_of_a_cpu(cpuinfo: str, has: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert machine.cpu_computes_bf16(tmp_path / "cpuinfo") is has


def test_a_system_without_cpuinfo(tmp_path: Path) -> None:
    assert machine.cpu_computes_bf16(tmp_path / "cpuinfo") is False


@pytest.mark.parametrize(
    ("visible", "first"), [(None, "0"), ("1", "1"), ("2,3", "2"), (" GPU-5a, GPU-7b", "GPU-5a"), ("", ""), ("-1", "-1")]
)
def test_a_run_sees_the_first_gpu_that_is_named(visible: str | None, first: str) -> None:
    assert machine.first_gpu({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == first


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `nvidia-smi` that knows one GPU of 81,559 MiB and writes down what it was asked."""
    tool, asked = tmp_path / "nvidia-smi", tmp_path / "asked"
    tool.write_text(f'#!/bin/sh\necho "$@" > {asked}\necho 81559\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "_torch_version", lambda: "2.13.0")
    return asked


def test_memory_of_the_gpu(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.gpu_bytes() == 81559 * 2**20
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    assert machine.gpu_bytes() == 81559 * 2**20
    assert asked.read_text().startswith("-i 3 ")


@pytest.mark.parametrize(("visible", "torch"), [("", "2.13.0"), ("-1", "2.13.0"), ("0", "2.13.0+cpu")])
def test_a_gpu_that_nobody_would_train_on(
    asked: Path, monkeypatch: pytest.MonkeyPatch, visible: str, torch: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(machine, "_torch_version", lambda: torch)
    assert machine.gpu_bytes() is None
    assert not asked.exists()


@pytest.mark.parametrize("script", ["echo No devices were found", "exit 9", None])
def test_a_machine_that_does_not_tell(asked: Path, monkeypatch: pytest.MonkeyPatch, script: str | None) -> None:
    tool = asked.parent / "nvidia-smi"
    if script is None:
        monkeypatch.setenv("PATH", str(asked.parent / "empty"))
    else:
        tool.write_text(f"#!/bin/sh\n{script}\n")
    assert machine.gpu_bytes() is None
