"""Segments: run all walkers with a deployed model; continue their bias and select candidates."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .. import bias, walkers
from ..bias import Cut, HillsTable, hill_tables, plumed
from ..campaign import Outputs, Task, Work, deck_versions
from ..errors import Killed
from ..files import hash_of
from ..generations import Generation
from ..jobs import Event
from ..labelling import Frame
from ..labels import Label
from ..moment import RUNNING, Seen
from ..store import SEGMENT, segment_task
from ..structures import Guard, fingerprint
from ..walkers import (
    BONDS,
    LAST,
    Candidate,
    NearFrames,
    SegmentPlan,
    SegmentResult,
    Stop,
    WalkerResult,
    decks,
    outcomes,
    volume_limits,
)
from . import decision, steer
from .decision import Decision
from .launches import Look, Walk
from .proposals import Early, chosen, proposals

TRIES = 3
"""Maximum number of tries of a segment that is ended from outside."""


def walk(
    work: Work, round_: int, generation: Generation, known: Sequence[Label | Frame]
) -> list[list[Frame]]:
    """One segment of all walkers with a generation.

    Args:
        work: the campaign.
        round_: number of the round.
        generation: that drives the walkers.
        known: labels that there are, and the frames of late ones.

    Returns:
        For each walker with a good frame that is not known yet: this frame, and older ones to use
        if its label fails.
    """
    seen = NearFrames.of(label.atoms for label in known)
    segment(work, round_, generation, known=seen)
    return proposals(work, round_, seen)


def segment(
    work: Work,
    round_: int,
    generation: Generation,
    *,
    known: NearFrames | None = None,
) -> Outputs:
    """One segment of all walkers with a generation.

    Args:
        work: the campaign.
        round_: number of the round.
        generation: model of the walkers.
        known: frames with labels, if those of this segment will be labelled: then a walker that has
            ended does not wait for the others with its label.

    Returns:
        The outputs for the journal.
    """
    plan, decisions = segment_plan(work, round_, generation)

    @cache
    def begun() -> SegmentPlan:
        """The plan with the files of hills, which are written when the segment starts."""
        systems = {name: one for name, one in plan.systems.items() if one.plumed is not None}
        files = {name: steer.history(work, name, round_, decisions) for name in systems}
        return replace(plan, histories=files)

    def read(result: SegmentResult, directory: Path) -> Outputs:
        return _read_segment(work, begun(), result, directory)

    task = Task(
        name=segment_task(round_),
        stage=SEGMENT,
        round=round_,
        inputs=inputs_hash(work, plan, decisions, generation.checkpoint_hash),
        place=f"rounds/{round_:03d}/segment",
        job=lambda directory: walkers.job(begun(), engines=work.engines, directory=directory),
        read=lambda ended: read(outcomes.read(ended, begun()), ended.directory),
    )
    total = len(plan.walkers) * plan.settings.steps
    work.observer.begin(round_, SEGMENT, total, "steps")
    early = None if known is None else Early.of(work, plan, known)
    outputs = _walk(work, Walk.of(work, task, plan, begun, read), early)
    _say_segment(work, outputs)
    return outputs


def inputs_hash(
    work: Work, plan: SegmentPlan, decisions: Sequence[Decision], checkpoint: str
) -> str:
    """The hash of the input of a segment.

    Earlier versions hashed the text of all hills; a segment recorded by them keeps its hash.
    """
    where = [(w.id, w.step, fingerprint(w.atoms)) for w in plan.walkers]
    hills = {n: steer.hills_digest(work, n, plan.round, decisions) for n in plan.systems}
    found = hash_of("segment", 2, checkpoint, where, hills)
    record = work.store.find(f"segment {plan.round}")
    if record is None or record.inputs == found:
        return found
    texts = {
        name: bias.record_to_text(steer.hills(work, name, plan.round, decisions))
        for name in plan.systems
    }
    before = hash_of("segment", checkpoint, where, texts)
    return before if record.inputs == before else found


def _walk(work: Work, walk: Walk, early: Early | None = None) -> Outputs:
    """Run the segment; repeat what was ended from outside, from its start.

    Raises:
        Killed: it was ended from outside `TRIES` times in a row.
    """
    tried = 0
    while True:
        try:
            return walk.outputs(work, _watch_segment(work, walk, early))
        except Killed as error:
            tried += 1
            if tried == TRIES:
                raise Killed(
                    f"{error}; this happened {TRIES} times in a row and is not a breakdown of a "
                    "walker; use more memory, fewer walkers or another node, and run the same "
                    "command again"
                ) from error
            work.observer.say(f"{error}; not a breakdown of a walker: the segment is repeated")


def segment_plan(
    work: Work, round_: int, generation: Generation
) -> tuple[SegmentPlan, Sequence[Decision]]:
    """The plan of a round's segment, without files of hills; and the decisions on start frames."""
    settings = work.campaign.settings
    standing, decisions = steer.stand(work, round_)
    decision.note(work, round_, decisions)
    plan = SegmentPlan(
        round=round_,
        generation=generation.number,
        walkers=tuple(standing),
        systems=settings.systems,
        settings=settings.segment,
        histories={},
        model=generation.deployed,
        type_names=work.campaign.types,
        seed=settings.seed,
        volumes_A3={
            name: volume_limits(atoms, settings.candidates)
            for name, atoms in work.campaign.structures.items()
        },
        plumed_files=work.campaign.plumed_files,
        device=generation.stamp.device,
        guards=work.guards,
        ranks=generation.ranks,
        for_ranks=generation.for_ranks,
    )
    return plan, decisions


def _read_segment(work: Work, plan: SegmentPlan, result: SegmentResult, directory: Path) -> Outputs:
    """Read candidates, hills and final states of walkers, and write their files."""
    tables = dict(outcomes.hill_tables(plan, result))
    cuts: dict[str, list[Cut]] = {name: [] for name in tables}
    states, entries = [], []
    for walker, outcome in zip(plan.walkers, result.walkers, strict=True):
        candidate = chosen(work, plan, walker, outcome)
        if walker.system in cuts and candidate.step < outcome.last_step:
            after = max(candidate.step, walker.step)
            cuts[walker.system].append(Cut(walker.id, plan.round, after))
        if outcome.broke and candidate.reason == LAST:
            candidate = replace(candidate, reason="last frame before that")
        good = (
            [] if candidate.atoms is None else [(candidate.step, candidate.atoms), *candidate.older]
        )
        next_step = walker.step + plan.settings.steps
        broke = outcome.broke
        states.append(steer.state_json(walker, next_step=next_step, frames=good, broke=broke))
        entries.append(_entry(candidate, outcome, plan.guards.get(walker.system)))
    tables = {
        name: replace(table, laid=bias.deactivate(table.laid, cuts[name]))
        for name, table in tables.items()
    }
    texts = {
        steer.hills_file(name, plan.round): hill_tables.to_text(table)
        for name, table in tables.items()
    }
    texts[steer.states_file(plan.round)] = json.dumps(states)
    for name, text in texts.items():
        work.store.keep(name, text.encode())
    for walker in plan.walkers:
        for name in walkers.colvar_files(walker.id, plan.systems[walker.system].plumed or ""):
            if (directory / name).is_file():
                work.store.vouch(directory / name)
    return {
        "generation": plan.generation,
        deck_versions.KEY: decks.DECK,
        "guarded": sorted(plan.guards),
        "limits": work.campaign.settings.policy.limits(),
        "walkers": entries,
        "hills": {
            name: _hill_counts(plan, result.walkers, table) for name, table in tables.items()
        },
    }


def _entry(chosen: Candidate, result: WalkerResult, guard: Guard | None) -> dict[str, Any]:
    """The entry of a walker in the journal."""
    told = {} if guard is None else {"bond_change": _bond_change(result, guard)}
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
        **told,
    }


def _bond_change(result: WalkerResult, guard: Guard) -> str | None:
    """Why a walker's bonds are not intact at the end of a segment; None if they are."""
    if result.stop is not None and result.stop.reason in BONDS:
        return result.halted
    last = result.frames[-1].atoms if result.frames else None
    whole = last is not None and bool(np.isfinite(last.positions).all())
    return guard.fault(last) if last is not None and whole else None


def _stop(stop: Stop) -> dict[str, Any]:
    """A stop as data for JSON, with null for values that are not finite."""
    return {
        name: value if not isinstance(value, float) or np.isfinite(value) else None
        for name, value in asdict(stop).items()
    }


def _biased_steps(result: WalkerResult) -> int:
    """Number of steps that PLUMED completed, without a step in which it failed."""
    threw = result.stop is not None and result.stop.reason == "plumed"
    return result.steps_done - 1 if threw else result.steps_done


def _hill_counts(
    plan: SegmentPlan, results: Sequence[WalkerResult], table: HillsTable
) -> dict[str, int]:
    """Number of hills deposited, expected from the logs' steps, and in the record of this round."""
    system = table.laid.system
    mine = [result for result in results if result.system == system]
    actions = plumed.metad_actions(plan.systems[system].plumed or "")
    return {
        "deposited": sum(len(result.new_hills) for result in mine),
        "expected": sum(
            (w.step + _biased_steps(r)) // plumed.pace(a) - w.step // plumed.pace(a)
            for w, r in zip(plan.walkers, results, strict=True)
            if w.system == system
            for a in actions.values()
        ),
        "in_record": len(table.laid.hills),
        "active": sum(hill.active for hill in table.laid.hills),
        "total": table.total,
    }


def _watch_segment(work: Work, walk: Walk, early: Early | None = None) -> Callable[[Event], None]:
    look, steps = Look(walk, walk.directories(work)), walk.plan.settings.steps

    def watch(event: Event) -> None:
        number = look.see(event)
        if number is None:
            return
        rows = [row for launch in look.rows for row in launch]
        running = [row for row in rows if row.state == RUNNING]
        # Remaining steps of stopped walkers do not count.
        total = sum(row.steps if row.state == RUNNING else row.steps_done for row in rows)
        slowest = min((row.steps_done for row in running), default=0)
        work.observer.advance(
            sum(row.steps_done for row in rows),
            f"(slowest walker {slowest} of {steps})" if slowest else "",
            Seen(tuple(rows), total=total, seconds_left=look.left_s),
        )
        if early is not None:
            still = [row.state == RUNNING for row in look.rows[number]]
            early.look(walk.launches[number], still, look.directories[number])

    return watch


def _say_segment(work: Work, outputs: Outputs) -> None:
    for entry in outputs["walkers"]:
        stopped = f"; stopped early: {entry['halted']}" if entry["halted"] else ""
        volume = f", {entry['volume_A3']:.0f} Å³" if entry["volume_A3"] else ""
        work.observer.say(
            f"{entry['walker']}: {entry['steps_done']} steps{stopped}; {entry['candidate']}{volume}"
        )
