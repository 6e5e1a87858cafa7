"""`phasewalk labels`: list, export, import and verify labels of a campaign or of the cache."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from .. import scratch
from ..errors import InputError
from ..files import write_file
from . import terminal

if TYPE_CHECKING:
    from ..labels import Level

app = typer.Typer(
    name="labels",
    help="List, export, import and verify labels of a campaign, or those shared by campaigns.",
    no_args_is_help=True,
)
out = terminal.stdout()


def atoms(
    campaign_file: Annotated[
        Path, typer.Argument(metavar="CAMPAIGN.yaml", help="The campaign file.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute the isolated atoms of a campaign's elements, once for each level of theory."""
    from ..campaign import inputs, theory
    from ..engines import cache_dir
    from ..engines.local import LocalLauncher
    from ..labelling import isolated_atoms
    from ..reference import requests

    campaign = inputs.load(campaign_file, os.environ)
    launcher = LocalLauncher(campaign.cores)
    complete, _ = theory.settle(campaign, launcher)
    reference, rows = complete.reference, []
    with (
        scratch.folder("atoms") as folder,
        out.status("computing isolated atoms …"),
    ):
        found = isolated_atoms.table(
            reference, campaign.types, launcher, folder, cache_dir(os.environ)
        )
        for symbol, energy, source in found:
            spin = requests.multiplicity(symbol)
            result = {"energy_eV": energy} if isinstance(energy, float) else {"failed": energy}
            rows.append({"element": symbol, "multiplicity": spin, "from": source, **result})
            if not as_json:
                shown = f"{energy:.6f} eV" if isinstance(energy, float) else energy
                line = f"{symbol:<3} multiplicity {spin}  {shown}  ({source})"
                out.print(Text(line), soft_wrap=True)
    level = reference.method
    if as_json:
        print(json.dumps({"level": level.as_dict(), "atoms": rows}, indent=1))
    else:
        out.print(Text(f"level of theory: {level.title}, {level.method}"))
    if any("failed" in row for row in rows):
        raise InputError(
            "some atoms have no energy (see above); set reference.atom_energies_eV, or set "
            "reference.isolated_atoms to false (the energy reference is then fitted)"
        )


Directory = Annotated[
    Path | None,
    typer.Argument(metavar="[DIR]", help="Campaign directory; default: the shared labels."),
]


@app.command("list")
def list_labels(
    directory: Directory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the labels of a campaign, or the levels of theory of the shared ones."""
    from ..status import library

    if directory is None:
        _list_cache(as_json)
        return
    found, level = library.campaign_labels(directory)
    rows = [library.row(label) for label in found]
    if as_json:
        print(json.dumps({"level": level.as_dict(), "labels": rows}, indent=1))
        return
    table = Table(title=f"Labels of {directory}")
    for title in ("key", "system", "round", "walker", "formula", "Å³", "eV/atom", "max eV/Å", "s"):
        table.add_column(title, overflow="fold")
    for one in rows:
        numbers = (one["volume_A3"], one["energy_eV_per_atom"], one["max_force_eV_per_A"])
        table.add_row(
            one["key"][:8],
            one["system"],
            "" if one["round"] is None else str(one["round"]),
            str(one["walker"]),
            one["formula"],
            *(f"{number:.{digits}f}" for number, digits in zip(numbers, (1, 4, 2), strict=True)),
            f"{one['seconds']:.1f}",
        )
    out.print(table)
    out.print(Text(f"{len(rows)} labels; {level.title}, {level.method}"))


def _list_cache(as_json: bool) -> None:
    from ..engines import cache_dir
    from ..labels import label_cache

    cache = cache_dir(os.environ)
    found = [(level, len(files)) for level, files in label_cache.methods(cache)]
    if as_json:
        rows = [{"method": v.method, "labels": count, **v.as_dict()} for v, count in found]
        print(json.dumps(rows, indent=1))
        return
    table = Table(title=f"Shared labels in {cache / 'labels'}")
    for title in ("level", "program", "version", "labels"):
        table.add_column(title)
    for level, count in found:
        table.add_row(level.method, level.program, level.version, str(count))
    out.print(table)


@app.command("export")
def export_labels(
    directory: Directory = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; .extxyz.")] = Path(
        "labels.extxyz"
    ),
    level: Annotated[
        str | None, typer.Option("--level", help="Level of theory of the shared labels.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write labels as extxyz at full precision, each with its origin and level of theory."""
    from ..engines import cache_dir
    from ..labels import extxyz
    from ..status import library

    if (directory is None) == (level is None):
        raise InputError(
            "give either a campaign directory or, for the shared labels, --level LEVEL"
        )
    if output.exists() and not force:
        raise InputError(f"{output}: exists already; choose another --output, or use --force")
    if directory is not None:
        found, of = library.campaign_labels(directory)
    else:
        found, of = library.cached_labels(cache_dir(os.environ), str(level))
    write_file(output, extxyz.to_extxyz(found, of).encode())
    out.print(Text(f"{output}: {len(found)} labels of {of.title}"))


@app.command("import")
def import_labels(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Labelled frames (extxyz); FILE@:40 for the first 40."),
    ],
    campaign_file: Annotated[
        Path | None,
        typer.Option("--campaign", help="Campaign file with the reference of the labels."),
    ] = None,
    same_level: Annotated[
        bool,
        typer.Option(
            "--same-level", help="Declare that they were made with that reference and settings."
        ),
    ] = False,
) -> None:
    """Add labels to the shared ones; all are checked before the first is added."""
    from ..campaign import inputs, theory
    from ..engines import cache_dir
    from ..engines.local import LocalLauncher
    from ..labels import label_cache, label_energies
    from ..status import library

    declared: Level | None = None
    if campaign_file is not None and same_level:
        campaign = inputs.load(campaign_file, os.environ)
        complete, _ = theory.settle(campaign, LocalLauncher(campaign.cores))
        declared = complete.reference.method
    cache = cache_dir(os.environ)
    found = library.read_foreign(file, declared)
    new = [(label, at) for label, at in found if label_cache.find(cache, at, label.key) is None]
    for label, at in new:
        label_cache.keep(cache, at, label)
    known = len(found) - len(new)
    for line in label_energies.notices([label for label, _ in found]):
        out.print(Text(f"{file}: {line}"), soft_wrap=True)
    out.print(Text(f"{len(new)} labels added to {cache / 'labels'}; {known} were known already"))


@app.command()
def verify(directory: Directory = None) -> None:
    """Check each label: its checksum, frame, level of theory and conventions."""
    from ..engines import cache_dir
    from ..status import library

    if directory is None:
        problems = list(library.verify_cache(cache_dir(os.environ)))
    else:
        problems = list(library.verify_campaign(directory))
    for problem in problems:
        out.print(Text(problem), soft_wrap=True)
    if problems:
        raise InputError(f"{len(problems)} problem(s) with labels; see above")
    out.print(Text("all labels are intact"))
