"""Energies of isolated atoms, the zero of the model's energies; computed once per level."""

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
    """Compute the unknown isolated atoms of the model's species, in parallel.

    A failure is reported, and the atom is omitted; see `models.statistics` for the consequences.
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
    """For each campaign with usable atoms in the cache, recompute the lightest and compare."""
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
                found=f"{symbol}, recomputed, differs by {apart:.2g} meV",
            )


def energies(work: Work) -> Mapping[str, float]:
    """Energies (eV) of all known isolated atoms, given or computed."""
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

    def outputs(energy: float) -> Outputs:
        return {"element": symbol, "energy_eV": energy, "multiplicity": spin}

    def read(finished: Finished) -> Outputs:
        energy = requests.read_atom(finished, reference)
        return outputs(kept(energy))

    def kept(energy: float) -> float:
        who = trust.me(work)
        return keep(reference, symbol, energy, cache=work.engines.cache, campaign=who)

    def adopt(directory: Path) -> Outputs | None:
        with contextlib.suppress(PhasewalkError):  # result of a run killed before its record
            energy = requests.read_atom_result(directory, reference)
            return outputs(kept(energy))
        shared = _shared(reference, symbol, cache=work.engines.cache)
        if shared is None or not trust.believed(work, trust.ATOMS, shared[1]):
            return None
        return {**outputs(shared[0]), "reused": True}

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
    """Yields for each element its energy (eV), or why there is none, and the source of both.

    Args:
        reference: the reference with its level of theory.
        symbols: elements.
        launcher: runs the missing calculations in parallel.
        folder: working directory.
        cache: cache of energies.
    """
    given = reference.settings.atom_energies_eV or {}
    waiting = []
    for symbol in symbols:
        shared = _shared(reference, symbol, cache=cache)
        if symbol in given:
            yield symbol, given[symbol], "given in the campaign file"
        elif shared is not None:
            by = f" by campaign {shared[1]}" if shared[1] else ""
            yield symbol, shared[0], f"in the cache{by}; a run recomputes one of these"
        elif reference.command:
            waiting.append(symbol)
        else:
            yield symbol, "no reference program to compute it", ""
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
    """Energy (eV) of an atom in the cache, at the same level of theory; None if there is none."""
    found = _shared(reference, symbol, cache=cache)
    return None if found is None else found[0]


def _shared(reference: Reference, symbol: str, *, cache: Path) -> tuple[float, str] | None:
    """Energy (eV) of an atom in the cache, and the campaign that computed it."""
    if not reference.shares:
        return None
    return label_cache.atom(cache, reference.method, symbol, _how(reference, symbol))


def keep(
    reference: Reference, symbol: str, energy: float, *, cache: Path, campaign: str = ""
) -> float:
    """Save an atom's energy (eV) in the cache for other campaigns, and return it."""
    if reference.shares and reference.method.version:
        how = _how(reference, symbol)
        label_cache.keep_atom(
            cache, reference.method, symbol, energy_eV=energy, how=how, campaign=campaign
        )
    return energy


def _how(reference: Reference, symbol: str) -> dict[str, Any]:
    """Settings that affect an atom's energy in addition to the level of theory."""
    settings = reference.settings
    return {
        "box_A": settings.atom_box_A,
        "multiplicity": requests.multiplicity(symbol),
        "arguments": dict(settings.ase.atom_arguments) if settings.ase else {},
    }
