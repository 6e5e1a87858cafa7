"""Checks of structure files for what is ambiguous, which ASE's readers would guess silently.

Each check reads the text of the file and raises InputError that says what is ambiguous and what to
write.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, brief
from . import cif_sites

if TYPE_CHECKING:
    from ase.io.cif import CIFBlock

WHOLE = 1e-3
"""Maximum difference of an occupancy from 1."""
SHOWN = 4
"""Maximum number of sites named in a message."""
WHAT_TO_DO = (
    "the structure is disordered, but every site must be one atom; choose an ordered arrangement "
    "with a supercell or enumeration tool"
)
WITHOUT_ELEMENTS = {
    "gromacs": "a .gro file",
    "gromos": "a .g96 file",
    "dlp4": "a DL_POLY CONFIG file",
    "dlp-history": "a DL_POLY HISTORY file",
    "lammps-dump-binary": "a binary LAMMPS dump",
}
"""Formats with names or types of atoms but without elements."""
_NOTHING = ("", ".", "?", "None")
_OPERATIONS = (
    "_space_group_symop_operation_xyz",
    "_space_group_symop.operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
)
_NUMBERS = (
    "_space_group.it_number",
    "_space_group_it_number",
    "_symmetry_int_tables_number",
)
_NAMES = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group.patterson_name_h-m",
)
"""Tags from which ASE reads the symmetry of a CIF."""
ANGLE = 0.01
"""Tolerance of angles of 90° and 120°, degrees."""
_LAST_MONOCLINIC = 15
_RHOMBOHEDRAL = (146, 148, 155, 160, 161, 166, 167)


def check(path: Path, kind: str, index: int | None) -> None:
    """Raise InputError if the content of a file is ambiguous.

    Args:
        path: the file.
        kind: its format, as ASE names it.
        index: of the structure to read; None for the only one.
    """
    if kind in WITHOUT_ELEMENTS:
        raise InputError(
            f"{WITHOUT_ELEMENTS[kind]} has names or types of atoms but no elements; convert it to "
            "extxyz or CIF with element symbols"
        )
    if kind == "cif":
        _check_cif(path, index)
    elif kind in _CHECKS:
        _CHECKS[kind](_text(path).splitlines())


def check_shares(
    info: Mapping[str, Any], arrays: Mapping[str, Any], symbols: Sequence[str]
) -> None:
    """Raise InputError if a frame that ASE has read has partially occupied sites.

    Args:
        info: of the frame; `occupancy`, if there is one, is by site and element.
        arrays: of the frame; any of them may be an occupancy, by its name.
        symbols: elements of the atoms.
    """
    sites = info.get("occupancy")
    shares: list[tuple[str, Any]] = []
    if isinstance(sites, Mapping):
        for number, mixed in sites.items():
            if isinstance(mixed, Mapping):
                shares += [(f"site {number} {symbol}", share) for symbol, share in mixed.items()]
    for name, values in arrays.items():
        if re.search(r"occ(up|$)", name, re.IGNORECASE) and getattr(values, "ndim", 0) == 1:
            shares += [
                (f"{symbol}{number}", value)
                for number, (symbol, value) in enumerate(zip(symbols, values, strict=True), start=1)
            ]
    _refuse_partial(shares)


def _refuse_partial(shares: Sequence[tuple[str, Any]]) -> None:
    partial = [(site, share) for site, share in shares if not _whole(share)]
    if partial:
        named = ", ".join(f"{site} {share}" for site, share in partial[:SHOWN])
        more = f" and {len(partial) - SHOWN} more" if len(partial) > SHOWN else ""
        raise InputError(brief(f"partially occupied sites ({named}{more}): {WHAT_TO_DO}"))


def _whole(share: Any) -> bool:
    """Whether an occupancy is 1, or not given."""
    if str(share).strip() in _NOTHING:
        return True
    try:
        return abs(float(re.sub(r"\(\d*\)$", "", str(share).strip())) - 1.0) <= WHOLE
    except ValueError:
        return False


def _text(path: Path) -> str:
    from ase.io.formats import open_with_compression

    with open_with_compression(str(path), "rb") as file:
        content: bytes = file.read()
    return content.decode(errors="replace")


def _check_cif(path: Path, index: int | None) -> None:
    from ase.io.cif import parse_cif
    from ase.io.formats import open_with_compression

    with (
        open_with_compression(str(path), "rb") as file,
        warnings.catch_warnings(record=True, action="always") as warned,
    ):
        blocks = [block for block in parse_cif(file) if _has_sites(block)]
    _check_rows(blocks, [str(warning.message) for warning in warned])
    if not blocks or not -len(blocks) <= (index or 0) < len(blocks):
        return  # an error of the reader
    block = blocks[index or 0]
    _refuse_partial(list(zip(_labels(block), _column(block, "occupancy"), strict=False)))
    symbols = list(map(str, _column(block, "type_symbol")))
    cif_sites.check_elements(_labels(block), symbols)
    _check_disorder(block)
    _check_symmetry(block)
    _check_places(block)
    cif_sites.check_formula(str(block.get("_chemical_formula_sum")), block.get_symbols())


def _check_rows(blocks: "Sequence[CIFBlock]", warned: Sequence[str]) -> None:
    """Raise InputError if ASE skipped lines of the loop of sites, and so atoms."""
    widths = {sum(re.match("_atom_site_(?!aniso)", tag) is not None for tag in b) for b in blocks}
    for message in warned:
        found = re.match(r"Wrong number \d+ of tokens, expected (\d+)", message)
        if found and int(found[1]) in widths:
            raise InputError(
                f"a line of the atom site loop has the wrong number of columns ({message}); "
                "correct it"
            )


def _has_sites(block: "CIFBlock") -> bool:
    return any(tag.startswith(("_atom_site_fract", "_atom_site_cartn")) for tag in block)


def _column(block: "CIFBlock", name: str) -> list[Any]:
    """A column of the loop of atom sites; empty if there is none."""
    values = block.get(f"_atom_site_{name}")
    return values if isinstance(values, list) else [] if values is None else [values]


def _labels(block: "CIFBlock") -> list[str]:
    found = _column(block, "label") or _column(block, "type_symbol")
    return [str(label) for label in found]


def _check_disorder(block: "CIFBlock") -> None:
    """Check for alternative groups of sites, dummy atoms and hydrogens without positions."""
    groups, sets = _column(block, "disorder_group"), _column(block, "disorder_assembly")
    named = {
        (str(whole), str(group))
        for group, whole in zip_longest(groups, sets[: len(groups)], fillvalue=".")
        if str(group) not in (*_NOTHING, "0")
    }
    if len(named) > 1 or any(group.startswith("-") for _, group in named):
        shown = ", ".join(sorted(group for _, group in named))
        raise InputError(f"sites belong to disorder groups ({shown}): {WHAT_TO_DO}")
    labels = _labels(block)
    for label, flag in zip(labels, _column(block, "calc_flag"), strict=False):
        if str(flag) == "dum":
            raise InputError(
                f"site {label} is a dummy (_atom_site_calc_flag), not an atom; remove it"
            )
    for label, count in zip(labels, _column(block, "attached_hydrogens"), strict=False):
        if str(count) not in (*_NOTHING, "0"):
            raise InputError(
                f"{count} hydrogen atom(s) attached to {label} have no positions "
                "(_atom_site_attached_hydrogens); add them and remove that column"
            )


def _check_symmetry(block: "CIFBlock") -> None:
    """Check for symmetry and magnetic moments that ASE does not read or may read wrongly."""
    magnetic = next(
        (t for t in block if t.startswith(("_atom_site_moment", "_space_group_symop_mag"))), None
    )
    if magnetic:
        raise InputError(
            f"it is a magnetic CIF ({magnetic}), and ASE does not read its moments and symmetry; "
            "convert it to extxyz with a column initial_magmoms"
        )
    if str(block.get("_cell_modulation_dimension")) not in (*_NOTHING, "0"):
        raise InputError(
            "its structure is modulated (_cell_modulation_dimension), but ASE reads only the basic "
            "cell; write a commensurate supercell"
        )
    number = next((block[tag] for tag in _NUMBERS if str(block.get(tag)) not in _NOTHING), None)
    name = next((str(block[t]) for t in _NAMES if str(block.get(t)) not in _NOTHING), None)
    if any(block.get(tag) for tag in _OPERATIONS):
        if number is None and name is None:
            raise InputError(
                "it has symmetry operations but no space group, and ASE ignores them then; add "
                "_space_group_IT_number (1 if x,y,z is the only operation)"
            )
    elif number is None and name is None:
        for tag in block:
            named = re.match("_(space_group|symmetry)", tag) and "cell_setting" not in tag
            if (
                named
                and "system" not in tag
                and str(block[tag]) not in (*_NOTHING, "P 1", "P1", "1")
            ):
                raise InputError(
                    f"its symmetry is given by {tag} only, which ASE does not read; add the "
                    "operations (_space_group_symop_operation_xyz) and _space_group_IT_number, "
                    "or write all atoms in P 1"
                )
    elif number is not None:
        _check_setting(block, int(number), name)


def _check_places(block: "CIFBlock") -> None:
    """Raise InputError if different elements are at one position: ASE would keep only one."""
    symbols, labels = block.get_symbols(), _labels(block)
    with warnings.catch_warnings(record=True, action="always") as warned:
        block.get_atoms()
    for warning in warned:
        found = re.search(r"scaled_positions (\d+) and (\d+) are equivalent", str(warning.message))
        one, other = (int(found[1]), int(found[2])) if found else (0, 0)
        if max(one, other) < len(symbols) and symbols[one] != symbols[other]:
            raise InputError(
                f"sites {labels[one]} and {labels[other]} are at the same position, without "
                f"occupancies: {WHAT_TO_DO}"
            )


def _check_setting(block: "CIFBlock", number: int, name: str | None) -> None:
    """Raise InputError if the number of a space group does not define its axes and origin."""
    from ase.spacegroup import Spacegroup

    taken = Spacegroup(number).symbol
    if (name is not None and _normalized(name) != _normalized(taken)) or (
        "_symmetry_space_group_setting" not in block and not _one_setting(block, number)
    ):
        raise InputError(
            f"it has no symmetry operations, and space group {number} ({name or 'no symbol'}) has "
            f"several settings, of which ASE would use {taken}; add the operations "
            "(_space_group_symop_operation_xyz), or write all atoms in P 1"
        )


def _normalized(name: str) -> str:
    """A space group's symbol without differences in notation."""
    words = [word for word in name.replace("_", "").split() if word != "1"]
    return "".join(words or ["P1"]).replace("-", "").lower().removesuffix(":h")


def _one_setting(block: "CIFBlock", number: int) -> bool:
    """Whether axes and origin are defined by the cell: b unique, or hexagonal axes."""
    from ase.spacegroup import Spacegroup

    alpha, gamma = (float(block[f"_cell_angle_{name}"]) for name in ("alpha", "gamma"))
    if number <= _LAST_MONOCLINIC:
        return max(abs(alpha - 90.0), abs(gamma - 90.0)) < ANGLE or number <= 2
    if number in _RHOMBOHEDRAL:
        return abs(gamma - 120.0) < ANGLE
    try:
        return _normalized(Spacegroup(number, 2).symbol) != _normalized(Spacegroup(number).symbol)
    except Exception:  # ASE raises various exceptions if there is no second setting
        return True


def _check_pdb(lines: Sequence[str]) -> None:
    atoms = [line for line in lines if line.startswith(("ATOM  ", "HETATM"))]
    found = {line[16:17] for line in atoms} - {"", " "}
    if len(found) > 1:
        shown = ", ".join(sorted(found))
        raise InputError(f"atoms have alternative locations ({shown}): {WHAT_TO_DO}")
    for line in atoms:
        if not line[76:78].strip():
            raise InputError(
                f"atom {line[6:11].strip()} ({line[12:16].strip()}) has no element in columns "
                "77–78, and ASE would guess it from the name; add it"
            )
    for line in lines:
        group = line[55:66].strip() if line.startswith("CRYST1") else ""
        if group not in ("", "P 1", "P1", "1"):
            raise InputError(
                f"its space group is {group} (CRYST1), but ASE does not apply symmetry; write all "
                "atoms of the cell, in P 1"
            )


def _check_shelx(lines: Sequence[str]) -> None:
    """Check what ASE's reader ignores: symmetry and site occupation factors."""
    in_atoms = False
    for line in lines:
        words = line.split()
        key = words[0].upper() if words else ""
        if key == "SYMM" or (key == "LATT" and words[1:2] != ["-1"]):
            raise InputError(
                f"ASE does not apply its symmetry ({line.strip()}); write all atoms of the cell, "
                "in P 1"
            )
        in_atoms = in_atoms or key == "SFAC"
        if key == "END":
            return
        if in_atoms and key not in ("SFAC", "UNIT", "FVAR") and len(words) >= 6:
            share = float(words[5])
            _refuse_partial([(words[0], share - 10.0 if 10.0 <= share < 15.0 else share)])


def _check_poscar(lines: Sequence[str]) -> None:
    words = lines[5].split() if len(lines) > 5 else []
    if words and words[0].isdigit():
        raise InputError(
            "line 6 has no element symbols (VASP 4 format), and ASE would guess them; insert a "
            f"line before it with one symbol for each of the numbers of atoms {' '.join(words)}"
        )


def _check_dump(lines: Sequence[str]) -> None:
    for number, line in enumerate(lines[:-1]):
        if line.startswith("ITEM: UNITS") and lines[number + 1].strip() not in ("metal", "real"):
            raise InputError(
                f"it is in LAMMPS units {lines[number + 1].strip()}; write it in metal or real "
                "units (Å)"
            )
    titles = [line.split()[2:] for line in lines if line.startswith("ITEM: ATOMS")]
    types = {row["type"]: row.get("element") for row in _rows(lines) if "type" in row}
    if any("element" not in title for title in titles):
        shown = f" ({', '.join(sorted(types))})" if types else ""
        raise InputError(
            f"the LAMMPS dump has types{shown} but no elements; write it with the column element "
            "(dump … custom … id element x y z, and dump_modify … element Na Cl)"
        )
    if len(types) > 1 and set(types.values()) == {"C"}:
        raise InputError(
            f"the element of all {len(types)} types is C, LAMMPS's default without dump_modify … "
            "element; write the dump with dump_modify … element"
        )


def _rows(lines: Sequence[str]) -> Iterator[dict[str, str]]:
    """The atoms of a dump."""
    titles: list[str] = []
    for line in lines:
        if line.startswith("ITEM: "):
            titles = line.split()[2:] if line.startswith("ITEM: ATOMS") else []
        elif titles:
            yield dict(zip(titles, line.split(), strict=False))


def _check_castep(lines: Sequence[str]) -> None:
    for line in lines:
        if re.search(r"MIXTURE", line, re.IGNORECASE):
            raise InputError(f"mixed sites ({brief(line)}): {WHAT_TO_DO}")


_CHECKS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "proteindatabank": _check_pdb,
    "res": _check_shelx,
    "vasp": _check_poscar,
    "lammps-dump-text": _check_dump,
    "castep-cell": _check_castep,
}
