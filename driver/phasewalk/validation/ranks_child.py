"""Child process that evaluates frames with a model on several MPI ranks, and with one on one rank.

`mpiexec -n RANKS+1 python -m phasewalk.validation.ranks_child REQUEST ONE SEVERAL`; the first rank
of each partition writes its result.
"""

import json
import sys
from pathlib import Path

from ..labels import frame_from_json
from .predict_child import Model


def main(argv: list[str]) -> int:
    """Evaluate the requested frames; returns the exit code."""
    request = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    frames = [frame_from_json(frame) for frame in request["frames"]]
    species = sorted({symbol for atoms in frames for symbol in atoms.get_chemical_symbols()})
    partitions = (f"1x{request['ranks']}", "1x1")
    try:
        model = Model(
            *(Path(request["model"]), species, Path("log.lammps"), request["device"]),
            partitions=partitions,
        )
        result = {"frames": [model.evaluate(atoms) for atoms in frames]}
        several = model.lmp.extract_setting("world_size") > 1
        first = model.lmp.extract_setting("world_rank") == 0
    except Exception as error:  # the user needs LAMMPS's error line
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if first:
        Path(argv[3 if several else 2]).write_text(json.dumps(result), encoding="utf-8")
    model.lmp.finalize()  # else the launcher would take the end for a crash
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
