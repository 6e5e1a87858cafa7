"""What a PLUMED text may not ask for, and what is said of what is hardly meant."""

from contextlib import suppress

import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from phasewalk.bias import plumed_files, plumed_limits
from phasewalk.errors import InputError
from phasewalk.walkers.segment import SystemSettings

UNITS = "UNITS LENGTH=A ENERGY=kj/mol TIME=fs\n"
SALT = bulk("NaCl", "rocksalt", a=6.0, cubic=True)  # Na 1, Cl 2, Na 3, …; shortest vector 6 Å


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("d: DISTANCE ATOMS=1,2\nRESTRAINT ARG=d AT=@replicas:2.7,2.9 KAPPA=20",
         "line 2, RESTRAINT: AT=@replicas:2.7,2.9: all walkers read the same text"),
        ("d: DISTANCE ATOMS=1,2\nRESTRAINT ARG=d AT={@replicas:2.7,2.9} KAPPA=20", "@replicas"),
        ("d: VOLUME\nm: METAD ARG=d PACE=5 SIGMA=@replicas:1,2", "line 2, METAD"),
        ("d: VOLUME\ng: GATHER_REPLICAS ARG=d", "needs communicating replicas"),
        ("d: VOLUME\nEFFECTIVE_ENERGY_DRIFT FILE=a PRINT_STRIDE=5 ENSEMBLE", "ENSEMBLE needs"),
        ("v: VOLUME\nRANDOM_EXCHANGES", "needs communicating replicas"),
        ("v: VOLUME\nMETAD ARG=v PACE=5 RECT=1,2", "RECT needs communicating replicas"),
        ("v: VOLUME\nMETAD ARG=v PACE=5 UPDATE_FROM=9", "UPDATE_FROM is not supported"),
        ("v: VOLUME\nMETAD ARG=v PACE=5 UPDATE_UNTIL=9", "UPDATE_UNTIL is not supported"),
        ("v: VOLUME\nUPDATE_IF ARG=v LESS_THAN=3\nMETAD ARG=v PACE=5\nUPDATE_IF ARG=v END",
         "inside the UPDATE_IF of line 2"),
        ("vol: VOLUME\nMETAD ARG=vul PACE=5", "no label vul in the text; did you mean vol?"),
        ("c: CUSTOM ARG=v FUNC=x PERIODIC=NO\nv: VOLUME\nPRINT ARG=v", "v is defined later"),
        ("vol: VOLUME\nRESTRAINT ARG=x.y AT=1 KAPPA=1", "no label x in the text; labels: vol"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_starts(text: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        plumed_limits.check(text)
    assert words in str(error.value)
    with pytest.raises(ValueError, match="PLUMED text, line"):
        SystemSettings.model_validate({"structure": "a", "ensemble": "npt", "plumed": text})


@pytest.mark.parametrize(
    "text",
    [
        "v: VOLUME\nPRINT ARG=v UPDATE_FROM=3 UPDATE_UNTIL=9",
        "v: VOLUME\nUPDATE_IF ARG=v LESS_THAN=3\nPRINT ARG=v\nUPDATE_IF ARG=v END\n"
        "METAD ARG=v PACE=5",
        "c: COORDINATIONNUMBER SPECIES=1-4 R_0=1 MEAN\nPRINT ARG=c.mean,c_mat,*,(c\\.m.*),@0",
        "c: CELL\nPRINT ARG=c.ax,c.by",
    ],
)
def test_what_works_is_not(text: str) -> None:
    plumed_limits.check(text)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "d: DISTANCE ATOMS=1,99",
            "line 2, DISTANCE: ATOMS: atom 99 does not exist; the structure has 8",
        ),
        ("c: COORDINATION GROUPA=1-4 GROUPB=5-12 R_0=0.5", "GROUPB: atom 12"),
        ("g: GROUP ATOMS=1-9:2", "atom 9"),
        ("t: TORSION ATOMS=0,1,2,3", "atom 0"),
    ],
)
def test_atoms_that_do_not_exist(line: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        plumed_limits.check_structure(UNITS + line, SALT)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("c: COORDINATION GROUPA=1-4 GROUPB=5-8 R_0=3.0", "0.50"),
        ("c: COORDINATION GROUPA=1-4 GROUPB=5-8 R_0=2.0 NN=6 MM=12", "0.08"),
        ("c: COORDINATION GROUPA=1-4 GROUPB=5-8 SWITCH={EXP R_0=1.0 D_0=1.0}", "0.14"),
        ("c: COORDINATION GROUPA=1-4 GROUPB=5-8 SWITCH={GAUSSIAN R_0=2.0}", "0.32"),
        ("c: COORDINATION GROUPA=1-4 SWITCH={CUBIC D_0=1.0 D_MAX=5.0}", "0.50"),
        ("q: Q6 SPECIES=1-8 SWITCH={RATIONAL D_0=2.9 R_0=0.5}", "1.00"),
        ("m: CONTACT_MATRIX GROUP=1-8 SWITCH={SMAP R_0=3 A=6 B=6}", "0.50"),
    ],
)
def test_a_sum_over_pairs_that_needs_more_than_half_the_cell(line: str, left: str) -> None:
    with pytest.raises(InputError) as error:
        plumed_limits.check_structure(UNITS + line, SALT)
    assert f"at 3.00 Å, half of the shortest lattice vector, its value is {left}" in str(
        error.value
    )
    plumed_limits.check_structure(UNITS + line, SALT.repeat(3))


@pytest.mark.parametrize(
    "line",
    [
        "c: COORDINATION GROUPA=1-4 GROUPB=5-8 R_0=1.8",
        "c: COORDINATION GROUPA=1-4 GROUPB=5-8 R_0=1.5 D_0=1.0 NN=12",
        "c: COORDINATION GROUPA=1-4 GROUPB=5-8 SWITCH={RATIONAL R_0=2.5 D_MAX=2.9}",
        "c: CONTACTMAP ATOMS1=1,2 SWITCH1={RATIONAL R_0=4}",
        "d: DISTANCE ATOMS=1,2\nl: LESS_THAN ARG=d SWITCH={RATIONAL R_0=4}",
    ],
)
def test_one_that_ends_before_does_not(line: str) -> None:
    plumed_limits.check_structure(UNITS + line, SALT)


def test_a_forgotten_units_line_saturates_a_coordination_number() -> None:
    """R_0=2.5, meant in Å, is 25 Å: every pair counts as one."""
    text = "c: COORDINATION GROUPA=1-4 GROUPB=5-8 R_0=2.5\nMETAD ARG=c SIGMA=0.1 PACE=50"
    with pytest.raises(
        InputError, match=r"value is 1\.00.*without a UNITS line PLUMED's length unit is nm"
    ):
        plumed_limits.check_structure(text, SALT.repeat(2))


def test_a_skewed_cell_counts_by_its_shortest_lattice_vector() -> None:
    """The faces of a leaning cell are nearer than any two images of an atom."""
    leaning = Atoms("Na", cell=[[6, 0, 0], [18, 6, 0], [0, 0, 6]], pbc=True)
    assert plumed_limits.half_cell_A(leaning) == pytest.approx(3.0)
    hexagonal = Atoms("Na", cell=[4, 4, 9, 90, 90, 120], pbc=True)
    assert plumed_limits.half_cell_A(hexagonal) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("v: VOLUME", ["no UNITS line"]),
        (f"{UNITS}v: VOLUME\nMETAD ARG=v PACE=5 BIASFACTOR=5 TEMP=100",
         ["line 3, METAD: TEMP=100, but the temperature of the walkers is 300 K"]),
        (f"{UNITS}v: VOLUME\nMETAD ARG=v PACE=5 BIASFACTOR=5 TEMP=300", []),
        ("v: VOLUME\nMETAD ARG=v PACE=5 SIGMA=12",
         ["no UNITS line", "SIGMA=12 for v is 12000 Å³, more than the cell's volume (216 Å³)"]),
        (f"{UNITS}d: DISTANCE ATOMS=1,2\nUPPER_WALLS ARG=d AT=4 KAPPA=1",
         ["AT=4 for d is 4 Å, more than half of the shortest lattice vector"]),
        (f"{UNITS}d: DISTANCE ATOMS=1,2\nUPPER_WALLS ARG=d AT=2.9 KAPPA=1", []),
    ],
)  # fmt: skip
def test_notices(text: str, words: list[str]) -> None:
    found = plumed_limits.notices(text, SALT, (300.0,))
    assert len(found) == len(words)
    for told, word in zip(found, words, strict=True):
        assert word in told


def test_units_of_length() -> None:
    lengths = {"nm": 10.0, "A": 1.0, "Bohr": 0.529177210903, "0.2": 2.0}
    for name, expected in lengths.items():
        assert plumed_limits.length_A(f"UNITS LENGTH={name}\nv: VOLUME") == expected
    assert plumed_limits.length_A("v: VOLUME") == 10.0


@pytest.mark.parametrize("sigma", ["-1", "0", "0.1,-2"])
def test_hills_have_a_width(sigma: str) -> None:
    with pytest.raises(InputError, match=f"line 2, METAD: SIGMA={sigma}: must be greater than 0"):
        plumed_limits.check(f"v: VOLUME\nMETAD ARG=v PACE=5 SIGMA={sigma} HEIGHT=1")
    plumed_limits.check("v: VOLUME\nMETAD ARG=v PACE=5 SIGMA=0.1 HEIGHT=1")


_WORDS = st.sampled_from(
    ["UNITS", "LENGTH=A", "LENGTH=0", "LENGTH=-1", "LENGTH=x", "COORDINATION", "METAD", "DISTANCE",
     "SWITCH={RATIONAL R_0=2 NN=9e9}", "SWITCH={SMAP R_0=1 A=-2 B=1}", "SWITCH={EXP R_0=1e-300}",
     "SWITCH={}", "SWITCH={CUBIC D_0=3 D_MAX=3}", "R_0=0", "R_0=1", "NN=1e9", "MM=-3", "ARG=c",
     "ARG=,", "ARG=", "SIGMA=1,x", "AT=nan", "TEMP=inf", "ATOMS=1-2:3,c", "GROUPA=1-99999999999999",
     "PACE=5", "FILE=x,y", "FILE=", "REFERENCE=1", "REFERENCE={a b}", "UPDATE_IF", "END",
     "MAXR=1e9", "DUMPGRID", "c:", "\n"]
)  # fmt: skip


@given(st.lists(_WORDS, max_size=25).map(" ".join))
def test_any_text_is_judged_or_refused(text: str) -> None:
    with suppress(InputError):
        plumed_files.check(text)
        plumed_files.read(text)
        plumed_limits.check(text)
        plumed_limits.check_structure(text, SALT)
        plumed_limits.notices(text, SALT, (300.0,))
