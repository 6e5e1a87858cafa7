"""Judge late labels of the last round, which no other generation learns than the final one.

Those of other rounds are judged by the next generation that drives walkers. After the last round
there is none, and the final model would learn them whatever they are.
"""

from collections.abc import Sequence
from functools import cache

from ..campaign import Outputs, Task, Work
from ..files import hash_of
from ..jobs import Finished
from ..labels import Label
from ..store import EVALUATE, FINAL, evaluate_late_task, late_held_out_task, train_task
from ..validation import accuracy
from . import evaluate, known
from .deploy import Generation


def judge(
    work: Work, round_: int, *, before: Sequence[Label], late: Sequence[Label], last: Generation
) -> None:
    """Compare late labels of walkers with the last generation, and hold out what `policy` says.

    Nothing is done if no limit needs it, or if the final model has been trained already.

    Args:
        work: the campaign.
        round_: the last round.
        before: all other labels.
        late: the late labels of that round.
        last: the last generation, which was trained without them.
    """
    policy, trained = work.campaign.settings.policy, work.store.find(train_task(FINAL))
    late = [label for label in late if "walker" in label.origin]
    limited = policy.hold_out is not None or any(policy.limits().values())
    if not late or not limited or (trained is not None and trained.round >= last.number):
        return
    work.observer.begin(round_, "evaluate late labels", 1, "jobs")
    (found,) = work.do([_task(work, round_, before=before, late=late, last=last)])
    if work.store.find(late_held_out_task(round_)) is None:
        known.hold_out(work, round_, found, name=late_held_out_task(round_))


def _task(
    work: Work, round_: int, *, before: Sequence[Label], late: Sequence[Label], last: Generation
) -> Task:
    beside = cache(lambda: known.to_compare(work, before, late))  # for the offset of the energies

    def read(finished: Finished) -> Outputs:
        result = accuracy.read(finished)
        count = len(late)
        offset = known.offsets(beside(), result.frames[count:])
        return {
            "generation": last.name,
            "new": None,
            "test": None,
            "each": evaluate.each(work, round_ + 1, late, result.frames[:count], offset),
            "seconds_per_step": result.seconds_per_step,
            **({"known_offsets_meV_per_atom": offset} if offset else {}),
        }

    name = evaluate_late_task(round_)
    return Task(
        name=name,
        stage=EVALUATE,
        round=round_,
        inputs=hash_of("evaluate late", last.checkpoint_hash, [label.key for label in late]),
        place=f"rounds/{round_:03d}/evaluate-late",
        job=evaluate.job(
            work, last, name, lambda: [one.atoms for one in (*late, *beside())], nve=False
        ),
        read=read,
    )
