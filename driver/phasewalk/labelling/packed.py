"""The directories of finished labels in one archive per round: fewer files on a cluster."""

from ..campaign import Work
from ..reference import WAVE_FUNCTIONS
from ..store import LABEL, Labelled, Record, pack

ARCHIVE = "labels.zip"
"""Name of the archive in the folder of a round."""


def pack_labels(work: Work, round_: int) -> None:
    """Pack what the jobs of a round's labels have read and written, if they ran on a site.

    A failed label keeps its directory, which users look at, and so does one whose wave function the
    next label of its walker may start from. Labels themselves are in `labels/`.
    """
    if work.launcher.here:
        return
    places = [
        work.store.root / record.of(Labelled).place
        for record in work.store.records()
        if record.stage == LABEL and record.round == round_ and _is_packed(work, record)
    ]
    pack(work.store, f"rounds/{round_:03d}/{ARCHIVE}", [one for one in places if one.is_dir()])


def _is_packed(work: Work, record: Record) -> bool:
    """Whether a label is finished, and nothing needs its directory."""
    if record.failed or not record.of(Labelled).place:
        return False
    own = work.campaign.settings.reference.cp2k
    place = work.store.root / record.of(Labelled).place
    guesses = own is not None and own.guess != "none"
    return not (guesses and any((place / name).is_file() for name in WAVE_FUNCTIONS))
