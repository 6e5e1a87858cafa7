"""`python -m phasewalk`: the same as `phasewalk`."""

from .commands import cli

if __name__ == "__main__":
    cli.main()
