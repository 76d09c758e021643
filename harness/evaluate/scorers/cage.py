"""Run as a script, never imported: closes the cage from inside, then becomes the program. See sandbox.py.

`cage.py outer LIMITS COMMAND…` ties this process to its parent's life and becomes COMMAND (unshare, and then the inner
cage). `cage.py inner LIMITS COMMAND…` takes away what can be taken away, and becomes COMMAND. LIMITS is JSON. Only the
standard library, since it runs without site-packages.
"""

import ctypes
import json
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38  # linux/prctl.h
CAPABILITIES = 64  # more than there are; dropping one that does not exist fails without harm
MS_REC_PRIVATE = 0x4000 | 1 << 18  # linux/mount.h
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
MEBIBYTE = 2**20

LIBC = ctypes.CDLL(None, use_errno=True)


class MountAttributes(ctypes.Structure):
    """struct mount_attr of linux/mount.h."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def close_files(folder: str, size_mb: int) -> None:
    """Every mount read-only, but an empty file system in memory at `folder`, with the files that were there."""
    files = {entry.name: open(entry.path, "rb").read() for entry in os.scandir(folder)}  # noqa: SIM115
    attributes = MountAttributes(MOUNT_ATTR_RDONLY, 0, 0, 0)
    must(LIBC.mount(b"none", b"/", None, MS_REC_PRIVATE, None))
    must(LIBC.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(attributes), 32))
    must(LIBC.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, f"size={size_mb}m".encode()))
    for name, content in files.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)


def must(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def limit(limits: dict[str, int]) -> None:
    sizes = {
        resource.RLIMIT_CPU: limits["cpu_s"],
        resource.RLIMIT_AS: limits["memory_mb"] * MEBIBYTE,
        resource.RLIMIT_FSIZE: limits["file_mb"] * MEBIBYTE,
        resource.RLIMIT_NPROC: limits["processes"],
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    for kind, size in sizes.items():
        hard = resource.getrlimit(kind)[1]
        size = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(kind, (size, size))


def main() -> None:
    side, text, *command = sys.argv[1:]
    limits = json.loads(text)
    if side == "outer":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        folder = os.getcwd()
        if limits["caged"]:
            close_files(folder, limits["file_mb"])
            os.chdir(folder)  # the file system in memory, not what it hides
            for capability in range(CAPABILITIES):
                LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        limit(limits)
    os.execv(command[0], command)  # noqa: S606 - that is what it is for


if __name__ == "__main__":
    main()
