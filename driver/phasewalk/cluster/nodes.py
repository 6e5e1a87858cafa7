"""What is free on some nodes: cores, GPUs and memory, and where a job fits."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .needs import Need


@dataclass(frozen=True)
class Node:
    """A node, or what an allocation has of it.

    Attributes:
        name: its name; empty for this machine.
        cores: number of cores.
        gpus: number of GPUs.
        memory_MB: memory.
        group: number of the part of a heterogeneous allocation, in which a job must stay.
        partition: partition of Slurm.
        threads: number of hardware threads of each core, which Slurm never gives to two steps.
    """

    name: str
    cores: int
    gpus: int = 0
    memory_MB: float = math.inf
    group: int = 0
    partition: str = ""
    threads: int = 1


@dataclass(frozen=True)
class Share:
    """What a job occupies of a node."""

    node: int
    cores: int
    gpus: int = 0
    memory_MB: float = 0.0


@dataclass(frozen=True)
class Placement:
    """The nodes of a job; `crowded` if it has more ranks × threads than cores."""

    shares: tuple[Share, ...]
    crowded: bool = False


@dataclass
class Nodes:
    """Nodes, and what jobs occupy of them."""

    nodes: tuple[Node, ...]
    _taken: dict[Path, tuple[Share, ...]] = field(default_factory=dict)
    _free: tuple[Node, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._free = self.nodes

    def fits_ever(self, need: Need) -> bool:
        """Whether a job fits if nothing else runs."""
        return self._placed(need, self.nodes) is not None

    def place(self, need: Need, before: Need | None = None) -> Placement | None:
        """Where a job fits now; None if nowhere.

        Args:
            need: what it needs.
            before: need of a waiting job, for which room is kept on the nodes that it will get.
        """
        free = self.free()
        if before is not None:
            kept = self._placed(before, self.nodes, prefer=free)
            free = _without(free, kept.shares if kept else ())
        return self._placed(need, free)

    def take(self, directory: Path, shares: Sequence[Share]) -> None:
        """Occupy shares of nodes."""
        self.release(directory)
        self._taken[directory] = tuple(shares)
        self._free = _without(self._free, shares)

    def narrow(self, directory: Path, cores: int) -> None:
        """Reduce the number of cores of a job, on all its nodes together."""
        shares, left = [], cores
        for share in self._taken.get(directory, ()):
            kept = min(share.cores, left)
            left -= kept
            shares.append(replace(share, cores=kept))
        self.take(directory, shares)

    def release(self, directory: Path) -> None:
        """Free what a job occupied."""
        self._free = _without(self._free, self._taken.pop(directory, ()), sign=-1)

    def lose(self, names: Collection[str]) -> None:
        """Do without nodes."""
        self.nodes, self._free = (
            tuple(
                replace(node, cores=0, gpus=0, memory_MB=0.0) if node.name in names else node
                for node in given
            )
            for given in (self.nodes, self._free)
        )
        self._taken = {
            directory: tuple(one for one in shares if self.nodes[one.node].name not in names)
            for directory, shares in self._taken.items()
        }

    def free(self) -> tuple[Node, ...]:
        """What is free of each node."""
        return self._free

    def _placed(
        self, need: Need, free: Sequence[Node], prefer: Sequence[Node] | None = None
    ) -> Placement | None:
        """The first placement for which there is room.

        Args:
            need: what is needed.
            free: what is free.
            prefer: choose nodes by what is free of these, the emptiest first; None: the fullest
                first, so that large jobs find room elsewhere.
        """
        for group in sorted({self.nodes[i].group for i in need.on}):
            members = [i for i in need.on if self.nodes[i].group == group]
            count, crowded = self._count(need, members)
            if count is None:
                continue
            cores = {i: self._cores(need, i, count, crowded=crowded) for i in members}
            rooms = [i for i in members if _room(free[i], need, cores[i])]
            if len(rooms) < count:
                continue
            if prefer is not None:
                rooms.sort(key=lambda i: (-prefer[i].cores, -prefer[i].gpus, i))
            else:
                rooms.sort(key=lambda i: (free[i].gpus, free[i].cores, i))
            memory = 0.0 if need.background else need.memory_MB
            gpus = 0 if need.background else need.gpus
            shares = tuple(Share(i, cores[i], gpus, memory) for i in sorted(rooms[:count]))
            return Placement(shares, crowded)
        return None

    def _cores(self, need: Need, index: int, count: int, *, crowded: bool) -> int:
        """Number of cores on a node, if the job is on so many nodes; all if it is crowded."""
        if need.background:
            return 0
        wanted = math.ceil(need.ranks / count) * need.threads
        return self.nodes[index].cores if crowded else wanted

    def _count(self, need: Need, members: Sequence[int]) -> tuple[int | None, bool]:
        """Number of nodes of the job, and whether it is crowded there; None if it never fits."""
        most = min(len(members), need.ranks) if need.spread else min(len(members), 1)
        counts = range(1, most + 1) if need.nodes is None else [need.nodes]
        for count in counts:
            cores = 1 if need.background else math.ceil(need.ranks / count) * need.threads
            able = [i for i in members if _room(self.nodes[i], need, cores)]
            if len(able) >= count:
                return count, False
        able = [i for i in members if _room(self.nodes[i], need, 1)]
        count = need.nodes or min(len(able), most)
        return (count, True) if need.crowd and 1 <= count <= len(able) else (None, False)


def _room(node: Node, need: Need, cores: int) -> bool:
    """Whether a node has room; a job in the background shares it."""
    if need.background:
        return True
    gpus = not need.gpus or node.gpus >= need.gpus  # what is not needed may be owed to others
    memory = not need.memory_MB or node.memory_MB >= need.memory_MB
    return node.cores >= cores and gpus and memory


def _without(nodes: Sequence[Node], shares: Sequence[Share], sign: int = 1) -> tuple[Node, ...]:
    """The nodes less what is taken of them (less than nothing if more is taken), or more."""
    left = list(nodes)
    for share in shares:
        one = left[share.node]
        left[share.node] = replace(
            one,
            cores=one.cores - sign * share.cores,
            gpus=one.gpus - sign * share.gpus,
            memory_MB=one.memory_MB - sign * share.memory_MB,
        )
    return tuple(left)


def largest_share(need: Need, placement: Placement | None, nodes: Sequence[Node]) -> float:
    """The largest share of the cores, or of the GPUs, of all nodes that a job occupies."""
    if placement is None:
        return math.inf
    cores = sum(share.cores for share in placement.shares)
    gpus = sum(share.gpus for share in placement.shares)
    all_cores, all_gpus = sum(node.cores for node in nodes), sum(node.gpus for node in nodes)
    return max(cores / max(1, all_cores), gpus / max(1, all_gpus))
