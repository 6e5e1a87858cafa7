#!/usr/bin/env python3
"""Train on the labels of a finished campaign with other settings, and show the errors.

    python examples/study/trainings.py RUN FOLDER DATA… --set model.optimizer=adam
    python examples/study/trainings.py RUN FOLDER DATA… --set model.first.learning_rate=0.1

RUN is a campaign's directory. Its labels are imported into a campaign without rounds in FOLDER,
whose generation 0 is trained on them from random weights, with RUN's settings except those given.
If its structures are not given by absolute paths, copy them to FOLDER. For each file of labelled
frames (DATA) and for the labels themselves: force MAE (meV/Å), scatter of energies (meV/atom) and
pressure MAE (GPa). Then in how many of the labelled frames there is a hole: the energy does not
rise when their closest bond is compressed to 0.6 and then to 0.4 of its length.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io import write
from ruamel.yaml import YAML
from study import PHASEWALK, evaluated

from phasewalk import Campaign
from phasewalk.validation.probes import attracts, squeezed

SHOWN = ("force_mae_meV_per_A", "energy_scatter_meV_per_atom", "pressure_mae_GPa")


def settings(run: Path, data: Path, changes: list[str]) -> dict[str, Any]:
    """The campaign file, as data: RUN's, without rounds, with its labels and these changes."""
    found = dict(YAML(typ="safe").load((run / "campaign.yaml").read_text(encoding="utf-8")))
    found |= {"rounds": 0, "initial_data": {"file": str(data), "same_level": True}}
    found["bootstrap"] = {**found.get("bootstrap", {}), "count": 0}
    found["model"] = {**found.get("model", {}), "final": None}
    found["deploy"] = {**found.get("deploy", {}), "mode": "torchscript"}
    for key in ("stop", "test_data"):
        found.pop(key, None)
    for change in changes:
        path, _, value = change.partition("=")
        *parents, last = path.split(".")
        group = found
        for parent in parents:
            group = group.setdefault(parent, {})
        group[last] = YAML(typ="safe").load(value)
    return found


def has_hole(atoms: Atoms, model: Calculator) -> bool:
    """Whether the energy does not rise when the closest bond is compressed."""
    found = [atoms, *squeezed(atoms).values()]
    return attracts([float(model.get_potential_energy(one)) for one in found])


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    labels = folder / "labels.extxyz"
    write(labels, Campaign(asked.run).labels)
    file = folder / "campaign.yaml"
    with file.open("w", encoding="utf-8") as stream:
        YAML().dump(settings(asked.run, labels, asked.set), stream)
    argv = (*PHASEWALK, "run", str(file), "--dir", str(folder / "run"))
    subprocess.run(argv, check=True)
    for data in (*asked.data, labels):
        found = evaluated(folder / "run", data)
        print(data, json.dumps({key: round(found[key], 3) for key in SHOWN}))
    trained = Campaign(folder / "run")
    model = trained.calculator()
    holes = [has_hole(atoms, model) for atoms in trained.labels]
    print(f"holes: {sum(holes)} of {len(holes)} frames")


if __name__ == "__main__":
    main()
