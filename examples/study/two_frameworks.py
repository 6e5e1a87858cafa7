#!/usr/bin/env python3
"""Two frameworks by one potential, or by two; a table that fills up.

    python examples/study/two_frameworks.py run FOLDER --hours 3    # the next campaigns
    python examples/study/two_frameworks.py run FOLDER --seeds 2    # one seed, on one core
    python examples/study/two_frameworks.py table FOLDER            # the table so far, as Markdown
    python examples/study/two_frameworks.py wide FOLDER             # the fumarate's test set again

MIL-53(Al) and aluminium fumarate, of the same elements and topology, are learned alone and
together, with 24 and 48 labels for each framework: two thirds random perturbations, the rest frames
of four biased walkers of each framework, as in the example. All campaigns train for as many epochs.
An epoch of two frameworks has twice the frames: there are as many optimizer steps per label, twice
as many in all.

Each row is a test set, a number of labels and a potential, each of its columns the mean and the
spread over the seeds of one error of the final models. No campaign has seen the sets: those of
study.py for MIL-53, and for the fumarate frames of biased walkers of seed 100, with the crystal's
bonds. Each potential is tested on both frameworks. What was not run is empty.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import study

STUDY = Path(__file__).resolve().parent
SEEDS = (1, 2)
LABELS = (24, 48)
"""Of each framework."""
MIL53, FUMARATE = "mil53_al", "al_fumarate"
POTENTIALS = {"MIL-53": (MIL53,), "fumarate": (FUMARATE,), "both": (MIL53, FUMARATE)}
SETS = {
    "path": "MIL-53, path",
    "wide-intact": "MIL-53, wide",
    "fumarate": "fumarate, wide",
}
COLUMNS = {
    "force MAE, meV/Å": "force_mae_meV_per_A",
    "energy scatter, meV/atom": "energy_scatter_meV_per_atom",
    "pressure MAE, GPa": "pressure_mae_GPa",
}
WIDE_SEED, WIDE = 100, (330, 590)
"""Of the campaign of the fumarate's test set; range of its volumes, Å³, as wide for its volume as
that of MIL-53."""
PLUMED = """\
UNITS LENGTH=A ENERGY=kj/mol TIME=fs
volume: VOLUME
metad: METAD ARG=volume SIGMA=8 HEIGHT=2 PACE=50
LOWER_WALLS ARG=volume AT=360 KAPPA=0.05 LABEL=lower
UPPER_WALLS ARG=volume AT=560 KAPPA=0.05 LABEL=upper
PRINT ARG=volume,metad.bias STRIDE=20 FILE=COLVAR
"""
"""Of the fumarate: that of MIL-53 with the widths and walls in proportion to the volumes, 500 and
764 Å³."""


def settings(potential: str, labels: int, seed: int) -> dict[str, Any]:
    """The campaign file of one cell, as data."""
    data = study.settings(study.WAYS[0], seed)
    mil53 = data["systems"][MIL53]
    fumarate = mil53 | {"structure": str(STUDY / "al_fumarate.extxyz"), "plumed": PLUMED}
    both = {MIL53: mil53, FUMARATE: fumarate}
    data["systems"] = {name: both[name] for name in POTENTIALS[potential]}
    data["bootstrap"]["count"] = 2 * labels // 3
    data["rounds"] = (labels - data["bootstrap"]["count"]) // mil53["walkers"]
    data["resources"]["walkers_per_core"] = mil53["walkers"] * len(data["systems"])
    return data


def cells(folder: Path) -> Iterator[tuple[str, int, int, Path]]:
    """Potential, labels, seed and directory of each cell; the first seed of all comes first."""
    for seed, labels, potential in product(SEEDS, LABELS, POTENTIALS):
        yield potential, labels, seed, folder / f"{potential}-{labels}-{seed}"


def run(folder: Path, asked: argparse.Namespace) -> None:
    """Run and evaluate the cells that are missing, until the time is over."""
    until = time.monotonic() + 3600 * asked.hours
    for potential, labels, seed, place in cells(folder):
        if (place / "errors.json").is_file() or seed not in asked.seeds:
            continue
        if labels not in asked.labels or potential not in asked.potentials:
            continue
        if time.monotonic() > until:
            break
        print(f"{potential}, {labels} labels, seed {seed}", flush=True)
        study.finished(place, settings(potential, labels, seed), test_sets(folder))


def test_sets(folder: Path) -> dict[str, Path]:
    """Files of the test sets."""
    files = study.test_sets(folder) | {"fumarate": STUDY / "al_fumarate_wide.extxyz"}
    return {name: files[name] for name in SETS}


def table(folder: Path) -> str:
    """The table so far."""
    lines = [
        f"| test set | labels for each | potential of | seeds | {' | '.join(COLUMNS)} |",
        "|---" * (len(COLUMNS) + 4) + "|",
    ]
    found: dict[tuple[int, str], list[dict[str, Any]]]
    found = {key: [] for key in product(LABELS, POTENTIALS)}
    for potential, labels, _, place in cells(folder):
        if (place / "errors.json").is_file():
            errors = json.loads((place / "errors.json").read_text(encoding="utf-8"))
            found[labels, potential].append(errors)
    for name, (labels, potential) in product(SETS, found):
        each = [errors[name] for errors in found[labels, potential]]
        values = [study.shown([one[error] for one in each]) for error in COLUMNS.values()]
        cell = (SETS[name], str(labels), potential, str(len(each)), *values)
        lines.append(f"| {' | '.join(cell)} |")
    return "\n".join(lines)


def wide(folder: Path) -> None:
    """Make the test set of the fumarate: a campaign of another seed, without its final model."""
    data = settings("fumarate", max(LABELS), WIDE_SEED)
    data["model"]["final"] = None
    place = folder / f"fumarate-wide-{WIDE_SEED}"
    study.ran(place, data)
    argv = [sys.executable, str(study.EXAMPLE / "make_wide_set.py"), str(place / "run")]
    argv += ["--structure", str(STUDY / "al_fumarate.extxyz"), "--opened", "0"]
    argv += ["--volumes", *map(str, WIDE), "-o", str(STUDY / "al_fumarate_wide.extxyz")]
    subprocess.run(argv, check=True)


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="run the campaigns that are missing")
    shown_as = commands.add_parser("table", help="print the table")
    making = commands.add_parser("wide", help="make the test set of the fumarate again")
    for one in (running, shown_as, making):
        one.add_argument("folder", type=Path)
    running.add_argument("--hours", type=float, default=12.0, help="begin no campaign after that")
    running.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=SEEDS)
    running.add_argument("--labels", type=int, nargs="+", choices=LABELS, default=LABELS)
    running.add_argument("--potentials", nargs="+", choices=POTENTIALS, default=[*POTENTIALS])
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    if asked.command == "wide":
        wide(folder)
        return
    if asked.command == "run":
        run(folder, asked)
    print(table(folder))


if __name__ == "__main__":
    main()
