"""How often the error that `fes` states covers the spread of independent runs of one frozen model.

    python tests/bench/fes_errors.py CAMPAIGN.run --runs 10 --segments 24

Each run is `phasewalk fes --seed`; segments that have been run are not run again. For each run that
gives an error, its free energy is compared with the mean of all others: in how many bins below 10
kT the difference is at most twice the error.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A free energy along one variable, kJ/mol; NaN where it is not known.

    Attributes:
        centres: (n,) of the bins.
        values: (n,) free energy above its lowest bin.
        errors: (n,) stated error of this difference.
        crossings: of all walkers together.
    """

    centres: Array
    values: Array
    errors: Array
    crossings: int

    @classmethod
    def read(cls, found: dict[str, Any]) -> "Curve":
        """From the JSON of `phasewalk fes`, with the bins below 10 kT only."""
        (variable,) = found["variables"]
        values, errors = (np.array(found[key], dtype=float) for key in ("free_energy", "error"))
        values[~(values < found["opinions_compared_below"])] = np.nan
        return cls(np.array(variable["centres"]), values, errors, sum(found["crossings"]))

    def at(self, centres: Array) -> Array:
        """The free energy at other places; NaN outside of the bins that are known."""
        return np.interp(centres, self.centres, self.values, left=np.nan, right=np.nan)


def mean(curves: Sequence[Curve], centres: Array) -> Array:
    """The mean of free energies with the constants that fit best; NaN where one is unknown."""
    rows = np.array([curve.at(centres) for curve in curves])
    for _ in range(20):
        rows = rows - np.nanmean(rows - np.nanmean(rows, axis=0), axis=1, keepdims=True)
    return np.where(np.isnan(rows).any(axis=0), np.nan, rows.mean(axis=0))


def ratios(one: Curve, others: Sequence[Curve]) -> Array:
    """Difference from the mean of the others, as a multiple of the stated error, in each bin.

    Stated errors are those of the difference from the lowest bin, in which all agree.
    """
    truth = mean(others, one.centres)
    lowest = int(np.nanargmin(one.values))
    off = one.values - (truth - truth[lowest])
    known = np.isfinite(off) & (one.errors > 0.0)
    return np.asarray(off[known] / one.errors[known])


def ran(campaign: Path, seed: int, segments: int) -> Curve:
    """Run `fes` with a seed, or read what it has done before."""
    argv = [sys.executable, "-m", "phasewalk", "fes", str(campaign), "--seed", str(seed)]
    argv += ["--segments", str(segments), "--json"]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE)
    (found,) = json.loads(done.stdout).values()
    return Curve.read(found)


def table(curves: Sequence[Curve]) -> str:
    """A row for each run, and the share of all bins together."""
    lines = [
        "| run | crossings | largest error, kJ/mol | bins within two errors |",
        "|---" * 4 + "|",
    ]
    every = []
    for number, one in enumerate(curves, start=1):
        found = ratios(one, [*curves[: number - 1], *curves[number:]])
        every.append(found)
        inside = f"{np.mean(np.abs(found) <= 2.0):.0%} of {len(found)}" if len(found) else ""
        largest = f"{np.nanmax(one.errors[np.isfinite(one.values)]):.1f}" if len(found) else ""
        lines.append(f"| {number} | {one.crossings} | {largest} | {inside} |")
    together = np.concatenate(every)
    if len(together):
        inside = f"{np.mean(np.abs(together) <= 2.0):.0%} of {len(together)}"
        lines.append(f"| all | {sum(one.crossings for one in curves)} | | {inside} |")
    spread = np.array([one.at(curves[0].centres) for one in curves])
    spread = spread - mean(curves, curves[0].centres)
    spread = (spread - np.nanmean(spread, axis=1, keepdims=True)).std(axis=0, ddof=1)
    lines.append(
        f"\nThe runs scatter by {np.nanmedian(spread):.1f} kJ/mol in the median bin, "
        f"{np.nanmax(spread):.1f} at most."
    )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("campaign", type=Path, help="directory of a campaign that has ended")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--first", type=int, default=1001, help="seed of the first run (1001)")
    parser.add_argument("--segments", type=int, default=24, help="of each run (24)")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.runs)
    print(table([ran(asked.campaign, seed, asked.segments) for seed in seeds]))


if __name__ == "__main__":
    main()
