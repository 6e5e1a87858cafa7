"""Segments: from a deployed model to candidates, with the bias and the walkers carried on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from ase import Atoms

from . import bias, labels, plumed, walkers
from .bias import HillsRecord
from .candidates import Candidate, select
from .decks import lammps_frame
from .deploying import Generation, engines_for
from .jobs import Event, Finished, Running
from .labelling import Frame
from .store import hash_of, read_json
from .structures import fingerprint
from .tasks import FAILED, Outputs, Task, Work
from .walkers import SegmentPlan, Walker, WalkerResult

BREAKDOWN_FS = 20.0
"""The last frames of a walker that was halted are already part of its breakdown."""


def walker_id(system: str, index: int) -> str:
    """Name of a walker: its system and its number there, from 0."""
    return f"{system}-{index}"


def walk(work: Work, round_: int, generation: Generation) -> list[Frame]:
    """One segment of all walkers with a generation; returns the candidates."""
    plan = segment_plan(work, round_, generation)
    task = Task(
        name=f"segment {round_}",
        stage="segment",
        round=round_,
        inputs=hash_of(
            "segment",
            generation.checkpoint_hash,
            [(w.id, w.step, fingerprint(w.atoms)) for w in plan.walkers],
            {name: bias.record_to_text(record) for name, record in plan.records.items()},
        ),
        place=f"rounds/{round_:03d}/segment",
        job=lambda directory: walkers.job(
            plan, engines=engines_for(work, generation), directory=directory
        ),
        read=lambda finished: _read_segment(work, plan, finished),
    )
    total = len(plan.walkers) * plan.settings.steps
    work.observer.begin(round_, "segment", total, "steps")
    (outputs,) = work.do([task], _watch_segment(work, plan))
    _say_segment(work, round_, outputs)
    entries = {entry["walker"]: entry for entry in outputs["walkers"]}
    frames = []
    for state in read_json(work.store.root / f"rounds/{round_:03d}/walkers.json"):
        entry = entries[state["walker"]]
        if entry["candidate_step"] is not None:
            origin = {
                "system": state["system"],
                "round": round_,
                "walker": state["walker"],
                "step": entry["candidate_step"],
            }
            frames.append(Frame(labels.frame_from_json(state["frame"]), state["system"], origin))
    return frames


def segment_plan(work: Work, round_: int, generation: Generation) -> SegmentPlan:
    """What all walkers do in a round: from where, with which model, with which bias."""
    settings = work.campaign.settings
    return SegmentPlan(
        round=round_,
        generation=generation.number,
        walkers=tuple(_stand(work, round_)),
        systems=settings.systems,
        settings=settings.segment,
        records={name: _hills(work, name, round_) for name in settings.systems},
        model=generation.deployed,
        type_names=work.campaign.types,
        seed=settings.seed,
    )


def _roster(work: Work, round_: int) -> list[tuple[str, int]]:
    """System and index of each walker of a round: as journalled, else as configured now."""
    record = work.store.find(f"segment {round_}")
    if record is not None:
        names = [(entry["system"], entry["walker"]) for entry in record.outputs["walkers"]]
        return [(system, int(walker.rsplit("-", 1)[1])) for system, walker in names]
    systems = work.campaign.settings.systems
    return [(name, index) for name in systems for index in range(systems[name].walkers)]


def _stand(work: Work, round_: int) -> list[Walker]:
    """Where each walker stands before the round."""
    before = _before(work, round_)
    step = max((entry["next_step"] for entry in before.values()), default=0)
    found = []
    for name, index in _roster(work, round_):
        identifier = walker_id(name, index)
        entry = before.get(identifier)
        if entry is None:
            atoms = walkers.reduce_cell(lammps_frame(work.campaign.structures[name]))
        elif _rejected(work, entry):
            atoms = labels.frame_from_json(entry["came_from"])  # with new velocities
        else:
            atoms = _with_velocities(entry["frame"])
        found.append(Walker(identifier, name, index, atoms, step))
    return found


def _before(work: Work, round_: int) -> dict[str, dict[str, Any]]:
    """The states of the walkers after the round before, by walker."""
    if round_ <= 1:
        return {}
    path = work.store.root / f"rounds/{round_ - 1:03d}/walkers.json"
    return {entry["walker"]: entry for entry in read_json(path)}


def _rejected(work: Work, entry: Mapping[str, Any]) -> bool:
    """Whether a walker has no frame that is worth going on from: none, or its label failed."""
    if not entry["good"]:
        return True
    at = labels.level(
        work.campaign.settings.reference, work.campaign.cell_multiples[entry["system"]]
    )
    key = labels.label_key(labels.frame_from_json(entry["frame"]), at)
    return any(r.inputs == key and FAILED in r.outputs for r in work.store.records())


def _with_velocities(frame: Mapping[str, Any]) -> Atoms:
    atoms = labels.frame_from_json(frame)
    if frame.get("velocities") is not None:
        atoms.set_velocities(np.array(frame["velocities"]))
    return atoms


def _frame_json(atoms: Atoms) -> dict[str, Any]:
    """A frame with its velocities (ASE units; null where they are to be drawn)."""
    velocities = atoms.get_velocities() if atoms.has("momenta") else None
    return {
        **labels.frame_to_json(atoms),
        "velocities": None if velocities is None else velocities.tolist(),
    }


def _hills(work: Work, system: str, round_: int) -> HillsRecord:
    """All hills of a system from before the round.

    Those that a walker laid on the way to a frame whose label failed do not count any more.
    """
    for earlier in range(round_ - 1, 0, -1):
        path = work.store.root / f"bias/{system}/round-{earlier:03d}.tsv"
        if path.is_file():
            record = bias.record_from_text(path.read_text(), path=path)
            break
    else:
        return HillsRecord(system)
    for walker, entry in _before(work, round_).items():
        if entry["system"] == system and _rejected(work, entry):
            record = bias.deactivate(record, walker=walker, round=round_ - 1)
    return record


def _read_segment(work: Work, plan: SegmentPlan, finished: Finished) -> Outputs:
    """Candidates, hills, and where the walkers go on from; written before the journal knows."""
    result = walkers.read(finished, plan)
    records = dict(walkers.merged_records(plan, result))
    states, entries = [], []
    for walker, outcome in zip(plan.walkers, result.walkers, strict=True):
        chosen = select(
            walker.id,
            walker.system,
            frames=_usable(plan, walker, outcome),
            start=work.campaign.structures[walker.system],
            settings=work.campaign.settings.candidates,
        )
        if walker.system in records and chosen.step < outcome.last_step:
            records[walker.system] = bias.deactivate(
                records[walker.system],
                walker=walker.id,
                round=plan.round,
                after_step=max(chosen.step, walker.step),
            )
        states.append(_state(plan, walker, chosen))
        entries.append(_entry(chosen, outcome))
    for name, record in records.items():
        text = bias.record_to_text(record)
        work.store.write(f"bias/{name}/round-{plan.round:03d}.tsv", text.encode())
    work.store.write(f"rounds/{plan.round:03d}/walkers.json", json.dumps(states).encode())
    return {
        "generation": plan.generation,
        "walkers": entries,
        "hills": {
            name: _hill_counts(plan, result.walkers, record) for name, record in records.items()
        },
    }


def _usable(plan: SegmentPlan, walker: Walker, outcome: WalkerResult) -> list[tuple[int, Atoms]]:
    """Frames that may become a candidate: not the start, and not the way into a breakdown."""
    garbage = round(BREAKDOWN_FS / plan.settings.timestep_fs) if outcome.halted else 0
    return [
        (frame.step, frame.atoms)
        for frame in outcome.frames
        if walker.step < frame.step <= outcome.last_step - garbage
    ]


def _state(plan: SegmentPlan, walker: Walker, chosen: Candidate) -> dict[str, Any]:
    """Where a walker goes on from, and where it came from in case its label fails."""
    goes_on = walker.atoms if chosen.atoms is None else walkers.reduce_cell(chosen.atoms)
    return {
        "walker": walker.id,
        "system": walker.system,
        # All walkers begin each round at the same step, so that hill times stay monotonic.
        "next_step": walker.step + plan.settings.steps,
        "good": chosen.atoms is not None,
        "frame": _frame_json(goes_on),
        "came_from": _frame_json(walker.atoms),
    }


def _entry(chosen: Candidate, result: WalkerResult) -> dict[str, Any]:
    """What the journal says of a walker."""
    return {
        "walker": result.id,
        "system": result.system,
        "steps_done": result.steps_done,
        "halted": result.halted,
        "candidate_step": chosen.step if chosen.atoms is not None else None,
        "candidate": chosen.reason,
        "volume_A3": float(chosen.atoms.get_volume()) if chosen.atoms is not None else None,
        "mean_temperature_K": result.mean_temperature_K,
        "colvars": [asdict(colvar) for colvar in result.colvars],
        "hills": len(result.new_hills),
        "seconds": result.seconds,
    }


def _hill_counts(
    plan: SegmentPlan, results: Sequence[WalkerResult], record: HillsRecord
) -> dict[str, int]:
    """Hills laid, hills due by the logs' steps, and hills of this round in the record."""
    mine = [result for result in results if result.system == record.system]
    actions = plumed.metad_actions(plan.systems[record.system].plumed or "")
    return {
        "deposited": sum(len(result.new_hills) for result in mine),
        "expected": sum(
            (w.step + r.steps_done) // plumed.pace(a) - w.step // plumed.pace(a)
            for w, r in zip(plan.walkers, results, strict=True)
            if w.system == record.system
            for a in actions.values()
        ),
        "in_record": sum(hill.round == plan.round for hill in record.hills),
        "active": sum(hill.round == plan.round and hill.active for hill in record.hills),
        "total": len(record.hills),
    }


def _watch_segment(work: Work, plan: SegmentPlan) -> Callable[[Event], None]:
    def watch(event: Event) -> None:
        if isinstance(event, Running):
            steps = walkers.progress(event.job.directory, plan)
            slowest = min(steps.values(), default=0)
            work.observer.advance(
                sum(steps.values()), f"(slowest walker {slowest} of {plan.settings.steps})"
            )

    return watch


def _say_segment(work: Work, round_: int, outputs: Outputs) -> None:
    for entry in outputs["walkers"]:
        stopped = f"; stopped early: {entry['halted']}" if entry["halted"] else ""
        volume = f", {entry['volume_A3']:.0f} Å³" if entry["volume_A3"] else ""
        work.observer.say(
            f"{entry['walker']}: {entry['steps_done']} steps{stopped}; {entry['candidate']}{volume}"
        )
