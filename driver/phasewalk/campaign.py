"""The loop: bootstrap, then rounds of segment → label → train → deploy.

Generation 0 comes from the bootstrap; round r = 1, 2, … walks with generation r − 1 and makes
generation r. The errors of both on the round's new frames are measured on the way.
"""

from . import exploring, labelling, learning, plumed
from .config import parse
from .errors import InputError
from .store import settings_text
from .tasks import Work


def run(work: Work) -> None:
    """Run the campaign to its end, from wherever it stands.

    Raises:
        PhasewalkError: what stopped it; everything that was finished is kept.
    """
    settings = work.campaign.settings
    _same_bias(work)
    work.store.write("campaign.yaml", work.campaign.text.encode())
    known = labelling.label_frames(work, 0, labelling.bootstrap_frames(work))
    generation = learning.learn(work, 0, known=known, new=[], previous=None)
    for round_ in range(1, settings.rounds + 1):
        new = labelling.label_frames(work, round_, exploring.walk(work, round_, generation))
        if not new:
            work.observer.say(f"round {round_}: no new label, so no new generation")
            continue
        known = [*known, *new]
        generation = learning.learn(work, round_, known=known, new=new, previous=generation)
    learning.learn_final(work, known, generation)
    if not any(r.stage == "end" and r.round == settings.rounds for r in work.store.records()):
        work.note(f"end after round {settings.rounds}", "end", settings.rounds, {})


def _same_bias(work: Work) -> None:
    """The CVs, hill widths and units of a campaign's bias must stay as they were."""
    if not (work.store.root / "campaign.yaml").is_file():
        return
    before = parse(*settings_text(work.store.root)).systems
    for name, system in work.campaign.settings.systems.items():
        if name in before and (before[name].plumed or "") != (system.plumed or ""):
            try:
                plumed.check_same_physics(before[name].plumed or "", system.plumed or "")
            except InputError as error:
                raise InputError(f"systems.{name}: {error}") from error
