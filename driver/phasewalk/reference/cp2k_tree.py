"""CP2K's input as a tree, and back, by cp2k-input-tools.

In its trees a section is "+name" and a keyword "name", "_" is a section's parameter, "*" its lines
without a keyword, and all names are lower case.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import EngineMissing, InputError, brief
from . import cp2k_text
from .cp2k_text import Line

_XML = (
    "keywords of another version of CP2K are known from what `cp2k --xml` writes: "
    "reference.cp2k.input_xml"
)


@dataclass(frozen=True)
class Input:
    """A CP2K input.

    Attributes:
        path: the file.
        tree: its content, as cp2k-input-tools gives it.
        xml: what describes the keywords of this version of CP2K, if not the library's own.
    """

    path: Path
    tree: Mapping[str, Any]
    xml: Path | None = None

    @property
    def force_eval(self) -> Mapping[str, Any]:
        """Its only FORCE_EVAL."""
        found: Mapping[str, Any] = self.tree["+force_eval"][0]
        return found


@lru_cache(maxsize=4)
def _parser(xml: Path | None, folder: Path) -> Any:
    """The library's parser; it takes a second to read what it knows of all keywords."""
    from cp2k_input_tools.parser import CP2KInputParser

    return CP2KInputParser(xmlspec=str(xml) if xml else None, base_dir=str(folder))


@lru_cache(maxsize=2)
def generator(xml: Path | None) -> Any:
    """The library's writer of inputs; see `_parser`."""
    from cp2k_input_tools import DEFAULT_CP2K_INPUT_XML
    from cp2k_input_tools.generator import CP2KInputGenerator

    return CP2KInputGenerator(str(xml or DEFAULT_CP2K_INPUT_XML))


def parse(text: str, path: Path, xml: Path | None) -> Mapping[str, Any]:
    """The tree of an input; what it includes is looked for beside it.

    Raises:
        InputError: it is none; names the line where that is known.
        EngineMissing: cp2k-input-tools is not installed.
    """
    lines = cp2k_text.lines_of(text, path)
    stream = io.StringIO(cp2k_text.joined(lines))
    stream.name = str(path)
    try:
        tree: Mapping[str, Any] = _parser(xml, path.parent).parse(stream)
    except ImportError as error:
        raise EngineMissing(
            "CP2K: its input is read by cp2k-input-tools; pip install 'phasewalk[cp2k]'"
        ) from error
    except Exception as error:  # the library raises anything
        begun = stream.getvalue()[: stream.tell()].count("\n")
        at = lines[begun - 1] if begun else Line("", path, 1)
        raise InputError(_reason(error, lines, at)) from error
    told = None if tree else cp2k_text.unbalanced(lines)
    if told:
        raise InputError(told)
    return tree


def _reason(error: Exception, lines: Sequence[Line], at: Line) -> str:
    """Why the library refuses an input, in words of CP2K's manual, with file and line."""
    kind, said = type(error).__name__, str(error.args[0]) if error.args else ""
    told = cp2k_text.unbalanced(lines)
    if told and kind in ("SectionMismatchError", "IndexError", "AttributeError"):
        return told
    context = next((arg for arg in error.args if hasattr(arg, "linenr")), None)
    name, number = getattr(context, "filename", None), getattr(context, "linenr", None)
    where = (
        at.where
        if name in (None, str(at.path)) or "$" not in at.text
        else (f"{name}, line {number}")
    )
    shown = brief(at.text.strip())
    return f"{where}: not an input of CP2K: {_told(kind, said, lines, at)}" + (
        f" ({shown})" if shown and where == at.where else ""
    )


def _told(kind: str, said: str, lines: Sequence[Line], at: Line) -> str:
    """What is wrong with a line, from the kind of the library's exception."""
    quoted = re.search(r"'([^']*)'", said)
    name = quoted[1] if quoted else ""
    first = (at.text.split() or [""])[0]
    inside = cp2k_text.inside(lines, at)
    if kind == "InvalidSectionError":
        return f"CP2K knows no section &{name} {inside}; {_XML}"
    if kind == "InvalidNameError" and "multiple times" in said:
        return f"section &{name} stands twice, and may once"
    if kind == "InvalidNameError":
        return f"CP2K knows no keyword {name} {inside}; {_XML}"
    if kind == "NameRepetitionError":
        return f"keyword {name} stands twice in its section, and may once"
    if kind == "InvalidParameterError" and first.startswith("&"):
        return f"section {first} takes no such parameter"
    if kind == "InvalidParameterError":
        return f"keyword {name or first} takes no such value; {_XML}"
    if kind in ("UnterminatedStringError", "InvalidTokenCharError"):
        return "a quotation mark is not closed, or stands inside a word"
    if kind == "LineContinuationError":
        return "its last line ends in \\, which continues a line"
    if kind == "PreprocessorError":
        return brief(said)
    return "a value, or its unit, cannot be read"


def is_section(path: str, xml: Path | None) -> bool:
    """Whether CP2K knows a path below FORCE_EVAL/DFT as a section."""
    tree: dict[str, Any] = {}
    for name in reversed(path.lower().split("/")):
        tree = {f"+{name}": tree}
    try:
        list(generator(xml).line_iter({"+force_eval": [{"+dft": tree}]}))
    except Exception:  # the library raises anything where it does not know the name
        return False
    return True
