"""Fake LAMMPS, PLUMED, NequIP and reference: what the real ones would leave, at almost no cost.

They play a job in its directory, by its name and its files, so that all that is left to measure is
the driver. The potential is a soft pair repulsion: label and model differ by a few per cent, its
forces and its stress are the derivatives of its energy, and so a generation passes its gate.
"""

import functools
import hashlib
import io
import json
import re
import time
import zipfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasewalk.jobs import Event, Finished, Job, Started
from phasewalk.models.training_config import graph_of

Array = NDArray[np.float64]
CUTOFF_A, STRENGTH_EV, MODEL = 4.0, 2.0, 0.95
"""Of the repulsion; the model's strength over the reference's."""
HILLS_HEADER = (
    "#! FIELDS time vol sigma_vol height biasf",
    "#! SET multivariate false",
    "#! SET kerneltype stretched-gaussian",
)


@dataclass
class FakeLauncher:
    """Plays jobs one after another; stands for the launcher's one verb.

    Attributes:
        seconds, wall: CPU and wall time of the fake programs, which is no part of the driver's.
        marks: (name of a job, CPU and wall time without the fakes' when it had ended).
        stop_at: a job whose name begins so is not played: KeyboardInterrupt comes instead.
    """

    seconds: float = 0.0
    wall: float = 0.0
    marks: list[tuple[str, float, float]] = field(default_factory=list)
    stop_at: str = "\0"

    def submit(self, jobs: Sequence[Job]) -> Generator[Event]:
        """Run the jobs in order."""
        for job in jobs:
            if job.name.startswith(self.stop_at):
                raise KeyboardInterrupt
            _write_inputs(job)
            yield Started(job)
            cpu, wall = time.process_time(), time.perf_counter()
            code = play(job)
            self.seconds += time.process_time() - cpu
            self.wall += time.perf_counter() - wall
            now = time.process_time() - self.seconds, time.perf_counter() - self.wall
            self.marks.append((job.name, *now))
            yield Finished(job, code, 0.5)


def _write_inputs(job: Job) -> None:
    """What the real launcher does before it starts a program."""
    job.directory.mkdir(parents=True, exist_ok=True)
    for name, content in job.inputs.items():
        path = job.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, target in job.links.items():
        (job.directory / name).symlink_to(target.absolute())
    for name in (Finished.STDOUT, Finished.STDERR):
        (job.directory / name).touch()


def play(job: Job) -> int:
    """Leave what a job's program would leave; its exit code."""
    kinds: tuple[tuple[str, Callable[[Path], None]], ...] = (
        ("segment", _segment),
        ("label", _reference),
        ("train", _training),
        ("compile", _compilation),
        ("evaluate", _evaluation),
        ("prove", _evaluation),
        ("colvars", _variables),
        ("plumed", lambda directory: None),
    )
    for beginning, program in kinds:
        if job.name.startswith(beginning):
            program(job.directory)
            return 0
    raise NotImplementedError(f"no fake program for {job.name}: {job.argv}")


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def repulsion(positions: Array, cell: Array, strength_eV: float) -> dict[str, Any]:
    """Energy (eV), atomic energies, forces (eV/Å) and stress (Voigt, eV/Å³) of one frame."""
    images = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T
    apart = positions[None, :, :] - positions[:, None, :]
    apart = (lambda f: f - np.rint(f))(apart @ np.linalg.inv(cell)) @ cell
    vectors = apart[:, :, None, :] + images @ cell
    squares = (vectors**2).sum(axis=-1) / CUTOFF_A**2
    squares[squares < 1e-12] = 2.0  # an atom and itself
    well = np.where(squares < 1.0, 1.0 - squares, 0.0)
    atomic = 0.5 * strength_eV * (well**4).sum(axis=(1, 2))
    slope = -8.0 * strength_eV * well**3 / CUTOFF_A**2  # dE/dr over r, of a pair
    stress = 0.5 * np.einsum("abi,abix,abiy->xy", slope, vectors, vectors)
    stress /= abs(np.linalg.det(cell))
    return {
        "energy_eV": float(atomic.sum()),
        "energies_eV": atomic.tolist(),
        "forces_eV_per_A": (slope[..., None] * vectors).sum(axis=(1, 2)).tolist(),
        "stress_eV_per_A3": [float(stress[i, j]) for i, j in
                             ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))],
    }  # fmt: skip


def _of(frame: dict[str, Any], strength_eV: float) -> dict[str, Any]:
    return repulsion(
        np.array(frame["positions_A"], float), np.array(frame["cell_A"], float), strength_eV
    )


def _reference(directory: Path) -> None:
    found = _of(_json(directory / "request.json")["frame"], STRENGTH_EV)
    result = {**found, "version": "", "seconds": 0.01}
    (directory / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _training(directory: Path) -> None:
    network = _json(directory / "config.yaml")["training_module"]["model"]
    content = (directory / "train.extxyz").read_bytes()
    seed = int(hashlib.sha256(content[-2000:]).hexdigest()[:8], 16)
    weights = np.random.default_rng(seed).normal(size=64).astype(np.float32)
    np.savez(directory / "weights.npz", graph=np.array(graph_of(network)), w=weights)
    (directory / "last.ckpt").write_bytes(weights.tobytes())
    eager = [_of(frame, MODEL * STRENGTH_EV) for frame in _json(directory / "probed.json")]
    (directory / "eager.json").write_text(json.dumps(eager), encoding="utf-8")
    errors = {"forces_mae": 0.02, "forces_rmse": 0.03}
    lines = [
        {"epoch": n, "epochs": 2, "seconds": float(n), "at": time.time(), **errors} for n in (1, 2)
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (directory / "progress.jsonl").write_text(text, encoding="utf-8")


def _compilation(directory: Path) -> None:
    network = _json(directory / "network.json")
    weights = np.random.default_rng(1).normal(size=64).astype(np.float32)
    np.savez(directory / "weights.npz", graph=np.array(graph_of(network)), w=weights)
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("weights", b"begin" + weights.tobytes() + b"end")
    (directory / "model.nequip.pth").write_bytes(package.getvalue())
    stamp = {"file": "model.nequip.pth", "mode": "torchscript", "device": "cpu",
             "dtype": "float32", "types": ["Cl", "Na"], "r_max_A": CUTOFF_A, "torch": "fake",
             "nequip": "fake", "cpu": "fake", "processor": "", "seconds": 1.0}  # fmt: skip
    (directory / "stamp.json").write_text(json.dumps(stamp), encoding="utf-8")


def _evaluation(directory: Path) -> None:
    request = _json(directory / "request.json")
    frames = [_of(frame, MODEL * STRENGTH_EV) for frame in request["frames"]]
    quiet = {repr(step): [1e-7 * step**2 * (n % 2) for n in range(40)] for step in
             request["nve_fs"][:2]}  # fmt: skip
    result = {"frames": frames, "seconds_per_step": 1e-3, "nve": quiet}
    (directory / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _variables(directory: Path) -> None:
    """VOLUME, nm³: the one variable of the campaign."""
    frames = _json(directory / "request.json")["frames"]
    values = [[1e-3 * abs(float(np.linalg.det(np.array(f["cell_A"]))))] for f in frames]
    result = json.dumps({"names": ["vol"], "values": values})
    (directory / "result.json").write_text(result, encoding="utf-8")


def _number(text: str, pattern: str) -> float:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no {pattern} in {text[:200]}")
    return float(found[1])


@dataclass(frozen=True)
class _Walk:
    """What a walker's script asks for, and where the walker begins."""

    first: int
    steps: int
    timestep_ps: float
    dump_every: int
    thermo_every: int
    cell: Array
    types: Array
    positions: Array
    random: np.random.Generator


def _segment(directory: Path) -> None:
    """All walkers: a log, a dump with a new frame each, a COLVAR, and hills."""
    for script in sorted(directory.glob("*.lmp")):
        if script.name == "segment.lmp":
            continue
        walker, text = script.name.removesuffix(".lmp"), script.read_text(encoding="utf-8")
        walk = _Walk(
            int(_number(text, r"^reset_timestep (\d+)")),
            int(_number(text, r"^run (\d+)")),
            _number(text, r"^timestep (\S+)"),
            int(_number(text, r"^dump frames all custom (\d+)")),
            int(_number(text, r"^thermo (\d+)")),
            *_data(directory / f"{walker}.data"),
            np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)),
        )
        _write_log(directory / f"{walker}.log", walk)
        _write_dump(directory / f"{walker}.dump", walk)
        _bias(directory, (directory / f"{walker}.plumed").read_text(encoding="utf-8"), walk)


def _data(path: Path) -> tuple[Array, Array, Array]:
    """Cell, types and positions of a LAMMPS data file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    ends = {line.split()[-1]: line.split() for line in lines[:12] if line}
    lx, ly, lz = (float(ends[name][1]) for name in ("xhi", "yhi", "zhi"))
    xy, xz, yz = (float(word) for word in ends["yz"][:3])
    start = lines.index("Atoms # atomic") + 2
    rows = []
    for line in lines[start:]:
        if not line:
            break
        rows.append([float(word) for word in line.split()[1:5]])
    table = np.array(rows)
    cell = np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])
    return cell, table[:, 0], table[:, 1:]


def _write_log(path: Path, walk: _Walk) -> None:
    volume = abs(np.linalg.det(walk.cell))
    marks = sorted({*range(0, walk.steps, walk.thermo_every), walk.steps})
    rows = [f"{walk.first + n} {300 + walk.random.normal():.6g} -10.0 {volume:.6f}" for n in marks]
    end = f"Loop time of 0.5 on 1 procs for {walk.steps} steps with {len(walk.types)} atoms"
    lines = ["LAMMPS (fake)", "   Step Temp PotEng Volume", *rows, end]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@functools.cache
def _lattice() -> Array:
    """NaCl's sites, in fractions of the cell, in the order of ASE's `bulk`."""
    from ase.build import bulk

    sites: Array = bulk("NaCl", "rocksalt", a=5.64, cubic=True).get_scaled_positions()
    return sites


def _write_dump(path: Path, walk: _Walk) -> None:
    """The first frame, and a last one about the crystal's sites in a cell that has changed a bit.

    About the sites, and not about where the walker was, so that no walker drifts into a clash.
    """
    grown = 5.64 * (1.0 + 0.02 * walk.random.normal())
    cell = np.diag(np.clip(grown * (1 + 0.01 * walk.random.normal(size=3)), 5.2, 6.2))
    sites = _lattice() @ cell + 0.08 * walk.random.normal(size=(len(walk.types), 3))
    lines: list[str] = []
    for step, box, positions in (
        (walk.first, walk.cell, walk.positions),
        (walk.first + walk.steps, cell, sites),
    ):
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = box
        bounds = (
            (min(0, xy, xz, xy + xz), lx + max(0, xy, xz, xy + xz), xy),
            (min(0, yz), ly + max(0, yz), xz),
            (0.0, lz, yz),
        )
        lines += ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(positions))]
        lines.append("ITEM: BOX BOUNDS xy xz yz pp pp pp")
        lines += [" ".join(repr(float(value)) for value in row) for row in bounds]
        lines.append("ITEM: ATOMS id type x y z ix iy iz vx vy vz")
        for number, (kind, place) in enumerate(zip(walk.types, positions, strict=True), start=1):
            moving = " ".join(f"{v:.6f}" for v in walk.random.normal(size=3))
            where = " ".join(repr(float(x)) for x in place)
            lines.append(f"{number} {int(kind)} {where} 0 0 0 {moving}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _bias(directory: Path, text: str, walk: _Walk) -> None:
    """COLVAR and hills of one walker, as its PLUMED text asks for them."""
    for line in text.splitlines():
        if "METAD" in line.split(" ARG=")[0] and "PACE=" in line:
            _hills(directory, line, walk)
        elif "PRINT" in line.split():
            stride = int(_number(line, r"STRIDE=(\d+)"))
            file = re.search(r"FILE=(\S+)", line)
            steps = range(walk.first, walk.first + walk.steps + 1, stride)
            rows = [
                f" {n * walk.timestep_ps:.6f} {_volume(walk):.6f} {walk.random.random():.6f}"
                for n in steps
            ]
            body = "\n".join(["#! FIELDS time vol metad.bias", *rows])
            (directory / (file[1] if file else "COLVAR")).write_text(body + "\n", encoding="utf-8")


def _volume(walk: _Walk) -> float:
    return 0.1794 * (1.0 + 0.03 * float(walk.random.normal()))


def _hills(directory: Path, line: str, walk: _Walk) -> None:
    pace = int(_number(line, r"PACE=(\d+)"))
    file = re.search(r"FILE=(\S+)", line)
    if file is None:
        raise ValueError(f"METAD without FILE: {line}")
    path = directory / file[1]
    first = (walk.first // pace + 1) * pace
    rows = [
        f"{n * walk.timestep_ps:.6f} {_volume(walk):.9f} 0.002 0.5 -1"
        for n in range(first, walk.first + walk.steps + 1, pace)
    ]
    head = HILLS_HEADER if not path.is_file() or not path.stat().st_size else ()
    with path.open("a", encoding="utf-8") as stream:
        stream.write("".join(f"{one}\n" for one in (*head, *rows)))
