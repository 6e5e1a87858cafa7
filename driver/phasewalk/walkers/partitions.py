"""Segments: all walkers of a round in one LAMMPS launch with N partitions.

`files` returns all input files of a segment, `job` launches it. In the segment's directory, the
names of a walker's files begin with its id:

    mil53_al-0.lmp .data .plumed .metad.hills.0    input of LAMMPS and PLUMED; earlier hills
    mil53_al-0.bonds                               input of the sentinel: bonds that must not change
    mil53_al-0.log .dump .colvar .plumed.log       output of LAMMPS and PLUMED
    mil53_al-0.metad.hills.1                       output: new hills (.hills without earlier ones)
    mil53_al-0.out.NAME                            other output files of PLUMED (FILE=NAME)
    mil53_al-0.good.dump                           last good frame of a walker that was stopped
"""

import hashlib
import math
from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from ..bias import HillsOnDisk, History, on_disk, plumed, plumed_files
from ..errors import InputError
from ..jobs import Job
from ..models import ENDINGS, name_for_ranks
from ..structures import carried
from ..units import FS_PER_PS, bar_from_MPa
from . import bond_files, decks
from .limits import WALLTIME
from .segment import Engines, SegmentPlan, SegmentSettings, SystemSettings, Walker

__all__ = [
    "Engines",
    "SegmentPlan",
    "SegmentSettings",
    "SystemSettings",
    "Walker",
    "files",
    "job",
    "launch",
    "plumed_text",
    "reduce_cell",
]

SEGMENT = "segment.lmp"
MAX_TILT = 1.3
"""Maximum tilt factor in box lengths; large tilts need many ghost atoms."""
MAX_MOVE_A = 0.5
"""Maximum displacement of an atom in one step; LAMMPS would lose a faster atom."""
RING_FS, RING_FRAMES = 5.0, 20
BONDS_FS = 2.0
"""Interval of the check of bonds, a fifth of the period of the fastest vibration."""
GRACE_S = 60.0
"""Time after the time limit until a segment that does not stop is killed."""


def job(plan: SegmentPlan, *, engines: Engines, directory: Path) -> Job:
    """The MPI launch of a segment, with a partition for each walker."""
    name, count = f"segment of round {plan.round}", len(plan.walkers)
    launched = launch(name, count, engines, directory, ranks=plan.ranks)
    return replace(
        launched,
        inputs=files(plan),
        links={**_models(plan), **_histories(plan, appends=False)},
        copies=_histories(plan, appends=True),
        grows=frozenset(
            item.name
            for walker in plan.walkers
            for item in hills_files(plan, walker)
            if item.content
        ),
        timeout_s=plan.settings.timeout_s and plan.settings.timeout_s + GRACE_S,
    )


def launch(
    name: str,
    count: int,
    engines: Engines,
    directory: Path,
    *,
    ranks: int = 1,
    deck: str = SEGMENT,
    partitioned: bool = True,
) -> Job:
    """The MPI launch of so many walkers of so many ranks each, without its files.

    With `partitioned` false one walker is no partition, in which PLUMED with MPI would add its
    number to the names of the files that it writes.
    """
    quiet = ("-plog", "none", "-pscreen", "none") if partitioned else ("-screen", "none")
    partitions = ("-partition", f"{count}x{ranks}") if partitioned else ()
    return Job(
        name=name,
        argv=(str(engines.lmp), *partitions, "-in", deck, "-log", "none", *quiet),
        directory=directory,
        kind="segment",
        env={"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", **engines.env},
        mpiexec=engines.mpiexec,
        ranks=count * ranks,
    )


def files(plan: SegmentPlan) -> Mapping[str, bytes]:
    """Input files of a segment, without the model and earlier hills: name → content."""
    _check(plan)
    found: dict[str, bytes] = {}
    ids = [walker.id for walker in plan.walkers]
    _add(found, SEGMENT, decks.segment_deck(ids, plan.ranks).encode())
    models = _models(plan)
    for path in models.values():
        if not path.is_file():
            raise InputError(f"deployed model {path}: no such file")
    for walker in plan.walkers:
        atoms = decks.lammps_frame(walker.atoms)
        data = decks.data_file(atoms, plan.type_names, velocities=not _draws(plan, walker))
        _add(found, f"{walker.id}.data", data.encode())
        _add(found, f"{walker.id}.lmp", decks.walker_deck(_deck(plan, walker)).encode())
        if _watches_bonds(plan, walker):
            table = bond_files.text(plan.guards[walker.system], atoms, plan.type_names)
            _add(found, bond_files.name(walker.id), table.encode())
        text = plan.systems[walker.system].plumed
        if text is None:
            continue
        hills = hills_files(plan, walker)
        words = {item.action: item.words for item in hills}
        ours = plumed_text(
            text,
            walker.id,
            metad=words,
            temperature_K=plan.systems[walker.system].temperature_in(plan.round),
            flush_every_steps=plan.settings.thermo_every_steps,
        )
        _add(found, f"{walker.id}.plumed", ours.encode())
        for name in plumed_files.read(text):
            if name in plan.plumed_files:
                _add(found, name, plan.plumed_files[name])
        for item in hills:
            if item.content:
                _add(found, item.name, item.content.encode())
    for model in models:
        if model in found:
            raise InputError(f"two files have the name {model}; rename a system")
    return found


def _histories(plan: SegmentPlan, *, appends: bool) -> dict[str, Path]:
    """Files of earlier hills to which METAD appends, or which it only reads: name → file."""
    return {
        item.history_name: item.history.path
        for walker in plan.walkers
        for item in hills_files(plan, walker)
        if item.history is not None and item.appends == appends
    }


def plumed_text(
    text: str,
    walker: str,
    *,
    metad: Mapping[str, plumed.MetadFiles],
    temperature_K: float,
    flush_every_steps: int,
    also: Set[str] = frozenset(),
) -> str:
    """PLUMED input of one walker.

    Args:
        text: the user's PLUMED input.
        walker: id of the walker.
        metad: keywords for each METAD action.
        temperature_K: temperature of the walker.
        flush_every_steps: number of steps between flushing output files.
        also: see `plumed.metad_actions`.
    """
    rewritten = plumed.rewrite(
        text,
        metad={key: replace(one, temperature_K=temperature_K) for key, one in metad.items()},
        colvars=colvar_files(walker, text),
        edits=plumed_files.renamed(text, f"{walker}.out."),
        also=also,
    )
    # PLUMED may buffer output for 10000 steps: too late for monitoring, and lost after a kill.
    return f"{rewritten.rstrip()}\nFLUSH STRIDE={flush_every_steps}\n"


def reduce_cell(atoms: Atoms) -> Atoms:
    """Reduce the tilts of a lower-triangular cell to at most half a box length.

    Integer multiples of other cell vectors are subtracted, so that the crystal is the same.
    Cartesian positions and velocities do not change.
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
        raise InputError(f"a segment requires walkers with different ids, found {ids}")
    for name in {walker.system for walker in plan.walkers}:
        if name not in plan.systems:
            raise InputError(f"walkers of the unknown system {name}; add it to systems")
    if _waits(plan) and len({walker.system for walker in plan.walkers}) > 1:
        raise InputError(
            "bias_sharing: mpi supports one system only, because the hills of all systems of a "
            "segment would be shared; use live or merged"
        )


def _waits(plan: SegmentPlan) -> bool:
    """Whether walkers wait for each other at each hill."""
    return any(plan.systems[walker.system].bias_sharing == "mpi" for walker in plan.walkers)


def _add(found: dict[str, bytes], name: str, content: bytes) -> None:
    if found.setdefault(name, content) != content:
        raise InputError(f"two walkers or systems use the file name {name}; rename a system")


def _model_name(plan: SegmentPlan) -> str:
    for ending in ENDINGS.values():
        if plan.model.name.endswith(ending):
            return f"model{ending}"
    raise InputError(f"deployed model {plan.model}: its name must end with .nequip.pth or .pt2")


def _models(plan: SegmentPlan) -> dict[str, Path]:
    """The files of the model that LAMMPS looks for: name → file."""
    found = {_model_name(plan): plan.model}
    if plan.for_ranks is not None:
        found[name_for_ranks(_model_name(plan))] = plan.for_ranks
    return found


def _draws(plan: SegmentPlan, walker: Walker) -> bool:
    keeps = plan.systems[walker.system].velocities == "keep"
    return not (keeps and walker.atoms.has("momenta"))


def _seed(plan: SegmentPlan, walker: Walker, purpose: str) -> int:
    """A seed for LAMMPS (1 … 900000000), different for each walker, round and purpose."""
    text = f"{plan.seed} {plan.round} {walker.id} {purpose}"
    return 1 + int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 900_000_000


def _deck(plan: SegmentPlan, walker: Walker) -> decks.WalkerDeck:
    system, segment = plan.systems[walker.system], plan.settings
    return decks.WalkerDeck(
        walker=walker.id,
        model=_model_name(plan),
        device=plan.device,
        type_names=plan.type_names,
        first_step=walker.step,
        steps=segment.steps,
        timestep_ps=segment.timestep_fs / FS_PER_PS,
        ensemble=system.ensemble,
        thermostat=system.thermostat,
        temperature_K=system.temperature_in(plan.round),
        pressure_bar=bar_from_MPa(system.pressure_MPa or 0.0),
        thermostat_damping_ps=segment.thermostat_damping_fs / FS_PER_PS,
        barostat_damping_ps=segment.barostat_damping_fs / FS_PER_PS,
        velocity_seed=_seed(plan, walker, "velocities") if _draws(plan, walker) else None,
        thermostat_seed=_seed(plan, walker, "thermostat"),
        plumed=system.plumed is not None,
        sentinel=segment.sentinel,
        together=_waits(plan),
        limits=limits(plan, walker),
        margin_steps=round(segment.breakdown_fs / segment.timestep_fs),
        ring_every_steps=_steps(RING_FS, segment),
        ring_frames=RING_FRAMES,
        thermo_every_steps=segment.thermo_every_steps,
        dump_every_steps=segment.dump_every_steps,
        fixed=tuple(str(index + 1) for index in np.flatnonzero(carried.fixed(walker.atoms))),
        bonds_every_steps=_steps(BONDS_FS, segment) if _watches_bonds(plan, walker) else None,
        bonds_hold_steps=math.ceil(segment.bond_change_fs / segment.timestep_fs),
    )


def _watches_bonds(plan: SegmentPlan, walker: Walker) -> bool:
    return plan.settings.sentinel and walker.system in plan.guards


def _steps(time_fs: float, segment: SegmentSettings) -> int:
    """Number of steps in so much time, at least one."""
    return max(1, round(time_fs / segment.timestep_fs))


def limits(plan: SegmentPlan, walker: Walker) -> dict[str, tuple[float, ...]]:
    """The limits of a walker: keyword of the sentinel (see `limits.LIMITS`) → its numbers."""
    system, segment = plan.systems[walker.system], plan.settings
    volume = walker.atoms.get_volume()
    hottest = _hottest(segment, system, walker) * system.temperature_in(plan.round)
    return {
        "force": (segment.max_force_eV_per_A,),
        "temperature": (hottest,),
        "move": (MAX_MOVE_A,),
        "close": (segment.min_distance_fraction, *map(_radius, plan.type_names)),
        "volume": plan.volumes_A3.get(walker.system, (0.1 * volume, 10.0 * volume)),
        "tilt": (MAX_TILT,),
        **({WALLTIME: (segment.timeout_s,)} if segment.timeout_s is not None else {}),
    }


def _hottest(segment: SegmentSettings, system: SystemSettings, walker: Walker) -> float:
    """Maximum temperature of a walker, as a multiple of the system's temperature.

    For few atoms the temperature fluctuates more: 1 sample in 10⁹ exceeds the limit at equilibrium.
    """
    from scipy.special import chdtri

    mobile = len(walker.atoms) - int(np.count_nonzero(carried.fixed(walker.atoms)))
    at_rest = system.thermostat != "langevin" and mobile == len(walker.atoms)
    freedom = max(1, 3 * mobile - (3 if at_rest else 0))
    return max(segment.max_temperature_ratio, float(chdtri(freedom, 1e-9)) / freedom)


def _radius(name: str) -> float:
    """Covalent radius of a species, Å."""
    return float(covalent_radii[atomic_numbers[name]])


def good_file(walker: Walker) -> str:
    """File to which the sentinel writes a walker's last good frame."""
    return f"{walker.id}.good.dump"


def hills_files(plan: SegmentPlan, walker: Walker) -> tuple[HillsOnDisk, ...]:
    """The hills files that a walker reads and writes."""
    system = plan.systems[walker.system]
    if system.plumed is None:
        return ()
    return on_disk(
        plan.histories.get(walker.system, History()),
        system=walker.system,
        actions=plumed.metad_actions(system.plumed),
        mode=system.bias_sharing,
        walker=walker.id,
        members=plan.members[walker.system],
    )


def colvar_files(walker: str, text: str) -> list[str]:
    """Output files of the PRINT actions of a walker."""
    count = plumed.print_count(text)
    return [f"{walker}.colvar" if n == 1 else f"{walker}.{n}.colvar" for n in range(1, count + 1)]
