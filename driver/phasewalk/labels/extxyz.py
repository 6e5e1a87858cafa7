"""Write labels as extxyz, with their metadata and at full precision."""

import string
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from ..structures import carried
from .label import Label
from .levels import Level

_SAFE = "".join(sorted(set(string.printable) - set('%"\\') - set(string.whitespace) | {" "}))


def to_extxyz(labels: Sequence[Label], level: Level | None) -> str:
    """Frames in a format that ASE reads: eV, eV/Å, eV/Å³ (tension positive), Å.

    ASE's own writer rounds to eight digits, which would change the frames.

    Args:
        labels: the labels to write.
        level: their level of theory, written with each frame; None if it is not known.
    """
    return "".join(_frame(label, level) for label in labels)


def to_training(labels: Sequence[Label]) -> str:
    """Frames for a training: what is learned, exact to the last bit, and the key of each label."""
    return "".join(label.training_text for label in labels)


def training_text(label: Label) -> str:
    """A frame for a training; see `to_training`."""
    return _text(label, {**_learned(label), "key": label.key})


def _learned(label: Label) -> dict[str, str]:
    """What a header says of energy and stress."""
    return {
        "energy": _number(label.energy),
        "stress": " ".join(map(_number, _matrix(label.stress.tolist()))),
    }


def _frame(label: Label, level: Level | None) -> str:
    about = {
        **_learned(label),
        "key": label.key,
        "level": label.level,
        "seconds": label.seconds,
        "origin": quoted(dict(label.origin)),
        "made": quoted(dict(label.made)),
        **({"level_of_theory": quoted(level.as_dict())} if level else {}),
    }
    return _text(label, about)


def _text(label: Label, about: Mapping[str, Any]) -> str:
    """A frame, and what its header says about it but for what is empty."""
    from ase.io.extxyz import key_val_dict_to_str

    atoms, extras = label.atoms, carried.of_label(label.atoms)
    lattice = " ".join(map(repr, atoms.cell.array.ravel().tolist()))
    extras = {name: values.reshape(len(atoms), -1) for name, values in extras.items()}
    titles = "".join(f":{name}:R:{values.shape[1]}" for name, values in extras.items())
    header = (
        f'Lattice="{lattice}" Properties=species:S:1:pos:R:3:forces:R:3{titles} '
        f'{key_val_dict_to_str({k: v for k, v in about.items() if v not in ("", {})})} pbc="T T T"'
    )
    columns = [atoms.positions, label.forces, *extras.values()]
    rows = zip(atoms.symbols, np.hstack(columns).tolist(), strict=True)
    lines = [" ".join([symbol, *map(repr, numbers)]) for symbol, numbers in rows]
    return "\n".join([str(len(atoms)), header, *lines]) + "\n"


def _number(value: float) -> str:
    """All digits, with a decimal point: without one, ASE reads 9e-05 in a header as 0."""
    text = repr(value)
    return text if "." in text or "e" not in text else text.replace("e", ".0e")


def quoted(data: Any) -> Any:
    """JSON data with characters escaped that ASE cannot read in a header."""
    if isinstance(data, Mapping):
        return {quoted(str(key)): quoted(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [quoted(value) for value in data]
    return quote(data, safe=_SAFE) if isinstance(data, str) else data


def _matrix(voigt: Sequence[float]) -> list[float]:
    """Nine components, as usual in extxyz, because the order of six is ambiguous."""
    xx, yy, zz, yz, xz, xy = voigt
    return [xx, xy, xz, xy, yy, yz, xz, yz, zz]
