"""A whole campaign with fake engines, in this process: its files, and its run to the end."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import ase.io
from ase.build import bulk

from helpers import fake_engines
from helpers.fake_engines import FakeEngines
from helpers.fakes import FakeLauncher, Watcher
from phasewalk.campaign import inputs, theory
from phasewalk.campaign.inputs import Campaign
from phasewalk.campaign.tasks import Work
from phasewalk.jobs import Job, Launcher
from phasewalk.production import agree
from phasewalk.rounds import loop
from phasewalk.store import directory

LATTICE_A = {"NaCl": 5.64, "KCl": 6.29}

_SYSTEM = """
  {name}:
    structure: {name}.extxyz
    walkers: {walkers}
    ensemble: npt
    temperature_K: 100
    bonds: {bonds}
    plumed: |
      vol: VOLUME
      METAD ARG=vol SIGMA=0.002 HEIGHT=0.5 PACE=20 LABEL=metad
      PRINT ARG=vol STRIDE=10 FILE=COLVAR
"""

_CAMPAIGN = """
campaign: fake
rounds: {rounds}
systems:{systems}
bootstrap: {{count: {bootstrap}, displacement_A: 0.05, strain: 0.02}}
segment: {{steps: {steps}, dump_every_steps: 20}}
validation_every: 4
model:
  preset: tiny
  first: {{epochs: 2, learning_rate: 0.01}}
  warm: {{epochs: 1, learning_rate: 0.005}}
  final: {final}
  max_force_error_ratio: null
deploy: {{mode: {mode}, device: cpu}}
{more}
"""


@dataclass
class FakeCampaign:
    """A campaign whose engines are fakes.

    Attributes:
        folder: of the campaign's file and structures.
        programs: what does the work of the jobs.
        takes, cores: of its launcher; see `fakes.FakeLauncher`.
        watcher: what the last run has said.
    """

    folder: Path
    programs: FakeEngines = field(default_factory=FakeEngines)
    watcher: Watcher = field(default_factory=Watcher)
    takes: Callable[[Job], float] | None = None
    cores: int = 2

    @property
    def root(self) -> Path:
        """Where it works, unless another folder is given."""
        return self.folder / "run"

    @cached_property
    def campaign(self) -> Campaign:
        """The campaign, settled: its file is read once."""
        loaded = inputs.load(self.folder / "campaign.yaml", {})
        return theory.settle(loaded, FakeLauncher(self.programs), None)[0]

    def run(
        self,
        folder: Path | None = None,
        after_round: Callable[[], None] = lambda: None,
        *,
        launcher: Launcher | None = None,
        watcher: Watcher | None = None,
    ) -> list[str]:
        """Start it, or go on with it; names of the jobs that were started.

        Args:
            folder: holds the campaign's directory and the cache; its own where left out.
            after_round: called as the campaign calls it.
            launcher: another one than a `FakeLauncher`.
            watcher: another one than a new one.
        """
        place = folder or self.folder
        place.mkdir(exist_ok=True)
        self.programs.done, self.watcher = [], watcher or Watcher()
        with closing(directory.open_campaign(place / "run", self.campaign.identity())) as opened:
            launcher = launcher or FakeLauncher(self.programs, self.cores, self.takes)
            found = fake_engines.engines(place, self.programs.machine)
            work = Work(self.campaign, opened, launcher, found, self.watcher)
            loop.run(work, after_round, compare=agree.compare)
        return self.programs.done


def make(
    folder: Path,
    systems: Sequence[str] = ("NaCl",),
    *,
    rounds: int = 1,
    walkers: int = 2,
    bootstrap: int = 4,
    steps: int = 100,
    final: str = "null",
    bonds: str = "auto",
    mode: str = "torchscript",
    more: str = "",
    programs: FakeEngines | None = None,
    takes: Callable[[Job], float] | None = None,
    cores: int = 2,
) -> FakeCampaign:
    """Write the campaign's files into a new folder."""
    folder.mkdir(parents=True)
    for name in systems:
        atoms = bulk(name, "rocksalt", a=LATTICE_A[name], cubic=True)
        ase.io.write(folder / f"{name}.extxyz", atoms)
    text = _CAMPAIGN.format(
        rounds=rounds,
        systems="".join(
            _SYSTEM.format(name=name, walkers=walkers, bonds=bonds) for name in systems
        ),
        bootstrap=bootstrap,
        steps=steps,
        final=final,
        mode=mode,
        more=more,
    )
    (folder / "campaign.yaml").write_text(text)
    return FakeCampaign(folder, programs or FakeEngines(), takes=takes, cores=cores)
