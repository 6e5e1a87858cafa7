"""The allocation of Slurm in which this process runs: its nodes, and when it ends."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import InputError
from ..where import Pool
from .nodes import Node
from .slurm import NotNow, date, run, seconds_of, value

UNITS = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
NOT_A_STEP = 0xFFFFFF00
"""Numbers of steps from here on are those of batch scripts and of interactive shells."""


@dataclass(frozen=True)
class Allocation:
    """An allocation.

    Attributes:
        id: number of the job.
        nodes: what it has of each node.
        ends_at: seconds since 1970; infinite if it has no time limit.
        lasts_s: its whole time limit.
    """

    id: str
    nodes: tuple[Node, ...]
    ends_at: float = math.inf
    lasts_s: float = math.inf

    @property
    def pool(self) -> Pool:
        """What users see of it."""
        known = math.isfinite(self.ends_at)
        return Pool(
            self.id,
            len({node.name for node in self.nodes}),
            sum(node.cores for node in self.nodes),
            sum(node.gpus for node in self.nodes),
            began=self.ends_at - self.lasts_s if known and math.isfinite(self.lasts_s) else None,
            ends_at=self.ends_at if known else None,
        )


def here(environ: Mapping[str, str]) -> Allocation:
    """The allocation of this process, as Slurm describes it.

    Raises:
        InputError: there is none, or it cannot be used.
        NotNow: Slurm does not answer.
    """
    number = environ.get("SLURM_JOB_ID")
    if not number:
        raise InputError(
            "mode: steps runs jobs inside one allocation of Slurm, and there is none here (no "
            "SLURM_JOB_ID); start phasewalk in a job script (sbatch) or in salloc, or set mode: "
            "jobs in the site file"
        )
    step = environ.get("SLURM_STEP_ID", "")
    if step.isdigit() and int(step) < NOT_A_STEP:
        raise InputError(
            "phasewalk was started by srun, as a step that holds the cores which its jobs need; "
            "start it without srun"
        )
    found = parse(_shown("job", number, environ), number)
    names = ",".join(node.name for node in found.nodes)
    return replace(found, nodes=with_cores(found.nodes, _shown("node", names, environ)))


def with_cores(nodes: Sequence[Node], text: str) -> tuple[Node, ...]:
    """The nodes with their cores, of which Slurm counts each hardware thread.

    Args:
        nodes: nodes with hardware threads as cores.
        text: what `scontrol show node` prints.
    """
    parts = [part for part in re.split(r"\n(?=NodeName=)", text) if part.strip()]
    threads = {value(part, "NodeName"): int(value(part, "ThreadsPerCore") or 1) for part in parts}
    return tuple(
        replace(node, cores=max(1, node.cores // count), threads=count)
        for node in nodes
        for count in [threads.get(node.name, 1)]
    )


def still_runs(environ: Mapping[str, str]) -> bool:
    """Whether the allocation of this process is still there; true if Slurm does not answer."""
    number = environ.get("SLURM_JOB_ID", "")
    try:
        return "JobState=RUNNING" in _shown("job", number, environ)
    except (InputError, NotNow):
        return True


def _shown(what: str, name: str, environ: Mapping[str, str]) -> str:
    """What scontrol prints of a job, or of nodes."""
    done = run("scontrol", "show", what, "-d", name, environ=environ)
    if done.code:
        raise InputError(f"scontrol show {what} {name}: {done.why}")
    return done.out


def parse(text: str, number: str) -> Allocation:
    """The allocation in what `scontrol show job -d` prints, also of a heterogeneous job.

    Raises:
        InputError: it has no nodes.
    """
    nodes: list[Node] = []
    ends, lasts = [math.inf], [math.inf]
    for part in re.split(r"\n\s*\n(?=JobId=)", text.strip()):
        if not re.search(r"\bJobState=RUNNING\b", part):
            continue
        group = int(value(part, "HetJobOffset") or 0)
        nodes += _nodes(part, group, value(part, "Partition"))
        ends.append(date(value(part, "EndTime")) or math.inf)
        lasts.append(seconds_of(value(part, "TimeLimit")) or math.inf)
    if not nodes:
        raise InputError(f"scontrol show job {number}: it has no running job with nodes")
    return Allocation(number, tuple(nodes), min(ends), min(lasts))


def _nodes(part: str, group: int, partition: str) -> Iterator[Node]:
    """The nodes of one part of a job."""
    for line in part.splitlines():
        found = re.match(r"\s*Nodes=(\S+) CPU_IDs=(\S+) Mem=(\S+)(?: GRES=(\S*))?", line)
        if found is None:
            continue
        names, cpus, memory, gres = found.groups()
        for name in hostnames(names):
            yield Node(
                name=name,
                cores=_count(cpus),
                gpus=_gpus(gres or ""),
                memory_MB=_megabytes(memory),
                group=group,
                partition=partition,
            )


def hostnames(text: str) -> list[str]:
    """Names of nodes: `n[1-3,05],gpu1` → n1, n2, n3, n05, gpu1."""
    found: list[str] = []
    for one in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        before, bracket, rest = one.partition("[")
        if not bracket:
            found.append(one)
            continue
        inside, _, after = rest.partition("]")
        for number in _numbers(inside):
            found += hostnames(f"{before}{number}{after}")
    return found


def _numbers(text: str) -> Iterator[str]:
    """Numbers of a list of ranges, with their leading zeros."""
    for item in text.split(","):
        first, _, last = item.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield str(number).zfill(len(first))


def _count(ranges: str) -> int:
    """How many numbers there are in a list of ranges such as 0-3,8."""
    return sum(1 for _ in _numbers(ranges))


def _gpus(gres: str) -> int:
    """Number of GPUs in `gpu:a100:2(IDX:0-1),shard:4`."""
    return sum(int(n) for n in re.findall(r"(?:^|,)gpu(?::[^:,()]+)?:(\d+)", gres))


def _megabytes(text: str) -> float:
    """Memory in MB; 0 stands for no limit."""
    found = re.fullmatch(r"([\d.]+)([KMGT]?)", text)
    size = float(found[1]) * UNITS[found[2] or "M"] if found else 0.0
    return size or math.inf
