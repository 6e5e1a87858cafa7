"""Runs that have just begun, or were killed: a result or one line, and no warning of a library."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.cases import cases
from phasewalk.analyses import analyse, find, write
from phasewalk.errors import InputError
from phasewalk.producing import BEGUN

RECORDED = Path(__file__).parents[1] / "data/production/metad"


def with_bias(folder: Path) -> None:
    """As it was recorded."""


def without_bias(folder: Path) -> None:
    """The same numbers, of a run that PLUMED has only observed."""
    begun = json.loads((folder / BEGUN).read_text())
    begun["made_from"]["plumed"] = "vol: VOLUME\nPRINT ARG=vol STRIDE=5\n"
    (folder / BEGUN).write_text(json.dumps(begun))
    for path in folder.glob("*.thermo"):
        rows = [line.split(" ") for line in path.read_text().splitlines()]
        text = "".join(
            " ".join([*row[:-1], row[-1] if row[0] == "#" else "0"]) + "\n" for row in rows
        )
        path.write_text(text)
    for path in folder.glob("*.colvar"):
        rows = [line for line in path.read_text().splitlines() if "SET" not in line]
        path.write_text("".join(f"{line.rsplit(maxsplit=1)[0]}\n" for line in rows))


def without_plumed(folder: Path) -> None:
    """The same numbers, of a run without PLUMED."""
    begun = json.loads((folder / BEGUN).read_text())
    begun["made_from"]["plumed"] = None
    (folder / BEGUN).write_text(json.dumps(begun))
    for path in (*folder.glob("*.colvar"), *folder.glob("*hills*")):
        path.unlink()
    for path in folder.glob("*.thermo"):
        rows = path.read_text().splitlines()
        path.write_text("".join(f"{line.rsplit(' ', 1)[0]}\n" for line in rows))


def one_walker(folder: Path) -> None:
    """One of the walkers alone."""
    begun = json.loads((folder / BEGUN).read_text())
    begun["made_from"]["walkers"] = 1
    (folder / BEGUN).write_text(json.dumps(begun))
    (folder / "metad.hills.0").rename(folder / "walker-0.metad.hills")


KINDS = (one_walker, with_bias, without_bias, without_plumed)


def lines_of(path: Path, count: int) -> None:
    """Leave so many lines, and half of the next one."""
    lines = path.read_text().splitlines(keepends=True)
    rest = "".join(lines[count : count + 1])
    path.write_text("".join(lines[:count]) + rest[: len(rest) // 2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 11, 12])
def test_few_rows(tmp_path: Path, kind: Callable[[Path], None], rows: int) -> None:
    folder = shutil.copytree(RECORDED, tmp_path / "run")
    kind(folder)
    for path in (*folder.glob("*.thermo"), *folder.glob("*.colvar")):
        lines_of(path, 1 + rows)
    for path in folder.glob("*.dump"):
        lines_of(path, 25 * rows)
    if not rows:
        with pytest.raises(InputError, match="no row yet, so there is nothing to analyse"):
            analyse(find(folder))
        return
    found = analyse(find(folder))
    assert {"temp_K", "vol_A3"} <= {row.quantity for row in found.rows}
    assert write(found, folder / "analysis")


@pytest.mark.parametrize("seed", range(cases(20, 300)))
def test_killed_anywhere(tmp_path: Path, seed: int) -> None:
    """Each file ends anywhere, and the walkers have different lengths."""
    draw = random.Random(seed)
    folder = shutil.copytree(RECORDED, tmp_path / "run")
    draw.choice(KINDS)(folder)
    for path in folder.glob("*.*"):
        if path.suffix in (".thermo", ".colvar", ".dump", ".0", ".1", ".hills"):
            content = path.read_bytes()
            path.write_bytes(content[: draw.choice([len(content), draw.randrange(len(content))])])
    said = ""
    try:
        assert analyse(find(folder), discard_ps=draw.choice([None, None, 0.0, 0.05])).rows
    except InputError as error:
        said = str(error)
    assert "\n" not in said
