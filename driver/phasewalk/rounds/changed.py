"""What follows if keys of `model:` are changed after generations have been trained.

Keys that define the network cannot be changed. Others act in later trainings, and the final model
is trained again if it was trained otherwise. Whatever does not act is said.
"""

from contextlib import suppress

from ..campaign import Work, begun, parse
from ..errors import InputError
from ..models import ModelSettings
from ..store import FINAL, Trained, each, read_identity, settings_text, train_task

OF_FIRST = ("first", "max_force_error_ratio")
"""Keys that act in the training of generation 0 only."""
OF_LATER = ("warm", "threads", "loggers")
"""Keys that act in all later trainings, and after which no finished model is trained again."""
NO_EFFECT = (
    "it has no effect, because generation 0 is trained already; start a new campaign (another "
    "--dir) to use it"
)


def notices(work: Work) -> list[str]:
    """What the changes of `model:` since the last run do, one line for each key that has changed.

    Call this before the settings of the last run are replaced.
    """
    trained = [made.generation for _, made in each(work.store.records(), Trained)]
    if not trained:
        return []
    with suppress(InputError):  # settings of another version
        root = work.store.root
        before = begun.as_begun(parse(*settings_text(root)), read_identity(root), work.store)
        return _notices(work, before.model, work.campaign.settings.model, trained)
    return []


def _notices(
    work: Work, before: ModelSettings, now: ModelSettings, trained: list[str]
) -> list[str]:
    def has_changed(key: str) -> bool:
        return bool(getattr(before, key) != getattr(now, key))

    told = {
        **dict.fromkeys(OF_FIRST, NO_EFFECT),
        **dict.fromkeys(OF_LATER, f"{_kept(trained, ' and a finished final model')}"),
        **dict.fromkeys(now.of_every_training, f"{_kept(trained)}, {_final(work, now)}"),
    }
    found = [f"model.{key} was changed: {says}" for key, says in told.items() if has_changed(key)]
    if now.final is None and FINAL in trained:
        found.append(
            "model.final: null, but a final model is trained already: models/final is kept, and "
            "remains the last model until another generation is trained"
        )
    return found


def _kept(trained: list[str], more: str = "") -> str:
    """Which models stay as they are."""
    last = max(int(name) for name in trained if name != FINAL)
    which = f"generations 0 to {last}{more} are" if last else f"generation 0{more} "
    which += "" if last else "are" if more else "is"
    return f"trainings from now on use it; {which} not trained again"


def _final(work: Work, now: ModelSettings) -> str:
    """What becomes of the final model."""
    record = work.store.find(train_task(FINAL))
    if now.final is None:
        return "and there is no final model (model.final: null)"
    if record is not None and record.of(Trained).trained_with is None:
        return (
            "nor is the final model, which an earlier version has trained: to train it again, "
            "change model.final.budget too"
        )
    return "but the final model is" if record else "but the final model uses it"
