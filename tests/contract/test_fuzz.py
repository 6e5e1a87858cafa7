"""What programs and users write is read, or refused in one line, whatever it is."""

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from helpers.fakes import crystal, write_campaign
from helpers.fuzz import fuzz
from helpers.readers import BOMB, READERS
from phasewalk.bias import plumed
from phasewalk.bias.plumed import MetadFiles
from phasewalk.campaign import inputs
from phasewalk.checks import rendering
from phasewalk.errors import InputError, ParseError
from phasewalk.walkers import partitions


@pytest.mark.fuzz
@pytest.mark.parametrize("name", READERS)
def test_any_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    fuzz(READERS[name], folder)


# A string of a campaign file is never a command of LAMMPS or PLUMED, nor a word of a shell.

FULL = """\
campaign: salt
systems:
  salt:
    structure: salt.extxyz
    walkers: 1
    ensemble: npt
    thermostat: langevin
    bias_sharing: merged
    velocities: keep
    plumed: |
      v: VOLUME
      METAD ARG=v SIGMA=0.002 HEIGHT=0.5 PACE=20 LABEL=metad
      PRINT ARG=v
reference: {xtb: {method: GFN1-xTB}, command: [/bin/true, word]}
model:
  preset: tiny
  dtype: float32
  species: [Cl, Na]
  loggers: []
  overrides: {training_module.model.num_features: word}
deploy: {mode: torchscript, device: cpu}
test_data: null
engines:
  lammps: word
  lammps_include: word
  mpiexec: [word]
  plumed_kernel: word
  plugin: word
"""
PLAIN: dict[str, Any] = YAML(typ="safe", pure=True).load(FULL)
HOSTILE = [
    "x\nshell touch evil", 'x" then "shell touch evil', "$(touch evil)", "${evil}", "v_evil &",
    "# evil", "; touch evil", "`touch evil`", "'evil'", "../evil", "{{ evil }}", "{% evil %}",
    "evil\r", "\x1bevil", "evil\u2028", "-evil", "evil x", "$evil", "evil\\",
]  # fmt: skip


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every string of the settings but PLUMED's text, and every key that is a name."""
    items = data.items() if isinstance(data, Mapping) else enumerate(data)
    for key, value in items:
        if isinstance(value, Mapping | list):
            yield from places(value, (*at, key))
        elif (isinstance(value, str) or key == "test_data") and key != "plumed":
            yield (*at, key)


def changed(at: tuple[Any, ...], text: str) -> dict[str, Any]:
    """FULL with another string."""
    data = copy.deepcopy(PLAIN)
    if at == ("name of a system",):
        data["systems"] = {text: data["systems"]["salt"]}
        return data
    inner: Any = data
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = text
    return data


PLACES = [("name of a system",), *places(PLAIN)]


def refused(path: Path) -> str:
    """The one line that a campaign file gets; '' where it is accepted."""
    try:
        inputs.load(path)
    except InputError as error:
        return str(error)
    return ""


def rendered(path: Path) -> dict[str, bytes]:
    """All files of a first segment."""
    campaign = inputs.load(path)
    model = path.parent / "model.nequip.pth"
    model.touch()
    return dict(partitions.files(rendering.first_segment(campaign, model)))


@pytest.mark.parametrize("at", PLACES, ids=lambda at: ".".join(map(str, at)))
def test_no_string_of_a_campaign_becomes_a_command(at: tuple[Any, ...], tmp_path: Path) -> None:
    path = write_campaign(tmp_path, FULL)
    plain = rendered(path)
    for text in HOSTILE:
        path.write_text(json.dumps(changed(at, text)))  # JSON is YAML
        if line := refused(path):
            assert line.isprintable()
            assert str(path) in line
        else:
            found = rendered(path)
            assert found == plain, f"{text!r} changed {[n for n in plain if found[n] != plain[n]]}"


def test_a_hostile_file_name_stays_outside_of_all_decks(tmp_path: Path) -> None:
    """A structure may be called anything that has one line."""
    plain = rendered(write_campaign(tmp_path, FULL))
    name = "$(evil) ; #'& ${x}"
    path = write_campaign(
        tmp_path, FULL.replace("salt.extxyz", f'"{name}.extxyz"'), {name: crystal()}
    )
    assert rendered(path) == plain


# The user's PLUMED text does what it wants, but where hills and variables go is ours.

SHARED = MetadFiles("ours.hills", restart=False, walkers=3, walker_id=1)
EVIL = [
    "m: METAD ARG=v PACE=5 FILE=evil",
    "m: metad arg=v pace=5 file=evil restart=yes walkers_n=9 walkers_dir=../evil",
    "METAD FILE=evil ARG=v PACE=5 LABEL=m FILE=evil2 RESTART RESTART=YES # FILE=evil3",
    "METAD\tARG=v\tPACE=5\tLABEL=m\tFILE=evil\tWALKERS_MPI",
    "m: METAD ...\n  ARG=v FILE=evil # ...\n  PACE=5 WALKERS_ID=7\n... METAD",
    "METAD ...\nLABEL=m FILE={evil\nevil} ARG=v PACE=5\n...",
    "m: ...\nMETAD ARG=v PACE=5 FILE=evil\n...",
    "m: METAD ARG=v PACE=5 FILE=__FILL__ WALKERS_RSTRIDE=__FILL__",
    "m: METAD ARG=v PACE=5 FILE=@replicas:evil,evil2",
    "m: METAD ARG=v PACE=5 FILE=evil\nENDPLUMED\nn: METAD FILE=evil",
    "RESTART\nm: METAD ARG=v PACE=5 WALKERS_DIR=evil",
]
REFUSED = [
    # PLUMED drops braces wherever they stand: to PLUMED 2.11 these are FILE=evil and METAD.
    "m: METAD ARG=v PACE=5 {FILE=evil}",
    "m: METAD ARG=v PACE=5 F{IL}E=evil",
    "m: {METAD} ARG=v PACE=5 FILE=evil",
    "m: ME{TA}D ARG=v PACE=5 FILE=evil",
    "{m:} METAD ARG=v PACE=5 FILE=evil",
    "m: METAD ARG=v PACE=5 RESTART{}=YES",
    "{INCLUDE} FILE=evil",
    "_SET_SUFFIX .evil",
    "INCLUDE FILE=evil",
    "include\tfile=evil",
    "INCLUDE ...\nFILE=evil\n...",
    "x: PLUMED FILE=evil",
    "LOAD FILE=evil.cpp",
]


@pytest.mark.parametrize("line", EVIL)
def test_files_restart_and_walkers_of_metad_are_ours(line: str) -> None:
    text = f"v: VOLUME\n{line}\n"
    new = plumed.rewrite(text, metad={"m": SHARED}, colvars=[])
    metad = plumed.metad_actions(new)["m"]
    ours = [word.text for word in metad.words if word.key in plumed._OURS["METAD"]]
    assert ours == [
        *("FILE=ours.hills", "RESTART=NO", "WALKERS_N=3", "WALKERS_ID=1", "WALKERS_RSTRIDE=5")
    ]
    assert "evil" not in " ".join(word.text for word in metad.words)


@pytest.mark.parametrize("old", ["FILE=evil", "file=evil", "FILE={evil}", "FILE=a\tFILE=evil", ""])
def test_files_of_print_are_ours(old: str) -> None:
    new = plumed.rewrite(f"v: VOLUME\nprint ARG=v {old}\n", metad={}, colvars=["ours.colvar"])
    (_, action) = plumed.parse(new)
    assert [word.text for word in action.words] == ["FILE=ours.colvar", "ARG=v"]


@pytest.mark.parametrize("line", REFUSED)
def test_text_that_would_get_around_us_is_refused(line: str) -> None:
    with pytest.raises(InputError, match="PLUMED text, line 2"):
        plumed.metad_actions(f"v: VOLUME\n{line}\n")


@pytest.mark.parametrize("char", ["\\r", "\\0", "\\x1b", "\\x85", "\\f"])
def test_characters_that_plumed_cannot_read_are_refused(char: str, tmp_path: Path) -> None:
    text = FULL.replace("plumed: |\n", f'plumed: "v: VOLUME{char}"\n', 1)
    kept = [line for line in text.splitlines() if not line.startswith("      ")]
    path = write_campaign(tmp_path, "\n".join(kept))
    with pytest.raises(InputError, match=r"systems\.salt\.plumed: invalid character"):
        inputs.load(path)


# What the fuzzing found, each in its smallest form.


def test_a_dump_whose_second_frame_lost_its_first_line(tmp_path: Path) -> None:
    """It was read as one frame: the step of the first, the atoms of the second."""
    path = tmp_path / "w.dump"
    frames = READERS["dump"].seeds[0].split(b"ITEM: TIMESTEP\n")
    path.write_bytes(b"ITEM: TIMESTEP\n" + frames[1] + frames[2])
    with pytest.raises(ParseError, match=r"'ITEM: NUMBER OF ATOMS' occurs twice") as caught:
        READERS["dump"].read(path)
    assert caught.value.line == 13


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "more than 100000 values"),
        ("model:\n  overrides: &a {b: *a}\n", "more than 100000 values"),
        ('seed: !!int ""\n', "not valid YAML"),
        ("seed: !!bool x\n", "not valid YAML"),
        (f"seed: 0x{'f' * 5000}\n", "seed: "),
        (f"{'x' * 400}: 1\n", "unknown key"),
        ('test_data: "a\\nb"\n', "test_data: invalid character"),
        (f"test_data: {'x' * 300}\n", "test_data: "),
        (f"model: {{overrides: {{a: {'[' * 99}{']' * 99}}}}}\n", "nested more than 50 times"),
    ],
)
def test_settings_that_were_no_mere_mistake(text: str, reason: str, tmp_path: Path) -> None:
    path = write_campaign(tmp_path)
    path.write_text(path.read_text() + text)
    with pytest.raises(InputError) as caught:
        inputs.load(path)
    message = str(caught.value)
    assert reason in message
    assert message.isprintable()
    assert len(message) < 1000 + 2 * len(str(path))


def test_aliases_that_end_are_welcome(tmp_path: Path) -> None:
    text = FULL.replace("overrides: {", "overrides: {a: &a [1, 2], b: [*a, *a], ")
    assert rendered(write_campaign(tmp_path, text))
