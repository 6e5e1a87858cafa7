"""Checkpoints of a cheap crystal and what is deployed from them, made as a campaign makes them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import ase
import numpy as np
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from filelock import FileLock

from helpers.fakes import label
from phasewalk.engines.local import LocalLauncher
from phasewalk.jobs import Job, run
from phasewalk.labels.label import Label
from phasewalk.models import compile_child, eager_child, training_config
from phasewalk.models import model as models
from phasewalk.models.model import ENDINGS
from phasewalk.models.settings import Budget, ModelSettings, Statistics

SPECIES = ("Cl", "Na")
ENV = {"OMP_NUM_THREADS": "1"}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a model is trained with; the rest is fixed.

    Attributes:
        preset: size of the network.
        scale: factor on the energy scale that the labels ask for.
        apart: eV, what is added to the energy of one species and taken from the other's.
    """

    preset: str = "tiny"
    dtype: str = "float32"
    seed: int = 1
    r_max_A: float = 4.0
    scale: float = 1.0
    apart: float = 1.0
    epochs: int = 40


@dataclasses.dataclass(frozen=True)
class Trained:
    """The files of a training: checkpoint, and weights for `swap`."""

    checkpoint: Path
    weights: Path


def frames(count: int = 3) -> list[ase.Atoms]:
    """Strained rock salt with displaced atoms."""
    rng = np.random.default_rng(3)
    made = []
    for _ in range(count):
        atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(size=(3, 3)) * 0.02), True)
        atoms.positions += rng.normal(size=(8, 3)) * 0.08
        made.append(atoms)
    return made


def labels(count: int = 3) -> list[Label]:
    """The frames with the energies, forces and stress of a Morse potential."""
    made = []
    for atoms in frames(count):
        atoms.calc = MorsePotential(epsilon=0.3, r0=2.8, rho0=4.0, rcut1=4.0, rcut2=5.0)
        results = {
            "energy": float(atoms.get_potential_energy()),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        made.append(label(atoms, **results))
    return made


@dataclasses.dataclass(frozen=True)
class Workshop:
    """Makes each model once per version of the code that makes it; keeps it in `cache`."""

    cache: Path

    def train(self, recipe: Recipe) -> Trained:
        """The trained model."""
        place = self.cache / f"train-{_key(recipe)}"
        with FileLock(f"{place}.lock"):
            if not place.exists():
                self._train(recipe, place)
        return Trained(place / models.CHECKPOINT, place / training_config.WEIGHTS)

    def _train(self, recipe: Recipe, place: Path) -> None:
        part = place.with_suffix(".part")
        models.read_training(run(LocalLauncher(), training(recipe, part)))
        part.rename(place)

    def deploy(self, recipe: Recipe, mode: str = "torchscript") -> Path:
        """The trained model compiled for LAMMPS, with `stamp.json` beside it."""
        checkpoint = self.train(recipe).checkpoint
        return self._compile(f"{mode}-{_key(recipe)}", checkpoint, {}, mode)

    def network(self, recipe: Recipe, mode: str = "torchscript") -> Path:
        """The network compiled with arbitrary weights, with `weights.npz` beside it."""
        network = training_config.network(
            SPECIES, settings=_settings(recipe), numbers=_numbers(recipe), seed=recipe.seed
        )
        inputs = {models.NETWORK: json.dumps(network).encode()}
        return self._compile(f"network-{mode}-{_key(recipe)}", None, inputs, mode)

    def _compile(
        self, name: str, checkpoint: Path | None, inputs: Mapping[str, bytes], mode: str
    ) -> Path:
        place = self.cache / name
        with FileLock(f"{place}.lock"):
            if not place.exists():
                part = place.with_suffix(".part")
                job = models.deploy_job(
                    "compile", checkpoint, inputs=inputs, mode=mode, device="cpu", directory=part,
                    cores=2,
                )  # fmt: skip
                models.read_deployment(run(LocalLauncher(), job))
                part.rename(place)
        return place / f"model{ENDINGS[mode]}"


def training(recipe: Recipe, directory: Path) -> Job:
    """The job that trains it."""
    known = labels(5)
    job = models.training_job(
        "train",
        known[:4],
        validation=known[4:],
        types=SPECIES,
        settings=_settings(recipe),
        budget=Budget(epochs=recipe.epochs, learning_rate=0.02),
        numbers=_numbers(recipe),
        previous=None,
        probed=frames(1),
        seed=recipe.seed,
        directory=directory,
    )
    return dataclasses.replace(job, env=job.env | ENV)


def _settings(recipe: Recipe) -> ModelSettings:
    return ModelSettings(preset=recipe.preset, dtype=recipe.dtype, r_max_A=recipe.r_max_A)


def _numbers(recipe: Recipe) -> Statistics:
    numbers = models.statistics(labels(5), SPECIES, recipe.r_max_A)
    first, second = numbers.energy_shifts
    return Statistics(
        average_neighbors=numbers.average_neighbors,
        energy_scale=recipe.scale * numbers.energy_scale,
        energy_shifts=(first + recipe.apart, second - recipe.apart),
    )


def copy(model: Path, folder: Path) -> Path:
    """A deployed model and its stamp, to be spoiled."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (model, model.with_name("stamp.json")):
        shutil.copyfile(file, folder / file.name)
    return folder / model.name


def _key(recipe: Recipe) -> str:
    text = json.dumps([dataclasses.asdict(recipe), _versions()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def _versions() -> list[str]:
    import nequip
    import torch

    code: Iterable[str | None] = (
        __file__, compile_child.__file__, eager_child.__file__, models.__file__,
        training_config.__file__,
        str(Path(compile_child.__file__).with_name("train_child.py")),
    )  # fmt: skip
    digests = [hashlib.sha256(Path(str(file)).read_bytes()).hexdigest() for file in code]
    machine = torch.backends.cpu.get_cpu_capability()
    return [*digests, str(torch.__version__), str(nequip.__version__), machine]
