"""Child process: a checkpoint from somewhere, read so that nothing in it runs.

A checkpoint is a pickle, which may call anything while it is read; and what it holds names classes
that NequIP then builds, or further files that it loads. So it is read by `torch.load` with
`weights_only`, which calls nothing; the classes that it names are held against a list; and what was
read is written anew for NequIP, which loads that copy and never the file itself.
"""

import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UNREADABLE

REFUSED = 3
"""Exit code of a child that does not load a checkpoint."""
TRUST = "--trust"
COPY = "checkpoint.read.ckpt"

BUILT = re.compile(
    r"(nequip\.(model|train|nn|nn\.pair_potential|data\.transforms)|allegro\.(model|nn)"
    r"|torch\.(nn|optim|optim\.lr_scheduler))\.[A-Z]\w*"
)
"""What a checkpoint may have built: classes of these packages, and nothing that these import."""
LOADERS = ("nequip.model.ModelFromCheckpoint", "nequip.model.ModelFromPackage")
"""What loads a further file, which nobody has looked at."""


class Refused(Exception):
    """A checkpoint that is not loaded, and why."""


def copied(source: Path, folder: Path) -> Path:
    """What a checkpoint holds, read without running any of it, as a new file in the folder.

    Raises:
        Refused: it cannot be read so, or asks for more than weights and NequIP's own classes.
    """
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # of other versions of pickle
            data = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, *UNREADABLE) as error:
        first = " ".join(str(error).split())
        named = re.search(r"GLOBAL (\S+)", first)
        what = f"{named[1]}, which is code" if named else f"more than weights ({first[:200]})"
        raise Refused(f"it holds {what}") from error
    for reason in _reasons(data):
        raise Refused(reason)
    path = folder / COPY
    torch.save(data, path)
    return path


def _reasons(data: Any) -> Iterator[str]:
    """Why what a checkpoint asks for is not given; nothing if it is."""
    try:
        asked = data["hyper_parameters"]
        classes = [asked["info_dict"]["training_module"]["_target_"]]
        built = {key: value for key, value in asked.items() if key != "info_dict"}
    except (LookupError, TypeError, AttributeError):
        yield "it is no checkpoint of nequip-train"
        return
    for key, text in _texts(built):
        if key == "_target_":
            classes.append(text)
        elif "${" in text:
            yield f"it asks for {text[:80]!r} to be evaluated"
    for name in classes:
        if name in LOADERS:
            yield f"it loads a further file (by {name})"
        elif not BUILT.fullmatch(str(name)):
            yield f"it asks for {str(name)[:80]!r} to be built, which is no part of a network"


def _texts(data: Any, key: object = "") -> Iterator[tuple[object, str]]:
    """All texts in nested data, with the key of each."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield from _texts(value, name)
    elif isinstance(data, list | tuple | set):
        for value in data:
            yield from _texts(value, key)
    elif isinstance(data, str):
        yield key, data
