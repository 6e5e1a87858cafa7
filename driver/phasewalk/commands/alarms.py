"""`phasewalk alarms`: frames of a long run that are unlike what its model was trained on."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from . import terminal


def alarms(
    directory: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run of phasewalk produce.")
    ],
) -> None:
    """Look at the frames of a long run for what is unlike the labels of its model.

    `phasewalk produce` does so while it runs; this is for frames that were written without it.
    """
    from ..alarms import again
    from ..store import take

    out = terminal.stdout()

    def say(line: str) -> None:
        out.print(Text(line), soft_wrap=True)

    root = directory.absolute()
    lock = take(root)
    try:
        for line in again(root, say).summary():
            say(line)
    finally:
        lock.release()
