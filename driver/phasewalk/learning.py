"""Train, deploy and evaluate: from labels to a model that LAMMPS runs, and how wrong it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import evaluation, models
from .jobs import Event, Finished, Job, Running
from .labels import Label, split
from .model_settings import Budget, Statistics
from .models import Deployed
from .store import file_hash, hash_of
from .structures import fingerprint
from .tasks import Outputs, Task, Work

FINAL = "final"
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
        checkpoint_hash: of its content.
    """

    number: int
    name: str
    checkpoint: Path
    deployed: Path
    checkpoint_hash: str


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
    generation = _deploy(work, number, name, checkpoint, trained["sha256"])
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
        kept = work.store.write(f"{_folder(name)}/checkpoint.ckpt", checkpoint.read_bytes())
        return {
            "checkpoint": str(kept.relative_to(work.store.root)),
            "sha256": file_hash(kept),
            "generation": name,
            "training_labels": len(training),
            "validation_labels": len(validation),
            "epochs": last["epoch"],
            "last_epoch": last,
            "statistics": asdict(numbers),
        }

    before = previous.checkpoint_hash if previous else None
    return Task(
        name=f"train generation {name}",
        stage="train",
        round=round_,
        inputs=hash_of("train", [label.key for label in known], before, name),
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
                detail = f"force MAE {1000 * error:.0f} meV/Å (validation)" if error else ""
                work.observer.advance(last["epoch"], f"of {last['epochs']}; {detail}")

    return watch


def _folder(name: str) -> str:
    return f"models/gen-{int(name):03d}" if name != FINAL else f"models/{FINAL}"


def _deploy(
    work: Work, number: int, name: str, checkpoint: Path, checkpoint_hash: str
) -> Generation:
    """Compile in the configured mode; `auto` compiles what lets the next segment end earlier."""
    wanted = work.campaign.settings.deploy.mode
    mode, why = (
        (wanted, "as configured") if wanted != "auto" else choose_mode(work, final=name == FINAL)
    )
    work.observer.begin(number, f"deploy generation {name}", 1, "models")
    work.observer.say(f"generation {name}: {mode} ({why})")
    place = f"rounds/{number:03d}/deploy{'-final' if name == FINAL else ''}-{mode}"

    def job(directory: Path) -> Job:
        return models.deploy_job(
            f"deploy generation {name}",
            checkpoint,
            mode=mode,
            device=work.campaign.settings.deploy.device,
            directory=directory,
            cores=work.campaign.cores if mode == "aotinductor" else 1,
        )

    def read(finished: Finished) -> Outputs:
        stamp = models.read_deployment(finished)
        content = (finished.directory / stamp.file).read_bytes()
        folder = f"{_folder(name)}/{stamp.mode}-{stamp.device}"
        kept = work.store.write(f"{folder}/{stamp.file}", content)
        work.store.write(f"{folder}/stamp.json", models.stamp_text(stamp).encode())
        return {
            "generation": name,
            "file": str(kept.relative_to(work.store.root)),
            "sha256": file_hash(kept),
            "mode": mode,
            "why": why,
            "stamp": asdict(stamp),
        }

    task = Task(
        name=f"deploy generation {name}",
        stage="deploy",
        round=number,
        inputs=hash_of("deploy", checkpoint_hash),
        place=place,
        job=job,
        read=read,
    )
    (made,) = work.do([task])
    return Generation(
        number=number,
        name=name,
        checkpoint=checkpoint,
        deployed=work.store.root / made["file"],
        checkpoint_hash=checkpoint_hash,
    )


def choose_mode(work: Work, *, final: bool) -> tuple[str, str]:
    """The mode with which the next segment is estimated to end earlier, and the estimate."""
    steps = work.campaign.settings.segment.steps
    share = max(1.0, work.campaign.walkers / work.campaign.cores)
    compile_s, step_s = _measured(work)
    script = step_s.get("torchscript") or SPEEDUP * step_s.get("aotinductor", 0.0)
    if not script:
        return "torchscript", "nothing measured yet; it compiles in seconds"
    inductor = step_s.get("aotinductor") or script / SPEEDUP
    total = {
        "torchscript": compile_s.get("torchscript", 10.0) + steps * share * script,
        "aotinductor": compile_s.get("aotinductor", COMPILE_S) + steps * share * inductor,
    }
    mode = "torchscript" if final else min(total, key=lambda name: total[name])
    shown = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in total.items())
    return mode, f"compiling plus the next segment: {shown}"


def _measured(work: Work) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of a compilation, and of a step, by mode, from what the journal holds."""
    compile_s: dict[str, float] = {}
    step_s: dict[str, float] = {}
    mode_of: dict[str, str] = {}
    for record in work.store.records():
        if record.stage == "deploy":
            compile_s[record.outputs["mode"]] = record.seconds
            mode_of[record.outputs["generation"]] = record.outputs["mode"]
        elif record.stage == "evaluate" and record.outputs["generation"] in mode_of:
            step_s[mode_of[record.outputs["generation"]]] = record.outputs["seconds_per_step"]
    return compile_s, step_s


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
            env=dict(work.engines.env),
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
            [fingerprint(label.atoms) for label in test],
        ),
        place=f"rounds/{round_:03d}/evaluate-{generation.name}",
        job=job,
        read=read,
    )


def _say_errors(work: Work, name: str, found: Outputs) -> None:
    for what, title in (("new", "the round's new frames"), ("test", "the test set")):
        if found[what] is not None:
            e = found[what]
            work.observer.say(
                f"generation {name} on {title}: force MAE {e['force_mae_meV_per_A']:.0f} meV/Å "
                f"(of {e['force_rms_meV_per_A']:.0f} rms), pressure MAE "
                f"{e['pressure_mae_GPa']:.2f} GPa, energy scatter "
                f"{e['energy_scatter_meV_per_atom']:.1f} meV/atom"
            )


def deployed_stamp(work: Work, generation: Generation) -> Deployed:
    """The stamp of the artefact that walkers use."""
    return models.read_stamp(generation.deployed.with_name("stamp.json"))
