"""Start frames of walkers outside of the rounds of their campaign, as for a free energy."""

from collections.abc import Mapping
from dataclasses import replace

from ..campaign import Work
from ..generations import known
from ..labelling import late
from ..store import Evaluated, evaluate_late_task
from ..walkers import FrameError, Walker, policy
from . import steer
from .decision import START


def stand(work: Work, round_: int) -> tuple[list[Walker], Mapping[str, str]]:
    """All walkers after a round, at frames that a next round would begin at.

    Frames with other bonds than the start structure are not used, nor those whose labels show that
    the model is wrong there by more than the limits of `policy`; also if the label came late, and
    the campaign has found that later.

    Returns:
        The walkers; and why, for each one that begins at the start structure.
    """
    walkers, decisions = steer.stand(work, round_ + 1)
    found, reasons = [], {}
    for walker, decision in zip(walkers, decisions, strict=True):
        wrong = None if decision.source == START else _late(work, round_, walker.id)
        if wrong is not None:
            decision = replace(decision, source=START, why=wrong)
            walker = replace(walker, atoms=steer.start_frame(work, walker.system, None, decision))
        if decision.source == START:
            reasons[walker.id] = decision.why
        found.append(walker)
    return found, reasons


def untested(work: Work, system: str) -> bool:
    """Whether nothing tests the frames of a system: its bonds are free, and there is no limit."""
    return system not in work.guards and not any(work.campaign.settings.policy.limits().values())


def _late(work: Work, round_: int, walker: str) -> str | None:
    """Why a walker's frame is not used, by its label, which came late; None if it may be used."""
    if not any(one.walker == walker for one in late.recorded(work.store, round_)):
        return None
    limits = work.campaign.settings.policy.limits()
    # of the next round, or of the end
    for error in (
        steer.frame_error(work, round_ + 1, walker, late=True),
        _at_end(work, round_, walker),
    ):
        if too_large := policy.reset(error, limits):
            return too_large.says
    return None


def _at_end(work: Work, round_: int, walker: str) -> FrameError:
    """Errors of the last generation on a frame whose label came late in the last round."""
    record = work.store.find(evaluate_late_task(round_))
    each = [] if record is None else record.of(Evaluated).each
    return next((known.errors_of(one) for one in each if one.walker == walker), FrameError())
