#!/usr/bin/env python3
"""Compare ways to spend the same number of labels on MIL-53(Al); a table that fills up.

    python examples/study/study.py run FOLDER --hours 3     # the next campaigns; Ctrl-C is safe
    python examples/study/study.py run FOLDER --seeds 2     # one seed, on one core
    python examples/study/study.py run FOLDER --labels 100 --ways "biased walkers"
    python examples/study/study.py table FOLDER             # the table so far, as Markdown
    python examples/study/study.py figure FOLDER study.svg  # the same, each seed as a point
    python examples/study/study.py fes FOLDER --segments 40 # free energies of those that are biased

Each row is a way, each of its columns the mean and the spread over the seeds of one error of the
final model, on test sets that no campaign has seen: `path` is the reference's own dynamics
(examples/mil53_al/test.extxyz), `wide` frames of biased walkers of another seed (wide.extxyz),
those with the crystal's bonds and those with other bonds apart. What was not run is empty.
All final models of a table are trained on as many labels (48, unless --labels says another number);
those without MD with at least as many optimizer steps.

`fes` computes the free energy of each final model of biased walkers along the volume, compares it
with those of the other seeds, and with the reference by labels of frames along the volume.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

EXAMPLE = Path(__file__).resolve().parents[1] / "mil53_al"
PHASEWALK = (sys.executable, "-m", "phasewalk")
SEEDS = (1, 2, 3)
BOOTSTRAP, WALKERS = 32, 4
LABELS = 48
NAMES = ("path", "wide-intact", "wide-opened")
WAYS = (
    "biased walkers",  # as in the example
    "random perturbations",  # all 48, no MD
    "unbiased MD",  # no METAD and no walls
    "without checks",  # of bonds and of the model's energy
    "without repulsion",
    "MD at 600 K",  # likewise unbiased
    "biased walkers at 600 K",
)
UNITS = {"force": "meV/Å", "energy": "meV/atom", "pressure": "GPa"}
COLUMNS = {
    "path: force MAE": ("path", "force_mae_meV_per_A"),
    "path: energy scatter": ("path", "energy_scatter_meV_per_atom"),
    "path: pressure MAE": ("path", "pressure_mae_GPa"),
    "wide, intact: force MAE": ("wide-intact", "force_mae_meV_per_A"),
    "wide, intact: energy scatter": ("wide-intact", "energy_scatter_meV_per_atom"),
    "wide, opened: force MAE": ("wide-opened", "force_mae_meV_per_A"),
}
"""Heading → test set and error; meV/Å, meV/atom, GPa."""


def settings(way: str, seed: int, labels: int = LABELS) -> dict[str, Any]:
    """The campaign file of one cell, as data."""
    data = YAML(typ="safe").load((EXAMPLE / "campaign.yaml").read_text(encoding="utf-8"))
    system = data["systems"]["mil53_al"]
    data |= {"campaign": "study", "seed": seed, "rounds": (labels - BOOTSTRAP) // WALKERS}
    data["resources"] = {"cores": 1, "walkers_per_core": system["walkers"]}
    system["structure"] = str(EXAMPLE / "mil53_al.extxyz")
    del data["test_data"], data["stop"]
    if way == "without checks":
        system["bonds"] = "free"
        data["policy"]["max_energy_error_meV_per_atom"] = None
    elif way == "without repulsion":
        data["model"]["zbl"] = False
    elif way == "biased walkers at 600 K":
        system["temperature_K"] = 600
    elif way in ("unbiased MD", "MD at 600 K"):
        system["plumed"] = "UNITS LENGTH=A ENERGY=kj/mol TIME=fs\nvolume: VOLUME\n"
        system["plumed"] += "PRINT ARG=volume STRIDE=20 FILE=COLVAR\n"
        system["temperature_K"] = 600 if way == "MD at 600 K" else 300
    elif way == "random perturbations":
        # The epochs of all later generations, which random perturbations do not have.
        data["model"]["first"]["epochs"] += data["rounds"] * data["model"]["warm"]["epochs"]
        data["rounds"] = 0
        data["bootstrap"]["count"] = labels
    return dict(data)


def cells(folder: Path, labels: int = LABELS) -> Iterator[tuple[str, int, Path]]:
    """Way, seed and directory of each cell; the first seed of all ways comes first."""
    more = "" if labels == LABELS else f"-{labels}"
    for seed in SEEDS:
        for way in WAYS:
            yield way, seed, folder / f"{way.replace(' ', '-')}{more}-{seed}"


def run(folder: Path, asked: argparse.Namespace) -> None:
    """Run and evaluate the cells that are missing, until the time is over."""
    until = time.monotonic() + 3600 * asked.hours
    for way, seed, place in cells(folder, asked.labels):
        if (place / "errors.json").is_file() or seed not in asked.seeds or way not in asked.ways:
            continue
        if time.monotonic() > until:
            break
        print(f"{way}, seed {seed}", flush=True)
        finished(place, settings(way, seed, asked.labels), test_sets(folder))


def finished(place: Path, data: dict[str, Any], tests: dict[str, Path]) -> None:
    """Run a campaign in a directory, or the rest of it; errors.json is written at the end."""
    ran(place, data)
    found = {name: evaluated(place / "run", test) for name, test in tests.items()}
    written = place / "errors.part"
    written.write_text(json.dumps(found, indent=1), encoding="utf-8")
    written.replace(place / "errors.json")  # atomic


def ran(place: Path, data: dict[str, Any]) -> None:
    """Run a campaign in a directory, or the rest of it."""
    place.mkdir(parents=True, exist_ok=True)
    file = place / "campaign.yaml"
    with file.open("w", encoding="utf-8") as stream:
        YAML().dump(data, stream)
    with (place / "run.log").open("a", encoding="utf-8") as log:
        argv = (*PHASEWALK, "run", str(file), "--dir", str(place / "run"))
        subprocess.run(argv, stdout=log, stderr=subprocess.STDOUT, check=True)


def evaluated(run: Path, data: Path) -> dict[str, Any]:
    """Errors of the final model on a test set, as `phasewalk evaluate --json` prints them."""
    argv = (*PHASEWALK, "evaluate", str(run), "--data", str(data), "--json")
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(done.stdout))


def test_sets(folder: Path) -> dict[str, Path]:
    """Files of the test sets; the wide one in its two parts."""
    from ase.io import read, write

    files = {"path": EXAMPLE / "test.extxyz"}
    frames = read(EXAMPLE / "wide.extxyz", ":")
    folder.mkdir(parents=True, exist_ok=True)
    for name, intact in zip(NAMES[1:], (True, False), strict=True):
        files[name] = folder / f"{name}.extxyz"
        write(files[name], [one for one in frames if one.info["intact"] == intact])
    return files


def errors(folder: Path, labels: int = LABELS) -> dict[str, list[dict[str, Any]]]:
    """Way → the errors of its seeds, on each test set."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for way, _, place in cells(folder, labels):
        if (place / "errors.json").is_file():
            found[way].append(json.loads((place / "errors.json").read_text(encoding="utf-8")))
    return found


def table(folder: Path, labels: int = LABELS) -> str:
    """The table so far."""
    lines = [
        f"| {labels} labels | seeds | {' | '.join(COLUMNS)} |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for way, each in errors(folder, labels).items():
        values = [[one[data][error] for one in each] for data, error in COLUMNS.values()]
        lines.append(f"| {way} | {len(each)} | {' | '.join(map(shown, values))} |")
    return "\n".join(lines)


def shown(values: list[float]) -> str:
    """Mean, and the lowest and highest value in parentheses."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):.3g}"
    return f"{mean} ({min(values):.3g}–{max(values):.3g})" if len(values) > 1 else mean


def figure(folder: Path, labels: int, output: Path) -> None:
    """Each error of each seed as a point, and the means as lines."""
    from matplotlib.figure import Figure

    found = {way: each for way, each in errors(folder, labels).items() if each}
    drawn = Figure(figsize=(11, 0.4 * len(found) + 1.2), layout="constrained")
    for axes, (heading, (data, error)) in zip(
        drawn.subplots(1, len(COLUMNS), sharey=True), COLUMNS.items(), strict=True
    ):
        for row, each in enumerate(found.values()):
            values = [one[data][error] for one in each]
            axes.plot(values, [row] * len(values), "o", color="tab:blue", alpha=0.6)
            axes.plot(statistics.mean(values), row, "|", color="black", markersize=14)
        unit = next(one for name, one in UNITS.items() if name in heading)
        widest = max(one[data][error] for each in found.values() for one in each)
        axes.set(xlabel=unit, xlim=(0, 1.1 * widest), ylim=(len(found) - 0.5, -0.5))
        axes.set_title(heading.replace(": ", ":\n"), fontsize=9)
        axes.set_yticks(range(len(found)), list(found))
    drawn.savefig(output)


def free_energies(folder: Path, asked: argparse.Namespace) -> str:
    """Compute the free energies that are missing; a row for each seed, and for each two."""
    found: dict[int, dict[str, Any]] = {}
    for way, seed, place in cells(folder, asked.labels):
        if way != WAYS[0] or seed not in asked.seeds or not (place / "errors.json").is_file():
            continue
        argv = (*PHASEWALK, "fes", str(place / "run"), "--segments", str(asked.segments), "--json")
        argv += ("--against-reference", str(asked.frames))
        with (place / "fes.log").open("a", encoding="utf-8") as log:
            done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=log, check=True, text=True)
        (found[seed],) = json.loads(done.stdout).values()
    lines = [
        f"| {asked.labels} labels | ps per walker | crossings | largest error | d changes by | "
        "d from frame to frame |",
        "|---" * 6 + "|",
    ]
    for seed, one in found.items():
        reference = one["against_reference"]
        error = one["largest_error"]
        lines.append(
            f"| seed {seed} | {one['ps_per_walker']:.0f} | {sum(one['crossings'])} | "
            f"{'' if error is None else f'{error:.1f}'} | {reference['moves']:.0f} | "
            f"{reference['spread_kT']:.1f} kT |"
        )
    return "\n".join([*lines, "", *map(two, combinations(found.items(), 2))])


def two(pair: tuple[tuple[int, dict[str, Any]], tuple[int, dict[str, Any]]]) -> str:
    """How far the free energies of two seeds differ, and how many bins agree within the errors."""
    (first, one), (second, other) = pair
    at, mine, error = curve(one)
    there, theirs, its = curve(other)
    common = (at >= there[0]) & (at <= there[-1])
    difference = mine[common] - np.interp(at[common], there, theirs)
    difference -= difference.mean()
    both = np.hypot(error[common], np.interp(at[common], there, its))
    within = np.mean(abs(difference) <= 2 * both) if np.isfinite(both).all() else np.nan
    return (
        f"Seeds {first} and {second}: {difference.std():.1f} kJ/mol (rms), "
        f"{'no errors' if np.isnan(within) else f'{within:.0%} of the bins within two errors'}"
    )


def curve(found: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres (Å³), free energy and error (kJ/mol; NaN if there is none) of bins below 10 kT."""
    centres = np.array(found["variables"][0]["centres"], dtype=float)
    values, error = (np.array(found[key], dtype=float) for key in ("free_energy", "error"))
    low = values < found["opinions_compared_below"]
    return centres[low], values[low], error[low]


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="run the campaigns that are missing")
    running.add_argument("folder", type=Path)
    running.add_argument("--hours", type=float, default=12.0, help="begin no campaign after that")
    running.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=SEEDS)
    running.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    shown_as = commands.add_parser("table", help="print the table")
    shown_as.add_argument("folder", type=Path)
    drawing = commands.add_parser("figure", help="draw it")
    drawing.add_argument("folder", type=Path)
    drawing.add_argument("output", type=Path)
    learned = commands.add_parser("fes", help="free energies of final models of biased walkers")
    learned.add_argument("folder", type=Path)
    learned.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=SEEDS)
    learned.add_argument("--segments", type=int, default=40, help="of 1 ps (40)")
    learned.add_argument("--frames", type=int, default=48, help="to label for each (48)")
    for one in (running, shown_as, drawing, learned):
        one.add_argument("--labels", type=int, default=LABELS, help="of each campaign (48)")
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    if asked.labels < BOOTSTRAP or (asked.labels - BOOTSTRAP) % WALKERS:
        parser.error(f"--labels: {BOOTSTRAP} and a multiple of {WALKERS} more")
    if asked.command == "run":
        run(folder, asked)
    if asked.command == "figure":
        figure(folder, asked.labels, asked.output)
    elif asked.command == "fes":
        print(free_energies(folder, asked))
    else:
        print(table(folder, asked.labels))


if __name__ == "__main__":
    main()
