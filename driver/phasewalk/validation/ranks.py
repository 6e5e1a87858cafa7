"""The proof of a model for several MPI ranks: on them it is as the model for one rank.

Both evaluate the same frames in one launch, in two partitions of LAMMPS: one has the ranks of a
walker, the other has one rank.
"""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from ase import Atoms

from .. import files
from ..errors import InputError
from ..jobs import Finished, Job
from ..labels import frame_to_json
from ..models import ENDINGS, name_for_ranks
from ..units import GPA_PER_EV_PER_A3
from .accuracy import REQUEST, Prediction, prediction
from .gate import LIMITS, Check, Limits

ONE, SEVERAL = "one.json", "several.json"
"""Results of the two partitions."""


@dataclass(frozen=True)
class _Result:
    frames: tuple[Annotated[Prediction, files.made_by(prediction)], ...]


def beside(model: Path, checkpoint: Path) -> Path:
    """The file for several ranks that LAMMPS looks for beside a model's file.

    Args:
        model: the file.
        checkpoint: that it is made from, for the message.

    Raises:
        InputError: it does not exist, or the name is none of a deployed model.
    """
    mode = next((mode for mode, ending in ENDINGS.items() if model.name.endswith(ending)), None)
    if mode is None:
        raise InputError(f"{model}: its name must end with {' or '.join(ENDINGS.values())}")
    found = model.with_name(name_for_ranks(model.name))
    if not found.is_file():
        words = (str(checkpoint), "--mode", mode, "--target", "ranks", "-o", str(found))
        raise InputError(
            f"{found}: no such file, which several MPI ranks need beside {model.name}; make it: "
            f"phasewalk deploy {shlex.join(words)}"
        )
    return found


def job(
    name: str,
    model: Path,
    several: bytes,
    *,
    ranks: int,
    frames: Sequence[Atoms],
    directory: Path,
    mpiexec: tuple[str, ...],
    env: Mapping[str, str],
    device: str | None = None,
) -> Job:
    """The launch that evaluates frames on several ranks and on one.

    It runs where walkers run, on one rank more than a walker.

    Args:
        name: of the job.
        model: for one rank, `.nequip.pth` or `.nequip.pt2`.
        several: content of the model for several ranks.
        ranks: number of ranks of a walker, at least two.
        frames: to evaluate.
        directory: where it runs.
        mpiexec: the MPI launcher of LAMMPS.
        env: environment of LAMMPS.
        device: of both models, cpu or cuda; None: a GPU if there is one.
    """
    ending = next(ending for ending in ENDINGS.values() if model.name.endswith(ending))
    request = {
        "model": f"model{ending}",
        "frames": [frame_to_json(atoms) for atoms in frames],
        "ranks": ranks,
        "device": device,
    }
    return Job(
        name=name,
        argv=(sys.executable, "-m", "phasewalk.validation.ranks_child", REQUEST, ONE, SEVERAL),
        directory=directory,
        kind="check",
        inputs={
            REQUEST: json.dumps(request).encode(),
            name_for_ranks(f"model{ending}"): several,
        },
        links={f"model{ending}": model},
        env={"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", **env},
        mpiexec=mpiexec,
        ranks=ranks + 1,
    )


def read(finished: Finished, *, ranks: int, dtype: str) -> Check:
    """What the launch shows; raises EngineFailed if LAMMPS failed.

    Args:
        finished: the launch.
        ranks: number of ranks of a walker.
        dtype: precision of the model.
    """
    finished.require_success()
    one, several = (
        files.read(finished.directory / name, _Result, unlike="not a result of ranks_child").frames
        for name in (ONE, SEVERAL)
    )
    return judge(one, several, ranks=ranks, dtype=dtype)


def judge(
    one: Sequence[Prediction], several: Sequence[Prediction], *, ranks: int, dtype: str
) -> Check:
    """Compare energies, forces and the six components of the stress.

    The limits are those of the parity with the checkpoint in Python. The value is the largest
    difference as a fraction of its limit.
    """
    differences, limits = [], []
    for expected, found in zip(one, several, strict=True):
        differences.append(
            (
                abs(found.energy - expected.energy) / len(expected.forces),
                np.abs(found.forces - expected.forces).max(),
                np.abs(found.stress - expected.stress).max() * GPA_PER_EV_PER_A3,
            )
        )
        allowed: Limits = LIMITS[dtype].grown(expected)
        limits.append((allowed.energy, allowed.force, allowed.stress))
    fractions = np.array(differences) / np.array(limits)
    largest, worst = np.max(differences, axis=0), float(fractions.max())
    shown = zip(("energy", "forces", "stress"), largest, ("eV/atom", "eV/Å", "GPa"), strict=True)
    return Check(
        name=f"{ranks} MPI ranks = 1 rank",
        value=worst,
        limit=1.0,
        unit="of the limits of parity",
        frame=None,
        ok=worst <= 1.0,
        says=", ".join(f"{what} {value:.1e} {unit}" for what, value, unit in shown),
    )
