"""CP2K's input as a tree, read and written by cp2k-input-tools.

In the tree, "+name" is a section, "name" a keyword, "_" a section's parameter and "*" its lines
without a keyword; all names are lower case.
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
    "for another version of CP2K, set reference.cp2k.input_xml to the file that `cp2k --xml` writes"
)


@dataclass(frozen=True)
class Input:
    """A CP2K input.

    Attributes:
        path: the file.
        tree: its content as parsed by cp2k-input-tools.
        xml: description of the keywords of this version of CP2K; None for the library's own.
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
    """The library's parser, which takes a second to load its description of all keywords."""
    from cp2k_input_tools.parser import CP2KInputParser

    return CP2KInputParser(xmlspec=str(xml) if xml else None, base_dir=str(folder))


@lru_cache(maxsize=2)
def generator(xml: Path | None) -> Any:
    """The library's input writer; see `_parser`."""
    from cp2k_input_tools import DEFAULT_CP2K_INPUT_XML
    from cp2k_input_tools.generator import CP2KInputGenerator

    return CP2KInputGenerator(str(xml or DEFAULT_CP2K_INPUT_XML))


def parse(text: str, path: Path, xml: Path | None) -> Mapping[str, Any]:
    """The tree of an input; included files are searched in its directory.

    Raises:
        InputError: it is not a valid input; names the line if it is known.
        EngineMissing: cp2k-input-tools is not installed.
    """
    lines = cp2k_text.lines_of(text, path)
    stream = io.StringIO(cp2k_text.joined(lines))
    stream.name = str(path)
    try:
        tree: Mapping[str, Any] = _parser(xml, path.parent).parse(stream)
    except ImportError as error:
        raise EngineMissing(
            "CP2K: reading its input requires cp2k-input-tools; pip install 'phasewalk[cp2k]'"
        ) from error
    except Exception as error:  # the library raises anything
        begun = stream.getvalue()[: stream.tell()].count("\n")
        at = lines[begun - 1] if begun else Line("", path, 1)
        raise InputError(_reason(error, lines, at)) from error
    problem = None if tree else cp2k_text.unbalanced(lines)
    if problem:
        raise InputError(problem)
    return tree


def _reason(error: Exception, lines: Sequence[Line], at: Line) -> str:
    """Why the library rejects an input, in terms of CP2K's manual, with file and line."""
    kind, said = type(error).__name__, str(error.args[0]) if error.args else ""
    unbalanced = cp2k_text.unbalanced(lines)
    if unbalanced and kind in ("SectionMismatchError", "IndexError", "AttributeError"):
        return unbalanced
    context = next((arg for arg in error.args if hasattr(arg, "linenr")), None)
    name, number = getattr(context, "filename", None), getattr(context, "linenr", None)
    where = (
        at.where
        if name in (None, str(at.path)) or "$" not in at.text
        else (f"{name}, line {number}")
    )
    shown = brief(at.text.strip())
    return f"{where}: not a valid CP2K input: {_problem(kind, said, lines, at)}" + (
        f" ({shown})" if shown and where == at.where else ""
    )


def _problem(kind: str, said: str, lines: Sequence[Line], at: Line) -> str:
    """The error in a line, from the type of the library's exception."""
    quoted = re.search(r"'([^']*)'", said)
    name = quoted[1] if quoted else ""
    first = (at.text.split() or [""])[0]
    inside = cp2k_text.inside(lines, at)
    if kind == "InvalidSectionError":
        return f"unknown section &{name} {inside}; {_XML}"
    if kind == "InvalidNameError" and "multiple times" in said:
        return f"section &{name} found twice, allowed once"
    if kind == "InvalidNameError":
        return f"unknown keyword {name} {inside}; {_XML}"
    if kind == "NameRepetitionError":
        return f"keyword {name} found twice in its section, allowed once"
    if kind == "InvalidParameterError" and first.startswith("&"):
        return f"invalid parameter of section {first}"
    if kind == "InvalidParameterError":
        return f"invalid value of keyword {name or first}; {_XML}"
    if kind in ("UnterminatedStringError", "InvalidTokenCharError"):
        return "a quotation mark is not closed, or is inside a word"
    if kind == "LineContinuationError":
        return "the last line ends in \\, which requires a continuation line"
    if kind == "PreprocessorError":
        return brief(said)
    return "a value or its unit cannot be read"


def is_section(path: str, xml: Path | None) -> bool:
    """Whether a path below FORCE_EVAL/DFT is a section of CP2K's input."""
    tree: dict[str, Any] = {}
    for name in reversed(path.lower().split("/")):
        tree = {f"+{name}": tree}
    try:
        list(generator(xml).line_iter({"+force_eval": [{"+dft": tree}]}))
    except Exception:  # the library may raise anything for an unknown name
        return False
    return True
