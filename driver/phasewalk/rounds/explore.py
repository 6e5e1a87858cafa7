"""Segments: from a deployed model to candidates, with the bias and the walkers carried on."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from ase import Atoms

from .. import bias, walkers
from ..bias import HillsRecord, plumed
from ..campaign import Outputs, Task, Work, deck_versions
from ..errors import Killed
from ..files import hash_of
from ..generations import Generation, engines_for
from ..jobs import Event, Finished, Running
from ..labelling import Frame, task_name
from ..labels import Label, label_key
from ..moment import RUNNING, Seen
from ..store import FAILED
from ..structures import bare, fingerprint
from ..walkers import (
    LAST,
    Candidate,
    NearFrames,
    SegmentPlan,
    Stop,
    Walker,
    WalkerResult,
    Watch,
    decks,
    outcomes,
    redundant,
    select,
    volume_limits,
)
from . import steer

TRIES = 3
"""Of a segment that is ended from outside, in one run of the campaign."""


def walk(
    work: Work, round_: int, generation: Generation, known: Sequence[Label]
) -> list[list[Frame]]:
    """One segment of all walkers with a generation.

    Returns:
        For each walker with a good frame that is not known yet: that frame, and older ones that
        are labelled where it cannot be.
    """
    segment(work, round_, generation)
    return _proposals(work, round_, known)


def segment(work: Work, round_: int, generation: Generation, *, stage: str = "segment") -> Outputs:
    """One segment of all walkers with a generation, shown as `stage`; what the journal says."""
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
    work.observer.begin(round_, stage, total, "steps")
    outputs = _walk(work, task, plan)
    _say_segment(work, outputs)
    return outputs


def _walk(work: Work, task: Task, plan: SegmentPlan) -> Outputs:
    """Do the segment; again where it was ended from outside, from where it began.

    Raises:
        Killed: that happened `TRIES` times in a row.
    """
    tried = 0
    while True:
        try:
            (outputs,) = work.do([task], _watch_segment(work, plan))
            return outputs
        except Killed as error:
            tried += 1
            if tried == TRIES:
                raise Killed(
                    f"{error}; that is {TRIES} times in a row, and no breakdown of a walker: give "
                    "it more memory, fewer walkers, or another node, and run the same command again"
                ) from error
            work.observer.say(f"{error}; no breakdown of a walker: the segment is walked again")


def segment_plan(work: Work, round_: int, generation: Generation) -> SegmentPlan:
    """What all walkers do in a round: from where, with which model, with which bias."""
    settings = work.campaign.settings
    standing, decisions = steer.stand(work, round_)
    steer.note(work, round_, decisions)
    return SegmentPlan(
        round=round_,
        generation=generation.number,
        walkers=tuple(standing),
        systems=settings.systems,
        settings=settings.segment,
        records={name: steer.hills(work, name, round_, decisions) for name in settings.systems},
        model=generation.deployed,
        type_names=work.campaign.types,
        seed=settings.seed,
        volumes_A3={
            name: volume_limits(atoms, settings.candidates)
            for name, atoms in work.campaign.structures.items()
        },
        plumed_files=work.campaign.plumed_files,
    )


def _proposals(work: Work, round_: int, known: Sequence[Label]) -> list[list[Frame]]:
    """The frames of each walker to label, but for what is known already."""
    settings = work.campaign.settings.candidates
    learned = work.store.find(f"train generation {round_}") is not None
    seen = NearFrames.of(label.atoms for label in known)
    proposals = []
    for state in steer.states(work, round_).values():
        names = {"system": state.system, "round": round_, "walker": state.walker}
        frames = [
            Frame(bare(atoms), state.system, {**names, "step": step})
            for step, atoms in state.frames
        ]
        if learned:  # whatever `candidates` says by now: those that the round has labelled
            frames = [frame for frame in frames if _labelled(work, round_, frame)]
            proposals += [frames] if frames else []
            continue
        if not frames:
            continue
        same = redundant(frames[0].atoms, seen, settings)
        if same is None:
            proposals.append(frames)
            seen.add(frames[0].atoms)
        else:
            work.observer.say(f"{state.walker}: its frame is not labelled again: {same}")
    return proposals


def _labelled(work: Work, round_: int, frame: Frame) -> bool:
    """Whether the round has a label of this frame."""
    key = label_key(frame.atoms, work.campaign.level(frame.system))
    record = work.store.find(task_name(key, round_))
    return record is not None and FAILED not in record.outputs


def _read_segment(work: Work, plan: SegmentPlan, finished: Finished) -> Outputs:
    """Candidates, hills, and where the walkers go on from; written before the journal knows."""
    result = outcomes.read(finished, plan)
    records = dict(outcomes.merged_records(plan, result))
    states, entries = [], []
    for walker, outcome in zip(plan.walkers, result.walkers, strict=True):
        chosen = select(
            walker.id,
            walker.system,
            frames=_usable(plan, walker, outcome),
            start=work.campaign.structures[walker.system],
            settings=work.campaign.settings.candidates,
            timestep_fs=plan.settings.timestep_fs,
        )
        if walker.system in records and chosen.step < outcome.last_step:
            records[walker.system] = bias.deactivate(
                records[walker.system],
                walker=walker.id,
                round=plan.round,
                after_step=max(chosen.step, walker.step),
            )
        if outcome.broke and chosen.reason == LAST:
            chosen = replace(chosen, reason="last frame before that")
        good = [] if chosen.atoms is None else [(chosen.step, chosen.atoms), *chosen.older]
        next_step = walker.step + plan.settings.steps
        broke = outcome.broke
        states.append(steer.state_json(walker, next_step=next_step, frames=good, broke=broke))
        entries.append(_entry(chosen, outcome))
    texts = {
        steer.hills_file(name, plan.round): bias.record_to_text(record)
        for name, record in records.items()
    }
    texts[steer.states_file(plan.round)] = json.dumps(states)
    for name, text in texts.items():
        work.store.keep(name, text.encode())
    for walker in plan.walkers:
        for name in walkers.colvar_files(walker, plan.systems[walker.system].plumed or ""):
            if (finished.directory / name).is_file():
                work.store.vouch(finished.directory / name)
    return {
        "generation": plan.generation,
        deck_versions.KEY: decks.DECK,
        "walkers": entries,
        "hills": {
            name: _hill_counts(plan, result.walkers, record) for name, record in records.items()
        },
    }


def _usable(plan: SegmentPlan, walker: Walker, outcome: WalkerResult) -> list[tuple[int, Atoms]]:
    """Frames that may become a candidate: not the start, and not the way into a breakdown."""
    breakdown = round(plan.settings.breakdown_fs / plan.settings.timestep_fs)
    last = outcome.last_step - (breakdown if outcome.broke else 0)
    good = outcome.stop.good_step if outcome.stop else None
    return [
        (frame.step, frame.atoms)
        for frame in outcome.frames
        if walker.step < frame.step and (frame.step <= last or frame.step == good)
    ]


def _entry(chosen: Candidate, result: WalkerResult) -> dict[str, Any]:
    """What the journal says of a walker."""
    return {
        "walker": result.id,
        "system": result.system,
        "steps_done": result.steps_done,
        "halted": result.halted,
        "stop": None if result.stop is None else _stop(result.stop),
        "candidate_step": chosen.step if chosen.atoms is not None else None,
        "candidate": chosen.reason,
        "volume_A3": float(chosen.atoms.get_volume()) if chosen.atoms is not None else None,
        "mean_temperature_K": result.mean_temperature_K,
        "colvars": [asdict(colvar) for colvar in result.colvars],
        "hills": len(result.new_hills),
        "seconds": result.seconds,
    }


def _stop(stop: Stop) -> dict[str, Any]:
    """A soft stop for JSON, which has no word for what is not finite: null."""
    return {
        name: value if not isinstance(value, float) or np.isfinite(value) else None
        for name, value in asdict(stop).items()
    }


def _biased_steps(result: WalkerResult) -> int:
    """Steps that PLUMED finished: not the one in which it gave up."""
    threw = result.stop is not None and result.stop.reason == "plumed"
    return result.steps_done - 1 if threw else result.steps_done


def _hill_counts(
    plan: SegmentPlan, results: Sequence[WalkerResult], record: HillsRecord
) -> dict[str, int]:
    """Hills laid, hills due by the logs' steps, and hills of this round in the record."""
    mine = [result for result in results if result.system == record.system]
    actions = plumed.metad_actions(plan.systems[record.system].plumed or "")
    return {
        "deposited": sum(len(result.new_hills) for result in mine),
        "expected": sum(
            (w.step + _biased_steps(r)) // plumed.pace(a) - w.step // plumed.pace(a)
            for w, r in zip(plan.walkers, results, strict=True)
            if w.system == record.system
            for a in actions.values()
        ),
        "in_record": sum(hill.round == plan.round for hill in record.hills),
        "active": sum(hill.round == plan.round and hill.active for hill in record.hills),
        "total": len(record.hills),
    }


def _watch_segment(work: Work, plan: SegmentPlan) -> Callable[[Event], None]:
    walkers_seen = Watch(plan)

    def watch(event: Event) -> None:
        if isinstance(event, Running):
            rows = walkers_seen.look(event.job.directory, event.seconds)
            left = walkers_seen.seconds_left(rows, event.seconds)
            running = [row for row in rows if row.state == RUNNING]
            # What a walker that has stopped lacks is not done any more.
            total = sum(row.steps if row in running else row.steps_done for row in rows)
            slowest = min((row.steps_done for row in running), default=0)
            work.observer.advance(
                sum(row.steps_done for row in rows),
                f"(slowest walker {slowest} of {plan.settings.steps})" if slowest else "",
                Seen(rows, total=total, seconds_left=left),
            )

    return watch


def _say_segment(work: Work, outputs: Outputs) -> None:
    for entry in outputs["walkers"]:
        stopped = f"; stopped early: {entry['halted']}" if entry["halted"] else ""
        volume = f", {entry['volume_A3']:.0f} Å³" if entry["volume_A3"] else ""
        work.observer.say(
            f"{entry['walker']}: {entry['steps_done']} steps{stopped}; {entry['candidate']}{volume}"
        )
