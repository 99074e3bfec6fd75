"""The first process inside a dry run's namespaces: builds the file system that a Kaggle session sees, then runs in it.

Standard library only, started by kaggle_dataset/dry_run/sandbox.py. The one argument is JSON: {"root": an empty folder,
"mounts": [[source, target, writable], ...], "folder": to run in, "command": [...]}. All of it ends with this process.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

# From <sys/mount.h>.
READ_ONLY, NOSUID, NODEV, NOEXEC, REMOUNT, NOATIME, NODIRATIME, BIND, RECURSIVE, RELATIME = (
    1, 2, 4, 8, 32, 1024, 2048, 4096, 16384, 1 << 21)  # fmt: skip
# A mount's own restrictions, which may not be dropped when it is made read-only; statvfs(3) -> mount(2).
KEPT = {os.ST_NOSUID: NOSUID, os.ST_NODEV: NODEV, os.ST_NOEXEC: NOEXEC, os.ST_NOATIME: NOATIME,
        os.ST_NODIRATIME: NODIRATIME, os.ST_RELATIME: RELATIME}  # fmt: skip


def mount(source: str, target: Path, kind: str = "", flags: int = 0) -> None:
    """Attach a file system to the tree, as mount in section 2 of the manual.

    Raises:
        OSError: it fails; the error names the target.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def bind(source: Path, target: Path, writable: bool) -> None:
    """Show a file or folder at another place as well."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(str(source), target, flags=BIND | RECURSIVE)
    if not writable:
        held = os.statvfs(target).f_flag
        flags = sum(flag for shown, flag in KEPT.items() if held & shown)
        mount(str(source), target, flags=BIND | REMOUNT | READ_ONLY | flags)


def build(root: Path, mounts: list[tuple[str, str, bool]]) -> None:
    """Lay out the root of a session and show only its own processes in /proc.

    Args:
        root: an empty folder.
        mounts: (source, target, writable) of what lies elsewhere than on this machine.
    """
    mount("tmpfs", root, "tmpfs", NOSUID | NODEV)
    replaced = {"proc", *(Path(target).parts[1] for _, target, _ in mounts if len(Path(target).parts) == 2)}
    replaced.add("kaggle")
    for entry in sorted(os.scandir("/"), key=lambda entry: entry.name):
        if entry.is_symlink():
            (root / entry.name).symlink_to(os.readlink(entry.path))  # noqa: PTH115 - as it is written
        elif entry.is_dir() and entry.name not in replaced:
            bind(Path(entry.path), root / entry.name, True)
    (root / "proc").mkdir()
    mount("proc", root / "proc", "proc", NOSUID | NODEV | NOEXEC)
    for source, target, writable in mounts:
        bind(Path(source), root / target.lstrip("/"), writable)


def main() -> int:
    """Build, run, end; returns the command's exit code, 128 + n when signal n killed it."""
    plan = json.loads(sys.argv[1])
    build(Path(plan["root"]), plan["mounts"])
    os.chroot(plan["root"])
    os.chdir(plan["folder"])
    child = subprocess.Popen(plan["command"])
    while True:  # as the first process it also collects those whose parents are gone
        pid, status = os.wait()
        if pid == child.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
