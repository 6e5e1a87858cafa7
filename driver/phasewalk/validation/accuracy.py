"""Errors of a deployed model: its predictions in LAMMPS compared with labels."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field

from .. import files
from ..errors import InputError, ParseError
from ..jobs import Finished, Job
from ..labels import Label, content_hash, frame_to_json, label_energies, label_values
from ..structures import bare, carried, read_frames, reduced_formula
from ..units import GPA_PER_EV_PER_A3

MADE = ("level_of_theory",)
"""Header keys on the origin of a label, besides `made` itself."""

Array = NDArray[np.float64]
REQUEST, RESULT = "request.json", "result.json"
ENDINGS = (".nequip.pth", ".nequip.pt2")
FORCES_KEPT = 3000
"""Maximum number of force components of a set of frames that are kept for figures."""


@dataclass(frozen=True)
class Prediction:
    """Prediction for one frame: eV, (N,) eV of each atom, (N, 3) eV/Å, (6,) Voigt eV/Å³."""

    energy: float
    energies: Array
    forces: Array
    stress: Array


def prediction(entry: Mapping[str, Any]) -> Prediction:
    """A child process's results for one frame; raises ValueError if array shapes do not match."""
    found = Prediction(
        energy=float(entry["energy_eV"]),
        energies=np.array(entry["energies_eV"], dtype=float),
        forces=np.array(entry["forces_eV_per_A"], dtype=float),
        stress=np.array(entry["stress_eV_per_A3"], dtype=float),
    )
    count = len(found.energies)
    if (found.energies.ndim, found.forces.shape, found.stress.shape) != (1, (count, 3), (6,)):
        raise ValueError("the shapes of energies, forces and stress do not match")
    return found


@dataclass(frozen=True)
class Predictions:
    """Predictions of a deployed model for several frames.

    Attributes:
        frames: one prediction per frame.
        seconds_per_step: wall time of a step on one thread.
        total_energies: time step (fs) → total energies (eV) along an NVE run of the first frame.
    """

    frames: tuple[Annotated[Prediction, files.made_by(prediction)], ...]
    seconds_per_step: float
    total_energies: Annotated[
        Mapping[Annotated[float, files.made_by(float)], Annotated[Array, files.numbers(None)]],
        Field(alias="nve"),
    ] = field(default_factory=dict)


@dataclass(frozen=True)
class Errors:
    """Errors of a model on labelled frames.

    Energies in meV/atom, with and without the mean offset of each composition (without: the
    scatter, None if no composition has two frames). Forces in meV/Å over all components; `rms` and
    `zero_mae` are the RMSE and MAE of zero forces, which are the root mean square and the mean
    magnitude of the reference's forces. Pressure and stress components in GPa.
    """

    frames: int
    energy_offset_meV_per_atom: float
    energy_offsets_meV_per_atom: dict[str, float]
    energy_mae_meV_per_atom: float
    energy_rmse_meV_per_atom: float
    energy_scatter_meV_per_atom: float | None
    force_mae_meV_per_A: float
    force_rmse_meV_per_A: float
    force_rms_meV_per_A: float
    force_zero_mae_meV_per_A: float
    pressure_mae_GPa: float
    pressure_rmse_GPa: float
    stress_mae_GPa: float
    stress_rmse_GPa: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def job(
    name: str,
    model: Path,
    *,
    frames: Sequence[Atoms],
    directory: Path,
    env: dict[str, str],
    nve_fs: Sequence[float] = (),
    device: str | None = None,
) -> Job:
    """The job of a child process that evaluates frames with the deployed model in LAMMPS.

    The model is linked into the directory, so that LAMMPS never sees a path with quotes.

    Args:
        name: of the job.
        model: `.nequip.pth` or `.nequip.pt2`.
        frames: to evaluate.
        directory: where it runs.
        env: environment of LAMMPS.
        nve_fs: time steps, fs, of NVE runs of the first frame, the longest first; the runs end
            with the first step that shows whether the energy is conserved.
        device: of the model, cpu or cuda; None: on a GPU if there is one.
    """
    ending = next((ending for ending in ENDINGS if model.name.endswith(ending)), None)
    if ending is None:
        raise InputError(
            f"{model}: not the name of a deployed model; it must end in {' or '.join(ENDINGS)}"
        )
    local = f"model{ending}"
    request = {
        "model": local,
        "frames": [frame_to_json(atoms) for atoms in frames],
        "nve_fs": list(nve_fs),
        "device": device,
    }
    return Job(
        name=name,
        argv=(sys.executable, "-m", "phasewalk.validation.predict_child", REQUEST, RESULT),
        directory=directory,
        kind="evaluate",
        inputs={REQUEST: json.dumps(request).encode()},
        links={local: model},
        env=env,
    )


def read(finished: Finished) -> Predictions:
    """The predictions, in the order of the frames; raises EngineFailed if LAMMPS failed."""
    finished.require_success()
    path = finished.directory / RESULT
    return files.read(path, Predictions, unlike="not a result of predict_child")


def errors(labels: Sequence[Label], predictions: Sequence[Prediction]) -> Errors:
    """Compare predictions with labels, frame by frame."""
    if len(labels) != len(predictions) or not labels:
        raise InputError(
            f"cannot compare {len(labels)} labels with {len(predictions)} predictions; there must "
            "be one prediction for each label, and at least one label"
        )
    for label, predicted in zip(labels, predictions, strict=True):
        if predicted.forces.shape != label.forces.shape:
            raise InputError(
                f"cannot compare a label of {len(label.forces)} atoms with a prediction for "
                f"{len(predicted.forces)}"
            )
    atoms = np.array([len(label.atoms) for label in labels])
    energy = np.array([p.energy - t.energy for t, p in zip(labels, predictions, strict=True)])
    energy = 1000.0 * energy / atoms
    formulas = np.array([reduced_formula(label.atoms) for label in labels])
    groups = [energy[formulas == formula] for formula in sorted(set(formulas))]
    scatter = np.concatenate([group - group.mean() for group in groups if len(group) > 1] or [[]])
    force = 1000.0 * np.concatenate(
        [(p.forces - t.forces).ravel() for t, p in zip(labels, predictions, strict=True)]
    )
    reference = 1000.0 * np.concatenate([label.forces.ravel() for label in labels])
    stress = GPA_PER_EV_PER_A3 * np.array(
        [p.stress - t.stress for t, p in zip(labels, predictions, strict=True)]
    )
    pressure = -stress[:, :3].mean(axis=1)
    return Errors(
        frames=len(labels),
        energy_offset_meV_per_atom=float(energy.mean()),
        energy_mae_meV_per_atom=_mae(energy),
        energy_rmse_meV_per_atom=_rms(energy),
        energy_offsets_meV_per_atom={
            str(formula): float(group.mean())
            for formula, group in zip(sorted(set(formulas)), groups, strict=True)
        },
        energy_scatter_meV_per_atom=_rms(scatter) if len(scatter) else None,
        force_mae_meV_per_A=_mae(force),
        force_rmse_meV_per_A=_rms(force),
        force_rms_meV_per_A=_rms(reference),
        force_zero_mae_meV_per_A=_mae(reference),
        pressure_mae_GPa=_mae(pressure),
        pressure_rmse_GPa=_rms(pressure),
        stress_mae_GPa=_mae(stress.ravel()),
        stress_rmse_GPa=_rms(stress.ravel()),
    )


def compared(labels: Sequence[Label], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Results of reference and model for each frame, for JSON, as [reference, model].

    Returns:
        For each frame its `key`, `origin`, `formula`, number of `atoms`, `volume_A3`,
        `energy_eV_per_atom`, `pressure_GPa`, `stress_GPa` (Voigt, tension positive), `errors`
        (those of forces and stress, as in `Errors`) and `forces_eV_per_A`: evenly spaced
        components, about `FORCES_KEPT` over all frames.
    """
    total = sum(3 * len(label.atoms) for label in labels)
    stride = max(1, total // FORCES_KEPT)
    found = []
    for label, predicted in zip(labels, predictions, strict=True):
        own = errors([label], [predicted]).as_dict()
        both, count = (label, predicted), len(label.atoms)
        found.append(
            {
                "key": label.key or content_hash(label),
                "origin": dict(label.origin),
                "formula": reduced_formula(label.atoms),
                "atoms": count,
                "volume_A3": float(label.atoms.get_volume()),
                "energy_eV_per_atom": [one.energy / count for one in both],
                "pressure_GPa": [-GPA_PER_EV_PER_A3 * float(one.stress[:3].mean()) for one in both],
                "stress_GPa": [
                    [round(GPA_PER_EV_PER_A3 * float(x), 5) for x in one.stress] for one in both
                ],
                "forces_eV_per_A": [
                    [round(float(x), 4) for x in one.forces.ravel()[::stride]] for one in both
                ],
                "errors": {k: v for k, v in own.items() if k.startswith(("force_", "stress_"))},
            }
        )
    return found


def _mae(values: Array) -> float:
    return float(np.abs(values).mean())


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def read_labelled(path: Path) -> list[Label]:
    """Labelled frames from a file that ASE reads (extxyz with energy, forces, stress).

    NAME@:40 are the first 40 frames, in ASE's notation.

    Raises:
        InputError: the file does not exist or is unreadable, a frame lacks one of the three or has
            a value that is not a number, or the energies of the frames are inconsistent.
    """
    ranged = re.fullmatch(r"(.+)@(-?\d{0,9}:-?\d{0,9}(:-?[1-9]\d{0,8})?)", str(path), re.DOTALL)
    file = Path(ranged[1]) if ranged else path
    try:
        frames = read_frames(file, ranged[2] if ranged else ":")
    except ParseError:  # has the line number
        raise
    except InputError as error:
        raise label_values.unreadable(file, error) from error
    if not frames:
        raise InputError(f"{path}: it contains no frames")
    label_values.check_text(file)
    found = [_labelled(atoms, f"{path}, frame {i}") for i, atoms in enumerate(frames, start=1)]
    label_energies.check_energies(found, path)
    return found


def _labelled(atoms: Atoms, where: str) -> Label:
    energy, forces, stress = label_values.values(atoms, where)
    also = label_values.other_energies(atoms)
    kept = carried.for_label(bare(atoms))
    if not all(np.isfinite(values).all() for values in carried.extras(kept).values()):
        raise InputError(
            f"{where}: initial moments or charges are not finite; correct or remove them"
        )
    return Label(
        key="",
        atoms=kept,
        energy=energy,
        forces=forces,
        stress=stress,
        level=str(atoms.info.get("level", "")),
        origin=_group(atoms.info.get("origin")),
        seconds=0.0,
        made={
            **_group(atoms.info.get("made")),
            **{k: unquoted(atoms.info[k]) for k in MADE if k in atoms.info},
            **({label_values.ALSO: also} if also else {}),
        },
    )


def _group(data: Any) -> dict[str, Any]:
    """A group of names and values in a frame's header; empty if it is not a group."""
    return unquoted(data) if isinstance(data, dict) else {}


def unquoted(data: Any) -> Any:
    """The reverse of `label_files.quoted`."""
    if isinstance(data, dict):
        return {unquote(str(key)): unquoted(value) for key, value in data.items()}
    if isinstance(data, list):
        return [unquoted(value) for value in data]
    return unquote(data) if isinstance(data, str) else data
