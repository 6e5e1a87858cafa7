"""A campaign goes on where its model cannot run: the model is deployed and proved once more."""

import json
from pathlib import Path

import pytest

from helpers import campaigns
from helpers.campaigns import TinyCampaign
from phasewalk.rounds import rewinding
from phasewalk.store.journal import line_of
from phasewalk.store.records import Record

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]


def test_a_campaign_from_a_machine_with_a_gpu_goes_on_without(
    learned: TinyCampaign, tmp_path: Path
) -> None:
    campaign = campaigns.copied(learned, tmp_path / "moved")
    rewinding.rewind(campaign.root, 0)
    records = campaign.records()
    lines, crc = [], 0
    for record in records:
        if record["stage"] == "deploy":
            record["outputs"]["stamp"]["device"] = "cuda"
        fields = {key: value for key, value in record.items() if key not in ("schema", "crc")}
        line, crc = line_of(Record(**fields), crc)
        lines.append(line)
    (campaign.root / "journal.jsonl").write_bytes(b"".join(lines))

    process = campaign.start()
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, ""), out + err
    reason = "it was compiled for cuda, but this machine has no GPU; it is deployed again"
    assert f"generation 0: {reason}" in " ".join(out.split())
    added = [
        record["task"]
        for record in campaign.records()[len(records) :]
        if record["stage"] not in ("rewriting", "settings")
    ]
    assert added[:4] == [
        "deploy generation 0", "prove generation 0 again", "walkers of round 1", "segment 1"
    ]  # fmt: skip
    proof = json.loads((campaign.root / "models/gen-000/proof.json").read_text())
    assert proof["passed"]
    assert len(proof["checks"]) > 9  # all of it, not the part for swapped weights
    (record,) = (r for r in campaign.records() if r["stage"] == "segment")
    assert [walker["steps_done"] for walker in record["outputs"]["walkers"]] == [
        campaigns.STEPS
    ] * 2

    again = campaign.start()
    out, err = again.communicate(timeout=100)
    assert (again.returncode, err) == (0, "")
    assert "deployed again" not in out
