"""Bootstrap and label: from structures and candidates to labelled frames."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import labels
from ..campaign import Outputs, Task, Work, in_background
from ..errors import InputError, NothingLeft, ParseError, PhasewalkError
from ..jobs import ENDED, Event
from ..labels import Label, label_cache
from ..reference import WAVE_FUNCTIONS, Result, Try, requests
from ..store import (
    CRASH,
    FAILED,
    LABEL,
    REFUSED,
    TIME_LIMIT,
    UNCONVERGED,
    Labelled,
    each,
    failures,
    label_task,
    segment_task,
    train_task,
)
from . import late, trust
from .bootstrap import Frame
from .counter import LabelCounter

MIN_BOOTSTRAP_SHARE = 0.5
WORTH_A_TRY, WORTH_A_RESUME = (CRASH, UNCONVERGED), (CRASH, TIME_LIMIT)
"""Failures after which the next declared try, or a later run, may do better."""


def label_bootstrap(work: Work, frames: Sequence[Frame], *, wait: bool = False) -> list[Label]:
    """Label the frames of round 0; failed and late ones are left out.

    Args:
        work: the campaign.
        frames: of the bootstrap.
        wait: for late labels, too.

    Raises:
        NothingLeft: less than half of the labels succeeded.
    """
    if not frames:
        return []
    found = label_proposals(work, 0, [[frame] for frame in frames], wait=wait)
    if len(found) < max(2, MIN_BOOTSTRAP_SHARE * len(frames)):
        raise NothingLeft(
            f"only {len(found)} of {len(frames)} bootstrap labels succeeded; look into "
            f"{work.store.root / 'rounds/000/label'}; {_advice(work)}"
        )
    return found


def _advice(work: Work) -> str:
    """What helps against the way in which most of the bootstrap labels failed."""
    kinds = [failure.kind for _, failure in failures(work.store.records(), LABEL)]
    program = work.campaign.settings.reference.program
    helps = {
        CRASH: "correct the reference settings, and test them with phasewalk check",
        TIME_LIMIT: "raise reference.timeout_s and run the same command again",
        UNCONVERGED: f"add settings for retries (reference.{program}.retries) and run the same "
        "command again, or start a new --dir with a smaller bootstrap.displacement_A",
        REFUSED: "if the reference is correct, increase the limit and run the same command "
        "again; or refine the reference (its grid, if the net force is too large), or start a new "
        "--dir with a smaller bootstrap.displacement_A or bootstrap.strain",
    }
    return helps[max(kinds, key=kinds.count)]


def label_proposals(
    work: Work, round_: int, proposals: Sequence[Sequence[Frame]], *, wait: bool = False
) -> list[Label]:
    """Label one frame of each walker: the first of its frames that can be labelled.

    Args:
        work: the campaign.
        round_: whose labels they are.
        proposals: frames of each walker.
        wait: for late labels, too.

    Returns:
        The labels in the order of the proposals, but for late ones.
    """
    proposals = late.without(work, round_, proposals)
    patience = None if wait else late.Patience.of(work, round_, len(proposals))
    found, unfinished = _first_labels(work, round_, proposals, patience)
    if unfinished:
        late.note(work, round_, unfinished)
    # started ahead, for frames that are not labelled after all
    work.under_way.drop("label", but=late.tasks(work, round_))
    return found


def label_late(work: Work, round_: int, proposals: Sequence[Sequence[Frame]]) -> list[Label]:
    """The late labels of a round, waited for; a failed one counts as its own round's.

    Args:
        work: the campaign.
        round_: whose labels they are.
        proposals: for each late label its frame, and older ones in case that it fails.
    """
    found, _ = _first_labels(work, round_, proposals, None)
    return found


def start_late(work: Work, round_: int, proposals: Sequence[Sequence[Frame]]) -> None:
    """Start the late labels of a round again that a kill has ended, beside what comes next."""
    for frame, *_ in proposals:
        task = _asked(work, round_, frame, resumed=False)
        ended = (work.store.root / task.place / ENDED).is_file()
        if not (ended or _known(work, round_, frame) or _believed_now(work, task, frame)):
            work.ahead(in_background(task), anew=True)


def _first_labels(
    work: Work,
    round_: int,
    proposals: Sequence[Sequence[Frame]],
    patience: late.Patience | None,
) -> tuple[list[Label], list[Frame]]:
    """The first label of each walker that can be made, and the frames whose labels are late."""
    found: dict[int, Label] = {}
    unfinished: dict[int, Frame] = {}
    for attempt in range(max((len(frames) for frames in proposals), default=0)):
        asked = [
            (index, frames[attempt])
            for index, frames in enumerate(proposals)
            if index not in {*found, *unfinished} and attempt < len(frames)
        ]
        if not asked:
            break
        made, left = _label_frames(work, round_, [frame for _, frame in asked], patience)
        found.update({index: label for (index, _), label in zip(asked, made, strict=True) if label})
        unfinished.update({asked[number][0]: asked[number][1] for number in left})
    return (
        [found[index] for index in sorted(found)],
        [unfinished[index] for index in sorted(unfinished)],
    )


def label_frames(work: Work, round_: int, frames: Sequence[Frame]) -> list[Label | None]:
    """Label frames side by side, each kept the moment it is done; None for a failed one."""
    return _label_frames(work, round_, frames, None)[0]


def _label_frames(
    work: Work, round_: int, frames: Sequence[Frame], patience: late.Patience | None
) -> tuple[list[Label | None], list[int]]:
    """Label frames side by side, each kept the moment it is done.

    What did not converge, or whose program died, is tried again as the settings declare.

    Returns:
        The labels, None for a failed or a late one; and which are late.
    """
    later = (train_task(round_), segment_task(round_ + 1))
    open_ = all(work.store.find(task) is None for task in later)
    work.observer.begin(round_, "label", len(frames), "labels")
    found: list[Label | None] = [None] * len(frames)
    unfinished: list[int] = []
    tries = 0
    _try_shared(work, round_, frames)
    asked = {
        index: _asked(work, round_, frame, resumed=open_) for index, frame in enumerate(frames)
    }
    while asked:
        names = [task.name for task in asked.values()]
        done = sum(label is not None for label in found)
        lost = len(frames) - done - len(asked) - len(unfinished)
        counter = LabelCounter(work, names, done, lost=lost, tried=tries > 0)
        before = {task.name for task in asked.values() if work.is_done(task)}
        outputs = _do(work, list(asked.values()), counter, patience)
        counter.show()
        tries += 1
        failed = []
        for index, task in asked.items():
            output = outputs.get(task.name)
            if output is None:
                unfinished.append(index)
            elif FAILED in output:
                failed.append(index)
            else:
                found[index] = _kept(work, task.name, output["key"])
        asked = {}
        for index in failed:
            task = _asked(work, round_, frames[index], resumed=False)
            record = work.store.find(task.name)
            reason = record.failure.reason if record and record.failure else ""
            asked |= {index: task} if task.again else {}
            if task.name not in before:  # an earlier run has said it
                work.observer.say(
                    f"round {round_}: {reason}" + ("; it is tried again" if task.again else "")
                )
    return found, unfinished


def _do(
    work: Work,
    tasks: Sequence[Task],
    watch: Callable[[Event], None],
    patience: late.Patience | None,
) -> Mapping[str, Outputs]:
    """Do the tasks; without those that are late."""
    if patience is None:
        return dict(zip([task.name for task in tasks], work.do(tasks, watch), strict=True))

    def see(event: Event) -> None:
        watch(event)
        patience.see(event)

    return work.do_most(tasks, see, patience.over)


def label_ahead(work: Work, round_: int, frame: Frame) -> None:
    """Start to label a frame that `label_proposals` will probably ask for.

    Its label is not recorded before it is asked for, so that nothing depends on when it was made.
    """
    if not _known(work, round_, frame) and _shared(work, frame) is None:
        work.ahead(_asked(work, round_, frame, resumed=False))


def _try_shared(work: Work, round_: int, frames: Sequence[Frame]) -> None:
    """Of each campaign whose labels could be taken for frames, compute one here, and compare."""
    waiting = [f for f in frames if not _known(work, round_, f)]
    for frame in sorted(waiting, key=lambda f: len(f.atoms)):
        shared = _shared(work, frame)
        who = trust.maker(shared.made) if shared else ""
        if shared is None or trust.believed(work, trust.LABELS, who) is not None:
            continue
        way = _Way(0, requests.tries(work.campaign.reference, None)[0])
        task = _label_task(work, round_, frame, way, again=False)
        (output,) = work.do([task])
        own = None if FAILED in output else work.store.label(output["key"])
        if own is not None:
            shown, wrong = trust.difference(own, shared)
            result = f"one of them, recomputed, differs by {shown}"
            trust.note(work, trust.LABELS, who, wrong=wrong, found=result, round_=round_)


def _known(work: Work, round_: int, frame: Frame) -> bool:
    """Whether the campaign has this label, or has tried to compute it."""
    key = labels.label_key(frame.atoms, work.campaign.level(frame.system))
    return work.store.find(label_task(key, round_)) is not None or work.store.label(key) is not None


def _shared(work: Work, frame: Frame) -> Label | None:
    """A label in the cache that is within this campaign's limits; its source is not checked."""
    reference, at = work.campaign.reference, work.campaign.level(frame.system)
    if not reference.shares:
        return None
    found = label_cache.find(work.engines.cache, at, labels.label_key(frame.atoms, at))
    with contextlib.suppress(InputError):  # the limits of another campaign may be wider
        if found is not None:
            requests.check_limits(found, reference)
            return found
    return None


def _asked(work: Work, round_: int, frame: Frame, *, resumed: bool) -> Task:
    """The task that labels a frame, with the settings of the next try.

    Args:
        work: the campaign.
        round_: round of the label.
        frame: frame to label.
        resumed: final failures by a crash or a time limit may be tried once more.
    """
    key = labels.label_key(frame.atoms, work.campaign.level(frame.system))
    ways = requests.tries(work.campaign.reference, _guess(work, frame))
    record = work.store.find(label_task(key, round_))
    failure = None if record is None else record.failure
    if failure is None:
        return _label_task(work, round_, frame, _Way(0, ways[0]), again=False)
    made, kind = len(failure.earlier) + 1, failure.kind
    if kind in WORTH_A_TRY and made < len(ways):
        return _label_task(work, round_, frame, _Way(made, ways[made]), again=True)
    task = _label_task(work, round_, frame, _Way(0, ways[0]), again=True)
    again = resumed and (
        kind in WORTH_A_RESUME
        # a rejected result is checked with the current limits, and not computed again
        or (kind == REFUSED and _believed_now(work, task, frame) is not None)
    )
    return replace(task, again=again)


def _believed_now(work: Work, task: Task, frame: Frame) -> Result | None:
    """A valid result in the task's directory: without a record yet, or rejected earlier.

    Results of a program that failed are not used.
    """
    place, record = work.store.root / task.place, work.store.find(task.name)
    reference, at = work.campaign.reference, work.campaign.level(frame.system)
    runs = [place]
    if record and record.failure and record.failure.kind == REFUSED:
        left = place.parent.glob(f"{place.name}.{FAILED}-*")
        runs += sorted(left, key=lambda path: (len(path.name), path.name))[-1:]
    for directory in runs:
        with contextlib.suppress(PhasewalkError):
            result = requests.read_result(directory, frame.atoms, reference=reference)
            requests.believed(result, frame.atoms, reference=reference, at=at, origin={}, made={})
            return result
    return None


@dataclass(frozen=True)
class _Way:
    """Number and settings of a try."""

    number: int
    attempt: Try


def _kept(work: Work, task: str, key: str) -> Label:
    label = work.store.label(key)
    if label is None:
        raise ParseError(
            work.store.root / "labels" / f"{key}.json",
            f"is missing, but the journal holds it ({task}); restore it from a backup",
        )
    return label


def _guess(work: Work, frame: Frame) -> Path | None:
    """The wave function of the same walker's last label; None if it is not used."""
    own, walker = work.campaign.settings.reference.cp2k, frame.origin.get("walker")
    if own is None or own.guess == "none" or walker is None:
        return None
    for record, labelled in each(reversed(work.store.records()), Labelled):
        origin = labelled.origin
        if (
            origin.get("system"),
            origin.get("walker"),
        ) == (frame.system, walker) and record.round < frame.origin["round"]:
            place = work.store.root / labelled.place
            return next((place / n for n in WAVE_FUNCTIONS if (place / n).is_file()), None)
    return None


def _label_task(work: Work, round_: int, frame: Frame, way: _Way, *, again: bool) -> Task:
    reference, at = work.campaign.reference, work.campaign.level(frame.system)
    key = labels.label_key(frame.atoms, at)
    place = f"rounds/{round_:03d}/label/{key}"
    outputs = {"key": key, "origin": dict(frame.origin), "level": str(at), "place": place}
    tried: dict[str, Any] = {"try": way.number + 1, "guess": way.attempt.guess is not None}
    if way.attempt.changes:
        tried["changes"] = dict(way.attempt.changes)

    def keep(result: Result) -> Outputs:
        label = requests.believed(
            result, frame.atoms, reference=reference, at=at, origin=frame.origin, made=tried
        )
        work.store.add_label(label)
        if reference.shares and result.version:  # only results with a known version
            by = {**label.made, trust.MAKER: trust.me(work)}
            label_cache.keep(work.engines.cache, at, replace(label, made=by))
        return {**outputs, **tried}

    def adopt(directory: Path) -> Outputs | None:
        if (kept := work.store.label(key)) is not None:
            work.store.add_label(kept)  # adds its hash if a kill came before its record
            here = (directory / ENDED).is_file()
            return {**outputs, **(tried if here else {"reused": True})}
        left = _believed_now(work, task, frame)
        if left is not None:
            return keep(left)
        shared = _shared(work, frame)
        who = trust.maker(shared.made) if shared else ""
        if shared is None or not trust.believed(work, trust.LABELS, who):
            return None
        made = {**shared.made, "shared from": dict(shared.origin)}
        work.store.add_label(replace(shared, origin=frame.origin, made=made))
        return {**outputs, "reused": True}

    task = Task(
        name=label_task(key, round_),
        stage=LABEL,
        round=round_,
        inputs=key,
        place=place,
        job=lambda directory: requests.job(
            f"label {key}",
            frame.atoms,
            reference=reference,
            directory=directory,
            attempt=way.attempt,
        ),
        read=lambda finished: keep(requests.read(finished, frame.atoms, reference=reference)),
        may_fail=True,
        again=again,
        adopt=adopt,
    )
    return task
