"""Labels as extxyz: out with all that is known of them, and exact to the last bit; and in."""

import string
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from ase.io.extxyz import key_val_dict_to_str

from ..structures import carried
from .label import Label
from .levels import Level

_SAFE = "".join(sorted(set(string.printable) - set('%"\\') - set(string.whitespace) | {" "}))


def to_extxyz(labels: Sequence[Label], level: Level | None) -> str:
    """Frames as ASE reads them: eV, eV/Å, eV/Å³ (tension positive), Å.

    ASE's own writer rounds to eight digits, and a frame that was rounded is another frame.

    Args:
        labels: what to write.
        level: their level of theory, which goes with each frame; None where it is not known.
    """
    return "".join(_frame(label, level) for label in labels)


def to_training(labels: Sequence[Label]) -> str:
    """Frames for a training: what is learned, exact to the last bit, and the key of each label."""
    return "".join(_text(label, {**_learned(label), "key": label.key}) for label in labels)


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
    atoms = carried.for_label(label.atoms)
    lattice = " ".join(map(repr, atoms.cell.array.ravel().tolist()))
    extras = {n: v.reshape(len(atoms), -1) for n, v in carried.extras(atoms).items()}
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
    """All digits, with a point: without one, ASE's reader of headers cuts 9e-05 to 0."""
    text = repr(value)
    return text if "." in text or "e" not in text else text.replace("e", ".0e")


def quoted(data: Any) -> Any:
    """JSON data whose texts hold nothing that ASE's reader of headers would trip over."""
    if isinstance(data, Mapping):
        return {quoted(str(key)): quoted(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [quoted(value) for value in data]
    return quote(data, safe=_SAFE) if isinstance(data, str) else data


def _matrix(voigt: Sequence[float]) -> list[float]:
    """Nine components, as extxyz has them: a stress of six could be of anybody's order."""
    xx, yy, zz, yz, xz, xy = voigt
    return [xx, xy, xz, xy, yy, yz, xz, yz, zz]
