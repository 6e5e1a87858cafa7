"""The record of hills on disk: one table per round, written once.

A table contains the hills of its round, and changes to hills of earlier rounds:

    # phasewalk hills 2
    # system<TAB>mil53_al
    # earlier<TAB>600
    # inactive<TAB>mil53_al-0<TAB>3<TAB>150
    # kept<TAB>together
    # history<TAB>metad<TAB>74400<TAB>SHA-256
    # header<TAB>metad<TAB>#! FIELDS time volume sigma_volume height biasf
    action<TAB>walker<TAB>round<TAB>step<TAB>generation<TAB>active<TAB>text
    …

`# earlier`: number of hills of earlier rounds. `# inactive`: hills of this walker in this round
after this step are no longer active. `# kept`: whether walkers started the round with the hills of
all walkers (`together`) or only with their own (`apart`). `# history`: the file of earlier hills
that they started with (a METAD action, or a walker and an action), its size in bytes and its
SHA-256. The rest is the same as in `hills`. A table of version 1, written by earlier versions of
phasewalk, contains the hills of all rounds up to its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import ParseError
from ..files import read_text
from . import hills as bias
from .hills import Cut, HillsRecord

_MAGIC = "# phasewalk hills 2"
_EARLIER, _INACTIVE, _KEPT, _HISTORY = "# earlier", "# inactive", "# kept", "# history"
_WIDTHS = {_EARLIER: 2, _INACTIVE: 4, _KEPT: 2, _HISTORY: 4}
_APART = {"apart": True, "together": False}


@dataclass(frozen=True)
class Mark:
    """Size of a file of hills in bytes, and the SHA-256 of these bytes."""

    size: int
    digest: str


@dataclass(frozen=True)
class HillsTable:
    """The part of the record that one round adds.

    Attributes:
        laid: the hills of the round, and the headers of all METAD actions so far.
        earlier: number of hills of earlier rounds.
        cuts: hills of earlier rounds that became inactive.
        began: the files of earlier hills that the walkers started with, by `sharing.file_key`.
        apart: each walker started only with its own hills.
        whole: version 1: `laid` contains the hills of all rounds.
    """

    laid: HillsRecord
    earlier: int = 0
    cuts: tuple[Cut, ...] = ()
    began: Mapping[str, Mark] = field(default_factory=dict)
    apart: bool = False
    whole: bool = False

    @property
    def total(self) -> int:
        """Number of hills up to the end of the round."""
        return self.earlier + len(self.laid.hills)


def to_text(table: HillsTable) -> str:
    """The table in the format of the module's docstring (version 2)."""
    _, system, *rest = bias.record_to_text(table.laid).split("\n")
    lines = [_MAGIC, system, f"{_EARLIER}\t{table.earlier}"]
    lines += [f"{_INACTIVE}\t{cut.walker}\t{cut.round}\t{cut.after_step}" for cut in table.cuts]
    lines.append(f"{_KEPT}\t{'apart' if table.apart else 'together'}")
    for key in sorted(table.began):
        lines.append(f"{_HISTORY}\t{key}\t{table.began[key].size}\t{table.began[key].digest}")
    return "\n".join([*lines, *rest])


def from_text(text: str, *, path: Path | str) -> HillsTable:
    """Read a table of version 1 or 2; `path` is used in messages."""
    if not text.startswith(f"{_MAGIC}\n"):
        return HillsTable(bias.record_from_text(text, path=path), whole=True)
    laid, lines = bias.table_from_text(text, path=path, magic=_MAGIC, more=tuple(_WIDTHS))
    table, seen = HillsTable(laid), set()
    for number, words in lines:
        if len(words) != _WIDTHS[words[0]]:
            raise ParseError(path, f"expected {_WIDTHS[words[0]]} columns", number)
        table = _with(table, words, path, number)
        seen.add(words[0])
    for word in (_EARLIER, _KEPT):
        if word not in seen:
            raise ParseError(path, f"the line '{word}' is missing", 3)
    return table


def read(path: Path) -> HillsTable:
    """Read a table of the campaign; ParseError if it cannot be read."""
    return from_text(read_text(path), path=path)


def record(tables: Iterable[HillsTable]) -> HillsRecord | None:
    """Merge tables into the record with all hills of a system; None if there is no table.

    Args:
        tables: the tables of the system, the newest first; read up to the first of version 1.
    """
    found: list[HillsTable] = []
    for table in tables:
        found.append(table)
        if table.whole:
            break
    if not found:
        return None
    hills = [hill for table in reversed(found) for hill in table.laid.hills]
    hills.sort(key=lambda hill: hill.order)
    merged = replace(found[0].laid, hills=tuple(hills))
    return bias.deactivate(merged, [cut for table in found for cut in table.cuts])


def _with(table: HillsTable, words: Sequence[str], path: Path | str, line: int) -> HillsTable:
    """The table with the content of one more line."""
    if words[0] == _EARLIER:
        return replace(table, earlier=_number(words[1], path, line))
    if words[0] == _INACTIVE:
        cut = Cut(words[1], _number(words[2], path, line), _number(words[3], path, line))
        return replace(table, cuts=(*table.cuts, cut))
    if words[0] == _HISTORY:
        mark = Mark(_number(words[2], path, line), words[3])
        return replace(table, began={**table.began, words[1]: mark})
    if words[1] not in _APART:
        raise ParseError(path, f"expected 'together' or 'apart', found {words[1]!r}", line)
    return replace(table, apart=_APART[words[1]])


def _number(word: str, path: Path | str, line: int) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 18):
        raise ParseError(path, f"expected an integer of at most 18 digits, found {word!r}", line)
    return int(word)
