"""Energies of isolated atoms, from which the model's energies count: once for each level."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers

from ..campaign import Counter, Outputs, Task, Work
from ..errors import PhasewalkError
from ..jobs import Finished, Job, Launcher, submit
from ..labels import label_cache
from ..reference import Reference, requests
from ..store import ATOM, FAILED, Atom, atom_task, train_task
from . import trust


def compute(work: Work) -> None:
    """Compute the atoms of the model's species that are not known, side by side.

    One that fails is said and left out: see `models.statistics` for what is done without it.
    """
    wanted = _wanted(work)
    if not wanted or work.store.find(train_task(0)) is not None:
        return
    _try_shared(work, wanted)
    tasks = [_task(work, symbol) for symbol in wanted]
    work.observer.begin(0, "isolated atoms", len(tasks), "atoms")
    done = sum(work.store.find(task.name) is not None for task in tasks)
    for symbol, outputs in zip(wanted, work.do(tasks, Counter(work.observer, done)), strict=True):
        if FAILED in outputs:
            work.observer.say(f"isolated {symbol}: {outputs[FAILED]}")


def _try_shared(work: Work, wanted: Sequence[str]) -> None:
    """Of each campaign whose atoms could be taken, compute the lightest here, and compare."""
    reference = work.campaign.reference
    for symbol in sorted(wanted, key=lambda s: atomic_numbers[s]):
        shared = _shared(reference, symbol, cache=work.engines.cache)
        known_here = work.store.find(atom_task(symbol)) is not None
        if shared is None or known_here:
            continue
        energy, who = shared
        if trust.believed(work, trust.ATOMS, who) is not None:
            continue
        (output,) = work.do([_task(work, symbol)])
        if FAILED not in output:
            apart = 1000 * abs(output["energy_eV"] - energy)
            far = apart > trust.MAX_ENERGY_MEV_PER_ATOM
            trust.note(
                work,
                trust.ATOMS,
                who,
                wrong=f"limit {trust.MAX_ENERGY_MEV_PER_ATOM:g} meV" if far else "",
                found=f"{symbol}, computed again, differs by {apart:.2g} meV",
            )


def energies(work: Work) -> Mapping[str, float]:
    """Energy (eV) of each isolated atom that is known: given, or computed."""
    given = work.campaign.settings.reference.atom_energies_eV or {}
    found = {symbol: work.store.find(atom_task(symbol)) for symbol in work.campaign.types}
    computed = {
        symbol: float(record.of(Atom).energy_eV)
        for symbol, record in found.items()
        if record is not None and not record.failed
    }
    return {**computed, **given}


def _wanted(work: Work) -> list[str]:
    settings = work.campaign.settings.reference
    if not settings.isolated_atoms or not work.campaign.reference.command:
        return []
    return [s for s in work.campaign.types if s not in (settings.atom_energies_eV or {})]


def _task(work: Work, symbol: str) -> Task:
    reference = work.campaign.reference
    spin = requests.multiplicity(symbol)

    def told(energy: float) -> Outputs:
        return {"element": symbol, "energy_eV": energy, "multiplicity": spin}

    def read(finished: Finished) -> Outputs:
        energy = requests.read_atom(finished, reference)
        return told(kept(energy))

    def kept(energy: float) -> float:
        who = trust.me(work)
        return keep(reference, symbol, energy, cache=work.engines.cache, campaign=who)

    def adopt(directory: Path) -> Outputs | None:
        with contextlib.suppress(PhasewalkError):  # a kill came before its record
            energy = requests.read_atom_result(directory, reference)
            return told(kept(energy))
        shared = _shared(reference, symbol, cache=work.engines.cache)
        if shared is None or not trust.believed(work, trust.ATOMS, shared[1]):
            return None
        return {**told(shared[0]), "reused": True}

    return Task(
        name=atom_task(symbol),
        stage=ATOM,
        round=0,
        inputs=reference.method.method,
        place=f"rounds/000/atoms/{symbol}",
        job=lambda directory: _job(reference, symbol, directory),
        read=read,
        may_fail=True,
        again=True,
        adopt=adopt,
    )


def _job(reference: Reference, symbol: str, directory: Path) -> Job:
    return requests.atom_job(f"atom {symbol}", symbol, reference=reference, directory=directory)


def table(
    reference: Reference, symbols: Sequence[str], launcher: Launcher, folder: Path, cache: Path
) -> Iterator[tuple[str, float | str, str]]:
    """Each element's energy (eV), or why there is none, and where that comes from.

    Args:
        reference: the settled one.
        symbols: elements.
        launcher: runs what is not known, side by side.
        folder: where it runs.
        cache: where energies are kept.
    """
    given = reference.settings.atom_energies_eV or {}
    waiting = []
    for symbol in symbols:
        shared = _shared(reference, symbol, cache=cache)
        if symbol in given:
            yield symbol, given[symbol], "given in the campaign file"
        elif shared is not None:
            by = f" by campaign {shared[1]}" if shared[1] else ""
            yield symbol, shared[0], f"computed before{by}; a run computes one of these again"
        elif reference.command:
            waiting.append(symbol)
        else:
            yield symbol, "no program to compute it", ""
    jobs = {symbol: _job(reference, symbol, folder / symbol) for symbol in waiting}
    with contextlib.closing(submit(launcher, list(jobs.values()))) as events:
        for event in events:
            if isinstance(event, Finished):
                symbol = event.directory.name
                try:
                    energy = requests.read_atom(event, reference)
                    keep(reference, symbol, energy, cache=cache)
                    yield symbol, energy, f"computed in {event.seconds:.1f} s"
                except PhasewalkError as error:
                    yield symbol, str(error), "failed"


def known(reference: Reference, symbol: str, *, cache: Path) -> float | None:
    """Energy (eV) of an atom that a campaign has computed before, at the same level."""
    found = _shared(reference, symbol, cache=cache)
    return None if found is None else found[0]


def _shared(reference: Reference, symbol: str, *, cache: Path) -> tuple[float, str] | None:
    """Energy (eV) of an atom in the cache, and the campaign that has computed it."""
    if not reference.shares:
        return None
    return label_cache.atom(cache, reference.method, symbol, _how(reference, symbol))


def keep(
    reference: Reference, symbol: str, energy: float, *, cache: Path, campaign: str = ""
) -> float:
    """Keep an atom's energy (eV) for other campaigns, and return it."""
    if reference.shares and reference.method.version:
        how = _how(reference, symbol)
        label_cache.keep_atom(
            cache, reference.method, symbol, energy_eV=energy, how=how, campaign=campaign
        )
    return energy


def _how(reference: Reference, symbol: str) -> dict[str, Any]:
    """What an atom's energy depends on besides the level of theory."""
    settings = reference.settings
    return {
        "box_A": settings.atom_box_A,
        "multiplicity": requests.multiplicity(symbol),
        "arguments": dict(settings.ase.atom_arguments) if settings.ase else {},
    }
