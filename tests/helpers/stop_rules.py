"""Rules of `stop:` that the first round of a campaign has met, or just not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from phasewalk.campaign import stop
from phasewalk.status import summary
from phasewalk.store import ledger
from phasewalk.store.directory import read_campaign
from phasewalk.store.records import at_end


def numbers(root: Path) -> dict[str, float]:
    """What the rules look at after round 1."""
    records = [r for r in read_campaign(root).records() if not at_end(r)]
    state = summary.collect(root)
    volumes = sorted(stop.positions(records, "vol", system=None, round_=1))
    return {
        "force": state["rounds"][1]["before_learning"]["force_mae_meV_per_A"],
        "low": volumes[0],
        "high": volumes[-1],
        "labels": state["labels"]["done"],
        "core_hours": sum(ledger.costs(records, "")["core_hours"].values()),
        "wall_hours": ledger.timeline(records)["wall_seconds"] / 3600.0,
    }


RULES: dict[str, Callable[[dict[str, float], bool], dict[str, Any]]] = {
    "errors": lambda n, met: {
        "errors": {"rounds": 1, "force_mae_meV_per_A": n["force"] * (1.001 if met else 0.999)}
    },
    "covered": lambda n, met: {
        "covered": [{
            "colvar": "vol", "bins": 1, "frames": 2,
            "min": n["low"] - 1e-6, "max": n["high"] + (1e-6 if met else -1e-6),
        }]
    },
    "max_labels": lambda n, met: {"max_labels": int(n["labels"]) + (1 if met else 2)},
    "max_core_hours": lambda n, met: {"max_core_hours": n["core_hours"] * (0.999 if met else 1.5)},
    "max_wall_hours": lambda n, met: {"max_wall_hours": n["wall_hours"] * (0.999 if met else 3.0)},
    "free_energy": lambda n, met: {
        "free_energy": {"max_difference_kJ_per_mol": 1e6 if met else 1e-9, "segments": 3,
                        "min_shared": 0.01}
    },
}  # fmt: skip
"""Name of a rule → from these numbers, the rule that is met, or nearly so."""
