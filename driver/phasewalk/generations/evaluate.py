"""Validate and evaluate a generation in LAMMPS, on probes, new frames and the test set."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from ase import Atoms

from .. import labels
from ..campaign import Outputs, Task, Work
from ..errors import GateFailed
from ..files import hash_of, made_by, read
from ..jobs import Finished, Job
from ..labelling import late
from ..labels import Label
from ..store import EVALUATE, GATE, PROVE, evaluate_task, gate_task, prove_task
from ..validation import Prediction, Probes, accuracy, compared, gate
from . import known
from .deploy import Generation, folder


def probes_for(work: Work, generation: Generation, trained: Outputs) -> Probes:
    """The probes of the gate: all for a new compilation, some for one validated before."""
    found = read_eager(work.store.checked(trained["eager"]))
    return Probes(
        frames=[atoms for atoms, _ in found],
        eager=[prediction for _, prediction in found],
        dtype=work.campaign.settings.model.dtype,
        full=generation.unproved_graph,
    )


def _eager(entry: Mapping[str, Any]) -> tuple[Atoms, Prediction]:
    return labels.frame_from_json(entry["frame"]), accuracy.prediction(entry)


_Eager = list[Annotated[tuple[Atoms, Prediction], made_by(_eager)]]


def read_eager(path: Path) -> list[tuple[Atoms, Prediction]]:
    """Read the predictions of the checkpoint for a few frames."""
    return read(path, _Eager)


def evaluation_task(
    work: Work,
    generation: Generation,
    *,
    round_: int,
    new: Sequence[Label],
    test: Sequence[Label],
    probes: Probes | None = None,
    beside: Callable[[], Sequence[Label]] = tuple,
    more: Callable[[], Outputs] = dict,
) -> Task:
    """The task that predicts new labels and test set in LAMMPS, and validates a new generation.

    All frames are in one job, so that LAMMPS starts once. A failed gate ends the campaign.

    Args:
        work: the campaign.
        generation: to evaluate.
        round_: number of the round.
        new: labels of the round.
        test: labels of the test set.
        probes: frames of the validation; None: validated before.
        beside: returns known labels from which the offset of the energies is determined.
        more: further outputs for the journal.
    """
    asked = probes.asked() if probes else []
    beside = cache(beside)  # not looked for if the task is done

    def frames() -> list[Atoms]:
        return [*(p.atoms for p in asked), *(one.atoms for one in (*new, *test, *beside()))]

    name = evaluate_task(generation.name, round_)

    def read(finished: Finished) -> Outputs:
        result = accuracy.read(finished)
        first, last = len(asked), len(asked) + len(new)
        end = last + len(test)
        offset = known.offsets(beside(), result.frames[end:])
        predicted = [
            *({"of": "new", **frame} for frame in compared(new, result.frames[first:last])),
            *({"of": "test", **frame} for frame in compared(test, result.frames[last:end])),
        ]
        file = f"rounds/{round_:03d}/frames-{generation.name}.json"
        work.store.keep(file, json.dumps(predicted).encode())
        outputs = {
            "generation": generation.name,
            "frames": file,
            "new": accuracy.errors(new, result.frames[first:last]).as_dict() if new else None,
            "test": accuracy.errors(test, result.frames[last:end]).as_dict() if test else None,
            "each": each(work, round_, new, result.frames[first:last], offset),
            "seconds_per_step": result.seconds_per_step,
            **({"known_offsets_meV_per_atom": offset} if offset else {}),
            **more(),
        }
        if probes:
            outputs["proof"] = _judge(work, generation, probes, result)
        return outputs

    return Task(
        name=name,
        stage=EVALUATE,
        round=round_,
        inputs=hash_of(
            "evaluate",
            generation.checkpoint_hash,
            [label.key for label in new],
            [labels.content_hash(label) for label in test],
        ),
        place=f"rounds/{round_:03d}/evaluate-{generation.name}",
        job=job(work, generation, name, frames, nve=probes is not None and probes.full),
        read=read,
    )


def job(
    work: Work,
    generation: Generation,
    name: str,
    frames: Callable[[], Sequence[Atoms]],
    *,
    nve: bool,
) -> Callable[[Path], Job]:
    """Returns a function that makes the job for a directory."""
    return lambda directory: accuracy.job(
        name,
        generation.deployed,
        frames=frames(),
        directory=directory,
        env=dict(work.engines.env),
        device=generation.stamp.device,
        nve_fs=gate.NVE_STEPS_FS if nve else (),
    )


def each(
    work: Work,
    round_: int,
    new: Sequence[Label],
    predictions: Sequence[Prediction],
    offset: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Errors of the model on each walker's frame of the round, also relative to the forces.

    Late labels, of the round before, are marked; those of the bootstrap have no walker.
    """
    earlier = round_ - 1 if late.recorded(work.store, round_ - 1) else None
    found = []
    for label, predicted in zip(new, predictions, strict=True):
        is_late = label.origin.get("round") == earlier is not None
        if "walker" not in label.origin:
            continue
        wrong = accuracy.errors([label], [predicted])
        found.append(
            {
                "walker": label.origin["walker"],
                "key": label.key,
                "force_rmse_meV_per_A": wrong.force_rmse_meV_per_A,
                "force_error_ratio": wrong.force_rmse_meV_per_A
                / max(wrong.force_rms_meV_per_A, 1e-6),
                "pressure_error_GPa": wrong.pressure_mae_GPa,
                **known.energy_error(label, predicted, offset),
                **({"late": True} if is_late else {}),
            }
        )
    return found


def proof_task(work: Work, generation: Generation, probes: Probes) -> Task:
    """The task that validates a generation deployed again on another machine."""
    name = prove_task(generation.name)

    def frames() -> list[Atoms]:
        return [probe.atoms for probe in probes.asked()]

    def read(finished: Finished) -> Outputs:
        return _judge(work, generation, probes, accuracy.read(finished))

    return Task(
        name=name,
        stage=PROVE,
        round=generation.number,
        inputs=hash_of("prove", generation.checkpoint_hash, asdict(generation.stamp)),
        place=f"rounds/{generation.number:03d}/prove-{generation.name}",
        job=job(work, generation, name, frames, nve=True),
        read=read,
    )


def _judge(
    work: Work, generation: Generation, probes: Probes, result: accuracy.Predictions
) -> dict[str, Any]:
    """Save the result of the validation; GateFailed if it failed."""
    proof = probes.judge(result, len(probes.asked()))
    text = gate.proof_text(proof, work.engines.versions)
    work.store.keep(f"{folder(generation.name)}/proof.json", text.encode())
    if not proof.passed:
        outputs = {"generation": generation.name, "failed": proof.failure()}
        work.note(gate_task(generation.name), GATE, generation.number, outputs)
        raise GateFailed(
            f"generation {generation.name} failed its validation and is not used: {proof.failure()}"
        )
    return {"checks": len(proof.checks), "warnings": list(proof.warnings)}


def say_errors(work: Work, name: str, found: Outputs) -> None:
    """Print the errors of a generation on the new frames and on the test set."""
    for what, title in (("new", "the round's new frames"), ("test", "the test set")):
        if found[what] is not None:
            e = found[what]
            scatter = e["energy_scatter_meV_per_atom"]
            shown = "" if scatter is None else f", energy scatter {scatter:.1f} meV/atom"
            work.observer.say(
                f"generation {name} on {title}: force MAE {e['force_mae_meV_per_A']:.0f} meV/Å "
                f"(zero forces: {e['force_zero_mae_meV_per_A']:.0f}, rms "
                f"{e['force_rms_meV_per_A']:.0f}), pressure MAE "
                f"{e['pressure_mae_GPa']:.2f} GPa{shown}"
            )
