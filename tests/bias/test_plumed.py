"""The user's PLUMED text: what is read from it, what is changed in it, what is refused."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasewalk.bias import plumed
from phasewalk.bias.plumed import MetadFiles
from phasewalk.errors import InputError

MIL53 = """# cell volume of MIL-53(Al)
UNITS LENGTH=A ENERGY=kj/mol TIME=fs
vol: VOLUME
metad: METAD ARG=vol SIGMA=12 HEIGHT=2.0 PACE=50 FILE=HILLS  # untempered
UPPER_WALLS ARG=vol AT=860 KAPPA=0.02 LABEL=up
PRINT ARG=vol,metad.bias STRIDE=10 FILE=COLVAR
"""
BLOCK = """d: DISTANCE ATOMS=1,2
METAD ...
  ARG=d
  SIGMA=0.1   HEIGHT={1.0}
  PACE=5 RESTART=YES walkers_n=4 WALKERS_ID=2
  FILE=old
... METAD
c: CUSTOM ...
  ARG=d FUNC={ 3*x
  + 1 } PERIODIC=NO
...
"""


def test_actions_have_names_labels_values_and_lines() -> None:
    units, volume, metad, walls, _ = plumed.parse(MIL53)
    assert (units.name, units.get("ENERGY"), units.line) == ("UNITS", "kj/mol", 2)
    assert (volume.name, volume.label) == ("VOLUME", "vol")
    assert (metad.label, metad.get("SIGMA"), metad.line) == ("metad", "12", 4)
    assert walls.label == "up"
    assert walls.get("STRIDE") is None


def test_blocks_and_braces_span_lines() -> None:
    _, metad, custom = plumed.parse(BLOCK)
    assert (metad.get("HEIGHT"), metad.get("WALKERS_N")) == ("1.0", "4")
    assert custom.get("FUNC") == "3*x + 1"


def test_names_and_keys_in_lower_case_and_the_last_of_two_counts() -> None:
    (action,) = plumed.parse("x: metad arg=d file=A file=B flag")
    assert (action.name, action.get("FILE"), action.get("FLAG")) == ("METAD", "B", "")


def test_text_after_endplumed_is_not_read() -> None:
    assert [action.name for action in plumed.parse("v: VOLUME\nENDPLUMED\nINCLUDE {")[:1]] == [
        "VOLUME"
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("v: VOLUME\nINCLUDE FILE=more.dat", "line 2, INCLUDE: not supported"),
        ("LOAD FILE=cv.cpp", "compiled libraries"),
        ("LOAD FILE=x;rm.so", "compiled libraries"),
        ("v: CUSTOM FUNC={x", "line 1: '{' is not closed"),
        ("a\nv: CUSTOM FUNC=x}", "line 2: '}' without '{'"),
        ("\nMETAD ...\nARG=v", "line 2: the block after"),
        ("...\n...", "without an action"),
        ("v:", "nothing follows"),
    ],
)
def test_text_that_cannot_be_kept_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match="PLUMED text") as error:
        plumed.parse(text)
    assert words in str(error.value)


@given(st.text("METAD:v={}.#\n \t…AR"))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InputError):
        plumed.check_same_physics(text, text)
        plumed.metad_actions(text)


def test_each_metad_has_a_key() -> None:
    text = "METAD ARG=v PACE=5\nb: METAD ARG=v PACE=6\nMETAD ARG=v PACE=7"
    keys = {key: plumed.pace(action) for key, action in plumed.metad_actions(text).items()}
    assert keys == {"metad1": 5, "b": 6, "metad3": 7}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("PBMETAD ARG=v", "cannot be continued"),
        ("opes_metad ARG=v", "cannot be continued"),
        ("ABMD ARG=v", "cannot be continued"),
        ("METAD ARG=v PACE=5 GRID_RFILE=g", "GRID_RFILE is not supported"),
        ("METAD ARG=v PACE=0", "must be an integer"),
        ("METAD ARG=v", "PACE=(missing)"),
        ("a/b: METAD ARG=v PACE=5", "letters, digits"),
        ("m: METAD ARG=v PACE=5\nm: METAD ARG=v PACE=5", "used twice"),
    ],
)
def test_a_bias_that_cannot_be_carried_is_refused(line: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        plumed.metad_actions(f"v: VOLUME\n{line}\n")
    assert words in str(error.value)
    assert "line 2" in str(error.value) or "line 3" in str(error.value)


def test_rewrite_changes_its_own_words_alone() -> None:
    new = plumed.rewrite(
        MIL53, metad={"metad": MetadFiles("w.hills", restart=True)}, colvars=["w.colvar"]
    )
    assert new == MIL53.replace(
        "METAD ARG=vol SIGMA=12 HEIGHT=2.0 PACE=50 FILE=HILLS",
        "METAD FILE=w.hills RESTART=YES ARG=vol SIGMA=12 HEIGHT=2.0 PACE=50",
    ).replace(
        "PRINT ARG=vol,metad.bias STRIDE=10 FILE=COLVAR",
        "PRINT FILE=w.colvar ARG=vol,metad.bias STRIDE=10",
    )


def test_rewrite_in_a_block_replaces_the_users_walkers() -> None:
    files = MetadFiles("s.hills", restart=False, walkers=3, walker_id=1)
    new = plumed.rewrite(BLOCK, metad={"metad1": files}, colvars=[])
    metad = plumed.metad_actions(new)["metad1"]
    words = {word.key: word.value for word in metad.words}
    assert words == {
        "FILE": "s.hills", "RESTART": "NO", "WALKERS_N": "3", "WALKERS_ID": "1",
        "WALKERS_RSTRIDE": "5", "ARG": "d", "SIGMA": "0.1", "HEIGHT": "1.0", "PACE": "5",
    }  # fmt: skip
    assert new.endswith(BLOCK[BLOCK.index("... METAD") :])
    plumed.check_same_physics(BLOCK, new)


def test_rewrite_is_stable() -> None:
    files = {"metad": MetadFiles("w.hills", restart=True, mpi=True)}
    once = plumed.rewrite(MIL53, metad=files, colvars=["c"])
    assert plumed.rewrite(once, metad=files, colvars=["c"]) == once
    assert "WALKERS_MPI" in once


def test_physics_ignores_layout_comments_and_our_words() -> None:
    other = """units time=fs LENGTH=A ENERGY=kj/mol
VOLUME LABEL=vol

metad: METAD ...
   PACE=50 HEIGHT=2.0 SIGMA=12 ARG=vol RESTART=YES FILE=x
...
up: UPPER_WALLS KAPPA=0.02 ARG=vol AT=860 # wall
"""
    plumed.check_same_physics(MIL53, other)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SIGMA=12", "SIGMA=13"),
        ("TIME=fs", "TIME=ps"),
        ("SIGMA=12", "SIGMA=12 BIASFACTOR=10 TEMP=300"),
        ("SIGMA=12", "SIGMA=12 GRID_MIN=0 GRID_MAX=900"),
        ("vol: VOLUME", "vol: DISTANCE ATOMS=1,2"),
        ("metad: METAD", "other: METAD"),
        ("UNITS LENGTH=A ENERGY=kj/mol TIME=fs\n", ""),
    ],
)
def test_what_gives_recorded_hills_their_meaning_may_not_change(old: str, new: str) -> None:
    with pytest.raises(InputError, match="recorded hills depend on it"):
        plumed.check_same_physics(MIL53, MIL53.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("HEIGHT=2.0 PACE=50", "PACE=100 HEIGHT=1.0"),
        ("AT=860", "AT=900"),
        ("STRIDE=10", "STRIDE=1"),
        ("PRINT", "d: DISTANCE ATOMS=1,2\nsecond: METAD ARG=d SIGMA=1 HEIGHT=1 PACE=5\nPRINT"),
    ],
)
def test_the_rest_may_change(old: str, new: str) -> None:
    plumed.check_same_physics(MIL53, MIL53.replace(old, new))


def test_a_changed_variable_is_found_through_functions() -> None:
    text = (
        "d: DISTANCE ATOMS=1,2\nc: CUSTOM ARG=d FUNC=x PERIODIC=NO\nm: METAD ARG=c SIGMA=1 PACE=5"
    )
    with pytest.raises(
        InputError, match=r"'d: DISTANCE ATOMS=1,2' changed to 'd: DISTANCE ATOMS=1,3'"
    ):
        plumed.check_same_physics(text, text.replace("1,2", "1,3"))


@pytest.mark.parametrize(
    ("bias", "found"),
    [
        ("METAD ARG=v PACE=5", "METAD on line 6"),
        ("RESTRAINT ARG=c", "RESTRAINT on line 6"),
        ("UPPER_WALLS ARG=k.ax AT=3", "UPPER_WALLS on line 6"),
        ("METAD ARG=* PACE=5", "METAD on line 6"),
        ("METAD ARG=d PACE=5", None),
        ("PRINT ARG=v", None),
    ],
)
def test_a_bias_on_the_cell_is_found(bias: str, found: str | None) -> None:
    text = (
        "v: VOLUME\nk: CELL\nd: DISTANCE ATOMS=1,2\n"
        "f: CUSTOM ARG=v,d FUNC=x*y PERIODIC=NO\nc: COMBINE ARG=f PERIODIC=NO\n"
    )
    assert plumed.bias_on_cell(text + bias) == found


@pytest.mark.parametrize(
    ("line", "unit"),
    [("", 1.0), ("UNITS TIME=fs", 1e-3), ("UNITS LENGTH=A", 1.0), ("UNITS TIME=0.5", 0.5)],
)
def test_time_unit(line: str, unit: float) -> None:
    assert plumed.time_unit_ps(line) == unit


@pytest.mark.parametrize("line", ["UNITS TIME=fortnight", "UNITS NATURAL", "UNITS TIME=0"])
def test_time_units_that_have_no_meaning(line: str) -> None:
    with pytest.raises(InputError, match="line 1, UNITS"):
        plumed.time_unit_ps(line)
