"""Every reader of what programs and users write, with valid files, for the fuzzing."""

import io
import json
import zlib
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from rich.console import Console

from helpers.cases import cases
from helpers.fakes import MIL53, ROOT, SALT, crystal, label
from helpers.fuzz import Reader
from helpers.outputs import completed
from phasewalk.bias import colvars, dumps, hill_tables, plumed, sharing
from phasewalk.bias import hills as bias
from phasewalk.bias.plumed import MetadFiles
from phasewalk.campaign import config, inputs
from phasewalk.cluster import find_site
from phasewalk.engines import machine, plugin
from phasewalk.errors import UNREADABLE
from phasewalk.generations import evaluate
from phasewalk.jobs import Finished, Job
from phasewalk.labelling import bootstrap
from phasewalk.labels import label as labels
from phasewalk.models import model, swap
from phasewalk.reference import programs, requests
from phasewalk.reference.settings import ReferenceSettings
from phasewalk.rounds import steer
from phasewalk.status import summary
from phasewalk.store import directory
from phasewalk.store.journal import SCHEMA
from phasewalk.store.records import Record
from phasewalk.structures import structure
from phasewalk.validation import accuracy
from phasewalk.walkers import logs

DATA = ROOT / "tests/data"
IDENTITY = {"name": "salt", "species": ["Cl", "Na"]}
NUMBERS = (b"1_0", b"-0", b"1e5", b"0.1", b"inf", b"9" * 19, b"1" * 400)
JSON = (
    *(b'"', b",", b":", b"}", b"]", b"[[1]]", b"[null]", b'{"a": 1}', b"NaN", b"Infinity"),
    *(b'"nan"', b"1e5", b"false", b'"\\u0000"', b'"\\n"', b"0.5", b"[1, 2]", b'"../x"'),
)
YAML = (
    *(
        b"&a ",
        b"*a",
        b"&a [*a]",
        b"<<: *a\n",
        b"!!int ",
        b"!!python/object:os.system ",
        b"!!bool x",
    ),
    *(
        b"!!binary x",
        b"!!timestamp x",
        b"!!set {a}",
        b"!!omap [a]",
        b"2001-99-99",
        b"? {a: b}\n: c",
    ),
    *(
        b"%YAML 99.1\n---\n",
        b"---\n",
        b"...\n",
        b"|\n",
        b"- ",
        b": ",
        b"    ",
        b"'",
        b'"',
        b"1:2:3",
    ),
    *(
        b"0o9",
        b"!!float x",
        b'"\\n"',
        b'"\\0"',
        b"@",
        b"`",
        b"%",
        b"# x",
        b"<<: 1\n",
        b"? ",
        b"[" * 90,
    ),
)
PLUMED = (
    *(b"...", b" ...\n", b"... METAD\n", b"{", b"}", b"#", b"METAD ", b"LABEL=", b"m: ", b"FILE="),
    *(b"PACE=" + b"9" * 12, b"INCLUDE FILE=x\n", b"ENDPLUMED\n", b"UNITS TIME=1e99", b"__FILL__"),
    *(b"ARG=*", b"(", b"@", b"_SET_SUFFIX .x\n", b"{METAD}", b"F{IL}E=x", b"PRINT ", b"RESTART"),
)
PLUMED_TEXT = b"""# two variables
UNITS LENGTH=A TIME=fs
v: VOLUME
d: DISTANCE ATOMS=1,2
METAD ...
  ARG=v,d SIGMA={0.2 0.1} HEIGHT=1 PACE=50 FILE=mine  # theirs
... METAD
m: METAD ARG=d SIGMA=0.1 HEIGHT={1.0} PACE=5 RESTART=YES WALKERS_N=4 WALKERS_ID=2
UPPER_WALLS ARG=v AT=860 KAPPA=0.02 LABEL=up
PRINT ARG=v,m.bias STRIDE=10 FILE=COLVAR
"""
# As `dump custom` writes it: three kinds of box, positions and velocities that need all digits.
DUMP = b"".join(
    b"ITEM: TIMESTEP\n%d\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS %s\n"
    b"ITEM: ATOMS id type x y z ix iy iz vx vy vz\n"
    b"1 1 0.25 0.5 %d.75 0 0 0 1.5 -2.5 0.125\n2 2 1.25 -1 0 1 -1 0 0 0 %d.5\n"
    % (step, box, step, step)
    for step, box in (
        (10, b"pp pp pp\n0 10\n0 10\n0 10"),
        (20, b"xy xz yz pp pp pp\n0 13 3\n0 10 0\n0 10 0"),
        (30, b"abc origin pp pp pp\n5 1 0 1\n0 6 1 2\n1 0 7 3"),
    )
)


def files(*names: str) -> tuple[bytes, ...]:
    """Recorded files."""
    return tuple((DATA / name).read_bytes() for name in names)


def dumped(value: Any) -> bytes:
    """As JSON."""
    return json.dumps(value).encode()


def indented(value: Any) -> bytes:
    """As JSON of many lines."""
    return json.dumps(value, indent=1).encode()


def written(suffix: str, **how: Any) -> bytes:
    """A labelled crystal as ASE writes it."""
    path = io.StringIO()
    ase.io.write(path, [label().with_results()] * 2 if suffix == "extxyz" else crystal(), **how)
    return path.getvalue().encode()


def rows(table: Any) -> list[bytes]:
    """Lines of a table of numbers."""
    return [row.tobytes() for row in table]


def record(number: int, **outputs: Any) -> dict[str, Any]:
    """A line of the journal."""
    return {
        "schema": SCHEMA, "task": f"task {number}", "stage": "label", "round": number,
        "inputs": "x", "outputs": {"key": "k", **outputs}, "seconds": 1.5, "time": 1e9,
    }  # fmt: skip


ERRORS = {
    "force_mae_meV_per_A": 1.0, "force_rms_meV_per_A": 2.0, "pressure_mae_GPa": 0.5,
    "energy_offset_meV_per_atom": 1.0, "energy_scatter_meV_per_atom": None,
    "force_rmse_meV_per_A": 3.0,
}  # fmt: skip
HILLS = {"salt": {"deposited": 1, "expected": 1, "in_record": 1, "active": 1}}
JOURNAL = "".join(
    json.dumps({**record(number), "stage": stage, "outputs": completed(stage, outputs)}) + "\n"
    for number, (stage, outputs) in enumerate(
        (
            ("label", {"key": "k"}),
            ("train", {"generation": "0", "training_labels": 1, "validation_labels": 1,
                       "epochs": 2, "checkpoint": "x", "last_epoch": {"at": 1e9}}),
            ("deploy", {"generation": "0", "file": "x", "mode": "torchscript"}),
            ("evaluate", {"generation": "0", "proof": {}, "test": ERRORS, "new": ERRORS,
                          "seconds_per_step": 0.5}),
            ("segment", {"walkers": [], "hills": HILLS}),
        )
    )
).encode()  # fmt: skip


def sealed(content: bytes) -> bytes:
    """Lines with the checksums that they should have: what they say is to be fuzzed."""
    lines, crc = [], 0
    for line in content.split(b"\n"):
        try:
            data = json.loads(line)
            crc = zlib.crc32(json.dumps(data).encode(), crc)
            lines.append(json.dumps({**data, "crc": crc}).encode())
        except UNREADABLE:
            lines.append(line)
    return b"\n".join(lines)


def journal(path: Path) -> list[Record]:
    """As `run`, then as `status` reads it."""
    root = path.parent
    path.write_bytes(sealed(path.read_bytes()))
    (root / directory.IDENTITY).write_bytes(dumped({"schema": SCHEMA, **IDENTITY}))
    try:
        return campaign(root)
    finally:
        path.unlink()


def identity(path: Path) -> list[Record]:
    """campaign.json alone."""
    try:
        return campaign(path.parent)
    finally:
        path.unlink()


def campaign(root: Path) -> list[Record]:
    """Open for work, then show."""
    with closing(directory.open_campaign(root, IDENTITY)) as opened:
        records = opened.records()
    assert directory.read_campaign(root).records() == records
    summary.show(summary.collect(root), Console(file=io.StringIO()))
    return records


def hills_table(path: Path) -> hill_tables.HillsTable:
    """A table of hills, and what is done with it."""
    found = hill_tables.read(path)
    sharing.texts(found.laid, apart=found.apart)
    if found.whole:
        assert bias.record_from_text(bias.record_to_text(found.laid), path=path) == found.laid
    else:
        assert hill_tables.from_text(hill_tables.to_text(found), path=path) == found
    return found


def label_file(path: Path) -> labels.Label | None:
    """A label, from the folder of a campaign."""
    root = path.parent / "run"
    target = root / "labels" / f"{label().key}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(path.read_bytes())
    return directory.Store(root).label(label().key)


def reference(path: Path) -> labels.Label:
    """The result of the program that makes labels."""
    xtb = programs.load(ReferenceSettings(), path.parent, {})
    result = requests.read_result(path.parent, crystal(), reference=xtb)
    made = label(energy=result.energy, forces=result.forces, stress=result.stress)
    labels.check(made, max_force=30.0, max_net_force=1e3)
    return made


def predictions(path: Path) -> accuracy.Errors:
    """The result of a prediction, compared with labels."""
    job = Job("evaluate", (), path.parent)
    found = accuracy.read(Finished(job, 0, 1.0))
    return accuracy.errors([label()] * len(found.frames), found.frames)


def progress(path: Path) -> Mapping[str, Any] | None:
    """The progress of a training, as it is shown."""
    last = model.training_progress(path.parent)
    if last is not None:
        f"{last['epoch']} of {last.get('epochs', '?')}, {1000 * last.get('forces_mae', 0):.0f}"
    return last


def settings(path: Path) -> inputs.Campaign:
    """campaign.yaml, beside its structure."""
    if not (path.parent / "salt.extxyz").exists():
        ase.io.write(path.parent / "salt.extxyz", crystal())
    found = inputs.load(path)
    json.dumps(found.identity())
    return found


def site(path: Path) -> list[Any]:
    """A site file, and the settings of each kind of work."""
    found = find_site(str(path), path, {})
    return [found.place(kind) for kind in ("label", "segment", "train", "driver")]


def kept_settings(path: Path) -> config.CampaignSettings:
    """The settings in a campaign's folder."""
    return config.parse(*directory.settings_text(path.parent))


def accepted(path: Path) -> str:
    """PLUMED text as settings let it through (every error speaks of the text)."""
    given = path.read_bytes().decode(errors="replace")
    system = {"structure": "x", "ensemble": "npt", "plumed": given}
    settings = config.parse(json.dumps({"campaign": "x", "systems": {"s": system}}), "PLUMED text")
    return settings.systems["s"].plumed or ""


def plumed_text(path: Path) -> str:
    """PLUMED text, as settings and segments read it."""
    text = accepted(path)
    metads = plumed.metad_actions(text)
    plumed.time_unit_ps(text)
    plumed.bias_on_cell(text)
    words = {key: MetadFiles(f"w.{key}.hills", restart=True) for key in metads}
    files = [f"w.{n}.colvar" for n in range(plumed.print_count(text))]
    new = plumed.rewrite(text, metad=words, colvars=files)
    plumed.check_same_physics(text, new)
    assert plumed.rewrite(new, metad=words, colvars=files) == new
    return new


def biased_variables(path: Path) -> tuple[tuple[str, ...], str]:
    """The variables of the METADs: PLUMED reads them from one line for each action."""
    names, text = colvars.variables(accepted(path))
    actions = plumed.parse(text)
    assert len(actions) == text.count("\n")
    assert not {"METAD", "RESTRAINT"} & {action.name for action in actions}
    assert bool(names) == bool(text) == ("PRINT" in {action.name for action in actions})
    return names, text


def plugin_stamp(path: Path) -> None:
    """The stamp beside a plugin."""
    plugin.read_stamp(path)


ATOMS = {"frame": labels.frame_to_json(crystal())}
STATE = {
    "walker": "salt-0", "system": "salt", "next_step": 20, "broke": False,
    "frames": [
        {"step": 20, "frame": {**ATOMS["frame"], "velocities": crystal().positions.tolist()}},
        {"step": 10, "frame": {**ATOMS["frame"], "velocities": None}},
    ],
    "came_from": {"step": 0, "frame": {**ATOMS["frame"], "velocities": None}},
}  # fmt: skip
PREDICTED = {
    "energy_eV": -24.0, "energies_eV": [-3.0] * 8, "forces_eV_per_A": [[0.0, 0.5, 1.0]] * 8,
    "stress_eV_per_A3": [0.1] * 6,
}  # fmt: skip
RESULT = {
    "energy_eV": -24.0, "forces_eV_per_A": [[0.0, 0.5, 1.0]] * 8, "stress_eV_per_A3": [0.1] * 6,
    "seconds": 0.5,
}  # fmt: skip
STAMP = {
    "file": "model.nequip.pth", "mode": "torchscript", "device": "cpu", "dtype": "float32",
    "types": ["Cl", "Na"], "r_max_A": 4.0, "torch": "2.13.0", "nequip": "0.19.1", "cpu": "AVX512",
    "processor": "fma sse", "seconds": 1.5, "graph": "0123", "checkpoint": "abc",
}  # fmt: skip
MACHINE = {
    "host": "node7", "architecture": "x86_64", "processor": "fma sse", "has_gpu": False,
    "has_compiler": True, "versions": {"python": "3.11", "torch": "2.13.0"},
}  # fmt: skip
TEMPLATE = {
    "graph": "0123", "package": "abc",
    "places": {"w": {"entry": "model/0", "offset": 0, "length": 8}},
}  # fmt: skip
EPOCH = '{"epoch": %d, "epochs": 9, "seconds": 1.5, "at": 1e9, "forces_mae": 0.5}\n'


def weights() -> bytes:
    """As a training writes them."""
    stream = io.BytesIO()
    np.savez(stream, graph="0123", a=np.arange(6.0).reshape(2, 3), b=np.float32(1))
    return stream.getvalue()


def full_settings() -> bytes:
    """SALT with a value for most keys."""
    return (
        SALT + "seed: 3\nrounds: 2\nbootstrap: {count: 8, strain: 0.05}\n"
        "segment: {steps: 40, timestep_fs: 2.0, timeout_s: null}\n"
        "reference: {command: [/bin/true, '{x}'], timeout_s: 250}\n"
        "model:\n  species: [Na, Cl]\n  overrides: {training_module.model.num_features: 24}\n"
        "engines: {lammps: /bin/true, mpiexec: [/bin/true]}\nresources: {cores: 2}\n"
    ).encode()


def bomb(levels: int) -> str:
    """Aliases of aliases: 10^levels values."""
    lines = ["    x0: &x0 [1, 1]"]
    lines += [f"    x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(["model:", "  overrides:", *lines, ""])


BOMB = bomb(9)
READERS = {
    "dump": Reader(
        "ar-0.dump",
        (DUMP,),
        lambda path: dumps.read_dump(path, ["H", "O"]),
        (b"ITEM: ", b"ITEM: TIMESTEP\n", b"ITEM: ATOMS id type", b"ITEM: BOX BOUNDS", *NUMBERS),
        lambda frames: [
            (f.step, f.atoms.numbers.tobytes(), f.atoms.positions.tobytes(),
             f.atoms.cell.array.tobytes(), f.atoms.get_velocities().tobytes())
            for f in frames
        ],
        lined=True,
        examples=(
            DUMP.replace(b"ATOMS\n2\n", b"ATOMS\n999999999999\n"),
            DUMP.replace(b"ITEM: TIMESTEP\n20\n", b""),
        ),
    ),
    "log": Reader(
        "ar-0.log",
        (
            b"LAMMPS\nWARNING: x\n   Step          Temp\n      1000  300\n      1020  294.6\n"
            b'phasewalk/stop: {"step": 1031, "reason": "force", "value": 67.1, "limit": 50, '
            b'"good": 990, "says": ""}\n'
            b"Loop time of 0.000424207 on 1 procs for 31 steps with 32 atoms\n",
            *files("segment/ar-0.log", "failed.log"),
        ),
        logs.read_log,
        (b"   Step Temp\n", b"Step ", b"Loop time of 1 on 1 procs for 9 steps", b"ERROR", *NUMBERS),
        lambda log: rows(np.array(list(log.thermo.values())).T),
        lined=True,
    ),
    "log tail": Reader(
        "ar-0.log",
        (b"   Step Temp\n   1000 300\n   1020 29.5\n", *files("segment/ar-0.log")),
        logs.read_tail,
        (b"   Step Temp\n", b"Step ", *NUMBERS),
    ),
    "dump tail": Reader(
        "ar-0.dump",
        (DUMP,),
        lambda path: dumps.last_frame(path, ["H", "O"], 2),
        (b"ITEM: ", b"ITEM: TIMESTEP\n", b"ITEM: ATOMS id type", b"ITEM: BOX BOUNDS", *NUMBERS),
    ),
    "COLVAR tail": Reader(
        "ar-0.colvar",
        files("segment/ar-0.colvar"),
        dumps.last_row,
        (b"#! FIELDS", b"#! FIELDS a\n", b"#! SET a b", b"clock", *NUMBERS),
    ),
    "COLVAR": Reader(
        "ar-0.colvar",
        files("segment/ar-0.colvar", "plumed/torsion.colvar"),
        dumps.read_colvar,
        (b"#! FIELDS", b"#! FIELDS a\n", b"#! SET a b", b"clock", *NUMBERS),
        lambda table: rows(table.values),
        lined=True,
    ),
    "HILLS": Reader(
        "ar-0.m.hills.1",
        files("segment/ar-0.m.hills.1", "plumed/torsion.hills", "plumed/live.hills"),
        dumps.read_hills,
        (b"#! FIELDS", b"#! FIELDS a clock\n", b"#! SET a b", b"clock", *NUMBERS),
        lambda hills: [*hills.rows, *rows(hills.table.values)],
    ),
    "hills record": Reader(
        "round-001.tsv",
        files("segment/hills.tsv", "segment/table.tsv"),
        hills_table,
        (
            *(b"# header\tm\t#! SET x y\n", b"# header\tm\t#! FIELDS\n", b"\t", b"m\t"),
            *(b"# inactive\ta\t1\t2\n", b"# history\tm\t1\ta\n", b"# kept\tapart\n", *NUMBERS),
        ),
        lambda table: table.laid.hills,
    ),
    "journal": Reader(
        directory.JOURNAL,
        (JOURNAL,),
        journal,
        JSON,
        lambda records: [repr(record) for record in records],
    ),
    "identity": Reader(
        directory.IDENTITY, (dumped({"schema": SCHEMA, **IDENTITY}),), identity, JSON,
        names="run",
    ),
    "label": Reader(
        f"{label().key}.json",
        (labels.to_json(label()).encode(),),
        label_file,
        JSON,
        lambda found: [labels.content_hash(found)],
    ),
    "reference result": Reader(
        requests.RESULT,
        (dumped(RESULT),),
        reference,
        JSON,
        names="label ",
    ),
    "labelled extxyz": Reader(
        "test.extxyz",
        (written("extxyz", format="extxyz"),),
        accuracy.read_labelled,
        (b'Lattice="1 0 0 0 1 0 0 0 1"', b"Properties=species:S:1:pos:R:3", b"=", *NUMBERS),
        lambda found: [labels.content_hash(one) for one in found],
    ),
    "structure (extxyz)": Reader(
        "salt.extxyz",
        (written("", format="extxyz"), MIL53.read_bytes()),
        structure.read_structure,
        (b'Lattice="1 0 0 0 1 0 0 0 1"', b"Properties=species:S:1", b"pbc=F", b"=", b'"', *NUMBERS),
    ),
    "structure (POSCAR)": Reader(
        "POSCAR",
        (written("", format="vasp"),),
        structure.read_structure,
        (b"Direct", b"Selective dynamics\n", b"Na", b"Xx", *NUMBERS),
    ),
    "site file": Reader(
        "site.yaml",
        tuple(path.read_bytes() for path in sorted((ROOT / "examples/sites").glob("*.yaml"))),
        site,
        YAML,
        examples=(b"site: x\n" + BOMB.encode(),),
        words=(b"nan", b"9" * 5000),
        cases=cases(40, 500),
    ),
    "campaign.yaml": Reader(
        "campaign.yaml",
        (SALT.encode(), full_settings()),
        settings,
        YAML,
        examples=((SALT + BOMB).encode(),),
        words=(b"nan", b"9" * 5000),
        cases=cases(40, 500),
    ),
    "kept settings": Reader(
        "campaign.yaml", (SALT.encode(),), kept_settings, YAML, words=(b"nan",),
        cases=cases(40, 500),
    ),
    "PLUMED": Reader(
        "PLUMED text",
        (PLUMED_TEXT,),
        plumed_text,
        PLUMED,
    ),
    "biased variables": Reader(
        "PLUMED text",
        (PLUMED_TEXT,),
        biased_variables,
        (*PLUMED, b"RESTRAINT ARG=v LABEL=w\n", b"w.bias", b"d.*", b"ENERGY ", b"ARG={v d}"),
    ),
    "colvars": Reader(
        colvars.RESULT,
        (dumped({"names": ["v", "d"], "values": [[1.0, 2.0], [3.0, 4.5]]}),),
        lambda path: colvars.read(Finished(Job("cv", (), path.parent), 0, 1.0)),
        (*JSON, *NUMBERS),
    ),
    "machine": Reader(
        machine.RESULT,
        (dumped(MACHINE),),
        lambda path: machine.read(Finished(Job("machine", (), path.parent), 0, 1.0)),
        JSON,
    ),
    "stamp": Reader("stamp.json", (dumped(STAMP),), model.read_stamp, JSON),
    "plugin stamp": Reader(
        "stamp.json", (dumped({"torch": "2.13.0", "lammps": 20250722}),), plugin_stamp, JSON
    ),
    "template": Reader("template.json", (dumped(TEMPLATE),), swap.read_template, JSON),
    "weights": Reader("weights.npz", (weights(),), swap.read_weights, (b"PK", b"'<f8'")),
    "walkers": Reader("walkers.json", (dumped([STATE]),), steer.read_states, JSON),
    "frames": Reader(
        "frames.json",
        (indented([{**ATOMS, "origin": {"system": "salt", "round": 0, "index": 0}}]),),
        bootstrap.read_frames,
        JSON,
        lambda frames: [structure.fingerprint(frame.atoms) for frame in frames],
    ),
    "eager": Reader(
        "eager.json", (dumped([{**ATOMS, **PREDICTED}]),), evaluate.read_eager, JSON
    ),
    "progress": Reader(
        "progress.jsonl", ((EPOCH % 1 + EPOCH % 2).encode(),), progress, JSON,
    ),
    "prediction": Reader(
        accuracy.RESULT,
        (dumped({"frames": [PREDICTED], "nve": {"0.5": [1.0, 2.0]}, "seconds_per_step": 0.5}),),
        predictions,
        JSON,
    ),
}  # fmt: skip
