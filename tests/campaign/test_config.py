"""campaign.yaml → settings; every mistake is one line that says where and what to do."""

import json
import re
from pathlib import Path
from typing import Any

import ase.io
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from helpers.fakes import MIL53, SALT, FakeLauncher, crystal, label, write_campaign
from phasewalk.campaign import config, inputs
from phasewalk.errors import InputError
from phasewalk.structures.structure import fingerprint, read_structure

BASE = "campaign: salt\nsystems:\n  salt:\n    structure: salt.extxyz\n"


def refused(text: str) -> str:
    """The one line that a text gets."""
    with pytest.raises(InputError) as caught:
        config.parse(text, "c.yaml")
    message = str(caught.value)
    assert message.startswith("c.yaml")
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def refused_file(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        inputs.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_shortest_campaign() -> None:
    settings = config.parse(BASE, "c.yaml")
    assert (settings.rounds, settings.systems["salt"].walkers) == (3, 4)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BASE + "round: 3\n", "round: unknown key; did you mean rounds?"),
        (BASE + "    walker: 3\n", "systems.salt.walker: unknown key; did you mean walkers?"),
        (BASE + "segment: {step: 3}\n", "segment.step: unknown key; did you mean steps?"),
        (
            BASE + "model: {final: {budget: {epoch: 1, learning_rate: 0.1}}}\n",
            "model.final.budget.epoch: unknown key; did you mean epochs? (and 1 more)",
        ),
        (BASE + "deploy: {xyz: 1}\n", "deploy.xyz: unknown key; known here: mode, device"),
        ("systems: {a: {structure: x}}\n", "campaign: is required"),
        ("campaign: x\n", "systems: is required"),
        ("campaign: x\nsystems: {}\n", "systems: needs at least 1 entry"),
        ("campaign: x\nsystems: {a: {}}\n", "systems.a.structure: is required"),
        ("campaign: a/b\nsystems: {a: {structure: x}}\n", "(got 'a/b')"),
        (
            "campaign: x\nsystems: {'../x': {structure: x}}\n",
            "systems: the name '../x': use at most 40 letters, digits",
        ),
        (BASE + "rounds: many\n", "rounds: must be a whole number (got 'many')"),
        (BASE + "rounds: -1\n", "rounds: must be at least 0 (got -1)"),
        (BASE + "    temperature_K: -300\n", "temperature_K: must be greater than 0 (got -300)"),
        (BASE + "    temperature_K: .nan\n", "temperature_K: must be a finite number"),
        (
            BASE + "    temperature_K: 300 K\n",
            "temperature_K: must be a number, without quotes or unit",
        ),
        (BASE + "segment: {timestep_fs: 0}\n", "timestep_fs: must be greater than 0 (got 0)"),
        (BASE + "segment: {timestep_fs: .inf}\n", "timestep_fs: must be a finite number"),
        (BASE + "segment: {timestep_ps: 0.001}\n", "unknown key; did you mean timestep_fs?"),
        (BASE + "segment: [1]\n", "segment: must contain `key: value` lines (steps, timestep_fs,"),
        (BASE + "    ensemble: nve\n", "ensemble: must be nvt or npt (got 'nve')"),
        (BASE + "    pressure_MPa: 0\n", "has no meaning at constant volume"),
        (BASE + "model: {species: [Xx]}\n", "'Xx' is not an element"),
        (BASE + "bootstrap: {strain: 0.9}\n", "strain: must be at most 0.3 (got 0.9)"),
        (
            BASE + "reference: {command: xtb --x}\n",
            "command: must be a list: [xtb, --x] (got 'xtb --x')",
        ),
        (
            BASE + "reference: {xtb: {method: PBE}}\n",
            "must be GFN1-xTB or GFN2-xTB (got 'PBE')",
        ),
        (BASE + "reference: {cp2k: {}, xtb: {}}\n", "xtb and cp2k are given; give only one"),
        (BASE + "model: {overrides: {a: 2001-01-01}}\n", "neither text nor a number"),
        (BASE + 'test_data: "\\ud800"\n', "neither text nor a number"),
        (BASE + "1: 2\n", "1: is not a key; keys are text"),
        (
            "campaign: my salt\n",
            "campaign: use at most 40 letters, digits, - and _, starting with a letter",
        ),
        ("campaign: 3\n", "campaign: must be text; put it in quotes (got 3)"),
        (
            BASE + "  my salt: {structure: x}\n",
            "systems: the name 'my salt': use at most 40 letters",
        ),
        (BASE + "  1: {structure: x}\n", "systems: the name 1: put it in quotes"),
        (
            "campaign: x\nsystems: x.cif\n",
            "systems: must contain `name: value` lines (got 'x.cif')",
        ),
        (BASE + "  b:\n", "systems.b: is empty; add `key: value` lines (structure, walkers"),
        (BASE + "    ensemble: NPT\n", "nvt or npt; it is case-sensitive (got 'NPT')"),
        (BASE + "    walkers: '2'\n", "must be a whole number, without quotes or unit"),
        (BASE + "rounds: 1e3\n", "rounds: must be a whole number; write 1000 (got 1000.0)"),
        (BASE + "model: {species: Na}\n", "model.species: must be a list: [Na] (got 'Na')"),
        (BASE + "model: {species: [1]}\n", "model.species, entry 1: must be text"),
        (
            BASE + "model: {final: false}\n",
            "must contain `key: value` lines (from_scratch, budget)",
        ),
        (BASE + "reference: xtb\n", "reference: must contain `key: value` lines (xtb, cp2k,"),
        (BASE + "reference: {ase: {calculator: gpaw}}\n", "an import path, as in gpaw.GPAW"),
        (BASE + "reference: {function: {function: a}}\n", "write module:function, as in"),
        (BASE + "    plumed: 3\n", "plumed: must be text; put it in quotes (got 3)"),
        (BASE + "segment: {sentinel: 1}\n", "sentinel: must be true or false (got 1)"),
    ],
)
def test_mistakes_in_the_settings(text: str, reason: str) -> None:
    assert reason in refused(text)
    assert not re.search(r"\^\[|Input should|String should|instance of|\[key\]", refused(text))


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("rounds: 1", "\trounds: 1", 2, "a tab; indent with spaces"),
        ("    walkers: 2", "   walkers: 2", 6, "indented differently"),
        ("    walkers: 2", "      walkers: 2", 6, "unexpected ': '; keys of one group begin"),
        ("    walkers: 2", "    - walkers: 2", 6, "an entry of a list (-) between keys"),
        ("structure: x", "structure: a: b", 5, "unexpected ': '; keys of one group begin"),
        ("rounds: 1", "rounds 1", 2, "no ': ' after the key"),
        ("rounds: 1", "rounds:1", 2, "no ': ' after the key"),
        ("rounds: 1", "bootstrap: {count: 8", 2, "no }, or a comma is missing"),
        ("rounds: 1", 'rounds: "1', 2, "a quote is not closed"),
        ("structure: x", 'structure: "x" y', 5, "text after a closing quote"),
        ("structure: x", "structure: @x", 5, "put a value that begins with @ in quotes"),
        ("structure: x", "structure: *x", 5, "*x refers to nothing"),
        ("rounds: 1", "rounds: 1\nrounds: 2", 3, "rounds is given twice"),
        ("rounds: 1", "<<: 1", 2, "<<: needs a group of keys"),
        ("rounds: 1", "rounds: !!python/name:os.system x", 2, "remove the tag !!python/name:os"),
        ("rounds: 1", 'rounds: !!int ""', 2, "the value does not fit the tag !!int"),
        ("rounds: 1", "rounds: 1\n---\na: b\n...", 3, "a second document begins"),
        ("rounds: 1", f"rounds: 1{'0' * 5000}", 2, "a number of more than 4300 digits"),
        ("rounds: 1", "rounds: 1\a", 2, "remove the control character U+0007"),
    ],
)
def test_mistakes_in_yaml_are_named_with_their_line(
    old: str, new: str, line: int, words: str
) -> None:
    text = "campaign: c\nrounds: 1\nsystems:\n  a:\n    structure: x\n    walkers: 2\n"
    assert old in text
    told = refused(text.replace(old, new))
    assert f", line {line}: not valid YAML: {words}" in told
    assert "\n" not in told


def test_an_anchor_that_is_given_twice_is_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown key" in refused(BASE + "x: &a 1\ny: &a 2\n")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected `key: value` lines, found nothing"),
        ("# nothing\n", "found nothing"),
        ("- a\n- b\n", "found a list"),
        ("words", "found a value"),
        (BASE + "rounds: 3\nrounds: 4\n", "rounds is given twice"),
        (BASE + "    walkers: 1\n    walkers: 2\n", "walkers is given twice"),
        (BASE + "rounds: [1\n", "not valid YAML"),
        (BASE + "\trounds: 1\n", "not valid YAML"),
        (BASE + "rounds: !!python/object:os.system x\n", "not valid YAML"),
        ("a: &a [*a]\n", "unknown key"),
        ("x\0y: 1\n", "not valid YAML"),
        (BASE + '"two\\nlines": 1\n', "unknown key"),
    ],
)
def test_what_is_no_campaign_at_all(text: str, reason: str) -> None:
    assert reason in refused(text)


def test_a_yaml_mistake_names_its_line() -> None:
    assert refused(BASE + "rounds: 3\nrounds: 4\n").startswith("c.yaml, line 6: ")


PLUMED = "    plumed: |\n"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["d: DISTANCE ATOMS={1,2"], "is not closed"),
        (["METAD ARG=d PACE=often SIGMA=1 HEIGHT=1 FILE=HILLS"], "PACE=often"),
        (["d: DISTANCE ...", "  ATOMS=1,2"], "is not closed"),
        (["INCLUDE FILE=secret.dat"], "copy the content of the file"),
        (["v: VOLUME", "METAD ARG=v PACE=5 SIGMA=1 HEIGHT=1"], "biases the cell, which is fixed"),
        (["c: CELL", "RESTRAINT ARG=c.ax AT=5 KAPPA=1"], "ensemble nvt"),
    ],
)
def test_plumed_text_that_cannot_be_used(lines: list[str], reason: str) -> None:
    text = BASE + PLUMED + "".join(f"      {line}\n" for line in lines)
    message = refused(text)
    assert "systems.salt" in message
    assert reason in message


def test_the_same_bias_on_the_cell_is_fine_where_the_cell_moves() -> None:
    text = (
        BASE
        + "    ensemble: npt\n"
        + PLUMED
        + "      v: VOLUME\n      RESTRAINT ARG=v AT=5 KAPPA=1\n"
    )
    assert config.parse(text, "c").systems["salt"].pressure_MPa is None


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
names = st.sampled_from(
    ["campaign", "systems", "rounds", "seed", "model", "segment", "structure", "walkers",
     "plumed", "final", "budget", "overrides", "species", "command", "x"]
) | st.text(max_size=3)  # fmt: skip
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)


def settings_or_one_line(text: str) -> None:
    try:
        config.parse(text, "c.yaml")
    except InputError as error:
        message = str(error)
    else:
        return
    assert "\n" not in message
    assert "\r" not in message


@given(st.text())
def test_any_text_is_settings_or_one_line(text: str) -> None:
    settings_or_one_line(text)


@given(st.text(alphabet="ab1: -\n\t{}[]&*!|>'\"%@`,?#.e~=<\x85\u2028"))
def test_any_yaml_like_text_is_settings_or_one_line(text: str) -> None:
    settings_or_one_line(text)


@given(st.dictionaries(names, trees, max_size=5))
def test_any_tree_is_settings_or_one_line(tree: dict[str, Any]) -> None:
    settings_or_one_line(json.dumps(tree))


@given(st.text(), st.sampled_from(["plumed", "structure", "temperature_K", "walkers"]))
def test_any_value_is_settings_or_one_line(value: str, key: str) -> None:
    system = {"structure": "x", key: value}
    settings_or_one_line(json.dumps({"campaign": "x", "systems": {"a": system}}))


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    assert "no such file" in refused_file(tmp_path / "none.yaml")
    assert "cannot be read" in refused_file(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"campaign: \xff\xfe")
    assert "cannot be read: line 1 is not UTF-8 text" in refused_file(tmp_path / "bytes.yaml")


def test_a_whole_campaign(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s "here"'
    folder.mkdir()
    found = inputs.load(write_campaign(folder))
    assert found.text == SALT
    assert found.types == ("Cl", "Na")
    assert found.walkers == 2
    assert fingerprint(found.structures["salt"]) == fingerprint(crystal())
    assert found.cell_multiples == {"salt": 4}
    assert found.test_data == ()
    assert found.cores >= 1


def test_the_identity_is_json_and_sees_what_must_not_change(tmp_path: Path) -> None:
    before = inputs.load(write_campaign(tmp_path)).identity()
    assert json.loads(json.dumps(before)) == before
    same = SALT + "rounds: 9\nsegment: {steps: 7}\nmodel: {warm: {epochs: 1, learning_rate: 0.1}}\n"
    assert inputs.load(write_campaign(tmp_path, same)).identity() == before
    for text in (
        SALT + "seed: 2\n",
        SALT + "model: {preset: tiny}\n",
        SALT + "model: {species: [Na, Cl, K]}\n",
        SALT + "reference: {xtb: {electronic_temperature_K: 0}}\n",
        SALT + "model: {overrides: {training_module.model.num_features: 24}}\n",
        SALT.replace("campaign: salt", "campaign: pepper"),
    ):
        assert inputs.load(write_campaign(tmp_path, text)).identity() != before


def test_an_unreadable_structure_names_the_system(tmp_path: Path) -> None:
    path = write_campaign(tmp_path)
    (tmp_path / "salt.extxyz").write_text("2\nnothing\n")
    assert "systems.salt: structure" in refused_file(path)
    (tmp_path / "salt.extxyz").unlink()
    assert "no such file" in refused_file(path)


def test_a_species_that_the_model_would_lack(tmp_path: Path) -> None:
    message = refused_file(write_campaign(tmp_path, SALT + "model: {species: [Na, K]}\n"))
    assert "model.species does not contain Cl" in message


def test_more_species_than_the_structures_hold(tmp_path: Path) -> None:
    path = write_campaign(tmp_path, SALT + "model: {species: [Na, K, Cl, Na]}\n")
    assert inputs.load(path).types == ("Cl", "K", "Na")


def test_more_walkers_than_slots(tmp_path: Path) -> None:
    text = SALT.replace("walkers: 2", "walkers: 5") + "resources: {cores: 2}\n"
    message = refused_file(write_campaign(tmp_path, text))
    assert "5 walkers, but 2 core(s) × 2 (resources.walkers_per_core) allow 4" in message
    inputs.load(write_campaign(tmp_path, text.replace("walkers: 5", "walkers: 4")))


RANKS = "resources: {cores: 2, walkers_per_core: 2, ranks_per_walker: 4}\n"


def test_ranks_of_walkers_count(tmp_path: Path) -> None:
    message = refused_file(write_campaign(tmp_path, SALT + RANKS))
    assert (
        "2 walkers of 4 MPI ranks (resources.ranks_per_walker), but 2 core(s) × 2 "
        "(resources.walkers_per_core) allow 1; use fewer walkers, or fewer ranks of each, or "
    ) in message
    inputs.load(write_campaign(tmp_path, SALT.replace("walkers: 2", "walkers: 1") + RANKS))
    alone = RANKS.replace("walkers_per_core: 2, ", "")  # each rank has a core of its own
    message = refused_file(write_campaign(tmp_path, SALT + alone))
    assert "but 2 core(s) × 1 (resources.walkers_per_core) allow 0" in message
    message = refused_file(write_campaign(tmp_path, SALT + RANKS.replace("4", "9")))
    assert "resources.ranks_per_walker: 9, but systems.salt has 8 atoms" in message


@pytest.mark.parametrize(
    ("launcher", "device", "words"),
    [
        (FakeLauncher(cores=1), "auto", r"4 MPI ranks .*but 1 core\(s\) × 2 .* allow 2"),
        (FakeLauncher(cores=8, walker_gpus=2), "auto", r"a GPU of its own, but .*launch .* has 2 "),
        (FakeLauncher(cores=8, walker_gpus=2), "cpu", None),
        (FakeLauncher(cores=8, walker_gpus=4), "cuda", None),
        (FakeLauncher(cores=8, walker_gpus=0), "auto", None),
        (FakeLauncher(cores=8), "cuda", None),
        (FakeLauncher(cores=3, here=False), "auto", None),
    ],
)
def test_one_walker_on_the_cores_and_gpus_of_a_launcher(
    tmp_path: Path, launcher: FakeLauncher, device: str, words: str | None
) -> None:
    text = f"{SALT}{RANKS.replace('cores: 2, ', '')}deploy: {{device: {device}}}\n"
    found = inputs.load(write_campaign(tmp_path, text))
    if words is None:
        return config.check_launches(found.settings, launcher, found.path)
    with pytest.raises(InputError, match=words):
        config.check_launches(found.settings, launcher, found.path)
    return None


def test_launches_are_divided_by_ranks(tmp_path: Path) -> None:
    text = SALT.replace("walkers: 2", "walkers: 9") + RANKS.replace("cores: 2, ", "")
    settings = inputs.load(write_campaign(tmp_path, text)).settings
    assert config.most_walkers(settings, FakeLauncher(cores=8, here=False)) == 4
    assert config.most_walkers(settings, FakeLauncher(cores=8, here=False, walkers=3)) == 3
    assert config.most_walkers(settings, FakeLauncher(cores=8)) is None


def test_a_bootstrap_that_leaves_nothing_to_validate_on(tmp_path: Path) -> None:
    text = SALT + "bootstrap: {count: 7}\n"
    message = refused_file(write_campaign(tmp_path, text))
    assert "bootstrap.count gives 7 labels" in message
    inputs.load(write_campaign(tmp_path, text + "validation_every: 7\n"))


def systems(*names: str, more: str = "") -> str:
    lines = [f"  {name}: {{structure: {name}.extxyz, walkers: 1{more}}}" for name in names]
    return "campaign: two\nresources: {cores: 2}\nsystems:\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("rattle", [0.0, 0.1])
def test_the_same_crystal_in_two_sizes_is_refused(tmp_path: Path, rattle: float) -> None:
    """Γ-point labels of 38 and of 76 atoms are two levels of theory; noise hides no symmetry."""
    small = read_structure(MIL53)
    large = small.repeat((1, 1, 2))
    if rattle:
        small.rattle(rattle, seed=1)
        large.rattle(rattle, seed=2)
    for names in (("small", "large"), ("large", "small")):
        path = write_campaign(tmp_path, systems(*names), {"small": small, "large": large})
        message = refused_file(path)
        assert "another level of theory" in message
        assert "cell_multiple" in message
    declared = systems("small", "large", more=", cell_multiple: 1")
    inputs.load(write_campaign(tmp_path, declared, {"small": small, "large": large}))


def test_two_different_systems_share_one_model(tmp_path: Path) -> None:
    salts = {"rock": crystal(), "potash": crystal("KCl", 6.29)}
    found = inputs.load(write_campaign(tmp_path, systems("rock", "potash"), salts))
    assert found.types == ("Cl", "K", "Na")
    assert found.cell_multiples == {"rock": 4, "potash": 4}


def test_different_crystals_may_have_cells_of_different_multiples(tmp_path: Path) -> None:
    salts = {"rock": crystal(), "potash": crystal("KCl", 6.29).repeat((1, 1, 2))}
    found = inputs.load(write_campaign(tmp_path, systems("rock", "potash"), salts))
    assert found.cell_multiples == {"rock": 4, "potash": 8}


def test_a_distorted_supercell_is_not_taken_for_another_crystal(tmp_path: Path) -> None:
    distorted = crystal().repeat((1, 1, 2))
    distorted.rattle(0.3, seed=1)
    salts = {"one": crystal(), "two": distorted}
    assert "same composition" in refused_file(
        write_campaign(tmp_path, systems("one", "two"), salts)
    )


def write_test_data(folder: Path, atoms: Atoms | None = None, **values: Any) -> Path:
    ase.io.write(folder / "test.extxyz", label(atoms, **values).with_results())
    return write_campaign(folder, SALT + "test_data: test.extxyz\n")


def test_test_data(tmp_path: Path) -> None:
    (found,) = inputs.load(write_test_data(tmp_path)).test_data
    assert found.energy == pytest.approx(label().energy)


def test_test_data_with_a_species_that_the_model_lacks(tmp_path: Path) -> None:
    path = write_test_data(tmp_path, crystal("KCl", 6.29))
    assert "test_data contains K, which is not a species of the model" in refused_file(path)


def test_test_data_that_is_none(tmp_path: Path) -> None:
    path = write_campaign(tmp_path, SALT + "test_data: none.extxyz\n")
    assert "test_data: " in refused_file(path)
