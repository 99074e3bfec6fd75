"""How many cores this process may use, which in a container are fewer than the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """Count the cores that this process may keep busy.

    Returns:
        The smaller of the cores that the process may run on (its affinity, which Slurm sets) and the share of its
        container (cpu.max of cgroup v2, which Docker and Kubernetes set), rounded up; at least 1.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota(Path("/proc/self/cgroup"), CGROUPS))))


def _quota(membership: Path, root: Path) -> float:
    """Cores that cgroup v2 grants: the smallest cpu.max on the way up from the process's group; inf without any.

    Inside a container the group often is the root of what is mounted, and `membership` names it "/".
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return math.inf
    name = next((line[3:] for line in lines if line.startswith("0::")), "/")
    group = root / name.strip("/")
    return min((_share(folder) for folder in (group, *group.parents) if folder.is_relative_to(root)), default=math.inf)


def _share(group: Path) -> float:
    """The quota of one group divided by its period; inf where there is none, or no such file."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
