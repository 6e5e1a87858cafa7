"""The user's CP2K input: the level of theory in it, and the input of a frame."""

import random
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms

from helpers.fakes import ROOT
from phasewalk.errors import InputError
from phasewalk.reference import cp2k_input
from phasewalk.reference.cp2k_tree import Input

TEXT = (ROOT / "examples/ice_xi/pbe-d3.inp").read_text()
WATER = Atoms("OHH", positions=[[0.1, 0, 0], [1, 0, 0], [0, 1 / 3, 0]], cell=[5, 6, 7], pbc=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: what the library knows of CP2K is read once for each folder."""
    return tmp_path_factory.mktemp("cp2k")


def read(folder: Path, text: str = TEXT) -> Input:
    path = folder / "my input.inp"
    path.write_text(text)
    return cp2k_input.read_input(path)


def level(folder: Path, text: str = TEXT) -> dict[str, Any]:
    return cp2k_input.level(read(folder, text))


def again(folder: Path, text: str) -> Input:
    """A written input, read."""
    return read(folder, text)


def test_the_level_of_theory_by_flat_names(folder: Path) -> None:
    found = level(folder)
    assert found["FORCE_EVAL/DFT/MGRID/CUTOFF"] == 400.0
    assert found["FORCE_EVAL/SUBSYS/KIND O/POTENTIAL"] == "GTH-PBE-q6"
    assert found["FORCE_EVAL/DFT/SCF/EPS_SCF"] == 1e-6
    assert not [name for name in found if "OT" in name.split("/") or "MAX_SCF" in name]


GLOBAL = "&GLOBAL\n PROJECT mine\n RUN_TYPE MD\n&END\n&MOTION\n &MD\n STEPS 9\n &END\n&END\n"
FAST = """&GLOBAL
  PREFERRED_DIAG_LIBRARY SL
  EXTENDED_FFT_LENGTHS FALSE
  WALLTIME 3500
  OUTPUT_FILE_NAME mine.out
  ECHO_INPUT
  &FM
    NROW_BLOCKS 32
  &END FM
  &PROGRAM_RUN_INFO OFF
  &END
&END GLOBAL
"""
COORD = "&CELL\n ABC 9 9 9\n&END\n&COORD\n O 1 2 3\n&END\n&TOPOLOGY\n COORD_FILE_NAME a.xyz\n&END\n"


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("CUTOFF 400", "cutoff   400.0 ! fine enough"),
        TEXT.replace("CUTOFF 400", "CUTOFF [hartree] 200"),
        TEXT.replace("XC_FUNCTIONAL PBE", "xc_functional pbe"),
        TEXT.replace("CUTOFF 400", "CUTOFF ${fine}").replace("&FORCE", "@SET fine 400\n&FORCE", 1),
        TEXT.replace("      REL_CUTOFF 50\n", "").replace("MGRID\n", "MGRID\nREL_CUTOFF 50\n", 1),
        GLOBAL + TEXT,
        FAST + TEXT,
        TEXT.replace("&DFT\n", "&DFT ! don't\n", 1).replace("&END DFT", "&END DFT ! end of DFT"),
        TEXT.replace("CUTOFF 400", "CUTOFF 400 # it's \"fine").replace("\n", "\r\n"),
        "\ufeff" + TEXT.replace("    ", "\t").replace("CUTOFF 400", "CUTOFF \\ ! goes on\n\t400"),
        TEXT.replace("FILE_NAME BASIS_MOLOPT", "FILE_NAME 'BASIS_MOLOPT' ! group's"),
        TEXT.replace("CUTOFF 400", "CUTOFF $fine").replace(
            "&FORCE", "@SET fine 400 ! it's\n&FORCE", 1
        ),
        "&EXT_RESTART\n RESTART_FILE_NAME old.restart\n&END\n" + TEXT,
        TEXT.replace("&DFT\n", "&PRINT\n&FORCES\n FORCE_UNIT eV/angstrom\n&END\n&END\n&DFT\n", 1),
        TEXT.replace("&SUBSYS\n", "&SUBSYS\n&RNG_INIT\n x\n&END\n&VELOCITY\n0 0 0\n&END\n", 1),
        TEXT.replace("&MGRID\n", "&MGRID\n &RS_GRID\n MEMORY_FACTOR 3\n &END\n", 1),
        TEXT.replace("&QS\n", "&QS\n &DISTRIBUTION\n SKIP_OPTIMIZATION\n &END\n", 1),
        TEXT.replace("&SUBSYS\n", f"&SUBSYS\n{COORD}", 1),
        TEXT.replace("MINIMIZER DIIS", "MINIMIZER CG").replace("MAX_SCF 20", "MAX_SCF 40"),
        TEXT.replace("&DFT\n", "&DFT\n WFN_RESTART_FILE_NAME old.wfn\n &PRINT\n&END\n", 1),
        TEXT.replace(
            "&DFT\n", "&PRINT\n&FORCES ON\n&END\n&END\nSTRESS_TENSOR NUMERICAL\n&DFT\n", 1
        ),
    ],
)
def test_what_is_no_other_level(folder: Path, text: str) -> None:
    assert text != TEXT
    assert level(folder, text) == level(folder)


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("CUTOFF 400", "CUTOFF 401"),
        TEXT.replace("PBE", "BLYP"),
        TEXT.replace("BASIS_SET DZVP", "BASIS_SET TZVP", 1),
        TEXT.replace("EPS_SCF 1.0E-6", "EPS_SCF 1.0E-5", 1),
        TEXT.replace("&QS\n", "&QS\n METHOD GAPW\n", 1),
        TEXT.replace("&DFT\n", "&DFT\n CHARGE 1\n", 1),
        TEXT.replace("&DFT\n", "&DFT\n &KPOINTS\n SCHEME MONKHORST-PACK 2 2 2\n &END\n", 1),
        TEXT.replace("&SCF\n", "&SCF\n ADDED_MOS 20\n", 1),
        TEXT.replace("&SCF\n", "&SCF\n &SMEAR\n &END\n", 1),
        FAST.replace("FALSE", "TRUE") + TEXT,
        FAST.replace("ECHO_INPUT", "ALLTOALL_SGL") + TEXT,
    ],
)
def test_what_is_another_level(folder: Path, text: str) -> None:
    assert level(folder, text) != level(folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "one &FORCE_EVAL"),
        ("nonsense", "line 1: not a valid CP2K input"),
        (TEXT.replace("CUTOFF 400", "CUTOF 400"), "line 9: not a valid CP2K input"),
        (
            TEXT.replace("&MGRID", "&MGRIT"),
            "line 8: not a valid CP2K input: unknown section &MGR",
        ),
        (TEXT.replace("&END SCF\n", ""), "section &XC in &SCF (line 15)"),
        (
            TEXT.replace("&END DFT", "&END DTF ! it's"),
            "line 39: &END DTF closes &DFT, which is op",
        ),
        (TEXT.removesuffix("&END FORCE_EVAL\n"), "line 3: section &FORCE_EVAL is not closed"),
        (
            TEXT.replace("&DFT\n", "&DFT\n&PRINT\n", 1),
            "line 40: &END DFT closes &PRINT, which is opened in line 6",
        ),
        (TEXT + "&MOTION\n", "line 51: section &MOTION is not closed"),
        (TEXT + "&END\n", "line 51: &END without an open section"),
        (
            TEXT.replace("400", "${fine}"),
            "line 9: not a valid CP2K input: undefined variable 'fine'",
        ),
        (TEXT.replace("400", "many"), "line 9: not a valid CP2K input: a value or its unit"),
        (
            TEXT.replace("400", "400\n CUTOFF 300"),
            "line 10: not a valid CP2K input: keyword CUTOFF found twice",
        ),
        (
            TEXT.replace("400", "'400"),
            "line 9: not a valid CP2K input: a quotation mark is not closed",
        ),
        ("@INCLUDE 'none.inc'\n" + TEXT, "none.inc"),
        (TEXT + TEXT, "one &FORCE_EVAL"),
        (TEXT.replace("QUICKSTEP", "FIST"), "METHOD QUICKSTEP"),
        (TEXT.replace("&SUBSYS\n", "&SUBSYS\n&CELL\nPERIODIC XY\n&END\n"), "PERIODIC must be XYZ"),
        (TEXT.replace("&SCF\n", "&SCF\n IGNORE_CONVERGENCE_FAILURE\n", 1), "never accepted"),
    ],
)
def test_what_is_no_input_for_labels(folder: Path, text: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        read(folder, text)
    assert "my input.inp" in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_input_that_is_not_there_or_no_text(folder: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        cp2k_input.read_input(folder / "none.inp")
    (folder / "bytes.inp").write_bytes(b"\xff\xfe&FORCE_EVAL")
    with pytest.raises(InputError, match="cannot be read"):
        cp2k_input.read_input(folder / "bytes.inp")


def test_what_is_included_lies_beside_it(folder: Path) -> None:
    (folder / "theory.inc").write_text("CUTOFF 400\n")
    text = TEXT.replace("CUTOFF 400\n", "@INCLUDE 'theory.inc'\n", 1)
    assert level(folder, text) == level(folder)


def test_what_is_included_is_cleaned_too_and_its_lines_are_named(folder: Path) -> None:
    (folder / "theory.inc").write_bytes(b"\xef\xbb\xbfCUTOFF 4.0d2 ! don't\r\n")
    text = TEXT.replace("CUTOFF 400\n", "@include theory.inc # it's there\n", 1)
    assert level(folder, text) == level(folder)
    (folder / "theory.inc").write_text("CUTOFF 400\nCUTOF 3\n")
    with pytest.raises(InputError, match=r"theory.inc, line 2: .* unknown keyword CUTOF in &MGRID"):
        read(folder, text)


def test_a_comment_may_be_in_latin_1(folder: Path) -> None:
    path = folder / "latin.inp"
    path.write_bytes(TEXT.replace("CUTOFF 400", "CUTOFF 400 ! \xe5ngstr\xf6m").encode("latin-1"))
    assert cp2k_input.level(cp2k_input.read_input(path)) == level(folder)


def test_global_is_kept_but_for_what_is_printed(folder: Path) -> None:
    """The three keys that are put in, and how to run CP2K fast as the user had it."""
    mine = read(folder, FAST.replace("FALSE", "TRUE") + TEXT)
    written = again(folder, cp2k_input.frame_input(mine, WATER))
    assert written.tree["+global"] == {
        "preferred_diag_library": "sl",
        "extended_fft_lengths": True,
        "walltime": "3500",
        "project_name": "label",
        "run_type": "energy_force",
        "print_level": "medium",
        "+fm": {"nrow_blocks": 32},
    }
    assert cp2k_input.level(written) == cp2k_input.level(mine)
    atom = again(folder, cp2k_input.atom_input(mine, "O", box_A=9.0, multiplicity=3))
    assert atom.tree["+global"]["+fm"] == {"nrow_blocks": 32}


def test_memory_and_processes_are_no_level_of_theory(folder: Path) -> None:
    hybrid = TEXT.replace(
        "&XC\n", "&XC\n &HF\n FRACTION 0.25\n &MEMORY\n EPS_STORAGE_SCALING 0.1\n &END\n &END\n", 1
    ).replace("&XC\n", "&KPOINTS\n SCHEME GAMMA\n &END\n &XC\n", 1)
    big = hybrid.replace("&MEMORY\n", "&MEMORY\n MAX_MEMORY 2000\n").replace(
        "SCHEME", "PARALLEL_GROUP_SIZE 4\n SCHEME"
    )
    assert level(folder, big) == level(folder, hybrid)
    assert level(folder, hybrid.replace("SCALING 0.1", "SCALING 0.5")) != level(folder, hybrid)


def test_its_data_files(folder: Path) -> None:
    assert cp2k_input.files(read(folder)) == ["dftd3.dat", "BASIS_MOLOPT", "GTH_POTENTIALS"]
    text = TEXT.replace("    BASIS_SET_FILE_NAME BASIS_MOLOPT\n", "")
    assert "BASIS_SET" in cp2k_input.files(read(folder, text))
    two = TEXT.replace("BASIS_MOLOPT\n", "BASIS_MOLOPT\n BASIS_SET_FILE_NAME sub/MINE\n")
    assert {"BASIS_MOLOPT", "sub/MINE"} <= set(cp2k_input.files(read(folder, two)))


def test_the_kinds_that_are_missing(folder: Path) -> None:
    assert cp2k_input.kinds_missing(read(folder), ["O", "H", "Al"]) == ["Al"]
    named = TEXT.replace("&KIND O\n", "&KIND OX\n ELEMENT O\n")
    assert cp2k_input.kinds_missing(read(folder, named), ["O", "H"]) == []
    text = cp2k_input.frame_input(read(folder, named), WATER)
    assert "OX 0.1 0.0 0.0" in text


def test_a_frame_s_input_is_of_the_same_level_and_holds_the_frame_to_the_last_bit(
    folder: Path,
) -> None:
    mine = read(folder, GLOBAL + TEXT.replace("&SUBSYS\n", f"&SUBSYS\n{COORD}", 1))
    text = cp2k_input.frame_input(mine, WATER)
    written = again(folder, text)
    assert cp2k_input.level(written) == cp2k_input.level(mine)
    assert text == cp2k_input.frame_input(mine, WATER)
    subsys = written.force_eval["+subsys"]
    assert subsys["+coord"]["*"][2].split() == ["H", "0.0", repr(1 / 3), "0.0"]
    assert [subsys["+cell"][name] for name in "abc"] == [tuple(row) for row in WATER.cell.tolist()]
    assert "+topology" not in subsys
    assert "+motion" not in written.tree
    assert written.tree["+global"] == {
        "project_name": "label",
        "run_type": "energy_force",
        "print_level": "medium",
    }
    assert written.force_eval["stress_tensor"] == "analytical"


def test_only_the_kinds_of_the_frame(folder: Path) -> None:
    text = cp2k_input.frame_input(read(folder), WATER[[1, 2]])
    assert "&KIND H" in text
    assert "&KIND O" not in text


def test_a_guess(folder: Path) -> None:
    mine = TEXT.replace("&SCF\n", "&SCF\n SCF_GUESS RESTART\n", 1)
    without = again(folder, cp2k_input.frame_input(read(folder, mine), WATER))
    assert "scf_guess" not in without.force_eval["+dft"]["+scf"]
    dft = again(folder, cp2k_input.frame_input(read(folder), WATER, guess="guess.wfn")).force_eval[
        "+dft"
    ]
    assert (dft["wfn_restart_file_name"], dft["+scf"]["scf_guess"]) == ("guess.wfn", "restart")


def test_an_isolated_atom_has_a_spin_and_no_mesh(folder: Path) -> None:
    text = TEXT.replace("&DFT\n", "&DFT\n CHARGE 2\n &KPOINTS\n SCHEME GAMMA\n &END\n", 1)
    written = again(
        folder,
        cp2k_input.atom_input(read(folder, text), "O", box_A=9.0, multiplicity=3),
    )
    dft = written.force_eval["+dft"]
    assert (dft["uks"], dft["multiplicity"]) == (True, 3)
    assert not {"charge", "+kpoints"} & set(dft)
    assert written.tree["+global"]["run_type"] == "energy"


@pytest.mark.parametrize(
    "changes",
    [
        {"SCF/MIXING/ALPHA": 0.1},
        {"SCF/OT": None, "SCF/DIAGONALIZATION": True, "scf/mixing/method": "BROYDEN_MIXING"},
        {"SCF/OT/PRECONDITIONER": "FULL_KINETIC", "SCF/MAX_SCF": 50},
        {"SCF/OT/SAFE_DIIS": False},
    ],
)
def test_a_further_try(folder: Path, changes: dict[str, Any]) -> None:
    mine = read(folder)
    cp2k_input.check_changes(mine, changes)
    text = cp2k_input.frame_input(mine, WATER, changes=changes)
    assert text != cp2k_input.frame_input(mine, WATER)
    assert cp2k_input.level(again(folder, text)) == cp2k_input.level(mine)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"SCF/EPS_SCF": 1e-3}, "change the level of theory"),
        ({"MGRID/CUTOFF": 200}, "change the level of theory"),
        ({"SCF/OUTER_SCF/EPS_SCF": 1e-3}, "change the level of theory"),
        ({"SCF/OUTER_SCF": None}, "change the level of theory"),
        ({"SCF/SMEAR": True}, "change the level of theory"),
        ({"SCF/MOM/START_ITER": 3}, "change the level of theory"),
        ({"SCF/MIXIN/ALPHA": 0.1}, "no such keyword"),
        ({"SCF/MAX_SCF": "many"}, "not a valid CP2K input"),
        ({"SCF/IGNORE_CONVERGENCE_FAILURE": "T"}, "level of theory"),
        ({"SCF/MAX_SCF/X": 1}, "no such keyword"),
        ({"": 1}, "level of theory"),
    ],
)
def test_a_further_try_that_cannot_be(folder: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        cp2k_input.check_changes(read(folder), changes)


def test_motion_is_dropped_unread_and_fortran_s_exponents_are_read(folder: Path) -> None:
    motion = "&MOTION\n &CONSTRAINT\n &FIXED_ATOMS\n LIST 1..3\n &END\n &END\n&END MOTION\n"
    text = motion + TEXT.replace("EPS_SCF 1.0E-6", "EPS_SCF 1.0d-6")
    assert level(folder, text) == level(folder)


def test_the_box_of_an_atom_is_no_reference_cell_of_the_crystal(folder: Path) -> None:
    cell = "&SUBSYS\n&CELL\n&CELL_REF\nABC 5 5 5\n&END\n&END\n"
    mine = read(folder, TEXT.replace("&SUBSYS\n", cell, 1))
    assert "&CELL_REF" in cp2k_input.frame_input(mine, WATER)
    assert "CELL_REF" not in cp2k_input.atom_input(mine, "O", box_A=9.0, multiplicity=3)


def test_two_kinds_of_one_element_are_refused(folder: Path) -> None:
    two = TEXT.replace("&KIND O\n", "&KIND O\n&END\n&KIND O1\n ELEMENT O\n")
    with pytest.raises(InputError, match="KIND O and &KIND O1 are both O"):
        read(folder, two)


def test_damaged_inputs_are_refused_in_one_line_or_read(folder: Path) -> None:
    """Lines that are lost, doubled or garbled; an untyped exception would end the test."""
    rng = random.Random(5)
    lines = TEXT.splitlines()
    refused = 0
    for _ in range(60):
        damaged = list(lines)
        n = rng.randrange(len(lines))
        what = rng.choice(("lose", "double", "cut", "garble"))
        if what == "lose":
            del damaged[n]
        elif what == "double":
            damaged.insert(n, damaged[n])
        elif what == "cut":
            damaged = damaged[:n]
        else:
            word = "".join(rng.choice("&@$%{}[]\"'!#=*/.,;0aZ \t\\") for _ in range(9))
            damaged[n] = word
        try:
            found = read(folder, "\n".join(damaged))
            cp2k_input.level(found)
            cp2k_input.files(found)
        except InputError as error:
            refused += "\n" not in str(error)
    assert refused > 15
