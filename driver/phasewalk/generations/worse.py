"""Whether a campaign's last model is worse than the generation before it, on the test set.

Both are compared on the test frames that both were evaluated on. Each error is worse if it is
larger by more than `FACTOR`, and by more than `ERRORS` standard errors of the difference: the
spread of the difference if the frames are drawn again, with replacement and within each
composition (bootstrap). No validation label will do: the final model is trained on all labels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ..campaign import Work
from ..files import hash_of, read
from ..labels import content_hash
from ..store import (
    COMPARED,
    FINAL,
    DeployedModel,
    Evaluated,
    Record,
    Trained,
    TwoErrors,
    TwoModels,
    compared_models_task,
    deploy_task,
    each,
)

FACTOR, ERRORS = 1.2, 2.0
FEWEST = 5
"""Minimum number of test frames for a comparison."""
DRAWS, SEED = 2000, 1
SCATTER, OFFSET, FORCE, PRESSURE = "energy_scatter", "energy_offset", "force_mae", "pressure_mae"
WORDS = {
    SCATTER: ("energy scatter", "meV/atom", ".1f"),
    OFFSET: ("energy offset", "meV/atom", "+.1f"),
    FORCE: ("force MAE", "meV/Å", ".0f"),
    PRESSURE: ("pressure MAE", "GPa", ".2g"),
}
"""Title, unit and format of each error. The offset is shown, but never worse: no force has it."""

Array = NDArray[np.float64]


class Frame(BaseModel):
    """A frame and what a generation predicts for it, as in `validation.compared`."""

    of: str
    key: str
    formula: str
    atoms: int = 1
    energy_eV_per_atom: tuple[float, float]
    pressure_GPa: tuple[float, float]
    errors: dict[str, float]


def note(work: Work, round_: int) -> None:
    """Compare the last model with the generation before it; record it, and say if it is worse.

    Nothing is done if this was done before, or if there is one generation only.
    """
    trained = [made for _, made in each(work.store.records(), Trained)]
    if len(trained) < 2:
        return
    before, last = trained[-2:]
    keys = [content_hash(label) for label in work.campaign.test_data]
    inputs = hash_of("compared", before.sha256, last.sha256, keys)
    name = compared_models_task(last.generation)
    if work.store.done(name, inputs) is not None:
        return
    frames = [_frames(work, one.generation) for one in (before, last)]
    common = [key for key in frames[1] if key in frames[0]]
    found: dict[str, TwoErrors] = {}
    if len(common) >= FEWEST:
        found = differences(*([of[key] for key in common] for of in frames))
    deployed = work.store.find(deploy_task(before.generation))
    made = TwoModels(
        generation=last.generation,
        before=before.generation,
        checkpoint=last.sha256,
        frames=len(common),
        errors=found,
        worse=[name for name, one in found.items() if name != OFFSET and is_worse(one)],
        better=deployed.of(DeployedModel).file if deployed else before.checkpoint,
    )
    work.note(name, COMPARED, round_, made.dump(), inputs=inputs)
    if line := in_words(made):
        work.observer.say(line)


def _frames(work: Work, generation: str) -> dict[str, Frame]:
    """The test frames on which a generation was evaluated last, by the key of the label.

    The file may have been deleted: a campaign continues without it.
    """
    files = [
        made.frames
        for _, made in each(work.store.records(), Evaluated)
        if made.generation == generation
        and made.test is not None
        and made.frames
        and (work.store.root / made.frames).exists()
    ]
    found = read(work.store.checked(files[-1]), list[Frame]) if files else []
    return {frame.key: frame for frame in found if frame.of == "test"}


def is_worse(error: TwoErrors) -> bool:
    """Whether an error is larger by more than `FACTOR` and by `ERRORS` standard errors."""
    grown = error.now - error.before
    return error.now > FACTOR * error.before and grown > ERRORS * error.standard_error


def differences(before: Sequence[Frame], now: Sequence[Frame]) -> dict[str, TwoErrors]:
    """The errors of two models on the same frames, by name (see `WORDS`)."""
    formulas = np.array([frame.formula for frame in now])
    draws = _draws(formulas, np.random.default_rng(SEED))
    old, new = (_errors(frames, formulas, draws) for frames in (before, now))
    return {
        name: TwoErrors(
            now=float(new[name][0]),
            before=float(old[name][0]),
            standard_error=float((new[name] - old[name])[1:].std()),
        )
        for name in WORDS
        if name in new
    }


def _draws(formulas: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    """(1 + DRAWS, n) numbers of frames: all of them, then drawn within each composition."""
    every = np.arange(len(formulas))
    found = np.tile(every, (1 + DRAWS, 1))
    for formula in sorted(set(formulas)):
        mine = every[formulas == formula]
        found[1:, mine] = rng.choice(mine, (DRAWS, len(mine)))
    return found


def _errors(
    frames: Sequence[Frame], formulas: NDArray[np.str_], draws: NDArray[np.int64]
) -> dict[str, Array]:
    """(1 + DRAWS,) values of each error; without the scatter if no composition has two frames."""
    energy = 1000.0 * np.array([_wrong(frame.energy_eV_per_atom) for frame in frames])
    atoms = np.array([frame.atoms for frame in frames], dtype=float)
    force = np.array([frame.errors["force_mae_meV_per_A"] for frame in frames])
    pressure = np.abs([_wrong(frame.pressure_GPa) for frame in frames])
    groups = [energy[draws[:, formulas == formula]] for formula in sorted(set(formulas))]
    apart = [one - one.mean(axis=1, keepdims=True) for one in groups if one.shape[1] > 1]
    found = {
        OFFSET: energy[draws].mean(axis=1),
        FORCE: (force * atoms)[draws].sum(axis=1) / atoms[draws].sum(axis=1),
        PRESSURE: pressure[draws].mean(axis=1),
    }
    if apart:
        found[SCATTER] = np.sqrt((np.concatenate(apart, axis=1) ** 2).mean(axis=1))
    return found


def _wrong(pair: tuple[float, float]) -> float:
    reference, model = pair
    return model - reference


def of(records: Sequence[Record]) -> TwoModels | None:
    """The comparison of the campaign's last model; None if it has not been made."""
    last = [made.sha256 for _, made in each(records, Trained)][-1:]
    return next((made for _, made in each(records, TwoModels) if [made.checkpoint] == last), None)


def in_words(found: TwoModels) -> str:
    """The comparison in one line: what is worse and what to do, or why nothing was compared.

    Empty if no error is worse.
    """
    before = f"generation {found.before}"
    final = found.generation == FINAL
    model = "the final model" if final else f"generation {found.generation}"
    if not found.errors:
        why = (
            f"{found.frames} frames of test_data were evaluated with both, and {FEWEST} are needed"
            if found.frames
            else "there are no results of both for frames of test_data"
        )
        return f"{model} is not compared with {before}: {why}"
    if not found.worse:
        return ""
    worse = ", ".join(_shown(name, found.errors[name], before) for name in found.worse)
    others = [_shown(name, one) for name, one in found.errors.items() if name not in found.worse]
    return (
        f"{model} is worse than {before} on the test set ({found.frames} frames): {worse}; "
        f"the other errors: {', '.join(others)}. Use {found.better}, {_advice(found, final)}"
    )


def advised(records: Sequence[Record]) -> str:
    """Message for a command that uses the last model by default; empty if it is not worse."""
    found = of(records)
    if found is None or not found.worse:
        return ""
    return f"{in_words(found)}; --generation {found.before} uses that one here"


def _shown(name: str, error: TwoErrors, before: str = "") -> str:
    """Both values of an error, the one before in brackets."""
    title, unit, style = WORDS[name]
    old = f"{error.before:{style}}"
    return f"{title} {error.now:{style}} {unit} ({before + ': ' if before else ''}{old})"


def _advice(found: TwoModels, final: bool) -> str:
    weight = " and a larger model.loss_weights.energy" if SCATTER in found.worse else ""
    if final:
        return f"or train the final model again, with more model.final.budget.epochs{weight}"
    return f"or run more rounds, with more model.warm.epochs{weight}"
