"""Label one frame with the reference as a test, or only write its input."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms

from ..campaign import Campaign, theory
from ..errors import EngineFailed, InputError, ParseError
from ..files import write_file
from ..jobs import Job, Launcher, run
from ..reference import Try, requests
from ..structures import bare
from ..units import GPA_PER_EV_PER_A3
from .advice import Displaced
from .rehearsal import DISPLACEMENT_A, displaced


def level(campaign: Campaign, launcher: Launcher, complete: list[Campaign]) -> str:
    """The complete level of theory; the campaign with it is appended to the list."""
    found, notes = theory.settle(campaign, launcher)
    complete.append(found)
    method = found.reference.method
    shown = f"{method.title}, {method.method}"
    return "; ".join([shown, *notes])


def label(campaign: Campaign, launcher: Launcher, place: Path, tried: list[Displaced]) -> str:
    """Label the smallest structure, slightly displaced, with the campaign's reference.

    The frame with its forces is appended to the list.
    """
    reference = campaign.reference
    if not reference.command:
        return f"{reference.method.program}: labels only from initial_data"
    name = _smallest(campaign)
    atoms, at = _frame(campaign, name), campaign.level(name)
    job = _reference_job(campaign, name, place / "reference")
    try:
        result = requests.read(run(launcher, job), atoms, reference=reference)
        made = requests.believed(result, atoms, reference=reference, at=at, origin={}, made={})
    except EngineFailed as error:  # its directory will have been deleted
        reason = str(error).replace(str(place), "").partition(" (")[0]
        raise InputError(f"{reason}; phasewalk check --dry DIR writes its input files") from error
    except ParseError as error:
        reason = str(error).replace(f"{place}/reference/", "the reference's ")
        raise InputError(f"cannot read a label: {reason}; nothing else was started") from error
    moves = atoms.positions - campaign.structures[name].positions
    tried.append(Displaced(atoms, moves, made.forces))
    return (
        f"{at}; {name} ({len(atoms)} atoms), atoms displaced by up to {DISPLACEMENT_A:g} Å, in "
        f"{made.seconds:.1f} s on {job.cores} core(s), "
        f"max. force {np.abs(made.forces).max():.2f} eV/Å, net force "
        f"{np.linalg.norm(made.forces.sum(axis=0)):.2f} eV/Å, pressure "
        f"{-GPA_PER_EV_PER_A3 * float(made.stress[:3].mean()):.2g} GPa"
    )


def _smallest(campaign: Campaign) -> str:
    return min(campaign.structures, key=lambda n: len(campaign.structures[n]))


def _frame(campaign: Campaign, name: str) -> Atoms:
    """The structure, displaced so that no force is zero by symmetry."""
    return bare(displaced(campaign.structures[name]))


def sample(campaign: Campaign, directory: Path) -> Job:
    """The label of the largest structure, without the files of earlier tries."""
    largest = max(campaign.structures, key=lambda name: len(campaign.structures[name]))
    return replace(_reference_job(campaign, largest, directory), name="label")


def _reference_job(campaign: Campaign, name: str, directory: Path) -> Job:
    return requests.job(
        "reference",
        _frame(campaign, name),
        reference=campaign.reference,
        directory=directory,
        attempt=Try(),
    )


def write_request(campaign: Campaign, directory: Path) -> list[str]:
    """Write the reference's input for the smallest structure; returns lines that describe it.

    Raises:
        InputError: the directory exists, or the reference has no input.
    """
    if not campaign.reference.command:
        raise InputError(
            f"{campaign.path}: --dry has nothing to write, since reference.imported computes no "
            "labels"
        )
    if directory.exists():
        raise InputError(f"{directory}: exists already; choose another --dry")
    name = _smallest(campaign)
    job = _reference_job(campaign, name, directory)
    for file, content in job.inputs.items():
        write_file(directory / file, content)
    links = [f"link: {file} to {target}" for file, target in job.links.items()]
    env = [f"environment: {key}={value}" for key, value in sorted(job.env.items())]
    return [
        f"{directory}: input of the reference for {name}, written only; nothing was started",
        f"command, to run in it: {shlex.join(job.command)}",
        *links,
        *env,
    ]
