"""The report: one self-contained HTML page, made from the campaign directory alone."""

import datetime
import hashlib
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..errors import InputError, ParseError, PhasewalkError
from ..files import file_hash, read, write_file
from ..labels import levels
from ..production import lineage
from ..status import History, deployed, intact, verdict
from ..store import Versions, each, ledger, settings_text, site_ledger
from . import figures, free_figures, maps, scatter, scenes
from .figures import Section
from .pictures import Picture, wide

REPORT = "report.html"
MADE = "made-from.json"
"""File in a folder of figures with their provenance and hashes."""
MOST_ROWS = 60
"""Maximum number of rows of a table on the page; files of --figures have all rows."""
LONG = 24
"""Number of characters above which a cell of a table is formatted as text."""
Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]


def sections(found: History) -> list[Section]:
    """All parts with figures, in the order of the report."""
    return [
        figures.learning(found),
        figures.along(found),
        scatter.parity(found),
        figures.training(found),
        maps.exploration(found),
        maps.coverage(found),
        maps.biases(found),
        free_figures.free_energies(found),
        figures.ledger(found),
    ]


def write(
    found: History, target: Path | None = None, beat: Callable[[], None] = lambda: None
) -> Path:
    """Write the page of a campaign, atomically.

    Args:
        found: the campaign, which may be running.
        target: the file; default: report.html in the campaign directory.
        beat: called repeatedly, to renew the lock.

    Returns:
        The file.

    Raises:
        StoreError: the file cannot be written.
    """
    path = target or found.root / REPORT
    write_file(path, page(found, beat).encode())
    return path


def answer(found: History) -> str:
    """The result of the report in one line."""
    judged = verdict.judge(found)
    return f"{judged.word}: {judged.reasons[0]}"


def write_figures(found: History, folder: Path) -> list[Path]:
    """Write all figures as PDF, SVG and PNG, with the width of one and (`-wide`) two columns.

    The folder also gets their numbers as CSV and their provenance (`MADE`).

    Raises:
        InputError: the folder is a file; StoreError: a file cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--figures {folder}: is a file; give a folder")
    made = _made(found)
    text = f"phasewalk {_version('phasewalk')}, campaign {made['campaign']}. {_moment(found)}"
    files: dict[str, bytes] = {}
    for section in sections(found):
        for picture in section.pictures:
            files |= picture.files(text)
        files |= wide(section.pictures, text)
    _drop_former(folder, files)
    made["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[MADE] = json.dumps(made, indent=1, ensure_ascii=False).encode()
    for name, content in files.items():
        write_file(folder / name, content)
    return [folder / name for name in files]


@dataclass(frozen=True)
class _Made:
    """What is read again of `MADE`."""

    files: dict[str, str]


def _made(found: History) -> dict[str, Any]:
    """Provenance of the figures."""
    models = lineage.models(found.records).values()
    return {
        "campaign": found.state["campaign"],
        "directory": str(found.root),
        "phasewalk": _version("phasewalk"),
        "journal": lineage.moment(found.records),
        "generations": {
            one.generation: {"checkpoint": one.checkpoint, "labels": one.labels} for one in models
        },
    }


def _drop_former(folder: Path, files: Mapping[str, bytes]) -> None:
    """Remove unchanged figures of an earlier report that this one does not have.

    They may show a model that the campaign no longer has.
    """
    try:
        former = read(folder / MADE, _Made)
    except ParseError:
        return
    for name, digest in former.files.items():
        path = folder / Path(name).name
        if name not in files and path.is_file() and file_hash(path) == digest:
            path.unlink()


def page(found: History, beat: Callable[[], None] = lambda: None) -> str:
    """The page as HTML; `beat` as in `write`."""
    from jinja2 import Environment, StrictUndefined

    def svg(picture: Picture, alone: bool) -> Markup:
        beat()
        return _svg(picture, alone)

    shown = sections(found)
    rounds = sorted({trace.round for trace in found.traces})
    frames = scenes.collect(found.root, rounds)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(_resource("report.html.j2"))
    running, finished = found.state["running"], found.state["finished"]
    return template.render(
        name=found.state["campaign"],
        version=_version("phasewalk"),
        what=_standing(found, running=running, finished=finished),
        written=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        verdict=verdict.judge(found),
        moment=_moment(found),
        numbers=number_groups(found),
        sections=shown,
        tables={section.name: _tables(section.name, found) for section in shown},
        svg=svg,
        table=_table,
        most=MOST_ROWS,
        scenes=Markup(scenes.to_json(frames)) if frames else None,
        scenes_say=f"There are {len(frames)} frames: the initial frames of walkers and their last "
        f"good frames of the first and the last round, up to a total of {scenes.MOST_ATOMS} atoms.",
        provenance=provenance(found),
        reproduce=f"phasewalk run campaign.yaml --dir {shlex.quote(found.root.name)}",
        settings=_settings(found.root),
        viewer=Markup(_resource("viewer.js")),
    )


def _standing(found: History, *, running: bool, finished: bool) -> str:
    """Whether the campaign is finished, and by which rule.

    Its last page is written while it still holds its lock.
    """
    if finished:
        return f"finished, ended by {', '.join(found.state['stop']['ended_by']) or 'rounds'}"
    return "running" if running else "not finished"


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _svg(picture: Picture, alone: bool) -> Markup:
    """The figure inline, with a text for readers who cannot see it."""
    name = Markup.escape(f"{picture.title}. {picture.says}")
    return Markup(
        picture.svg(alone=alone).replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]], text: bool = False) -> Markup:
    """An HTML table in a box that can be scrolled, also with the keyboard."""
    kind = ' class="text"' if text else ""
    head = "".join(f'<th scope="col"{kind}>{Markup.escape(column)}</th>' for column in columns)
    body = "".join(
        "<tr>" + "".join(_cell(value, kind) for value in row) + "</tr>\n" for row in rows
    )
    label = Markup.escape(f"Table: {', '.join(columns[:3])}")
    return Markup(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table><thead><tr>'
        f"{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _cell(value: object, kind: str) -> str:
    if isinstance(value, float):
        return f"<td>{value:.5g}</td>"
    if isinstance(value, str) and len(value) > LONG:
        kind = ' class="text"'
    return f"<td{kind}>{Markup.escape('–' if value is None else value)}</td>"


def numbers(found: History) -> list[tuple[str, str]]:
    """The main numbers: title and value with its unit."""
    return [row for _, rows in number_groups(found) for row in rows]


def number_groups(found: History) -> list[tuple[str, list[tuple[str, str]]]]:
    """The main numbers in groups, each titled by the frames of its errors."""
    tested, now = verdict.tested(found), verdict.errors_now(found)
    groups = [("The campaign", _counts(found)), *intact.groups(found.state["intact"])]
    groups += deployed.groups(found.state["deployed_models"])
    if tested:
        name, errors = tested
        groups.append(
            (f"Generation {name} on the test set ({errors['frames']} frames)", _measured(errors))
        )
    if now and not (tested and now[1] is tested[1]):
        groups.append((f"On the {now[0]}", _measured(now[1])))
    return groups


def _counts(found: History) -> list[tuple[str, str]]:
    """Numbers of generations and labels, explored ranges, and cost."""
    state, cost = found.state, found.state["cost"]
    labels = state["labels"]
    generations = [entry["generation"] for entry in state["generations"]]
    rows = [
        ("Generations", f"{len(generations)} (last: {', '.join(generations[-1:]) or 'none'})"),
        ("Labels", str(labels["done"] + labels["initial"] + labels["added"])),
        ("Labels failed", str(labels["failed"])),
    ]
    if late := sum(entry["late_labels"]["count"] for entry in state["rounds"]):
        rows.append(("Labels learned one generation late", str(late)))
    for (system, name), (low, high) in verdict.ranges(found).items():
        unit = found.axis(system, name).removeprefix(name).lstrip(", ")
        rows.append((f"Range of {name}, {system}", f"{low:.5g} … {high:.5g} {unit}".strip()))
    line = ledger.timeline(found.records)
    rows += [
        ("Core-hours", f"{sum(cost['core_hours'].values()):.3g}"),
        ("Wall time", f"{line['wall_seconds'] / 3600:.2f} h"),
        ("Engines idle", f"{100 * line['idle_share']:.0f} % of wall time"),
    ]
    return rows


def _moment(found: History) -> str:
    """The state of the journal from which the page was made."""
    at = lineage.moment(found.records)
    if at["last"] is None:
        return "No task is finished yet."
    return (
        f"Made from the first {at['records']} records of the journal; the last one is "
        f"“{at['last']}” ({at['written']})."
    )


def _measured(errors: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Errors of forces, energies, pressure and stress."""
    return [
        ("Force MAE", f"{errors['force_mae_meV_per_A']:.0f} meV/Å"),
        *_zero_forces(errors),
        (
            "Force RMSE (of zero forces)",
            f"{errors['force_rmse_meV_per_A']:.0f} ({errors['force_rms_meV_per_A']:.0f}) meV/Å",
        ),
        ("Energy scatter", _or_dash(errors["energy_scatter_meV_per_atom"], ".2g", "meV/atom")),
        ("Pressure MAE", f"{errors['pressure_mae_GPa']:.2g} GPa"),
        ("Stress MAE", f"{errors['stress_mae_GPa']:.2g} GPa"),
    ]


def _zero_forces(errors: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The error of zero forces; older journals do not have it."""
    error = errors.get("force_zero_mae_meV_per_A")
    return [] if error is None else [("Force MAE of zero forces", f"{error:.0f} meV/Å")]


def _or_dash(value: float | None, style: str, unit: str) -> str:
    return "–" if value is None else f"{value:{style}} {unit}"


def _tables(section: str, found: History) -> list[Table]:
    """The tables of a part, besides those of its figures."""
    if section == "exploration":
        columns = ("walker", "round", "started from", "reason", "stopped early")
        odd = [t for t in found.traces if t.stopped or t.source in ("before", "start")]
        rows = [(t.walker, t.round, t.source, t.why, t.stopped or "no") for t in odd]
        title = (
            f"Resets and early stops{'' if len(rows) <= MOST_ROWS else f', the last {MOST_ROWS}'}"
        )
        return [(title, columns, rows[-MOST_ROWS:])] if rows else []
    if section != "ledger":
        return []
    cost, state = found.state["cost"], found.state
    accounts = [*cost["rounds"].items(), ("all", cost["labels"])]
    labels = [
        (
            name,
            a["done"],
            a["reused"],
            a["failed"],
            ", ".join(f"{n} {kind}" for kind, n in a["failed_tries"].items()) or "none",
            a["mean_seconds"],
            a["longest_seconds"],
            a["core_hours"],
        )
        for name, a in accounts
    ]
    stages = [
        (stage, seconds, cost["core_hours"].get(stage, 0.0))
        for stage, seconds in state["seconds"].items()
        if seconds
    ]
    found_tables: list[Table] = [
        (
            f"Labels ({cost['reference'] or 'reference'})",
            (
                "round",
                "done",
                "reused",
                "failed",
                "failed tries",
                "mean s",
                "longest s",
                "core-hours",
            ),
            labels,
        ),
        ("Stages", ("stage", "run time of engines, s", "core-hours"), stages),
    ]
    found_tables += site_ledger.tables(state["site"])
    if failed := figures.failed_labels(found):
        found_tables.append(("Labels that failed in all tries", ("round", "reason"), failed))
    return found_tables


def provenance(found: History) -> list[tuple[str, str]]:
    """Settings and versions of the campaign: title and value."""
    identity: Mapping[str, Any] = found.state["identity"]
    rows = [("campaign", str(identity["name"])), ("seed", str(identity.get("seed")))]
    try:
        level = levels.from_dict(identity.get("level of theory"))
        rows += [("level of theory", f"{level.title}, fingerprint {level.method}")]
        rows += [(f"… {key}", _shown(value)) for key, value in level.settings.items()]
    except InputError as error:
        rows.append(("level of theory", f"cannot be read ({error})"))
    for key in ("species", "model", "model overrides", "structures", "cell_multiple"):
        if identity.get(key):
            rows.append((key.replace("_", " "), _shown(identity[key])))
    rows += [(f"version of {name}", value) for name, value in _versions(found).items()]
    return rows


def _shown(value: object) -> str:
    """Lists and groups of names in plain notation."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_shown(one)}" for name, one in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _versions(found: History) -> dict[str, str]:
    """Versions of this installation, and of the engines of the last run."""
    ours = {name: _version(name) for name in ("phasewalk", "nequip", "torch", "ase", "numpy")}
    for _, noted in each(reversed(found.records), Versions):
        return {**ours, **{name: str(value) for name, value in noted.versions.items()}}
    return ours


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed here"


def _settings(root: Path) -> str:
    try:
        return settings_text(root)[0]
    except PhasewalkError as error:
        return f"(cannot be read: {error})"
