"""How many random cases a test tries: few in `make test`, many in `make test-long`."""

import os

MANY = os.environ.get("PHASEWALK_TEST_CASES") == "many"


def cases(few: int, many: int) -> int:
    """The number that is wanted now; the cases of each are the same in every run."""
    return many if MANY else few
