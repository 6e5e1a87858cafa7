"""`phasewalk fes` on a tiny real campaign: killed, resumed, and the campaign left as it is."""

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import campaigns
from helpers.campaigns import PACE, PHASEWALK, STEPS, TinyCampaign
from phasewalk.bias import dumps
from phasewalk.campaign.tasks import Work
from phasewalk.engines.local import LocalLauncher
from phasewalk.errors import InputError
from phasewalk.free_energies import free_energy
from phasewalk.production import freeze, samples
from phasewalk.rounds import reopen
from phasewalk.store import directory

pytestmark = [pytest.mark.engine("tblite"), pytest.mark.slow]


@dataclass
class Story:
    """What happened: the campaign, and each call of `phasewalk fes`."""

    campaign: TinyCampaign
    before: dict[str, bytes]
    first: dict[str, Any]
    segment: dict[str, float]
    died: bool
    last: subprocess.CompletedProcess[str]

    @property
    def place(self) -> Path:
        return self.campaign.root / "fes/gen-001"

    def records(self) -> list[dict[str, Any]]:
        lines = (self.place / "journal.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def fes(campaign: TinyCampaign, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PHASEWALK, "fes", str(campaign.root), "--trust", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=campaign.env(),
    )  # fmt: skip


def files(root: Path, of: Callable[[Path], Any]) -> dict[str, Any]:
    return {
        str(path.relative_to(root)): of(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and "fes" not in path.relative_to(root).parts
    }


@pytest.fixture(scope="module")
def story(learned: TinyCampaign, tmp_path_factory: pytest.TempPathFactory) -> Story:
    campaign = campaigns.copied(learned, tmp_path_factory.mktemp("fes") / "it's")
    before = files(campaign.root, Path.read_bytes)

    one = fes(campaign, "--segments", "1", "--json", "--bins", "20")
    out, err = one.communicate(timeout=120)
    assert one.returncode == 0, err
    segment = campaign.root / "fes/gen-001/rounds/001/segment"
    told = files(segment, lambda path: path.stat().st_mtime)

    killed = fes(campaign, "--segments", "3")
    second = campaign.root / "fes/gen-001/rounds/002/segment/NaCl-1.dump"
    campaigns.wait_for(second.is_file, killed)
    campaigns.stop(killed, signal.SIGKILL)
    died = campaigns.gone(campaign)
    more = fes(campaign, "--segments", "3", "--generation", "1")
    out_of_more, err = more.communicate(timeout=120)
    end = subprocess.CompletedProcess(more.args, more.returncode, out_of_more, err)
    return Story(campaign, before, json.loads(out)["NaCl"], told, died, end)


def test_the_campaign_is_left_as_it_was(story: Story) -> None:
    assert files(story.campaign.root, Path.read_bytes) == story.before


def test_one_segment_is_told_as_json(story: Story) -> None:
    told = story.first
    assert (told["generation"], told["segments"], told["walkers"], told["walks"]) == ("1", 1, 2, 2)
    assert 0.0 < told["ps_per_walker"] <= STEPS * 0.5e-3
    assert told["samples_from"] == "COLVAR"
    found = free_energy.from_dict(told)
    assert found.variables[0].name == "vol"
    assert found.values.shape == (20,)
    assert np.nanmin(found.values) == 0.0


def test_more_segments_go_on_where_the_last_one_ended(story: Story) -> None:
    assert story.died
    assert (story.last.returncode, story.last.stderr) == (0, "")
    assert files(story.place / "rounds/001/segment", lambda p: p.stat().st_mtime) == story.segment
    tasks = Counter(
        record["task"]
        for record in story.records()
        if record["stage"] not in ("rewriting", "settings", "estimate")
    )
    assert set(tasks.values()) == {1}
    assert [task for task in tasks if task.startswith("segment")] == [
        f"segment {number}" for number in range(4)
    ]
    assert not {r["stage"] for r in story.records()} & {"label", "train", "deploy"}
    kept = json.loads((story.place / "fes.json").read_text())["NaCl"]
    assert kept["segments"] == 3
    entries = [
        e for r in story.records() if r["stage"] == "segment" for e in r["outputs"]["walkers"]
    ]
    steps = sum(entry["steps_done"] for entry in entries)
    assert kept["ps_per_walker"] == pytest.approx(steps * 0.5e-3 / 2)
    assert kept["stopped_early"] == sum(entry["halted"] is not None for entry in entries)
    for said in ("free energy, generation 1", "histogram and hills", "3 segments, 2 walkers"):
        assert said in story.last.stdout


def test_the_bias_is_started_anew_and_carried_on(story: Story) -> None:
    record = campaigns.hills(story.place, "NaCl")
    laid = {r["task"]: r["outputs"] for r in story.records() if r["stage"] == "segment"}
    counts = [one["hills"]["NaCl"] for one in laid.values()]
    assert len(record.hills) == sum(one["deposited"] for one in counts) == counts[-1]["total"]
    assert min(one["deposited"] for one in counts) > STEPS // PACE // 2
    assert {hill.round for hill in record.hills} == {1, 2, 3}
    assert {hill.generation for hill in record.hills} == {1}


def test_the_walkers_begin_where_the_campaign_left_them(story: Story) -> None:
    begun, left = (
        json.loads((root / "rounds" / name / "walkers.json").read_text())
        for root, name in ((story.place, "000"), (story.campaign.root, "001"))
    )
    for mine, theirs in zip(begun, left, strict=True):
        assert mine["frames"][0]["frame"] == theirs["frames"][0]["frame"]


def test_the_bias_felt_is_what_plumed_printed(story: Story) -> None:
    opened = directory.read_campaign(story.place)
    campaign = reopen.read_inputs(directory.read_campaign(story.campaign.root))
    work = Work(campaign, opened, LocalLauncher(1), None, None)  # type: ignore[arg-type]
    (of,) = samples.biased(campaign.settings.systems)
    record = campaigns.hills(story.place, "NaCl")
    for number in (1, 3):
        for piece in samples.pieces(work, of, number, record):
            name = f"rounds/{number:03d}/segment/{piece.walker}.colvar"
            table = dumps.read_colvar(story.place / name)
            printed = table.values[1:, table.fields.index("metad.bias")]  # the first is the last
            count = len(piece.bias)
            assert 10 < count <= len(printed)
            assert piece.steps.tolist() == [piece.steps[0] + 10 * i for i in range(count)]
            assert piece.bias.max() > 0.08  # of hills of 0.1, a fifth of what the campaign lays
            # COLVAR has six decimals of a volume whose hills are 0.002 wide
            assert np.abs(piece.bias - printed[:count]).max() < 5e-4


def test_labels_say_how_far_the_model_is_and_are_learned(story: Story, tmp_path: Path) -> None:
    """On the segments that are there: four labels by GFN1-xTB, four energies in LAMMPS."""
    campaign = campaigns.copied(story.campaign, tmp_path / "copy")
    asked = ("--segments", "3", "--generation", "1", "--json", "--against-reference", "4")
    one = fes(campaign, *asked, "--learn")
    out, err = one.communicate(timeout=200)
    assert one.returncode == 0, err
    told = json.loads(out)["NaCl"]["against_reference"]
    assert (told["frames"], told["failed"]) == (4, 0)
    assert "4 labels were added to the campaign after round 1" in err
    taken = campaign.records()[-1]
    assert taken["task"] == "labels of the free energy 1, set 1"
    frames = json.loads((campaign.root / "fes/gen-001/rounds/000/frames-1.json").read_text())
    for frame in frames:
        label = json.loads((campaign.root / f"labels/{frame['key']}.json").read_text())
        assert frame["energy_eV_per_atom"][0] == pytest.approx(label["energy_eV"] / 8)
        assert abs(frame["energy_eV_per_atom"][1] - frame["energy_eV_per_atom"][0]) < 3.0
    again = fes(campaign, *asked)
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0, err
    assert json.loads(out)["NaCl"]["against_reference"] == told
    assert len(campaign.labelled()) == len(set(campaign.labelled()))


def test_another_seed_is_a_run_of_its_own(story: Story) -> None:
    first = files(story.place, Path.read_bytes)
    one = fes(story.campaign, "--segments", "1", "--seed", "7", "--json")
    out, err = one.communicate(timeout=120)
    assert one.returncode == 0, err
    told = json.loads(out)["NaCl"]
    assert (told["segments"], told["made_from"]["seed"]) == (1, 7)
    place = story.place.with_name("gen-001-seed-7")
    dump = "rounds/001/segment/NaCl-0.dump"
    assert (place / dump).read_bytes() != (story.place / dump).read_bytes()
    assert files(story.place, Path.read_bytes) == first


def test_another_model_is_no_continuation(story: Story) -> None:
    root = story.place
    identity = directory.read_identity(root)
    changed = {**{k: v for k, v in identity.items() if k != "schema"}, "checkpoint": "another"}
    with pytest.raises(directory.StoreError, match="checkpoint"):
        directory.open_campaign(root, changed)
    with pytest.raises(InputError, match=r"checkpoint: .* \| another.*to start a new free energy"):
        freeze._check_same(root, changed)
