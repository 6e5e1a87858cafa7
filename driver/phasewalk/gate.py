"""The proof of a deployed model, in LAMMPS, before a walker sees it.

Probes are ordinary frames made from a few real ones: what the deployed program says of them must
equal the checkpoint's own eager evaluation (parity), its forces and stress must be the derivatives
of its own energy (conservativity), and it must not mind permutation, rotation and translation. An
NVE run shows what the derivatives miss. All numbers are those of the deployed program itself; the
steps of the differences suit its precision.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from .evaluation import NVE_EVERY_FS, Prediction, Predictions
from .probes import Probe, probes
from .units import FS_PER_PS, GPA_PER_EV_PER_A3

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """Largest differences that are taken for rounding, by precision.

    Energies in eV/atom, forces in eV/Å, stress in GPa, drift in meV/atom/ps, noise (the
    fluctuation below which its order means nothing) in meV/atom.
    """

    energy: float
    force: float
    stress: float
    force_difference: float
    stress_difference: float
    drift: float
    noise: float


LIMITS = {
    "float32": Limits(2e-6, 1e-4, 1e-3, 3e-3, 5e-3, 1.0, 1e-3),
    "float64": Limits(1e-9, 1e-7, 1e-7, 1e-4, 1e-3, 1.0, 1e-3),
}
SEED = 1
NVE_STEPS_FS = (0.5, 0.25)
MAX_EXCESS = 1.6


@dataclass(frozen=True)
class Check:
    """One line of a proof."""

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
    """All checks of a model."""

    checks: tuple[Check, ...]
    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the model may be used."""
        return all(check.ok for check in self.checks)

    def failure(self) -> str:
        """The first failed check, in one line."""
        return next((str(check) for check in self.checks if not check.ok), "")


@dataclass(frozen=True)
class Probes:
    """What is asked of a model, and what its checkpoint says.

    Attributes:
        frames: a few real ones.
        eager: the checkpoint's own evaluation of them, in Python.
        dtype: precision.
        full: all probes, as for a new compilation.
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
    """Compare what the deployed model says of the probes.

    Args:
        found: from `probes`.
        predictions: of the deployed model, in their order.
        eager: of the checkpoint in Python, for the real frames.
        total_energies: eV, along NVE runs of the first frame, by time step in fs.
        dtype: precision of the model.
    """
    limits = LIMITS[dtype]
    pairs = list(zip(found, predictions, strict=True))
    real = [p for probe, p in pairs if probe.kind == "real"]
    broken = [probe for probe, p in pairs if not _is_finite(p)]
    if broken:
        return Proof((_not_finite(broken[0]),))
    checks: list[Check] = []
    for i, (mine, theirs) in enumerate(zip(real, eager, strict=True)):
        checks += _parity(i, mine, theirs, limits)
    for i in range(len(real)):
        of_frame = [(probe, p) for probe, p in pairs if probe.frame == i]
        checks += _differences(i, real[i], of_frame, limits)
        checks += _invariance(i, real[i], of_frame, limits)
    checks += _drift(total_energies, len(found[0].atoms), limits)
    return Proof(tuple(checks), tuple(_repulsion(pairs, real)))


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
        _check("parity of atomic energies", atomic, limits.energy * 10, unit="eV", frame=i,
               says=other),
        _check("parity of the forces", force, limits.force, unit="eV/Å", frame=i, says=other),
        _check("parity of the stress", stress, limits.stress, unit="GPa", frame=i, says=sign),
    ]  # fmt: skip


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
            _check("forces are the energy's derivative", slope - expected,
                   limits.force_difference, unit="eV/Å", frame=i, says=says)
        )  # fmt: skip
    strained = [(probe, p) for probe, p in mine if probe.kind == "strained"]
    if strained:
        slope = sum(probe.weight * p.energy for probe, p in strained)
        xx, yy, zz, yz, xz, xy = real.stress
        tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        expected = (tensor * strained[0][0].atoms.info["direction"]).sum()
        volume = np.mean([probe.atoms.get_volume() for probe, _ in strained])
        checks.append(
            _check("stress is the energy's derivative",
                   (slope / volume - expected) * GPA_PER_EV_PER_A3, limits.stress_difference,
                   unit="GPa", frame=i, says="the stress is not what the energy asks for")
        )  # fmt: skip
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


def _drift(energies: Mapping[float, Array], atoms: int, limits: Limits) -> list[Check]:
    """Slope of the total energy along NVE, and its scatter, which goes with the step squared.

    So does what the integrator adds to the slope: it is taken out with the two time steps.
    """
    if not energies:
        return []
    scatter, slopes = {}, {}
    for step, values in energies.items():
        time_ps = np.arange(len(values)) * NVE_EVERY_FS / FS_PER_PS
        if len(values) < 3 or not np.isfinite(values).all():
            nan = float("nan")
            says = "LAMMPS lost the atoms, or the energy is not finite"
            return [Check("an NVE run", nan, limits.drift, "meV/atom/ps", 0, False, says)]
        slope, start = np.polyfit(time_ps, values, 1)
        slopes[step] = 1000.0 * slope / atoms
        scatter[step] = 1000.0 * float(np.std(values - slope * time_ps - start)) / atoms
    short, long = min(slopes), max(slopes)
    square = (long / short) ** 2
    drift = (square * slopes[short] - slopes[long]) / (square - 1) if square > 1 else slopes[short]
    checks = [
        _check("drift in NVE", drift, limits.drift, unit="meV/atom/ps", frame=0,
               says="the total energy is not conserved")
    ]  # fmt: skip
    if square > 1 and min(scatter.values()) > limits.noise:
        excess = scatter[short] / scatter[long] * square
        says = "halving the time step should divide it by four"
        checks.append(
            _check("scatter in NVE, beyond the time step squared", excess, MAX_EXCESS, unit="×",
                   frame=0, says=says)
        )  # fmt: skip
    return checks


def _repulsion(pairs: Sequence[tuple[Probe, Prediction]], real: Sequence[Prediction]) -> list[str]:
    energies = [p.energy for probe, p in pairs if probe.kind == "squeezed"]
    if energies and not (energies[-1] > energies[0] > real[0].energy):
        return [
            "a squeezed pair is not repelled: walkers may fall into unphysical wells "
            "(model.zbl: true adds a repulsion; choose it before generation 0)"
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
                "versions": dict(versions),
            },
            indent=1,
        )
        + "\n"
    )


def _for_json(check: dict[str, Any]) -> dict[str, Any]:
    """JSON has no word for a value that is not finite: null."""
    return {**check, "value": check["value"] if np.isfinite(check["value"]) else None}
