"""Labels of a free energy, taken into a campaign of fake engines, and learned by its next run."""

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from helpers import fake_campaign
from helpers.fake_campaign import FakeCampaign
from phasewalk.errors import StoreError
from phasewalk.labels.label import Label, label_key
from phasewalk.report import methods
from phasewalk.rounds import added, rewinding
from phasewalk.status import history, library, summary, verifying
from phasewalk.store import directory
from phasewalk.store.directory import read_campaign
from phasewalk.store.records_models import Trained
from phasewalk.structures import perturb


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> FakeCampaign:
    """A campaign of two rounds that has ended, with a final model."""
    final = "{from_scratch: false, budget: {epochs: 1, learning_rate: 0.005}}"
    made = fake_campaign.make(tmp_path_factory.mktemp("added") / "c", rounds=2, final=final)
    made.run()
    return made


@pytest.fixture
def campaign(walked: FakeCampaign, tmp_path: Path) -> FakeCampaign:
    shutil.copytree(walked.folder, tmp_path / "c", symlinks=True)
    return FakeCampaign(tmp_path / "c", walked.programs)


def labels(campaign: FakeCampaign, count: int) -> list[Label]:
    """As the frames of a frozen run: of the campaign's level, and new."""
    (first, *_), _ = library.campaign_labels(campaign.root)
    rng, found = np.random.default_rng(4), []
    for step in range(count):
        atoms = perturb(
            first.atoms, rng, displacement_A=0.1, strain=0.02, min_distance_fraction=0.5
        )
        key = label_key(atoms, campaign.campaign.level("NaCl"))
        origin = {"system": "NaCl", "round": 7, "walker": "NaCl-1", "step": step}
        found.append(replace(first, atoms=atoms, key=key, origin=origin))
    return found


def trained(campaign: FakeCampaign, name: str) -> int:
    record = read_campaign(campaign.root).find(f"train generation {name}")
    assert record is not None
    made = record.of(Trained)
    return made.training_labels + made.validation_labels


def longer(campaign: FakeCampaign, rounds: int) -> None:
    file = campaign.folder / "campaign.yaml"
    file.write_text(file.read_text().replace("rounds: 2", f"rounds: {rounds}"))


def test_the_next_generation_and_the_final_model_learn_them(campaign: FakeCampaign) -> None:
    before = trained(campaign, "final")
    taken = added.take(campaign.root, labels(campaign, 5), "final")
    assert (taken.count, taken.round) == (5, 2)
    longer(campaign, 3)
    again = FakeCampaign(campaign.folder, campaign.programs)
    done = again.run()
    assert not [name for name in done if "generation 1" in name or "round 2" in name]
    assert trained(again, "3") == before + 5 + 2
    assert trained(again, "final") == before + 5 + 2
    assert FakeCampaign(campaign.folder, campaign.programs).run() == []  # nothing twice
    assert verifying.verify(campaign.root).passed
    assert len(library.campaign_labels(campaign.root)[0]) == before + 5 + 2


def test_without_another_round_the_final_model_alone_is_trained_again(
    campaign: FakeCampaign,
) -> None:
    before = trained(campaign, "final")
    added.take(campaign.root, labels(campaign, 3), "2")
    FakeCampaign(campaign.folder, campaign.programs).run()
    assert trained(campaign, "final") == before + 3
    assert trained(campaign, "2") == before


def test_known_labels_are_left_out_and_a_second_set_is_added(campaign: FakeCampaign) -> None:
    first = labels(campaign, 4)
    assert added.take(campaign.root, first[:3], "2").count == 3
    assert added.take(campaign.root, first[:3], "2").count == 0
    assert added.take(campaign.root, first, "2").count == 1
    assert added.take(campaign.root, labels(campaign, 6), "2", source="production").count == 2
    tasks = [record.task for record in read_campaign(campaign.root).records()]
    assert tasks[-3:] == [
        *(f"labels of the free energy 2, set {n}" for n in (1, 2)),
        "labels of the production run 2, set 3",
    ]
    before = trained(campaign, "final")
    FakeCampaign(campaign.folder, campaign.programs).run()
    assert trained(campaign, "final") == before + 6


def test_status_and_report_say_where_they_are_from(
    campaign: FakeCampaign, capsys: pytest.CaptureFixture[str]
) -> None:
    found = labels(campaign, 5)
    added.take(campaign.root, found[:3], "2")
    added.take(campaign.root, found[3:], "final", source="production")
    state = summary.collect(campaign.root)
    assert state["labels"]["added"] == 5
    summary.show(state, Console(width=200))
    assert ", 3 added (free energy), 2 added (production)" in capsys.readouterr().out
    text = " ".join(methods.text(history.read(campaign.root)).split())
    assert "3 of these are frames of the walkers of a free energy, evenly spread" in text
    assert "2 of these are frames of a long run that were unlike all earlier ones;" in text


def test_a_rewind_keeps_what_counts_after_its_round(campaign: FakeCampaign) -> None:
    added.take(campaign.root, labels(campaign, 3), "2")
    rewinding.rewind(campaign.root, 2)
    before = trained(campaign, "2")
    FakeCampaign(campaign.folder, campaign.programs).run()
    assert trained(campaign, "final") == before + 3
    rewinding.rewind(campaign.root, 1)
    FakeCampaign(campaign.folder, campaign.programs).run()
    assert trained(campaign, "final") == trained(campaign, "2")  # they were of round 2


def test_a_campaign_at_work_is_left_alone(campaign: FakeCampaign) -> None:
    identity = campaign.campaign.identity()
    with (
        closing(directory.open_campaign(campaign.root, identity)),
        pytest.raises(StoreError, match="in use by another run"),
    ):
        added.take(campaign.root, labels(campaign, 1), "2")


def test_their_origin_says_what_they_are_of(campaign: FakeCampaign) -> None:
    added.take(campaign.root, labels(campaign, 1), "2")
    *_, last = library.campaign_labels(campaign.root)[0]
    assert last.origin == {
        "system": "NaCl", "round": 2, "walker": "NaCl-1", "step": 0,
        "segment": 7, "free energy": "2",
    }  # fmt: skip
