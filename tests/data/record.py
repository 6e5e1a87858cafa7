"""Record `tests/data/segment` anew: python tests/data/record.py (needs LAMMPS, PLUMED, the plugin).

Two argon walkers (lj/cut in place of a model, so that the record is small), NPT, METAD on the
volume, two rounds of 110 steps with merged bias; the second round's directory is kept, and the
hills of the first.
"""

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from ase.build import bulk
from phasewalk.hill_tables import Mark
from phasewalk.launch import LocalLauncher
from phasewalk.sharing import History, HistoryFile

from phasewalk import bias, engines, hill_tables, outcomes, plugin, sharing, walkers
from phasewalk.files import hash_bytes
from phasewalk.jobs import Job, run
from phasewalk.walkers import SegmentPlan, SegmentSettings, SystemSettings, Walker

HERE = Path(__file__).parent / "segment"
PLUMED = """v: VOLUME
d: DISTANCE ATOMS=1,2
METAD ARG=v SIGMA=0.02 HEIGHT=0.5 PACE=30 LABEL=m
PRINT ARG=* STRIDE=10
"""
SYSTEM = SystemSettings(
    structure="argon.xyz",
    walkers=2,
    ensemble="npt",
    thermostat="nose-hoover",
    temperature_K=60,
    plumed=PLUMED,
)
SEGMENT = SegmentSettings(steps=110, timestep_fs=2, dump_every_steps=20, thermo_every_steps=20)


def with_argon(job: Job) -> Job:
    """The job with a Lennard-Jones potential in place of a NequIP model."""
    changes = [
        (b"pair_style nequip", b"pair_style lj/cut 6.0"),
        (b"model.nequip.pth Ar", b"0.0103 3.4"),
    ]
    inputs = dict(job.inputs)
    for name, content in inputs.items():
        for old, new in changes:
            content = content.replace(old, new) if name.endswith(".lmp") else content
        inputs[name] = content
    return replace(job, inputs=inputs)


def history(folder: Path, record: bias.HillsRecord) -> History:
    """The hills as a file for PLUMED."""
    files = {}
    for key, text in sharing.texts(record, apart=False).items():
        (folder / key).write_text(text)
        files[key] = HistoryFile(folder / key, Mark(len(text), hash_bytes(text.encode())))
    return History(record.headers, files, len(record.hills))


def main() -> None:
    """Run two rounds, and keep what a test reads."""
    launcher = LocalLauncher()
    found = engines.find(engines.EngineSettings(), os.environ)
    found = plugin.ensure(found, launcher, os.environ)
    atoms = bulk("Ar", "fcc", a=5.4) * (2, 2, 2)
    standing = tuple(Walker(f"ar-{index}", "ar", index, atoms, 0) for index in range(2))
    record = bias.HillsRecord("ar")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.nequip.pth"
        model.touch()
        for round_ in (1, 2):
            directory = Path(folder) / str(round_)
            plan = SegmentPlan(
                round=round_,
                generation=round_ - 1,
                walkers=standing,
                systems={"ar": SYSTEM},
                settings=SEGMENT,
                histories={"ar": history(Path(folder), record)},
                model=model,
                type_names=("Ar",),
                seed=7,
            )
            before = record
            job = with_argon(walkers.job(plan, engines=found, directory=directory))
            result = outcomes.read(run(launcher, job), plan)
            table = outcomes.hill_tables(plan, result)["ar"]
            laid = table.laid
            record = bias.merge(before, laid.hills, headers=laid.headers)
            standing = tuple(
                replace(walker, atoms=outcome.frames[-1].atoms, step=outcome.last_step)
                for walker, outcome in zip(standing, result.walkers, strict=True)
            )
        for name in ("log", "dump", "colvar", "plumed", "m.hills.1"):
            for index in range(2):
                shutil.copy(directory / f"ar-{index}.{name}", HERE)
    (HERE / "hills.tsv").write_text(bias.record_to_text(before))
    (HERE / "table.tsv").write_text(hill_tables.to_text(table))


if __name__ == "__main__":
    main()
