"""Deploy: from a checkpoint to a model that LAMMPS runs, in the mode that pays."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import models
from ..campaign import Outputs, Task, Work
from ..engines import which
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
"""First guess of a compilation; replaced by the first one that is measured."""
SPEEDUP = 2.5
"""First guess of TorchScript's cost over AOTInductor's; replaced likewise.

`make bench` measured 1.5 (paper, 608 atoms) to 7 (tiny, 38 atoms).
"""


@dataclass(frozen=True)
class Generation:
    """A trained and deployed model.

    Attributes:
        number: 0 from the bootstrap, r from round r.
        name: "0", "1", … or "final".
        checkpoint: to train on from.
        deployed: the artefact that walkers use.
        stamp: what that was compiled for.
        checkpoint_hash, deployed_hash: SHA-256 of their content.
        again: deployed once more, on another machine than at first.
        unproved_graph: this campaign has not used its compilation before, so that no gate has.
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


@dataclass(frozen=True)
class Plan:
    """How a generation will be deployed, decided before it is trained.

    Attributes:
        mode: torchscript or aotinductor.
        why: in words.
        compilation: what is to be done beside the training; nothing where it was done before.
        ahead: a compilation for later generations, for which no segment waits.
    """

    mode: str
    why: str
    compilation: tuple[Task, ...]
    ahead: tuple[Task, ...] = ()


def folder(name: str) -> str:
    """Where a generation's files are, below the campaign's directory."""
    return f"models/gen-{int(name):03d}" if name != FINAL else f"models/{FINAL}"


def plan(
    work: Work, number: int, name: str, network: Mapping[str, Any], *, again: bool = False
) -> Plan:
    """Choose the mode: `auto` takes the one in which the next segments end earlier.

    Args:
        work: the campaign at work.
        number: of the generation.
        name: of the generation.
        network: configuration of what is compiled.
        again: even if it was deployed before, on another machine.
    """
    wanted = work.campaign.settings.deploy.mode
    graph = graph_of(network)
    mode, why = (wanted, "as configured") if wanted != "auto" else choose_mode(work, name, graph)
    deployed = None if again else work.store.find(deploy_task(name))
    done = deployed or not compile.needed(work, mode, graph)
    beside = max(1, work.campaign.cores - work.campaign.settings.model.threads)
    task = compile.task(
        work, number, mode=mode, graph=graph, network=network, cores=_cores(mode, beside)
    )
    if not done and wanted == "auto" and not again and name != FINAL:
        told = _meanwhile(work, task, mode, graph)
        if told:
            return Plan("torchscript", told, (), ahead=(task,))
    return Plan(mode, why, () if done else (task,))


def _meanwhile(work: Work, task: Task, mode: str, graph: str) -> str:
    """Why the next segment does better with TorchScript than to wait for a compilation.

    Returns an empty text if it does not, or if nothing has been measured.
    """
    step_s, wait_s = _measured(work, trained=False)
    script = step_s.get("torchscript")
    if mode != "aotinductor" or not script or compile.needed(work, "torchscript", graph):
        return ""
    if (work.store.root / task.place / ENDED).is_file():
        return ""  # it had, when a run was killed
    cores, walkers = work.campaign.cores, work.campaign.walkers
    wait = max(0.0, wait_s[mode] - compile.done_s(work, mode, graph))
    steps = work.campaign.settings.segment.steps * max(1.0, walkers / cores)
    beside = 0.0 if walkers < cores else wait / cores  # it takes its share of their cores
    now = steps * script + beside
    later = wait + steps * (step_s.get(mode) or script / SPEEDUP)
    if now >= later:
        return ""
    return (
        f"the next segment ends after about {now:.0f} s, with {mode} after {later:.0f} s; that is "
        "compiled meanwhile"
    )


def _cores(mode: str, cores: int) -> int:
    """TorchScript needs no compiler and uses one core."""
    return cores if mode == "aotinductor" else 1


def deploy(
    work: Work, number: int, name: str, trained: Outputs, how: Plan, *, again: bool = False
) -> Generation:
    """Make a generation's weights run in LAMMPS: swap them into the compilation.

    Where that cannot be done (another graph, weights that stand twice), compile the checkpoint.

    Args:
        work: the campaign at work.
        number: of the generation.
        name: of the generation.
        trained: outputs of its training.
        how: from `plan`.
        again: even if it was deployed before, on another machine.
    """
    inputs = _inputs(trained)
    record = None if again else work.store.done(deploy_task(name), inputs)
    if record is None:
        work.observer.begin(number, deploy_task(name), 1, "models")
        graph, weights = swap.read_weights(work.store.checked(trained["weights"]))
        compiled = compile.find(work, how.mode, graph)
        swapped = swap_into(work, name, compiled, trained, graph, weights) if compiled else None
        said = "weights swapped" if swapped else "compiled"
        work.observer.say(f"generation {name}: {how.mode}, {said} ({how.why})")
        alone = _compilation(work, number, name, trained, how=how, graph=graph)
        made = swapped or work.do([alone])[0]
        outputs, seconds = {**made, "why": how.why, "again": again}, made["seconds"]
        work.note(deploy_task(name), DEPLOY, number, outputs, inputs=inputs, seconds=seconds)
    else:
        outputs = dict(record.outputs)
    return _generation(work, number, name, trained, outputs)


def made(work: Work, number: int, name: str, trained: Outputs) -> Generation | None:
    """What `deploy` has made before, from its record; None if it was not deployed.

    Args:
        work: the campaign at work.
        number: of the generation.
        name: of the generation.
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
    """The first generation that was swapped into the same compilation; None: compiled alone."""
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
    """Write the compiled network with a generation's weights; None if they do not fit.

    What is returned is for the journal: see `Generation`.
    """
    started = time.perf_counter()
    try:
        content = swap.swap(compiled.file.read_bytes(), compiled.template, graph, weights)
    except (InputError, OSError) as error:
        work.observer.say(f"{compiled.file}: not used ({error})")
        return None
    outputs = _keep(work, name, compiled.stamp, content, trained=trained, graph=graph)
    seconds = time.perf_counter() - started
    return {**outputs, "compiled": compiled.place.name, "seconds": round(seconds, 3)}


def _keep(
    work: Work, name: str, stamp: Deployed, content: bytes, *, trained: Outputs, graph: str
) -> dict[str, Any]:
    """Write a deployed model of a generation; what the journal says of it."""
    place = f"{folder(name)}/{stamp.mode}-{stamp.device}"
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
            cores=_cores(how.mode, work.campaign.cores),
        )

    def read(finished: Finished) -> Outputs:
        stamp = models.read_deployment(finished)
        content = (finished.directory / stamp.file).read_bytes()
        outputs = _keep(work, name, stamp, content, trained=trained, graph=graph)
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
    """The mode in which all segments to come end earlier: compiling once, plus their steps.

    Args:
        work: the campaign.
        name: of the generation.
        graph: of its network.
        segments: to come, of a model that TorchScript runs already, and with no training beside
            which to compile; None for those of the rounds that are left.
    """
    settings = work.campaign.settings
    trained = segments is not None
    if segments is None:
        segments = settings.rounds - int(name) if name != FINAL else 0
    if segments < 1:
        return "torchscript", "no segment follows; `phasewalk deploy` makes the other kind"
    step_s, wait_s = _measured(work, trained=trained)
    script = step_s.get("torchscript") or SPEEDUP * step_s.get("aotinductor", 0.0)
    free = {mode: compile.find(work, mode, graph) is not None for mode in models.ENDINGS}
    if free["aotinductor"]:
        return "aotinductor", "compiled before"
    done_s = compile.done_s(work, "aotinductor", graph)
    if done_s == math.inf:
        return "aotinductor", "compiled beside the last round"
    if which("c++") is None:
        return "torchscript", "aotinductor needs a C++ compiler, and there is none"
    if not script:
        return "torchscript", "nothing measured yet; it compiles in seconds"
    share = max(1.0, work.campaign.walkers / work.campaign.cores)
    steps = segments * settings.segment.steps * share
    inductor = step_s.get("aotinductor") or script / SPEEDUP
    total = {
        "torchscript": wait_s["torchscript"] * (not (free["torchscript"] or trained))
        + steps * script,
        "aotinductor": max(0.0, wait_s["aotinductor"] - done_s) + steps * inductor,
    }
    shown = ", ".join(f"{mode} {seconds:.0f} s" for mode, seconds in total.items())
    return min(total, key=lambda mode: total[mode]), f"{segments} segments to come: {shown}"


def _measured(work: Work, *, trained: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of a step, and seconds of waiting for a compilation, by mode, from the journal.

    A compilation runs beside a training if one is to come and a core is left for it.
    """
    step_s: dict[str, float] = {}
    compile_s = dict(COMPILE_S)
    mode_of: dict[str, str] = {}
    beside = 0.0
    for record in work.store.records():
        made = record.made
        if isinstance(made, Compilation):
            compile_s[made.mode] = record.seconds
        elif isinstance(made, Trained):
            beside = record.seconds / made.epochs * work.campaign.settings.model.warm.epochs
        elif isinstance(made, DeployedModel):
            mode_of[made.generation] = made.mode
        elif isinstance(made, Evaluated) and made.generation in mode_of:
            step_s[mode_of[made.generation]] = made.seconds_per_step
    if trained or work.campaign.cores <= work.campaign.settings.model.threads:
        beside = 0.0
    return step_s, {mode: max(0.0, seconds - beside) for mode, seconds in compile_s.items()}
