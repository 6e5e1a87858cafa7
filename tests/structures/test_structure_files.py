"""Structure files that leave something open: nothing is guessed, and nothing is lost unsaid."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms, FixBondLengths

from helpers.fakes import crystal
from phasewalk.errors import InputError
from phasewalk.structures import carried, structure
from phasewalk.walkers import decks

CELL = """data_salt
_cell_length_a 4.2
_cell_length_b 4.2
_cell_length_c 4.2
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
"""
GROUP = "_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_Int_Tables_number 225\n"
ALL = ("label", "type_symbol", "fract_x", "fract_y", "fract_z")
PDB = "CRYST1   20.000   20.000   20.000  90.00  90.00  90.00 {group}           1\n{atoms}END\n"
ATOM = (
    "ATOM  {n:5d}  {name:<3}{alt}HOH A   1    {x:8.3f}{x:8.3f}{x:8.3f}{share:6.2f}  0.00{el:>12}\n"
)
BOX = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3'
DUMP = """ITEM: TIMESTEP
1000
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0.0 4.0
0.0 4.0
0.0 4.0
ITEM: ATOMS id type {column}x y z
1 1 {one} 0.0 0.0 0.0
2 2 {two} 2.0 2.0 2.0
"""
DATA = """{title}

2 atoms
2 atom types

0.0 4.0 xlo xhi
0.0 4.0 ylo yhi
0.0 4.0 zlo zhi

Masses

1 22.98977 {one}
2 {mass} {two}

{section}

1 1 {q}0.0 0.0 0.0
2 2 {q}2.0 2.0 2.0
"""
POSCAR = "salt\n1.0\n4 0 0\n0 4 0\n0 0 4\n{names}1 1\n{fixed}Direct\n0 0 0{a}\n.5 .5 .5{b}\n"


def cif(*sites: str, columns: tuple[str, ...] = ALL, group: str = GROUP, cell: str = CELL) -> str:
    loop = "".join(f"_atom_site_{name}\n" for name in columns)
    return f"{cell}{group}loop_\n{loop}" + "".join(f"{site}\n" for site in sites)


def sites(*sites: str, extra: str) -> str:
    return cif(*sites, columns=(*ALL, extra))


def pdb(*atoms: tuple[str, float, str], group: str = "P 1", element: str = "O") -> str:
    lines = [
        ATOM.format(n=n, name="O", alt=alt, x=2.0 * n, share=share, el=el or element)
        for n, (alt, share, el) in enumerate(atoms, start=1)
    ]
    return PDB.format(group=f"{group:<11}"[:11], atoms="".join(lines))


def data(**changes: str) -> str:
    usual = {"title": "LAMMPS", "one": "# Na", "two": "# Cl", "mass": "35.45", "q": ""}
    return DATA.format(**{**usual, "section": "Atoms # atomic", **changes})


def read(folder: Path, name: str, text: str) -> Atoms:
    (folder / name).write_text(text)
    return structure.read_structure(folder / name)


def dump(column: str = "", one: str = "", two: str = "", more: str = "") -> str:
    return more + DUMP.format(column=column, one=one, two=two)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "mixed.cif",
            sites("Mg1 Mg 0 0 0 0.5", "Fe1 Fe 0 0 0 0.5", "O1 O .5 .5 .5 1.0", extra="occupancy"),
            r"partially occupied sites \(Mg1 0.5, Fe1 0.5\).*supercell",
        ),
        (
            "vacancy.cif",
            sites("Na1 Na 0 0 0 0.95(2)", "Cl1 Cl .5 .5 .5 1", extra="occupancy"),
            r"partially occupied sites \(Na1 0.95\)",
        ),
        (
            "nobody.cif",
            sites("Na1 Na 0 0 0 0.0", "Cl1 Cl .5 .5 .5 1", extra="occupancy"),
            r"partially occupied sites \(Na1 0",
        ),
        (
            "groups.cif",
            sites("Na1 Na 0 0 0 1", "O1 O .5 .5 .5 2", extra="disorder_group"),
            r"disorder groups \(1, 2\)",
        ),
        (
            "symmetric.cif",
            sites("Na1 Na 0 0 0 .", "O1 O .5 .5 .5 -1", extra="disorder_group"),
            r"disorder groups \(-1\)",
        ),
        (
            "unplaced.cif",
            sites("C1 C 0 0 0 .", "O1 O .5 .5 .5 2", extra="attached_hydrogens"),
            r"2 hydrogen atom\(s\) attached to O1 have no positions",
        ),
        (
            "dummy.cif",
            sites("C1 C 0 0 0 .", "O1 O .5 .5 .5 dum", extra="calc_flag"),
            "O1 is a dummy",
        ),
        ("place.cif", cif("Mg1 Mg 0 0 0", "Fe1 Fe 0 0 0"), "Mg1 and Fe1 are at the same position"),
        ("copper.cif", cif("CU1 CU 0 0 0", "O1 O .5 .5 .5"), "element of site CU1 is ambiguous"),
        (
            "names.cif",
            cif("OW1 0 0 0", columns=("label", "fract_x", "fract_y", "fract_z")),
            "element of site OW1",
        ),
        (
            "hall.cif",
            cif("Na1 Na 0 0 0", group="_space_group_name_Hall '-F 4 2 3'\n"),
            "_space_group_name_hall only",
        ),
        (
            "setting.cif",
            cif(
                "Na1 Na .1 .1 .1",
                group="_symmetry_space_group_name_H-M 'P 21/n'\n_symmetry_Int_Tables_number 14\n",
            ),
            "ASE would use P 21/c",
        ),
        (
            "origin.cif",
            cif(
                "Si1 Si .125 .125 .125",
                group="_symmetry_Int_Tables_number 227\n",
            ),
            "several settings",
        ),
        (
            "unique_c.cif",
            cif(
                "Na1 Na .1 .1 .1",
                group="_symmetry_space_group_name_H-M 'P 21/m'\n_space_group_IT_number 11\n",
                cell=CELL.replace("gamma 90", "gamma 95"),
            ),
            "several settings",
        ),
        (
            "magnetic.cif",
            cif("Fe1 Fe 0 0 0") + "\n_atom_site_moment.label Fe1\n",
            "magnetic CIF.*initial_magmoms",
        ),
        (
            "short.cif",
            cif("Na1 Na 0 0 0", "Cl1 Cl .5 .5 .5 7"),
            "a line of the atom site loop has the wrong number of columns.*Cl1",
        ),
        ("two.cif", cif("Na1 Na 0 0 0") + cif("K1 K 0 0 0"), "contains 2 structures.*two.cif@0"),
        ("locations.pdb", pdb(("A", 1.0, ""), ("B", 1.0, "")), r"alternative locations \(A, B\)"),
        ("shares.pdb", pdb((" ", 0.5, ""), (" ", 1.0, "")), r"partially occupied sites \(O1 0.5\)"),
        ("group.pdb", pdb((" ", 1.0, ""), group="P 21 21 21"), "space group is P 21 21 21"),
        ("nameless.pdb", pdb((" ", 1.0, "  ")), "no element in columns 77"),
        (
            "half.res",
            "TITL a\nCELL 1 4 4 4 90 90 90\nLATT -1\nSFAC Na\nNa 1 0 0 0 0.5\nEND\n",
            r"partially occupied sites \(Na 0.5\)",
        ),
        (
            "centred.res",
            "TITL a\nCELL 1 4 4 4 90 90 90\nLATT 1\nSFAC Na\nNa 1 0 0 0 1.0\nEND\n",
            "does not apply its symmetry",
        ),
        (
            "occ.extxyz",
            f"2\n{BOX}:occupancy:R:1\nNa 0 0 0 1\nCl 2 2 2 0.25\n",
            r"partially occupied sites \(Cl2 0.25\)",
        ),
        ("types.dump", dump(), r"types \(1, 2\) but no elements.*dump_modify"),
        ("masses.dump", dump("mass ", "22.99", "35.45"), "but no elements"),
        ("default.dump", dump("element ", "C", "C"), "the element of all 2 types is C"),
        (
            "lj.dump",
            dump("element ", "Na", "Cl", "ITEM: UNITS\nlj\n"),
            "units lj",
        ),
        ("salt.gro", "t\n1\n    1ALA     CA    1   0.1   0.1   0.1\n 0.4 0.4 0.4\n", "no elements"),
        ("POSCAR", POSCAR.format(names="", fixed="", a="", b=""), "has no element symbols"),
        ("numbers.xyz", f"1\n{BOX}\n1 0 0 0\n", "expected element symbols"),
        ("heavy.xyz", f"1\n{BOX}\nD 0 0 0\n", "write H and a column masses"),
        ("silent.data", data(one="", two=""), "the element of type 1 .* is not given"),
        ("forcefield.lmp", data(one="# opls_135"), "found 'opls_135'"),
        ("wrong.lammps", data(two="# Al"), "type 2 is Al with a mass of 35.45"),
        ("style.data", data(section="Atoms"), "has no atom style \\(atomic"),
        ("si.data", data(title="LAMMPS data file, units = si"), "units si"),
    ],
)
def test_what_would_be_guessed_is_refused(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read(tmp_path, name, text)
    assert str(caught.value).startswith(f"structure {tmp_path / name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "formula"),
    [
        (
            "whole.cif",
            sites("Na1 Na1+ 0 0 0 1.0", "Cl1 Cl1- .5 .5 .5 ?", extra="occupancy"),
            "Cl4Na4",
        ),
        (  # lines that do not fit in a loop of authors
            "authors.cif",
            cif("Na1 Na 0 0 0") + "loop_\n_author_name\n_author_place\nA. O Here There\n",
            "Na4",
        ),
        (
            "unique_b.cif",
            cif(
                "H1 H .1 .1 .1",
                group="_symmetry_space_group_name_H-M 'P 1 21/m 1'\n_space_group_IT_number 11\n",
                cell=CELL.replace("beta 90", "beta 95"),
            ),
            "H4",
        ),
        ("heavy.cif", cif("D1 D 0 0 0", "Cl1 Cl .5 .5 .5"), "H4Cl4"),
        ("twice.cif", cif("Na1 Na 0 0 0", "Na2 Na 0 .5 .5", "Cl1 Cl .5 .5 .5"), "Cl4Na4"),
        ("whole.pdb", pdb((" ", 1.0, ""), (" ", 1.0, "")), "O2"),
        ("whole.res", "CELL 1 4 4 4 90 90 90\nLATT -1\nSFAC Na\nNa 1 0 0 0 11.0\nEND\n", "Na"),
        ("named.dump", dump("element ", "Na", "Cl"), "ClNa"),
        ("POSCAR", POSCAR.format(names="Na_pv/1a2b Cl\n", fixed="", a="", b=""), "ClNa"),
        ("any.name", data(), "ClNa"),
        (
            "charged.data",
            data(section="Atoms # charge", q="0.0 "),
            "ClNa",
        ),
        (
            "labels.data",
            data(one="", two="").replace("Masses", "Atom Type Labels\n\n1 Na\n2 Cl\n\nMasses"),
            "ClNa",
        ),
    ],
)
def test_what_is_all_said_is_read(tmp_path: Path, name: str, text: str, formula: str) -> None:
    found = read(tmp_path, name, text)
    assert found.get_chemical_formula() == formula
    if name == "twice.cif":
        assert len(found) == 8


def test_our_own_data_files_come_back_to_the_last_digit(tmp_path: Path) -> None:
    atoms = crystal()
    atoms.rattle(0.05, seed=1)
    back = read(tmp_path, "salt.data", decks.data_file(atoms, ("Cl", "Na"), velocities=False))
    assert back.get_chemical_symbols() == atoms.get_chemical_symbols()
    assert np.abs(back.positions - atoms.positions).max() < 1e-12
    assert carried.extras(back) == {}


@pytest.mark.parametrize(
    ("index", "found"),
    [("@0", "NaCl"), ("@-1", "KCl"), ("@1", "KCl"), ("", "2 structures"), ("@2", "from 0")],
)
def test_one_of_several_structures_is_named(tmp_path: Path, index: str, found: str) -> None:
    frames = [crystal(), crystal("KCl", 6.29)]
    for name in ("two.traj", "two.xyz", "two.json"):
        ase.io.write(tmp_path / name, frames)
        path = Path(f"{tmp_path / name}{index}")
        if found.isalpha():
            atoms = structure.read_structure(path)
            assert structure.species([atoms]) == {"NaCl": ("Cl", "Na"), "KCl": ("Cl", "K")}[found]
        else:
            with pytest.raises(InputError, match=found):
                structure.read_structure(path)


def test_a_name_with_an_at_sign_is_a_name(tmp_path: Path) -> None:
    assert len(read(tmp_path, "salt@1", f"1\n{BOX}\nNa 0 0 0\n")) == 1


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "POSCAR",
            POSCAR.format(names="Na Cl\n", fixed="Selective\n", a=" F F F", b=" T T F"),
            "Cl2 is fixed along some directions only",
        ),
        (
            "partly.extxyz",
            f"2\n{BOX}:move_mask:L:3\nNa 0 0 0 T T T\nCl 2 2 2 T F T\n",
            "Cl2 is fixed along some directions only",
        ),
        ("all.extxyz", f"1\n{BOX}:move_mask:L:1\nNa 0 0 0 F\n", "all of its atoms are fixed"),
        (
            "isotopes.extxyz",
            f"2\n{BOX}:masses:R:1\nH 0 0 0 1.008\nH 2 2 2 2.014\n",
            "H atoms have masses from 1.008 to 2.014",
        ),
        ("weightless.extxyz", f"1\n{BOX}:masses:R:1\nH 0 0 0 -1\n", "not positive"),
        ("nan.extxyz", f"1\n{BOX}:initial_magmoms:R:1\nFe 0 0 0 nan\n", "not finite"),
        (
            "results.extxyz",
            f"1\n{BOX}:magmoms:R:1\nFe 0 0 0 2.2\n",
            "rename them to initial_magmoms",
        ),
        (
            "spin.extxyz",
            f"1\n{BOX}:magmom:R:1\nFe 0 0 0 2.2\n",
            "rename them to initial_magmoms",
        ),
        ("q.extxyz", f"1\n{BOX}:q:R:1\nNa 0 0 0 1\n", "rename it to initial_charges"),
        ("mass.extxyz", f"1\n{BOX}:mass:R:1\nH 0 0 0 2.014\n", "rename it to masses"),
        (
            "still.extxyz",
            f"1\n{BOX}:fixed:L:1\nH 0 0 0 T\n",
            "rename it to move_mask.*T for atoms that",
        ),
        ("ion.extxyz", f"1\n{BOX} charge=1\nNa 0 0 0\n", "charge=1, which is not passed"),
        ("radical.extxyz", f"1\n{BOX} multiplicity=2\nNa 0 0 0\n", "multiplicity=2"),
    ],
)
def test_what_cannot_be_carried_is_refused(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        read(tmp_path, name, text)


def test_other_constraints_are_refused(tmp_path: Path) -> None:
    atoms = crystal()
    atoms.set_constraint([FixAtoms([0]), FixBondLengths([(1, 2)])])
    ase.io.write(tmp_path / "bonds.traj", atoms)
    with pytest.raises(InputError, match="constraint FixBondLengths"):
        structure.read_structure(tmp_path / "bonds.traj")


def test_what_is_carried_is_told(tmp_path: Path) -> None:
    columns = "initial_magmoms:R:1:initial_charges:R:1:masses:R:1:move_mask:L:1"
    found = read(
        tmp_path,
        "all.extxyz",
        f"2\n{BOX}:{columns} charge=0\nH 0 0 0 1 0.5 2.014 T\nO 2 2 2 0 0 16 F\n",
    )
    assert carried.described(found) == (
        "magnetic moments (total 1), initial charges (total 0.5), masses H 2.014, "
        "1 of 2 atoms fixed"
    )
    assert not found.constraints  # they would change what a calculator says of forces
