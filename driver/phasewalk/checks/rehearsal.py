"""Ten steps of a campaign's first segment with an untrained model, for `phasewalk check`.

Decks, PLUMED texts, hills files and launch are those of a run, so that errors of a segment appear
here first. Only the model, the slightly displaced atoms, the smaller number of walkers, and the
step counter differ; the latter is set so that hills are deposited within the ten steps.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms

from .. import walkers
from ..bias import plumed
from ..campaign import Campaign
from ..errors import EngineFailed, InputError
from ..jobs import Finished, Launcher, run
from ..structures import perturb
from ..walkers import Engines, SegmentPlan, SegmentResult, Walker, logs, outcomes
from . import rendering

STEPS = 10
WALKERS = 2
"""Number of walkers of each system: enough to detect that two write the same file."""
DISPLACEMENT_A = 0.03
LIMIT_S = 300.0
SEED = 1
FATAL = ("plumed", "model")
"""Reasons of a stop that an untrained model cannot cause."""
_FRAME = re.compile(r"\+\+\+|###|===|= |\(core|\(action|PLUMED: *$|terminate|Abort\(|Last ")
_SOURCE = re.compile(r"\s*\(\S+\.(cpp|h):\d+\)")
"""Parts of a message that do not help users: lines around it, and places in the source code."""


def displaced(atoms: Atoms, displacement_A: float = DISPLACEMENT_A) -> Atoms:
    """A copy with slightly displaced positions, so that no force is zero by symmetry.

    Args:
        atoms: to be displaced.
        displacement_A: maximum displacement of each Cartesian component.
    """
    rng = np.random.default_rng(SEED)
    moved = perturb(
        atoms, rng, displacement_A=displacement_A, strain=0.0, min_distance_fraction=0.35
    )
    found = atoms.copy()
    found.positions = moved.positions  # also of fixed atoms
    return found


def rehearse(
    campaign: Campaign, *, engines: Engines, launcher: Launcher, model: Path, directory: Path
) -> str:
    """Run the ten steps and return a description of the result.

    Args:
        campaign: the campaign.
        engines: with the plugin.
        launcher: runs LAMMPS.
        model: a deployed model for the campaign's elements.
        directory: where it runs.

    Raises:
        InputError: LAMMPS or PLUMED failed, or a hill was not deposited.
    """
    plan = _plan(campaign, model)
    finished = run(launcher, walkers.job(plan, engines=engines, directory=directory))
    try:
        result = outcomes.read(finished, plan)
    except EngineFailed as error:
        raise InputError(_reason(finished, plan) or _silent(finished)) from error
    if result.ended:
        raise InputError(_reason(finished, plan) or result.ended)
    _check(plan, result)
    early = [f"{w.id} after {w.steps_done} ({w.halted})" for w in result.walkers if w.halted]
    hills = sum(len(walker.new_hills) for walker in result.walkers)
    names = sorted({colvar.name for walker in result.walkers for colvar in walker.colvars})
    return "; ".join(
        [
            f"{len(plan.walkers)} walker(s), at most {WALKERS} of each system, did "
            f"{plan.settings.steps} steps together",
            *([f"{hills} hills deposited"] if hills else []),
            *([f"printed: {', '.join(names)}"] if names else []),
            *(
                [f"stopped early, which is no error with an untrained model: {', '.join(early)}"]
                if early
                else []
            ),
            f"{finished.seconds:.1f} s",
        ]
    )


def _plan(campaign: Campaign, model: Path) -> SegmentPlan:
    """The campaign's first segment, shortened."""
    plan = rendering.first_segment(campaign, model)
    shown = [walker for walker in plan.walkers if walker.index < WALKERS]
    steps = min(STEPS, plan.settings.steps)
    return replace(
        plan,
        walkers=tuple(_rehearsing(plan, walker, steps) for walker in shown),
        settings=plan.settings.model_copy(
            update={"steps": steps, "timeout_s": plan.settings.timeout_s or LIMIT_S}
        ),
    )


def _rehearsing(plan: SegmentPlan, walker: Walker, steps: int) -> Walker:
    """The walker with displaced atoms, some steps before all METAD actions deposit a hill."""
    actions = plumed.metad_actions(plan.systems[walker.system].plumed or "").values()
    due = math.lcm(*(plumed.pace(action) for action in actions))
    first = due - steps // 2 if actions and steps < due < 10**9 else 0
    return replace(walker, atoms=displaced(walker.atoms), step=first)


def _check(plan: SegmentPlan, result: SegmentResult) -> None:
    """Raise InputError if PLUMED or the model failed, or a hill was not deposited."""
    for walker, outcome in zip(plan.walkers, result.walkers, strict=True):
        if outcome.stop is not None and outcome.stop.reason in FATAL:
            raise InputError(f"{walker.id}: {outcome.halted}")
        if outcome.halted or outcome.steps_done < plan.settings.steps:
            continue
        actions = plumed.metad_actions(plan.systems[walker.system].plumed or "")
        deposited = {hill.action for hill in outcome.new_hills}
        last = walker.step + outcome.steps_done
        for name, action in actions.items():
            pace = plumed.pace(action)
            if last // pace > walker.step // pace and name not in deposited:
                raise InputError(
                    f"{walker.id}: METAD {name} deposited no hill at a multiple of PACE={pace}"
                )


def _reason(finished: Finished, plan: SegmentPlan) -> str:
    """Why it was ended from outside, or the error message of LAMMPS or PLUMED; else empty."""
    if finished.why:
        return f"LAMMPS was {finished.why}"
    for walker in plan.walkers:
        log = finished.directory / f"{walker.id}.log"
        stop = logs.read_log(log).stop if log.is_file() else None
        found = _error(_lines(log)) or outcomes.in_words(stop)
        if found:
            return f"{walker.id}: {found}"
    both = (finished.directory / name for name in (Finished.STDERR, Finished.STDOUT))
    return _error([line for path in both for line in _lines(path)])


def _silent(finished: Finished) -> str:
    """A message for a launch that ended before its first step without an error message."""
    if finished.returncode:
        return f"LAMMPS ended with code {finished.returncode}: {finished.last_lines()}"
    return (
        "the walkers stopped before their first step, without an error: an action of the PLUMED "
        "text, such as COMMITTOR, ends the run immediately; remove it"
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace", encoding="utf-8").splitlines() if path.is_file() else []


def _error(lines: Sequence[str]) -> str:
    """LAMMPS's first error with the lines after it; empty if there is none."""
    for index, line in enumerate(lines):
        if line.startswith("ERROR"):
            after = [text.strip() for text in lines[index : index + 8]]
            kept = [text for text in after if text and not _FRAME.match(text)]
            return _SOURCE.sub("", " ".join(dict.fromkeys(kept)))
    return ""
