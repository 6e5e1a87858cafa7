"""How busy cores are if labels take very different times, with and without waiting for all.

    python tests/bench/utilisation.py FOLDER --cores 8 --walkers 8 --rounds 4

The same campaign (NaCl, GFN1-xTB, real LAMMPS and trainings) twice: `late_factor: null`, in which
each training waits for all labels of its round, and `late_factor: 2`, in which late ones join the
next training. After each label the reference sleeps, from 2 s to `--longest` s: the same time for
the same frame, ten times longer than the shortest for one of four. Sleeping takes no processor, so
that more cores may be promised than there are. Prints the share of the promised core-time that jobs
had, by the campaign's own ledger.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
from ase.build import bulk

PHASEWALK = (sys.executable, "-m", "phasewalk")
SLEEPS = """\
import random, subprocess, sys, time
code = subprocess.call([sys.executable, "-m", "phasewalk.reference", *sys.argv[2:]])
drawn = random.Random(open(sys.argv[2]).read())
time.sleep(float(sys.argv[1]) if drawn.random() < 0.25 else drawn.uniform(0.1, 0.3) * 20)
sys.exit(code)
"""
CAMPAIGN = """\
campaign: busy
rounds: {rounds}
systems:
  NaCl:
    structure: NaCl.extxyz
    walkers: {walkers}
    ensemble: npt
    temperature_K: 100
    bonds: free
    plumed: |
      vol: VOLUME
      METAD ARG=vol SIGMA=0.002 HEIGHT=0.5 PACE=20 LABEL=metad
      PRINT ARG=vol,metad.bias STRIDE=10 FILE=COLVAR
bootstrap: {{count: 16, displacement_A: 0.05, strain: 0.02}}
segment: {{steps: 400, dump_every_steps: 20}}
policy: {{max_energy_error_meV_per_atom: null}}
reference: {{command: {command}, late_factor: {late}, share: false}}
model:
  preset: tiny
  first: {{epochs: 20, learning_rate: 0.01}}
  warm: {{epochs: 10, learning_rate: 0.005}}
  final: null
  max_force_error_ratio: null
deploy: {{mode: torchscript, device: cpu}}
resources: {{cores: {cores}}}
"""


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cores", type=int, default=8)
    parser.add_argument("--walkers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--longest", type=float, default=60.0, help="s")
    asked = parser.parse_args()
    print("| late_factor | labels | wall, s | core-time with a job | without any job |")
    print("|---|---|---|---|---|")
    for late in ("null", "2"):
        state = walked(asked.folder / f"late-{late}", asked, late)
        wall, hours = state["wall"]["wall_seconds"], sum(state["cost"]["core_hours"].values())
        busy = hours * 3600.0 / (wall * asked.cores)
        cells = (state["labels"]["done"], f"{wall:.0f}", f"{busy:.0%}")
        idle = state["wall"]["idle_share"]
        print(f"| {late} | {' | '.join(map(str, cells))} | {idle:.1%} |", flush=True)


def walked(folder: Path, asked: argparse.Namespace, late: str) -> dict[str, Any]:
    """The state of a finished campaign."""
    folder.mkdir(parents=True, exist_ok=True)
    ase.io.write(folder / "NaCl.extxyz", bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    script = folder / "sleeps.py"
    script.write_text(SLEEPS)
    command = json.dumps([sys.executable, str(script.absolute()), str(asked.longest)])
    (folder / "campaign.yaml").write_text(
        CAMPAIGN.format(
            rounds=asked.rounds,
            walkers=asked.walkers,
            command=command,
            late=late,
            cores=asked.cores,
        )
    )
    where = ("--dir", str(folder / "run"))
    with (folder / "run.log").open("w") as log:
        argv = [*PHASEWALK, "run", str(folder / "campaign.yaml"), *where]
        subprocess.run(argv, check=True, stdout=log, stderr=subprocess.STDOUT)
    argv = [*PHASEWALK, "status", str(folder / "run"), "--json"]
    found: dict[str, Any] = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    return found


if __name__ == "__main__":
    main()
