"""Train, deploy, validate and evaluate the next generation."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ase import Atoms

from .. import labels, models
from ..campaign import Outputs, Task, Work, in_background
from ..files import check_file, file_hash, read
from ..jobs import Event, Finished, Job, Running
from ..labelling import isolated_atoms, locate
from ..labels import Label
from ..models import Budget, Statistics, left_behind, network
from ..moment import FORCE_MAE, Pace, Seen
from ..store import FINAL, TRAIN, Trained, deploy_task, held_out_task, train_task
from ..validation import explained
from . import forms, inputs
from . import known as known_labels
from .deploy import Generation, deploy, folder, made, plan
from .evaluate import evaluation_task, probes_for, proof_task, say_errors
from .known import Sets

FIRST = "0"


def learn(
    work: Work,
    number: int,
    *,
    known: Sequence[Label],
    new: Sequence[Label],
    previous: Generation | None,
) -> Generation:
    """Train generation `number` on all labels; evaluate the previous one on the new labels."""
    if previous is not None and new:
        _hold_out(work, number, known=known, new=new, previous=previous)
    sets = known_labels.sets(work, known)
    train = _of_round(work, number, sets, previous)
    if work.store.find("train generation 0") is None:
        source = _statistics(work, sets.training).shifts_from
        work.observer.say(f"zero of the model's energies: {source}")
        if advice := explained.advice(work.campaign.settings.model):
            work.observer.say(advice)
    beside = _beside(work, number, known=known, new=new, previous=previous)
    tasks = [train, *beside]
    generation = _finish(
        work, number, str(number), known, sets=sets, tasks=tasks, new=new, previous=previous
    )
    locate.say_failures(work, number)
    return generation


def learned(
    work: Work,
    number: int,
    *,
    known: Sequence[Label],
    new: Sequence[Label],
    previous: Generation | None,
) -> Generation | None:
    """The result of `learn` from its records; None if a part of it is not finished."""
    train = _of_round(work, number, known_labels.sets(work, known), previous)
    trained = work.store.done(train.name, train.inputs)
    generation = None if trained is None else made(work, number, str(number), trained.outputs)
    if generation is None:
        return None
    test = work.campaign.test_data
    evaluation = evaluation_task(work, generation, round_=number, new=new, test=test)
    proved = work.store.done(evaluation.name, evaluation.inputs)
    beside = _beside(work, number, known=known, new=new, previous=previous)
    done = proved is not None and "proof" in proved.outputs and all(map(work.is_done, beside))
    return generation if done else None


def _of_round(work: Work, number: int, sets: Sets, previous: Generation | None) -> Task:
    """The training task of a round."""
    settings = work.campaign.settings.model
    budget = settings.first if previous is None else settings.warm
    return _training(work, str(number), sets, budget=budget, previous=previous, round_=number)


def _beside(
    work: Work,
    number: int,
    *,
    known: Sequence[Label],
    new: Sequence[Label],
    previous: Generation | None,
) -> list[Task]:
    """Tasks that run in parallel with the training of a round."""
    found = locate.tasks(work, number, known if previous is None else new)
    if previous is None:
        found += locate.tasks(work, number, work.campaign.test_data, test=True)
    elif new:
        found.append(_on_new(work, number, known=known, new=new, previous=previous))
    return found


def _on_new(
    work: Work,
    number: int,
    *,
    known: Sequence[Label],
    new: Sequence[Label],
    previous: Generation,
) -> Task:
    """The evaluation of the generation that drove a round's walkers on their new labels."""
    before = known[: len(known) - len(new)]
    beside = functools.partial(known_labels.to_compare, work, before, new)
    return evaluation_task(work, previous, round_=number, new=new, test=(), beside=beside)


def _hold_out(
    work: Work,
    number: int,
    *,
    known: Sequence[Label],
    new: Sequence[Label],
    previous: Generation,
) -> None:
    """Decide which new labels are not used for training, if this is not decided yet."""
    done = (held_out_task(number), train_task(number))
    if work.campaign.settings.policy.hold_out is None or any(map(work.store.find, done)):
        return
    (found,) = work.do([_on_new(work, number, known=known, new=new, previous=previous)])
    known_labels.hold_out(work, number, found)


def learn_final(work: Work, known: Sequence[Label], last: Generation) -> Generation:
    """The final model of the campaign, trained on all labels."""
    final = work.campaign.settings.model.final
    if final is None:
        return last
    if not final.from_scratch:
        check_file(last.checkpoint, last.checkpoint_hash)
    sets = known_labels.sets(work, known)
    train = _training(
        work,
        FINAL,
        sets,
        budget=final.budget,
        previous=None if final.from_scratch else last,
        round_=last.number,
    )
    if work.store.find(deploy_task(FINAL)) is None:
        forms.begin(work, last.number, _network(work, sets.training))
    return _finish(work, last.number, FINAL, known, sets=sets, tasks=[train], new=(), previous=last)


def _finish(
    work: Work,
    number: int,
    name: str,
    known: Sequence[Label],
    *,
    sets: Sets,
    tasks: Sequence[Task],
    new: Sequence[Label],
    previous: Generation | None,
) -> Generation:
    """Train (in parallel with other tasks and the compiler), deploy, validate and evaluate."""
    how = plan(work, number, name, _network(work, sets.training))
    work.observer.begin(number, f"train generation {name}", 0, "epochs")
    zero, _ = explained.of_zero(sets.validation)
    watch = _watch_training(work, None if name == FINAL else zero)
    for task in how.ahead:
        work.ahead(in_background(task), anew=True)
    trained = work.do([*tasks, *how.compilation], watch)[0]
    generation = deploy(work, number, name, trained, how)
    work.observer.begin(number, f"prove and evaluate generation {name}", 1, "jobs")
    probes = probes_for(work, generation, trained)
    before = None if previous is None else (previous.name, previous.number)
    task = evaluation_task(
        work,
        generation,
        round_=number,
        new=new,
        test=work.campaign.test_data,
        probes=probes,
        more=lambda: known_labels.bonds(work, known, before),
    )
    (found,) = work.do([task])
    for warning in found["proof"]["warnings"]:
        work.observer.say(f"generation {name}: {warning}")
    say_errors(work, name, found)
    return generation


def _network(work: Work, training: Sequence[Label]) -> Mapping[str, Any]:
    """The configuration of the network, which all generations share."""
    campaign = work.campaign
    return network(
        campaign.types,
        settings=campaign.settings.model,
        numbers=_statistics(work, training),
        seed=campaign.settings.seed,
    )


def fit(work: Work, generation: Generation) -> Generation:
    """The generation in a form that the machine of the segments can run.

    If it was compiled for another machine, on which the campaign ran before, it is deployed and
    validated again.

    Raises:
        ParseError: its checkpoint or its deployed model differs from the journal.
    """
    check_file(generation.checkpoint, generation.checkpoint_hash)
    check_file(generation.deployed, generation.deployed_hash)
    found = work.store.find(train_task(generation.name))
    if found is None:
        return generation
    trained, name, number = found.outputs, generation.name, generation.number
    reason = models.misfit(generation.stamp, work.engines.machine)
    if reason:
        work.observer.say(f"generation {name}: {reason}; it is deployed again")
        how = plan(work, number, name, _network(work, ()), again=True)
        work.do(how.compilation)
        generation = deploy(work, number, name, trained, how, again=True)
    if generation.again:
        work.observer.begin(number, f"prove generation {name}", 1, "jobs")
        probes = probes_for(work, generation, trained)
        work.do([proof_task(work, generation, probes)])
    return generation


def _training(
    work: Work,
    name: str,
    sets: Sets,
    *,
    budget: Budget,
    previous: Generation | None,
    round_: int,
) -> Task:
    campaign, known, validation = work.campaign, sets.labels, sets.validation
    final = name == FINAL
    training = known if final else sets.training
    statistics = functools.cache(lambda: _statistics(work, training))

    def start(directory: Path) -> Job:
        job = models.training_job(
            train_task(name),
            training,
            validation=validation,
            types=campaign.types,
            settings=campaign.settings.model,
            budget=budget,
            numbers=statistics(),
            previous=previous.checkpoint if previous else None,
            probed=known_labels.probed(known),
            seed=campaign.settings.seed,
            directory=directory,
        )
        return _continued(work, job, budget.epochs)

    def read(finished: Finished) -> Outputs:
        trained, numbers = models.read_training(finished), statistics()
        found = None
        if not final:
            found = _worth(work, name, trained, validation, budget=budget, numbers=numbers)
        return {
            **({"trained_with": campaign.settings.model.of_every_training} if final else {}),
            **_keep(work, name, trained, known_labels.probed(known)),
            "validation": found and found.as_dict(),
            "training_labels": len(training),
            "validation_labels": 0 if final else len(validation),
            "statistics": asdict(numbers),
            "optimizer": campaign.settings.model.optimizer,
        }

    before = previous.checkpoint_hash if previous else None
    keys = [label.key for label in known]
    asked = inputs.of_final(work, keys, before, budget) if final else inputs.of(keys, before, name)
    return Task(
        name=train_task(name),
        stage=TRAIN,
        round=round_,
        inputs=asked,
        place=f"rounds/{round_:03d}/train{'-final' if final else ''}",
        job=start,
        read=read,
    )


def _worth(
    work: Work,
    name: str,
    trained: models.Trained,
    validation: Sequence[Label],
    *,
    budget: Budget,
    numbers: Statistics,
) -> explained.Explained | None:
    """Print the fraction of the forces that a generation explains; TooPoor if it is too small."""
    found = explained.explained(trained.last_epoch, validation)
    model = work.campaign.settings.model
    explained.check(
        name, found, settings=model, budget=budget, numbers=numbers, first=name == FIRST
    )
    if found is not None:
        work.observer.say(f"generation {name}: {found}")
    return found


def _continued(work: Work, job: Job, epochs: int) -> Job:
    """The training job, continued from an earlier try that was killed."""
    left = left_behind(job)
    for path in left.damaged:
        work.observer.say(f"{path}: damaged; the training is not continued from it")
    if left.place is None:
        return job
    work.observer.say(
        f"{job.name} continues after {left.epochs} of {epochs} epochs of an earlier try "
        f"({left.place})"
    )
    return replace(job, inputs={**job.inputs, **left.inputs}, links={**job.links, **left.links})


def _keep(
    work: Work, name: str, trained: models.Trained, probed: Sequence[Atoms]
) -> dict[str, Any]:
    """Save the results of a training; returns the outputs for the journal."""
    eager = [
        {"frame": labels.frame_to_json(atoms), **result}
        for atoms, result in zip(probed, read(trained.eager, list[dict[str, Any]]), strict=True)
    ]
    place = folder(name)
    work.store.keep(f"{place}/weights.npz", trained.weights.read_bytes())
    work.store.keep(f"{place}/eager.json", json.dumps(eager).encode())
    kept = work.store.keep(f"{place}/checkpoint.ckpt", trained.checkpoint.read_bytes())
    return {
        "generation": name,
        "checkpoint": f"{place}/checkpoint.ckpt",
        "weights": f"{place}/weights.npz",
        "eager": f"{place}/eager.json",
        "sha256": file_hash(kept),
        "epochs": trained.last_epoch["epoch"],
        "last_epoch": trained.last_epoch,
    }


def _statistics(work: Work, training: Sequence[Label]) -> Statistics:
    """The statistics of generation 0, which all later generations share."""
    first = work.store.find(train_task(0))
    if first is not None:
        return models.stored_statistics(first.of(Trained).statistics)
    campaign = work.campaign
    return models.statistics(
        training, campaign.types, campaign.settings.model.cutoff_A, isolated_atoms.energies(work)
    )


def _watch_training(work: Work, zero: float | None = None) -> Callable[[Event], None]:
    """Shows the last epoch of a training, with the MAE (meV/Å) of zero forces."""
    pace = Pace()
    beside = f", zero forces: {zero:.0f}" if zero else ""

    def watch(event: Event) -> None:
        if isinstance(event, Running) and event.job.kind == "train":
            last = models.training_progress(event.job.directory)
            if last is not None:
                error, total = last.get("forces_mae"), last.get("epochs")
                on = "" if FINAL in event.job.name else f" (validation{beside})"
                seen = Seen(
                    numbers={FORCE_MAE: round(1000 * error, 2)} if error else {},
                    total=total,
                    seconds_left=pace.left(last["epoch"], total, event.seconds) if total else None,
                )
                detail = f"force MAE {1000 * error:.0f} meV/Å{on}" if error else ""
                work.observer.advance(last["epoch"], detail, seen)

    return watch
