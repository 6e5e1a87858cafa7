"""A generation on several MPI ranks for each walker: a second deployed model, proved before use.

It is made like the first: the weights of the generation are written into a compilation of the
network, which runs beside the training and is shared by all generations. LAMMPS finds the file
beside that of the first model, by its name.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .. import models
from ..campaign import Outputs, Task, Work
from ..errors import EngineFailed, GateFailed, InputError
from ..files import check_file, file_hash, hash_of
from ..jobs import Finished, Job
from ..models import swap
from ..store import RANKS, ForRanks, Trained, ranks_task, train_task
from ..validation import Proof, proof_text
from ..validation import ranks as validation
from . import compile, deploy, evaluate, forms
from .compile import Compiled
from .deploy import Generation


def ready(work: Work, generation: Generation, trained_by: Work | None = None) -> Generation:
    """The generation with its model for `resources.ranks_per_walker`; unchanged if that is 1.

    Args:
        work: the campaign, or the free energy, in whose store the model is kept.
        generation: deployed for one rank.
        trained_by: the campaign that trained it; None: `work`.

    Raises:
        GateFailed: its results differ from those on one rank.
        EngineFailed: the network cannot be compiled for several ranks.
        ParseError: the model differs from the journal.
    """
    count = work.campaign.settings.resources.ranks_per_walker
    if count == 1:
        return generation
    campaign = trained_by or work
    name, inputs = ranks_task(generation.name, generation.stamp.mode), _inputs(generation, count)
    record = work.store.done(name, inputs)
    if record is None:
        content, stamp = _swapped(work, campaign, generation)
        work.observer.begin(generation.number, f"prove {name}", 1, "jobs")
        task = _task(work, campaign, generation, count, content=content, stamp=stamp)
        (outputs,) = work.do([task])
        made = ForRanks.model_validate(outputs)
    else:
        made = record.of(ForRanks)
    path = work.store.root / made.file
    check_file(path, made.sha256)
    return replace(generation, ranks=count, for_ranks=path)


def add(work: Work, last: Generation) -> None:
    """The last model for several ranks in both modes; what prevents it is printed."""
    other = forms.in_mode(work, last, forms.OTHER[last.stamp.mode])
    for form in (last, *((other,) if other else ())):
        try:
            ready(work, form)
        except (GateFailed, EngineFailed) as error:
            work.observer.say(f"the last model is not for several ranks: {error}")


def _inputs(generation: Generation, count: int) -> str:
    return hash_of("ranks", generation.checkpoint_hash, generation.deployed_hash, count)


def _swapped(work: Work, campaign: Work, generation: Generation) -> tuple[bytes, models.Deployed]:
    """The model and its stamp: a compilation with the weights of the generation."""
    mode, number = generation.stamp.mode, generation.number
    trained = _trained(campaign, generation)
    graph, weights = swap.read_weights(campaign.store.root / trained.weights)
    compiled = _find(work, campaign, mode, graph)
    configured = forms.network(campaign)
    if compiled is None and configured is not None and models.graph_of(configured) == graph:
        compiled = compile.make(work, number, mode=mode, network=configured, for_ranks=True)
    content = None if compiled is None else deploy.swapped(work, compiled, graph, weights)
    if compiled is None or content is None:
        why = compile.failure(work, mode, graph, for_ranks=True)
        raise EngineFailed(
            f"generation {generation.name} cannot run on several MPI ranks "
            f"(resources.ranks_per_walker): {why or 'there is no compilation for its weights'}; "
            "use ranks_per_walker: 1, or another deploy.mode"
        )
    stamp = replace(compiled.stamp, graph=graph, checkpoint=generation.checkpoint_hash)
    return content, stamp


def _find(work: Work, campaign: Work, mode: str, graph: str) -> Compiled | None:
    """A compilation of the campaign, of the free energy, or of the cache."""
    places = {place.store.root: place for place in (campaign, work)}
    found = (compile.find(place, mode, graph, for_ranks=True) for place in places.values())
    return next((one for one in found if one is not None), None)


def _trained(campaign: Work, generation: Generation) -> Trained:
    record = campaign.store.find(train_task(generation.name))
    if record is None:
        raise InputError(f"generation {generation.name}: the journal has no training of it")
    return record.of(Trained)


def _task(
    work: Work,
    campaign: Work,
    generation: Generation,
    count: int,
    *,
    content: bytes,
    stamp: models.Deployed,
) -> Task:
    """The task that validates the model in LAMMPS and, if it passes, saves it."""
    trained = _trained(campaign, generation)
    frames = [atoms for atoms, _ in evaluate.read_eager(campaign.store.root / trained.eager)]
    name = ranks_task(generation.name, stamp.mode)

    def job(directory: Path) -> Job:
        return validation.job(
            name,
            generation.deployed,
            content,
            ranks=count,
            frames=frames,
            directory=directory,
            mpiexec=work.engines.mpiexec,
            env=work.engines.env,
            device=stamp.device,
        )

    def read(finished: Finished) -> Outputs:
        check = validation.read(finished, ranks=count, dtype=stamp.dtype)
        if not check.ok:
            raise GateFailed(
                f"generation {generation.name} failed its validation and is not used: {check}"
            )
        work.observer.say(f"generation {generation.name}: {check}")
        return _keep(work, generation, count, Proof((check,)), content=content, stamp=stamp)

    return Task(
        name=name,
        stage=RANKS,
        round=generation.number,
        inputs=_inputs(generation, count),
        place=f"rounds/{generation.number:03d}/ranks-{generation.name}-{stamp.mode}",
        job=job,
        read=read,
    )


def _keep(
    work: Work,
    generation: Generation,
    count: int,
    proof: Proof,
    *,
    content: bytes,
    stamp: models.Deployed,
) -> Mapping[str, Any]:
    """Write the model, its stamp and its proof; what the journal says of it."""
    place = deploy.place_of(generation.name, stamp)
    file = f"{place}/{stamp.file}"
    work.store.keep(f"{file}.json", models.stamp_text(stamp).encode())
    work.store.keep(f"{file}.proof.json", proof_text(proof, work.engines.versions).encode())
    return {
        "generation": generation.name,
        "file": file,
        "sha256": file_hash(work.store.keep(file, content)),
        "mode": stamp.mode,
        "stamp": asdict(stamp),
        "ranks": count,
        "proof": {"checks": len(proof.checks), "warnings": list(proof.warnings)},
    }
