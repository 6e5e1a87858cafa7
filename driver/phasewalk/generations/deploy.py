"""Deploy a checkpoint as a model for LAMMPS, in the mode with the shorter total time."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import models
from ..campaign import Outputs, Task, Work
from ..errors import InputError
from ..files import file_hash, hash_of
from ..jobs import ENDED, Finished, Job
from ..models import Deployed, Weights, graph_of, swap
from ..store import (
    COMPILE,
    DEPLOY,
    FINAL,
    Compilation,
    DeployedModel,
    Evaluated,
    Trained,
    compile_alone_task,
    deploy_task,
    each,
)
from . import compile
from .compile import Compiled

COMPILE_S = {"torchscript": 10.0, "aotinductor": 60.0}
"""Initial estimate of the time of a compilation, seconds; replaced by the first measurement."""
SPEEDUP = 2.5
"""Initial estimate of the cost of TorchScript relative to AOTInductor; replaced likewise.

`make bench` measured 1.5 (paper, 608 atoms) to 7 (tiny, 38 atoms).
"""
NOT_HERE = "aotinductor's compilation failed on this machine"


@dataclass(frozen=True)
class Generation:
    """A trained and deployed model.

    Attributes:
        number: 0 for the bootstrap, r for round r.
        name: "0", "1", … or "final".
        checkpoint: file from which training is continued.
        deployed: file of the deployed model.
        stamp: what the deployed model was compiled for.
        checkpoint_hash, deployed_hash: SHA-256 of both files.
        again: deployed again on another machine.
        unproved_graph: its compilation was not validated in this campaign before.
        ranks: number of MPI ranks of a walker.
        for_ranks: file of the deployed model for several of them; see `ranks`.
    """

    number: int
    name: str
    checkpoint: Path
    deployed: Path
    stamp: Deployed
    checkpoint_hash: str
    deployed_hash: str
    again: bool
    unproved_graph: bool
    ranks: int = 1
    for_ranks: Path | None = None


@dataclass(frozen=True)
class Plan:
    """How a generation will be deployed, determined before its training.

    Attributes:
        mode: torchscript or aotinductor.
        why: reason as text.
        compilation: compilations to run in parallel with the training; empty if they exist.
        ahead: compilation for later generations, for which no segment waits.
    """

    mode: str
    why: str
    compilation: tuple[Task, ...]
    ahead: tuple[Task, ...] = ()


def folder(name: str) -> str:
    """Directory of a generation's files, relative to the campaign."""
    return f"models/gen-{int(name):03d}" if name != FINAL else f"models/{FINAL}"


def place_of(name: str, stamp: Deployed) -> str:
    """Directory of a generation's model in one form, relative to the campaign."""
    return f"{folder(name)}/{stamp.mode}-{stamp.device}"


def plan(
    work: Work, number: int, name: str, network: Mapping[str, Any], *, again: bool = False
) -> Plan:
    """Choose the mode; `auto` selects the one with which the next segments finish earlier.

    Args:
        work: the running campaign.
        number: number of the generation.
        name: name of the generation.
        network: configuration of the network.
        again: also if it was already deployed on another machine.
    """
    wanted = work.campaign.settings.deploy.mode
    graph = graph_of(network)
    mode, why = (wanted, "as configured") if wanted != "auto" else choose_mode(work, name, graph)
    deployed = None if again else work.store.find(deploy_task(name))
    done = deployed or not compile.needed(work, mode, graph)
    beside = max(1, work.cores - work.campaign.settings.model.threads)
    task = compile.task(
        work,
        number,
        mode=mode,
        network=network,
        cores=_cores(mode, beside),
        optional=wanted == "auto" and mode != "torchscript",
    )
    if not done and wanted == "auto" and not again and name != FINAL:
        reason = _meanwhile(work, task, mode, graph)
        if reason:
            more = compile.for_ranks(work, number, "torchscript", network, cores=1)
            return Plan("torchscript", reason, more, ahead=(task,))
    cores = _cores(mode, beside)
    more = () if name == FINAL else compile.for_ranks(work, number, mode, network, cores=cores)
    return Plan(mode, why, more if done else (task, *more))


def _meanwhile(work: Work, task: Task, mode: str, graph: str) -> str:
    """Why the next segment should use TorchScript instead of waiting for a compilation.

    Returns an empty text if it should wait, or if no times are known yet.
    """
    step_s, wait_s = _measured(work, trained=False)
    script = step_s.get("torchscript")
    if mode != "aotinductor" or not script or compile.needed(work, "torchscript", graph):
        return ""
    if (work.store.root / task.place / ENDED).is_file():
        return ""  # it had finished when a run was killed
    cores, walkers = work.cores, work.campaign.walkers
    wait = max(0.0, wait_s[mode] - compile.done_s(work, mode, graph))
    steps = work.campaign.settings.segment.steps * max(1.0, walkers / cores)
    beside = 0.0 if walkers < cores else wait / cores  # the compiler competes for the cores
    now = steps * script + beside
    later = wait + steps * (step_s.get(mode) or script / SPEEDUP)
    if now >= later:
        return ""
    return (
        f"the next segment takes about {now:.0f} s, with {mode} {later:.0f} s; {mode} is compiled "
        "meanwhile"
    )


def _cores(mode: str, cores: float) -> int:
    """Cores of a compilation; TorchScript needs no compiler and uses one core."""
    return compile.cores_of(cores) if mode == "aotinductor" else 1


def deploy(
    work: Work, number: int, name: str, trained: Outputs, how: Plan, *, again: bool = False
) -> Generation:
    """Deploy a generation for LAMMPS by writing its weights into the compiled network.

    If this is not possible (another graph, ambiguous weights), the checkpoint is compiled.

    Args:
        work: the running campaign.
        number: number of the generation.
        name: name of the generation.
        trained: outputs of its training.
        how: result of `plan`.
        again: also if it was already deployed on another machine.
    """
    inputs = _inputs(trained)
    record = None if again else work.store.done(deploy_task(name), inputs)
    if record is None:
        work.observer.begin(number, deploy_task(name), 1, "models")
        graph, weights = swap.read_weights(work.store.checked(trained["weights"]))
        how = _that_compiles(work, how, graph)
        compiled = compile.find(work, how.mode, graph)
        filled = swap_into(work, name, compiled, trained, graph, weights) if compiled else None
        what = "weights swapped" if filled else "compiled"
        work.observer.say(f"generation {name}: {how.mode}, {what} ({how.why})")
        alone = _compilation(work, number, name, trained, how=how, graph=graph)
        made = filled or work.do([alone])[0]
        outputs, seconds = {**made, "why": how.why, "again": again}, made["seconds"]
        work.note(deploy_task(name), DEPLOY, number, outputs, inputs=inputs, seconds=seconds)
    else:
        outputs = dict(record.outputs)
    return _generation(work, number, name, trained, outputs)


def _that_compiles(work: Work, how: Plan, graph: str) -> Plan:
    """The same plan, or one with TorchScript if `auto` chose a mode whose compilation failed."""
    failed = compile.failure(work, how.mode, graph)
    if not failed or work.campaign.settings.deploy.mode != "auto":
        return how
    work.observer.say(
        f"{failed}; TorchScript is used instead (deploy.mode: {how.mode} tries again)"
    )
    return replace(how, mode="torchscript", why=NOT_HERE)


def made(work: Work, number: int, name: str, trained: Outputs) -> Generation | None:
    """The deployed generation from its record; None if it was not deployed.

    Args:
        work: the running campaign.
        number: number of the generation.
        name: name of the generation.
        trained: outputs of its training.
    """
    record = work.store.done(deploy_task(name), _inputs(trained))
    return None if record is None else _generation(work, number, name, trained, record.outputs)


def _inputs(trained: Outputs) -> str:
    return hash_of("deploy", trained["sha256"])


def _generation(
    work: Work, number: int, name: str, trained: Outputs, outputs: Outputs
) -> Generation:
    return Generation(
        number=number,
        name=name,
        checkpoint=work.store.root / trained["checkpoint"],
        deployed=work.store.root / outputs["file"],
        stamp=models.stamp_from_json(outputs["stamp"]),
        checkpoint_hash=trained["sha256"],
        deployed_hash=outputs["sha256"],
        again=outputs["again"],
        unproved_graph=outputs["again"] or _first_of(work, outputs) in (None, name),
    )


def _first_of(work: Work, outputs: Outputs) -> str | None:
    """The first generation that used the same compilation; None if it was compiled separately."""
    if outputs["compiled"] is None:
        return None
    return next(
        made.generation
        for _, made in each(work.store.records(), DeployedModel)
        if made.compiled == outputs["compiled"]
    )


def swap_into(
    work: Work, name: str, compiled: Compiled, trained: Outputs, graph: str, weights: Weights
) -> dict[str, Any] | None:
    """Write the weights of a generation into the compiled network; None if they do not match.

    Returns the outputs for the journal; see `Generation`.
    """
    started = time.perf_counter()
    content = swapped(work, compiled, graph, weights)
    if content is None:
        return None
    outputs = keep(work, name, compiled.stamp, content, trained=trained, graph=graph)
    seconds = time.perf_counter() - started
    return {**outputs, "compiled": compiled.place.name, "seconds": round(seconds, 3)}


def swapped(work: Work, compiled: Compiled, graph: str, weights: Weights) -> bytes | None:
    """The compiled network with the weights of a generation; None if they do not match."""
    try:
        return swap.swap(compiled.file.read_bytes(), compiled.template, graph, weights)
    except (InputError, OSError) as error:
        work.observer.say(f"{compiled.file}: not used ({error})")
        return None


def keep(
    work: Work, name: str, stamp: Deployed, content: bytes, *, trained: Outputs, graph: str
) -> dict[str, Any]:
    """Write a deployed model of a generation; what the journal says of it."""
    place = place_of(name, stamp)
    stamp = replace(stamp, graph=graph, checkpoint=trained["sha256"])
    work.store.keep(f"{place}/stamp.json", models.stamp_text(stamp).encode())
    kept = work.store.keep(f"{place}/{stamp.file}", content)
    return {
        "generation": name,
        "file": f"{place}/{stamp.file}",
        "sha256": file_hash(kept),
        "mode": stamp.mode,
        "stamp": asdict(stamp),
    }


def _compilation(
    work: Work, number: int, name: str, trained: Outputs, *, how: Plan, graph: str
) -> Task:
    """The task that compiles one checkpoint, where its weights cannot be swapped in."""

    def job(directory: Path) -> Job:
        return models.deploy_job(
            f"compile generation {name}",
            work.store.root / trained["checkpoint"],
            mode=how.mode,
            device=work.campaign.settings.deploy.device,
            directory=directory,
            cores=_cores(how.mode, work.cores),
        )

    def read(finished: Finished) -> Outputs:
        stamp = models.read_deployment(finished)
        content = (finished.directory / stamp.file).read_bytes()
        outputs = keep(work, name, stamp, content, trained=trained, graph=graph)
        return {**outputs, "compiled": None, "seconds": round(finished.seconds, 3)}

    return Task(
        name=compile_alone_task(name, compile.key(work, how.mode, graph)),
        stage=COMPILE,
        round=number,
        inputs=trained["sha256"],
        place=f"rounds/{number:03d}/compile{'-final' if name == FINAL else ''}-{how.mode}",
        job=job,
        read=read,
    )


def choose_mode(
    work: Work, name: str, graph: str, *, segments: int | None = None
) -> tuple[str, str]:
    """The mode with the shorter total time of compilation and all remaining segments.

    Args:
        work: the campaign.
        name: name of the generation.
        graph: graph of its network.
        segments: number of segments of a free energy, for which the TorchScript model exists and
            no training runs in parallel; None for the remaining rounds of the campaign.
    """
    settings = work.campaign.settings
    trained = segments is not None
    if segments is None:
        segments = settings.rounds - int(name) if name != FINAL else 0
    if segments < 1:
        return "torchscript", "no segment follows; aotinductor is added at the end"
    step_s, wait_s = _measured(work, trained=trained)
    script = step_s.get("torchscript") or SPEEDUP * step_s.get("aotinductor", 0.0)
    free = {mode: compile.find(work, mode, graph) is not None for mode in models.ENDINGS}
    if free["aotinductor"]:
        return "aotinductor", "compiled before"
    if compile.failure(work, "aotinductor", graph):
        return "torchscript", NOT_HERE
    done_s = compile.done_s(work, "aotinductor", graph)
    if done_s == math.inf:
        return "aotinductor", "compiled during the last round"
    if not work.engines.machine.has_compiler:
        return "torchscript", "aotinductor needs a C++ compiler (c++), which was not found"
    if not script:
        return "torchscript", "no times are known yet; it compiles in seconds"
    share = max(1.0, work.campaign.walkers / work.cores)
    steps = segments * settings.segment.steps * share
    inductor = step_s.get("aotinductor") or script / SPEEDUP
    total = {
        "torchscript": wait_s["torchscript"] * (not (free["torchscript"] or trained))
        + steps * script,
        "aotinductor": max(0.0, wait_s["aotinductor"] - done_s) + steps * inductor,
    }
    shown = ", ".join(f"{mode} {seconds:.0f} s" for mode, seconds in total.items())
    return min(total, key=lambda mode: total[mode]), f"{segments} remaining segments: {shown}"


def _measured(work: Work, *, trained: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds per step and seconds of waiting for a compilation, by mode, from the journal.

    A compilation runs in parallel with a training if one follows and a core is free.
    """
    step_s: dict[str, float] = {}
    compile_s = dict(COMPILE_S)
    mode_of: dict[str, str] = {}
    beside = 0.0
    for record in work.store.records():
        made = record.made
        if isinstance(made, Compilation) and not made.for_ranks:
            compile_s[made.mode] = record.seconds
        elif isinstance(made, Trained):
            beside = record.seconds / made.epochs * work.campaign.settings.model.warm.epochs
        elif isinstance(made, DeployedModel):
            mode_of[made.generation] = made.mode
        elif isinstance(made, Evaluated) and made.generation in mode_of:
            step_s[mode_of[made.generation]] = made.seconds_per_step
    if trained or work.cores <= work.campaign.settings.model.threads:
        beside = 0.0
    return step_s, {mode: max(0.0, seconds - beside) for mode, seconds in compile_s.items()}
