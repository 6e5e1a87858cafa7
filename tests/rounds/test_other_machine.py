"""A campaign goes on where its segments run on another machine than before."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_campaign
from helpers.elsewhere import GPU_NODE
from helpers.fake_engines import FakeEngines
from phasewalk import store
from phasewalk.engines import Machine, here
from phasewalk.errors import InputError
from phasewalk.rounds import reopen
from phasewalk.store import DeployedModel, Record, Versions, each

OLD = replace(GPU_NODE, host="node1", has_gpu=False, processor="avx avx512f sse")
SAME = replace(OLD, host="node2")
NEW = replace(OLD, host="node3", processor="avx sse")


def run(folder: Path, machine: Machine, rounds: int, mode: str = "aotinductor") -> list[str]:
    """The campaign of a folder, with jobs on a machine; what it has said."""
    place = folder / f"run {len(list(folder.iterdir()))}"
    campaign = fake_campaign.make(place, rounds=rounds, programs=FakeEngines(machine=machine))
    file = place / "campaign.yaml"
    file.write_text(file.read_text().replace("mode: torchscript", f"mode: {mode}"))
    campaign.run(folder / "shared")
    return campaign.watcher.lines


def noted(folder: Path) -> list[Versions]:
    found = store.read_campaign(folder / "shared/run")
    return [outputs for _, outputs in each(found.records(), Versions)]


def test_a_model_is_deployed_again_for_another_processor(tmp_path: Path) -> None:
    run(tmp_path, OLD, 1)
    again = "it is deployed again"
    assert not any(again in line for line in run(tmp_path, SAME, 2))
    assert [one.machine for one in noted(tmp_path)] == [OLD.type]
    reason = "compiled for a processor with avx512f, which this machine does not have"
    lines = run(tmp_path, NEW, 3)
    assert f"generation 2: it was {reason}; {again}" in lines
    assert not any(again in line for line in run(tmp_path, NEW, 3))
    assert [one.machine for one in noted(tmp_path)] == [OLD.type, NEW.type]
    assert [one.versions for one in noted(tmp_path)] == [OLD.versions] * 2
    last = store.read_campaign(tmp_path / "shared/run")
    compiled = {made.compiled for _, made in each(last.records(), DeployedModel)}
    assert len(compiled) == 2  # one for each processor


def test_torchscript_goes_on_without(tmp_path: Path) -> None:
    run(tmp_path, OLD, 1, "torchscript")
    assert not any("again" in line for line in run(tmp_path, NEW, 2, "torchscript"))
    assert [one.machine for one in noted(tmp_path)] == [OLD.type, NEW.type]


def without_machine(record: Record) -> Mapping[str, Any]:
    return {name: value for name, value in record.outputs.items() if name != "machine"}


def test_an_earlier_record_without_a_machine_is_not_written_anew(tmp_path: Path) -> None:
    """Campaigns of earlier versions resume with nothing to do."""
    run(tmp_path, OLD, 1)
    identity = fake_campaign.make(tmp_path / "same", rounds=1).campaign.identity()
    with closing(store.open_campaign(tmp_path / "shared/run", identity)) as opened:
        records = [replace(one, outputs=without_machine(one)) for one in opened.records()]
        opened.replace(records)
    before = (tmp_path / "shared/run/journal.jsonl").read_bytes()
    run(tmp_path, NEW, 1)
    assert (tmp_path / "shared/run/journal.jsonl").read_bytes() == before
    assert [one.machine for one in noted(tmp_path)] == [None]


def test_a_free_energy_is_refused_where_the_model_cannot_run(tmp_path: Path) -> None:
    run(tmp_path, OLD, 1)
    found = reopen.read_generation(store.read_campaign(tmp_path / "shared/run"), None)
    reopen.check_fits(found, SAME)
    with pytest.raises(InputError, match="avx512f, which this machine does not have; use the"):
        reopen.check_fits(found, NEW)
    gone = replace(OLD, versions={**here().versions, "torch": "1.0"})
    with pytest.raises(InputError, match=r"compiled for torch .*, but this machine has 1\.0"):
        reopen.check_fits(found, gone)
