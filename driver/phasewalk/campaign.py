"""The loop: bootstrap, then rounds of segment → label → train → deploy.

Generation 0 comes from the bootstrap; round r = 1, 2, … walks with generation r − 1 and makes
generation r. The errors of both on the round's new frames are measured on the way.
"""

from . import exploring, initial, isolated, labelling, learning, plumed
from .config import parse
from .errors import InputError, NothingLeft
from .store import settings_text
from .tasks import Work


def run(work: Work) -> None:
    """Run the campaign to its end, from wherever it stands.

    Raises:
        PhasewalkError: what stopped it; everything that was finished is kept.
    """
    settings = work.campaign.settings
    _check_changes(work)
    work.store.write("campaign.yaml", work.campaign.text.encode())
    isolated.compute(work)
    known = [
        *initial.take(work),
        *labelling.label_bootstrap(work, labelling.bootstrap_frames(work)),
    ]
    generation = learning.learn(work, 0, known=known, new=[], previous=None)
    empty = 0
    begun = max((record.round for record in work.store.records()), default=0)
    for round_ in range(1, settings.rounds + 1):
        if round_ >= begun:
            generation = learning.fit(work, generation)
        proposals = exploring.walk(work, round_, generation, known)
        new = labelling.label_proposals(work, round_, proposals)
        empty = 0 if new else empty + 1
        if empty == settings.candidates.empty_rounds:
            raise NothingLeft(
                f"{empty} round(s) in a row, up to round {round_}, gave no label "
                "(candidates.empty_rounds): the walkers break down at once, so the model is too "
                "poor to walk with; start a new --dir with more bootstrap.count or "
                "model.first.epochs, or a lower temperature_K (or a temperature_ramp)"
            )
        if not new:
            work.observer.say(f"round {round_}: no new label, so no new generation")
            continue
        known = [*known, *new]
        generation = learning.learn(work, round_, known=known, new=new, previous=generation)
    learning.learn_final(work, known, generation)
    last = work.store.find(f"segment {settings.rounds}")
    if last is not None and all(walker["halted"] for walker in last.outputs["walkers"]):
        work.observer.say(
            "all walkers of the last round stopped early: the model is not ready to walk so far; "
            "ask for more rounds, or for a lower temperature_K (phasewalk status says why they did)"
        )
    if not any(r.stage == "end" and r.round == settings.rounds for r in work.store.records()):
        work.note(f"end after round {settings.rounds}", "end", settings.rounds, {})


def _check_changes(work: Work) -> None:
    """Raise InputError where changed settings do not fit what the campaign has already done."""
    settings = work.campaign.settings
    walked = [record.round for record in work.store.records() if record.stage == "segment"]
    if not walked:
        return
    if settings.rounds < max(walked):
        raise InputError(
            f"rounds: {settings.rounds}, but round {max(walked)} has begun; rounds can only grow "
            "(phasewalk rewind goes back)"
        )
    before = parse(*settings_text(work.store.root))
    for name, system in settings.systems.items():
        text, old = system.plumed or "", before.systems[name].plumed or ""
        if text != old:
            try:
                plumed.check_same_physics(old, text)
            except InputError as error:
                raise InputError(f"systems.{name}: {error}") from error
        if old and settings.segment.timestep_fs != before.segment.timestep_fs:
            raise InputError(
                f"segment.timestep_fs: {settings.segment.timestep_fs:g}, but hills were recorded "
                f"at {before.segment.timestep_fs:g} fs and carry their time; undo it, or start a "
                "new campaign"
            )
