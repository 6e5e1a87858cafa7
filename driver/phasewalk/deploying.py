"""Deploy: from a checkpoint to a model that LAMMPS runs, in the mode that pays."""

import contextlib
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import models, swap
from .engines import Engines, processor, which
from .errors import InputError, StoreError
from .jobs import Finished, Job
from .models import Deployed
from .store import file_hash, hash_of, write_file
from .swap import Template, Weights
from .tasks import Outputs, Task, Work

TEMPLATE = "template.json"
FINAL = "final"
CACHE = "the cache"
COMPILE_S = 60.0
"""First guess of an AOTInductor compilation; replaced by the first one that is measured."""
SPEEDUP = 2.0
"""First guess of TorchScript's cost over AOTInductor's; replaced likewise."""


@dataclass(frozen=True)
class Generation:
    """A trained and deployed model.

    Attributes:
        number: 0 from the bootstrap, r from round r.
        name: "0", "1", … or "final".
        checkpoint: to train on from.
        deployed: the artefact that walkers use.
        device: that it was compiled for.
        checkpoint_hash: of its content.
        unproved_graph: this campaign has not used its compilation before, so that no gate has.
    """

    number: int
    name: str
    checkpoint: Path
    deployed: Path
    device: str
    checkpoint_hash: str
    unproved_graph: bool


def folder(name: str) -> str:
    """Where a generation's files are, below the campaign's directory."""
    return f"models/gen-{int(name):03d}" if name != FINAL else f"models/{FINAL}"


def deploy(work: Work, number: int, name: str, trained: Outputs) -> Generation:
    """Make a generation's weights run in LAMMPS: into an earlier compilation, or compile.

    `auto` takes the mode in which the next segments end earlier.
    """
    title = f"deploy generation {name}"
    inputs = hash_of("deploy", trained["sha256"])
    record = work.store.done(title, inputs)
    if record is None:
        wanted = work.campaign.settings.deploy.mode
        graph, weights = swap.read_weights(work.store.root / trained["weights"])
        mode, why = (
            (wanted, "as configured") if wanted != "auto" else choose_mode(work, name, graph)
        )
        work.observer.begin(number, title, 1, "models")
        compiled = _compiled(work, mode, graph)
        how = "weights swapped" if compiled else "compiled"
        work.observer.say(f"generation {name}: {mode}, {how} ({why})")
        if compiled is not None:
            outputs = _swapped(work, name, compiled, graph, weights, why)
            work.note(title, "deploy", number, outputs, inputs=inputs, seconds=outputs["seconds"])
        else:
            work.do([_compilation(work, number, name, trained, mode=mode, inputs=inputs, why=why)])
        record = work.store.done(title, inputs)
    made = record.outputs if record else {}
    return Generation(
        number=number,
        name=name,
        checkpoint=work.store.root / trained["checkpoint"],
        deployed=work.store.root / made["file"],
        device=made["stamp"]["device"],
        checkpoint_hash=trained["sha256"],
        unproved_graph=made["swapped_from"] in (None, CACHE),
    )


@dataclass(frozen=True)
class Compiled:
    """A model that was compiled before, whose weights can be replaced."""

    name: str
    file: Path
    stamp: Deployed
    template: Template


def _compiled(work: Work, mode: str, graph: str) -> Compiled | None:
    """The newest compilation of this graph in this mode: the campaign's, or the user's cache's."""
    files = [
        (str(record.outputs["generation"]), work.store.root / str(record.outputs["file"]))
        for record in reversed(work.store.records())
        if record.stage == "deploy" and record.outputs["mode"] == mode
    ]
    if mode == "aotinductor":
        files.append((CACHE, _cache(work, mode, graph) / f"model{models.ENDINGS[mode]}"))
    for name, file in files:
        template = file.with_name(TEMPLATE)
        if file.is_file() and template.is_file():
            found = swap.read_template(template)
            stamp = models.read_stamp(file.with_name("stamp.json"))
            if found.graph == graph and stamp.torch == work.engines.versions.get("torch"):
                return Compiled(name, file, stamp, found)
    return None


def _cache(work: Work, mode: str, graph: str) -> Path:
    """Where a compilation is kept for later campaigns: by graph, versions, processor and GPU."""
    versions = [work.engines.versions.get(name) for name in ("torch", "nequip")]
    device = work.campaign.settings.deploy.device
    name = hash_of(graph, mode, device, versions, processor(), which("nvidia-smi") is not None)
    return work.engines.cache / "models" / name


def _swapped(
    work: Work, name: str, compiled: Compiled, graph: str, weights: Weights, why: str
) -> dict[str, Any]:
    """Write the compiled model with other weights."""
    started = time.perf_counter()
    content = swap.swap(compiled.file.read_bytes(), compiled.template, graph, weights)
    outputs = _keep(work, name, compiled.stamp, content, compiled.template)
    seconds = time.perf_counter() - started
    return {**outputs, "why": why, "swapped_from": compiled.name, "seconds": round(seconds, 3)}


def _keep(
    work: Work, name: str, stamp: Deployed, content: bytes, template: Template | None
) -> dict[str, Any]:
    """Write a deployed model of a generation; what the journal says of it."""
    place = f"{folder(name)}/{stamp.mode}-{stamp.device}"
    if template is not None:
        work.store.write(f"{place}/{TEMPLATE}", swap.template_text(template).encode())
    work.store.write(f"{place}/stamp.json", models.stamp_text(stamp).encode())
    kept = work.store.write(f"{place}/{stamp.file}", content)
    return {
        "generation": name,
        "file": f"{place}/{stamp.file}",
        "sha256": file_hash(kept),
        "mode": stamp.mode,
        "stamp": asdict(stamp),
    }


def _compilation(
    work: Work, number: int, name: str, trained: Outputs, *, mode: str, inputs: str, why: str
) -> Task:
    """The task that compiles a checkpoint."""

    def job(directory: Path) -> Job:
        return models.deploy_job(
            f"deploy generation {name}",
            work.store.root / trained["checkpoint"],
            mode=mode,
            device=work.campaign.settings.deploy.device,
            directory=directory,
            cores=work.campaign.cores if mode == "aotinductor" else 1,
        )

    def read(finished: Finished) -> Outputs:
        stamp = models.read_deployment(finished)
        content = (finished.directory / stamp.file).read_bytes()
        graph, weights = swap.read_weights(work.store.root / trained["weights"])
        try:
            template = swap.find_weights(content, graph, weights)
        except InputError as error:
            work.observer.say(f"generation {name}: later ones must be compiled again ({error})")
            template = None
        if template is not None and mode == "aotinductor":
            _fill(_cache(work, mode, graph), stamp, content, template)
        return {**_keep(work, name, stamp, content, template), "why": why, "swapped_from": None}

    return Task(
        name=f"deploy generation {name}",
        stage="deploy",
        round=number,
        inputs=inputs,
        place=f"rounds/{number:03d}/deploy{'-final' if name == FINAL else ''}-{mode}",
        job=job,
        read=read,
    )


def _fill(place: Path, stamp: Deployed, content: bytes, template: Template) -> None:
    """Keep a compilation in the user's cache; a cache that cannot be written is no harm."""
    with contextlib.suppress(StoreError):
        write_file(place / "stamp.json", models.stamp_text(stamp).encode())
        write_file(place / TEMPLATE, swap.template_text(template).encode())
        write_file(place / stamp.file, content)


def engines_for(work: Work, generation: Generation) -> Engines:
    """The engines as a generation's model needs them: one compiled for the CPU sees no GPU."""
    if generation.device != "cpu":
        return work.engines
    return replace(work.engines, env={**work.engines.env, "CUDA_VISIBLE_DEVICES": ""})


def choose_mode(work: Work, name: str, graph: str) -> tuple[str, str]:
    """The mode in which all segments to come end earlier: compiling once, plus their steps."""
    settings = work.campaign.settings
    segments = settings.rounds - int(name) if name != FINAL else 0
    if segments < 1:
        return "torchscript", "no segment follows; `phasewalk deploy` makes the other kind"
    step_s, compile_s = _measured(work)
    script = step_s.get("torchscript") or SPEEDUP * step_s.get("aotinductor", 0.0)
    free = {mode: _compiled(work, mode, graph) is not None for mode in models.ENDINGS}
    if free["aotinductor"]:
        return "aotinductor", "compiled before"
    if which("c++") is None:
        return "torchscript", "aotinductor needs a C++ compiler, and there is none"
    if not script:
        return "torchscript", "nothing measured yet; it compiles in seconds"
    share = max(1.0, work.campaign.walkers / work.campaign.cores)
    steps = segments * settings.segment.steps * share
    inductor = step_s.get("aotinductor") or script / SPEEDUP
    total = {
        "torchscript": (0.0 if free["torchscript"] else 10.0) + steps * script,
        "aotinductor": compile_s + steps * inductor,
    }
    shown = ", ".join(f"{mode} {seconds:.0f} s" for mode, seconds in total.items())
    return min(total, key=lambda mode: total[mode]), f"{segments} segments to come: {shown}"


def _measured(work: Work) -> tuple[dict[str, float], float]:
    """Seconds of a step by mode, and of an AOTInductor compilation, from what the journal holds."""
    step_s: dict[str, float] = {}
    compile_s = COMPILE_S
    mode_of: dict[str, str] = {}
    for record in work.store.records():
        outputs = record.outputs
        if record.stage == "deploy":
            mode_of[outputs["generation"]] = outputs["mode"]
            if outputs["mode"] == "aotinductor" and outputs["swapped_from"] is None:
                compile_s = record.seconds
        elif record.stage == "evaluate" and outputs["generation"] in mode_of:
            step_s[mode_of[outputs["generation"]]] = outputs["seconds_per_step"]
    return step_s, compile_s
