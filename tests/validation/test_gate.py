"""The gate on a model whose numbers are exact: it passes, and each fault is named as itself."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.morse import MorsePotential

from helpers.fakes import crystal
from phasewalk.checks import prove
from phasewalk.engines import Machine
from phasewalk.errors import GateFailed, InputError
from phasewalk.models import model as models
from phasewalk.validation import conservation, gate, predict_child
from phasewalk.validation.accuracy import Prediction, Predictions
from phasewalk.validation.conservation import EVERY_FS, STEPS_FS
from phasewalk.validation.gate import Probes, Proof
from phasewalk.validation.probes import Probe

ENERGIES = {"Na": -1.0, "Cl": -2.5}
"""Makes the order of the species matter, eV."""
OTHER = "another checkpoint, or its elements are in a different order"
Fault = Callable[[Probe, Prediction], Prediction]


def frames(count: int = 2) -> list[Atoms]:
    """Strained rock salt with displaced atoms, far from any minimum."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(count):
        atoms = crystal()
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), True)
        atoms.positions += rng.normal(size=(8, 3)) * 0.1
        made.append(atoms)
    return made


def morse(atoms: Atoms, sign: float = 1.0) -> Prediction:
    """A Morse potential, smooth at its cutoff; `sign` -1 attracts where it should repel."""
    atoms = atoms.copy()
    atoms.calc = MorsePotential(epsilon=0.3, r0=2.8, rho0=4.0, rcut1=3.5, rcut2=4.5)
    own = np.array([ENERGIES[symbol] for symbol in atoms.symbols])
    energies = sign * np.array(atoms.get_potential_energies()) + own
    return Prediction(
        float(energies.sum()), energies, sign * atoms.get_forces(), sign * atoms.get_stress()
    )


@cache
def asked(dtype: str = "float64", full: bool = True) -> Probes:
    """The real frames and what the checkpoint says of them."""
    real = frames()
    return Probes(frames=real, eager=[morse(a) for a in real], dtype=dtype, full=full)


@cache
def answers(dtype: str = "float64", full: bool = True) -> list[tuple[Probe, Prediction]]:
    """The probes, and what a model without a fault says of them."""
    return [(probe, morse(probe.atoms)) for probe in asked(dtype, full).asked()]


def nve(
    slope: float = 0.0, order: float = 2.0, size: float = 0.02, steps: Sequence[float] = (0.5, 0.25)
) -> dict[float, Any]:
    """Total energies of eight atoms: slope in meV/atom/ps, scatter (meV/atom) ~ step^order."""
    time = np.arange(21) * EVERY_FS
    return {
        dt: -14.0 + 8e-3 * (slope * time / 1000 + size * (2 * dt) ** order * np.sin(0.4 * time))
        for dt in steps
    }


def judged(
    fault: Fault = lambda probe, p: p,
    *,
    energies: Any = None,
    dtype: str = "float64",
    full: bool = True,
) -> Proof:
    """The proof of the Morse potential with this fault in it."""
    said = tuple(fault(probe, exact) for probe, exact in answers(dtype, full))
    energies = (nve() if full else {}) if energies is None else energies
    return asked(dtype, full).judge(Predictions(said, 0.001, energies), len(said))


def failed(proof: Proof) -> set[str]:
    return {check.name for check in proof.checks if not check.ok}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_exact_model_passes(dtype: str) -> None:
    proof = judged(dtype=dtype)
    assert proof.passed
    assert proof.failure() == ""
    assert proof.warnings == ()
    assert {check.frame for check in proof.checks} == {0, 1}
    assert {check.name for check in proof.checks} == {
        *(f"parity of {name}" for name in ("the energy", "the forces", "the stress")),
        "parity of atomic energies",
        "forces are the energy's derivative",
        "stress is the energy's derivative",
        *(f"a {kind} frame has the same forces" for kind in ("permuted", "rotated", "moved")),
        "drift in NVE",
        "scatter in NVE, beyond the time step squared",
    }


def test_a_swapped_model_is_asked_less() -> None:
    proof = judged(full=False)
    assert proof.passed
    assert len(asked(full=False).asked()) == len(frames()) + 8
    names = [check.name for check in proof.checks if check.frame == 1]
    assert len(names) == 4
    assert all(name.startswith("parity") for name in names)
    assert sum("derivative" in check.name for check in proof.checks) == 2


def test_predictions_of_other_frames_that_follow_are_left_alone() -> None:
    """A campaign evaluates its new labels in the same job."""
    said = [exact for _, exact in answers()]
    wrong = dataclasses.replace(said[0], energy=np.nan)
    result = Predictions((*said, wrong), 0.001, nve())
    assert asked().judge(result, len(said)).passed


def test_the_frames_asked_are_the_same_each_time() -> None:
    first, second = asked().asked(), asked().asked()
    assert all(a.atoms == b.atoms for a, b in zip(first, second, strict=True))


def flip_stress(_: Probe, p: Prediction) -> Prediction:
    return dataclasses.replace(p, stress=-p.stress)


def add_curl(probe: Probe, p: Prediction) -> Prediction:
    """A force that goes round an axis: no energy has it, and its sum is zero in a crystal."""
    turned = np.cross([0.0, 0.0, 0.01], probe.atoms.positions)
    return dataclasses.replace(p, forces=p.forces + turned - turned.mean(axis=0))


def offset_energy(_: Probe, p: Prediction) -> Prediction:
    return dataclasses.replace(p, energy=p.energy + 8e-6, energies=p.energies + 1e-6)


def shuffle_energies(_: Probe, p: Prediction) -> Prediction:
    """The sum is right, and each atom's part is another's."""
    return dataclasses.replace(p, energies=np.roll(p.energies, 1))


def swap_species(probe: Probe, _: Prediction) -> Prediction:
    """Na is taken for Cl. Both are alike to the Morse potential, but for their own energies."""
    other = probe.atoms.copy()
    other.symbols = ["Na" if s == "Cl" else "Cl" for s in other.symbols]
    return morse(other)


def scale_stress(_: Probe, p: Prediction) -> Prediction:
    return dataclasses.replace(p, stress=p.stress * 1.05)


def only(kind: str, change: Fault) -> Fault:
    return lambda probe, p: change(probe, p) if probe.kind == kind else p


def jolt(_: Probe, p: Prediction) -> Prediction:
    return dataclasses.replace(p, forces=p.forces + np.array([1e-6, 0, 0]))


FAULTS: dict[str, tuple[Fault, set[str], str]] = {
    "stress flipped": (
        flip_stress,
        {"parity of the stress", "stress is the energy's derivative"},
        "the stress has the opposite sign",
    ),
    "stress scaled": (
        scale_stress,
        {"parity of the stress", "stress is the energy's derivative"},
        OTHER,
    ),
    "energy offset": (
        offset_energy,
        {"parity of the energy", "parity of atomic energies"},
        OTHER,
    ),
    "species swapped": (swap_species, {"parity of atomic energies"}, OTHER),
    "energies shuffled": (shuffle_energies, {"parity of atomic energies"}, OTHER),
    "not invariant to order": (
        only("permuted", jolt),
        {"a permuted frame has the same forces"},
        "permuted frame",
    ),
    "not invariant to rotation": (
        only("rotated", jolt),
        {"a rotated frame has the same forces"},
        "rotated frame",
    ),
    "not invariant to translation": (
        only("moved", jolt),
        {"a moved frame has the same forces"},
        "moved frame",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_its_own_checks(name: str) -> None:
    fault, names, says = FAULTS[name]
    proof = judged(fault)
    assert not proof.passed
    assert failed(proof) == names
    assert says in proof.failure()
    assert proof.failure().startswith("FAILED: ")
    assert "(frame 1)" in proof.failure()
    assert "\n" not in proof.failure()


def test_forces_that_no_energy_has() -> None:
    proof = judged(add_curl)
    assert {"parity of the forces", "forces are the energy's derivative"} <= failed(proof)
    assert "stress is the energy's derivative" not in failed(proof)
    said = {check.says for check in proof.checks if "forces are" in check.name}
    assert said == {"the forces are not the derivative of the energy"}


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("fault", [add_curl, flip_stress])
def test_a_checkpoint_with_the_same_fault_does_not_hide_it(fault: Fault, full: bool) -> None:
    """Parity compares two wrong numbers: the differences do not."""
    whole = asked(full=full)
    real = [Probe("real", i, atoms) for i, atoms in enumerate(whole.frames)]
    eager = [fault(p, e) for p, e in zip(real, whole.eager, strict=True)]
    probes = dataclasses.replace(whole, eager=eager)
    said = tuple(fault(probe, exact) for probe, exact in answers(full=full))
    proof = probes.judge(Predictions(said, 0.001, {}), len(said))
    name = "forces are" if fault is add_curl else "stress is"
    assert f"{name} the energy's derivative" in failed(proof)
    assert not any(name.startswith("parity") for name in failed(proof))


@pytest.mark.parametrize("field", ["energy", "energies", "forces", "stress"])
@pytest.mark.parametrize("kind", ["real", "rotated"])
def test_numbers_that_are_none(field: str, kind: str) -> None:
    def spoil(_: Probe, p: Prediction) -> Prediction:
        values = np.array(getattr(p, field), dtype=float)
        values.flat[0] = np.nan
        spoiled = float(values) if field == "energy" else values
        return dataclasses.replace(p, **{field: spoiled})

    proof = judged(only(kind, spoil))
    assert failed(proof) == {"finite numbers"}
    assert "the training has probably diverged" in proof.failure()


def test_what_the_integrator_adds_to_the_slope_is_no_fault() -> None:
    """It goes with the square of the time step, as in a model with steep forces."""
    fine, coarse = nve(slope=3.3), nve(slope=13.2)
    energies = {min(fine): fine[min(fine)], max(fine): coarse[max(fine)]}
    assert judged(energies=energies).passed


def test_an_nve_run_that_lammps_gave_up() -> None:
    assert failed(judged(energies={0.5: np.array([np.nan])})) == {"an NVE run"}


@pytest.mark.parametrize("slope", [1.5, -1.5])
def test_a_total_energy_that_drifts(slope: float) -> None:
    proof = judged(energies=nve(slope=slope))
    assert failed(proof) == {"drift in NVE"}
    assert "1.5 meV/atom/ps" in proof.failure()
    assert "the total energy is not conserved" in proof.failure()
    assert judged(energies=nve(slope=slope / 2)).passed


def test_a_scatter_that_does_not_go_with_the_step_squared() -> None:
    proof = judged(energies=nve(order=1.0))
    assert failed(proof) == {"scatter in NVE, beyond the time step squared"}
    assert "2 ×, limit 1.6; halving the time step should divide it by four" in proof.failure()


def test_a_scatter_within_rounding_has_no_order() -> None:
    assert judged(energies=nve(order=0.0, size=1e-4)).passed


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_nve_that_exploded(value: float) -> None:
    """Also where a longer step did not: what is not a number does not come from the step."""
    energies = nve()
    energies[0.5][10:] = value
    assert not judged(energies=energies).passed
    energies = nve(steps=STEPS_FS)
    energies[min(energies)][10:] = value
    assert failed(judged(energies=energies)) == {"an NVE run"}


SLOPES = {0.5: -12.9, 0.25: -1.02, 0.125: -0.21, 0.0625: -0.05}
"""Measured on a potential of ice from eight labels: conserved, at steps of 0.25 fs and less."""


def rough(slopes: Mapping[float, float], added: float = 0.0) -> dict[float, Any]:
    """NVE runs with these slopes, and one more that no step takes away, meV/atom/ps."""
    return {dt: nve(slope=slope + added, steps=[dt])[dt] for dt, slope in slopes.items()}


@pytest.mark.parametrize("count", [3, 4])
def test_a_rough_potential_whose_drift_goes_with_the_step_is_a_warning(count: int) -> None:
    slopes = dict(list(SLOPES.items())[:count])
    assert not conserved(dict(list(SLOPES.items())[:2]))
    assert conserved(slopes)
    proof = judged(energies=rough(slopes))
    assert proof.passed
    (warning,) = proof.warnings
    assert "-13 at 0.5 fs, -1 at 0.25 fs, -0.21 at 0.125 fs" in warning
    assert "it vanishes with the time step, so the energy is conserved" in warning
    told = json.loads(gate.proof_text(proof, {}))["nve"]
    assert told["slopes_meV_per_atom_per_ps"]["0.125 fs"] == pytest.approx(-0.21, abs=0.01)


def conserved(slopes: Mapping[float, float]) -> bool:
    """Whether no shorter step is asked for."""
    found = conservation.analyse(rough(slopes), 8)
    return found is not None and found.conserved


@pytest.mark.parametrize("added", [3.0, -3.0])
def test_a_rough_potential_does_not_hide_a_drift(added: float) -> None:
    proof = judged(energies=rough(SLOPES, added))
    assert failed(proof) == {"drift in NVE"}
    assert "not conserved, also with shorter time steps" in proof.failure()


def test_where_no_step_is_short_enough_the_derivatives_decide() -> None:
    energies = rough({0.5: -900.0, 0.25: -300.0, 0.125: 90.0, 0.0625: 20.0})
    proof = judged(energies=energies)
    assert proof.passed
    assert "do not show whether the energy is conserved" in proof.warnings[0]
    assert "forces are the energy's derivative" in failed(judged(add_curl, energies=energies))


def test_a_step_at_which_a_rough_potential_explodes() -> None:
    energies = nve(steps=STEPS_FS[1:]) | {0.5: np.array([np.nan])}
    assert judged(energies=energies).passed
    assert "rough" in judged(energies=energies).warnings[0]


def springs(step: float, curl: float) -> list[float]:
    """Total energy of eight stiff springs by Verlet; `curl` is a force that no energy has."""
    rng = np.random.default_rng(3)
    x, v = rng.normal(size=(2, 8, 2))
    stiff = 4.0  # two radians a femtosecond: 0.5 fs is far too long a step

    def force() -> Any:
        return -stiff * x + curl * np.stack([-x[:, 1], x[:, 0]], axis=1)

    def energy() -> float:
        return 1e-3 * float((v**2).sum() + stiff * (x**2).sum()) / 2

    energies = [energy()]
    for _ in range(20):
        for _ in range(round(EVERY_FS / step)):
            v = v + step / 2 * force()
            x = x + step * v
            v = v + step / 2 * force()
        energies.append(energy())
    return energies


def test_a_real_integrator_on_springs_too_stiff_for_its_step() -> None:
    runs = {dt: springs(dt, curl=0.0) for dt in STEPS_FS}
    assert judged(energies=runs).passed
    wrong = {dt: springs(dt, curl=0.005) for dt in STEPS_FS}
    assert failed(judged(energies=wrong)) == {"drift in NVE"}


def test_shorter_steps_only_as_long_as_they_are_needed() -> None:
    asked_for: list[float] = []

    class Played:
        def nve(self, atoms: Atoms, step: float, **_: float) -> list[float]:
            asked_for.append(step)
            return list(rough(SLOPES)[step])

    predict_child._runs(cast(predict_child.Model, Played()), crystal(), STEPS_FS)
    assert asked_for == [0.5, 0.25, 0.125]


def test_limits_grow_with_the_numbers_that_are_rounded() -> None:
    """Float32 keeps seven digits: of forces of 1000 eV/Å, 0.1 meV/Å is not among them."""
    factor = 300.0

    def steep(probe: Probe, p: Prediction) -> Prediction:
        wrong = 3e-6 if probe.kind == "rotated" else 0.0
        return Prediction(
            factor * (p.energy + wrong),
            factor * (p.energies + wrong),
            factor * (p.forces + wrong),
            factor * (p.stress + wrong),
        )

    eager = [steep(Probe("real", 0, a), e) for a, e in zip(frames(), asked().eager, strict=True)]
    probes = dataclasses.replace(asked("float32"), eager=eager)
    said = tuple(steep(probe, exact) for probe, exact in answers("float32"))
    assert probes.judge(Predictions(said, 0.001, nve()), len(said)).passed
    flipped = tuple(
        flip_stress(probe, p) for (probe, _), p in zip(answers("float32"), said, strict=True)
    )
    assert not probes.judge(Predictions(flipped, 0.001, nve()), len(said)).passed


def test_a_pair_that_attracts_is_a_warning() -> None:
    """The checkpoint is as wrong as the model: parity holds, and the choice is the user's."""
    probes = dataclasses.replace(asked(), eager=[morse(a, -1.0) for a in asked().frames])
    said = tuple(morse(probe.atoms, -1.0) for probe in probes.asked())
    proof = probes.judge(Predictions(said, 0.001, nve()), len(said))
    assert proof.passed
    (warning,) = proof.warnings
    of = f"in {len(probes.frames)} of {len(probes.frames)} frames the energy does not increase when"
    assert f"{of} the closest pair of atoms is compressed" in warning
    assert re.search(r"collapse: -\S+ eV at 0\.6 and -\S+ eV at 0\.4 of its distance", warning)
    assert "If model.zbl is false" in warning
    assert "If it is true, the network outweighs it" in warning


def test_a_hole_in_any_frame_is_a_warning() -> None:
    """Also where the energy has only fallen again from 0.6 to 0.4 of the pair's distance."""
    probes = asked("float32")
    assert len(probes.frames) > 1
    assert not judged().warnings

    def holed(probe: Probe, energy: float) -> float:
        last = len(probes.frames) - 1
        inner = probe.kind == "squeezed" and probe.frame == last and probe.weight == 0.4
        return energy - 1000.0 if inner else energy

    said = tuple(
        dataclasses.replace(p, energy=holed(probe, p.energy)) for probe, p in answers("float32")
    )
    proof = probes.judge(Predictions(said, 0.001, nve()), len(said))
    (warning,) = proof.warnings
    assert warning.startswith(f"in 1 of {len(probes.frames)} frames the energy does not increase")


def test_frames_without_a_bond_have_no_pair_to_squeeze() -> None:
    apart = Atoms("NaCl", positions=[[0, 0, 0], [5, 5, 5]], cell=[10, 10, 10], pbc=True)
    probes = Probes(frames=[apart], eager=[], dtype="float64", full=True)
    kinds: Sequence[str] = [probe.kind for probe in probes.asked()]
    assert "squeezed" not in kinds
    assert set(kinds) == {"real", "displaced", "strained", "permuted", "rotated", "moved"}


@pytest.mark.parametrize("fault", [None, flip_stress])
def test_a_proof_as_its_file(tmp_path: Path, fault: Fault | None) -> None:
    proof = judged(fault) if fault else judged()
    path = tmp_path / "proof.json"
    path.write_text(gate.proof_text(proof, {"torch": "2.9"}))
    data = json.loads(path.read_text())
    assert data["passed"] is proof.passed
    assert data["versions"] == {"torch": "2.9"}
    assert data["checks"] == [dataclasses.asdict(check) for check in proof.checks]
    assert all(check["limit"] > 0 and check["unit"] for check in data["checks"])


def test_the_proof_of_nan_is_still_json() -> None:
    """JSON has no NaN; other programs than Python refuse it."""

    def spoil(_: Probe, p: Prediction) -> Prediction:
        return dataclasses.replace(p, energy=np.nan)

    def refuse(constant: str) -> float:
        raise ValueError(constant)

    json.loads(gate.proof_text(judged(spoil), {}), parse_constant=refuse)


STAMP = models.Deployed(
    file="model.nequip.pt2",
    mode="aotinductor",
    device="cpu",
    dtype="float32",
    types=("Cl", "Na"),
    r_max_A=4.0,
    torch="2.9.0",
    nequip="0.19.0",
    cpu="AVX512",
    processor="",
    seconds=45.0,
)
HERE = {"types": ["Cl", "Na"], "dtype": "float32", "cpu": "AVX512", "sha256": "abc"}
MACHINE = Machine(
    "node7", "x86_64", "sse avx512", has_gpu=False, has_compiler=True, versions={"torch": "2.9.0"}
)
MODEL = Path("model.nequip.pt2")


def test_a_stamp_that_fits() -> None:
    prove.check_stamp(MODEL, STAMP, HERE, MACHINE)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"types": ("Na", "Cl")}, "its elements are Na Cl, but those of the checkpoint are Cl Na"),
        ({"dtype": "float64"}, "its precision is float64, but that of the checkpoint is float32"),
        ({"cpu": "AVX9"}, "compiled for cpu AVX9, but this machine has AVX512; deploy"),
        ({"torch": "1.0"}, "compiled for torch 1.0, but this machine has 2.9.0; deploy"),
        (
            {"processor": "sse fly"},
            "compiled for a processor with fly, which this machine does not have",
        ),
        ({"device": "cuda"}, "compiled for cuda, but this machine has no GPU; deploy"),
        ({"checkpoint": "def"}, "by its stamp, it was compiled from another checkpoint"),
    ],
)
def test_a_stamp_that_does_not_fit(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(GateFailed, match=says):
        prove.check_stamp(MODEL, dataclasses.replace(STAMP, **changes), HERE, MACHINE)


def test_torchscript_runs_on_any_processor() -> None:
    script = dataclasses.replace(STAMP, mode="torchscript", cpu="AVX9", torch="1.0")
    prove.check_stamp(MODEL, script, HERE, MACHINE)


@pytest.mark.parametrize("name", ["model.nequip.pt2.json", "stamp.json"])
def test_a_stamp_is_found_beside_the_model(tmp_path: Path, name: str) -> None:
    model = tmp_path / MODEL
    assert prove.find_stamp(model) is None
    (tmp_path / name).write_text(models.stamp_text(STAMP))
    assert prove.find_stamp(model) == STAMP


def test_a_campaigns_checkpoint_is_found(tmp_path: Path) -> None:
    model = tmp_path / "gen-000/aotinductor-cpu" / MODEL
    with pytest.raises(InputError, match="give the checkpoint with --checkpoint"):
        prove.find_checkpoint(model)
    (tmp_path / "gen-000").mkdir()
    (tmp_path / "gen-000/checkpoint.ckpt").touch()
    assert prove.find_checkpoint(model) == tmp_path / "gen-000/checkpoint.ckpt"
