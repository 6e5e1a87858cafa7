"""CP2K's output: each number is taken as it was printed, or not at all."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units

from helpers.water import water
from phasewalk.errors import EngineFailed, InputError, NotConverged, ParseError
from phasewalk.reference import cp2k_output
from phasewalk.reference.cp2k_output import Output

DATA = Path(__file__).parents[1] / "data/cp2k"
WATER = (DATA / "water.out").read_text()
LINES = WATER.splitlines()


def read(folder: Path, text: str, atoms: Atoms | None = None) -> Output:
    path = folder / "stdout.txt"
    path.write_text(text)
    return cp2k_output.read_output(path, atoms or water())


def test_all_numbers_are_those_that_are_printed() -> None:
    found = cp2k_output.read_output(DATA / "water.out", water())
    assert found.energy == -34.436041386832734 * units.Hartree
    (last,) = [line for line in LINES if re.match(r" +6 +2 +H +-?0\.\d{14}", line)]
    force = np.array(last.split()[3:], dtype=float) * units.Hartree / units.Bohr
    assert found.forces[5] == pytest.approx(force, abs=1e-12)
    row = next(line for line in LINES if line.startswith(" STRESS|      x"))
    xx, xy, xz = (-float(word) * units.GPa for word in row.split()[2:])
    assert found.stress[[0, 5, 4]] == pytest.approx(np.array([xx, xy, xz]), abs=1e-15)
    assert (found.version, found.scf_steps, found.warnings) == ("CP2K 2023.1", 22, 0)
    assert found.seconds > 1


def test_what_has_not_converged_is_no_label() -> None:
    with pytest.raises(NotConverged, match="the SCF did not converge"):
        cp2k_output.read_output(DATA / "unconverged.out", water())


def test_why_it_aborted() -> None:
    with pytest.raises(EngineFailed) as caught:
        cp2k_output.check_end(DATA / "no_basis.out")
    assert (
        "CP2K aborted: The requested basis set <DZVP-MOLOPT-SR-GTX> for element <O> was not found "
        "in the basis set files <BASIS_MOLOPT>" in str(caught.value)
    )


def test_an_isolated_atom() -> None:
    energy, version = cp2k_output.read_energy(DATA / "oxygen.out")
    assert energy == -15.861541410090497 * units.Hartree
    assert version == "CP2K 2023.1"


def changed(change: Callable[[Atoms], object]) -> Atoms:
    atoms = water()
    change(atoms)
    return atoms


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (water()[[1, 0, 2, 3, 4, 5]], "atom 1 is O, expected H"),
        (water()[:5], "expected atom 6"),
        (water() + water()[:1], "coordinates of 6 atoms, expected 7"),
        (changed(lambda a: a.positions.__setitem__((3, 1), 4.00001)), "atom 4 is at"),
        (changed(lambda a: a.cell.__setitem__((1, 0), 0.302)), "cell vector b is at"),
    ],
)
def test_the_output_of_another_frame(tmp_path: Path, atoms: Atoms, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        read(tmp_path, WATER, atoms)


def newer(text: str) -> str:
    """The same output as versions since 2024 write it, after their source."""
    lines = []
    for line in text.splitlines():
        row = re.match(r" +(\d+) +\d+ +[A-Z]\w? +(-?0\.\d{14}) +(\S+) +(\S+)$", line)
        if "ATOMIC FORCES in" in line:
            line = " FORCES| Atomic forces [hartree/bohr]"
        elif line.startswith(" # Atom   Kind"):
            line = " FORCES|    Atom        x              y              z             |f|"
        elif "SUM OF ATOMIC FORCES" in line:
            line = " FORCES| Sum    " + " ".join(line.split()[4:])
        elif row:
            line = f" FORCES|  {' '.join(row.groups())}  1.0E-02"
        line = line.replace("energy [a.u.]:", "energy [hartree]")
        lines.append(line)
    return "\n".join(lines)


def test_newer_versions_say_the_same(tmp_path: Path) -> None:
    old, new = read(tmp_path, WATER), read(tmp_path, newer(WATER))
    assert "FORCES|  6 " in newer(WATER)
    assert new.energy == old.energy
    assert np.array_equal(new.forces, old.forces)


def older(text: str) -> str:
    """The same output as versions to 7.1 write it, after outputs of 6.1 that others published."""
    lines = []
    for line in text.splitlines():
        row = re.match(r" STRESS\| +([xyz]) +(\S+) +(\S+) +(\S+)$", line)
        if "Analytical stress tensor" in line:
            line = " STRESS TENSOR [GPa]\n"
        elif row and "E" in line:
            numbers = (f"{float(word):.8f}" for word in row.groups()[1:])
            line = "  ".join(["", row[1].upper(), *numbers])
        elif "1/3 Trace" in line:
            line = f"\n  1/3 Trace(stress tensor):  {float(line.split()[-1]):.8E}\n"
        line = re.sub(
            r"^ STRESS\| +x +y +z$", "            X               Y               Z", line
        )
        line = line.replace("energy [a.u.]:", "energy (a.u.):")
        line = line.replace(
            "MODULE QUICKSTEP: ATOMIC COORDINATES IN ANGSTROM",
            "MODULE QUICKSTEP:  ATOMIC COORDINATES IN angstrom",
        )
        lines.append(line)
    return "\n".join(lines)


def test_older_versions_say_the_same(tmp_path: Path) -> None:
    now, then = read(tmp_path, WATER), read(tmp_path, older(WATER))
    assert " STRESS TENSOR [GPa]\n\n" in older(WATER)
    assert then.energy == now.energy
    assert np.array_equal(then.forces, now.forces)
    assert then.stress == pytest.approx(now.stress, abs=1e-10)


@pytest.mark.parametrize(
    "headline",
    [
        "MODULE QUICKSTEP:  ATOMIC COORDINATES IN angstrom",
        "MODULE QUICKSTEP: ATOMIC COORDINATES IN angstrom",
        "MODULE QUICKSTEP:  ATOMIC COORDINATES IN ANGSTROM",
        "MODULE QUICKSTEP: ATOMIC COORDINATES IN [Angstrom]",
    ],
)
def test_the_headline_of_the_coordinates_in_any_spelling(tmp_path: Path, headline: str) -> None:
    text = WATER.replace("MODULE QUICKSTEP: ATOMIC COORDINATES IN ANGSTROM", headline)
    assert np.array_equal(read(tmp_path, text).forces, read(tmp_path, WATER).forces)


def test_other_units_are_not_taken_for_these(tmp_path: Path) -> None:
    for one, other in (
        ("COORDINATES IN ANGSTROM", "COORDINATES IN BOHR"),
        ("energy [a.u.]", "energy [eV]"),
        ("stress tensor [GPa]", "stress tensor [kbar]"),
        ("FORCES in [a.u.]", "FORCES in [eV/angstrom]"),
    ):
        assert one in WATER
        with pytest.raises(ParseError, match="found 0 times, expected once"):
            read(tmp_path, WATER.replace(one, other))


def test_the_user_s_own_walltime_is_named(tmp_path: Path) -> None:
    stopped = " *** SCF run terminated - exceeded requested execution time:       1.000 seconds.\n"
    path = tmp_path / "stdout.txt"
    path.write_text(stopped + (DATA / "unconverged.out").read_text())
    with pytest.raises(EngineFailed, match="stopped after 1 s, the WALLTIME in &GLOBAL"):
        cp2k_output.check_end(path)


def test_a_stress_in_bar(tmp_path: Path) -> None:
    def in_bar(match: re.Match[str]) -> str:
        return f"{float(match[0]) * 1e4:.11E}"

    lines = [
        re.sub(r"-?\d\.\d+E[-+]\d+", in_bar, line) if line.startswith(" STRESS|") else line
        for line in LINES
    ]
    text = "\n".join(lines).replace("stress tensor [GPa]", "stress tensor [bar]")
    assert read(tmp_path, text).stress == pytest.approx(read(tmp_path, WATER).stress, rel=1e-9)


def same(one: Output, other: Output) -> bool:
    return (
        one.energy == other.energy
        and np.array_equal(one.forces, other.forces)
        and np.array_equal(one.stress, other.stress)
    )


def outcome(folder: Path, text: str) -> str:
    """What becomes of a damaged output: refused, the same, or another result."""
    try:
        found = read(folder, text)
    except (InputError, EngineFailed) as error:
        return "refused" if "\n" not in str(error) else "refused in many lines"
    return "same" if same(found, read(folder, WATER)) else "another"


def test_a_line_that_is_lost_changes_no_number(tmp_path: Path) -> None:
    found = [outcome(tmp_path, "\n".join(LINES[:n] + LINES[n + 1 :])) for n in range(len(LINES))]
    assert "another" not in found
    assert found.count("refused") >= 25  # cell, atoms, energy, forces, stress, end


def test_an_output_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    end = next(n for n, line in enumerate(LINES) if "PROGRAM ENDED AT" in line)
    for count in range(0, end, 5):
        assert outcome(tmp_path, "\n".join(LINES[:count])) == "refused"


TABLES = [
    n
    for n, line in enumerate(LINES)
    if re.match(r" STRESS\|      [xyz] +-?\d\.\d+E", line)
    or re.match(r" +\d +\d +[OH] +-?0\.", line)
][:9]


@pytest.mark.parametrize("put", ["NaN", "*****", "1.0", "Infinity", "", "0x10"])
def test_a_number_that_is_damaged_is_refused(tmp_path: Path, put: str) -> None:
    assert len(TABLES) == 9
    for n in TABLES:
        words = re.findall(r"-?\d\.\d+(?:E[-+]\d+)?", LINES[n])
        for word in words:
            line = LINES[n].replace(word, put, 1)
            assert outcome(tmp_path, "\n".join([*LINES[:n], line, *LINES[n + 1 :]])) == "refused"


def test_a_table_found_twice_is_refused(tmp_path: Path) -> None:
    for title in ("ENERGY| Total FORCE_EVAL", "STRESS| Analytical stress", "ATOMIC FORCES in"):
        n = next(n for n, line in enumerate(LINES) if title in line)
        text = "\n".join([*LINES[:n], *LINES[n : n + 11], *LINES[n:]])
        with pytest.raises(ParseError, match="found 2 times, expected once"):
            read(tmp_path, text)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "stdout.txt"
    path.write_bytes(b"\xff\xfe" * 100)
    with pytest.raises(ParseError, match="is truncated"):
        cp2k_output.read_output(path, water())
