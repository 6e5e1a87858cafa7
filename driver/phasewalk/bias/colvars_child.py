"""Child process that computes variables of frames with PLUMED, through `fix plumed` of LAMMPS.

Usage: `python -m phasewalk.bias.colvars_child REQUEST RESULT`. Atoms, cell, masses and units are
passed to PLUMED in the same way as for a walker. Each frame uses a new instance of PLUMED.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..engines import Library
from ..labels import frame_from_json
from .colvars import PLUMED, PRINTED, is_pattern
from .dumps import read_colvar

PAIR_STYLE = "zero 1.0"
LOG = "plumed.log"


def _table(file: Path, arguments: Sequence[str]) -> dict[str, float]:
    """The variables of one METAD for one frame, by name.

    Names are those of the PLUMED input, or PLUMED's own if ARG has a pattern.
    """
    table = read_colvar(file)
    if len(table.values) != 1 or table.fields[:1] != ("time",):
        raise ValueError(f"{file}: PLUMED printed {len(table.values)} lines, expected 1")
    fields = table.fields[1:]
    patterns = any(map(is_pattern, arguments))
    names = fields if patterns or len(fields) != len(arguments) else arguments
    return dict(zip(names, table.values[0, 1:].tolist(), strict=True))


def _variables(library: Library, arguments: Sequence[Sequence[str]]) -> dict[str, float]:
    """The variables of the placed frame, by name, in the order of METAD's arguments."""
    files = [Path(PRINTED.format(index)) for index in range(len(arguments))]
    for file in (*files, Path(LOG)):
        file.unlink(missing_ok=True)  # PLUMED would back up an existing file
    library.lmp.command(f"fix variables all plumed plumedfile {PLUMED} outfile {LOG}")
    library.lmp.command("run 0")
    library.lmp.command("unfix variables")  # PLUMED closes its files
    found: dict[str, float] = {}
    for file, names in zip(files, arguments, strict=True):
        found |= _table(file, names)
    for name, value in found.items():
        if not np.isfinite(value):
            raise ValueError(f"PLUMED returned {name} = {value}, which is not finite")
    return found


def _result(request: dict[str, Any]) -> dict[str, Any]:
    frames = [frame_from_json(frame) for frame in request["frames"]]
    masses = request["masses"]
    log = Path("log.lammps")
    library = Library(list(masses), pair_style=PAIR_STYLE, masses=masses, log=log)
    library.lmp.command("pair_coeff * *")
    found = []
    for number, atoms in enumerate(frames, start=1):
        try:
            library.place(atoms)
            found.append(_variables(library, request["arguments"]))
        except Exception as error:
            raise RuntimeError(f"frame {number} of {len(frames)}: {error}") from error
    return {"names": list(found[0]), "values": [list(values.values()) for values in found]}


def main(argv: list[str]) -> int:
    """Compute the variables of the requested frames; return 0 if successful."""
    request = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    try:
        result = _result(request)
    except Exception as error:  # pass on PLUMED's own message
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    Path(argv[2]).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
