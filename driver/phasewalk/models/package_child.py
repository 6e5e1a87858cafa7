"""Child process that packages a checkpoint with nequip: `package_child CHECKPOINT OUTPUT`.

It is `nequip-package build`, which puts the code of the network into the package, to which
phasewalk's own part of the network is added, so that the package is read without phasewalk. A
checkpoint that contains other code is refused. `train.extxyz` in the working directory gives the
example frames with which nequip-compile traces the network.
"""

import sys
from pathlib import Path

from .checkpoints import REFUSED, Refused, copied


def main(checkpoint: Path, output: str) -> int:
    """Write the package; returns the exit code."""
    from .nequip_private import build_package

    try:
        build_package(copied(checkpoint, Path()), output, own="phasewalk")
    except Refused as error:
        print(error, file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
