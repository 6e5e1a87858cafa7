"""Compilations: one per graph, made in parallel with the training and cached for other campaigns.

The network is compiled with arbitrary weights, which are replaced by those of each generation. The
first generation therefore need not wait for the compiler.
"""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import models
from ..campaign import Outputs, Task, Work
from ..engines import shared_code
from ..errors import InputError, ParseError, StoreError
from ..files import hash_of
from ..jobs import Finished, Job
from ..models import WEIGHTS, Deployed, Template, swap
from ..store import COMPILE, FAILED, compile_task

TEMPLATE, STAMP = "template.json", "stamp.json"
MOST_CORES = 8
"""Cores of a compilation if there may be any number: more do not make it faster."""


@dataclass(frozen=True)
class Compiled:
    """A compiled network, whose weights can be replaced."""

    place: Path
    file: Path
    stamp: Deployed
    template: Template

    @property
    def made_of(self) -> tuple[str, str, bool]:
        """Its graph, its mode, and whether it is for several MPI ranks."""
        return self.template.graph, self.stamp.mode, self.stamp.for_ranks


def cores_of(free: float) -> int:
    """Number of cores of a compilation; `MOST_CORES` of infinitely many."""
    return MOST_CORES if math.isinf(free) else int(free)


def key(work: Work, mode: str, graph: str, *, for_ranks: bool = False) -> str:
    """Hash of what a compilation depends on: graph, versions, device, processor, GPU.

    Args:
        work: the campaign.
        mode: torchscript or aotinductor.
        graph: of the network.
        for_ranks: it is for several MPI ranks; likewise below.
    """
    machine = work.engines.machine
    versions = [machine.versions.get(name) for name in ("torch", "nequip")]
    device = work.campaign.settings.deploy.device
    made_for = [machine.processor] if mode == "aotinductor" else []
    made_for += [machine.gpu] if made_for and machine.gpu else []
    more = ["ranks"] if for_ranks else []
    return hash_of(graph, mode, device, versions, made_for, machine.has_gpu, *more)


def _files(finished: Finished, stamp: Deployed) -> dict[str, bytes]:
    """Files of a compilation, in the order in which they are written.

    Raises InputError if its weights cannot be replaced.
    """
    content = (finished.directory / stamp.file).read_bytes()
    template = swap.find_weights(content, *swap.read_weights(finished.directory / WEIGHTS))
    return {
        stamp.file: content,
        STAMP: models.stamp_text(stamp).encode(),
        TEMPLATE: swap.template_text(template).encode(),  # last: marks the files as complete
    }


def find(work: Work, mode: str, graph: str, *, for_ranks: bool = False) -> Compiled | None:
    """A compilation of this graph in this mode, in the campaign or in the user's cache.

    A damaged compilation is ignored and made again.
    """
    name, wanted = key(work, mode, graph, for_ranks=for_ranks), (graph, mode, for_ranks)
    own, shared = work.store.root / _kept(name), _shared(work, name)
    for place in (own, shared):
        found = _in(place, sealed=place == shared)
        if found is not None and found.made_of == wanted:
            with contextlib.suppress(ParseError):
                for file in (found.stamp.file, STAMP, TEMPLATE) if place == own else ():
                    work.store.checked(f"{_kept(name)}/{file}")
                return found
    return None


def all_in(folder: Path, *, sealed: bool) -> list[Compiled]:
    """All compilations in a directory: `models/compiled` of a campaign, or `models` of a cache.

    Args:
        folder: the directory.
        sealed: only those written by this user, as required in a cache.
    """
    places = sorted(folder.iterdir()) if folder.is_dir() else []
    return [found for place in places if (found := _in(place, sealed=sealed)) is not None]


def _in(place: Path, *, sealed: bool) -> Compiled | None:
    """The compilation in a directory; None if there is none or it cannot be read."""
    with contextlib.suppress(ParseError):
        if (place / TEMPLATE).is_file() and (_sealed(place) or not sealed):
            stamp = models.read_stamp(place / STAMP)
            return Compiled(place, place / stamp.file, stamp, swap.read_template(place / TEMPLATE))
    return None


def _shared(work: Work, name: str) -> Path:
    """Directory of a compilation in the user's cache."""
    return shared_code.own(work.engines.cache / "models" / name)


def _sealed(place: Path) -> bool:
    """Whether all files of a compilation in the cache are unchanged and written by this user."""
    names = [path.name for path in place.iterdir() if path.name != shared_code.HASHES]
    return not shared_code.why_not(place, names)


def failure(work: Work, mode: str, graph: str, *, for_ranks: bool = False) -> str:
    """Why this network could not be compiled on this machine; empty if that is not known."""
    record = work.store.find(compile_task(mode, key(work, mode, graph, for_ranks=for_ranks)))
    return str(record.outputs.get(FAILED, "")) if record else ""


def needed(work: Work, mode: str, graph: str, *, for_ranks: bool = False) -> bool:
    """Whether `task` must be run, also to record a compilation that finished before a kill."""
    compiled = find(work, mode, graph, for_ranks=for_ranks)
    name = compile_task(mode, key(work, mode, graph, for_ranks=for_ranks))
    unrecorded = work.store.find(name) is None
    own = compiled is not None and compiled.place.is_relative_to(work.store.root)
    return compiled is None or (own and unrecorded)


def done_s(work: Work, mode: str, graph: str) -> float:
    """Run time so far of a compilation that was started early; infinite if it has finished."""
    return work.under_way.done_s(compile_task(mode, key(work, mode, graph)))


def _kept(name: str) -> str:
    return f"models/compiled/{name}"


def make(
    work: Work,
    round_: int,
    *,
    mode: str,
    network: Mapping[str, Any],
    for_ranks: bool = False,
) -> Compiled | None:
    """The compilation of a network, made or awaited if there is none; None if that failed.

    A failure is recorded, see `failure`, and tried again by the next call.
    """
    graph = models.graph_of(network)
    if needed(work, mode, graph, for_ranks=for_ranks):
        work.observer.begin(round_, f"compile ({mode})", 0, "networks")
        work.do([own_task(work, round_, mode, network, for_ranks=for_ranks)])
    return find(work, mode, graph, for_ranks=for_ranks)


def for_ranks(
    work: Work, round_: int, mode: str, network: Mapping[str, Any], *, cores: int
) -> tuple[Task, ...]:
    """The compilation that walkers on several ranks need; none if it exists, or they have one."""
    several = work.campaign.settings.resources.ranks_per_walker > 1
    if not several or not needed(work, mode, models.graph_of(network), for_ranks=True):
        return ()
    how: dict[str, Any] = {"cores": cores, "optional": True, "for_ranks": True}
    return (task(work, round_, mode=mode, network=network, **how),)


def own_task(
    work: Work, round_: int, mode: str, network: Mapping[str, Any], *, for_ranks: bool = False
) -> Task:
    """The task of a compilation on all cores, whose failure is recorded and tried again."""
    one = task(
        work,
        round_,
        mode=mode,
        network=network,
        cores=cores_of(work.cores) if mode == "aotinductor" else 1,
        optional=True,
        for_ranks=for_ranks,
    )
    return replace(one, again=True)


def task(
    work: Work,
    round_: int,
    *,
    mode: str,
    network: Mapping[str, Any],
    cores: int,
    optional: bool = False,
    for_ranks: bool = False,
) -> Task:
    """The task that compiles a network; its outputs show whether weights can be replaced.

    Args:
        work: the running campaign.
        round_: number of the round.
        mode: torchscript or aotinductor.
        network: configuration of the network.
        cores: number of cores for the compiler.
        optional: a failure is recorded instead of ending the run; another mode is used then.
        for_ranks: for several MPI ranks.
    """
    graph = models.graph_of(network)
    name = key(work, mode, graph, for_ranks=for_ranks)
    more = " for several ranks" if for_ranks else ""
    done: dict[str, Any] = {"mode": mode, "graph": graph, "place": _kept(name)}
    done |= {"for_ranks": True} if for_ranks else {}

    def job(directory: Path) -> Job:
        return models.deploy_job(
            f"compile {mode}{more}",
            None,
            inputs={models.NETWORK: json.dumps(network).encode()},
            mode=mode,
            device=work.campaign.settings.deploy.device,
            directory=directory,
            cores=cores,
            for_ranks=for_ranks,
        )

    def read(finished: Finished) -> Outputs:
        stamp = models.read_deployment(finished)
        try:
            files = _files(finished, stamp)
        except InputError as error:
            return {**done, "place": None, "why": str(error)}
        for file, data in files.items():
            work.store.keep(f"{_kept(name)}/{file}", data)
        with contextlib.suppress(StoreError, OSError):  # the cache is optional
            shared_code.put(_shared(work, name), files)
        return done

    def adopt(directory: Path) -> Outputs | None:
        found = find(work, mode, graph, for_ranks=for_ranks)
        if found is not None and found.place.is_relative_to(work.store.root):
            for file in (found.file, found.place / STAMP, found.place / TEMPLATE):
                work.store.vouch(file)
        return done if found else None

    return Task(
        name=compile_task(mode, name),
        stage=COMPILE,
        round=round_,
        inputs=name,
        place=f"rounds/{round_:03d}/compile-{mode}{'-ranks' if for_ranks else ''}",
        job=job,
        read=read,
        may_fail=optional,
        again=not optional,
        adopt=adopt,
    )
