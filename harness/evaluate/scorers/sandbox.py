"""Programs that a model wrote, run so that they do little harm.

Where the machine lets an ordinary user make namespaces (most Linux machines and containers do), a program has no
network, not even 127.0.0.1, sees no process but its own, dies with all its offspring, cannot write anywhere but into an
empty folder in memory, and has no capabilities left. Everywhere it has a process group of its own, limits on CPU time,
memory, file size and open files, an almost empty environment, and a wall-clock limit.

What it can do all the same: read what the user who runs Ratchet can read. Without namespaces it can also use the
network, write where that user can, and leave a process of another session behind (`isolated()` tells, and
`ratchet evalset check` says so). RLIMIT_NPROC does not bind root. Against an attacker, use a virtual machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

CAGE = Path(__file__).with_name("cage.py")
NAMESPACES = ("--user", "--map-root-user", "--net", "--pid", "--mount", "--ipc", "--uts", "--fork", "--kill-child")
OUTPUT_BYTES = 64 * 1024  # of what a program printed, the end
TRIAL_S = 20


@dataclass(frozen=True)
class Limits:
    wall_s: float = 10.0
    cpu_s: int = 10
    memory_mb: int = 1024
    file_mb: int = 16
    processes: int = 32


@dataclass(frozen=True)
class Outcome:
    """How a program ended: its exit code (negative: the signal that ended it), None where time ran out."""

    code: int | None
    stdout: str
    stderr: str


def run(files: dict[str, str], arguments: list[str], limits: Limits = Limits()) -> Outcome:
    """Run `python -I ARGUMENTS…` in a folder that holds `files` and nothing else."""
    return _run(files, arguments, limits, isolated())


@cache
def isolated() -> bool:
    """Whether programs are kept from network, files and other processes here; found out by trying, once."""
    if sys.platform != "linux" or not shutil.which("unshare"):
        return False
    program = "import os; print(os.getpid())"
    found = _run({}, ["-c", program], Limits(wall_s=TRIAL_S), caged=True)
    return found.code == 0 and found.stdout.strip() == "1"


def _run(files: dict[str, str], arguments: list[str], limits: Limits, caged: bool) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="ratchet-") as folder, contextlib.ExitStack() as stack:
        for name, text in files.items():
            Path(folder, name).write_text(text, encoding="utf-8", errors="replace")
        # Printed text goes to files beside the folder: their size is limited, a pipe's reader is not.
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)]
        process = subprocess.Popen(
            _command(arguments, limits, caged),
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=outputs[0],
            stderr=outputs[1],
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(limits.wall_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        stdout, stderr = (_tail(file.fileno()) for file in outputs)
        return Outcome(code, stdout, stderr)


def _command(arguments: list[str], limits: Limits, caged: bool) -> list[str]:
    settings = json.dumps({**asdict(limits), "caged": caged})
    python = [sys.executable, "-I"]
    inner = [*python, "-S", str(CAGE), "inner", settings, *python, *arguments]
    if not caged:
        return inner
    unshare = shutil.which("unshare")
    assert unshare is not None
    return [*python, "-S", str(CAGE), "outer", settings, unshare, *NAMESPACES, *inner]


def _tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, OUTPUT_BYTES, max(0, size - OUTPUT_BYTES)).decode(errors="replace")
