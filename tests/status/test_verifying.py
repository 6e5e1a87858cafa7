"""What a campaign keeps is what its journal says: looked at by `verify`, and before it is used."""

import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from helpers.fakes import label
from helpers.recorded import RECORDED, rewrite
from phasewalk.errors import ParseError, StoreError
from phasewalk.status import verifying
from phasewalk.store import directory
from phasewalk.store.directory import Store
from phasewalk.store.records import FILES, Record

IDENTITY = {"name": "salt", "seed": 1}
MODEL, OTHER = "models/gen-000/checkpoint.ckpt", "models/gen-001/checkpoint.ckpt"


def record(task: str, stage: str = "train", round_: int = 0) -> Record:
    return Record(task, stage, round_, "", {}, 1.0, 1e9)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two generations, a label, frames, and what an engine has left."""
    root = tmp_path / "salt.run"
    with closing(directory.open_campaign(root, IDENTITY)) as opened:
        opened.keep("rounds/000/frames.json", b"[1.0]")
        opened.append(record("bootstrap", "bootstrap"))
        opened.add_label(label())
        opened.append(record("label", "label"))
        for number, name in enumerate((MODEL, OTHER)):
            opened.keep(name, f"weights of {number}".encode())
            opened.append(record(f"train generation {number}", round_=number))
        colvar = root / "rounds/001/segment/salt-0.colvar"
        colvar.parent.mkdir(parents=True)
        colvar.write_text("0 1.5\n")
        opened.vouch(colvar)
        opened.append(record("segment 1", "segment", 1))
    return root


def reopen(root: Path) -> Store:
    with closing(directory.open_campaign(root, IDENTITY)) as opened:
        return opened


def swap(root: Path) -> str:
    """Two generations change places: each file is whole, and neither is where it belongs."""
    one, two = root / MODEL, root / OTHER
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    return MODEL


def altered(name: str, content: bytes) -> object:
    def change(root: Path) -> str:
        (root / name).write_bytes(content)
        return name

    return change


def own_checksum(root: Path) -> str:
    """A label that was edited with its own checksum."""
    (path,) = (root / "labels").glob("*.json")
    data = json.loads(path.read_text())
    data["seconds"] = 99.0  # no part of its checksum
    path.write_text(json.dumps(data))
    return f"labels/{path.name}"


@pytest.mark.parametrize(
    "change",
    [
        altered("rounds/000/frames.json", b"[2.0]"),
        altered("rounds/000/frames.json", b"[1."),
        altered("rounds/000/frames.json", b""),
        altered(OTHER, b"weights of 7"),
        altered("rounds/001/segment/salt-0.colvar", b"0 1.6\n"),
        own_checksum,
        swap,
    ],
    ids=["digit", "truncated", "empty", "last model", "colvar", "label", "swapped"],
)
def test_a_changed_file_is_refused_by_name_before_anything_is_done(root: Path, change) -> None:  # type: ignore[no-untyped-def]
    name = change(root)
    listing = sorted(root.rglob("*"))
    with pytest.raises(ParseError, match="is not what the journal holds") as caught:
        reopen(root)
    told = {str(caught.value)}
    assert any(str(root / one) in one_told for one in (name, OTHER) for one_told in told)
    assert sorted(root.rglob("*")) == listing  # the lock is given up, nothing is set aside
    assert any(line.startswith(f"{root / name}: ") for line in verifying.verify(root).wrong)


@pytest.mark.parametrize("name", ["rounds/000/frames.json", OTHER])
def test_what_is_needed_must_be_there(root: Path, name: str) -> None:
    (root / name).unlink()
    with pytest.raises(ParseError, match="is missing, but the journal holds it"):
        reopen(root)


def test_what_may_go_may_be_gone(root: Path) -> None:
    shutil.rmtree(root / "rounds/001/segment")
    (root / MODEL).unlink()  # an older generation's
    reopen(root)
    found = verifying.verify(root)
    assert sorted(found.gone) == [MODEL, "rounds/001/segment/salt-0.colvar"]


def test_a_file_that_is_written_anew_may_be_cut_short_by_a_kill(root: Path) -> None:
    with closing(directory.open_campaign(root, IDENTITY)) as opened:
        opened.keep(OTHER, b"trained again")  # and no record any more
    with closing(directory.open_campaign(root, IDENTITY)) as opened:
        assert OTHER not in opened.recorded()
        opened.keep(OTHER, b"trained once more")
        opened.append(record("train generation 1", round_=1))
    assert OTHER in reopen(root).recorded()


def test_a_record_of_an_earlier_version_has_the_hashes_that_it_has() -> None:
    trained = Record("t", "train", 0, "", {"checkpoint": "c.ckpt", "sha256": "ab"}, 1.0, 1.0)
    deployed = Record("d", "deploy", 0, "", {"file": "m.pth", "sha256": "cd"}, 1.0, 1.0)
    assert (trained.files, deployed.files) == ({"c.ckpt": "ab"}, {"m.pth": "cd"})
    told = Record("d", "deploy", 0, "", {**deployed.outputs, FILES: {"s.json": "ef"}}, 1.0, 1.0)
    assert told.files == {"m.pth": "cd", "s.json": "ef"}


def test_a_campaign_of_an_earlier_version_opens_and_says_what_is_not_recorded(
    tmp_path: Path,
) -> None:
    root = tmp_path / "old.run"
    shutil.copytree(RECORDED, root)
    final = root / "models/final"
    kept = directory.read_campaign(root).recorded()
    assert {name for name in kept if "final" in name} == {
        "models/final/checkpoint.ckpt", "models/final/torchscript-cpu/model.nequip.pth"
    }  # fmt: skip
    with pytest.raises(
        ParseError, match="is missing, but the journal holds it"
    ):  # left out of the repository
        directory.open_campaign(root, {})

    def without_models(records: Sequence[Record]) -> Sequence[Record]:
        return [one for one in records if one.stage not in ("train", "deploy")]

    rewrite(root, without_models)
    directory.open_campaign(root, {}).close()
    found = verifying.verify(root)
    assert found.passed
    assert "rounds/001/frames-0.json" in found.unrecorded
    assert not final.exists()


def test_a_line_taken_out_of_the_journal_is_told_with_its_number(root: Path) -> None:
    journal = root / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:1] + lines[2:]))
    found = verifying.verify(root)
    assert len(found.wrong) >= 1
    assert found.wrong[0].startswith(f"{journal}, line 2: not a journal record (wrong checksum: ")


def test_identity_and_settings_must_fit(root: Path) -> None:
    text = "campaign: pepper\nseed: 1\nsystems: {salt: {structure: a.cif, ensemble: nvt}}\n"
    (root / "campaign.yaml").write_text(text)
    assert any("name is 'salt'" in line for line in verifying.verify(root).wrong)


def test_a_free_energy_is_looked_at_too(root: Path) -> None:
    place = root / "fes/gen-001"
    with closing(directory.open_campaign(place, IDENTITY)) as opened:
        opened.keep("fes.json", b"{}")
        opened.append(record("free energies", "estimate"))
    (place / "fes.json").write_bytes(b"{ }")
    assert any(line.startswith(f"{place / 'fes.json'}: ") for line in verifying.verify(root).wrong)


def test_a_file_by_its_path_is_compared_with_the_campaign_that_holds_it(
    root: Path, tmp_path: Path
) -> None:
    directory.check_kept(root / OTHER)
    directory.check_kept(tmp_path / "elsewhere.ckpt")  # no campaign's: nothing to compare with
    (root / OTHER).write_bytes(b"weights of 1, times 1.5")
    with pytest.raises(ParseError, match="is not what the journal holds"):
        directory.check_kept(root / OTHER)


def test_no_campaign_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a campaign directory"):
        verifying.verify(tmp_path)
