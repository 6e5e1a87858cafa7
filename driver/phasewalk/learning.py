"""Train, prove and evaluate: from labels to the next generation, and how wrong each is."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ase import Atoms

from . import evaluation, gate, labels, models
from .deploying import FINAL, Generation, deploy, engines_for, folder
from .errors import GateFailed
from .gate import Probes
from .jobs import Event, Finished, Job, Running
from .labels import Label, split
from .model_settings import Budget, Statistics
from .store import file_hash, hash_of, read_json
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
    """Train, deploy, prove, evaluate."""
    work.observer.begin(number, f"train generation {name}", 0, "epochs")
    trained = work.do(tasks, _watch_training(work))[0]
    generation = deploy(work, number, name, trained)
    work.observer.begin(number, f"prove and evaluate generation {name}", 1, "jobs")
    probes = _probes(work, generation, trained)
    task = _evaluation(
        work, generation, round_=number, new=new, test=work.campaign.test_data, probes=probes
    )
    (found,) = work.do([task])
    for warning in found["proof"]["warnings"]:
        work.observer.say(f"generation {name}: {warning}")
    _say_errors(work, name, found)
    return generation


def _probes(work: Work, generation: Generation, trained: Outputs) -> Probes:
    """What the gate asks: all of a compilation, a part of it where it was proved before."""
    path = work.store.root / trained["eager"]
    data = read_json(path)
    return Probes(
        frames=[labels.frame_from_json(entry["frame"]) for entry in data],
        eager=[evaluation.prediction(entry) for entry in data],
        dtype=work.campaign.settings.model.dtype,
        full=generation.unproved_graph,
    )


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
    probed = _probed(known)

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
            probed=probed,
            seed=campaign.settings.seed,
            directory=directory,
        )

    def read(finished: Finished) -> Outputs:
        return {
            **_keep(work, name, models.read_training(finished), probed),
            "training_labels": len(training),
            "validation_labels": 0 if name == FINAL else len(validation),
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


def _keep(
    work: Work, name: str, trained: models.Trained, probed: Sequence[Atoms]
) -> dict[str, Any]:
    """Write what a training made into the generation's folder; what the journal says of it."""
    eager = [
        {"frame": labels.frame_to_json(atoms), **result}
        for atoms, result in zip(probed, read_json(trained.eager), strict=True)
    ]
    place = folder(name)
    work.store.write(f"{place}/weights.npz", trained.weights.read_bytes())
    work.store.write(f"{place}/eager.json", json.dumps(eager).encode())
    kept = work.store.write(f"{place}/checkpoint.ckpt", trained.checkpoint.read_bytes())
    return {
        "generation": name,
        "checkpoint": f"{place}/checkpoint.ckpt",
        "weights": f"{place}/weights.npz",
        "eager": f"{place}/eager.json",
        "sha256": file_hash(kept),
        "epochs": trained.last_epoch["epoch"],
        "last_epoch": trained.last_epoch,
    }


def _probed(known: Sequence[Label]) -> list[Atoms]:
    """A few real frames for the gate: the first, the densest, and the newest."""
    densest = min(known, key=lambda label: float(label.atoms.get_volume()) / len(label.atoms))
    chosen = {label.key: label.atoms for label in (known[0], densest, known[-1])}
    return list(chosen.values())


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
    work: Work,
    generation: Generation,
    *,
    round_: int,
    new: Sequence[Label],
    test: Sequence[Label],
    probes: Probes | None = None,
) -> Task:
    """Predict, in LAMMPS, the round's new labels and the test set; prove a new generation first.

    One job for all: LAMMPS starts once. A failed gate is an error that stops the campaign.
    """
    asked = probes.asked() if probes else []
    frames = [*(p.atoms for p in asked), *(label.atoms for label in (*new, *test))]
    name = f"evaluate generation {generation.name} on round {round_}"

    def job(directory: Path) -> Job:
        return evaluation.job(
            name,
            generation.deployed,
            frames=frames,
            directory=directory,
            env=dict(engines_for(work, generation).env),
            nve_fs=gate.NVE_STEPS_FS if probes and probes.full else (),
        )

    def read(finished: Finished) -> Outputs:
        result = evaluation.read(finished)
        first, last = len(asked), len(asked) + len(new)
        outputs = {
            "generation": generation.name,
            "new": evaluation.errors(new, result.frames[first:last]).as_dict() if new else None,
            "test": evaluation.errors(test, result.frames[last:]).as_dict() if test else None,
            "seconds_per_step": result.seconds_per_step,
        }
        if probes:
            proof = probes.judge(result, first)
            text = gate.proof_text(proof, work.engines.versions)
            work.store.write(f"{folder(generation.name)}/proof.json", text.encode())
            if not proof.passed:
                raise GateFailed(
                    f"generation {generation.name} failed its gate, and no walker will use it: "
                    f"{proof.failure()}"
                )
            outputs["proof"] = {"checks": len(proof.checks), "warnings": list(proof.warnings)}
        return outputs

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
