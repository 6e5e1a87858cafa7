"""`phasewalk verify`: compare all files of a campaign with its journal, and check the journal.

Read-only. Files without a recorded hash, as in campaigns of earlier versions, are listed
separately.
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
"""Files that should have a recorded hash."""
FREE_ENERGIES = "fes/*"


@dataclass
class Findings:
    """Result of the comparison.

    Attributes:
        root: the campaign directory.
        good: number of files that match the journal.
        wrong: files that differ, are damaged or missing: one line each.
        gone: missing files that a campaign does not need to continue.
        unrecorded: files without a recorded hash.
    """

    root: Path
    good: int = 0
    wrong: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether no error was found."""
        return not self.wrong

    def as_dict(self) -> dict[str, Any]:
        """The result as data for JSON."""
        return {**asdict(self), "root": str(self.root), "passed": self.passed}

    def lines(self) -> Iterator[str]:
        """The result as lines of text."""
        yield from self.wrong
        summary = f"{self.root}: {self.good} files match the journal"
        for number, what in (
            (len(self.wrong), "error(s), see above"),
            (len(self.gone), f"missing, but not needed ({_some(self.gone)})"),
            (len(self.unrecorded), f"without a recorded hash ({_some(self.unrecorded)})"),
        ):
            summary += f"; {number} {what}" if number else ""
        yield summary


def _some(names: Sequence[str]) -> str:
    return f"{names[0]}{' …' if len(names) > 1 else ''}" if names else ""


def verify(root: Path) -> Findings:
    """Compare all files of a campaign directory, including free energies, with its journals.

    Raises:
        StoreError: not a campaign directory.
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
    """Compare the files of one journal."""
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
    """Errors in the settings, and differences from the identity."""
    try:
        identity = read_identity(root)
        settings = config.parse(*settings_text(root))
    except InputError as error:
        yield str(error)
        return
    for key, value in (("name", settings.campaign), ("seed", settings.seed)):
        if key in identity and identity[key] != value:
            yield f"{root / IDENTITY}: {key} is {identity[key]!r}, but {value!r} in {SETTINGS}"
    if isinstance(named := identity.get("structures"), dict) and set(named) != set(
        settings.systems
    ):
        systems = ", ".join(settings.systems)
        yield f"{root / IDENTITY}: systems are {', '.join(named)}, but {systems} in {SETTINGS}"


def _labels(root: Path) -> Iterator[str]:
    """Errors in labels: frames, checksums, levels of theory, conventions."""
    try:
        yield from library.verify_campaign(root)
    except InputError as error:  # a damaged journal was already reported
        if f"{root / JOURNAL}" not in str(error):
            yield str(error)
