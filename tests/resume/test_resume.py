"""A real campaign, killed in each stage and resumed: nothing is done twice, nothing is lost."""

import signal
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from helpers import campaigns
from helpers.campaigns import PACE, STEPS, TinyCampaign
from phasewalk.errors import ParseError
from phasewalk.status import verifying
from phasewalk.store import directory

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]


@dataclass
class Story:
    """What happened to the campaign."""

    campaign: TinyCampaign
    kills: dict[str, bool] = field(default_factory=dict)
    labels_at: dict[str, int] = field(default_factory=dict)
    stopped: dict[int, tuple[int, str, bool]] = field(default_factory=dict)
    second: tuple[int, str] = (0, "")
    interrupted: tuple[int, str] = (0, "")
    end: tuple[int, str, str] = (0, "", "")

    def kill(self, stage: str, reached: Callable[[], object]) -> None:
        """Run until the stage is reached, then SIGKILL; note whether all engines died with it."""
        process = self.campaign.start()
        campaigns.wait_for(reached, process)
        before = self.campaign.done(stage)
        campaigns.stop(process, signal.SIGKILL)
        self.kills[stage] = campaigns.gone(self.campaign)
        assert self.campaign.done(stage) == before, f"the kill came too late for {stage}"
        self.labels_at[stage] = len(self.campaign.labelled())

    def stop(self, number: signal.Signals, reached: Callable[[], object]) -> None:
        """Run until that is reached, then send a signal that a program may answer."""
        process = self.campaign.start()
        campaigns.wait_for(reached, process)
        code, _, err = campaigns.stop(process, number)
        self.stopped[number] = (code, err, campaigns.gone(self.campaign))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """One campaign that is killed in each stage, then by Ctrl-C, and runs to its end."""
    folder = tmp_path_factory.mktemp("resume") / 'it\'s a "test" $(touch x)'
    campaign = campaigns.make(folder, ["NaCl"], rounds=1)
    told = Story(campaign)
    rounds = campaign.root / "rounds"

    told.kill("label", lambda: 2 <= campaign.done("label") < 6)
    told.kill("compile", lambda: (rounds / "000/compile-torchscript/stderr.txt").is_file())
    told.kill("train", lambda: (rounds / "000/train/progress.jsonl").is_file())
    for number in (signal.SIGTERM, signal.SIGHUP):
        before = len(list(rounds.glob("000/train.interrupted-*")))
        train = rounds / f"000/train.interrupted-{before + 1}", rounds / "000/train/stderr.txt"
        told.stop(number, lambda: all(path.exists() for path in train))  # noqa: B023
    told.kill("evaluate", lambda: (rounds / "000/evaluate-0/stderr.txt").is_file())
    told.kill("segment", lambda: (rounds / "001/segment/NaCl-1.dump").is_file())

    process = campaign.start()
    campaigns.wait_for(lambda: (rounds / "001/train/stderr.txt").is_file(), process)
    other = campaign.start()
    _, err = other.communicate(timeout=60)
    told.second = (other.returncode, err)
    code, _, err = campaigns.stop(process, signal.SIGINT)
    told.interrupted = (code, err)

    process = campaign.start()
    out, err = process.communicate(timeout=300)
    told.end = (process.returncode, out, err)
    return told


def test_it_ends_well(story: Story) -> None:
    code, out, err = story.end
    assert (code, err) == (0, "")
    assert "campaign finished" in out


def test_engines_die_with_a_killed_run(story: Story) -> None:
    assert story.kills == dict.fromkeys(["label", "compile", "train", "evaluate", "segment"], True)
    assert story.campaign.processes() == []


def test_each_frame_is_labelled_exactly_once(story: Story) -> None:
    calls = Counter(story.campaign.labelled())
    keys = {data["key"] for data in story.campaign.frames().values()}
    assert set(calls.values()) == {1}
    assert set(calls) == keys
    assert len(keys) == 8 + 2
    assert 2 <= story.labels_at["label"] < 8  # the first kill really was in the middle
    assert story.labels_at["train"] == story.labels_at["segment"] == 8


def test_each_task_is_journalled_once(story: Story) -> None:
    records = story.campaign.records()
    assert set(Counter(record["task"] for record in records).values()) == {1}
    assert Counter(record["stage"] for record in records) == {
        "atom": 2, "bootstrap": 1, "label": 10, "compile": 1, "train": 2, "deploy": 2,
        "evaluate": 3, "steer": 1, "segment": 1, "end": 1, "colvars": 2, "versions": 1,
        "settings": 1, "import": 1, "compared": 1,
    }  # fmt: skip
    assert not any("failed" in record["outputs"] for record in records)


def test_whatever_is_changed_of_what_it_left_is_refused_by_name(story: Story) -> None:
    root = story.campaign.root
    with closing(directory.open_campaign(root, {})) as opened:
        kept = sorted(opened.recorded())
    listing = sorted(root.rglob("*"))
    generation = "models/gen-001"
    assert {
        "rounds/000/frames.json", "rounds/001/walkers.json", "rounds/001/frames-1.json",
        "bias/NaCl/round-001.tsv", "rounds/001/segment/NaCl-0.colvar",
        *(f"{generation}/{name}" for name in ("checkpoint.ckpt", "weights.npz", "eager.json",
          "proof.json", "torchscript-cpu/model.nequip.pth", "torchscript-cpu/stamp.json")),
    } <= set(kept)  # fmt: skip
    assert sum(name.startswith("labels/") for name in kept) == 10
    for name in kept:
        if name in ("campaign.yaml", "campaign.json"):
            continue  # compared with the campaign file
        good = (root / name).read_bytes()
        middle = len(good) // 2
        (root / name).write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
        with pytest.raises(ParseError, match="is not what the journal holds") as caught:
            directory.open_campaign(root, {})
        assert str(caught.value).startswith(f"{root / name}: ")
        (root / name).write_bytes(good)
    assert verifying.verify(root).wrong == []
    assert sorted(root.rglob("*")) == listing


def test_a_digit_in_a_frame_starts_nothing_and_sets_nothing_aside(story: Story) -> None:
    root = story.campaign.root
    frames = root / "rounds/000/frames.json"
    listing, good = sorted(root.rglob("*")), frames.read_text()
    frames.write_text(good.replace("1", "2", 1))
    process = story.campaign.start()
    _, err = process.communicate(timeout=100)
    frames.write_text(good)
    assert process.returncode == 2
    assert err.startswith(f"phasewalk: {frames}: is not what the journal holds")
    assert err.count("\n") == 1
    assert sorted(root.rglob("*")) == listing


def test_interrupted_directories_are_kept(story: Story) -> None:
    rounds = story.campaign.root / "rounds"
    for place in ("000/train", "000/compile-torchscript", "000/evaluate-0", "001/segment"):
        assert (rounds / f"{place}.interrupted-1").is_dir()
        assert (rounds / place).is_dir()


def test_no_hill_is_lost_or_doubled(story: Story) -> None:
    (segment,) = (r for r in story.campaign.records() if r["stage"] == "segment")
    hills = segment["outputs"]["hills"]["NaCl"]
    assert [entry["steps_done"] for entry in segment["outputs"]["walkers"]] == [STEPS, STEPS]
    assert hills["deposited"] == hills["expected"] == hills["in_record"] == 2 * STEPS // PACE


def test_ctrl_c_says_how_to_go_on(story: Story) -> None:
    code, err = story.interrupted
    assert code == 130
    assert err.count("\n") == 1
    assert campaigns.resume_command(story.campaign) in err


def test_a_second_run_is_refused_while_one_works(story: Story) -> None:
    code, err = story.second
    assert code == 2
    assert err.count("\n") == 1
    assert "in use by another run" in err


def test_nothing_reaches_a_shell(story: Story) -> None:
    assert not list(story.campaign.folder.parent.rglob("x"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_sighup_stop_cleanly(story: Story, number: signal.Signals) -> None:
    code, err, gone = story.stopped[number]
    assert code == 130
    assert campaigns.resume_command(story.campaign) in err
    assert gone


def test_the_same_campaign_comes_out(story: Story, learned: TinyCampaign) -> None:
    campaigns.assert_same(story.campaign, learned)
