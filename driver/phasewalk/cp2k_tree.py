"""CP2K's input as a tree, and back, by cp2k-input-tools.

In its trees a section is "+name" and a keyword "name", "_" is a section's parameter, "*" its lines
without a keyword, and all names are lower case.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import EngineMissing, InputError, brief

_FORTRAN = re.compile(r"(?<=\s)([-+]?\d+\.?\d*)[dD]([-+]?\d+)(?=\s|$)")


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
    stream = io.StringIO(_FORTRAN.sub(r"\1e\2", _without_motion(text)))
    stream.name = str(path)
    try:
        tree: Mapping[str, Any] = _parser(xml, path.parent).parse(stream)
    except ImportError as error:
        raise EngineMissing(
            "CP2K: its input is read by cp2k-input-tools; pip install 'phasewalk[cp2k]'"
        ) from error
    except Exception as error:  # the library raises anything
        context = next((arg for arg in error.args if hasattr(arg, "linenr")), None)
        line = getattr(context, "linenr", None)
        where = f"{path}, line {line}" if line else f"{path}"
        reason = brief(error.args[0] if error.args else error) or type(error).__name__
        raise InputError(
            f"{where}: not an input of CP2K: {reason} (keywords of another version of CP2K are "
            "known from what `cp2k --xml` writes: reference.cp2k.input_xml)"
        ) from error
    return tree


def _without_motion(text: str) -> str:
    """The text with blank lines for &MOTION, which is dropped, and which the library may refuse."""
    lines, depth = [], 0
    for line in text.splitlines():
        word = (line.split() or [""])[0].upper()
        inside = depth > 0 or word == "&MOTION"
        if inside and word.startswith("&"):
            depth += -1 if word == "&END" else 1
        lines.append("" if inside else line)
    return "\n".join(lines) + "\n"


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
