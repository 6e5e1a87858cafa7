"""`phasewalk verify`: every file of a campaign against its journal, and the journal against itself.

Only reads. A file whose hash no record holds, as in campaigns of earlier versions, is told apart
from one that is as it was written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..campaign import config
from ..errors import InputError
from ..files import check_file
from ..store import IDENTITY, JOURNAL, MAY_GO, SETTINGS, read_campaign, read_identity, settings_text
from . import library

KEPT = (
    *("labels/*.json", "bias/*/*.tsv", "rounds/*/*.json", "rounds/*/segment/*.colvar", SETTINGS),
    *("models/gen-*/**/*", "models/final/**/*", "fes.json", IDENTITY),
)
"""What a campaign keeps, and so should have the hash of."""
FREE_ENERGIES = "fes/*"


@dataclass
class Findings:
    """What was found in a campaign directory.

    Attributes:
        root: the directory.
        good: how many files are as the journal says.
        wrong: what differs, is damaged, or is missing: one line each.
        gone: files that a campaign goes on without, and that are not there any more.
        unrecorded: files whose hash no record holds.
    """

    root: Path
    good: int = 0
    wrong: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Nothing differs."""
        return not self.wrong

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "root": str(self.root), "passed": self.passed}

    def lines(self) -> Iterator[str]:
        """The same for people."""
        yield from self.wrong
        told = f"{self.root}: {self.good} files are as the journal says"
        for number, what in (
            (len(self.wrong), "wrong: see above"),
            (len(self.gone), f"not there any more, and not needed ({_some(self.gone)})"),
            (len(self.unrecorded), f"whose hash is not recorded ({_some(self.unrecorded)})"),
        ):
            told += f"; {number} {what}" if number else ""
        yield told


def _some(names: Sequence[str]) -> str:
    return f"{names[0]}{' …' if len(names) > 1 else ''}" if names else ""


def verify(root: Path) -> Findings:
    """Compare everything in a campaign directory, free energies among it, with its journals.

    Raises:
        StoreError: it is no campaign directory.
    """
    found = _files(root)
    for problem in (*_identity(root), *_labels(root)):
        found.wrong += [] if problem in found.wrong else [problem]
    for place in sorted(path.parent for path in root.glob(f"{FREE_ENERGIES}/{IDENTITY}")):
        inner = _files(place)
        found.good += inner.good
        found.wrong += inner.wrong
        found.gone += [f"{place.relative_to(root)}/{name}" for name in inner.gone]
        found.unrecorded += [f"{place.relative_to(root)}/{name}" for name in inner.unrecorded]
    return found


def _files(root: Path) -> Findings:
    """The files of one journal."""
    found = Findings(root)
    try:
        kept = read_campaign(root).recorded()
    except InputError as error:
        if not (root / IDENTITY).is_file():
            raise
        found.wrong.append(str(error))
        return found
    for name, digest in sorted(kept.items()):
        if not (root / name).exists() and MAY_GO.match(name):
            found.gone.append(name)
            continue
        try:
            check_file(root / name, digest)
            found.good += 1
        except InputError as error:
            found.wrong.append(str(error))
    there = {path for pattern in KEPT for path in root.glob(pattern) if path.is_file()}
    names = {path.relative_to(root).as_posix() for path in there if not path.name.startswith(".")}
    found.unrecorded += sorted(names - kept.keys())
    return found


def _identity(root: Path) -> Iterator[str]:
    """What is wrong with the settings, and where they are not the identity's."""
    try:
        identity = read_identity(root)
        settings = config.parse(*settings_text(root))
    except InputError as error:
        yield str(error)
        return
    for key, value in (("name", settings.campaign), ("seed", settings.seed)):
        if key in identity and identity[key] != value:
            yield f"{root / IDENTITY}: its {key} is {identity[key]!r}, {SETTINGS} has {value!r}"
    if isinstance(named := identity.get("structures"), dict) and set(named) != set(
        settings.systems
    ):
        systems = ", ".join(settings.systems)
        yield f"{root / IDENTITY}: its systems are {', '.join(named)}, {SETTINGS} has {systems}"


def _labels(root: Path) -> Iterator[str]:
    """What is wrong with labels in themselves: frames, checksums, levels, conventions."""
    try:
        yield from library.verify_campaign(root)
    except InputError as error:  # a damaged journal, which was told already
        if f"{root / JOURNAL}" not in str(error):
            yield str(error)
