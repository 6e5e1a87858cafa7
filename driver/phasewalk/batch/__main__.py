"""`python -m phasewalk.batch FOLDER COMMAND…`: the job of phasewalk itself, see `driver_job`."""

import os
import signal
import sys
from pathlib import Path

from ..errors import PhasewalkError
from ..files import read
from .driver_job import PLAN, Driver, Plan, again_environment
from .scheduler import Slurm


def say(text: str) -> None:
    """Print a line of the driver's own."""
    print(f"phasewalk driver: {text}", flush=True)


def main(words: list[str]) -> int:
    """Entry point."""
    folder = Path(words[0])
    scheduler = Slurm(again_environment(os.environ))
    number = os.environ.get("SLURM_JOB_ID", "")
    driver = Driver(folder, read(folder / PLAN, Plan), words[1:], number, scheduler, say)
    signal.signal(signal.SIGTERM, driver.term)
    try:
        return driver.main()
    except PhasewalkError as error:
        say(str(error))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
