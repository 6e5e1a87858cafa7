"""What follows if keys of `model:` change between the runs of a finished campaign: fake engines."""

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_campaign
from helpers.fake_campaign import FakeCampaign
from phasewalk.errors import StoreError
from phasewalk.generations import inputs
from phasewalk.models.settings import ModelSettings
from phasewalk.store import FINAL, TRAIN
from phasewalk.store.directory import read_campaign, reopen_campaign

BUDGET = "{epochs: 2, learning_rate: 0.01}"
AGAIN = (
    "trainings from now on use it; generations 0 to 1 are not trained again, but the final model is"
)
LATER = (
    "trainings from now on use it; generations 0 to 1 and a finished final model are not trained "
    "again"
)
NEVER = (
    "it has no effect, because generation 0 is trained already; start a new campaign (another "
    "--dir) to use it"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FakeCampaign:
    folder = tmp_path_factory.mktemp("changed") / "c"
    made = fake_campaign.make(folder, final=f"{{budget: {BUDGET}}}")
    made.run()
    return made


@pytest.fixture
def copy(finished: FakeCampaign, tmp_path: Path) -> FakeCampaign:
    shutil.copytree(finished.folder, tmp_path / "c", symlinks=True)
    return FakeCampaign(tmp_path / "c", finished.programs)


def again(
    campaign: FakeCampaign, old: str = "preset: tiny", new: str = "preset: tiny"
) -> list[str]:
    """Run it again with another file; the trainings that were started."""
    file = campaign.folder / "campaign.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    changed = FakeCampaign(campaign.folder, campaign.programs)
    campaign.programs.done = []
    done = changed.run()
    campaign.watcher = changed.watcher
    return [name for name in done if name.startswith("train")]


def said(campaign: FakeCampaign) -> list[str]:
    return [line for line in campaign.watcher.lines if line.startswith("model.")]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loss_weights", "{energy: 20}"),
        ("batch_size", "1"),
        ("optimizer", "adam"),
        ("overrides", "{training_module.ema_decay: 0.9}"),
    ],
)
def test_the_final_model_is_trained_again_with_other_settings(
    copy: FakeCampaign, key: str, value: str
) -> None:
    assert again(copy, "preset: tiny", f"preset: tiny\n  {key}: {value}") == [
        "train generation final"
    ]
    assert said(copy) == [f"model.{key} was changed: {AGAIN}"]
    assert again(copy) == []
    assert said(copy) == []
    assert again(copy, f"\n  {key}: {value}", "") == ["train generation final"]


@pytest.mark.parametrize(
    ("key", "old", "new", "says"),
    [
        ("first", "first: {epochs: 2,", "first: {epochs: 3,", NEVER),
        ("max_force_error_ratio", "_error_ratio: null", "_error_ratio: 0.9", NEVER),
        ("warm", "warm: {epochs: 1,", "warm: {epochs: 2,", LATER),
        ("threads", "preset: tiny", "preset: tiny\n  threads: 2", LATER),
        ("loggers", "preset: tiny", "preset: tiny\n  loggers: [tensorboard]", LATER),
    ],
)
def test_a_change_that_trains_nothing_again_is_said_once(
    copy: FakeCampaign, key: str, old: str, new: str, says: str
) -> None:
    assert again(copy, old, new) == []
    assert said(copy) == [f"model.{key} was changed: {says}"]
    assert again(copy) == []
    assert said(copy) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("preset: tiny", "preset: small"),
        ("preset: tiny", "preset: tiny\n  r_max_A: 4.5"),
        ("preset: tiny", "preset: tiny\n  dtype: float64"),
        ("preset: tiny", "preset: tiny\n  species: [Na, Cl, K]"),
        ("preset: tiny", "preset: tiny\n  zbl: false"),
        ("preset: tiny", "preset: tiny\n  zbl_range_fraction: 0.7"),
        ("preset: tiny", "preset: tiny\n  overrides: {training_module.model.num_features: 4}"),
    ],
)
def test_another_network_is_refused(copy: FakeCampaign, old: str, new: str) -> None:
    with pytest.raises(StoreError):
        again(copy, old, new)


def test_the_final_model_itself(copy: FakeCampaign) -> None:
    """Larger budget, from scratch: trained again. None: the last one is kept, which is said."""
    assert again(copy, BUDGET, "{epochs: 3, learning_rate: 0.01}") == ["train generation final"]
    assert again(copy, "final: {budget", "final: {from_scratch: true, budget") == [
        "train generation final"
    ]
    assert said(copy) == []
    text = "final: {from_scratch: true, budget: {epochs: 3, learning_rate: 0.01}}"
    assert again(copy, text, "final: null") == []
    (line,) = said(copy)
    assert line.startswith("model.final: null, but a final model is trained already")


def test_what_an_earlier_version_has_trained_is_believed(copy: FakeCampaign) -> None:
    """Its record does not say with which settings: that they have changed is said."""
    with closing(reopen_campaign(copy.root)) as opened:
        kept = []
        for record in opened.records():
            if record.task == "train generation final":
                outputs: dict[str, Any] = {**record.outputs}
                assert outputs.pop("trained_with") == ModelSettings().of_every_training
                record = replace(record, outputs=outputs, inputs=_former(copy))
            if record.task.startswith("train "):  # which knew one optimizer only
                outputs = {**record.outputs}
                assert outputs.pop("optimizer") == "muon"
                record = replace(record, outputs=outputs)
            kept.append(record)
        opened.replace(kept)
    # as `run` reads its file; see campaign.begun
    assert again(copy, "preset: tiny", "preset: tiny\n  optimizer: adam") == []
    assert said(copy) == []
    assert again(copy, "preset: tiny", "preset: tiny\n  batch_size: 1") == []
    (line,) = said(copy)
    assert line.endswith(
        "generations 0 to 1 are not trained again, nor is the final model, which an earlier "
        "version has trained: to train it again, change model.final.budget too"
    )
    assert again(copy, BUDGET, "{epochs: 3, learning_rate: 0.01}") == ["train generation final"]
    assert again(copy) == []


def _former(campaign: FakeCampaign) -> str:
    """The hash of the final training in earlier versions."""
    store = read_campaign(campaign.root)
    records = {record.task: record for record in store.records() if record.stage == TRAIN}
    last = records["train generation 1"].outputs["sha256"]
    keys = [r.outputs["key"] for r in store.records() if r.stage == "label"]
    final = campaign.campaign.settings.model.final
    assert final is not None
    return inputs.of(keys, last, FINAL, final.budget.model_dump())
