"""A free energy: the same walkers on a frozen model, with a bias that is started anew.

A campaign's own bias grows while the potential changes under it: it makes walkers explore, and is
no free energy. Here one generation drives all segments. They are tasks of a store of their own
below the campaign's directory, which is only read:

    fes/gen-003/   campaign.json journal.jsonl lock    as in a campaign
                   rounds/000/walkers.json             where the walkers begin
                   models/gen-003/                     the model, if deployed anew for this
                   rounds/001/… bias/                  segments and hills
                   fes.json                            the free energies, after each segment
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import bias
from ..bias import HillsRecord
from ..campaign import Campaign, Work, deck_versions
from ..errors import InputError, NothingLeft
from ..files import hash_of, set_aside
from ..generations import Generation, folder, refit
from ..jobs import Observed
from ..labels import levels
from ..moment import FREE_ENERGY
from ..rounds import explore, steer
from ..store import (
    BEGIN,
    ESTIMATE,
    FINAL,
    IDENTITY,
    SEGMENT,
    Segment,
    each,
    open_campaign,
    read_identity,
    reopen_campaign,
    segment_task,
)
from ..units import FS_PER_PS
from ..walkers import Walker, decks
from . import lineage, samples
from .free_energy import FreeEnergy
from .samples import HILLS, Biased, Piece

MANY_STOPS = 0.1
"""Share of walks that stopped early beyond which a warning is due."""


@dataclass(frozen=True)
class Frozen:
    """The free energy of a system, and how its walkers fared.

    Attributes:
        system: its name.
        found: the free energy.
        generation: name of the model's.
        checkpoint: the model's hash.
        segments: that were walked.
        walkers: of the system.
        ps_per_walker: simulated by each, on average.
        stopped_early: walks of one walker in one segment that ended early.
        walks: of all walkers in all segments.
        explored: for each variable, from where to where the campaign laid hills; empty where none.
        covered: for each variable, which share of that was sampled here.
        printed: sampled from COLVAR; else from the middles of hills.
        made_from: the model, its labels, and where the campaign's journal stood then.
    """

    system: str
    found: FreeEnergy
    generation: str
    checkpoint: str
    segments: int
    walkers: int
    ps_per_walker: float
    stopped_early: int
    walks: int
    explored: tuple[tuple[float, float], ...]
    covered: tuple[float, ...]
    printed: bool
    made_from: Mapping[str, Any]

    @property
    def warnings(self) -> list[str]:
        """What makes the free energy doubtful, in words."""
        lines = []
        if self.stopped_early > MANY_STOPS * self.walks:
            lines.append(
                f"{self.stopped_early} of {self.walks} walks stopped early, and went on from a "
                "good frame: the model is not ready for a free energy"
            )
        if not self.found.agree:
            lines.append(
                f"histogram and hills differ by {self.found.opinions_differ:.1f} kJ/mol (rms): the "
                "bias has not come to rest; take lower hills (--hills 0.2) or BIASFACTOR, and more "
                "--segments"
            )
        for variable, share in zip(self.found.variables, self.covered, strict=False):
            if share < 0.9:
                lines.append(
                    f"{variable.name}: only {100 * share:.0f} % of the range that the campaign "
                    "explored was sampled; ask for more --segments"
                )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **self.found.as_dict(),
            "generation": self.generation,
            "checkpoint": self.checkpoint,
            "made_from": dict(self.made_from),
            "segments": self.segments,
            "walkers": self.walkers,
            "ps_per_walker": self.ps_per_walker,
            "stopped_early": self.stopped_early,
            "walks": self.walks,
            "explored": [list(ends) for ends in self.explored],
            "covered": list(self.covered),
            "samples_from": "COLVAR" if self.printed else "hills",
            "warnings": self.warnings,
        }


def free_energy(
    work: Work, generation: Generation, segments: int, *, hills: float = HILLS
) -> dict[str, FreeEnergy]:
    """The free energy of each system with METAD, from so many segments, within a campaign.

    Segments that were walked before, for this generation, are not walked again.
    """
    found = freeze(work, generation, segments, hills=hills)
    return {name: one.found for name, one in found.items()}


def freeze(
    work: Work,
    generation: Generation,
    segments: int,
    *,
    bins: int | None = None,
    hills: float = HILLS,
) -> dict[str, Frozen]:
    """The same, with how the walkers fared; also written to `fes.json` after each segment.

    Args:
        work: the campaign; its store may be open for reading alone.
        generation: that drives the walkers.
        segments: to walk; where more were walked before, all of them count.
        bins: of each variable.
        hills: their height, × what the campaign lays.

    Raises:
        InputError: no system has METAD; NothingLeft: no walker has left a frame.
    """
    systems = samples.biased(work.campaign.settings.systems)
    campaign = _campaign(work.campaign, generation, [of.name for of in systems], hills)
    systems = samples.biased(campaign.settings.systems)
    root = work.store.root / place(generation.name, hills)
    identity = _identity(campaign, generation)
    _keep_apart(work, root, identity)
    _check_same(root, identity)
    with closing(open_campaign(root, identity)) as opened:
        launcher = Observed(work.launcher, work.store.beat)  # its lock is kept meanwhile
        frozen = Work(campaign, opened, launcher, work.engines, work.observer)
        _begin(replace(work, campaign=campaign), frozen, generation)
        walked = sum(record.stage == SEGMENT for record in opened.records())
        generation = refit.refit(work, frozen, generation, segments - walked)
        return _walk(work, frozen, generation, systems, segments=segments, bins=bins)


def place(name: str, hills: float) -> str:
    """Where the free energies of a generation are, below the campaign's directory."""
    return f"fes/{folder(name).partition('/')[2]}{'' if hills == HILLS else f'-hills-{hills:g}'}"


def _campaign(
    campaign: Campaign, generation: Generation, names: Sequence[str], hills: float
) -> Campaign:
    """The campaign as it is walked here: no ramp, one bias for all walkers, no resets by labels."""
    settings = campaign.settings
    systems = {
        name: settings.systems[name].model_copy(
            update={
                "temperature_ramp": None,
                "plumed": samples.lower(settings.systems[name].plumed or "", hills),
                "bias_sharing": settings.systems[name].bias_sharing.replace("own", "merged"),
            }
        )
        for name in names
    }
    policy = settings.policy.model_copy(update={"max_force_error_ratio": None})
    seed = int(hash_of("fes", settings.seed, generation.name)[:7], 16)  # others than in its rounds
    changed = {"systems": systems, "policy": policy, "seed": seed}
    return replace(campaign, settings=settings.model_copy(update=changed))


def _identity(campaign: Campaign, generation: Generation) -> dict[str, Any]:
    """What must stay the same as long as segments are added."""
    settings = campaign.settings
    return {
        "name": settings.campaign,
        "generation": generation.name,
        "checkpoint": generation.checkpoint_hash,
        "timestep_fs": settings.segment.timestep_fs,
        deck_versions.KEY: decks.DECK,
        "systems": {
            name: {
                "plumed": system.plumed,
                "ensemble": system.ensemble,
                "temperature_K": system.temperature_K,
                "pressure_MPa": system.pressure_MPa,
                "bias_sharing": system.bias_sharing,
            }
            for name, system in settings.systems.items()
        },
    }


def _keep_apart(work: Work, root: Path, identity: Mapping[str, Any]) -> None:
    """Set aside what an earlier model of this name, or an earlier deck, has walked.

    Two models, or two ensembles, are never mixed.
    """
    if not (root / IDENTITY).is_file():
        return
    before = {deck_versions.KEY: 1, **read_identity(root)}
    other = {key for key, value in identity.items() if before.get(key) != value}
    if not other or not other <= {"checkpoint", deck_versions.KEY}:
        return
    reopen_campaign(root).close()  # StoreError where somebody works there
    kept = set_aside(root, "earlier")
    if "checkpoint" in other:
        since = f"generation {identity['generation']} was trained again since: the free energy of "
        since += "the earlier model"
    else:
        since = f"what was walked with deck version {before[deck_versions.KEY]}"
    work.observer.say(f"{since} is kept in {kept}, and this one is begun anew")


def _check_same(root: Path, identity: Mapping[str, Any]) -> None:
    """Raise InputError where segments that are there were walked otherwise."""
    if not (root / IDENTITY).is_file():
        return
    before = {key: value for key, value in read_identity(root).items() if key in identity}
    told = levels.difference(before, identity)
    if told:
        raise InputError(
            f"{root}: its segments were walked with other settings, or another model ({told}); "
            "rename that directory, and the free energy is begun anew"
        )


def _begin(campaign: Work, frozen: Work, generation: Generation) -> None:
    """Put the walkers where they stand in the campaign, once; without labels, and no hills."""
    if frozen.store.find(segment_task(0)) is not None:
        return
    walked = [r.round for r in campaign.store.records() if r.stage == SEGMENT]
    after = generation.number if generation.name != FINAL else max(walked, default=0)
    standing, _ = steer.stand(campaign, after + 1)
    seeds = [
        steer.state_json(
            Walker(one.id, one.system, one.index, one.atoms, 0),
            next_step=0,
            frames=[(0, one.atoms)],
            broke=False,
        )
        for one in standing
        if one.system in frozen.campaign.settings.systems
    ]
    name = steer.states_file(0)
    frozen.store.keep(name, json.dumps(seeds).encode())
    frozen.note(segment_task(0), BEGIN, 0, {"after_round": after})


def _walk(
    campaign: Work,
    frozen: Work,
    generation: Generation,
    systems: Sequence[Biased],
    *,
    segments: int,
    bins: int | None,
) -> dict[str, Frozen]:
    """All segments, and the free energies after each."""
    last = sum(record.stage == SEGMENT for record in frozen.store.records())
    pieces: dict[str, list[Piece]] = {of.name: [] for of in systems}
    found: dict[str, Frozen] = {}
    for number in range(1, max(segments, last) + 1):
        if number > last:
            stage = f"{FREE_ENERGY} of generation {generation.name}"
            explore.segment(frozen, number, generation, stage=stage)
        found, final = {}, number == max(segments, last)
        for of in systems:
            record = _hills(frozen, of, number)
            pieces[of.name] += samples.pieces(frozen, of, number, record)
            if number < last:
                continue  # walked before: all that was known then stands in fes.json
            try:
                free = samples.estimate(pieces[of.name], record, of, bins=bins)
            except NothingLeft:
                if final:
                    raise
                continue
            found[of.name] = _frozen(campaign, frozen, generation, of, free=free, pieces=pieces)
        if found:
            text = json.dumps({name: one.as_dict() for name, one in found.items()}, indent=1)
            frozen.store.keep("fes.json", text.encode())
            frozen.note("free energies", ESTIMATE, number, {"segments": number})
    return found


def _hills(work: Work, of: Biased, number: int) -> HillsRecord:
    """The hills after a segment, without those that walkers laid on the way from where they go."""
    _, decisions = steer.stand(work, number + 1)
    return steer.hills(work, of.name, number + 1, decisions)


def _frozen(
    campaign: Work,
    frozen: Work,
    generation: Generation,
    of: Biased,
    *,
    free: FreeEnergy,
    pieces: Mapping[str, Sequence[Piece]],
) -> Frozen:
    done = [found for _, found in each(frozen.store.records(), Segment)]
    entries = [entry for one in done for entry in one.walkers if entry.system == of.name]
    steps = sum(entry.steps_done for entry in entries)
    walkers = len({entry.walker for entry in entries})
    explored = _explored(campaign, of)
    covered = [_covered(free, axis, ends) for axis, ends in enumerate(explored)]
    return Frozen(
        system=of.name,
        found=free,
        generation=generation.name,
        checkpoint=generation.checkpoint_hash,
        segments=len(done),
        walkers=walkers,
        ps_per_walker=steps * frozen.campaign.settings.segment.timestep_fs / FS_PER_PS / walkers,
        stopped_early=sum(entry.halted is not None for entry in entries),
        walks=len(entries),
        explored=explored,
        covered=tuple(covered),
        printed=all(piece.printed for piece in pieces[of.name]),
        made_from=lineage.made_from(
            campaign.store.records(), generation.name, generation.checkpoint_hash
        ),
    )


def _explored(campaign: Work, of: Biased) -> tuple[tuple[float, float], ...]:
    """For each variable, from where to where the campaign has laid hills."""
    last = max((r.round for r in campaign.store.records() if r.stage == SEGMENT), default=0)
    record = steer.hills(campaign, of.name, last + 1, ())
    centres = bias.gaussians(record, action=of.action).centres
    return tuple((float(c.min()), float(c.max())) for c in centres.T if len(c))


def _covered(free: FreeEnergy, axis: int, ends: tuple[float, float]) -> float:
    """Which share of a range of one variable was sampled."""
    centres = free.centres[axis]
    width = float(centres[1] - centres[0]) if len(centres) > 1 else 1.0
    rows = np.moveaxis(free.values, axis, 0).reshape(len(centres), -1)
    sampled = np.isfinite(rows).any(axis=1)
    inside = (centres + width / 2 > ends[0]) & (centres - width / 2 < ends[1])
    return min(1.0, float((sampled & inside).sum()) * width / max(ends[1] - ends[0], width))
