"""Read a checkpoint of unknown origin without executing code in it (for child processes).

A checkpoint is a pickle, which can execute any code while it is read; it also names classes that
NequIP then instantiates, and files that these load. Therefore it is read by `torch.load` with
`weights_only`, which executes no code; the classes that it names must be on a list; and its content
is written to a new file, which NequIP loads instead of the original.
"""

import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UNREADABLE

REFUSED = 3
"""Exit code of a child process that refused to load a checkpoint."""
TRUST = "--trust"
COPY = "checkpoint.read.ckpt"

BUILT = re.compile(
    r"(nequip\.(model|train|nn|nn\.pair_potential|data\.transforms)|allegro\.(model|nn)"
    r"|torch\.(nn|optim|optim\.lr_scheduler)|phasewalk\.models\.repulsion)\.[A-Z]\w*"
)
"""Classes that a checkpoint may instantiate: those defined in these packages."""
LOADERS = ("nequip.model.ModelFromCheckpoint", "nequip.model.ModelFromPackage")
"""Functions that load another file, which has not been checked."""


class Refused(Exception):
    """A checkpoint that is not loaded; the message is the reason."""


def copied(source: Path, folder: Path) -> Path:
    """A copy of a checkpoint in the folder, made without executing code in it.

    Raises:
        Refused: it cannot be read in this way, or contains more than weights and NequIP's classes.
    """
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # about other versions of pickle
            data = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, *UNREADABLE) as error:
        first = " ".join(str(error).split())
        named = re.search(r"GLOBAL (\S+)", first)
        more = f"it is damaged, or contains more than weights ({first[:200]})"
        raise Refused(f"it contains {named[1]}, which is code" if named else more) from error
    for reason in _reasons(data):
        raise Refused(reason)
    path = folder / COPY
    torch.save(data, path)
    return path


def _reasons(data: Any) -> Iterator[str]:
    """Reasons not to load a checkpoint; none if it may be loaded."""
    try:
        settings = data["hyper_parameters"]
        classes = [settings["info_dict"]["training_module"]["_target_"]]
        built = {key: value for key, value in settings.items() if key != "info_dict"}
    except (LookupError, TypeError, AttributeError):
        yield "it is not a checkpoint of nequip-train"
        return
    for key, text in _texts(built):
        if key == "_target_":
            classes.append(text)
        elif "${" in text:
            yield f"it contains an expression to be evaluated, {text[:80]!r}"
    for name in classes:
        if name in LOADERS:
            yield f"it loads another file (by {name})"
        elif not BUILT.fullmatch(str(name)):
            yield f"it instantiates {str(name)[:80]!r}, which is not part of a network"


def _texts(data: Any, key: object = "") -> Iterator[tuple[object, str]]:
    """All strings in nested data, each with its key."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield from _texts(value, name)
    elif isinstance(data, list | tuple | set):
        for value in data:
            yield from _texts(value, key)
    elif isinstance(data, str):
        yield key, data
