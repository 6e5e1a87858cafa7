"""Import initial data, and verify some of the labels with the reference."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..campaign import Counter, Outputs, Task, Work
from ..errors import InputError
from ..files import hash_of
from ..jobs import Finished
from ..labels import Label, content_hash
from ..reference import Result, Try, requests
from ..store import IMPORT, INITIAL, verify_task
from ..units import GPA_PER_EV_PER_A3
from .trust import MAX_ENERGY_MEV_PER_ATOM, MAX_FORCE_MEV_PER_A, MAX_STRESS_GPA


def take(work: Work) -> list[Label]:
    """Import the initial labels, after recomputing some of them with the reference.

    Raises:
        EngineFailed: the results of the reference differ.
    """
    found = list(work.campaign.initial)
    if not found:
        return []
    tasks = [_verification(work, label) for label in _to_verify(work, found)]
    if tasks:
        work.observer.begin(0, "verify initial data", len(tasks), "labels")
        for outputs in work.do(tasks, Counter(work.observer)):
            work.observer.say(f"initial data: {outputs['found']}")
    inputs = hash_of([content_hash(label) for label in found])
    for label in found:
        work.store.add_label(label)
    if work.store.done(INITIAL, inputs) is None:
        outputs = {"labels": [label.key for label in found]}
        work.note(INITIAL, IMPORT, 0, outputs, inputs=inputs)
    return found


def _to_verify(work: Work, found: Sequence[Label]) -> list[Label]:
    """The smallest frames whose level of theory was declared, but is not in their file."""
    settings = work.campaign.settings
    if settings.initial_data is None or settings.reference.imported:
        return []
    declared = [label for label in found if label.made.get("declared")]
    return sorted(declared, key=lambda label: len(label.atoms))[: settings.initial_data.verify]


def _verification(work: Work, label: Label) -> Task:
    reference = work.campaign.reference
    name = verify_task(label.origin["frame"])

    def read(finished: Finished) -> Outputs:
        return {"found": compare(requests.read(finished, label.atoms, reference=reference), label)}

    return Task(
        name=name,
        stage=IMPORT,
        round=0,
        inputs=hash_of(content_hash(label), reference.method.as_dict()),
        place=f"rounds/000/verify/{label.key}",
        job=lambda directory: requests.job(
            name, label.atoms, reference=reference, directory=directory, attempt=Try()
        ),
        read=read,
    )


def compare(result: Result, label: Label) -> str:
    """Differences between a label and the reference's result; InputError if they are too large."""
    energy = 1000 * abs(result.energy - label.energy) / len(label.atoms)
    force = 1000 * float(np.abs(result.forces - label.forces).max())
    stress = GPA_PER_EV_PER_A3 * float(np.abs(result.stress - label.stress).max())
    shown = (
        f"frame {label.origin['frame']} of {Path(str(label.origin['file'])).name}: recomputed, "
        f"the maximum differences are {energy:.2g} meV/atom, {force:.2g} meV/Å, {stress:.2g} GPa"
    )
    if energy > MAX_ENERGY_MEV_PER_ATOM or force > MAX_FORCE_MEV_PER_A or stress > MAX_STRESS_GPA:
        turned = GPA_PER_EV_PER_A3 * float(np.abs(result.stress + label.stress).max())
        if turned < MAX_STRESS_GPA < stress:
            raise InputError(
                f"{shown}: the stress has the opposite sign (ASE: positive under tension); change "
                "its sign"
            )
        whole = 1000 * abs(result.energy / len(label.atoms) - label.energy)
        if len(label.atoms) > 1 and whole < MAX_ENERGY_MEV_PER_ATOM < energy:
            raise InputError(
                f"{shown}: the energy ({label.energy:.6g} eV) is per atom; multiply it by the "
                f"number of atoms ({len(label.atoms)})"
            )
        raise InputError(
            f"{shown} (limits {MAX_ENERGY_MEV_PER_ATOM:g}, {MAX_FORCE_MEV_PER_A:g}, "
            f"{MAX_STRESS_GPA:g}): its level of theory differs from the reference's; remove these "
            "labels, or use the same settings for the reference"
        )
    return shown
