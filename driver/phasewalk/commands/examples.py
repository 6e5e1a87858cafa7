"""Examples shown at the end of the `--help` of each command."""

import typer

EXAMPLES = {
    "check": ("check my.yaml", "check my.yaml --site lab", "check my.yaml --dry asked"),
    "run": (
        "run my.yaml",
        "run my.yaml --dir /scratch/my.run",
        "run my.yaml --from-production production.production --frames 8",
    ),
    "submit": ("submit my.yaml --site lab", "submit my.yaml --site lab --dry-run"),
    "cancel": ("cancel my.run",),
    "status": ("status my.run", "status my.run --watch", "status my.run --json"),
    "report": ("report my.run", "report my.run --figures figures"),
    "fes": (
        "fes my.run --segments 10",
        "fes my.run --generation 3 --segments 20",
        "fes my.run --seed 2 --segments 10",
    ),
    "produce": ("produce production.yaml", "produce production.yaml --dry-run"),
    "analyse": ("analyse production.production", "analyse production.production --discard-ps 20"),
    "alarms": ("alarms production.production",),
    "evaluate": ("evaluate my.run --data test.extxyz", "evaluate my.nequip.pth --data test.extxyz"),
    "deploy": (
        "deploy my.run/models/final/checkpoint.ckpt -o my.nequip.pth",
        "deploy my.run/models/final/checkpoint.ckpt --mode aotinductor -o my.nequip.pt2",
    ),
    "gate": ("gate my.run/models/final/torchscript-cpu/model.nequip.pth --data test.extxyz",),
    "export": ("export my.run", "export my.run -o my-potential"),
    "render": ("render my.yaml", "render my.yaml --dir decks"),
    "rewind": ("rewind my.run --round 2",),
    "verify": ("verify my.run",),
    "build-plugin": ("build-plugin",),
    "atoms": ("atoms my.yaml",),
    "schema": ("schema -o campaign.schema.json", "schema --markdown -o configuration.md"),
    "labels list": ("labels list my.run",),
    "labels verify": ("labels verify my.run",),
    "labels export": ("labels export my.run -o labels.extxyz",),
    "labels import": ("labels import more.extxyz --campaign my.yaml",),
}
"""Name of the command → its examples, without the word phasewalk."""


def add(app: typer.Typer, within: str = "") -> None:
    """Append the examples to the help of all commands of an app and its groups.

    Args:
        app: the app, with its commands registered.
        within: name of the group; empty for the program itself.
    """
    for info in app.registered_commands:
        name = info.name or getattr(info.callback, "__name__", "").replace("_", "-")
        lines = EXAMPLES.get(f"{within} {name}".strip(), ())
        if lines:
            title = "Example:" if len(lines) == 1 else "Examples:"
            info.epilog = "\n\n".join([title, *(f"phasewalk {line}" for line in lines)])
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add(group.typer_instance, str(group.name or group.typer_instance.info.name))
