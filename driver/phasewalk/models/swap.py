"""Replace the weights in a deployed model, which avoids compiling it again.

Both kinds of deployed model are zip archives that contain the bytes of each weight once:
TorchScript in a separate file, AOTInductor inside the compiled library. If the bytes of every
weight of the compiled checkpoint are found exactly once, another checkpoint with the same graph can
be deployed by overwriting them. The graph is everything else that is compiled; a checkpoint with a
different graph is refused, by its hash.
"""

import hashlib
import io
import itertools
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt

from ..errors import UNREADABLE, InputError, ParseError
from ..files import EXACT, read

Weights = Mapping[str, NDArray[Any]]
GRAPH = "graph"
DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, RuntimeError)
"""Exceptions of reading a damaged archive (RuntimeError: its encryption flag is set)."""


@dataclass(frozen=True)
class Place:
    """Position of a weight: file in the archive, offset and length in bytes."""

    __pydantic_config__ = EXACT

    entry: str
    offset: NonNegativeInt
    length: NonNegativeInt


@dataclass(frozen=True)
class Template:
    """A deployed model whose weights can be replaced.

    Attributes:
        graph: hash of everything that is compiled except the weights.
        package: SHA-256 of the model.
        places: name of weight → its position.
    """

    graph: str
    package: str
    places: Mapping[str, Place]


def read_weights(path: Path) -> tuple[str, dict[str, NDArray[Any]]]:
    """Hash of the graph, and weights by name, as written by a training."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            weights = {name: stored[name] for name in stored.files}
        if not all(isinstance(weight, np.ndarray) for weight in weights.values()):
            raise ValueError("an entry is not an array")
        graph = str(weights.pop(GRAPH))
        if any(weight.dtype.kind not in "fiub" for weight in weights.values()):
            raise ValueError("a weight is not a number")
    except (*DAMAGED, *UNREADABLE) as error:
        raise ParseError(path, f"not a file of weights ({error!r})") from error
    return graph, weights


def find_weights(package: bytes, graph: str, weights: Weights) -> Template:
    """Find the weights in a model that was compiled from them.

    Raises:
        InputError: a weight is not found exactly once and cannot be replaced.
    """
    entries = _entries(package)
    places = {}
    for name, weight in weights.items():
        wanted = _bytes(weight)
        if not wanted:
            continue
        found = [
            Place(info.filename, offset, len(wanted))
            for info, content in entries
            for offset in _offsets(content, wanted)
        ]
        if len(found) != 1:
            raise InputError(
                f"weight {name} found {len(found)} times in the deployed model, expected once; it "
                "cannot be replaced; compile the checkpoint instead"
            )
        places[name] = found[0]
    _check_apart(places)
    return Template(graph, hashlib.sha256(package).hexdigest(), places)


def swap(package: bytes, template: Template, graph: str, weights: Weights) -> bytes:
    """The deployed model with other weights.

    Raises:
        InputError: the graph, or names or sizes of weights, differ.
    """
    if hashlib.sha256(package).hexdigest() != template.package:
        raise InputError(
            "the deployed model is damaged or was replaced (its checksum differs); compile it again"
        )
    if graph != template.graph:
        raise InputError(
            "the deployed model was compiled from a network with other settings (its graph "
            "differs); compile it again"
        )
    sized = {name: _bytes(weight) for name, weight in weights.items()}
    sized = {name: content for name, content in sized.items() if content}
    if {n: len(c) for n, c in sized.items()} != {n: p.length for n, p in template.places.items()}:
        raise InputError(
            "names or sizes of the weights differ from those of the deployed model; compile it "
            "again"
        )
    sizes = {info.filename: len(content) for info, content in _entries(package)}
    for name, place in template.places.items():
        if place.offset + place.length > sizes.get(place.entry, 0):
            raise InputError(
                f"the position of weight {name} is beyond the end of its file {place.entry} in the "
                "deployed model; compile it again"
            )
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
        for info, content in _entries(package):
            patched = bytearray(content)
            for name, place in template.places.items():
                if place.entry == info.filename:
                    patched[place.offset : place.offset + place.length] = sized[name]
            archive.writestr(info, bytes(patched))
    return result.getvalue()


def template_text(template: Template) -> str:
    """A template as the text of its file."""
    return json.dumps(asdict(template), indent=1) + "\n"


def read_template(path: Path) -> Template:
    """The reverse of `template_text`."""
    return read(path, Template, unlike="not the positions of a model's weights")


def _check_apart(places: Mapping[str, Place]) -> None:
    """Raise InputError if two weights share bytes: writing one would change the other."""
    ordered = sorted(places.items(), key=lambda item: (item[1].entry, item[1].offset))
    for (one, before), (other, after) in itertools.pairwise(ordered):
        if before.entry == after.entry and before.offset + before.length > after.offset:
            raise InputError(
                f"weights {one} and {other} share bytes in the deployed model, so they cannot be "
                "replaced; compile the checkpoint instead"
            )


def _entries(package: bytes) -> list[tuple[zipfile.ZipInfo, bytes]]:
    try:
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            return [(info, archive.read(info)) for info in archive.infolist()]
    except DAMAGED as error:
        raise InputError(f"the deployed model is damaged ({error}); compile it again") from error


def _bytes(weight: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(weight).astype(weight.dtype.newbyteorder("<")).tobytes()


def _offsets(content: bytes, wanted: bytes) -> list[int]:
    """The first two offsets of `wanted`; two are enough to know that it is ambiguous."""
    first = content.find(wanted)
    if first < 0:
        return []
    second = content.find(wanted, first + 1)
    return [first] if second < 0 else [first, second]
