"""Hashes of what trainings depend on: if it is another one, a training is done again."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..campaign import Work
from ..files import hash_of
from ..models import Budget
from ..store import FINAL, Trained, train_task


def of(
    keys: Sequence[str], before: str | None, name: str, again: Mapping[str, Any] | None = None
) -> str:
    """Hash of the input of a training.

    Args:
        keys: keys of all labels.
        before: hash of the checkpoint from which it starts; None for the first generation.
        name: name of the generation.
        again: settings of the final model that may be changed later: it is then trained again.
    """
    return hash_of("train", list(keys), before, name, again)


def of_final(work: Work, keys: Sequence[str], before: str | None, budget: Budget) -> str:
    """Hash of the input of the final training; that of an earlier version keeps its own."""
    record, asked = work.store.find(train_task(FINAL)), budget.model_dump()
    former = of(keys, before, FINAL, asked)
    if record and record.inputs == former and record.of(Trained).trained_with is None:
        return former
    return of(keys, before, FINAL, asked | work.campaign.settings.model.of_every_training)
