"""Ten steps of a campaign's own first segment with an untrained model, before anything is paid for.

The decks, PLUMED texts, hills files and the launch are those of a run, so that what a segment would
stop on is found here: the only things that differ are the model, slightly displaced atoms, fewer
walkers, and the step counter, which is set so that hills are laid within the ten steps.
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
"""Of each system: enough to see two write the same file."""
DISPLACEMENT_A = 0.03
LIMIT_S = 300.0
SEED = 1
FATAL = ("plumed", "model")
"""Stops for which an untrained model is not to blame."""
_FRAME = re.compile(r"\+\+\+|###|===|= |\(core|\(action|PLUMED: *$|terminate|Abort\(|Last ")
_SOURCE = re.compile(r"\s*\(\S+\.(cpp|h):\d+\)")
"""What frames a message, and where in the source it comes from: nothing that a user could mend."""


def displaced(atoms: Atoms, displacement_A: float = DISPLACEMENT_A) -> Atoms:
    """The atoms, and all that is known of them, slightly displaced: no force is zero by symmetry.

    Args:
        atoms: to be displaced.
        displacement_A: each Cartesian component of each atom moves by up to ± this.
    """
    rng = np.random.default_rng(SEED)
    moved = perturb(
        atoms, rng, displacement_A=displacement_A, strain=0.0, min_distance_fraction=0.35
    )
    found = atoms.copy()
    found.positions = moved.positions  # sets fixed atoms, too
    return found


def rehearse(
    campaign: Campaign, *, engines: Engines, launcher: Launcher, model: Path, directory: Path
) -> str:
    """Run the ten steps; what was done, in words.

    Args:
        campaign: whose first segment it is.
        engines: with the plugin.
        launcher: to start LAMMPS with.
        model: a deployed model of the campaign's species.
        directory: to run in.

    Raises:
        InputError: LAMMPS or PLUMED ended it, or no hill was laid where one was due.
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
            f"{len(plan.walkers)} walker(s) did {plan.settings.steps} steps together",
            *([f"{hills} hills laid"] if hills else []),
            *([f"printed: {', '.join(names)}"] if names else []),
            *([f"stopped early, as an untrained model may: {', '.join(early)}"] if early else []),
            f"{finished.seconds:.1f} s",
        ]
    )


def _plan(campaign: Campaign, model: Path) -> SegmentPlan:
    """The campaign's first segment, made short."""
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
    """The walker on displaced atoms, some steps before all its METAD actions lay a hill."""
    actions = plumed.metad_actions(plan.systems[walker.system].plumed or "").values()
    due = math.lcm(*(plumed.pace(action) for action in actions))
    first = due - steps // 2 if actions and steps < due < 10**9 else 0
    return replace(walker, atoms=displaced(walker.atoms), step=first)


def _check(plan: SegmentPlan, result: SegmentResult) -> None:
    """Raise InputError if PLUMED gave up, or laid no hill that was due."""
    for walker, outcome in zip(plan.walkers, result.walkers, strict=True):
        if outcome.stop is not None and outcome.stop.reason in FATAL:
            raise InputError(f"{walker.id}: {outcome.halted}")
        if outcome.halted or outcome.steps_done < plan.settings.steps:
            continue
        actions = plumed.metad_actions(plan.systems[walker.system].plumed or "")
        laid = {hill.action for hill in outcome.new_hills}
        last = walker.step + outcome.steps_done
        for name, action in actions.items():
            pace = plumed.pace(action)
            if last // pace > walker.step // pace and name not in laid:
                raise InputError(
                    f"{walker.id}: METAD {name} deposited no hill at a multiple of PACE={pace}"
                )


def _reason(finished: Finished, plan: SegmentPlan) -> str:
    """Why LAMMPS ended, in its or PLUMED's own words; empty if neither said anything."""
    for walker in plan.walkers:
        log = finished.directory / f"{walker.id}.log"
        stop = logs.read_log(log).stop if log.is_file() else None
        found = _told(_lines(log)) or outcomes.in_words(stop)
        if found:
            return f"{walker.id}: {found}"
    both = (finished.directory / name for name in (Finished.STDERR, Finished.STDOUT))
    return _told([line for path in both for line in _lines(path)])


def _silent(finished: Finished) -> str:
    """What is left to say of a launch that did no step and gave no reason."""
    if finished.returncode:
        return f"LAMMPS ended with code {finished.returncode}: {finished.last_lines()}"
    return (
        "the walkers stopped before their first step, without an error: an action of the PLUMED "
        "text ends the run at once (COMMITTOR does)"
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace", encoding="utf-8").splitlines() if path.is_file() else []


def _told(lines: Sequence[str]) -> str:
    """LAMMPS's first error, with what follows it."""
    for index, line in enumerate(lines):
        if line.startswith("ERROR"):
            after = [text.strip() for text in lines[index : index + 8]]
            kept = [text for text in after if text and not _FRAME.match(text)]
            return _SOURCE.sub("", " ".join(dict.fromkeys(kept)))
    return ""
