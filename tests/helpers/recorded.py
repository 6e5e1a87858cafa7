"""A recorded campaign (tests/data/README.md), and what tests make of it."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from phasewalk.store import directory
from phasewalk.store.records import FAILED, KIND, Record

RECORDED = Path(__file__).parents[1] / "data/mil53_al.run"


def rewrite(root: Path, change: Callable[[Sequence[Record]], Sequence[Record]]) -> None:
    """Let the store write the journal anew."""
    with closing(directory.reopen_campaign(root)) as opened:
        opened.replace(change(opened.records()))


def only_bootstrap(records: Sequence[Record]) -> Sequence[Record]:
    """As it stood before round 1."""
    return [r for r in records if r.round == 0 and r.stage not in ("stop", "end")]


def with_failures(records: Sequence[Record]) -> Sequence[Record]:
    """The last round's labels have failed, but one; its walkers broke down, but one."""
    found = []
    last = max(r.round for r in records)
    labels = [r for r in records if r.stage == "label" and r.round == last]
    for record in records:
        if record in labels[1:]:
            outputs = {FAILED: "the SCF <script>alert(1)</script> did not converge",
                       KIND: "not converged"}  # fmt: skip
            record = replace(record, outputs=outputs)
        elif record.stage == "segment" and record.round == last:
            walkers = [
                {**w, "halted": None if n == 0 else "a force of 1e+05 eV/Å (limit 50) at step 7"}
                for n, w in enumerate(record.outputs["walkers"])
            ]
            record = replace(record, outputs={**record.outputs, "walkers": walkers})
        found.append(record)
    return found
