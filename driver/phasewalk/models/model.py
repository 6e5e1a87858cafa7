"""Models: the nequip-train job of a generation, its checkpoint, and the deployed model."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import AfterValidator, FiniteFloat

from ..engines import Machine
from ..errors import UNREADABLE, EngineFailed, InputError
from ..files import EXACT, file_hash, read, typed
from ..jobs import Finished, Job
from ..labels import Label, frame_to_json, same_level, to_training
from ..store import NetworkStatistics
from .checkpoints import REFUSED, TRUST
from .settings import Budget, ModelSettings, Statistics
from .training_config import EAGER, PREVIOUS, PROBED, PROGRESS, WEIGHTS, training_config

Array = NDArray[np.float64]

MIN_COMPOSITION_SPREAD = 0.01
"""Relative singular value below which compositions do not determine the energies of the types:
energies of distortion would be attributed to differences between atoms."""
SHOWN_EV = 0.0005
"""Smallest change of an energy shift that is mentioned, eV."""
COUNTED = 500
"""Maximum number of frames whose neighbours are counted: with more, the mean changes no more."""
CHECKPOINT = "last.ckpt"
NETWORK = "network.json"
_UNLIKE = "not a deployed model's stamp"
ENDINGS = {"torchscript": ".nequip.pth", "aotinductor": ".nequip.pt2"}
FOR_RANKS = ".exchange"
"""What is before the ending of a model's name if it is for several MPI ranks: LAMMPS looks for that
file beside the one for one rank."""


def statistics(
    labels: Sequence[Label],
    types: Sequence[str],
    cutoff_A: float,
    atoms_eV: Mapping[str, float] | None = None,
) -> Statistics:
    """Statistics of the labels of generation 0.

    The average number of neighbours is that of at most `COUNTED` of the frames, evenly spread.

    Args:
        labels: the training set.
        types: elements, in the model's order.
        cutoff_A: of the model.
        atoms_eV: energies of isolated atoms; see `energy_shifts`.
    """
    from ase.data import atomic_numbers
    from matscipy.neighbours import neighbour_list

    numbers = np.array([atomic_numbers[name] for name in types])[:, None]
    counts = np.array([(label.atoms.numbers == numbers).sum(axis=1) for label in labels], float)
    energies = np.array([label.energy for label in labels])
    shifts, source = energy_shifts(counts, energies, [(atoms_eV or {}).get(t) for t in types])
    chosen = np.unique(np.linspace(0, len(labels) - 1, COUNTED).round().astype(int))
    edges = sum(len(neighbour_list("i", labels[i].atoms, cutoff_A)) for i in chosen)
    forces = np.concatenate([label.forces.ravel() for label in labels])
    # Both are compiled into the model; rounding lets many campaigns share one compilation.
    return Statistics(
        average_neighbors=max(1.0, float(round(edges / float(counts[chosen].sum())))),
        energy_scale=float(f"{max(float(np.sqrt(np.mean(forces**2))), 1e-3):.2g}"),
        energy_shifts=tuple(float(shift) for shift in shifts),
        shifts_from=source,
    )


def energy_shifts(
    counts: Array, energies: Array, atoms_eV: Sequence[float | None]
) -> tuple[Array, str]:
    """Energy of each type, eV, and a description of its origin.

    With energies of isolated atoms: these plus one offset for all atoms, so that the mean residual
    energy per atom over the frames is zero; with several compositions, plus the smallest change
    that makes the residual of each composition zero (with the offset only, a campaign of two salts
    trained so slowly that its first walkers broke down). Without them: a least-squares fit if the
    compositions determine it, else the solution nearest to equal shifts, which avoids absurd
    energies.

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
        more = f", changed by up to {most:.3f} eV per type to fit the compositions"
        more = more if most > SHOWN_EV else ""
        source = f"isolated atoms and {offset:.3f} eV for each atom{more}"
        return atoms + offset + change, source
    mean = float(energies.sum() / counts.sum())
    change, _, rank, _ = np.linalg.lstsq(
        fractions, energies / per_frame - mean, rcond=MIN_COMPOSITION_SPREAD
    )
    if rank == counts.shape[1]:
        return mean + change, "a least-squares fit to the compositions"
    return mean + change, (
        "a fit nearest to equal energies of all types, since the compositions do not determine them"
    )


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
    """The job of nequip-train on these labels, starting from the weights of `previous` if given.

    Raises:
        InputError: no training or no validation labels, or labels of different levels of theory.
    """
    if not training or not validation:
        raise InputError(
            f"{name}: there are {len(training)} training and {len(validation)} validation labels, "
            "but at least one of each is required; use more labels (bootstrap.count, initial_data)"
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
    links = {PREVIOUS: previous} if previous is not None else {}
    return replace(training_launch(name, settings, directory), inputs=inputs, links=links)


def training_launch(name: str, settings: ModelSettings, directory: Path) -> Job:
    """The job of nequip-train, without its files."""
    threads = str(settings.threads)
    child = ("phasewalk.models.train_child", "-cp", str(directory.absolute()), "-cn", "config")
    return Job(
        name=name,
        argv=(sys.executable, "-m", *child),
        directory=directory,
        kind="train",
        env={
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OMP_WAIT_POLICY": "passive",
            "HYDRA_FULL_ERROR": "1",
        },
        threads=settings.threads,
    )


def stored_statistics(stored: NetworkStatistics) -> Statistics:
    """Statistics from those stored in the journal."""
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
    """Files and errors of a finished training.

    Attributes:
        checkpoint: file from which the next training starts.
        weights: file of weights, for `swap`.
        eager: file of its predictions in Python for the test frames.
        last_epoch: number and errors of the last epoch.
    """

    checkpoint: Path
    weights: Path
    eager: Path
    last_epoch: dict[str, Any]


def read_training(finished: Finished) -> Trained:
    """The results of a finished training; raises EngineFailed if it failed."""
    finished.require_success()
    place = finished.directory
    last = training_progress(place)
    checkpoint, weights, eager = (place / name for name in (CHECKPOINT, WEIGHTS, EAGER))
    if last is None or not all(file.is_file() for file in (checkpoint, weights, eager)):
        raise EngineFailed(
            f"{finished.job.name} ended without writing a checkpoint: {finished.last_lines()} "
            f"(all files are in {place})"
        )
    return Trained(checkpoint, weights, eager, last)


def _beside(name: str) -> str:
    if Path(name).name != name:
        raise ValueError("the name of a file beside it")
    return name


@dataclass(frozen=True)
class Deployed:
    """The stamp of a compiled model: its properties, and the machine that it was compiled for.

    Attributes:
        file: name of the model's file.
        mode: torchscript or aotinductor.
        device: cpu or cuda.
        dtype: float32 or float64.
        types: elements, in the model's order.
        r_max_A: cutoff radius, Å.
        torch, nequip: versions.
        cpu: torch's name of the processor's capability.
        processor: all features of the processor, any of which AOTInductor's code may use.
        seconds: duration of the compilation.
        graph: hash of everything that is compiled except the weights.
        checkpoint: SHA-256 of the checkpoint whose weights it contains.
        gpu: architecture of the GPU that AOTInductor's code is for; empty if it is not known.
        sha256: of the file, of which no journal knows it; empty in a campaign.
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
    gpu: str = ""
    sha256: str = ""

    @property
    def for_ranks(self) -> bool:
        """Whether it is for several MPI ranks."""
        return self.file.endswith(ending(self.mode, for_ranks=True))


def ending(mode: str, *, for_ranks: bool = False) -> str:
    """Ending of the name of a deployed model, which says who can load it."""
    return (FOR_RANKS if for_ranks else "") + ENDINGS[mode]


def name_for_ranks(name: str) -> str:
    """Name of the file for several MPI ranks that LAMMPS looks for beside a model's file."""
    stem, dot, form = name.rpartition(".nequip.")
    return f"{stem}{FOR_RANKS}{dot}{form}"


def check_unchanged(path: Path, stamp: Deployed) -> None:
    """Raise InputError if a model's file is not the one that its stamp was written for."""
    if stamp.sha256 and file_hash(path) != stamp.sha256:
        raise InputError(f"{path}: not the file of its stamp: damaged, or replaced; make it again")


def misfit(stamp: Deployed, machine: Machine) -> str:
    """Why a model with this stamp cannot run on a machine; empty if it can."""
    if stamp.device == "cuda" and not machine.has_gpu:
        return "it was compiled for cuda, but this machine has no GPU"
    if stamp.mode == "aotinductor" and stamp.torch != machine.torch:
        return f"it was compiled for torch {stamp.torch}, but this machine has {machine.torch}"
    known = stamp.mode == "aotinductor" and stamp.device == "cuda" and stamp.gpu and machine.gpu
    if known and stamp.gpu not in machine.gpu.split():
        return f"it was compiled for a GPU of type {stamp.gpu}, but this machine has {machine.gpu}"
    missing = sorted(set(stamp.processor.split()) - set(machine.processor.split()))
    if stamp.mode == "aotinductor" and stamp.device == "cpu" and missing:
        shown = " ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        return f"it was compiled for a processor with {shown}, which this machine does not have"
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
    for_ranks: bool = False,
) -> Job:
    """The job that compiles for LAMMPS; it writes `model.nequip.*` and `stamp.json`.

    For several MPI ranks it writes `model.exchange.nequip.*`.

    Args:
        name: of the job.
        checkpoint: the checkpoint; None for the network whose configuration is in `inputs`, with
            arbitrary weights, which are written to `weights.npz`.
        inputs: files of the job.
        mode: torchscript or aotinductor.
        device: auto, cpu or cuda.
        directory: where it runs.
        cores: number of cores for the compiler.
        trusted: load the checkpoint without checking it for code.
        for_ranks: for several MPI ranks.
    """
    threads = str(cores)
    source = NETWORK if checkpoint is None else str(checkpoint.absolute())
    return Job(
        name=name,
        argv=(
            *(sys.executable, "-m", "phasewalk.models.compile_child", source),
            *(f"model{ending(mode, for_ranks=for_ranks)}", "--mode", mode, "--device", device),
            *(("--target", "ranks") if for_ranks else ()),
            *((TRUST,) if trusted else ()),
        ),
        directory=directory,
        kind="compile",
        inputs=inputs,
        env={"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"},
        threads=cores,
    )


def read_deployment(finished: Finished) -> Deployed:
    """The stamp of a finished deployment; raises EngineFailed if it failed."""
    require_loaded(finished)
    return read_stamp(finished.directory / "stamp.json")


def require_loaded(finished: Finished) -> None:
    """Raise InputError if a child process refused a checkpoint, which might execute code."""
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
