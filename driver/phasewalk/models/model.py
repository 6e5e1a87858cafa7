"""Models: the nequip-train job of a generation, its checkpoint, and the deployed model."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import AfterValidator, FiniteFloat

from ..errors import UNREADABLE, EngineFailed, InputError
from ..files import EXACT, read, typed
from ..jobs import Finished, Job
from ..labels import Label, frame_to_json, same_level, to_training
from ..store import NetworkStatistics
from .checkpoints import REFUSED, TRUST
from .settings import Budget, ModelSettings, Statistics
from .training_config import EAGER, PREVIOUS, PROBED, PROGRESS, WEIGHTS, training_config

Array = NDArray[np.float64]

MIN_COMPOSITION_SPREAD = 0.01
"""Singular value, relative to the largest, below which compositions do not tell types apart: the
energies of distorted frames would be taken for a difference of their atoms."""
SHOWN_EV = 0.0005
CHECKPOINT = "last.ckpt"
NETWORK = "network.json"
_UNLIKE = "not a deployed model's stamp"
ENDINGS = {"torchscript": ".nequip.pth", "aotinductor": ".nequip.pt2"}


def statistics(
    labels: Sequence[Label],
    types: Sequence[str],
    cutoff_A: float,
    atoms_eV: Mapping[str, float] | None = None,
) -> Statistics:
    """Statistics of generation 0's labels.

    Args:
        labels: of the training set.
        types: species, in the model's order.
        cutoff_A: of the model.
        atoms_eV: energies of isolated atoms; see `energy_shifts`.
    """
    from ase.neighborlist import neighbor_list

    counts = np.array([[label.atoms.symbols.count(t) for t in types] for label in labels], float)
    energies = np.array([label.energy for label in labels])
    shifts, source = energy_shifts(counts, energies, [(atoms_eV or {}).get(t) for t in types])
    edges = sum(len(neighbor_list("i", label.atoms, cutoff_A)) for label in labels)
    forces = np.concatenate([label.forces.ravel() for label in labels])
    # Rounded: both are compiled into a model, and one compilation then serves many campaigns.
    return Statistics(
        average_neighbors=max(1.0, float(round(edges / float(counts.sum())))),
        energy_scale=float(f"{max(float(np.sqrt(np.mean(forces**2))), 1e-3):.2g}"),
        energy_shifts=tuple(float(shift) for shift in shifts),
        shifts_from=source,
    )


def energy_shifts(
    counts: Array, energies: Array, atoms_eV: Sequence[float | None]
) -> tuple[Array, str]:
    """Energy of each type, eV, and in words where it comes from.

    Isolated atoms and one offset for all atoms, so that the mean of the residual energies per atom
    over the frames is zero; with several compositions, the smallest change from there that leaves
    none of them with a residual (two salts with one offset alone trained so slowly that their
    first walkers broke down). Without the atoms: least squares, where the compositions determine
    it; else the solution nearest to equal shifts, so that no type gets an absurd energy.

    Args:
        counts: (frames, types) atoms of each type in each frame.
        energies: (frames,) eV.
        atoms_eV: (types,) energies of isolated atoms; None if unknown.
    """
    per_frame = counts.sum(axis=1)
    fractions = counts / per_frame[:, None]
    if None not in atoms_eV:
        atoms = np.array(atoms_eV, dtype=float)
        offset = float(np.mean((energies - counts @ atoms) / per_frame))
        left = energies / per_frame - fractions @ (atoms + offset)
        change, *_ = np.linalg.lstsq(fractions, left, rcond=MIN_COMPOSITION_SPREAD)
        most = float(np.abs(change).max())
        more = f", and up to {most:.3f} eV where compositions differ" if most > SHOWN_EV else ""
        source = f"isolated atoms and {offset:.3f} eV for each atom{more}"
        return atoms + offset + change, source
    mean = float(energies.sum() / counts.sum())
    change, _, rank, _ = np.linalg.lstsq(
        fractions, energies / per_frame - mean, rcond=MIN_COMPOSITION_SPREAD
    )
    if rank == counts.shape[1]:
        return mean + change, "a least-squares fit, which the compositions determine"
    return mean + change, "equal energies for all types, but for what the compositions tell"


def training_job(
    name: str,
    training: Sequence[Label],
    *,
    validation: Sequence[Label],
    types: Sequence[str],
    settings: ModelSettings,
    budget: Budget,
    numbers: Statistics,
    previous: Path | None,
    probed: Sequence[Atoms],
    seed: int,
    directory: Path,
) -> Job:
    """nequip-train on these labels, from the weights of `previous` where one is given.

    Raises:
        InputError: nothing to train or to validate on, or labels of different levels of theory.
    """
    if not training or not validation:
        raise InputError(
            f"{name}: {len(training)} training and {len(validation)} validation labels; at least "
            "one of each is required"
        )
    same_level([*training, *validation])
    config = training_config(
        types,
        settings=settings,
        budget=budget,
        numbers=numbers,
        frames=len(training),
        warm=previous is not None,
        seed=seed,
    )
    inputs = {
        "config.yaml": json.dumps(config, indent=1).encode(),
        "train.extxyz": to_training(training).encode(),
        "validation.extxyz": to_training(validation).encode(),
        PROBED: json.dumps([frame_to_json(atoms) for atoms in probed]).encode(),
    }
    threads = str(settings.threads)
    return Job(
        name=name,
        argv=(
            sys.executable,
            "-m",
            "phasewalk.models.train_child",
            "-cp",
            str(directory.absolute()),
            "-cn",
            "config",
        ),
        directory=directory,
        kind="train",
        inputs=inputs,
        links={PREVIOUS: previous} if previous is not None else {},
        env={
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OMP_WAIT_POLICY": "passive",
            "HYDRA_FULL_ERROR": "1",
        },
        threads=settings.threads,
    )


def stored_statistics(stored: NetworkStatistics) -> Statistics:
    """Statistics as the journal has them."""
    data = stored.dump()
    return Statistics(**{**data, "energy_shifts": tuple(data["energy_shifts"])})


def training_progress(directory: Path) -> dict[str, Any] | None:
    """The last finished epoch of a running training; None before the first, or if unreadable."""
    try:
        line = (directory / PROGRESS).read_text(encoding="utf-8").split("\n")[-2]
        last = dict(json.loads(line))
        numbers = all(type(value) in (int, float) for value in last.values())
        return last if numbers and "epoch" in last else None
    except UNREADABLE:
        return None


@dataclass(frozen=True)
class Trained:
    """What a training leaves behind.

    Attributes:
        checkpoint: to train on from.
        weights: what `swap` deploys it with.
        eager: what it says, in Python, of the frames that it was asked about.
        last_epoch: number and errors.
    """

    checkpoint: Path
    weights: Path
    eager: Path
    last_epoch: dict[str, Any]


def read_training(finished: Finished) -> Trained:
    """What a finished training made; EngineFailed if it failed."""
    finished.require_success()
    place = finished.directory
    last = training_progress(place)
    checkpoint, weights, eager = (place / name for name in (CHECKPOINT, WEIGHTS, EAGER))
    if last is None or not all(file.is_file() for file in (checkpoint, weights, eager)):
        raise EngineFailed(
            f"{finished.job.name} ended without a checkpoint: {finished.last_lines()} "
            f"(all files are in {place})"
        )
    return Trained(checkpoint, weights, eager, last)


def _beside(name: str) -> str:
    if Path(name).name != name:
        raise ValueError("the name of a file beside it")
    return name


@dataclass(frozen=True)
class Deployed:
    """The stamp of a compiled model: what it is, and what it was compiled for.

    Attributes:
        file: its name.
        mode: torchscript or aotinductor.
        device: cpu or cuda.
        dtype: float32 or float64.
        types: species in the model's order.
        r_max_A: cutoff.
        torch, nequip: versions.
        cpu: torch's name for what the processor can do.
        processor: all that the processor can do; AOTInductor's code may use any of it.
        seconds: that the compilation took.
        graph: hash of all that is compiled in (architecture and its constants).
        checkpoint: SHA-256 of the checkpoint whose weights it holds.
    """

    __pydantic_config__ = EXACT

    file: Annotated[str, AfterValidator(_beside)]
    mode: str
    device: str
    dtype: str
    types: tuple[str, ...]
    r_max_A: FiniteFloat
    torch: str
    nequip: str
    cpu: str
    processor: str
    seconds: FiniteFloat
    graph: str = ""
    checkpoint: str = ""


def misfit(stamp: Deployed, *, torch: str, features: str, has_gpu: bool) -> str:
    """Why a model cannot run here; empty if it can.

    Args:
        stamp: of the model.
        torch: its version here.
        features: of the processor here, as `engines.processor` names them.
        has_gpu: whether there is a GPU.
    """
    if stamp.device == "cuda" and not has_gpu:
        return "it was compiled for cuda, and this machine has no GPU"
    if stamp.mode == "aotinductor" and stamp.torch != torch:
        return f"it was compiled for torch {stamp.torch}, and this machine has {torch}"
    missing = sorted(set(stamp.processor.split()) - set(features.split()))
    if stamp.mode == "aotinductor" and stamp.device == "cpu" and missing:
        shown = " ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        return f"it was compiled for a processor with {shown}, which this machine's lacks"
    return ""


def deploy_job(
    name: str,
    checkpoint: Path | None,
    *,
    inputs: Mapping[str, bytes] = MappingProxyType({}),
    mode: str,
    device: str,
    directory: Path,
    cores: int,
    trusted: bool = True,
) -> Job:
    """Compile for LAMMPS; the child writes `model.nequip.*` and `stamp.json`.

    Args:
        name: of the job.
        checkpoint: what to compile; None for the network whose configuration is in `inputs`, with
            arbitrary weights, which the child writes to `weights.npz`.
        inputs: files of the job.
        mode: torchscript or aotinductor.
        device: auto, cpu or cuda.
        directory: where it runs.
        cores: for the compiler.
        trusted: the checkpoint is one's own, and may hold any code.
    """
    threads = str(cores)
    source = NETWORK if checkpoint is None else str(checkpoint.absolute())
    return Job(
        name=name,
        argv=(
            *(sys.executable, "-m", "phasewalk.models.compile_child", source),
            *(f"model{ENDINGS[mode]}", "--mode", mode, "--device", device),
            *((TRUST,) if trusted else ()),
        ),
        directory=directory,
        kind="compile",
        inputs=inputs,
        env={"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"},
        threads=cores,
    )


def read_deployment(finished: Finished) -> Deployed:
    """What the deployment made; EngineFailed if it failed."""
    require_loaded(finished)
    return read_stamp(finished.directory / "stamp.json")


def require_loaded(finished: Finished) -> None:
    """InputError if a child did not load a checkpoint, since that might run code."""
    if finished.returncode == REFUSED:
        raise InputError(
            f"{finished.job.argv[3]}: not loaded: {finished.last_lines(1)}; loading it may execute "
            f"code from its author; if you trust it, use {TRUST}"
        )
    finished.require_success()


def read_stamp(path: Path) -> Deployed:
    """A deployed model's stamp."""
    return read(path, Deployed, unlike=_UNLIKE)


def stamp_from_json(data: Mapping[str, Any]) -> Deployed:
    """The reverse of `asdict`; InputError if a field is of another kind."""
    return typed(data, Deployed, unlike=_UNLIKE)


def stamp_text(deployed: Deployed) -> str:
    """The reverse of `read_stamp`."""
    return json.dumps(asdict(deployed), indent=1) + "\n"
