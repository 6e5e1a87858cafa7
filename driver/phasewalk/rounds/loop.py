"""The main loop: bootstrap, then rounds of segment → label → train → deploy.

Generation 0 comes from the bootstrap. Round r = 1, 2, … runs walkers with generation r − 1 and
trains generation r. The errors of both on the round's new frames are computed as well.
"""

from collections.abc import Callable
from dataclasses import asdict

from .. import labelling
from ..bias import plumed
from ..campaign import Work, parse, stop
from ..errors import InputError, NothingLeft
from ..files import file_hash
from ..generations import Generation, forms, late_judged, learn, ranks, worse
from ..labelling import Frame, initial, isolated_atoms
from ..labels import Label
from ..store import (
    END,
    IDENTITY,
    PLUMED_FILES,
    SEGMENT,
    SETTINGS,
    SETTINGS_KEPT,
    STOP,
    VERSIONS,
    Ended,
    Judged,
    Segment,
    Versions,
    at_end,
    each,
    end_task,
    label_task,
    segment_task,
    settings_text,
    stop_task,
    versions_task,
)
from ..walkers import broke_down
from . import added, changed, explore
from .finished_rounds import Learned, Past
from .proposals import late_proposals

Compare = Callable[[Work, Generation], tuple[float | None, str]]


def run(work: Work, after_round: Callable[[], None] = lambda: None, *, compare: Compare) -> None:
    """Run the campaign to its end, from its current state.

    Args:
        work: the campaign.
        after_round: called after the bootstrap, each round, and at the end.
        compare: returns the largest difference (kJ/mol) between the free energies of a generation
            and of the previous one, None if there is none, and a description.

    Raises:
        PhasewalkError: the reason of a stop; finished tasks are kept.
    """
    try:
        _run(work, after_round, compare)
    finally:
        work.under_way.close()


def _run(work: Work, after_round: Callable[[], None], compare: Compare) -> None:
    settings = work.campaign.settings
    _check_changes(work)
    for line in changed.notices(work):
        work.observer.say(line)
    _keep_settings(work)
    _note_versions(work)
    isolated_atoms.compute(work)
    begun = max((record.round for record in work.store.records()), default=0)
    past = Past.of(work)
    known, generation = _bootstrap(work, past)
    round_ = empty = 0
    ended = False

    def judge() -> bool:
        ends = _may_end(work, round_, generation, compare)
        if not ends and round_ < settings.rounds:
            _goes_on(work, round_)
        if not (ends or round_ == settings.rounds) or settings.model.final is not None:
            after_round()  # otherwise called at the end
        return ends

    if begun == 0:
        ended = judge()
    while round_ < settings.rounds and not ended:
        round_ += 1
        found = past.round(round_, known, generation) if round_ <= begun else None
        if found is None or (found.generation is None and round_ == begun):
            found = _round(work, round_, known, generation, fit=round_ >= begun)
        empty = 0 if found.new else empty + 1
        if empty == settings.candidates.empty_rounds:
            raise NothingLeft(
                f"{empty} consecutive round(s), up to round {round_}, gave no label (limit "
                "candidates.empty_rounds): walkers break down at once, because the model is not "
                "accurate enough; start a new --dir with a larger bootstrap.count or "
                "model.first.epochs, or a lower temperature_K (or a temperature_ramp)"
            )
        known = [*found.known, *added.after(work, round_, found.known)]
        generation = found.generation or generation
        ended = round_ >= begun and judge()
        for packed in (round_ - 1, round_):  # with the late ones of the round before
            labelling.pack_labels(work, packed)
    late = _late(work, round_, into=round_ + 1)
    late_judged.judge(work, round_, before=known, late=late, last=generation)
    known = [*known, *late]
    last = learn.learn_final(work, known, generation)
    worse.note(work, round_)
    forms.add(work, last)
    ranks.add(work, last)
    labelling.pack_labels(work, round_)
    _end(work, round_)
    work.observer.begin(round_, "report", 0, "")
    after_round()


def _bootstrap(work: Work, past: Past) -> tuple[list[Label], Generation]:
    """The first labels, and the generation trained on them."""
    first = initial.take(work)
    found = past.bootstrap(first)
    if found is not None and found.generation is not None:
        return found.known, found.generation
    frames = labelling.bootstrap_frames(work)
    known = [*first, *labelling.label_bootstrap(work, frames, wait=_is_last(work, 0))]
    labelling.start_late(work, 0, late_proposals(work, 0, 1))
    return known, learn.learn(work, 0, known=known, new=[], previous=None)


def _round(
    work: Work, round_: int, known: list[Label], generation: Generation, *, fit: bool
) -> Learned:
    """Do a round, or what is left of it; `fit`: the generation may be of another machine."""
    late = late_proposals(work, round_ - 1, round_)
    labelling.start_late(work, round_ - 1, late)
    if fit:
        generation = learn.fit(work, generation)
    seen: list[Label | Frame] = [*known, *(frame for frame, *_ in late)]
    generation = ranks.ready(work, generation)
    proposals = explore.walk(work, round_, generation, seen)
    own = labelling.label_proposals(work, round_, proposals, wait=_is_last(work, round_))
    new = [*_late(work, round_ - 1, into=round_), *own]
    labelling.start_late(work, round_, late_proposals(work, round_, round_ + 1))
    if not new:
        work.observer.say(f"round {round_}: no new label, so no new generation")
        return Learned(known, [], generation)
    known = [*known, *new]
    return Learned(known, new, learn.learn(work, round_, known=known, new=new, previous=generation))


def _late(work: Work, round_: int, *, into: int) -> list[Label]:
    """The late labels of a round, waited for, since another generation is to learn them."""
    return labelling.label_late(work, round_, late_proposals(work, round_, into))


def _unfinished(work: Work, round_: int) -> list[str]:
    """Keys of the late labels of a round that are not finished."""
    found = labelling.late.recorded(work.store, round_)
    return [one.key for one in found if work.store.find(label_task(one.key, round_)) is None]


def _is_last(work: Work, round_: int) -> bool:
    """Whether no generation is made after that of a round, which could learn late labels."""
    settings = work.campaign.settings
    return round_ >= settings.rounds and settings.model.final is None


def _keep_settings(work: Work) -> None:
    """Save the settings of this run, and record their hashes and that of the identity."""
    content, kept = work.campaign.text.encode(), work.store.recorded()
    identity = work.store.root / IDENTITY
    files = [identity, work.store.write(SETTINGS, content)]
    for name, text in work.campaign.plumed_files.items():
        files.append(work.store.write(f"{PLUMED_FILES}/{name}", text))
    places = {path.relative_to(work.store.root).as_posix(): path for path in files}
    if any(kept.get(place) != file_hash(path) for place, path in places.items()):
        for path in files:
            work.store.vouch(path)
        work.note("settings", SETTINGS_KEPT, 0, {})  # round 0, so that a rewind keeps it


def _note_versions(work: Work) -> None:
    """Record the versions of all engines and the machine if the previous run had others."""
    noted = [found for _, found in each(work.store.records(), Versions)]
    machine = work.engines.machine
    found = Versions(versions=dict(machine.versions), machine=machine.type)
    if not noted or _differ(noted[-1], found):
        round_ = max((record.round for record in work.store.records()), default=0)
        work.note(versions_task(len(noted) + 1), VERSIONS, round_, found.dump())


def _differ(before: Versions, found: Versions) -> bool:
    """Whether versions or machine differ; earlier versions of phasewalk recorded no machine."""
    other_machine = before.machine is not None and before.machine != found.machine
    return other_machine or before.versions != found.versions


def _may_end(work: Work, round_: int, generation: Generation, compare: Compare) -> bool:
    """Evaluate the stop rules after a round, print them, and record changes."""
    work.observer.begin(round_, "stop rules and report", 0, "")
    rules = stop.judge(
        work.campaign.settings.stop,
        # not this round's final model: what came after the judgement is no part of it
        lambda: [r for r in work.store.records() if not at_end(r) or r.round < round_],
        round_=round_,
        walkers=work.campaign.walkers + len(_unfinished(work, round_)),
        free_energy=lambda: compare(work, generation),
    )
    ends = stop.ending(rules)
    for rule in rules:
        work.observer.say(rule.line)
    name = stop_task(round_)
    outputs = {"rules": [asdict(rule) for rule in rules], "ended_by": [rule.rule for rule in ends]}
    before = work.store.find(name)
    any_rules = bool(rules or stop.judged(work.store.records())[0])
    if any_rules and (before is None or before.outputs != outputs):
        work.note(name, STOP, round_, outputs)
    return bool(ends)


def _end(work: Work, round_: int) -> None:
    """Print and record why the campaign ends."""
    found = work.store.find(stop_task(round_))
    given = work.campaign.settings.stop.given
    ended_by = found.of(Judged).ended_by if found is not None and given else []
    if ended_by:
        work.observer.say(f"the campaign ends after round {round_}: {' and '.join(ended_by)}")
    last = work.store.find(segment_task(round_))
    if last is not None and all(map(broke_down, last.of(Segment).walkers)):
        work.observer.say(
            "all walkers of the last round stopped early: the model is not accurate enough; use "
            "more rounds or a lower temperature_K (phasewalk status shows why they stopped)"
        )
    name, outputs = end_task(round_), {"by": ended_by or ["rounds"]}
    before = work.store.find(name)
    if before is None or before.outputs != outputs:
        work.note(name, END, round_, outputs)


def _goes_on(work: Work, round_: int) -> None:
    """Record that a campaign that had ended after a round is continued."""
    name = end_task(round_)
    before = work.store.find(name)
    if before is not None and before.of(Ended).by:
        work.note(name, END, round_, {"by": []})


def check_plumed_files(work: Work) -> None:
    """Raise InputError if a file that PLUMED has read was changed; files may be added."""
    for name, content in work.campaign.plumed_files.items():
        kept = work.store.root / PLUMED_FILES / name
        if kept.is_file() and kept.read_bytes() != content:
            raise InputError(
                f"{name}: this file differs from the one that PLUMED has read in earlier rounds "
                f"({kept}); restore it, give the new file another name, or start a new campaign"
            )


def _check_changes(work: Work) -> None:
    """Raise InputError if changed settings are inconsistent with finished rounds."""
    settings = work.campaign.settings
    walked = [record.round for record in work.store.records() if record.stage == SEGMENT]
    if not walked:
        return
    if settings.rounds < max(walked):
        raise InputError(
            f"rounds: {settings.rounds}, but round {max(walked)} has already started; increase "
            "rounds, or go back with phasewalk rewind"
        )
    before = parse(*settings_text(work.store.root))
    check_plumed_files(work)
    for name, system in settings.systems.items():
        text, old = system.plumed or "", before.systems[name].plumed or ""
        if text != old:
            try:
                plumed.check_same_physics(old, text)
            except InputError as error:
                raise InputError(f"systems.{name}: {error}") from error
        if old and settings.segment.timestep_fs != before.segment.timestep_fs:
            raise InputError(
                f"segment.timestep_fs: {settings.segment.timestep_fs:g}, but hills were recorded "
                f"with {before.segment.timestep_fs:g} fs; undo the change, or start a new campaign"
            )
