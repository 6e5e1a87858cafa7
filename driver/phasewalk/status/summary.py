"""State of a campaign, from its journal, as data and as text."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import moment, onsite, submitted
from ..campaign import stop
from ..errors import InputError, StoreError
from ..generations import worse
from ..labels import levels
from ..store import (
    INITIAL,
    LABEL,
    DeployedModel,
    Ended,
    Evaluated,
    Imported,
    Late,
    Record,
    Segment,
    Steered,
    Store,
    Trained,
    added,
    by_round,
    each,
    failures,
    label_task,
    ledger,
    locked,
    read_campaign,
    read_identity,
)
from ..store import now as clock
from . import deployed, intact, progress


def collect(root: Path, store: Store | None = None) -> dict[str, Any]:
    """The state of a campaign as data for JSON.

    Args:
        root: campaign directory.
        store: the directory, if it is already open.

    `decisions` of a round: where each walker started, and why. `stop` of a walker: why it stopped.
    `proved_after_seconds` of a generation: wall time from its last epoch to its validation.

    Keys: campaign, directory, running, finished, submitted (see `submitted.Submitted`; null without
    one), now (see `moment.Now`; null if not running or not known), site (see `moment.SiteNow`; also
    partitions, allocations; null without one), labels, generations (each with errors on the new
    frames of its round, on those of the next round, and on the test set), deployed_models (see
    `deployed.forms`), rounds (each with walkers, hills, errors before and after learning, seconds
    by stage), intact (see `intact.collect`), last_model (see docs/status-json.md), seconds, wall
    (see ledger.timeline), stop (rules, ended_by), cost (see ledger.costs), identity.
    """
    store = store or read_campaign(root)
    return _collect(root, read_identity(root), store.records())


def _collect(root: Path, identity: Mapping[str, Any], records: Sequence[Record]) -> dict[str, Any]:
    rounds, generations = by_round(records), _generations(records)
    last = max(rounds, default=0)
    running = locked(root)
    at = clock()
    doing = moment.read(root, at) if running else None
    return {
        "campaign": identity["name"],
        "directory": str(root),
        "running": running,
        "finished": any(ended.by for r, ended in each(records, Ended) if r.round == last),
        "submitted": submitted.about(root),
        "now": None if doing is None else moment.without_site(doing),
        "site": onsite.collect(root, records, doing, at),
        "labels": {
            "done": sum(r.stage == LABEL and not r.failed for r in records),
            "failed": sum(r.stage == LABEL and r.failed for r in records),
            "initial": sum(len(r.of(Imported).labels) for r in records if r.task == INITIAL),
            "added": sum(len(r.of(Imported).labels) for r in added(records)),
        },
        "generations": generations,
        "deployed_models": deployed.forms(records, generations),
        "rounds": [_round(number, rounds.get(number, ())) for number in sorted({0, *rounds})],
        "intact": intact.collect(records),
        "last_model": _last_model(records),
        "seconds": _seconds(records),
        "wall": ledger.timeline(records),
        "stop": _stop(records),
        "cost": ledger.costs(records, _reference(identity)),
        "identity": identity,
    }


def _stop(records: Sequence[Record]) -> dict[str, Any]:
    """Last results of the stop rules, and what ended the campaign."""
    rules, _ = stop.judged(records)
    ends = [ended.by for _, ended in each(records, Ended)]
    return {"rules": [asdict(rule) for rule in rules], "ended_by": ends[-1] if ends else []}


def _reference(identity: Mapping[str, Any]) -> str:
    """The reference program with its version."""
    with contextlib.suppress(InputError):
        return levels.from_dict(identity.get("level of theory")).title
    return ""


def _last_model(records: Sequence[Record]) -> dict[str, Any] | None:
    """The comparison of the last model with the generation before; None if there is none."""
    found = worse.of(records)
    if found is None:
        return None
    kept = {"generation", "before", "frames", "errors", "worse", "better"}
    return {**found.model_dump(include=kept), "says": worse.in_words(found)}


def _seconds(records: Sequence[Record]) -> dict[str, float]:
    """Wall seconds of the engines by stage; those of parallel labels are summed."""
    found: dict[str, float] = {}
    for record in records:
        found[record.stage] = round(found.get(record.stage, 0.0) + record.seconds, 2)
    return found


def _generations(records: Sequence[Record]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        made = record.made
        if isinstance(made, Trained):
            found[made.generation] = {
                "generation": made.generation,
                "training_labels": made.training_labels,
                "validation_labels": made.validation_labels,
                "validation": made.validation,
                "epochs": made.epochs,
                "train_seconds": record.seconds,
                "checkpoint": made.checkpoint,
                "last_epoch_time": made.last_epoch.at,
            }
        elif not isinstance(made, DeployedModel | Evaluated) or made.generation not in found:
            continue  # of a training that was repeated
        elif isinstance(made, DeployedModel):
            entry = found[made.generation]
            entry["deployed"] = made.file
            entry["mode"] = made.mode
            entry["deploy_seconds"] = record.seconds
        else:
            entry = found[made.generation]
            if made.proof is not None:  # evaluation of its own round, for which walkers wait
                entry["proved_after_seconds"] = round(record.time - entry["last_epoch_time"], 2)
            if made.test is not None:
                entry["test"] = made.test.dump()
            entry["ms_per_step"] = round(1000 * made.seconds_per_step, 3)
    return list(found.values())


def _round(number: int, mine: Sequence[Record]) -> dict[str, Any]:
    entry: dict[str, Any] = {"round": number, "seconds": _seconds(mine)}
    entry["labels"] = sum(r.stage == LABEL and not r.failed for r in mine)
    entry["late_labels"] = _late(number, mine)
    entry["failed_labels"] = [failure.reason for _, failure in failures(mine, LABEL)]
    for record in mine:
        made = record.made
        if isinstance(made, Segment):
            entry["walkers"] = [walker.dump() for walker in made.walkers]
            entry["hills"] = {system: counts.dump() for system, counts in made.hills.items()}
        elif isinstance(made, Steered):
            entry["decisions"] = [one.dump() for one in made.walkers]
        elif isinstance(made, Evaluated) and made.new is not None:
            before = made.generation != str(number)
            entry["before_learning" if before else "after_learning"] = {
                "generation": made.generation,
                **made.new.dump(),
            }
    return entry


def _late(number: int, mine: Sequence[Record]) -> dict[str, int]:
    """Labels that a round's generation is trained without, and how many of these are made."""
    keys = [one.key for _, late in each(mine, Late) for one in late.labels]
    made = {record.task for record in mine if record.stage == LABEL}
    return {"count": len(keys), "finished": sum(label_task(key, number) in made for key in keys)}


def show(state: Mapping[str, Any], console: Console) -> None:
    """Print the state as text."""
    what = "running" if state["running"] else "finished" if state["finished"] else "stopped"
    what = "queued" if submitted.waits(state) else what
    labels = state["labels"]
    console.print(
        f"campaign {state['campaign']}: {what}; {labels['done']} labels"
        + (f", {labels['initial']} from initial_data" if labels["initial"] else "")
        + (f", {labels['added']} added by fes or production runs" if labels["added"] else "")
        + (f", {labels['failed']} failed" if labels["failed"] else ""),
        highlight=False,
    )
    for line in submitted.lines(state):
        console.print(Text(line), soft_wrap=True)
    if cost := ledger.line(state["cost"]["labels"]):
        console.print(cost, highlight=False)
    by = state["stop"]["ended_by"] if state["finished"] else []
    for rule in state["stop"]["rules"]:
        ended = " (this ended the campaign)" if rule["rule"] in by else ""
        console.print(Text(f"{stop.Rule(**rule).line}{ended}"), soft_wrap=True)
    if state["now"] is not None:
        console.print(progress.render(moment.from_json(state["now"])))
    if state["site"] is not None:
        onsite.site_view.show(state, console)
    console.print(_learning_table(state["rounds"]))
    if state["generations"]:
        console.print(_generation_table(state["generations"]))
    if state["last_model"] is not None and state["last_model"]["says"]:
        console.print(state["last_model"]["says"], highlight=False, markup=False, soft_wrap=True)
    for line in intact.lines(state["intact"]):
        console.print(line, highlight=False, soft_wrap=True)
    for entry in state["rounds"]:
        if failed := entry["failed_labels"]:
            line = f"{len(failed)} label(s) failed; the last: {failed[-1]}"
            console.print(f"round {entry['round']}: {line}", highlight=False, markup=False)
        if (late := entry["late_labels"])["count"]:
            console.print(
                f"round {entry['round']}: {late['count']} label(s) were late "
                f"({late['finished']} finished); generation {entry['round']} is trained without",
                highlight=False,
            )
        if line := _walkers(entry):
            console.print(f"round {entry['round']}: {line}", highlight=False)
        for system, hills in entry.get("hills", {}).items():
            console.print(
                f"round {entry['round']}, {system}: hills deposited {hills['deposited']}, "
                f"expected {hills['expected']}, in the record {hills['in_record']} "
                f"(active at the end of the segment: {hills['active']})",
                highlight=False,
            )


def _walkers(entry: Mapping[str, Any]) -> str:
    """Where walkers started and why they stopped; empty if all went as usual."""
    starts = Counter(one["source"] for one in entry.get("decisions", ()))
    stops = Counter(
        walker["stop"]["reason"] if walker.get("stop") else "end of the launch"
        for walker in entry.get("walkers", ())
        if walker["halted"]
    )
    parts = []
    if starts.keys() - {"new", "good"}:
        places = {
            "good": "a good frame",
            "before": "the start of the previous round",
            "start": "the start structure",
            "new": "the start structure (first round)",
        }
        parts.append(", ".join(f"{n} from {places[source]}" for source, n in starts.items()))
    if stops:
        why = ", ".join(f"{reason} {n}" for reason, n in stops.items())
        parts.append(f"{sum(stops.values())} of {len(entry['walkers'])} stopped early ({why})")
    return "; ".join(parts)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table without empty columns, such as test errors without a test set."""
    filled = [index for index in range(len(columns)) if not rows or any(row[index] for row in rows)]
    table = Table(title=title)
    for index in filled:
        table.add_column(columns[index], justify="right")
    for row in rows:
        table.add_row(*(row[index] for index in filled))
    return table


def _learning_table(rounds: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        "round",
        "labels",
        "force MAE meV/Å",
        "(rms / zero forces)",
        "pressure MAE GPa",
        "energy offset",
        "scatter meV/atom",
        "seconds",
    )
    rows = []
    for entry in rounds:
        before, after = entry.get("before_learning"), entry.get("after_learning")
        rows.append(
            (
                str(entry["round"]),
                str(entry["labels"]),
                _both(before, after, "force_mae_meV_per_A", ".0f"),
                _beside(after, "force_rms_meV_per_A", "force_zero_mae_meV_per_A"),
                _both(before, after, "pressure_mae_GPa", ".2f"),
                _both(before, after, "energy_offset_meV_per_atom", ".1f"),
                _both(before, after, "energy_scatter_meV_per_atom", ".1f"),
                f"{sum(entry['seconds'].values()):.0f}",
            )
        )
    return _table("New frames of each round, before and after training on them", columns, rows)


def _beside(errors: Mapping[str, Any] | None, key: str, other: str) -> str:
    """Two numbers; only the first if an earlier version did not record the other."""
    if not errors:
        return ""
    found = [errors[key], *([errors[other]] if other in errors else [])]
    return " / ".join(f"{value:.0f}" for value in found)


def _both(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, key: str, style: str
) -> str:
    found = (e[key] for e in (before, after) if e is not None)
    return " → ".join("–" if value is None else format(value, style) for value in found)


def _generation_table(generations: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        "generation",
        "labels",
        "epochs",
        "train s",
        "deployed",
        "validation force MAE / zero forces",
        "test force MAE / zero forces, meV/Å",
        "RMSE / rms",
        "test pressure MAE GPa",
        "ms/step",
    )
    rows = []
    for entry in generations:
        test, held = entry.get("test"), entry.get("validation")
        rows.append(
            (
                entry["generation"],
                f"{entry['training_labels']}+{entry['validation_labels']}",
                str(entry["epochs"]),
                f"{entry['train_seconds']:.0f}",
                entry.get("mode", ""),
                _beside(held, "force_mae_meV_per_A", "force_zero_mae_meV_per_A"),
                _beside(test, "force_mae_meV_per_A", "force_zero_mae_meV_per_A"),
                _beside(test, "force_rmse_meV_per_A", "force_rms_meV_per_A"),
                f"{test['pressure_mae_GPa']:.2f}" if test else "",
                f"{entry['ms_per_step']:.1f}" if "ms_per_step" in entry else "",
            )
        )
    return _table("Generations", columns, rows)


def show_errors(model: str, errors: Mapping[str, Any], console: Console) -> None:
    """Print the errors of a model as text."""
    e = errors
    table = Table(title=f"{model} on {e['frames']} frames")
    for title in ("", "MAE", "RMSE"):
        table.add_column(title, justify="right")
    rows = (
        (
            "force, meV/Å (rms / MAE of zero forces: "
            f"{_beside(e, 'force_rms_meV_per_A', 'force_zero_mae_meV_per_A')})",
            "force_{}_meV_per_A",
            ".1f",
        ),
        ("energy, meV/atom", "energy_{}_meV_per_atom", ".2f"),
        ("pressure, GPa", "pressure_{}_GPa", ".3f"),
        ("stress component, GPa", "stress_{}_GPa", ".3f"),
    )
    for title, key, style in rows:
        table.add_row(title, *(format(e[key.format(kind)], style) for kind in ("mae", "rmse")))
    console.print(table)
    for formula, offset in e["energy_offsets_meV_per_atom"].items():
        console.print(f"energy: common offset of {formula} {offset:.2f} meV/atom")
    if e["energy_scatter_meV_per_atom"] is not None:
        scatter = e["energy_scatter_meV_per_atom"]
        console.print(f"energy: scatter after subtracting the offset {scatter:.2f} meV/atom")


def deployed_model(
    root: Path, generation: str | None, state: Mapping[str, Any] | None = None
) -> Path:
    """The deployed model of a generation ("0", "1", … or "final"); the last one by default.

    Args:
        root: directory of the campaign.
        generation: its name.
        state: what `collect` gave for this directory, if it was called before.
    """
    state = state or collect(root)
    entries = {e["generation"]: e for e in state["generations"] if "deployed" in e}
    if not entries:
        raise StoreError(f"{root}: no deployed generation yet; run the campaign first")
    name = generation if generation is not None else list(entries)[-1]
    if name not in entries:
        raise InputError(f"--generation {name}: not found; the campaign has {', '.join(entries)}")
    return root / str(entries[name]["deployed"])
