"""Time and memory of large cells on one MPI rank and on several: part of `make bench`.

    python tests/bench/scaling.py --sizes 38 152 608 --strong 304 --ranks 1 2

NVE of supercells of MIL-53(Al), by the unmodified LAMMPS with the plugin, each number from a launch
of its own: µs per atom and step and MB per atom on one rank; the same on several ranks, with the
share of the time that they spend in exchanges; the file for several ranks on one, which shows what
it costs to compile for them. Without `--model` a model is trained for one epoch. Memory is the
largest resident set of the first rank. Writes `scaling.json` beside the tables.
"""

import argparse
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ase.io

import bench

CELLS = {
    **{38: (1, 1, 1), 152: (2, 2, 1), 304: (2, 2, 2), 608: (2, 2, 4), 1216: (4, 2, 4)},
    **{2432: (4, 4, 4), 4864: (8, 4, 4), 9728: (8, 4, 8)},
}
"""Number of atoms → repetitions of the cell of 38 atoms."""
WARM = 20
"""Steps before the time is taken: TorchScript compiles in the first ones."""
DECK = """units metal
atom_style atomic
box tilt large
read_data x.data
pair_style nequip timing
pair_coeff * * {model} {types}
timestep 0.0005
velocity all create 100 1
fix nve all nve
thermo 1000000
run {warm}
run {steps}
info out log memory
"""
_LOOP = re.compile(r"^Loop time of (\S+) on (\d+) procs for (\d+) steps with (\d+) atoms", re.M)
_EXCHANGES = re.compile(r"^pair_style nequip: (\S+) ms of those in the model for exchanges", re.M)
_MEMORY = re.compile(r"^Maximum resident set size: (\S+) Mbyte", re.M)


@dataclass(frozen=True)
class Measured:
    """One launch.

    Attributes:
        file: `one`, the model for one rank, or `several`, that for several.
        atoms, ranks, steps: of the launch.
        ms: time of a step.
        exchange_ms: time of a step in exchanges between ranks.
        memory_MB: largest resident set of the first rank.
    """

    file: str
    atoms: int
    ranks: int
    steps: int
    ms: float
    exchange_ms: float
    memory_MB: float

    @property
    def us_per_atom(self) -> float:
        """Microseconds of an atom and step."""
        return 1000.0 * self.ms / self.atoms


def main() -> None:
    """Make the model, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, prog="scaling.py")
    parser.add_argument("--model", type=Path, help="for one rank, X.nequip.pt2, with X.exchange …")
    parser.add_argument("--preset", choices=bench.PRESETS, default="small")
    parser.add_argument(
        "--mode", choices=("torchscript", "aotinductor"), default="aotinductor", help="no --model"
    )
    parser.add_argument("--sizes", nargs="*", type=int, choices=CELLS, default=list(CELLS))
    parser.add_argument("--strong", nargs="*", type=int, choices=CELLS, default=[304, 1216, 4864])
    parser.add_argument("--ranks", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement, about")
    parser.add_argument("--output", type=Path, default=Path("scaling.json"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="phasewalk-scaling-") as name:
        folder = Path(name)
        model = asked.model or make(asked.preset, asked.mode, folder)
        cases = [("one", size, 1) for size in sorted({*asked.sizes, *asked.strong})]
        cases += [("several", size, 1) for size in asked.strong]
        cases += [("several", s, n) for s in asked.strong for n in asked.ranks if n > 1]
        rows: list[Measured] = []
        for case in cases:
            rows.append(measure(*case, model=model, folder=folder, seconds=asked.seconds))
            print(rows[-1], flush=True)
    told = {"model": str(asked.model or f"{asked.preset}, {asked.mode}"), "cores": os.cpu_count()}
    told["rows"] = [asdict(row) for row in rows]
    asked.output.write_text(json.dumps(told, indent=1) + "\n")
    print("\n".join([*by_size(rows), "", *by_ranks(rows)]))


def make(preset: str, mode: str, folder: Path) -> Path:
    """A model of one epoch for one rank, and the one for several beside it."""
    from phasewalk.engines.local import LocalLauncher
    from phasewalk.jobs import run
    from phasewalk.models import model as models

    checkpoint = bench.train(preset, folder / "train").checkpoint
    for for_ranks in (False, True):
        place = folder / f"compile-{for_ranks}"
        job = models.deploy_job(
            "deploy", checkpoint, mode=mode, device="cpu", directory=place,
            cores=os.cpu_count() or 1, for_ranks=for_ranks,
        )  # fmt: skip
        made = models.read_deployment(run(LocalLauncher(), job))
        (place / made.file).rename(folder / made.file)
    return folder / f"model{models.ENDINGS[mode]}"


def measure(
    file: str, size: int, ranks: int, *, model: Path, folder: Path, seconds: float
) -> Measured:
    """A launch of a few steps, and one of as many as take about the wanted time."""
    first = launch(file, size, ranks, WARM, model=model, folder=folder)
    steps = round(min(1000.0, max(WARM, 1000.0 * seconds / first.ms)))
    return launch(file, size, ranks, steps, model=model, folder=folder)


def launch(file: str, size: int, ranks: int, steps: int, *, model: Path, folder: Path) -> Measured:
    """Run LAMMPS and read its log."""
    from phasewalk.engines import discovery, plugin
    from phasewalk.engines.local import LocalLauncher
    from phasewalk.jobs import Job, run
    from phasewalk.validation.ranks import beside
    from phasewalk.walkers import decks

    structure: Any = ase.io.read(bench.EXAMPLE / "mil53_al.extxyz")
    types = tuple(sorted(set(structure.symbols)))
    atoms = decks.lammps_frame(structure.repeat(CELLS[size]))
    atoms.rattle(0.02, seed=1)
    launcher = LocalLauncher()
    found = discovery.find(discovery.EngineSettings(), os.environ)
    found = plugin.ensure(found, launcher, os.environ)
    several = beside(model, Path("CHECKPOINT"))
    named = model if file == "one" else several
    deck = DECK.format(model=named.name, types=" ".join(types), warm=WARM, steps=steps)
    place = Path(tempfile.mkdtemp(dir=folder)) / f"{file}-{size}-{ranks}"
    job = Job(
        "measure",
        (str(found.lmp), "-in", "in.lmp", "-nocite"),
        place,
        inputs={
            "in.lmp": deck.encode(),
            "x.data": decks.data_file(atoms, types, velocities=False).encode(),
        },
        links={path.name: path.absolute() for path in (model, several)},
        env={"OMP_NUM_THREADS": "1", **found.env},
        mpiexec=found.mpiexec,
        ranks=ranks,
    )
    run(launcher, job).require_success()
    return read(file, (place / "log.lammps").read_text())


def read(file: str, log: str) -> Measured:
    """What LAMMPS says of the last run."""
    seconds, ranks, steps, atoms = _LOOP.findall(log)[-1]
    exchanges = _EXCHANGES.findall(log)
    memory = _MEMORY.findall(log)
    return Measured(
        file=file,
        atoms=int(atoms),
        ranks=int(ranks),
        steps=int(steps),
        ms=1000.0 * float(seconds) / int(steps),
        exchange_ms=float(exchanges[-1]) if exchanges else 0.0,
        memory_MB=float(memory[-1]),
    )


def by_size(rows: Sequence[Measured]) -> list[str]:
    """The table of one rank; memory of an atom is that beyond the smallest cell."""
    mine = [row for row in rows if row.file == "one"]
    lines = ["| atoms | ms/step | µs/atom/step | MB | MB/atom |", "|---|---|---|---|---|"]
    for row in mine:
        more = row.atoms - mine[0].atoms
        each = f"{(row.memory_MB - mine[0].memory_MB) / more:.3f}" if more else "–"
        lines.append(
            f"| {row.atoms} | {row.ms:.2f} | {row.us_per_atom:.1f} | {row.memory_MB:.0f} | {each} |"
        )
    return lines


def by_ranks(rows: Sequence[Measured]) -> list[str]:
    """The table of several ranks: efficiency is the time of one rank by that of all together."""
    lines = [
        "| atoms | ranks | file for | ms/step | in exchanges | efficiency | MB of a rank |",
        "|---|---|---|---|---|---|---|",
    ]
    one = {row.atoms: row for row in rows if row.file == "one"}
    for row in rows:
        if row.file == "one" and not any(o.atoms == row.atoms for o in rows if o.file != "one"):
            continue
        lines.append(
            f"| {row.atoms} | {row.ranks} | {row.file} | {row.ms:.2f} | "
            f"{100 * row.exchange_ms / row.ms:.1f} % | "
            f"{100 * one[row.atoms].ms / (row.ranks * row.ms):.0f} % | {row.memory_MB:.0f} |"
        )
    return lines


if __name__ == "__main__":
    main()
