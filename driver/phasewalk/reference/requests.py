"""Jobs of the reference program for labels and isolated atoms, and their results."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, ground_state_magnetic_moments
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from ..errors import InputError, NotConverged
from ..files import numbers
from ..files import read as read_file
from ..jobs import Finished, Job
from ..labels import Label, Level, check, frame_to_json, label_key
from ..structures import carried
from . import cp2k_input, cp2k_output
from .programs import Reference, own_program
from .settings import ReferenceSettings

Array = NDArray[np.float64]

REQUEST, RESULT = "request.json", "result.json"
UNCONVERGED = 3
"""Exit code of the child process if the calculation did not converge."""
INPUT, GUESS = "label.inp", "guess"
WAVE_FUNCTIONS = ("label-RESTART.wfn", "label-RESTART.kp")
"""Restart files that CP2K writes; the second with k-points."""
VERSION_LIMIT_S = 300.0

T = TypeVar("T")


@dataclass(frozen=True)
class Try:
    """One attempt to label a frame.

    Attributes:
        changes: settings that differ from the first attempt, by the program's names.
        guess: a wave function to start from.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    guess: Path | None = None


@dataclass(frozen=True)
class Result:
    """The reference's results for a frame.

    Attributes:
        energy: eV.
        forces: (N, 3), eV/Å.
        stress: (6,) Voigt xx yy zz yz xz xy, eV/Å³, tension positive.
        seconds: wall time.
        version: of the program; empty if unknown.
        notes: other output (number of SCF steps, warnings).
    """

    energy: float
    forces: Array
    stress: Array
    seconds: float
    version: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)


def version_job(reference: Reference, directory: Path, *, here: bool = True) -> Job | None:
    """A job that determines the version of the program; None if it is known.

    Args:
        reference: the reference; its version, if any, is that of a package of this Python.
        directory: the working directory of the job.
        here: labels are computed on this machine. On another one phasewalk's own child is asked
            all the same; a user's program may not know how to answer.
    """
    settings = reference.settings
    known = reference.method.version and (here or own_program(settings.command) is not None)
    if known or not reference.command:
        return None
    if settings.cp2k:
        argv = (*reference.command, "--version")
        return Job("CP2K", argv, directory, "check", env=reference.env, timeout_s=VERSION_LIMIT_S)
    return replace(
        _child_job("reference", {}, reference=reference, directory=directory),
        kind="check",
        timeout_s=VERSION_LIMIT_S,
    )


def with_version(reference: Reference, finished: Finished) -> Reference:
    """The reference with the version from a finished `version_job`.

    Raises:
        EngineFailed: the program does not start.
        ParseError: the result cannot be read.
    """
    finished.require_success()
    if reference.settings.cp2k:
        text = (finished.directory / Finished.STDOUT).read_text(errors="replace", encoding="utf-8")
        version = cp2k_output.version(text)
        if version is None:
            program = " ".join(reference.command)
            raise InputError(f"{program} --version does not print a version of CP2K")
    else:
        version = _answer(finished.directory, _Answer).version or reference.method.version
    return replace(reference, method=replace(reference.method, version=version))


def job(name: str, atoms: Atoms, *, reference: Reference, directory: Path, attempt: Try) -> Job:
    """A job that labels one frame."""
    if reference.input is None:
        request = {"frame": frame_to_json(carried.for_label(atoms))}
        return _child_job(
            name, request, reference=reference, directory=directory, changes=attempt.changes
        )
    text = cp2k_input.frame_input(
        reference.input,
        atoms,
        guess=f"{GUESS}{attempt.guess.suffix}" if attempt.guess else None,
        changes=attempt.changes,
    )
    made = _cp2k_job(name, text, reference=reference, directory=directory)
    links = {f"{GUESS}{attempt.guess.suffix}": attempt.guess} if attempt.guess else {}
    return replace(made, links={**made.links, **links})


def atom_job(name: str, symbol: str, *, reference: Reference, directory: Path) -> Job:
    """A job that computes an isolated atom, in its ground state's multiplicity."""
    box, spin = reference.settings.atom_box_A, multiplicity(symbol)
    if reference.input is not None:
        text = cp2k_input.atom_input(reference.input, symbol, box_A=box, multiplicity=spin)
        made = _cp2k_job(name, text, reference=reference, directory=directory)
        return replace(made, kind="atom")
    atoms = Atoms([symbol], positions=[[box / 2] * 3], cell=[box] * 3, pbc=True)
    request = {"frame": frame_to_json(atoms), "multiplicity": spin}
    own = reference.settings.ase
    changes = own.atom_arguments if own else {}
    made = _child_job(name, request, reference=reference, directory=directory, changes=changes)
    return replace(made, kind="atom")


def multiplicity(symbol: str) -> int:
    """Spin multiplicity 2S + 1 of a free atom in its ground state (ASE's table of moments).

    The lowest possible one if the table has none or an impossible one.
    """
    number = atomic_numbers[symbol]
    table = ground_state_magnetic_moments[number : number + 1]
    spin = round(float(table[0])) if np.isfinite(table).any() else number % 2
    return (spin if spin % 2 == number % 2 else number % 2) + 1


def _child_job(
    name: str,
    request: Mapping[str, Any],
    *,
    reference: Reference,
    directory: Path,
    changes: Mapping[str, Any] | None = None,
) -> Job:
    settings = reference.settings
    asked = {"program": settings.program, **_arguments(settings), **request}
    asked["arguments"] = {**asked["arguments"], **(changes or {})}
    threads = str(settings.cores)
    return Job(
        name=name,
        argv=(*reference.command, REQUEST, RESULT),
        directory=directory,
        kind="label",
        inputs={REQUEST: json.dumps(asked).encode()},
        links=reference.staged,
        env={"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, **reference.env},
        threads=settings.cores,
        timeout_s=settings.timeout_s,
    )


def _arguments(settings: ReferenceSettings) -> dict[str, Any]:
    """The parts of a request that depend on the program."""
    if settings.ase:
        own = settings.ase
        packages = own.packages or [own.calculator.partition(".")[0]]
        return {"calculator": own.calculator, "arguments": own.arguments, "packages": packages}
    if settings.function:
        used = settings.function
        return {
            "function": used.function,
            "arguments": used.arguments,
            "packages": used.packages,
        }
    xtb = settings.tight_binding
    arguments = {
        "method": xtb.method,
        "electronic_temperature": xtb.electronic_temperature_K,
        "max_iterations": xtb.max_iterations,
    }
    return {"arguments": arguments, "packages": ["tblite"]}


def _cp2k_job(name: str, text: str, *, reference: Reference, directory: Path) -> Job:
    own = reference.settings.cp2k
    threads = str(own.threads if own else 1)
    return Job(
        name=name,
        argv=(*reference.command, "-i", INPUT),
        directory=directory,
        kind="label",
        inputs={INPUT: text.encode()},
        links=reference.staged,
        env={"OMP_NUM_THREADS": threads, **reference.env},
        mpiexec=reference.mpiexec,
        ranks=own.ranks if own else 1,
        threads=own.threads if own else 1,
        timeout_s=reference.settings.timeout_s,
    )


def tries(reference: Reference, guess: Path | None) -> list[Try]:
    """The attempts at a label in order, as declared; only the first uses a guess."""
    settings = reference.settings
    first = [Try(guess=guess)] if guess else []
    own = getattr(settings, settings.program) or settings.tight_binding
    retries = [
        entry if isinstance(entry, dict) else entry.model_dump(exclude_none=True)
        for entry in getattr(own, "retries", ())
    ]
    return [*first, Try(), *(Try(changes) for changes in retries)]


def read(finished: Finished, atoms: Atoms, *, reference: Reference) -> Result:
    """The result of a finished job for its frame.

    Raises:
        NotConverged: the calculation has not converged.
        EngineFailed: the program failed.
        ParseError: its result cannot be read.
        InputError: it belongs to another frame or another version of the program.
    """
    _require(finished, reference)
    return read_result(finished.directory, atoms, reference=reference)


def _require(finished: Finished, reference: Reference) -> None:
    """Raise an error if the program failed or did not converge."""
    if reference.input is None:
        if finished.returncode == UNCONVERGED:
            raise NotConverged(
                f"{finished.job.name} did not converge: {finished.last_lines(1)} (all files "
                f"are in {finished.directory})"
            )
    elif finished.returncode not in (0, None) and not finished.why:
        cp2k_output.check_end(finished.directory / Finished.STDOUT)
    finished.require_success()


def read_result(directory: Path, atoms: Atoms, *, reference: Reference) -> Result:
    """The result in the directory of a successful job; see `read`."""
    if reference.input is not None:
        output = cp2k_output.read_output(directory / Finished.STDOUT, atoms)
        notes = {"scf_steps": output.scf_steps, "warnings": output.warnings}
        result = Result(
            output.energy, output.forces, output.stress, output.seconds, output.version, notes
        )
    else:
        found = _answer(directory, _Labelled)
        result = Result(found.energy_eV, found.forces, found.stress, found.seconds, found.version)
    _check_version(result.version, reference, directory)
    return result


def believed(
    result: Result,
    atoms: Atoms,
    *,
    reference: Reference,
    at: Level,
    origin: Mapping[str, Any],
    made: Mapping[str, Any],
) -> Label:
    """The label made from a result; InputError if it exceeds the limits.

    Args:
        result: of the frame.
        atoms: the frame.
        reference: has the limits for accepting a label.
        at: the level of theory, for the number of primitive cells of the frame.
        origin: where the frame comes from.
        made: which attempt succeeded.
    """
    label = Label(
        key=label_key(atoms, at),
        atoms=carried.for_label(atoms),
        energy=result.energy,
        forces=result.forces,
        stress=result.stress,
        level=at.key,
        origin=origin,
        seconds=result.seconds,
        made={"program": at.program, "version": result.version, **result.notes, **made},
    )
    check_limits(label, reference)
    return label


def check_limits(label: Label, reference: Reference) -> None:
    """Raise InputError if a label exceeds the limits of the campaign."""
    check(
        label,
        max_force=reference.settings.max_force_eV_per_A,
        max_net_force=reference.settings.max_net_force_eV_per_A,
    )


def read_atom(finished: Finished, reference: Reference) -> float:
    """Energy (eV) of an isolated atom from a finished job; see `read`."""
    _require(finished, reference)
    return read_atom_result(finished.directory, reference)


def read_atom_result(directory: Path, reference: Reference) -> float:
    """Energy (eV) in the directory of a successful job; see `read_atom`."""
    if reference.input is not None:
        energy, version = cp2k_output.read_energy(directory / Finished.STDOUT)
    else:
        found = _answer(directory, _Energy)
        energy, version = found.energy_eV, found.version
    if not np.isfinite(energy):
        raise InputError(f"{directory}: the energy is not finite")
    _check_version(version, reference, directory)
    return energy


class _Answer(BaseModel):
    """What the child process always says."""

    version: str = ""


class _Energy(_Answer):
    """What it says of an isolated atom."""

    energy_eV: float


class _Labelled(_Energy):
    """What it says of a frame."""

    forces: Annotated[Array, numbers(None, 3), Field(alias="forces_eV_per_A")]
    stress: Annotated[Array, numbers(6), Field(alias="stress_eV_per_A3")]
    seconds: float


def _answer(directory: Path, kind: type[T]) -> T:
    return read_file(directory / RESULT, kind, unlike="not a result of the reference")


def _check_version(version: str, reference: Reference, directory: Path) -> None:
    """Raise InputError if the version differs from that of the level of theory."""
    named_version = reference.method.version
    if version and named_version and version != named_version:
        raise InputError(
            f"{directory}: computed by {version}, but this campaign's level of theory is "
            f"{named_version}; use that one, or start a new campaign"
        )
