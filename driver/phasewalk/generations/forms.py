"""The last model in both modes: AOTInductor, which is fast, and TorchScript, which runs anywhere.

No segment follows the last training, so that a campaign need not wait for the compiler to deploy
it. The potential is used afterwards, though, for long runs. At the end of the campaign the weights
are therefore also written into a compilation in the other mode, which is made if there is none, and
the result is validated like any other model.
"""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import models
from ..campaign import Outputs, Task, Work, in_background
from ..errors import GateFailed
from ..files import check_file, hash_of
from ..jobs import Finished, Job
from ..models import swap
from ..store import (
    FAILED,
    FORM,
    DeployedModel,
    OtherForm,
    Trained,
    each,
    form_task,
    train_task,
)
from ..validation import accuracy, gate
from . import compile, deploy, evaluate
from .compile import Compiled
from .deploy import Generation

OTHER = {"torchscript": "aotinductor", "aotinductor": "torchscript"}


def add(work: Work, last: Generation) -> None:
    """Deploy the last model in the other mode too, unless the settings ask for TorchScript.

    What prevents it is printed, with what to do, and does not end the campaign.
    """
    mode = OTHER[last.stamp.mode]
    trained = work.store.find(train_task(last.name))
    if work.campaign.settings.deploy.mode == "torchscript" or trained is None:
        return
    record = work.store.done(form_task(last.name), _inputs(last, mode))
    if record is None or record.failed:
        why = _add(work, last, mode, trained.outputs)
        if why:
            checkpoint = shlex.quote(str(last.checkpoint))
            work.observer.say(
                f"generation {last.name} is deployed with {last.stamp.mode} only: {why}; when this "
                f"is mended, use `phasewalk run` again, or phasewalk deploy {checkpoint} "
                f"--mode {mode} -o my{models.ENDINGS[mode]}"
            )


def begin(work: Work, number: int, configured: Mapping[str, Any]) -> None:
    """Start the compilation that `add` will need beside the training of the final model.

    Args:
        work: the running campaign.
        number: number of the last round.
        configured: configuration of the network.
    """
    mode, graph = OTHER["torchscript"], models.graph_of(configured)
    wanted = work.campaign.settings.deploy.mode == "auto" and not _not_to_be_had(work, mode, graph)
    if wanted and compile.needed(work, mode, graph):
        work.ahead(in_background(compile.own_task(work, number, mode, configured)))


def _add(work: Work, last: Generation, mode: str, trained: Outputs) -> str:
    """Compile, write the weights, validate; returns why this failed, empty if it did not."""
    graph, weights = swap.read_weights(work.store.checked(trained["weights"]))
    configured = network(work)
    if configured is None or models.graph_of(configured) != graph:
        compiled = compile.find(work, mode, graph)
    else:
        if why := _not_to_be_had(work, mode, graph):
            return why
        compiled = compile.make(work, last.number, mode=mode, network=configured)
    content = None if compiled is None else deploy.swapped(work, compiled, graph, weights)
    if compiled is None or content is None:
        return compile.failure(work, mode, graph) or "there is no compilation for its weights"
    work.observer.begin(last.number, f"prove {mode} of generation {last.name}", 1, "jobs")
    (outputs,) = work.do([_task(work, last, compiled, content, trained=trained, graph=graph)])
    if FAILED in outputs:
        return str(outputs[FAILED])
    made = OtherForm.model_validate(outputs)
    speed = f"{1000 * made.seconds_per_step:.2g} ms/step"
    work.observer.say(f"generation {last.name}: also with {mode} ({speed}): {made.file}")
    return ""


def _not_to_be_had(work: Work, mode: str, graph: str) -> str:
    """Why the network is not compiled in this mode; empty if that can be tried."""
    if mode != "aotinductor" or compile.find(work, mode, graph) is not None:
        return ""
    if not work.engines.machine.has_compiler:
        return f"{mode} needs a C++ compiler (c++), which was not found"
    if work.campaign.settings.deploy.mode == mode:
        return ""  # also if it failed before
    failed = compile.failure(work, mode, graph)
    return f"{failed} (deploy.mode: {mode} tries again)" if failed else ""


def _task(
    work: Work,
    last: Generation,
    compiled: Compiled,
    content: bytes,
    *,
    trained: Outputs,
    graph: str,
) -> Task:
    """The task that validates the model in LAMMPS and, if it passes, saves it."""
    stamp = compiled.stamp
    known = any(
        made.compiled == compiled.place.name
        for _, made in each(work.store.records(), DeployedModel)
    )
    probes = evaluate.probes_for(work, replace(last, unproved_graph=not known), trained)
    name = form_task(last.name)

    def job(directory: Path) -> Job:
        found = accuracy.job(
            name,
            Path(stamp.file),
            frames=[probe.atoms for probe in probes.asked()],
            directory=directory,
            env=dict(work.engines.env),
            device=stamp.device,
            nve_fs=gate.NVE_STEPS_FS if probes.full else (),
        )
        # No file of the campaign before it is validated: the model itself is an input.
        return replace(
            found, inputs={**found.inputs, **dict.fromkeys(found.links, content)}, links={}
        )

    def read(finished: Finished) -> Outputs:
        result = accuracy.read(finished)
        proof = probes.judge(result, len(probes.asked()))
        if not proof.passed:
            raise GateFailed(f"it failed its validation: {proof.failure()}")
        text = gate.proof_text(proof, work.engines.versions)
        place = deploy.place_of(last.name, stamp)
        work.store.keep(f"{place}/proof.json", text.encode())
        return {
            **deploy.keep(work, last.name, stamp, content, trained=trained, graph=graph),
            "seconds_per_step": result.seconds_per_step,
            "proof": {"checks": len(proof.checks), "warnings": list(proof.warnings)},
        }

    return Task(
        name=name,
        stage=FORM,
        round=last.number,
        inputs=_inputs(last, stamp.mode),
        place=f"rounds/{last.number:03d}/form-{last.name}",
        job=job,
        read=read,
        may_fail=True,
        again=True,
    )


def in_mode(work: Work, generation: Generation, mode: str) -> Generation | None:
    """The generation in the mode that `add` made; None without one that runs on the machine.

    Raises:
        ParseError: its deployed model differs from the journal.
    """
    record = work.store.done(form_task(generation.name), _inputs(generation, mode))
    if record is None or record.failed:
        return None
    made = record.of(OtherForm)
    stamp = models.stamp_from_json(made.stamp)
    if models.misfit(stamp, work.engines.machine):
        return None
    path = work.store.root / made.file
    check_file(path, made.sha256)
    return replace(generation, deployed=path, stamp=stamp, deployed_hash=made.sha256)


def network(work: Work) -> Mapping[str, Any] | None:
    """Configuration of the network, which all generations share; None before the first."""
    first = work.store.find(train_task(0))
    if first is None:
        return None
    settings = work.campaign.settings
    return models.network(
        work.campaign.types,
        settings=settings.model,
        numbers=models.stored_statistics(first.of(Trained).statistics),
        seed=settings.seed,
    )


def _inputs(generation: Generation, mode: str) -> str:
    return hash_of("form", generation.checkpoint_hash, mode)
