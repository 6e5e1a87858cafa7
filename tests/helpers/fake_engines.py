"""Fakes of every program of a campaign, in this process: seconds for what takes minutes.

Potentials are Lennard-Jones: the reference's own, and a model's, whose error shrinks with the
number of frames that it was trained on: a deployed model passes its gate because it is right.
Walkers breathe: their frames, logs and hills are written as LAMMPS and PLUMED write them. The same
input gives the same output, byte for byte. `tests/contract/test_fake_engines.py` holds them to what
a real campaign leaves.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.lj import LennardJones

from helpers.outputs import stop_line
from phasewalk.bias import plumed
from phasewalk.engines import Engines, Machine, here
from phasewalk.jobs import Finished, Job
from phasewalk.labels.label import frame_from_json
from phasewalk.models.model import Deployed, stamp_text
from phasewalk.models.training_config import graph_of
from phasewalk.reference.requests import UNCONVERGED
from phasewalk.units import velocities_to_lammps
from phasewalk.validation import conservation

REFERENCE = "phasewalk.reference"
EPSILON, SIGMA = 0.1, 2.4
MEASURED = ("total_energy", "per_atom_energy", "forces", "stress")
VERSION = f"tblite {version('tblite')}"
_MODEL = re.compile(r"model(\.exchange)?\.nequip\.(pth|pt2)")


def engines(folder: Path, machine: Machine | None = None) -> Engines:
    """Engines that are nowhere: only `FakeEngines` can do their jobs."""
    return Engines(
        lmp=Path("lmp"),
        mpiexec=("mpiexec",),
        lammps_include=Path(),
        mpi_include=None,
        torch_dir=Path(),
        plumed=None,
        plugin=None,
        machine=machine or here(),
        cache=folder / "cache",
    )


@dataclass
class FakeEngines:
    """Does the work of each job in its directory; see `fakes.FakeLauncher.play`.

    Attributes:
        breaks: walker → step at which the sentinel stops it.
        unconverged: the `max_iterations` with which no label converges; None: all do.
        spoils: job of a training → factor by which the error of its model is larger.
        machine: on which the jobs run.
        remembers: answers a job that it has done before from memory.
        done: names of the jobs, in their order.
    """

    breaks: Mapping[str, int] = field(default_factory=dict)
    unconverged: int | None = None
    spoils: Mapping[str, float] = field(default_factory=dict)
    machine: Machine = field(default_factory=here)
    remembers: bool = True
    done: list[str] = field(default_factory=list)
    _known: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def __call__(self, job: Job) -> int:
        """Do it: what is left depends on nothing but what the directory holds."""
        self.done.append(job.name)
        program = _program(job)
        if program == REFERENCE and self._refused(job):
            (job.directory / Finished.STDERR).write_text("RuntimeError: SCF not converged\n")
            return UNCONVERGED
        held = _Files(job.directory)
        left = self._left(program, held, job)
        for name, content in left.items():
            part = job.directory / f".{name}.part"
            part.write_bytes(content)
            part.replace(job.directory / name)
        return 0

    def _left(self, program: str, held: Mapping[str, bytes], job: Job) -> dict[str, bytes]:
        if not self.remembers:
            return PROGRAMS[program](self, held, job)
        asked = hashlib.sha256(repr((program, job.argv[1:], sorted(held.items()))).encode())
        if asked.hexdigest() not in self._known:
            self._known[asked.hexdigest()] = PROGRAMS[program](self, held, job)
        return self._known[asked.hexdigest()]

    def _refused(self, job: Job) -> bool:
        """Whether it is a first try of a label in a round that does not converge."""
        first = json.loads((job.directory / "request.json").read_text())["arguments"]
        return job.name.startswith("label") and first.get("max_iterations") == self.unconverged


@dataclass(frozen=True)
class _Files(Mapping[str, bytes]):
    """The files of a directory, read each time: all walkers of a segment have the same hills."""

    directory: Path

    def __getitem__(self, name: str) -> bytes:
        try:
            return (self.directory / name).read_bytes()
        except FileNotFoundError as error:
            raise KeyError(name) from error

    def __iter__(self) -> Iterator[str]:
        return (path.name for path in self.directory.iterdir())

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _program(job: Job) -> str:
    return next(word for word in job.argv if word in PROGRAMS)


def potential(epsilon: float = EPSILON, sigma: float = SIGMA) -> LennardJones:
    """The reference's, unless a model's numbers are given."""
    return LennardJones(sigma=sigma, epsilon=epsilon, rc=5.0, smooth=True)


def predicted(atoms: Atoms, calculator: LennardJones) -> dict[str, Any]:
    """What a calculator says of a frame, as child processes write it."""
    atoms = atoms.copy()
    atoms.calc = calculator
    return {
        "energy_eV": float(atoms.get_potential_energy()),
        "energies_eV": atoms.get_potential_energies().tolist(),
        "forces_eV_per_A": atoms.get_forces().tolist(),
        "stress_eV_per_A3": atoms.get_stress(voigt=True).tolist(),
    }


def _reference(self: FakeEngines, held: Mapping[str, bytes], job: Job) -> dict[str, bytes]:
    request = json.loads(held["request.json"])
    answer: dict[str, Any] = {"version": VERSION, "seconds": 0.25}
    if "frame" in request:
        answer |= predicted(frame_from_json(request["frame"]), potential())
    return {"result.json": json.dumps(answer).encode()}


def _training(self: FakeEngines, held: Mapping[str, bytes], job: Job) -> dict[str, bytes]:
    config = json.loads(held["config.yaml"])
    count = _frames(held["train.extxyz"])
    weights = _weights(EPSILON * (1.0 + 0.5 / count * self.spoils.get(job.name, 1.0)), SIGMA)
    probed = [frame_from_json(frame) for frame in json.loads(held["probed.json"])]
    model = _of(weights)
    epochs = config["trainer"]["max_epochs"]
    kinds = {"mae": 0.010, "rmse": 0.013, "maxabserr": 0.030}
    measured = {f"{of}_{kind}": e / count for of in MEASURED for kind, e in kinds.items()}
    last = {**measured, "weighted_sum": 0.1 / count}
    lines = [
        {"epoch": n, "epochs": epochs, "seconds": 0.1 * n, "at": 1e9 + n, **last}
        for n in range(1, epochs + 1)
    ]
    graph = graph_of(config["training_module"]["model"])
    before = hashlib.sha256(held.get("previous.ckpt", b"")).hexdigest()
    return {
        "progress.jsonl": "".join(json.dumps(line) + "\n" for line in lines).encode(),
        "weights.npz": _npz(graph, weights),
        "eager.json": json.dumps([predicted(atoms, model) for atoms in probed]).encode(),
        "last.ckpt": json.dumps({"epsilon": float(weights["epsilon"]), "on": before}).encode(),
    }


def _frames(extxyz: bytes) -> int:
    """The number of frames; the first is read as ASE reads it."""
    ase.io.read(io.StringIO(extxyz.decode()), 0, format="extxyz")
    return extxyz.count(b"Lattice=")


def _deployment(self: FakeEngines, held: Mapping[str, bytes], job: Job) -> dict[str, bytes]:
    network = json.loads(held["network.json"])  # a network is compiled, never a checkpoint
    weights, graph = _weights(0.123456789, 0.987654321), graph_of(network)
    name = next(filter(_MODEL.fullmatch, job.argv))
    mode = job.argv[job.argv.index("--mode") + 1]
    stamp = Deployed(
        file=name,
        mode=mode,
        device="cpu",
        dtype=network["model_dtype"],
        types=tuple(network["type_names"]),
        r_max_A=network["r_max"],
        torch=version("torch"),
        nequip=version("nequip"),
        cpu="DEFAULT",
        processor=self.machine.processor,
        seconds=1.0,
    )
    return {
        name: _package(graph, weights),
        "weights.npz": _npz(graph, weights),
        "stamp.json": stamp_text(stamp).encode(),
    }


def _prediction(self: FakeEngines, held: Mapping[str, bytes], job: Job) -> dict[str, bytes]:
    request = json.loads(held["request.json"])
    model = _unpacked(held[request["model"]])
    frames = [predicted(frame_from_json(frame), model) for frame in request["frames"]]
    count = round(conservation.LENGTH_FS / conservation.EVERY_FS) + 1
    wiggle = np.cos(np.arange(count))  # what a Verlet integrator adds goes with the step's square
    nve = {repr(dt): (1.0 + 1e-3 * dt**2 * wiggle).tolist() for dt in request["nve_fs"][:2]}
    result = {"frames": frames, "seconds_per_step": 0.001, "nve": nve}
    return {"result.json": json.dumps(result).encode()}


def _on_ranks(self: FakeEngines, held: Mapping[str, bytes], job: Job) -> dict[str, bytes]:
    request = json.loads(held["request.json"])
    found = {}
    for result, part in (("one.json", ""), ("several.json", ".exchange")):
        model = _unpacked(held[request["model"].replace(".nequip", f"{part}.nequip")])
        frames = [predicted(frame_from_json(frame), model) for frame in request["frames"]]
        found[result] = json.dumps({"frames": frames}).encode()
    return found


def _collective(self: FakeEngines, held: Mapping[str, bytes], job: Job) -> dict[str, bytes]:
    request = json.loads(held["request.json"])
    names = list(dict.fromkeys(name for one in request["arguments"] for name in one))
    frames = [frame_from_json(frame) for frame in request["frames"]]
    values = [[_variable(name, atoms) for name in names] for atoms in frames]
    return {"result.json": json.dumps({"names": names, "values": values}).encode()}


def _variable(name: str, atoms: Atoms) -> float:
    """The one variable that is known here: the volume, nm³."""
    if name != "vol":
        raise NotImplementedError(f"the variable {name}: only `vol: VOLUME` is known")
    return float(atoms.get_volume()) / 1000.0


def _segment(self: FakeEngines, held: Mapping[str, bytes], job: Job) -> dict[str, bytes]:
    said = re.search(r"variable walker world (.*)", held["segment.lmp"].decode())
    walkers = said[1].split() if said else []
    model = next(held[name] for name in held if _MODEL.fullmatch(name))
    left: dict[str, bytes] = {}
    for walker in walkers:
        left |= _Walk(walker, held, _unpacked(model), self.breaks.get(walker)).files()
    return left


class _Walk:
    """One walker of a segment: a deck, its data file and its PLUMED text in, what they make out."""

    def __init__(
        self, walker: str, held: Mapping[str, bytes], model: LennardJones, breaks: int | None
    ) -> None:
        self.walker, self.held, self.model = walker, held, model
        self.deck = held[f"{walker}.lmp"].decode()
        self.first, self.steps = self.number(r"reset_timestep (\d+)"), self.number(r"\nrun (\d+)")
        self.step_ps = float(self.word(r"timestep (\S+)"))
        self.species = self.word(r"pair_coeff \* \* \S+ (.*)").split()
        data = held[f"{walker}.data"]
        seed = hashlib.sha256(data + self.deck.encode()).digest()
        self.random = np.random.default_rng(list(seed))
        self.start = self.read(data.decode())
        self.phase, self.size = self.random.uniform(0, 6), self.random.uniform(0.01, 0.03)
        self.moves = self.random.normal(size=(len(self.start), 3)) * 0.08
        self.last = self.first + self.steps
        self.stop = None
        if breaks is not None and self.first < breaks < self.last:
            self.stop = self.last = breaks

    def word(self, pattern: str) -> str:
        found = re.search(pattern, self.deck)
        if found is None:
            raise NotImplementedError(f"{self.walker}: a deck without {pattern}")
        return found[1]

    def number(self, pattern: str) -> int:
        return int(self.word(pattern))

    def read(self, text: str) -> Atoms:
        """The data file: positions and cell; velocities do not matter here."""
        rows = [line.split() for line in text.splitlines()]
        length = {
            words[2]: float(words[1]) for words in rows if words[2:3] and words[2][1:] == "lo"
        }
        xy, xz, yz = next(
            map(float, words[:3]) for words in rows if words[3:] == ["xy", "xz", "yz"]
        )
        at = next(n for n, words in enumerate(rows) if words[:1] == ["Atoms"]) + 2
        count = next(int(words[0]) for words in rows if words[1:] == ["atoms"])
        atoms = sorted(rows[at : at + count], key=lambda words: int(words[0]))
        cell = [[length["xlo"], 0, 0], [xy, length["ylo"], 0], [xz, yz, length["zlo"]]]
        symbols = [self.species[int(words[1]) - 1] for words in atoms]
        return Atoms(symbols, [list(map(float, w[2:5])) for w in atoms], cell=cell, pbc=True)

    def frame(self, step: int) -> Atoms:
        """The crystal at a step: breathing, its atoms on their way to and fro."""
        done = (step - self.first) * self.step_ps
        atoms = self.start.copy()
        size = 1.0 + self.size * (np.sin(self.phase + 40.0 * done) - np.sin(self.phase))
        atoms.set_cell(self.start.cell.array * size, scale_atoms=True)
        atoms.positions += self.moves * np.sin(60.0 * done)
        atoms.set_velocities(self.moves * 60.0 * np.cos(60.0 * done) / 100.0)
        return atoms

    def files(self) -> dict[str, bytes]:
        every = self.number(r"dump frames all custom (\d+)")
        steps = [s for s in range(self.first, self.last + 1) if s % every == 0 or s == self.last]
        found = {
            f"{self.walker}.log": self.log(),
            f"{self.walker}.plumed.log": "PLUMED: a fake\n",
            f"{self.walker}.dump": "".join(map(self.dumped, steps)),
        }
        if self.stop is not None:
            found[f"{self.walker}.good.dump"] = self.dumped(self.good)
        return {**{name: text.encode() for name, text in found.items()}, **self.plumed_files()}

    @property
    def good(self) -> int:
        """The last good frame: a margin before the stop."""
        return self.last - self.number(r"margin (\d+)")

    def log(self) -> str:
        every = self.number(r"\nthermo (\d+)")
        steps = [s for s in range(self.first, self.last + 1) if s % every == 0]
        steps = sorted({self.first, *steps, self.last})
        lines = ["   Step Temp PotEng Econserve Press Volume Fmax f_bias"]
        for step in steps:
            atoms = self.frame(step)
            now = predicted(atoms, self.model)
            top = np.abs(now["forces_eV_per_A"]).max()
            row = (100.0, now["energy_eV"], now["energy_eV"], 0.0, atoms.get_volume(), top, 0.0)
            lines.append(f"{step} " + " ".join(f"{value:.12g}" for value in row))
        if self.stop is not None:
            stop = stop_line(self.stop, "force", value=61.5, limit=50, good=self.good)
            lines.append(stop)
        lines.append(
            f"Loop time of 0.25 on 1 procs for {self.last - self.first} steps with "
            f"{len(self.start)} atoms"
        )
        return "".join(f"{line}\n" for line in lines)

    def dumped(self, step: int) -> str:
        atoms = self.frame(step)
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = atoms.cell.array.tolist()
        box = (
            (min(0.0, xy, xz, xy + xz), lx + max(0.0, xy, xz, xy + xz), xy),
            (min(0.0, yz), ly + max(0.0, yz), xz),
            (0.0, lz, yz),
        )
        lines = ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(atoms))]
        lines += ["ITEM: BOX BOUNDS xy xz yz pp pp pp", *(" ".join(map(repr, b)) for b in box)]
        lines.append("ITEM: ATOMS id type x y z ix iy iz vx vy vz")
        velocities = velocities_to_lammps(atoms.get_velocities())
        for n, (symbol, r, v) in enumerate(
            zip(atoms.symbols, atoms.positions.tolist(), velocities.tolist(), strict=True), 1
        ):
            numbers = (*map(repr, r), "0", "0", "0", *map(repr, v))
            lines.append(f"{n} {self.species.index(symbol) + 1} {' '.join(numbers)}")
        return "".join(f"{line}\n" for line in lines)

    def plumed_files(self) -> dict[str, bytes]:
        """What METAD and PRINT write: after what their file holds, where METAD restarts."""
        text = self.held.get(f"{self.walker}.plumed", b"").decode()
        found: dict[str, bytes] = {}
        for action in plumed.parse(text):
            name = action.get("FILE") or ""
            if action.name == "METAD":
                if (number := action.get("WALKERS_ID")) is not None:
                    name = f"{name}.{number}"
                history = self.held.get(name, b"").decode()
                new = self.hills(action)
                head = (
                    f"#! FIELDS time {action.get('ARG')} sigma_{action.get('ARG')} height biasf\n"
                )
                head += "#! SET multivariate false\n#! SET kerneltype stretched-gaussian\n"
                found[name] = (history + (head if new or history else "") + new).encode()
            if action.name == "PRINT":
                names = (action.get("ARG") or "").split(",")
                lines = [f"#! FIELDS time {' '.join(names)}"]
                for step in self.due(int(action.get("STRIDE") or 1), first=self.first):
                    values = [_variable(one, self.frame(step)) for one in names]
                    lines.append(f" {self.time(step)} {' '.join(f'{v:f}' for v in values)}")
                found[name] = "".join(f"{line}\n" for line in lines).encode()
        return found

    def due(self, pace: int, *, first: int) -> list[int]:
        return [step for step in range(first, self.last + 1) if step % pace == 0]

    def time(self, step: int) -> str:
        return f"{step * self.step_ps:.10g}"

    def hills(self, action: plumed.Action) -> str:
        """One at each pace after the first step."""
        arg, numbers = action.get("ARG") or "", (action.get("SIGMA"), action.get("HEIGHT"))
        rows = [
            (self.time(step), repr(_variable(arg, self.frame(step))), *map(str, numbers), "-1")
            for step in self.due(int(action.get("PACE") or 1), first=self.first + 1)
        ]
        return "".join("".join(f" {word:>22}" for word in row) + "\n" for row in rows)


def _weights(epsilon: float, sigma: float) -> dict[str, Any]:
    return {"epsilon": np.array(epsilon), "sigma": np.array(sigma)}


def _of(weights: Mapping[str, Any]) -> LennardJones:
    return potential(float(weights["epsilon"]), float(weights["sigma"]))


def _npz(graph: str, weights: Mapping[str, Any]) -> bytes:
    """As NumPy's savez, with dates that are always the same."""
    stored = {"graph": np.array(graph), **weights}
    files = {}
    for name, value in stored.items():
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.asanyarray(value), allow_pickle=False)
        files[f"{name}.npy"] = stream.getvalue()
    return _zip(files)


def _package(graph: str, weights: Mapping[str, Any]) -> bytes:
    """A deployed model: an archive that holds each weight's bytes once."""
    return _zip({"graph": graph.encode(), **{n: w.tobytes() for n, w in weights.items()}})


def _unpacked(package: bytes) -> LennardJones:
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        numbers = {n: np.frombuffer(archive.read(n))[0] for n in ("epsilon", "sigma")}
    return _of(numbers)


def _zip(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content)
    return stream.getvalue()


Program = Callable[[FakeEngines, Mapping[str, bytes], Job], dict[str, bytes]]
PROGRAMS: dict[str, Program] = {
    REFERENCE: _reference,
    "phasewalk.models.train_child": _training,
    "phasewalk.models.compile_child": _deployment,
    "phasewalk.validation.predict_child": _prediction,
    "phasewalk.validation.ranks_child": _on_ranks,
    "phasewalk.bias.colvars_child": _collective,
    "-partition": _segment,
}
"""A word of the command line → what does its work."""
