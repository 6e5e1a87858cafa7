"""An exported folder: what it holds, what its README says, and that it is there whole or not."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import fake_campaign
from helpers.fake_campaign import FakeCampaign
from helpers.fake_engines import FakeEngines
from helpers.fakes import FakeLauncher
from phasewalk.engines import here
from phasewalk.errors import InputError, Interrupted, ParseError, StoreError
from phasewalk.exports import Exported, export, folder
from phasewalk.jobs import Finished, Job
from phasewalk.models import model
from phasewalk.store import directory

FINAL = "{budget: {epochs: 2, learning_rate: 0.01}}"
FAST, SLOW = "model.nequip.pt2", "model.nequip.pth"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FakeCampaign:
    place = tmp_path_factory.mktemp("export")
    programs = FakeEngines(machine=replace(here(), has_compiler=True))
    campaign = fake_campaign.make(place / "a", mode="auto", final=FINAL, programs=programs)
    campaign.run()
    return campaign


def packaged(job: Job) -> int:
    """Plays nequip-package."""
    assert (job.directory / "train.extxyz").read_bytes().count(b"Lattice=") == 4
    assert Path(job.argv[-2]).name == "checkpoint.ckpt"
    (job.directory / job.argv[-1]).write_bytes(b"a package")
    return 0


def refused(job: Job) -> int:
    (job.directory / Finished.STDERR).write_text("it cannot be packaged\n")
    return 1


def exported(
    made: FakeCampaign, place: Path, *, play: object = packaged, generation: str | None = None
) -> Exported:
    launcher = FakeLauncher(play)  # type: ignore[arg-type]
    output = place / "salt-potential"
    return export(made.root, output, generation=generation, launcher=launcher, place=place)


def test_it_has_both_forms_with_stamps_the_package_the_plugin_and_examples(
    made: FakeCampaign, tmp_path: Path
) -> None:
    found = exported(made, tmp_path)
    assert (found.generation, found.files, found.missing) == ("final", (FAST, SLOW), "")
    for name, mode in ((FAST, "aotinductor"), (SLOW, "torchscript")):
        there = made.root / f"models/final/{mode}-cpu" / name
        assert (found.folder / name).read_bytes() == there.read_bytes()
        stamp = model.read_stamp(found.folder / f"{name}.json")
        assert (stamp.file, stamp.mode) == (name, mode)
        model.check_unchanged(found.folder / name, stamp)
    assert (found.folder / "model.nequip.zip").read_bytes() == b"a package"
    assert (found.folder / "plugin/CMakeLists.txt").is_file()
    assert (found.folder / "plugin/plugin/pair_nequip.cpp").is_file()
    names = {path.name for path in found.folder.iterdir()}
    assert names == {
        *(FAST, f"{FAST}.json", SLOW, f"{SLOW}.json", "model.nequip.zip", "plugin", "README.md"),
        *("potential.lmp", "example.lmp", "example.data", "example_ase.py", "example.extxyz"),
    }
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_lammps_lines(made: FakeCampaign, tmp_path: Path) -> None:
    text = (exported(made, tmp_path).folder / "potential.lmp").read_text()
    assert "variable potential index .\n" in text
    assert f"variable form index {FAST}\n" in text
    assert "pair_coeff * * ${potential}/${form} Cl Na\n" in text


def test_the_readme_says_what_a_colleague_must_know(made: FakeCampaign, tmp_path: Path) -> None:
    text = (exported(made, tmp_path).folder / "README.md").read_text()
    for known in (
        "| types, in this order | Cl Na |",
        "`units metal`",
        "| cutoff | 4 Å",
        "GFN1-xTB (tblite",
        "electronic_temperature_K: 300",
        "On the new frames of round 1, of generation 0, before it was trained on them:",
        "forces: MAE",
        "NaCl: npt, 100 K",
        "explored by the walkers, NaCl: vol",
        "What it must not be used for",
        "a bond of the start structure broke",
        "cmake -S plugin",
        "include salt-potential/potential.lmp",
        "nequip-compile model.nequip.zip mine.nequip.pt2 --mode aotinductor",
        "lmp -in example.lmp -var form mine.nequip.pt2",
        "checkpoint.ckpt --mode aotinductor --target ranks -o model.exchange.nequip.pt2`",
        "python example_ase.py",
    ):
        assert known in text, known
    assert "{" not in text.replace("${", "")
    assert "\n\n\n" not in text
    for name in re.findall(r"^\| `(\S+?)`", text, re.M):
        assert (tmp_path / "salt-potential" / name).exists(), name


def test_it_has_the_files_for_several_ranks_if_there_are_any(tmp_path: Path) -> None:
    several = fake_campaign.make(tmp_path / "a", more="resources: {ranks_per_walker: 2}")
    several.run()
    found = exported(several, tmp_path)
    name = "model.exchange.nequip.pth"
    kept = several.root / f"models/gen-001/torchscript-cpu/{name}"
    assert (found.folder / name).read_bytes() == kept.read_bytes()
    stamp = model.read_stamp(found.folder / f"{name}.json")
    one = model.read_stamp(found.folder / "model.nequip.pth.json")
    assert (stamp.file, stamp.checkpoint) == (name, one.checkpoint)
    model.check_unchanged(found.folder / name, stamp)
    text = (found.folder / "README.md").read_text()
    assert f"On several MPI ranks, also with partitions, LAMMPS uses {name}, which" in text
    assert "--target ranks" not in text


def test_where_packaging_fails_it_has_the_checkpoint(made: FakeCampaign, tmp_path: Path) -> None:
    found = exported(made, tmp_path, play=refused)
    assert "it cannot be packaged" in found.missing
    kept = made.root / "models/final/checkpoint.ckpt"
    assert (found.folder / "checkpoint.ckpt").read_bytes() == kept.read_bytes()
    assert "phasewalk deploy checkpoint.ckpt" in (found.folder / "README.md").read_text()


def test_an_earlier_generation_has_the_form_that_it_was_deployed_in(
    made: FakeCampaign, tmp_path: Path
) -> None:
    found = exported(made, tmp_path, generation="0")
    assert (found.generation, found.files) == ("0", (SLOW,))
    assert FAST not in (found.folder / "potential.lmp").read_text()


def test_what_exists_is_not_overwritten(made: FakeCampaign, tmp_path: Path) -> None:
    (tmp_path / "salt-potential").mkdir()
    with pytest.raises(InputError, match=r"-o .*salt-potential: exists; give another folder"):
        exported(made, tmp_path)


def test_bad_input_is_one_line_and_nothing_is_written(made: FakeCampaign, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--generation 7: not found; the campaign has 0, 1, final"):
        exported(made, tmp_path, generation="7")
    with pytest.raises(InputError, match="its folder does not exist"):
        exported(made, tmp_path / "none")
    with pytest.raises(StoreError, match="not a campaign directory"):
        export(tmp_path, tmp_path / "x", generation=None, launcher=FakeLauncher(), place=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_it_leaves_nothing(
    made: FakeCampaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Interrupted("Ctrl-C")

    monkeypatch.setattr(folder, "_texts", stop)
    with pytest.raises(Interrupted):
        exported(made, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["package"]  # the scratch folder's


def test_a_model_that_was_changed_is_not_exported(made: FakeCampaign, tmp_path: Path) -> None:
    file = made.root / "models/final/aotinductor-cpu" / FAST
    content = file.read_bytes()
    try:
        file.write_bytes(content + b"changed")
        with pytest.raises(ParseError, match=r"model\.nequip\.pt2"):
            exported(made, tmp_path)
    finally:
        file.write_bytes(content)
    assert json.loads((made.root / directory.IDENTITY).read_text())["name"] == "fake"
