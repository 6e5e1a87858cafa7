"""The steps of `tests/gpu/run`: `python steps.py STEP cpu|cuda WORK [--full]`.

Each writes its rows, one JSON line each, to WORK/STEP.jsonl as soon as it knows them. What is run
is the product: its command line, and the jobs that its own stages start.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from phasewalk import engines, models, walkers
from phasewalk.engines import Engines, EngineSettings, plugin
from phasewalk.engines.local import LocalLauncher
from phasewalk.jobs import Finished, Job, Running, run, submit
from phasewalk.models import Budget, ModelSettings
from phasewalk.units import GPA_PER_EV_PER_A3
from phasewalk.validation import accuracy, gate

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parents[1] / "examples/mil53_al"
SHORT = HERE.parents[1] / "docker/short.yaml"
PHASEWALK = (sys.executable, "-m", "phasewalk")
MODELS = {"tiny": "float32", "small": "float32", "small64": "float64",
          "paper": "float32"}  # fmt: skip
"""Networks by name: a preset (its digits left out), and its precision."""
CELLS = {38: (1, 1, 1), 152: (2, 2, 1), 608: (2, 2, 4), 2432: (4, 4, 4), 9728: (8, 8, 4)}


@dataclass(frozen=True)
class Place:
    """Where a step works, on which device, and how much."""

    step: str
    device: str
    work: Path
    full: bool

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks that are made, the one that walks first."""
        return ("small", "small64", "paper") if self.full else ("tiny",)

    @property
    def modes(self) -> tuple[str, ...]:
        """Of deployment."""
        return tuple(models.ENDINGS) if self.full else ("torchscript",)

    @property
    def sizes(self) -> dict[int, tuple[int, int, int]]:
        """Supercells of the example, by number of atoms."""
        return CELLS if self.full else {38: CELLS[38]}

    def model(self, network: str, mode: str, device: str | None = None) -> Path:
        """Where a deployed model is."""
        return self.work / "models" / f"{network}-{device or self.device}{models.ENDINGS[mode]}"

    def checkpoint(self, network: str) -> Path:
        """Where a network was trained."""
        return self.work / "train" / network / "last.ckpt"

    def row(
        self, what: str, value: Any, unit: str = "", *, limit: float | None = None, ok: bool = True
    ) -> None:
        """Write down one result; beyond its limit it is wrong."""
        ok = bool(ok and (limit is None or value <= limit))
        line = {"what": what, "value": value, "unit": unit, "limit": limit, "ok": ok}
        with (self.work / f"{self.step}.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def measured(self, *arguments: str) -> None:
        """Rows that a child writes in whose process LAMMPS or torch run; see inside.py."""
        argv = (sys.executable, str(HERE / "inside.py"), *arguments)
        directory = self.work / self.step / "-".join(arguments[:2])
        rows = {"ROWS": str(self.work / f"{self.step}.jsonl")}
        job = Job("measure", argv, directory, env={**found_engines().env, **rows})
        finished = run(LocalLauncher(), job)
        if not _went_well(finished):
            self.row(" ".join(arguments[:2]), finished.last_lines(1), ok=False)


def found_engines() -> Engines:
    """The engines, with the plugin that was built for them."""
    found = engines.find(EngineSettings(), os.environ)
    return plugin.ensure(found, LocalLauncher(), os.environ)


def device(place: Place) -> None:
    """What this machine is."""
    import torch

    place.row("machine", f"{platform.machine()}, {engines.available_cores()} cores")
    for name, version in engines.versions().items():
        place.row(name, version)
    place.row("CUDA of torch", str(torch.version.cuda))
    for program in ("nvcc", "c++", "cmake", "nvidia-cuda-mps-control"):
        place.row(program, str(engines.which(program)))
    if place.device == "cuda":
        if not torch.cuda.is_available():
            raise SystemExit(
                f"torch {torch.__version__} sees no GPU: it needs an NVIDIA driver, a torch that "
                "was built with CUDA, and a GPU that CUDA_VISIBLE_DEVICES does not hide"
            )
        properties = torch.cuda.get_device_properties(0)
        place.row("GPUs that torch sees", torch.cuda.device_count())
        place.row("card", torch.cuda.get_device_name(0))
        place.row("compute capability", f"{properties.major}.{properties.minor}")
        place.row("memory", properties.total_memory / 2**30, "GiB")
        place.row("phasewalk sees a GPU", str(engines.here().has_gpu), ok=engines.here().has_gpu)
        place.row("used memory before", _used_MiB(), "MiB")


def build(place: Place) -> None:
    """The plugin, by the command that a user types."""
    started = time.perf_counter()
    said = _output(place, *PHASEWALK, "build-plugin")
    place.row("phasewalk build-plugin", time.perf_counter() - started, "s")
    place.row("it says", said.partition(":")[0])


def train(place: Place) -> None:
    """A checkpoint of every network, side by side, on this device."""
    jobs = [_training(place, name, place.work / "train" / name) for name in place.networks]
    for finished in _finished(jobs):
        trained = models.read_training(finished)
        place.row(f"{finished.job.name}: training, with its start", finished.seconds, "s")
        rmse = 1000.0 * trained.last_epoch["forces_rmse"]
        place.row(f"{finished.job.name}: force RMSE", rmse, "meV/Å")


def _training(place: Place, name: str, directory: Path, epochs: int | None = None) -> Job:
    labels = accuracy.read_labelled(EXAMPLE / "test.extxyz")
    types = tuple(sorted(set(labels[0].atoms.symbols)))
    settings = ModelSettings(preset=name.removesuffix("64"), dtype=MODELS[name])  # type: ignore[arg-type]
    short = place.networks[0].startswith("tiny")
    count = 4 if short else 24
    job = models.training_job(
        name,
        labels[:count],
        validation=labels[count : count + 4],
        types=types,
        settings=settings,
        budget=Budget(epochs=epochs or (20 if name == "small" else 3), learning_rate=0.01),
        numbers=models.statistics(labels[:count], types, settings.cutoff_A),
        previous=None,
        probed=[labels[0].atoms],
        seed=1,
        directory=directory,
    )
    return _on(job, place.device)


def _on(job: Job, device: str) -> Job:
    """The same job where no GPU is seen, if it is the CPU's."""
    hidden = {} if device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""}
    return replace(job, env={**job.env, **hidden})


def compile_all(place: Place) -> None:
    """`phasewalk deploy` of every network in every mode for the device, and some for the CPU."""
    (place.work / "models").mkdir(exist_ok=True)
    jobs, wanted = [], []
    for name in place.networks:
        for mode in place.modes:
            wanted.append((name, mode, place.device))
    if place.device != "cpu":
        wanted += [(name, "torchscript", "cpu") for name in place.networks[:2]]
    for name, mode, where in wanted:
        model = place.model(name, mode, where)
        argv = (*PHASEWALK, "deploy", str(place.checkpoint(name)), "-o", str(model))
        options = ("--mode", mode, "--device", where)
        directory = place.work / "compile" / f"{name}-{mode}-{where}"
        jobs.append(Job(directory.name, (*argv, *options), directory, env=_kept(place)))
    if place.full:
        jobs.append(_batched_job(place, place.networks[0]))
    for finished in _finished(jobs):
        place.row(f"{finished.job.name}: seconds", finished.seconds, "s", ok=_went_well(finished))


def _kept(place: Place) -> dict[str, str]:
    """Where the command line leaves what failed: not in a folder that goes with its process."""
    folder = place.work / "failed"
    folder.mkdir(exist_ok=True)
    return {"TMPDIR": str(folder)}


def _batched_job(place: Place, network: str) -> Job:
    """NequIP's own target for several frames in one call: what batching may win."""
    output = place.model(f"{network}-batch", "aotinductor")
    argv = (sys.executable, str(HERE / "inside.py"), "compile-batch")
    more = (str(place.checkpoint(network)), str(output), place.device)
    return Job("batch target", (*argv, *more), place.work / "compile/batch")


def parity(place: Place) -> None:
    """Each deployed model against TorchScript on the CPU, in LAMMPS, for frames of two sizes."""
    labels = accuracy.read_labelled(EXAMPLE / "test.extxyz")
    frames = [labels[0].atoms, labels[9].atoms, labels[0].atoms.repeat((2, 2, 1))]
    found = found_engines()
    jobs = {}
    for name in place.networks[:2]:
        jobs[name, "torchscript", "cpu"] = place.model(name, "torchscript", "cpu")
        for mode in place.modes:
            jobs[name, mode, place.device] = place.model(name, mode)
    if place.device == "cuda":  # a TorchScript file serves both devices
        name = place.networks[0]
        jobs[name, "torchscript of the CPU", "cuda"] = place.model(name, "torchscript", "cpu")
    results = {}
    for (name, mode, where), model in jobs.items():
        job = accuracy.job(
            f"{name}-{mode}-{where}", model, frames=frames, env=dict(found.env), device=where,
            directory=place.work / "parity" / f"{name}-{mode}-{where}".replace(" ", "-"),
        )  # fmt: skip
        finished = run(LocalLauncher(), _on(job, where))
        if not _went_well(finished):
            place.row(f"{job.name} in LAMMPS", finished.last_lines(), ok=False)
            continue
        results[name, mode, where] = accuracy.read(finished).frames
    for key, mine in results.items():
        _compare(place, key, mine, results.get((key[0], "torchscript", "cpu")))


def _compare(place: Place, key: tuple[str, str, str], mine: Sequence[Any], theirs: Any) -> None:
    name, mode, where = key
    if theirs is None or mine is theirs:
        return
    limits = gate.LIMITS[MODELS[name]]
    pairs = list(zip(mine, theirs, strict=True))
    energy = max(abs(a.energy - b.energy) / len(a.forces) for a, b in pairs)
    force = max(float(np.abs(a.forces - b.forces).max()) for a, b in pairs)
    stress = max(float(np.abs(a.stress - b.stress).max()) for a, b in pairs) * GPA_PER_EV_PER_A3
    what = f"{MODELS[name]} {mode} on {where} − TorchScript on the CPU"
    place.row(f"{what}: energy", energy, "eV/atom", limit=limits.energy)
    place.row(f"{what}: forces", force, "eV/Å", limit=limits.force)
    place.row(f"{what}: stress", stress, "GPa", limit=limits.stress)


def prove(place: Place) -> None:
    """`phasewalk gate` of each deployed model of this device, side by side."""
    jobs = []
    for name in place.networks[:2]:
        for mode in place.modes:
            argv = (*PHASEWALK, "gate", str(place.model(name, mode)), "--json")
            data = ("--data", str(EXAMPLE / "test.extxyz"))
            more = ("--checkpoint", str(place.checkpoint(name)))
            directory = place.work / "gate" / f"{name}-{mode}"
            command = (*argv, *data, *more)
            jobs.append(Job(f"{MODELS[name]}, {mode}", command, directory, env=_kept(place)))
    for finished in _finished(jobs):
        text = (finished.directory / Finished.STDOUT).read_text(encoding="utf-8")
        if not text.startswith("{"):
            place.row(finished.job.name, finished.last_lines(), ok=False)
            continue
        proof = json.loads(text)
        bad = [check for check in proof["checks"] if not check["ok"]]
        for check in bad:
            place.row(f"{finished.job.name}: {check['name']}", check["value"], check["unit"],
                      limit=check["limit"], ok=False)  # fmt: skip
        told = f"{len(proof['checks']) - len(bad)} of {len(proof['checks'])} passed"
        place.row(f"{finished.job.name}: checks", told, ok=finished.returncode == 0)
        for warning in proof["warnings"]:
            place.row(f"{finished.job.name}: warning", warning)


def campaign(place: Place) -> None:
    """`check`, then two rounds with the model compiled for the device, then `verify`."""
    from ruamel.yaml import YAML

    folder = place.work / "campaign"
    folder.mkdir(exist_ok=True)
    yaml = YAML()
    text = yaml.load(SHORT.read_text(encoding="utf-8"))
    for system in text["systems"].values():
        system["structure"] = str((SHORT.parent / system["structure"]).resolve())
    mode = "aotinductor" if place.full else "torchscript"
    text["deploy"] = {"mode": mode, "device": place.device}
    text["rounds"] = 2
    with (folder / "short.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump(text, stream)
    for command in ("check", "run"):
        started = time.perf_counter()
        _output(place, *PHASEWALK, command, str(folder / "short.yaml"))
        place.row(f"phasewalk {command}", time.perf_counter() - started, "s")
    root = folder / "short.run"
    _output(place, *PHASEWALK, "verify", str(root))
    status = json.loads(_output(place, *PHASEWALK, "status", str(root), "--json"))
    for made in status["generations"]:
        what = f"generation {made['generation']}"
        right = f"/{mode}-{place.device}/" in made["deployed"]
        place.row(f"{what}: {made['mode']}, deployed in", made["deploy_seconds"], "s", ok=right)
        place.row(f"{what}: training", made["train_seconds"], "s")
        place.row(f"{what}: a step", made["ms_per_step"], "ms")
    place.row("labels", status["labels"]["done"])


def refusals(place: Place) -> None:
    """What must be refused, in one line: ranks, a GPU that is not there, no memory left."""
    script = place.model(place.networks[0], "torchscript")
    last = place.model(place.networks[0], place.modes[-1])
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    _refused(place, "two ranks without a model for them", last, ranks=2, words="--target ranks")
    _refused(
        place, "device cuda, and no GPU is seen", script, pair="device cuda", env=hidden,
        words="torch finds no GPU",
    )  # fmt: skip
    if place.device != "cuda":
        return
    _refused(
        place, "compiled for cuda, and no GPU is seen", last, env=hidden, words="torch finds no GPU"
    )
    # The least that leaves room for a model's weights: AOTInductor's code needs little more.
    little = {"PYTORCH_CUDA_ALLOC_CONF": "per_process_memory_fraction:0.001"}
    for model in (script, last):
        _refused(
            place, f"too little memory, {model.suffix}", model, cell=CELLS[9728], env=little,
            words="memory",
        )  # fmt: skip


def _refused(
    place: Place,
    what: str,
    model: Path,
    *,
    words: str,
    ranks: int = 1,
    pair: str = "",
    cell: tuple[int, int, int] = (1, 1, 1),
    env: Mapping[str, str] | None = None,
) -> None:
    """A deck that LAMMPS should refuse: what it says, and whether it does."""
    import ase.io

    found = found_engines()
    frame = walkers.lammps_frame(ase.io.read(EXAMPLE / "mil53_al.extxyz").repeat(cell))
    types = sorted(set(frame.symbols))
    data = walkers.decks.data_file(frame, types, velocities=False)
    deck = (
        "units metal\natom_style atomic\nread_data d.data\nneigh_modify one 10000 page 100000\n"
        f"pair_style nequip {pair}\npair_coeff * * {model} {' '.join(types)}\nrun 0\n"
    )
    job = Job(
        what,
        (str(found.lmp), "-in", "in.lmp"),
        place.work / "refusals" / what.replace(" ", "-").replace(",", ""),
        inputs={"in.lmp": deck.encode(), "d.data": data.encode()},
        env={**found.env, **(env or {})},
        mpiexec=found.mpiexec,
        ranks=ranks,
        timeout_s=60,
    )
    finished = run(LocalLauncher(max(2, engines.available_cores())), job)
    log = finished.directory / "log.lammps"
    text = log.read_text(errors="replace", encoding="utf-8") if log.is_file() else ""
    lines = [line for line in text.splitlines() if line.startswith("ERROR")]
    said = lines[0] if lines else finished.last_lines()
    place.row(what, said, ok=finished.returncode not in (0, None) and words in said)


def steps(place: Place) -> None:
    """Where the time of a step goes, by size, in each mode; see inside.py."""
    for network in place.networks:
        if network.endswith("64"):
            continue
        for mode in reversed(place.modes):
            sizes = list(place.sizes)
            if network == "paper" or mode == "torchscript":  # slow to start, for each size again
                sizes = [n for n in sizes if n in (38, 608)]
            cells = json.dumps({n: place.sizes[n] for n in sizes})
            place.measured("steps", f"{network}-{mode}", str(place.model(network, mode)),
                           place.device, cells)  # fmt: skip


def batch(place: Place) -> None:
    """One forward call for several frames against one for each."""
    network = place.networks[0]
    if place.full:
        model = place.model(f"{network}-batch", "aotinductor")
        single = place.model(network, "aotinductor")
        place.measured("batch", f"{network}-aotinductor", str(model), place.device, str(single))
    model = place.model(network, "torchscript")
    place.measured("batch", f"{network}-torchscript", str(model), place.device, str(model))


def walk(place: Place) -> None:
    """Walkers as separate processes on one device: the segment that a campaign starts."""
    one = None
    for count in (1, 4, 16, 32) if place.full else (2,):
        one = _walked(place, count, "", {}, one)
    if place.device != "cuda":
        return
    with _mps(place) as env:
        if env is None:
            place.row("MPS", "cannot be started here")
            return
        for count in (16, 32, 4):
            _walked(place, count, ", with MPS", env, one)


def _walked(
    place: Place, count: int, how: str, env: Mapping[str, str], one: float | None
) -> float | None:
    """One segment of so many walkers; steps a second of all of them."""
    found = found_engines()
    job = walkers.job(
        _plan(place, count),
        engines=replace(found, env={**found.env, **env}),
        directory=place.work / "walkers" / f"{count}{how.replace(', ', '-').replace(' ', '-')}",
    )
    used, finished = 0.0, None
    for event in submit(LocalLauncher(max(count, engines.available_cores())), [job]):
        if isinstance(event, Running) and place.device == "cuda":
            used = max(used, _used_MiB())
        finished = event if isinstance(event, Finished) else finished
    what = f"{count} walkers{how}"
    if finished is None or not _went_well(finished):
        place.row(what, finished.last_lines() if finished else "not started", ok=False)
        return one
    logs = [walkers.logs.read_log(path) for path in sorted(job.directory.glob("*.log"))
            if "plumed" not in path.name]  # fmt: skip
    seconds = max(log.loop_s or np.nan for log in logs)
    done = sum(log.steps_done for log in logs)
    rate = done / seconds
    place.row(f"{what}: a walker's step", 1000 * seconds * count / done, "ms")
    place.row(f"{what}: steps of all", rate, "/s")
    if one:
        place.row(f"{what}: over one walker's", rate / one, "×")
    place.row(f"{what}: from start to end", finished.seconds, "s")
    if used:
        place.row(f"{what}: memory of the GPU", used, "MiB")
    stopped = sum(log.stop is not None for log in logs)
    if stopped:
        place.row(f"{what}: stopped by the sentinel", stopped)
    return one or rate


def _plan(place: Place, count: int) -> walkers.SegmentPlan:
    """The example's walkers, with a bias on the volume."""
    import ase.io

    from phasewalk.campaign import config

    settings = config.parse(SHORT.read_text(encoding="utf-8"), str(SHORT))
    (system,) = settings.systems.values()
    atoms = ase.io.read(EXAMPLE / "mil53_al.extxyz")
    made = (place.model(place.networks[0], mode) for mode in reversed(place.modes))
    model = next(path for path in made if path.is_file())  # the fastest that could be compiled
    steps = 300 if place.full else 40
    return walkers.SegmentPlan(
        round=1,
        generation=0,
        walkers=tuple(walkers.Walker(f"w-{i}", "mil53", i, atoms, 0) for i in range(count)),
        systems={"mil53": system},
        settings=settings.segment.model_copy(update={"steps": steps if count < 20 else steps // 3}),
        histories={},
        model=model,
        type_names=tuple(sorted(set(atoms.symbols))),
        seed=1,
        device=place.device,
    )


class _mps:
    """NVIDIA's server through which processes share a GPU at once; None where there is none."""

    def __init__(self, place: Place) -> None:
        self.folder = place.work / "mps"
        self.env: dict[str, str] | None = None

    def __enter__(self) -> dict[str, str] | None:
        program = shutil.which("nvidia-cuda-mps-control")
        if program is None:
            return None
        self.folder.mkdir(exist_ok=True)
        names = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
        env = dict.fromkeys(names, str(self.folder))
        argv = [program, "-d"]
        done = subprocess.run(argv, env={**os.environ, **env}, timeout=20, check=False)
        if done.returncode:
            return None
        self.env = env
        return env

    def __exit__(self, *_: object) -> None:
        if self.env is not None:
            subprocess.run(["nvidia-cuda-mps-control"], input="quit\n", text=True, timeout=20,
                           env={**os.environ, **self.env}, check=False)  # fmt: skip


def epochs(place: Place) -> None:
    """Seconds of an epoch, alone on this device; on a GPU also of the first on one CPU thread."""
    for name in place.networks:
        if not name.endswith("64"):
            _epochs(place, [name], place.device)
    if place.device == "cuda":
        _epochs(place, place.networks[:1], "cpu")


def _epochs(place: Place, names: Sequence[str], where: str) -> None:
    """One training each, side by side."""
    jobs = [_training(place, name, place.work / "epochs" / f"{name}-{where}",
                      epochs=9 if where == "cuda" else 3) for name in names]  # fmt: skip
    for finished in _finished([_on(job, where) for job in jobs]):
        models.read_training(finished)
        lines = (finished.directory / models.PROGRESS).read_text(encoding="utf-8").splitlines()
        times = np.diff([json.loads(line)["seconds"] for line in lines])
        frames = len(accuracy.read_labelled(finished.directory / "train.extxyz"))
        what = f"{finished.job.name} on {where}: an epoch of {frames} frames"
        place.row(what, float(np.median(times)), "s")


def _used_MiB() -> float:
    """Memory of the GPU that all processes use."""
    argv = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    said = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=20, check=False).stdout
    words = said.split()
    return float(words[0]) if words and words[0].isdigit() else 0.0


def _output(place: Place, *argv: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, cwd=place.work, check=False)
    print(done.stdout, flush=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv[2:4])}: exit code {done.returncode}")
    return done.stdout


def _finished(jobs: Sequence[Job]) -> Iterator[Finished]:
    """The jobs as they end, side by side."""
    for event in submit(LocalLauncher(engines.available_cores()), list(jobs)):
        if isinstance(event, Finished):
            yield event


def _went_well(finished: Finished) -> bool:
    """Whether a job succeeded; else the end of its output is printed."""
    if finished.returncode != 0:
        print(f"{finished.job.name}: code {finished.returncode}", flush=True)
        for name in (Finished.STDOUT, Finished.STDERR):
            path = finished.directory / name
            print(path.read_text(errors="replace", encoding="utf-8")[-3000:], flush=True)
    return finished.returncode == 0


STEPS: Mapping[str, Callable[[Place], None]] = {
    "device": device,
    "plugin": build,
    "train": train,
    "compile": compile_all,
    "parity": parity,
    "gate": prove,
    "campaign": campaign,
    "refusals": refusals,
    "steps": steps,
    "batch": batch,
    "walkers": walk,
    "epochs": epochs,
}


def main(argv: list[str]) -> None:
    """Run one step."""
    step, where, work, *more = argv[1:]
    place = Place(step, where, Path(work), full=where == "cuda" or "--full" in more)
    (place.work / f"{step}.jsonl").unlink(missing_ok=True)
    shutil.rmtree(place.work / step, ignore_errors=True)
    STEPS[step](place)


if __name__ == "__main__":
    main(sys.argv)
