"""`phasewalk gate`: the full proof of one deployed model."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms

from .. import models
from ..engines import Engines, Machine
from ..errors import GateFailed, InputError
from ..files import file_hash, read
from ..jobs import Job, Launcher, run
from ..labels import frame_to_json
from ..models import TRUST, Deployed
from ..producing import memory
from ..store import check_kept
from ..validation import Probes, Proof, accuracy, gate, ranks

MAX_FRAMES = 3
REQUEST, RESULT = "request.json", "result.json"


def prove(
    model: Path,
    checkpoint: Path,
    *,
    frames: Sequence[Atoms],
    engines: Engines,
    launcher: Launcher,
    place: Path,
    trusted: bool = False,
    count: int = 1,
) -> Proof:
    """Prove a deployed model against its checkpoint on a few of the frames.

    With a `count` of more than one MPI rank, the model for several ranks beside it is compared
    with it, too.

    Raises:
        InputError: there is no model for several ranks, or there are too few GPUs or too little
            memory for them; or a model is not the file of its stamp.
        GateFailed: its stamp does not fit this machine or the checkpoint.
        EngineFailed: the model, or the checkpoint, cannot be loaded.
    """
    several = ranks.beside(model, checkpoint) if count > 1 else None
    stamp = find_stamp(model)
    device = None if stamp is None else stamp.device
    if several is not None:
        _check_places(count, device, engines.machine, launcher)
        _check_several(several, model, stamp)
    chosen = list(frames)[:: max(1, len(frames) // MAX_FRAMES)][:MAX_FRAMES]
    said = eager(checkpoint, chosen, engines, launcher, place / "eager", trusted=trusted)
    if stamp is not None:
        here = {**said, "sha256": file_hash(checkpoint)}
        check_stamp(model, stamp, here, engines.machine)
    proof = in_lammps(
        model,
        chosen,
        said,
        engines=engines,
        launcher=launcher,
        directory=place / "lammps",
        nve_fs=gate.NVE_STEPS_FS,
        device=device,
    )
    if several is None:
        return proof
    job = ranks.job(
        "the model on several ranks",
        model,
        several.read_bytes(),
        ranks=count,
        frames=chosen,
        directory=place / "ranks",
        mpiexec=engines.mpiexec,
        env=engines.env,
        device=device,
    )
    check = ranks.read(run(launcher, job), ranks=count, dtype=str(said["dtype"]))
    return replace(proof, checks=(*proof.checks, check))


def _check_places(count: int, device: str | None, machine: Machine, launcher: Launcher) -> None:
    """Raise InputError without a GPU for each rank, or without the memory for all of them."""
    gpus = launcher.walker_gpus
    on_gpu = device == "cuda" or (device is None and machine.has_gpu)
    if on_gpu and gpus is not None and gpus < count:
        raise InputError(
            f"--ranks {count}: each needs a GPU of its own, but a launch has {gpus}; use at most "
            f"{max(1, gpus)}"
        )
    free_GB = memory.free() if launcher.here else None
    needed_GB = (count + 1) * memory.BYTES_PER_RANK["torchscript"] / 1e9
    if free_GB is not None and needed_GB > free_GB:
        raise InputError(
            f"--ranks {count}: they need about {needed_GB:.1f} GB of memory, and {free_GB:.1f} are "
            "free; use fewer"
        )


def _check_several(several: Path, model: Path, stamp: Deployed | None) -> None:
    """Raise InputError if a model for several ranks is damaged, or of another checkpoint."""
    check_kept(several)
    theirs = find_stamp(several, alone=True)
    known = {one.checkpoint for one in (theirs, stamp) if one is not None} - {""}
    if len(known) > 1:
        raise InputError(
            f"{several}: made from another checkpoint than {model}; make it again with phasewalk "
            "deploy --target ranks"
        )


def in_lammps(
    model: Path,
    frames: Sequence[Atoms],
    said: Mapping[str, Any],
    *,
    engines: Engines,
    launcher: Launcher,
    directory: Path,
    nve_fs: Sequence[float] = (),
    device: str | None = None,
) -> Proof:
    """The gate's proof of a deployed model, with all probes of the frames.

    Args:
        model: the deployed model.
        frames: a few real frames.
        said: the result of `eager` for them.
        engines: to run with.
        launcher: runs LAMMPS.
        directory: where LAMMPS runs.
        nve_fs: time steps, fs, of runs in NVE; see `accuracy.job`.
        device: of the model, cpu or cuda; None: on a GPU if there is one.
    """
    asked = Probes(
        frames=frames,
        eager=[accuracy.prediction(entry) for entry in said["frames"]],
        dtype=str(said["dtype"]),
        full=True,
    )
    probes = asked.asked()
    job = accuracy.job(
        "the deployed model in LAMMPS",
        model,
        frames=[probe.atoms for probe in probes],
        directory=directory,
        env=dict(engines.env),
        nve_fs=nve_fs,
        device=device,
    )
    return asked.judge(accuracy.read(run(launcher, job)), len(probes))


def eager(
    checkpoint: Path,
    frames: Sequence[Atoms],
    engines: Engines,
    launcher: Launcher,
    place: Path,
    *,
    trusted: bool,
    force_rms: float | None = None,
) -> dict[str, Any]:
    """Results of the checkpoint in Python, with versions and processor; see `eager_child`."""
    request: dict[str, Any] = {"frames": [frame_to_json(atoms) for atoms in frames]}
    if force_rms is not None:
        request["force_rms_eV_per_A"] = force_rms
    names = (str(checkpoint.absolute()), REQUEST, RESULT)
    job = Job(
        "the checkpoint in Python",
        (
            sys.executable,
            "-m",
            "phasewalk.models.eager_child",
            *names,
            *((TRUST,) if trusted else ()),
        ),
        place,
        inputs={REQUEST: json.dumps(request).encode()},
        env=engines.env,
    )
    models.require_loaded(run(launcher, job))
    return read(place / RESULT, dict[str, Any], unlike="not a result of eager_child")


def find_stamp(model: Path, *, alone: bool = False) -> Deployed | None:
    """The stamp of a deployed model, in the layout of a campaign or of `phasewalk deploy`.

    Args:
        model: its file.
        alone: only in the latter; that of a campaign is of the model for one rank.
    """
    beside = model.with_name(f"{model.name}.json")
    for path in (beside, *(() if alone else (model.with_name("stamp.json"),))):
        if path.is_file():
            check_kept(path)
            stamp = models.read_stamp(path)
            models.check_unchanged(model, stamp)
            return stamp
    return None


def find_checkpoint(model: Path) -> Path:
    """The checkpoint of a campaign's deployed model; InputError if there is none."""
    path = model.absolute().parent.parent / "checkpoint.ckpt"
    if not path.is_file():
        raise InputError(f"{model}: {path} not found; give the checkpoint with --checkpoint")
    return path


def check_stamp(model: Path, stamp: Deployed, here: dict[str, Any], machine: Machine) -> None:
    """Raise GateFailed if a stamp does not match the checkpoint or the machine of the jobs.

    Args:
        model: the deployed model.
        stamp: of the model.
        here: properties of the checkpoint (types, dtype, sha256), and torch's name of the
            processor's features there (cpu).
        machine: on which the model is to run.
    """
    if list(stamp.types) != here["types"]:
        raise GateFailed(
            f"{model}: its elements are {' '.join(stamp.types)}, but those of the checkpoint are "
            f"{' '.join(here['types'])}; it was compiled from another checkpoint"
        )
    if stamp.dtype != here["dtype"]:
        raise GateFailed(
            f"{model}: its precision is {stamp.dtype}, but that of the checkpoint is "
            f"{here['dtype']}; it was compiled from another checkpoint"
        )
    if stamp.checkpoint not in ("", here["sha256"]):
        raise GateFailed(
            f"{model}: by its stamp, it was compiled from another checkpoint; give that one with "
            "--checkpoint"
        )
    reason = models.misfit(stamp, machine)
    if not reason and stamp.mode == "aotinductor" and stamp.cpu != here["cpu"]:
        reason = f"it was compiled for cpu {stamp.cpu}, but this machine has {here['cpu']}"
    if reason:
        raise GateFailed(f"{model}: {reason}; deploy the checkpoint again on this machine")
