"""Train and evaluate: from labels to the next generation, and how wrong each is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import evaluation, labels, models
from .deploying import FINAL, Generation, deploy, engines_for, folder
from .jobs import Event, Finished, Job, Running
from .labels import Label, split
from .model_settings import Budget, Statistics
from .store import file_hash, hash_of
from .tasks import Outputs, Task, Work


def learn(
    work: Work,
    number: int,
    *,
    known: Sequence[Label],
    new: Sequence[Label],
    previous: Generation | None,
) -> Generation:
    """Make generation `number` from all labels; meanwhile measure the last one on the new."""
    settings = work.campaign.settings.model
    budget = settings.first if previous is None else settings.warm
    train = _training(work, str(number), known, budget=budget, previous=previous, round_=number)
    tasks = [train]
    if previous is not None and new:
        tasks.append(_evaluation(work, previous, round_=number, new=new, test=()))
    return _finish(work, number, str(number), tasks, new=new)


def learn_final(work: Work, known: Sequence[Label], last: Generation) -> Generation:
    """The model that the campaign leaves behind, trained on all labels."""
    final = work.campaign.settings.model.final
    if final is None:
        return last
    train = _training(
        work,
        FINAL,
        known,
        budget=final.budget,
        previous=None if final.from_scratch else last,
        round_=last.number,
    )
    return _finish(work, last.number, FINAL, [train], new=())


def _finish(
    work: Work, number: int, name: str, tasks: Sequence[Task], *, new: Sequence[Label]
) -> Generation:
    """Train, deploy, evaluate."""
    work.observer.begin(number, f"train generation {name}", 0, "epochs")
    trained = work.do(tasks, _watch_training(work))[0]
    checkpoint = work.store.root / trained["checkpoint"]
    generation = deploy(work, number, name, checkpoint, trained["sha256"])
    test = work.campaign.test_data
    work.observer.begin(number, f"evaluate generation {name}", 1, "jobs")
    if new or test or number == 0:
        evaluate = _evaluation(work, generation, round_=number, new=new, test=test)
        (found,) = work.do([evaluate])
        _say_errors(work, name, found)
    return generation


def _training(
    work: Work,
    name: str,
    known: Sequence[Label],
    *,
    budget: Budget,
    previous: Generation | None,
    round_: int,
) -> Task:
    campaign = work.campaign
    validate = split(len(known), campaign.settings.validation_every)
    training = [label for label, held_back in zip(known, validate, strict=True) if not held_back]
    validation = [label for label, held_back in zip(known, validate, strict=True) if held_back]
    if name == FINAL:
        training = list(known)
    numbers = _statistics(work, training)

    def job(directory: Path) -> Job:
        return models.training_job(
            f"train generation {name}",
            training,
            validation=validation,
            types=campaign.types,
            settings=campaign.settings.model,
            budget=budget,
            numbers=numbers,
            previous=previous.checkpoint if previous else None,
            seed=campaign.settings.seed,
            directory=directory,
        )

    def read(finished: Finished) -> Outputs:
        checkpoint, last = models.read_training(finished)
        kept = work.store.write(f"{folder(name)}/checkpoint.ckpt", checkpoint.read_bytes())
        return {
            "checkpoint": str(kept.relative_to(work.store.root)),
            "sha256": file_hash(kept),
            "generation": name,
            "training_labels": len(training),
            "validation_labels": 0 if name == FINAL else len(validation),
            "epochs": last["epoch"],
            "last_epoch": last,
            "statistics": asdict(numbers),
        }

    before = previous.checkpoint_hash if previous else None
    again = budget.model_dump() if name == FINAL else None  # may be asked for with a larger one
    return Task(
        name=f"train generation {name}",
        stage="train",
        round=round_,
        inputs=hash_of("train", [label.key for label in known], before, name, again),
        place=f"rounds/{round_:03d}/train{'-final' if name == FINAL else ''}",
        job=job,
        read=read,
    )


def _statistics(work: Work, training: Sequence[Label]) -> Statistics:
    """The statistics of generation 0, which all later ones share."""
    for record in work.store.records():
        if record.task == "train generation 0":
            stored: Mapping[str, Any] = record.outputs["statistics"]
            return Statistics(**{**stored, "energy_shifts": tuple(stored["energy_shifts"])})
    campaign = work.campaign
    return models.statistics(training, campaign.types, campaign.settings.model.cutoff_A)


def _watch_training(work: Work) -> Callable[[Event], None]:
    def watch(event: Event) -> None:
        if isinstance(event, Running) and event.job.name.startswith("train"):
            last = models.training_progress(event.job.directory)
            if last is not None:
                error = last.get("forces_mae")
                on = "" if FINAL in event.job.name else " (validation)"
                detail = f"force MAE {1000 * error:.0f} meV/Å{on}" if error else ""
                work.observer.advance(last["epoch"], f"of {last['epochs']}; {detail}")

    return watch


def _evaluation(
    work: Work, generation: Generation, *, round_: int, new: Sequence[Label], test: Sequence[Label]
) -> Task:
    """Predict, in LAMMPS, the round's new labels and the fixed test set."""
    frames = [label.atoms for label in (*new, *test)]
    if not frames:  # generation 0 without test data: what a step costs is still worth knowing
        frames = list(work.campaign.structures.values())
    name = f"evaluate generation {generation.name} on round {round_}"

    def job(directory: Path) -> Job:
        return evaluation.job(
            name,
            generation.deployed,
            frames=frames,
            directory=directory,
            env=dict(engines_for(work, generation).env),
        )

    def read(finished: Finished) -> Outputs:
        result = evaluation.read(finished)
        predictions = result.frames
        count = len(new)
        return {
            "generation": generation.name,
            "new": evaluation.errors(new, predictions[:count]).as_dict() if new else None,
            "test": evaluation.errors(test, predictions[count:]).as_dict() if test else None,
            "seconds_per_step": result.seconds_per_step,
        }

    return Task(
        name=name,
        stage="evaluate",
        round=round_,
        inputs=hash_of(
            "evaluate",
            generation.checkpoint_hash,
            [label.key for label in new],
            [labels.content_hash(label) for label in test],
        ),
        place=f"rounds/{round_:03d}/evaluate-{generation.name}",
        job=job,
        read=read,
    )


def _say_errors(work: Work, name: str, found: Outputs) -> None:
    for what, title in (("new", "the round's new frames"), ("test", "the test set")):
        if found[what] is not None:
            e = found[what]
            scatter = e["energy_scatter_meV_per_atom"]
            shown = "" if scatter is None else f", energy scatter {scatter:.1f} meV/atom"
            work.observer.say(
                f"generation {name} on {title}: force MAE {e['force_mae_meV_per_A']:.0f} meV/Å "
                f"(of {e['force_rms_meV_per_A']:.0f} rms), pressure MAE "
                f"{e['pressure_mae_GPa']:.2f} GPa{shown}"
            )
