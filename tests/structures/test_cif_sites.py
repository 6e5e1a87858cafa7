"""A site of a CIF is the element written there, and all elements of the formula are there."""

from pathlib import Path

import pytest

from phasewalk.errors import InputError
from phasewalk.structures import structure

CUBIC = """data_salt
_cell_length_a 4.2
_cell_length_b 4.2
_cell_length_c 4.2
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
"""
FACES = "_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_Int_Tables_number 225\n"
INVERSION = "loop_\n_space_group_symop_operation_xyz\n'x,y,z'\n'-x,-y,-z'\n"
POSITION = "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"


def read(folder: Path, *, site: str = "Na1 Na", about: str = FACES, at: str = "0 0 0") -> str:
    """Formula of a cell with one site."""
    named = "_atom_site_label\n" + "_atom_site_type_symbol\n" * (" " in site)
    path = folder / "one.cif"
    path.write_text(f"{CUBIC}{about}loop_\n{named}{POSITION}{site} {at}\n")
    return str(structure.read_structure(path).symbols)


@pytest.mark.parametrize(
    "site",
    [
        *("X1 Fe/Mg", "X1 Fe0.5Mg0.5", "X1 Fe,Mg", "X1 Nb/Ta", "X1 Na+K", "X1 H2O", "X1 O-H"),
        *("X1 C60", "X1 FeNi", "X1 Wat", "Fe/Mg", "Fe0.5Mg0.5", "Fe1Mg1", "Na+K", "O-H", "OW1"),
    ],
)
def test_a_site_that_is_not_one_element_is_refused(tmp_path: Path, site: str) -> None:
    with pytest.raises(InputError, match=r"the element of site .* is ambiguous"):
        read(tmp_path, site=site)


@pytest.mark.parametrize(
    ("site", "formula"),
    [
        *(("X1 Fe3+", "Fe4"), ("X1 O2-", "O4"), ("X1 Na0+", "Na4"), ("X1 Fe(III)", "Fe4")),
        *(("X1 Fe+3", "Fe4"), ("X1 Fe2.67+", "Fe4"), ("X1 D", "H4"), ("C12A", "C4"), ("H1'", "H4")),
        *(("O1W", "O4"), ("Fe1_2", "Fe4"), ("N(3)", "N4"), ("O-1", "O4"), ("Fe3+", "Fe4")),
    ],
)
def test_charges_and_names_of_sites_are_read(tmp_path: Path, site: str, formula: str) -> None:
    assert read(tmp_path, site=site) == formula


@pytest.mark.parametrize("formula", ["'Na H2 O'", "'Na D'", "'Na1 H0.5'"])
def test_an_element_of_the_formula_without_a_site(tmp_path: Path, formula: str) -> None:
    with pytest.raises(
        InputError, match=r"its formula .* contains (H|D), but there is no (H|D) site"
    ):
        read(tmp_path, about=f"_chemical_formula_sum {formula}\n{FACES}")


@pytest.mark.parametrize("formula", ["Na", "'Na12'", "'Na H0'", "'Na (H2O)'", "?", "'not known'"])
def test_other_formulas_say_nothing(tmp_path: Path, formula: str) -> None:
    assert read(tmp_path, about=f"_chemical_formula_sum {formula}\n{FACES}") == "Na4"


def test_a_modulated_structure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"modulated .* commensurate supercell"):
        read(tmp_path, about=f"_cell_modulation_dimension 1\n{FACES}")
    assert read(tmp_path, about=f"_cell_modulation_dimension 0\n{FACES}") == "Na4"


@pytest.mark.parametrize("more", ["", "_symmetry_space_group_name_H-M ?\n"])
def test_operations_need_a_number_beside_them(tmp_path: Path, more: str) -> None:
    with pytest.raises(InputError, match="add _space_group_IT_number"):
        read(tmp_path, about=INVERSION + more, at=".2 .2 .2")
    number = "_space_group_IT_number 2\n"
    assert read(tmp_path, about=INVERSION + more + number, at=".2 .2 .2") == "Na2"
