"""The proof of a deployed model in LAMMPS, before walkers use it.

It evaluates probes, which are frames made from a few real ones. The results must equal those of the
checkpoint in Python (parity), forces and stress must be the derivatives of the energy, and the
results must not change under permutation, rotation and translation. NVE runs detect errors that the
derivatives do not show. All numbers are those of the deployed model in LAMMPS. The steps of the
finite differences depend on its precision. The limits allow for rounding, so they increase with the
forces; they do not measure the accuracy of the potential.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..units import GPA_PER_EV_PER_A3
from . import conservation
from .accuracy import Prediction, Predictions
from .conservation import STEPS_FS, Conservation
from .probes import Probe, attracts, probes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """Maximum differences that are attributed to rounding, for one precision.

    Energies in eV/atom, forces in eV/Å, stress in GPa.
    """

    energy: float
    force: float
    stress: float
    force_difference: float
    stress_difference: float

    def grown(self, expected: Prediction) -> "Limits":
        """The limits for a frame, larger if its forces or stress are large.

        Args:
            expected: the checkpoint's results for the frame.
        """
        force = float(np.abs(expected.forces).max()) / ORDINARY_FORCE
        stress = float(np.abs(expected.stress).max()) * GPA_PER_EV_PER_A3 / ORDINARY_STRESS
        factor = max(1.0, force, stress)
        return Limits(*(factor * limit for limit in astuple(self)))


LIMITS = {
    "float32": Limits(2e-6, 1e-4, 1e-3, 3e-3, 5e-3),
    "float64": Limits(1e-9, 1e-7, 1e-7, 1e-4, 1e-3),
}
ORDINARY_FORCE, ORDINARY_STRESS = 10.0, 100.0
"""Largest force (eV/Å) and stress (GPa) up to which the limits are not increased."""
SEED = 1
NVE_STEPS_FS = STEPS_FS


@dataclass(frozen=True)
class Check:
    """Result of one check."""

    name: str
    value: float
    limit: float
    unit: str
    frame: int | None
    ok: bool
    says: str = ""

    def __str__(self) -> str:
        where = "" if self.frame is None else f" (frame {self.frame + 1})"
        verdict = "ok" if self.ok else "FAILED"
        reason = f"; {self.says}" if self.says else ""
        numbers = f"{self.value:.2g} {self.unit}, limit {self.limit:g}"
        return f"{verdict}: {self.name}{where}: {numbers}{reason}"


@dataclass(frozen=True)
class Proof:
    """Results of all checks of a model, and of its NVE runs."""

    checks: tuple[Check, ...]
    warnings: tuple[str, ...] = ()
    nve: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the model may be used."""
        return all(check.ok for check in self.checks)

    def failure(self) -> str:
        """The first failed check, in one line."""
        return next((str(check) for check in self.checks if not check.ok), "")


@dataclass(frozen=True)
class Probes:
    """Test frames of a model, and the results of its checkpoint.

    Attributes:
        frames: a few frames of the campaign.
        eager: results of the checkpoint for them, in Python.
        dtype: precision.
        full: whether to use all probes, as for a new compilation.
    """

    frames: Sequence[Atoms]
    eager: Sequence[Prediction]
    dtype: str
    full: bool

    def asked(self) -> list[Probe]:
        """The frames to evaluate."""
        return probes(self.frames, self.dtype, full=self.full, seed=SEED)

    def judge(self, result: Predictions, count: int) -> Proof:
        """The proof from the first `count` frames of a result."""
        return judge(
            self.asked(),
            result.frames[:count],
            eager=self.eager,
            total_energies=result.total_energies,
            dtype=self.dtype,
        )


def judge(
    found: Sequence[Probe],
    predictions: Sequence[Prediction],
    *,
    eager: Sequence[Prediction],
    total_energies: Mapping[float, Array],
    dtype: str,
) -> Proof:
    """Check the results of the deployed model for the probes.

    Args:
        found: from `probes`.
        predictions: of the deployed model, in their order.
        eager: of the checkpoint in Python, for the real frames.
        total_energies: time step (fs) → total energies (eV) along an NVE run of the first frame.
        dtype: precision of the model.
    """
    pairs = list(zip(found, predictions, strict=True))
    real = [p for probe, p in pairs if probe.kind == "real"]
    broken = [probe for probe, p in pairs if not _is_finite(p)]
    if broken:
        return Proof((_not_finite(broken[0]),))
    checks: list[Check] = []
    limits = [LIMITS[dtype].grown(expected) for expected in eager]
    for i, (deployed, expected) in enumerate(zip(real, eager, strict=True)):
        checks += _parity(i, deployed, expected, limits[i])
    for i, deployed in enumerate(real):
        of_frame = [(probe, p) for probe, p in pairs if probe.frame == i]
        checks += _differences(i, deployed, of_frame, limits[i])
        checks += _invariance(i, deployed, of_frame, limits[i])
    warnings = _repulsion(pairs, real)
    if not total_energies:
        return Proof(tuple(checks), tuple(warnings))
    runs = conservation.analyse(total_energies, len(found[0].atoms))
    checks += _conserved(runs)
    warnings += _rough(runs)
    return Proof(tuple(checks), tuple(warnings), _runs(runs))


def _is_finite(p: Prediction) -> bool:
    return bool(
        np.isfinite(p.energy)
        and np.isfinite(p.energies).all()
        and np.isfinite(p.forces).all()
        and np.isfinite(p.stress).all()
    )


def _not_finite(probe: Probe) -> Check:
    return Check(
        name="finite numbers",
        value=float("nan"),
        limit=0.0,
        unit="",
        frame=probe.frame,
        ok=False,
        says="energy, forces or stress are not finite; the training has probably diverged",
    )


def _check(name: str, value: Any, limit: float, *, unit: str, frame: int, says: str = "") -> Check:
    number = float(np.abs(value).max())
    ok = number <= limit
    return Check(name, number, limit, unit, frame, ok, "" if ok else says)


def _parity(i: int, deployed: Prediction, expected: Prediction, limits: Limits) -> list[Check]:
    """Results of the deployed model compared with those of the checkpoint in Python."""
    flipped = np.abs(deployed.stress + expected.stress).max() < 0.1 * np.abs(expected.stress).max()
    other = (
        "the model was deployed from another checkpoint, or its elements are in a different order"
    )
    stress_reason = "the stress has the opposite sign" if flipped else other
    energy = (deployed.energy - expected.energy) / len(deployed.forces)
    atomic, force = deployed.energies - expected.energies, deployed.forces - expected.forces
    stress = (deployed.stress - expected.stress) * GPA_PER_EV_PER_A3
    return [
        _check("parity of the energy", energy, limits.energy, unit="eV/atom", frame=i, says=other),
        _check(
            "parity of atomic energies", atomic, limits.energy * 10, unit="eV", frame=i, says=other
        ),
        _check("parity of the forces", force, limits.force, unit="eV/Å", frame=i, says=other),
        _check(
            "parity of the stress", stress, limits.stress, unit="GPa", frame=i, says=stress_reason
        ),
    ]


def _differences(
    i: int, real: Prediction, results: Sequence[tuple[Probe, Prediction]], limits: Limits
) -> list[Check]:
    """Directional derivatives of the energy compared with forces and stress."""
    checks = []
    displaced = [(probe, p) for probe, p in results if probe.kind == "displaced"]
    if displaced:
        slope = sum(probe.weight * p.energy for probe, p in displaced)
        expected = -(real.forces * displaced[0][0].atoms.info["direction"]).sum()
        says = "the forces are not the derivative of the energy"
        checks.append(
            _check(
                "forces are the energy's derivative",
                slope - expected,
                limits.force_difference,
                unit="eV/Å",
                frame=i,
                says=says,
            )
        )
    strained = [(probe, p) for probe, p in results if probe.kind == "strained"]
    if strained:
        slope = sum(probe.weight * p.energy for probe, p in strained)
        xx, yy, zz, yz, xz, xy = real.stress
        tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        expected = (tensor * strained[0][0].atoms.info["direction"]).sum()
        volume = np.mean([probe.atoms.get_volume() for probe, _ in strained])
        checks.append(
            _check(
                "stress is the energy's derivative",
                (slope / volume - expected) * GPA_PER_EV_PER_A3,
                limits.stress_difference,
                unit="GPa",
                frame=i,
                says="the stress is not the derivative of the energy",
            )
        )
    return checks


def _invariance(
    i: int, real: Prediction, results: Sequence[tuple[Probe, Prediction]], limits: Limits
) -> list[Check]:
    """Forces of permuted, rotated and translated frames compared with those of the real frame."""
    checks = []
    for probe, p in results:
        if probe.kind not in ("permuted", "rotated", "moved"):
            continue
        forces = real.forces @ probe.atoms.info.get("rotation", np.eye(3))
        forces = forces[probe.atoms.info.get("order", slice(None))]
        name = f"a {probe.kind} frame has the same forces"
        checks.append(_check(name, p.forces - forces, limits.force, unit="eV/Å", frame=i))
    return checks


def _conserved(runs: Conservation | None) -> list[Check]:
    """Drift and scatter of the total energy along NVE runs that are errors of the program."""
    drift, excess = "drift in NVE", "scatter in NVE, beyond the time step squared"
    unit, most = "meV/atom/ps", conservation.MAX_DRIFT
    if runs is None:
        nan, says = float("nan"), "LAMMPS lost atoms, or the energy is not finite"
        return [Check("an NVE run", nan, most, unit, 0, False, says)]
    checks = []
    if runs.drifts or abs(runs.drift) <= most:
        says = "the total energy is not conserved, also with shorter time steps"
        checks.append(_check(drift, runs.drift, most, unit=unit, frame=0, says=says))
    if runs.excess is not None and (runs.scatters or runs.excess <= conservation.MAX_EXCESS):
        says = "halving the time step should divide it by four"
        checks.append(
            _check(excess, runs.excess, conservation.MAX_EXCESS, unit="×", frame=0, says=says)
        )
    return checks


def _rough(runs: Conservation | None) -> list[str]:
    """Warnings about a potential that needs shorter time steps than usual."""
    if runs is None or runs.drifts or runs.scatters:
        return []
    slopes = ", ".join(f"{runs.slopes[dt]:.2g} at {dt:g} fs" for dt in sorted(runs.slopes)[::-1])
    slope = f"the total energy of an NVE run has a slope of {slopes} (meV/atom/ps)"
    if not runs.conserved:
        return [
            f"{slope}; it still depends on the time step, so these runs do not show whether the "
            "energy is conserved; the checks of forces and stress above do. The potential is "
            "rough: train longer or on more labels"
        ]
    if max(runs.slopes) < STEPS_FS[0] or len(runs.slopes) > 2:
        return [
            f"{slope}; it vanishes with the time step, so the energy is conserved, but the "
            "potential is rough and walkers may break down; train longer or on more labels, or "
            "reduce segment.timestep_fs"
        ]
    return []


def _runs(runs: Conservation | None) -> dict[str, Any]:
    """The NVE runs, for the file of the proof."""
    if runs is None:
        return {}
    return {
        "slopes_meV_per_atom_per_ps": {f"{dt:g} fs": slope for dt, slope in runs.slopes.items()},
        "scatter_meV_per_atom": {f"{dt:g} fs": value for dt, value in runs.scatter.items()},
        "drift_meV_per_atom_per_ps": runs.drift,
        "changed_by_last_halving_meV_per_atom_per_ps": runs.change,
    }


def _repulsion(pairs: Sequence[tuple[Probe, Prediction]], real: Sequence[Prediction]) -> list[str]:
    """A warning if in a frame the energy does not increase as its closest pair is compressed."""
    holes = []
    for i, own in enumerate(real):
        at = {p.weight: e.energy for p, e in pairs if p.kind == "squeezed" and p.frame == i}
        if attracts([own.energy, *at.values()]):
            holes.append({fraction: energy - own.energy for fraction, energy in at.items()})
    if not holes:
        return []
    rises = " and ".join(f"{energy:+.3g} eV at {part:g}" for part, energy in holes[0].items())
    return [
        f"in {len(holes)} of {len(real)} frames the energy does not increase when the closest pair "
        f"of atoms is compressed, so atoms of a walker may collapse: {rises} of its distance. If "
        "model.zbl is false, true adds a repulsion, but it must be set before generation 0: start "
        "a new campaign with another --dir, which reuses the labels. If it is true, the network "
        "outweighs it at distances that no label covers: do not use the model for hot or dense "
        "conditions, or add labels with closer atoms"
    ]


def proof_text(proof: Proof, versions: Mapping[str, str]) -> str:
    """The text of the proof's file."""
    return (
        json.dumps(
            {
                "passed": proof.passed,
                "checks": [_for_json(asdict(check)) for check in proof.checks],
                "warnings": list(proof.warnings),
                "nve": dict(proof.nve),
                "versions": dict(versions),
            },
            indent=1,
        )
        + "\n"
    )


def _for_json(check: dict[str, Any]) -> dict[str, Any]:
    """A check for JSON, in which a value that is not finite is null."""
    return {**check, "value": check["value"] if np.isfinite(check["value"]) else None}
