"""Walkers and segments: what all walkers do in one round, as one LAMMPS launch of N partitions.

`files` is everything that a segment reads, `job` launches it, `read` tells what became of each
walker, however the launch ended. In the segment's directory a walker's files begin with its id:

    mil53_al-0.lmp .data .plumed .metad.hills      read by LAMMPS and PLUMED
    mil53_al-0.log .dump .colvar .plumed.log       written by them; new hills follow the old ones
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms

from . import bias, decks, dumps, plumed
from .bias import HillsRecord
from .errors import EngineFailed, InputError
from .jobs import Finished, Job
from .segments import (
    ColvarSummary,
    Engines,
    SegmentPlan,
    SegmentResult,
    SegmentSettings,
    SystemSettings,
    Walker,
    WalkerResult,
)
from .sharing import HillsOnDisk, on_disk, read_new
from .units import FS_PER_PS, bar_from_MPa

__all__ = [
    "ColvarSummary",
    "Engines",
    "SegmentPlan",
    "SegmentResult",
    "SegmentSettings",
    "SystemSettings",
    "Walker",
    "WalkerResult",
    "files",
    "job",
    "merged_records",
    "progress",
    "read",
    "reduce_cell",
]

SEGMENT = "segment.lmp"
_HALTS = {1: "force", 2: "temperature", 4: "energy", 8: "tilt of the cell"}


def job(plan: SegmentPlan, *, engines: Engines, directory: Path) -> Job:
    """The one MPI launch of a segment: a partition of one rank for each walker."""
    count = len(plan.walkers)
    quiet = ("-log", "none", "-plog", "none", "-pscreen", "none")
    partitions = ("-partition", f"{count}x1")
    return Job(
        name=f"segment of round {plan.round}",
        argv=(
            *(*engines.mpiexec, "-n", str(count)),
            *(str(engines.lmp), *partitions, "-in", SEGMENT, *quiet),
        ),
        directory=directory,
        inputs=files(plan),
        env={"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", **engines.env},
        cores=count,
        timeout_s=plan.settings.timeout_s,
    )


def files(plan: SegmentPlan) -> Mapping[str, bytes]:
    """Every file that a segment reads: name → content."""
    _check(plan)
    found: dict[str, bytes] = {}
    ids = [walker.id for walker in plan.walkers]
    _add(found, SEGMENT, decks.segment_deck(ids).encode())
    try:
        _add(found, _model_name(plan), plan.model.read_bytes())
    except OSError as error:
        raise InputError(f"deployed model {plan.model}: {error.strerror}") from error
    for walker in plan.walkers:
        atoms = decks.lammps_frame(walker.atoms)
        data = decks.data_file(atoms, plan.type_names, velocities=not _draws(plan, walker))
        _add(found, f"{walker.id}.data", data.encode())
        _add(found, f"{walker.id}.lmp", decks.walker_deck(_deck(plan, walker)).encode())
        text = plan.systems[walker.system].plumed
        if text is None:
            continue
        hills = _hills(plan, walker)
        words = {item.action: item.words for item in hills}
        rewritten = plumed.rewrite(text, metad=words, colvars=_colvars(walker, text))
        _add(found, f"{walker.id}.plumed", rewritten.encode())
        for item in hills:
            if item.content:
                _add(found, item.name, item.content.encode())
    return found


def read(finished: Finished, plan: SegmentPlan) -> SegmentResult:
    """What became of each walker, also after an error or a time limit.

    Raises:
        EngineFailed: no walker did a single step, or hills are missing or doubled.
    """
    directory = finished.directory
    logs = [_log(directory / f"{walker.id}.log") for walker in plan.walkers]
    ended = _ended(finished, plan, logs)
    if not any(log.steps_done for log in logs):
        raise EngineFailed(
            f"{finished.job.name}: no walker did a step: {ended or finished.last_lines()} "
            f"(everything is in {directory})"
        )
    results = [
        _result(plan, partition, log, directory=directory, ended=ended)
        for partition, log in enumerate(logs)
    ]
    hills = [hill for result in results for hill in result.new_hills]  # MPI walkers share a file
    own = {w.id: tuple(hill for hill in hills if hill.walker == w.id) for w in plan.walkers}
    walkers = tuple(replace(result, new_hills=own[result.id]) for result in results)
    return SegmentResult(plan.round, walkers, ended, finished.seconds)


def progress(directory: Path, plan: SegmentPlan) -> Mapping[str, int]:
    """Walker id → steps done so far, from the ends of the growing logs."""
    steps = {w.id: dumps.tail_step(directory / f"{w.id}.log") for w in plan.walkers}
    return {w.id: max(0, (steps[w.id] or w.step) - w.step) for w in plan.walkers}


def merged_records(plan: SegmentPlan, result: SegmentResult) -> Mapping[str, HillsRecord]:
    """The records of all systems of the plan, with the hills of this segment."""
    records = {
        name: plan.records.get(name, HillsRecord(name))
        for name, settings in plan.systems.items()
        if settings.plumed is not None
    }
    for walker in result.walkers:
        if walker.system in records:
            old = records[walker.system]
            records[walker.system] = bias.merge(old, walker.new_hills, headers=walker.headers)
    return records


def reduce_cell(atoms: Atoms) -> Atoms:
    """The same crystal with each tilt of a lower-triangular cell within half a box length.

    Cell vectors change by whole other vectors, so nothing is rotated: Cartesian positions and
    velocities stay bit for bit.
    """
    cell = atoms.cell.array.copy()
    cell[2] -= np.rint(cell[2, 1] / cell[1, 1]) * cell[1]
    cell[2] -= np.rint(cell[2, 0] / cell[0, 0]) * cell[0]
    cell[1] -= np.rint(cell[1, 0] / cell[0, 0]) * cell[0]
    reduced = atoms.copy()
    reduced.set_cell(cell, scale_atoms=False)
    return reduced


def _check(plan: SegmentPlan) -> None:
    ids = [walker.id for walker in plan.walkers]
    if not ids or len(set(ids)) != len(ids):
        raise InputError(f"a segment needs walkers with different ids, found {ids}")
    for name in {walker.system for walker in plan.walkers}:
        if name not in plan.systems:
            raise InputError(f"walkers of the system {name}, which has no settings")
    if _waits(plan) and len({walker.system for walker in plan.walkers}) > 1:
        raise InputError(
            "bias_sharing: mpi would mix the hills of all systems of a segment; use live or merged"
        )


def _waits(plan: SegmentPlan) -> bool:
    """Whether walkers wait for each other at every hill."""
    return any(plan.systems[walker.system].bias_sharing == "mpi" for walker in plan.walkers)


def _add(found: dict[str, bytes], name: str, content: bytes) -> None:
    if found.setdefault(name, content) != content:
        raise InputError(f"two walkers or systems need the file name {name}; rename a system")


def _model_name(plan: SegmentPlan) -> str:
    for suffix in (".nequip.pth", ".nequip.pt2"):
        if plan.model.name.endswith(suffix):
            return f"model{suffix}"
    raise InputError(f"deployed model {plan.model}: its name must end with .nequip.pth or .pt2")


def _draws(plan: SegmentPlan, walker: Walker) -> bool:
    keeps = plan.systems[walker.system].velocities == "keep"
    return not (keeps and walker.atoms.has("momenta"))


def _seed(plan: SegmentPlan, walker: Walker, purpose: str) -> int:
    """A seed that LAMMPS takes (1 … 900000000), of its own for each walker, round and purpose."""
    text = f"{plan.seed} {plan.round} {walker.id} {purpose}"
    return 1 + int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 900_000_000


def _deck(plan: SegmentPlan, walker: Walker) -> decks.WalkerDeck:
    system, segment = plan.systems[walker.system], plan.settings
    return decks.WalkerDeck(
        walker=walker.id,
        model=_model_name(plan),
        type_names=plan.type_names,
        first_step=walker.step,
        steps=segment.steps,
        timestep_ps=segment.timestep_fs / FS_PER_PS,
        ensemble=system.ensemble,
        thermostat=system.thermostat,
        temperature_K=system.temperature_K,
        pressure_bar=bar_from_MPa(system.pressure_MPa or 0.0),
        thermostat_damping_ps=segment.thermostat_damping_fs / FS_PER_PS,
        barostat_damping_ps=segment.barostat_damping_fs / FS_PER_PS,
        velocity_seed=_seed(plan, walker, "velocities") if _draws(plan, walker) else None,
        thermostat_seed=_seed(plan, walker, "thermostat"),
        plumed=system.plumed is not None,
        halt=not _waits(plan),
        max_force_eV_per_A=segment.max_force_eV_per_A,
        max_temperature_K=segment.max_temperature_ratio * system.temperature_K,
        thermo_every_steps=segment.thermo_every_steps,
        dump_every_steps=segment.dump_every_steps,
    )


def _hills(plan: SegmentPlan, walker: Walker) -> tuple[HillsOnDisk, ...]:
    system = plan.systems[walker.system]
    if system.plumed is None:
        return ()
    return on_disk(
        plan.records.get(walker.system, HillsRecord(walker.system)),
        actions=plumed.metad_actions(system.plumed),
        mode=system.bias_sharing,
        walker=walker.id,
        members=[other.id for other in plan.walkers if other.system == walker.system],
    )


def _colvars(walker: Walker, text: str) -> list[str]:
    count = plumed.print_count(text)
    return [
        f"{walker.id}.colvar" if n == 1 else f"{walker.id}.{n}.colvar" for n in range(1, count + 1)
    ]


def _log(path: Path) -> dumps.LogSummary:
    return dumps.read_log(path) if path.is_file() else dumps.LogSummary({})


def _ended(finished: Finished, plan: SegmentPlan, logs: list[dumps.LogSummary]) -> str | None:
    """Why the launch as a whole ended early; None where it did not."""
    if finished.returncode == 0 and all(log.loop_s is not None for log in logs):
        return None
    if finished.returncode is None:
        return f"the segment ran past its limit of {plan.settings.timeout_s or 0:g} s"
    for walker, log in zip(plan.walkers, logs, strict=True):
        if log.errors:
            return f"{walker.id}: {log.errors[0]}"
    return f"LAMMPS ended with code {finished.returncode}: {finished.last_lines()}"


def _result(
    plan: SegmentPlan,
    partition: int,
    log: dumps.LogSummary,
    *,
    directory: Path,
    ended: str | None,
) -> WalkerResult:
    walker = plan.walkers[partition]
    dump = directory / f"{walker.id}.dump"
    hills, headers = _new_hills(plan, partition, log, directory=directory)
    return WalkerResult(
        id=walker.id,
        system=walker.system,
        frames=tuple(dumps.read_dump(dump, plan.type_names)) if dump.is_file() else (),
        last_step=walker.step if log.last_step is None else log.last_step,
        steps_done=log.steps_done,
        halted=_halted(log) or (ended if log.loop_s is None else None),
        new_hills=hills,
        headers=headers,
        colvars=_summaries(plan, partition, directory),
        thermo=log.thermo,
        seconds=log.loop_s,
    )


def _new_hills(
    plan: SegmentPlan, partition: int, log: dumps.LogSummary, *, directory: Path
) -> tuple[tuple[bias.Hill, ...], dict[str, tuple[str, ...]]]:
    """The walker's new hills, and the headers of its files by action."""
    walker = plan.walkers[partition]
    text = plan.systems[walker.system].plumed or ""
    actions = plumed.metad_actions(text)
    hills: list[bias.Hill] = []
    headers: dict[str, tuple[str, ...]] = {}
    for item in _hills(plan, walker):
        if not item.depositors:
            continue
        deposit = bias.Deposit(
            system=walker.system,
            action=item.action,
            walkers=item.depositors,
            round=plan.round,
            generation=plan.generation,
            start=walker.step,
            stop=log.last_step if log.loop_s is not None else None,
            pace=plumed.pace(actions[item.action]),
            time_per_step=plan.settings.timestep_fs / FS_PER_PS / plumed.time_unit_ps(text),
        )
        new, header = read_new(item, deposit, directory=directory, partition=partition)
        hills += new
        if header:
            headers[item.action] = header
    return tuple(hills), headers


def _halted(log: dumps.LogSummary) -> str | None:
    """What the soft stop of the deck says, in words."""
    if log.halt is None:
        return None
    value = int(log.halt.value) if 0 <= log.halt.value < 16 else 0
    causes = [words for bit, words in _HALTS.items() if value & bit]
    return f"{' and '.join(causes) or log.halt.fix} beyond the limit at step {log.halt.step}"


def _summaries(plan: SegmentPlan, partition: int, directory: Path) -> tuple[ColvarSummary, ...]:
    """The printed variables; a PLUMED with MPI appends the partition's number to file names."""
    walker = plan.walkers[partition]
    found: list[ColvarSummary] = []
    for name in _colvars(walker, plan.systems[walker.system].plumed or ""):
        candidates = (directory / name, directory / f"{name}.{partition}")
        for path in [path for path in candidates if path.is_file()][:1]:
            table = dumps.read_colvar(path)
            columns = list(table.values.T[1:]) if len(table.values) else []
            found += [
                ColvarSummary(field, *map(float, (c[0], c[-1], c.min(), c.max())))
                for field, c in zip(table.fields[1:], columns, strict=False)
            ]
    return tuple(found)
