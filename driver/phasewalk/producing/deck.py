"""The decks of a production run, which also run by hand, and the files that they write."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..bias import plumed
from ..structures import carried
from ..units import FS_PER_PS, bar_from_MPa
from ..walkers import colvar_files, decks, plumed_text
from .plan import Plan
from .settings import KERNELS

START = "start.data"
MAIN = "production.lmp"
STOP = "production.stop"
"""A file of this name stops the run softly."""
SKIN_A = 1.0
LOOK_EVERY = 10
"""Number of steps after which LAMMPS looks for the file, at most."""


@dataclass(frozen=True)
class Series:
    """A file that grows by one entry every `every` steps.

    Attributes:
        name: its name.
        every: number of steps between entries.
        first: step of the first entry.
        again: the entry of the step at which a run goes on is written again, and is cut before.
        per_step: the first column divided by this is the step.
        frames: it is a dump, not a table.
    """

    name: str
    every: int
    first: int = 0
    again: bool = True
    per_step: float = 1.0
    frames: bool = False

    def steps(self, step: int) -> range:
        """Steps of the entries before a run goes on at a step."""
        return range(self.first, step + (0 if self.again else 1), self.every)


def model_name(plan: Plan) -> str:
    """Name of the model's file in the folder of the run."""
    return f"model{plan.model.file.name[plan.model.file.name.index('.nequip.') :]}"


def series(plan: Plan, walker: str) -> list[Series]:
    """The files that a walker writes and that must be continuous."""
    settings = plan.settings
    found = [
        Series(f"{walker}.thermo", settings.thermo_every_steps),
        Series(f"{walker}.dump", settings.dump_every_steps, frames=True),
    ]
    text = settings.plumed
    if text is None:
        return found
    time = settings.timestep_fs / FS_PER_PS / plumed.time_unit_ps(text)
    prints = [action for action in plumed.parse(text) if action.name == "PRINT"]
    for name, action in zip(colvar_files(walker, text), prints, strict=True):
        found.append(Series(name, int(action.get("STRIDE") or 1), per_step=time))
    deposits = {
        hills_name(plan.walkers, plan.walkers.index(walker), key): action
        for key, action in plumed.metad_actions(text, KERNELS).items()
    }
    deposits |= {
        f"{walker}.out.{action.label}.kernels": action
        for action in plumed.parse(text)
        if action.name in KERNELS
    }
    for name, action in deposits.items():
        every = plumed.pace(action)
        found.append(Series(name, every, first=every, again=False, per_step=time))
    return found


def texts(plan: Plan, walker: str, *, step: int) -> dict[str, str]:
    """The decks and PLUMED inputs of a walker, by name.

    Args:
        plan: the run.
        walker: name of the walker.
        step: at which it goes on; another one gives other random forces.
    """
    found = {
        f"{walker}.lmp": _deck(plan, walker, continued=False, step=0),
        f"{walker}.continue.lmp": _deck(plan, walker, continued=True, step=step),
    }
    if plan.settings.plumed is not None:
        found[f"{walker}.plumed"] = _plumed(plan, walker, step)
    return found


def main(plan: Plan, steps: Mapping[str, int]) -> str:
    """The deck of all walkers, of which those with a step go on from their restart files."""
    names = tuple(f"{walker}.continue" if steps[walker] else walker for walker in plan.walkers)
    ranks = plan.settings.ranks
    return decks.render("production_walkers.lmp.j2", {"decks": names, "ranks": ranks})


def _deck(plan: Plan, walker: str, *, continued: bool, step: int) -> str:
    settings = plan.settings
    values: dict[str, decks.Value] = {
        "walker": walker,
        "continued": continued,
        "device": plan.model.stamp.device,
        "model": model_name(plan),
        "type_names": plan.model.stamp.types,
        "skin_A": SKIN_A,
        "timestep_ps": settings.timestep_fs / FS_PER_PS,
        "fixed": tuple(str(n + 1) for n in np.flatnonzero(carried.fixed(plan.atoms))),
        "velocity_seed": None if continued else _seed(plan, walker, "velocities"),
        "thermostat_seed": _seed(plan, walker, f"thermostat {step}"),
        "ensemble": settings.ensemble,
        "thermostat": settings.thermostat,
        "temperature_K": settings.temperature_K,
        "pressure_bar": bar_from_MPa(settings.pressure_MPa or 0.0),
        "thermostat_damping_ps": settings.thermostat_damping_fs / FS_PER_PS,
        "barostat_damping_ps": settings.barostat_damping_fs / FS_PER_PS,
        "plumed": settings.plumed is not None,
        "look_every_steps": _look_every(plan),
        "thermo_every_steps": settings.thermo_every_steps,
        "dump_every_steps": settings.dump_every_steps,
        "restart_every_steps": settings.restart_every_steps,
        "last_step": max(settings.steps, step),  # LAMMPS does not go back
    }
    return decks.render("production.lmp.j2", values)


def _look_every(plan: Plan) -> int:
    """Steps at which it may stop."""
    return math.gcd(LOOK_EVERY, plan.settings.restart_every_steps)


def _flush_every(plan: Plan) -> int:
    """Steps at which PLUMED's output is complete, among them those of all restart files."""
    return math.gcd(_look_every(plan), plan.settings.steps)


def _plumed(plan: Plan, walker: str, step: int) -> str:
    """Its PLUMED input; files of hills exist at each start, and are empty at first."""
    text = _with_kernels(plan.settings.plumed or "", step)
    count, index = plan.settings.walkers, plan.walkers.index(walker)
    found = plumed_text(
        text,
        walker,
        metad={
            key: plumed.MetadFiles(
                hills_name(plan.walkers, index, key) if count == 1 else f"{key}.hills",
                restart=True,
                walkers=count,
                walker_id=index,
            )
            for key in plumed.metad_actions(text, KERNELS)
        },
        temperature_K=plan.settings.temperature_K,
        flush_every_steps=_flush_every(plan),
        also=KERNELS,
    )
    return f"RESTART\n{found}"


def _with_kernels(text: str, step: int) -> str:
    """The text with FILE and RESTART of OPES, which does not read a file without kernels."""
    edits: list[plumed.Edit] = []
    for action in plumed.parse(text):
        if action.name not in KERNELS:
            continue
        restart = "YES" if step >= plumed.pace(action) else "NO"
        end = action.name_word.end
        edits.append((end, end, f" FILE={action.label}.kernels RESTART={restart}"))
        old = [word for word in action.words if word.key in ("FILE", "RESTART")]
        edits += [(word.start, word.end, "") for word in old]
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def hills_name(walkers: Sequence[str], index: int, key: str) -> str:
    """Name of a walker's hills file; PLUMED adds the number of each of several walkers."""
    return f"{walkers[0]}.{key}.hills" if len(walkers) == 1 else f"{key}.hills.{index}"


def _seed(plan: Plan, walker: str, purpose: str) -> int:
    """A seed for LAMMPS, 1 … 900000000."""
    text = f"{plan.settings.seed} production {walker} {purpose}"
    return 1 + int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 900_000_000
