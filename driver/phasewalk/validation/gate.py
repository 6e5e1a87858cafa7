"""The proof of a deployed model, in LAMMPS, before a walker sees it.

Probes are ordinary frames made from a few real ones: what the deployed program says of them must
equal the checkpoint's own eager evaluation (parity), its forces and stress must be the derivatives
of its own energy (conservativity), and it must not mind permutation, rotation and translation. NVE
runs show what the derivatives miss. All numbers are those of the deployed program itself; the steps
of the differences suit its precision, and the limits are those of rounding: they grow with the
forces, and say nothing about how good the potential is.
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
from .probes import Probe, probes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """Largest differences that are taken for rounding, by precision.

    Energies in eV/atom, forces in eV/Å, stress in GPa.
    """

    energy: float
    force: float
    stress: float
    force_difference: float
    stress_difference: float

    def grown(self, theirs: Prediction) -> "Limits":
        """The limits for a frame: rounding grows with the numbers that are rounded.

        Args:
            theirs: what the checkpoint says of the frame.
        """
        force = float(np.abs(theirs.forces).max()) / ORDINARY_FORCE
        stress = float(np.abs(theirs.stress).max()) * GPA_PER_EV_PER_A3 / ORDINARY_STRESS
        factor = max(1.0, force, stress)
        return Limits(*(factor * limit for limit in astuple(self)))


LIMITS = {
    "float32": Limits(2e-6, 1e-4, 1e-3, 3e-3, 5e-3),
    "float64": Limits(1e-9, 1e-7, 1e-7, 1e-4, 1e-3),
}
ORDINARY_FORCE, ORDINARY_STRESS = 10.0, 100.0
"""Largest force (eV/Å) and stress (GPa) up to which the limits hold as they are."""
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
        said = f"; {self.says}" if self.says else ""
        numbers = f"{self.value:.2g} {self.unit}, limit {self.limit:g}"
        return f"{verdict}: {self.name}{where}: {numbers}{said}"


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
        total_energies: eV, along NVE runs of the first frame, by time step in fs.
        dtype: precision of the model.
    """
    pairs = list(zip(found, predictions, strict=True))
    real = [p for probe, p in pairs if probe.kind == "real"]
    broken = [probe for probe, p in pairs if not _is_finite(p)]
    if broken:
        return Proof((_not_finite(broken[0]),))
    checks: list[Check] = []
    limits = [LIMITS[dtype].grown(theirs) for theirs in eager]
    for i, (mine, theirs) in enumerate(zip(real, eager, strict=True)):
        checks += _parity(i, mine, theirs, limits[i])
    for i, mine in enumerate(real):
        of_frame = [(probe, p) for probe, p in pairs if probe.frame == i]
        checks += _differences(i, mine, of_frame, limits[i])
        checks += _invariance(i, mine, of_frame, limits[i])
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
        says="energy, forces or stress are not finite: a weight is NaN, or the training diverged",
    )


def _check(name: str, value: Any, limit: float, *, unit: str, frame: int, says: str = "") -> Check:
    number = float(np.abs(value).max())
    ok = number <= limit
    return Check(name, number, limit, unit, frame, ok, "" if ok else says)


def _parity(i: int, mine: Prediction, theirs: Prediction, limits: Limits) -> list[Check]:
    """The deployed program against the checkpoint's eager evaluation."""
    flipped = np.abs(mine.stress + theirs.stress).max() < 0.1 * np.abs(theirs.stress).max()
    other = "the deployed model is not this checkpoint, or its species are in another order"
    sign = "its sign is the opposite" if flipped else other
    energy = (mine.energy - theirs.energy) / len(mine.forces)
    atomic, force = mine.energies - theirs.energies, mine.forces - theirs.forces
    stress = (mine.stress - theirs.stress) * GPA_PER_EV_PER_A3
    return [
        _check("parity of the energy", energy, limits.energy, unit="eV/atom", frame=i, says=other),
        _check(
            "parity of atomic energies", atomic, limits.energy * 10, unit="eV", frame=i, says=other
        ),
        _check("parity of the forces", force, limits.force, unit="eV/Å", frame=i, says=other),
        _check("parity of the stress", stress, limits.stress, unit="GPa", frame=i, says=sign),
    ]


def _differences(
    i: int, real: Prediction, mine: Sequence[tuple[Probe, Prediction]], limits: Limits
) -> list[Check]:
    """Directional derivatives of the energy against forces and stress."""
    checks = []
    displaced = [(probe, p) for probe, p in mine if probe.kind == "displaced"]
    if displaced:
        slope = sum(probe.weight * p.energy for probe, p in displaced)
        expected = -(real.forces * displaced[0][0].atoms.info["direction"]).sum()
        says = "the forces do not conserve energy"
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
    strained = [(probe, p) for probe, p in mine if probe.kind == "strained"]
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
                says="the stress is not what the energy asks for",
            )
        )
    return checks


def _invariance(
    i: int, real: Prediction, mine: Sequence[tuple[Probe, Prediction]], limits: Limits
) -> list[Check]:
    """Forces of a permuted, a rotated, a moved frame against those of the frame itself."""
    checks = []
    for probe, p in mine:
        if probe.kind not in ("permuted", "rotated", "moved"):
            continue
        forces = real.forces @ probe.atoms.info.get("rotation", np.eye(3))
        forces = forces[probe.atoms.info.get("order", slice(None))]
        name = f"a {probe.kind} frame has the same forces"
        checks.append(_check(name, p.forces - forces, limits.force, unit="eV/Å", frame=i))
    return checks


def _conserved(runs: Conservation | None) -> list[Check]:
    """Drift and scatter of the total energy along NVE runs, as far as the program makes them."""
    drift, excess = "drift in NVE", "scatter in NVE, beyond the time step squared"
    unit, most = "meV/atom/ps", conservation.MAX_DRIFT
    if runs is None:
        nan, says = float("nan"), "LAMMPS lost the atoms, or the energy is not finite"
        return [Check("an NVE run", nan, most, unit, 0, False, says)]
    checks = []
    if runs.drifts or abs(runs.drift) <= most:
        says = "the total energy is not conserved, however short the time step is"
        checks.append(_check(drift, runs.drift, most, unit=unit, frame=0, says=says))
    if runs.excess is not None and (runs.scatters or runs.excess <= conservation.MAX_EXCESS):
        says = "halving the time step should divide it by four"
        checks.append(
            _check(excess, runs.excess, conservation.MAX_EXCESS, unit="×", frame=0, says=says)
        )
    return checks


def _rough(runs: Conservation | None) -> list[str]:
    """What is to be said of a potential that needs shorter time steps than usual."""
    if runs is None or runs.drifts or runs.scatters:
        return []
    slopes = ", ".join(f"{runs.slopes[dt]:.2g} at {dt:g} fs" for dt in sorted(runs.slopes)[::-1])
    told = f"the total energy of an NVE run has a slope of {slopes} (meV/atom/ps)"
    if not runs.settled:
        return [
            f"{told}: it still depends on the time step, so the potential is too rough to tell "
            "whether energy is conserved; the derivatives above decide. Train longer, or on more "
            "labels"
        ]
    if max(runs.slopes) < STEPS_FS[0] or len(runs.slopes) > 2:
        return [
            f"{told}: it vanishes with the time step, so energy is conserved, but the potential is "
            "rough, and walkers may break down; train longer, on more labels, or take a shorter "
            "segment.timestep_fs"
        ]
    return []


def _runs(runs: Conservation | None) -> dict[str, Any]:
    """The NVE runs as they stand in the proof's file."""
    if runs is None:
        return {}
    return {
        "slopes_meV_per_atom_per_ps": {f"{dt:g} fs": slope for dt, slope in runs.slopes.items()},
        "scatter_meV_per_atom": {f"{dt:g} fs": value for dt, value in runs.scatter.items()},
        "drift_meV_per_atom_per_ps": runs.drift,
        "changed_by_last_halving_meV_per_atom_per_ps": runs.change,
    }


def _repulsion(pairs: Sequence[tuple[Probe, Prediction]], real: Sequence[Prediction]) -> list[str]:
    energies = [p.energy for probe, p in pairs if probe.kind == "squeezed"]
    if energies and not (energies[-1] > energies[0] > real[0].energy):
        return [
            "a squeezed pair is not repelled: walkers may fall into unphysical wells. "
            "model.zbl: true adds a repulsion, but only from generation 0 on: in a new --dir, "
            "where the shared labels cost nothing"
        ]
    return []


def proof_text(proof: Proof, versions: Mapping[str, str]) -> str:
    """The proof as it is written beside the model."""
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
    """JSON has no word for a value that is not finite: null."""
    return {**check, "value": check["value"] if np.isfinite(check["value"]) else None}
