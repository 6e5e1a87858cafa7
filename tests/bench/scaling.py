"""Time and memory of large cells on one MPI rank and on several: part of `make bench`.

    python tests/bench/scaling.py --sizes 38 152 608 --strong 304 --ranks 1 2

NVE of supercells of MIL-53(Al), by the unmodified LAMMPS with the plugin, each number from a launch
of its own: µs per atom and step and MB per atom on one rank; the same on several ranks, with the
share of the time that they spend in exchanges; the file for several ranks on one, which shows what
it costs to compile for them. Without `--model` a model is trained for one epoch. Memory is the
largest resident set of the first rank. Writes `scaling.json` beside the tables.

`halo` is what several ranks would need without exchanges: the file for one rank computes a rank's
part and all atoms within layers × cutoff of it, which its energies depend on, in as many processes
as ranks.
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
import numpy as np
from ase import Atoms

import bench

CELLS = {
    **{38: (1, 1, 1), 152: (2, 2, 1), 304: (2, 2, 2), 608: (2, 2, 4), 1216: (4, 2, 4)},
    **{2432: (4, 4, 4), 4864: (8, 4, 4), 9728: (8, 4, 8)},
}
"""Number of atoms → repetitions of the cell of 38 atoms."""
MANY = ("several", "halo")
SKIN_A = 3.0
"""More than LAMMPS's skin."""
WARM = 20
"""Steps before the time is taken: TorchScript compiles in the first ones."""
DECK = """units metal
atom_style atomic
box tilt large
read_data x.data
pair_style nequip timing
pair_coeff * * {model} {types}
timestep 0.0005
{dynamics}
thermo 1000000
run {warm}
run {steps}
info out log memory
"""
DYNAMICS = "velocity all create 100 1\nfix nve all nve"
_LOOP = re.compile(r"^Loop time of (\S+) on (\d+) procs for (\d+) steps with (\d+) atoms", re.M)
_EXCHANGES = re.compile(r"^pair_style nequip: (\S+) ms of those in the model for exchanges", re.M)
_MEMORY = re.compile(r"^Maximum resident set size: (\S+) Mbyte", re.M)


@dataclass(frozen=True)
class Measured:
    """One launch.

    Attributes:
        file: `one`, the model for one rank; `several`, that for several; `halo`, that for one with
            all atoms that a rank's energies depend on.
        atoms, ranks, steps: of the launch.
        computed: atoms of the first rank's part, with those around it for `halo`.
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
    computed: int

    @property
    def us_per_atom(self) -> float:
        """Microseconds of an atom and step."""
        return 1000.0 * self.ms / self.atoms


def main() -> None:
    """Make the model, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, prog="scaling.py")
    parser.add_argument("--model", type=Path, help="for one rank, X.nequip.pt2, with X.exchange …")
    parser.add_argument(
        "--preset", choices=bench.PRESETS, default="small", help="of the model, also a given one"
    )
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
        cases += [(f, s, n) for s in asked.strong for n in asked.ranks if n > 1 for f in MANY]
        where = {"model": model, "preset": asked.preset, "folder": folder}
        rows: list[Measured] = []
        for case in cases:
            rows.append(measure(*case, seconds=asked.seconds, **where))
            print(rows[-1], flush=True)
    told = {"model": str(asked.model or f"{asked.preset}, {asked.mode}"), "cores": os.cpu_count()}
    told["rows"] = [asdict(row) for row in rows]
    asked.output.write_text(json.dumps(told, indent=1) + "\n")
    print("\n".join([*by_size(rows), "", *by_ranks(rows), "", *weak(rows)]))


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


def measure(file: str, size: int, ranks: int, *, seconds: float, **where: Any) -> Measured:
    """A launch of a few steps, and one of as many as take about the wanted time."""
    first = launch(file, size, ranks, WARM, **where)
    steps = round(min(1000.0, max(WARM, 1000.0 * seconds / first.ms)))
    return launch(file, size, ranks, steps, **where)


def launch(
    file: str, size: int, ranks: int, steps: int, *, model: Path, preset: str, folder: Path
) -> Measured:
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
    if file == "halo":
        atoms = with_halo(atoms, ranks, preset)
    launcher = LocalLauncher()
    found = discovery.find(discovery.EngineSettings(), os.environ)
    found = plugin.ensure(found, launcher, os.environ)
    several = beside(model, Path("CHECKPOINT"))
    named = several if file == "several" else model
    # a part that is cut out has surfaces: it is computed again and again, but does not move
    dynamics = "" if file == "halo" else DYNAMICS
    deck = DECK.format(
        model=named.name, types=" ".join(types), dynamics=dynamics, warm=WARM, steps=steps
    )
    apart = ("-partition", f"{ranks}x1") if file == "halo" else ()
    place = Path(tempfile.mkdtemp(dir=folder)) / f"{file}-{size}-{ranks}"
    job = Job(
        "measure",
        (str(found.lmp), "-in", "in.lmp", "-nocite", *apart),
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
    log = (place / ("log.lammps.0" if file == "halo" else "log.lammps")).read_text()
    return read(file, size, ranks, log)


def with_halo(atoms: Atoms, ranks: int, preset: str) -> Atoms:
    """The part of the first rank, and all atoms within layers × cutoff, in a cell with a gap.

    The gap is wider than the cutoff; LAMMPS needs periodic cells if they are tilted.
    """
    from phasewalk.models.settings import PRESETS
    from phasewalk.producing import needs

    cutoff = float(PRESETS[preset]["r_max_A"])
    depth = cutoff * int(PRESETS[preset]["network"]["num_layers"])
    widths = 1.0 / np.linalg.norm(atoms.cell.reciprocal(), axis=1)
    grid = np.array(needs.best_grid(widths, ranks))
    cut = grid > 1
    deep = np.where(cut, depth / widths, 0.0)
    before = np.ceil(deep)
    times = (2 * before + 1).astype(int)
    many = atoms.repeat(times)
    at = many.get_scaled_positions(wrap=False) * times - before
    part = many[(~cut | ((at >= -deep) & (at < 1.0 / grid + deep))).all(axis=1)]
    longer = np.where(cut, 1.0 / grid + 2.0 * deep + (cutoff + SKIN_A) / widths, 1.0)
    part.set_cell(atoms.cell.array * longer[:, None])
    part.wrap()
    return part


def read(file: str, size: int, ranks: int, log: str) -> Measured:
    """What LAMMPS says of the last run."""
    seconds, _, steps, atoms = _LOOP.findall(log)[-1]
    exchanges = _EXCHANGES.findall(log)
    memory = _MEMORY.findall(log)
    return Measured(
        file=file,
        atoms=size,
        ranks=ranks,
        steps=int(steps),
        ms=1000.0 * float(seconds) / int(steps),
        exchange_ms=float(exchanges[-1]) if exchanges else 0.0,
        memory_MB=float(memory[-1]),
        computed=int(atoms) if file == "halo" else int(atoms) // ranks,
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
        "| atoms | ranks | file for | atoms of a rank | ms/step | in exchanges | efficiency "
        "| MB of a rank |",
        "|---|---|---|---|---|---|---|---|",
    ]
    one = {row.atoms: row for row in rows if row.file == "one"}
    many = {row.atoms for row in rows if row.file != "one"}
    for row in (row for row in rows if row.atoms in many):
        lines.append(
            f"| {row.atoms} | {row.ranks} | {row.file} | {row.computed} | {row.ms:.2f} | "
            f"{100 * row.exchange_ms / row.ms:.1f} % | "
            f"{100 * one[row.atoms].ms / (row.ranks * row.ms):.0f} % | {row.memory_MB:.0f} |"
        )
    return lines


def weak(rows: Sequence[Measured]) -> list[str]:
    """The table of cells that grow with the number of ranks."""
    lines = ["| atoms of a rank | ranks | ms/step | efficiency |", "|---|---|---|---|"]
    one = {row.atoms: row for row in rows if row.file == "one"}
    for row in rows:
        start = one.get(row.atoms // row.ranks)
        if row.file == "several" and row.ranks > 1 and start:
            for each in (start, row):
                share = f"{100 * start.ms / each.ms:.0f} %"
                lines.append(f"| {start.atoms} | {each.ranks} | {each.ms:.2f} | {share} |")
    return lines


if __name__ == "__main__":
    main()
