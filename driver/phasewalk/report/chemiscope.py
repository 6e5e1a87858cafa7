"""A chemiscope file of all labelled frames with their variables and errors."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

from ..campaign import stop
from ..errors import EngineMissing
from ..files import write_file
from ..production import lineage
from ..status import History, library

ENDING = ".chemiscope.json.gz"
MOST = 5000
"""Maximum number of frames in a file; browsers are too slow with more."""


def write(found: History, path: Path) -> int:
    """Write all labelled frames for chemiscope (chemiscope.org, or its widget).

    If there are more than `MOST`, only every second, third … one is written.

    Properties: energy (eV/atom), largest force (eV/Å), volume (Å³), round, walker, the collective
    variables, and the errors of the last generation that was evaluated on the frame before it was
    trained on it; NaN if there is none, as for the bootstrap.

    Args:
        found: the campaign.
        path: the file, which must end in .json or .json.gz.

    Returns:
        Number of frames; if it is 0, no file is written.

    Raises:
        EngineMissing: chemiscope is not installed; ParseError: a label is damaged; StoreError: the
            file cannot be written.
    """
    try:
        import chemiscope
    except ImportError as error:
        raise EngineMissing(
            "no chemiscope file was written, since chemiscope is not installed; pip install "
            "'phasewalk[notebook]'"
        ) from error
    every = math.ceil(len(library.label_keys(found.records)) / MOST) or 1
    labels, _ = library.campaign_labels(found.root, found.store, every=every)
    if not labels:
        return 0
    known, at = stop.located(found.records), lineage.moment(found.records)
    wrong = {
        one.key: one.errors for one in found.comparisons if one.of == "new" and not one.learned
    }
    rows = [library.row(label) for label in labels]
    keys = [label.key for label in labels]
    properties: dict[str, dict[str, Any]] = {
        "energy": _property([row["energy_eV_per_atom"] for row in rows], "eV/atom"),
        "largest force": _property([row["max_force_eV_per_A"] for row in rows], "eV/Å"),
        "volume": _property([row["volume_A3"] for row in rows], "Å³"),
        "round": _property([row["round"] if row["round"] is not None else -1 for row in rows]),
        "walker": _property([row["walker"] or "(none)" for row in rows]),
    }
    for name in sorted({name for values in known.values() for name in values}):
        column = [known.get(key, {}).get(name, math.nan) for key in keys]
        properties[f"variable {name}"] = _property(column, "as in the PLUMED text")
    for name, title, unit in (
        ("force_rmse_meV_per_A", "force RMSE before training on it", "meV/Å"),
        ("stress_mae_GPa", "stress MAE before training on it", "GPa"),
    ):
        column = [wrong.get(key, {}).get(name, math.nan) for key in keys]
        properties[title] = _property(column, unit)
    data = chemiscope.create_input(
        [label.atoms for label in labels],
        properties=properties,
        metadata={
            "name": str(found.state["campaign"]),
            "description": f"phasewalk: {_which(every)}, from {at['records']} records of the "
            f"journal; the last one is {at['last']} ({at['written']})",
        },
    )
    content = json.dumps(data).encode()
    write_file(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return len(labels)


def _which(every: int) -> str:
    return "all labels" if every == 1 else f"one of every {every} labels"


def _property(values: list[Any], units: str = "") -> dict[str, Any]:
    return {"target": "structure", "values": values, **({"units": units} if units else {})}
