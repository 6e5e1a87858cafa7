"""Fake engines leave what real ones leave: the same tasks, files and tables, of other numbers."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import fake_campaign
from helpers.campaigns import STEPS, TinyCampaign
from phasewalk.bias import dumps
from phasewalk.store import directory
from phasewalk.walkers import logs

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
    pytest.mark.slow,
]
WALKERS = ("NaCl-0", "NaCl-1")


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The campaign of `campaigns.make`, with fake engines."""
    folder = tmp_path_factory.mktemp("fake") / "campaign"
    limits = "policy: {max_energy_error_meV_per_atom: null}"
    made = fake_campaign.make(folder, bootstrap=8, steps=STEPS, bonds="free", more=limits)
    made.run()
    return made.root


def shape(value: Any, known: dict[str, str]) -> Any:
    """What kind of value it is, down to the last; names that are hashes are counted."""
    if isinstance(value, dict):
        return {masked(key, known): shape(inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner, known) for inner in value[:1]]
    return "number" if isinstance(value, int | float) else type(value).__name__


def masked(text: str, known: dict[str, str]) -> str:
    """Each hash by its number in the order in which they come."""
    return re.sub(
        r"[0-9a-f]{24}", lambda found: known.setdefault(found[0], f"<{len(known) + 1}>"), text
    )


def shapes(root: Path) -> dict[str, Any]:
    """Task → stage, round and the shape of its outputs."""
    known: dict[str, str] = {}
    return {
        masked(record.task, known): (
            record.stage,
            record.round,
            bool(record.seconds),
            record.cores,
            shape(dict(record.outputs), known),
        )
        for record in sorted(
            directory.read_campaign(root).records(), key=lambda r: order(root, r.task)
        )
    }


def order(root: Path, task: str) -> tuple[int, str]:
    """Labels by the frames that they are of; what runs side by side ends in any order."""
    key = re.search(r"label ([0-9a-f]{24})", task)
    if key is None:
        return (-1, task)
    origin = json.loads((root / f"labels/{key[1]}.json").read_text())["origin"]
    return (origin["round"], str(origin))


def test_the_journal_has_the_same_records(learned: TinyCampaign, fake: Path) -> None:
    real, mine = shapes(learned.root), shapes(fake)
    assert list(mine) == list(real)
    for task, told in real.items():
        assert mine[task] == told, task


def test_the_same_files_are_left(learned: TinyCampaign, fake: Path) -> None:
    def left(root: Path) -> set[str]:
        names = {path.relative_to(root).as_posix() for path in root.glob("models/gen-*/**/*")}
        return names | {path.relative_to(root).as_posix() for path in root.glob("bias/**/*")}

    assert left(fake) == left(learned.root)


@pytest.mark.parametrize("walker", WALKERS)
def test_a_walker_leaves_the_same_tables(learned: TinyCampaign, fake: Path, walker: str) -> None:
    real, mine = (root / "rounds/001/segment" for root in (learned.root, fake))
    steps = [
        [frame.step for frame in dumps.read_dump(place / f"{walker}.dump", ["Cl", "Na"])]
        for place in (real, mine)
    ]
    assert steps[0] == steps[1]
    hills = [dumps.read_hills(place / f"{walker}.metad.hills") for place in (real, mine)]
    assert hills[0].header == hills[1].header
    assert hills[0].table.fields == hills[1].table.fields
    columns = [one.table.values[:, [0, 2, 3, 4]] for one in hills]  # all but the centre
    np.testing.assert_allclose(columns[0], columns[1])
    printed = [dumps.read_colvar(place / f"{walker}.colvar") for place in (real, mine)]
    assert printed[0].fields[:2] == printed[1].fields[:2]
    assert printed[0].values[:, 0].tolist() == printed[1].values[:, 0].tolist()
    told = [logs.read_log(place / f"{walker}.log") for place in (real, mine)]
    assert told[0].thermo.keys() == told[1].thermo.keys()
    assert told[0].thermo["Step"].tolist() == told[1].thermo["Step"].tolist()
    assert told[0].steps_done == told[1].steps_done == STEPS
