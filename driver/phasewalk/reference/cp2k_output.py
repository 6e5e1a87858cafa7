"""Strict reader of CP2K's main output: a number is accepted only if all checks pass.

Titles have changed from version to version: the energy's unit ("(a.u.)" to 7.1, "[a.u.]",
"[hartree]" in 2025), the headline of the coordinates (capitals since 2023.1), the stress ("STRESS
TENSOR [GPa]" to 7.1, then "STRESS| …", in bar since 2025) and the forces ("FORCES| …" in 2025).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..errors import EngineFailed, NotConverged, ParseError, brief, named
from ..units import energy_from_hartree, forces_from_hartree_per_bohr, stress_from_cp2k

Array = NDArray[np.float64]

_VERSION = re.compile(r"CP2K version (\d\S*)")
_ENERGY = re.compile(
    r"^ *ENERGY\| Total FORCE_EVAL .* energy [\[(](a\.u\.|hartree)[\])]:?\s+(\S+)\s*$",
    re.IGNORECASE,
)
_UNCONVERGED = re.compile(r"SCF run NOT converged|outer SCF loop FAILED to converge")
_CONVERGED = re.compile(r"\*\*\* SCF run converged in +(\d+) steps \*\*\*")
_OUTER = re.compile(r"outer SCF loop converged in +\d+ iterations or +(\d+) steps")
_WALLTIME = re.compile(r"exceeded requested execution time: +(\d+)")
_OLD_FORCES = re.compile(r"^ *ATOMIC FORCES in \[(?:a\.u\.|hartree/bohr)\]", re.IGNORECASE)
_OLD_SUM = "SUM OF ATOMIC FORCES"
_NEW_FORCES = re.compile(r"^ *FORCES\| Atomic forces \[(?:hartree/bohr|a\.u\.)\]", re.IGNORECASE)
_STRESS = re.compile(
    r"^ *(STRESS\| Analytical stress tensor|STRESS TENSOR) \[(GPa|bar)\]", re.IGNORECASE
)
_STRESS_UNITS = {"gpa": "GPa", "bar": "bar"}
_COORDINATES = re.compile(
    r"^ *MODULE [\w ]+: +ATOMIC COORDINATES IN +\[?angstrom\]? *$", re.IGNORECASE
)
_CELL = re.compile(r"^ CELL\| Vector ([abc]) \[angstrom\]:?\s+(\S+)\s+(\S+)\s+(\S+)\s+\|[abc]\| =")
_ENDED = "PROGRAM ENDED AT"
_SECONDS = re.compile(r"^ CP2K +1 +1\.0 .* (\d+\.\d+)$")
_WARNINGS = re.compile(r"The number of warnings for this run is : *(\d+)")
_NUMBER = re.compile(r"[-+]?\d+\.\d*(?:[EeDd][-+]?\d+)?")
_SUM_TOLERANCE = 1e-6
"""Tolerance of the printed sum of forces, hartree/bohr and relative; detects a missing row."""


@dataclass(frozen=True)
class Output:
    """CP2K's results for a frame.

    Attributes:
        energy: eV.
        forces: (N, 3), eV/Å.
        stress: (6,) Voigt xx yy zz yz xz xy, eV/Å³, tension positive.
        version: "CP2K 2023.1".
        scf_steps: number of SCF steps in all inner loops.
        warnings: number of warnings that CP2K reports.
        seconds: wall time reported by CP2K.
    """

    energy: float
    forces: Array
    stress: Array
    version: str
    scf_steps: int
    warnings: int
    seconds: float


def version(text: str) -> str | None:
    """The version named in a text, as "CP2K 2023.1"; None if there is none."""
    found = _VERSION.search(text)
    return f"CP2K {found[1]}" if found else None


def read_output(path: Path, atoms: Atoms) -> Output:
    """Energy, forces and stress of a frame, from a successful run.

    Raises:
        NotConverged: the SCF, or its outer loop, has not converged.
        EngineFailed: CP2K aborted; gives its reason.
        ParseError: the output is truncated, damaged, or of another frame.
    """
    lines = _lines(path)
    check_lines(path, lines)
    _same_frame(path, lines, atoms)
    text = "\n".join(lines)
    steps = [int(count) for count in _OUTER.findall(text) or _CONVERGED.findall(text)]
    warnings, seconds = _WARNINGS.search(text), _search(_SECONDS, lines)
    return Output(
        energy=_energy(path, lines),
        forces=forces_from_hartree_per_bohr(_forces(path, lines, atoms)),
        stress=_stress(path, lines),
        version=version(text) or "",
        scf_steps=sum(steps),
        warnings=int(warnings[1]) if warnings else 0,
        seconds=float(seconds[1]) if seconds else 0.0,
    )


def read_energy(path: Path) -> tuple[float, str]:
    """Energy (eV) and version of a run without forces; as strict as `read_output`."""
    lines = _lines(path)
    check_lines(path, lines)
    return _energy(path, lines), version("\n".join(lines)) or ""


def check_end(path: Path) -> None:
    """Raise the reason that the output of a failed run gives; return if it gives none.

    Raises:
        NotConverged, EngineFailed: see `read_output`.
    """
    text = "\n".join(_lines(path)) if path.is_file() else ""
    reason = abort_message(text)
    walltime = _WALLTIME.search(text)
    if walltime:
        raise EngineFailed(
            f"CP2K stopped after {walltime[1]} s, the WALLTIME in &GLOBAL of its input; increase "
            f"or remove it (reference.timeout_s limits the time of a label) ({path})"
        )
    if _UNCONVERGED.search(text):
        raise NotConverged(f"the SCF did not converge ({path})")
    if reason:
        raise EngineFailed(f"CP2K aborted: {reason} ({path})")


def check_lines(path: Path, lines: Sequence[str]) -> None:
    """Raise an error if the output does not show a successful, converged end."""
    check_end(path)
    if not any(_ENDED in line for line in lines):
        raise ParseError(path, "is truncated: CP2K has not finished")
    if not any(_CONVERGED.search(line) for line in lines):
        raise ParseError(path, "does not report that the SCF converged")
    if version("\n".join(lines)) is None:
        raise ParseError(path, "does not contain CP2K's version")


def abort_message(text: str) -> str | None:
    """The text in CP2K's [ABORT] box; None if there is none."""
    if "[ABORT]" not in text:
        return None
    lines = text.splitlines()
    middle = next(number for number, line in enumerate(lines) if "[ABORT]" in line)
    words: list[str] = []
    for line in lines[max(0, middle - 2) : middle + 9]:
        body = line.strip()
        if set(body) == {"*"}:
            if words:
                break
            continue
        inside = re.sub(r"\S+\.F:\d+\s*$", "", body.strip("*"))
        # The first ten columns of the box hold a drawing.
        words += inside[10:].split()
    return brief(" ".join(words)) or "no reason given"


def _lines(path: Path) -> list[str]:
    with named(path):
        return path.read_text(errors="replace", encoding="utf-8").splitlines()


def _search(pattern: re.Pattern[str], lines: Sequence[str]) -> re.Match[str] | None:
    return next(filter(None, map(pattern.search, lines)), None)


def _number(path: Path, word: str, line: int) -> float:
    """A Fortran number; ParseError for asterisks, NaN etc. `line` counts from 0."""
    if not _NUMBER.fullmatch(word):
        raise ParseError(path, f"not a number: {word!r}", line + 1)
    return float(word.replace("D", "E").replace("d", "e"))


def _only(path: Path, what: str, found: Sequence[int]) -> int:
    """The line of an item that must be found exactly once."""
    if len(found) != 1:
        hint = (
            ""
            if found
            else " (unsupported version of CP2K? see the supported versions in the docs)"
        )
        raise ParseError(path, f"{what} found {len(found)} times, expected once{hint}")
    return found[0]


def _energy(path: Path, lines: Sequence[str]) -> float:
    at = _only(path, "the energy", [n for n, line in enumerate(lines) if _ENERGY.match(line)])
    found = _ENERGY.match(lines[at])
    return energy_from_hartree(_number(path, found[2] if found else "", at))


def _forces(path: Path, lines: Sequence[str], atoms: Atoms) -> Array:
    """(N, 3) in hartree/bohr; their sum must equal the printed one."""
    old = [n for n, line in enumerate(lines) if _OLD_FORCES.match(line)]
    new = [n for n, line in enumerate(lines) if _NEW_FORCES.match(line)]
    begin = _only(path, "the table of forces", [*old, *new])
    rows: list[list[float]] = []
    for at in range(begin + 1, min(len(lines), begin + len(atoms) + 6)):
        words = lines[at].replace("FORCES|", "", 1).split()
        ends = _OLD_SUM in lines[at].upper() or words[:1] in (["Sum"], ["Total"])
        if ends:
            total = [_number(path, word, at) for word in words if "." in word or "*" in word][:3]
            return _summed(path, rows, total, atoms, at)
        if not words or not words[0].isdigit():
            continue
        symbol = words[2] if old else atoms.symbols[min(len(rows), len(atoms) - 1)]
        columns = words[3:6] if old else words[1:4]
        if int(words[0]) != len(rows) + 1 or len(columns) != 3 or len(rows) == len(atoms):
            raise ParseError(
                path, f"expected the force on atom {len(rows) + 1}, found {lines[at]!r}", at + 1
            )
        if symbol != atoms.symbols[len(rows)]:
            raise ParseError(
                path, f"force on {symbol}, expected {atoms.symbols[len(rows)]}", at + 1
            )
        rows.append([_number(path, word, at) for word in columns])
    raise ParseError(path, "the table of forces is not complete", begin + 1)


def _summed(
    path: Path, rows: Sequence[Sequence[float]], total: Sequence[float], atoms: Atoms, at: int
) -> Array:
    if len(rows) != len(atoms) or len(total) != 3:
        raise ParseError(path, f"forces on {len(rows)} atoms, expected {len(atoms)}", at + 1)
    forces = np.array(rows)
    limit = _SUM_TOLERANCE * (1 + np.abs(forces).max())
    if np.abs(forces.sum(axis=0) - total).max() > limit:
        raise ParseError(path, "the sum of the forces differs from the printed sum", at + 1)
    return forces


def _stress(path: Path, lines: Sequence[str]) -> Array:
    found = [n for n, line in enumerate(lines) if _STRESS.match(line)]
    begin = _only(path, "the analytical stress tensor", found)
    title = _STRESS.match(lines[begin])
    # without blank lines and the "STRESS|" of newer versions: a header, three rows, the trace
    block = [
        (begin + offset, words)
        for offset, line in enumerate(lines[begin + 1 : begin + 10], start=1)
        if (words := line.replace("STRESS|", "", 1).split())
    ]
    rows = []
    for place, name in enumerate("xyz", start=1):
        at, words = block[place] if place < len(block) else (begin, [])
        if [word.lower() for word in words[:1]] != [name] or len(words) != 4:
            raise ParseError(path, f"row {name} of the stress is missing", at + 1)
        rows.append([_number(path, word, at) for word in words[1:]])
    tensor = np.array(rows)
    scale = 1e-6 * max(1.0, float(np.abs(tensor).max()))
    if np.abs(tensor - tensor.T).max() > scale:
        raise ParseError(path, "the stress is not symmetric", begin + 1)
    at, words = block[4] if len(block) > 4 else (begin, [])
    if words[:1] != ["1/3"] or not words[1].startswith("Trace"):
        raise ParseError(path, "the trace of the stress is missing", at + 1)
    if abs(np.trace(tensor) / 3 - _number(path, words[-1], at)) > scale:
        raise ParseError(path, "the stress does not match its printed trace", begin + 1)
    return stress_from_cp2k(tensor, _STRESS_UNITS[title[2].lower()] if title else "")


def _same_frame(path: Path, lines: Sequence[str], atoms: Atoms) -> None:
    """ParseError if species, order, positions or cell differ from those of the input."""
    for number, name in enumerate("abc"):
        found = [n for n, line in enumerate(lines) if (m := _CELL.match(line)) and m[1] == name]
        at = _only(path, f"cell vector {name}", found)
        row = _CELL.match(lines[at])
        shown = row.groups()[1:] if row else ()
        _close(path, shown, atoms.cell.array[number], f"cell vector {name}", at)
    begin = _only(
        path,
        "the table of coordinates",
        [n for n, li in enumerate(lines) if _COORDINATES.match(li)],
    )
    count = 0
    for at in range(begin + 1, min(len(lines), begin + len(atoms) + 8)):
        words = lines[at].split()
        if not words or not words[0].isdigit():
            if count:
                break
            continue
        if count == len(atoms) or int(words[0]) != count + 1 or len(words) < 7:
            raise ParseError(path, f"expected atom {count + 1}, found {lines[at]!r}", at + 1)
        if words[2] != atoms.symbols[count] or words[3] != str(atoms.numbers[count]):
            raise ParseError(
                path, f"atom {count + 1} is {words[2]}, expected {atoms.symbols[count]}", at + 1
            )
        _close(path, words[4:7], atoms.positions[count], f"atom {count + 1}", at)
        count += 1
    if count != len(atoms):
        raise ParseError(path, f"coordinates of {count} atoms, expected {len(atoms)}", begin + 1)


def _close(path: Path, words: Sequence[str], wanted: Array, what: str, at: int) -> None:
    """ParseError if printed coordinates differ from those of the input, to the printed digits."""
    for word, value in zip(words, wanted, strict=True):
        digits = len(word.partition(".")[2])
        if abs(_number(path, word, at) - value) > 0.51 * 10.0**-digits:
            raise ParseError(
                path, f"{what} is at {' '.join(words)} Å, which differs from the input", at + 1
            )
