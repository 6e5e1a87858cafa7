"""What `tests/gpu/run` measures inside one process: a job of steps.py, in the engines' environment.

    python inside.py steps NAME MODEL cpu|cuda CELLS        a step in LAMMPS, and its parts
    python inside.py batch NAME MODEL cpu|cuda SINGLE       frames in one forward call
    python inside.py compile-batch CHECKPOINT OUTPUT cpu|cuda

Rows are appended to the file that ROWS names, as soon as they are known.
"""

import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

import bench

WARM, REPEATS, ENOUGH_S = 2, 5, 2.0
FORCES_LIMIT = 1e-4
"""eV/Å, float32: as the gate's."""
BATCHES = (4, 16, 32, 64)


def row(what: str, value: Any, unit: str, limit: float | None = None) -> None:
    """Append one; beyond its limit it is wrong."""
    ok = limit is None or value <= limit
    line = {"what": what, "value": value, "unit": unit, "limit": limit, "ok": ok}
    with Path(os.environ["ROWS"]).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def frame_of(cell: Any = (1, 1, 1), seed: int = 1) -> Any:
    """The example's crystal, its atoms a little displaced."""
    import ase.io

    frame = ase.io.read(bench.EXAMPLE / "mil53_al.extxyz").repeat(cell)
    frame.rattle(0.03, seed=seed)
    return frame


def steps(name: str, model: Path, device: str, cells: dict[str, Any]) -> None:
    """A step of each size in LAMMPS, with and without PLUMED; the model alone; its kernels."""
    for atoms, cell in cells.items():
        frame, what = frame_of(cell), f"{name}, {atoms} atoms"
        species = sorted(set(frame.symbols))
        bare = bench.bare_step(model, frame, device)
        row(f"{what}: model alone", per_call(bare, bench.STEPS), "ms")
        plain = per_call(bench.lammps_step(model, species, frame, device=device), bench.STEPS)
        row(f"{what}: step in LAMMPS", plain, "ms")
        row(f"{what}: atoms", int(atoms) / plain * 1000, "atoms/s")
        for part, value in parts(model, species, frame, device).items():
            row(f"{what}: {part}", value, "ms")
        biased = bench.lammps_step(model, species, frame, metad=True, device=device)
        row(f"{what}: PLUMED adds", per_call(biased, bench.STEPS) - plain, "ms")
        if device == "cuda":
            kernels(what, bare, bench.STEPS)


def per_call(calls: Callable[[], None], number: int) -> float:
    """Median milliseconds of one of `number` calls, once they have warmed up."""
    for _ in range(WARM):
        calls()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < REPEATS and (len(times) < 2 or time.perf_counter() - began < ENOUGH_S):
        started = time.perf_counter()
        calls()
        times.append(1000 * (time.perf_counter() - started) / number)
    return statistics.median(times)


def parts(model: Path, species: list[str], frame: Any, device: str) -> dict[str, float]:
    """What the pair style itself counts: in the model with its copies, and around it."""
    from phasewalk.validation.predict_child import Model

    log = Path(f"timing-{len(frame)}.log")
    engine = Model(model, species, log, device)
    engine.lmp.commands_list(
        [f"pair_style nequip timing device {device}",
         f'pair_coeff * * "{model}" {" ".join(species)}']
    )  # fmt: skip
    engine.evaluate(frame)
    engine.lmp.commands_list(
        ["timestep 0.0005", "velocity all create 300 1", "fix nve all nve", "run 20", "run 20"]
    )
    engine.lmp.close()
    found = re.findall(r"calls, (\S+) ms each in the model, (\S+) ms around it", log.read_text())
    return dict(zip(("in the model, with copies", "neighbours and edges"),
                    map(float, found[-1]), strict=True)) if found else {}  # fmt: skip


def kernels(what: str, calls: Callable[[], None], number: int) -> None:
    """Kernels and copies of one forward call, and how long the GPU is busy with them."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as found:
        calls()
    on_gpu = [event for event in found.events() if event.device_type == DeviceType.CUDA]
    busy = sum(event.time_range.elapsed_us() for event in on_gpu)
    row(f"{what}: kernels of a call", len(on_gpu) / number, "")
    row(f"{what}: GPU busy in a call", busy / 1000 / number, "ms")


def batch(name: str, model: Path, device: str, alone: Path) -> None:
    """One call for W frames against W calls for one frame, by a model for single frames."""
    difference = largest_difference(model, alone, device)
    row(f"{name}: forces of 4 frames in one call − in four", difference, "eV/Å", FORCES_LIMIT)
    single = timed(call_of(alone, 1, device))
    row(f"{name}: one call for 1 frame of 38 atoms", single, "ms")
    for count in BATCHES if device == "cuda" else BATCHES[:1]:
        spent = timed(call_of(model, count, device))
        row(f"{name}: one call for {count} frames of 38 atoms", spent, "ms")
        row(f"{name}: {count} calls for one, over that", count * single / spent, "×")


def largest_difference(model: Path, alone: Path, device: str) -> float:
    """Between the forces (eV/Å) on four different frames, in one call and in four."""
    import torch

    together = call_of(model, 4, device)()["forces"]
    apart = [call_of(alone, 1, device, seed)()["forces"] for seed in range(1, 5)]
    return float((together - torch.cat(apart)).abs().max())


def timed(call: Callable[[], Any]) -> float:
    """Median milliseconds of a call."""

    def ten() -> None:
        for _ in range(10):
            call()

    return per_call(ten, 10)


def call_of(model: Path, count: int, device: str, seed: int = 1) -> Callable[[], dict[str, Any]]:
    """A forward call for so many frames, in one; what it returns is waited for."""
    import torch
    from nequip.data import AtomicDataDict

    forward = bench.forward_of(model, device)
    frames = [forward.inputs(frame_of(seed=seed + i)) for i in range(count)]
    data = AtomicDataDict.batched_from_list(frames) if count > 1 else frames[0]
    names = [*bench.INPUTS, *(("batch", "num_atoms") if count > 1 else ())]
    given = {name: data[name].to(device) for name in names}

    def call() -> dict[str, Any]:
        found = forward.call(given)
        if device == "cuda":
            torch.cuda.synchronize()
        return found

    return call


def compile_batch(checkpoint: Path, output: Path, device: str) -> None:
    """NequIP's target `batch`: what `phasewalk deploy` compiles, for several frames."""
    from phasewalk.models import compile_child
    from phasewalk.models.nequip_private import set_global_state, set_workflow_state

    set_workflow_state("compile")
    set_global_state(allow_tf32=False)
    compile_child.aotinductor(checkpoint, output, device, "batch")


def main(argv: list[str]) -> None:
    """Measure, or compile."""
    what, first, second, device, *more = argv[1:]
    if what == "steps":
        steps(first, Path(second), device, json.loads(more[0]))
    elif what == "batch":
        batch(first, Path(second), device, Path(more[0]))
    else:
        compile_batch(Path(first), Path(second), device)


if __name__ == "__main__":
    main(sys.argv)
