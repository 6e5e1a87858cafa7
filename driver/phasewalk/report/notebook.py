"""Read-only access to a campaign for notebooks: `from phasewalk import Campaign`.

    campaign = Campaign("mil53_al.run")
    campaign.learning_curve.plot("labels", "force_mae_meV_per_A")

Tables are pandas DataFrames (`pip install 'phasewalk[notebook]'`); the names of columns include
units. Nothing is written, and the campaign may be running.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ase import Atoms

from ..campaign import stop
from ..errors import EngineMissing, InputError
from ..free_energies import correction, free_energy
from ..status import deployed_model, history, library, verdict
from ..store import ledger
from ..validation import Errors
from . import page, scenes
from .pictures import Picture

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ERROR_COLUMNS = tuple(
    field.name for field in fields(Errors) if field.name != "energy_offsets_meV_per_atom"
)
"""Columns of errors in a table without rows."""
COMPARED_COLUMNS = (
    "generation",
    "round",
    "measured_on",
    "learned",
    "key",
    "system",
    "walker",
    "formula",
    "volume_A3",
    "reference_energy_eV_per_atom",
    "model_energy_eV_per_atom",
    "reference_pressure_GPa",
    "model_pressure_GPa",
    "force_mae_meV_per_A",
    "force_rmse_meV_per_A",
    "force_rms_meV_per_A",
    "stress_mae_GPa",
    "stress_rmse_GPa",
)
FES_COLUMNS = (
    "generation",
    "outdated",
    "labels",
    "system",
    "free_energy_kJ_per_mol",
    "error_kJ_per_mol",
    "from_hills_kJ_per_mol",
    "reference_kJ_per_mol",
    "reference_error_kJ_per_mol",
)


class Campaign:
    """The state of a campaign directory when this object was created."""

    def __init__(self, directory: str | Path) -> None:
        """Read a campaign directory.

        Raises:
            StoreError: it is not a campaign directory, or one of another version; ParseError: its
                journal is damaged.
        """
        self._history = history.read(Path(directory))

    def __repr__(self) -> str:
        labels = self._history.state["labels"]["done"]
        return f"Campaign({str(self._history.root)!r}): {labels} labels, {self.verdict}"

    @property
    def directory(self) -> Path:
        """Path of the campaign directory."""
        return self._history.root

    @property
    def status(self) -> Mapping[str, Any]:
        """The state that `phasewalk status --json` prints."""
        return self._history.state

    @property
    def problems(self) -> list[str]:
        """Messages about files that could not be read."""
        return list(self._history.problems)

    @property
    def verdict(self) -> str:
        """The result of the report (go on, converged, look here …) with its reasons."""
        found = verdict.judge(self._history)
        return f"{found.word}: {'; '.join(found.reasons)}"

    @cached_property
    def labels(self) -> list[Atoms]:
        """All labelled frames, with energy (eV), forces (eV/Å) and stress (eV/Å³, Voigt).

        `atoms.info` has key, level of theory, system, round, walker, step, and, if known, the
        collective variables as `colvar_NAME`.
        """
        known = stop.located(self._history.records)
        found = []
        for label in library.campaign_labels(self.directory)[0]:
            atoms = label.with_results()
            atoms.info.update(
                {f"colvar_{n}": value for n, value in known.get(label.key, {}).items()}
            )
            found.append(atoms)
        return found

    @property
    def learning_curve(self) -> "pd.DataFrame":
        """Errors on frames not trained on, with the number of labels.

        One row for each evaluation of a generation, on the new frames of a round before the
        training on them ("new") or on the test set ("test"). Columns: generation, round,
        measured_on, labels, and the errors of `validation.Errors`.
        """
        state = self._history.state
        counts = {
            e["generation"]: e["training_labels"] + e["validation_labels"]
            for e in state["generations"]
        }
        rows = [
            {"round": entry["round"], "measured_on": "new", **entry["before_learning"]}
            for entry in state["rounds"]
            if "before_learning" in entry
        ]
        rows += [
            {"generation": entry["generation"], "measured_on": "test", **entry["test"]}
            for entry in state["generations"]
            if entry.get("test")
        ]
        for row in rows:
            row["labels"] = counts.get(row["generation"])
            row.pop("energy_offsets_meV_per_atom", None)
        return _frame(rows, ("round", "measured_on", "generation", *ERROR_COLUMNS, "labels"))

    @property
    def errors(self) -> "pd.DataFrame":
        """Every labelled frame on which a generation was evaluated.

        Columns: generation, round, measured_on, learned, key, system, walker, formula, volume_A3,
        energies (reference and model, eV/atom), pressures (GPa), errors of forces and stress, and
        the collective variables in the units of the PLUMED text.
        """
        return _frame(
            [
                {
                    "generation": one.generation,
                    "round": one.round,
                    "measured_on": one.of,
                    "learned": one.learned,
                    "key": one.key,
                    "system": one.system,
                    "walker": one.walker,
                    "formula": one.formula,
                    "volume_A3": one.volume_A3,
                    "reference_energy_eV_per_atom": one.energy[0],
                    "model_energy_eV_per_atom": one.energy[1],
                    "reference_pressure_GPa": one.pressure[0],
                    "model_pressure_GPa": one.pressure[1],
                    **one.errors,
                    **{f"colvar_{name}": value for name, value in one.colvars.items()},
                }
                for one in self._history.comparisons
            ],
            COMPARED_COLUMNS,
        )

    @property
    def walkers(self) -> "pd.DataFrame":
        """Trajectories of all walkers: system, walker, round, time_ps, and printed variables."""
        pandas = _pandas()
        parts = [
            pandas.DataFrame(
                {
                    "system": trace.system,
                    "walker": trace.walker,
                    "round": trace.round,
                    "time_ps": trace.time_ps,
                    **trace.values,
                }
            )
            for trace in self._history.traces
        ]
        return (
            _frame([], ("system", "walker", "round", "time_ps"))
            if not parts
            else cast("pd.DataFrame", pandas.concat(parts, ignore_index=True))
        )

    @property
    def walks(self) -> "pd.DataFrame":
        """One row for each walker and round: its initial frame, and why it stopped early."""
        return _frame(
            [
                {
                    "system": trace.system,
                    "walker": trace.walker,
                    "round": trace.round,
                    "began": trace.source,
                    "why": trace.why,
                    "stopped": trace.stopped,
                }
                for trace in self._history.traces
            ],
            ("system", "walker", "round", "began", "why", "stopped"),
        )

    def fes(self, generation: str | int | None = None, *, earlier: bool = False) -> "pd.DataFrame":
        """Free energies computed by `phasewalk fes`, of one generation or of all.

        Columns: generation, system, outdated (why it is not of the campaign's present generation;
        empty if it is), labels (number of labels of the model), the variables (units of the PLUMED
        text), and free_energy_kJ_per_mol, error_kJ_per_mol, from_hills_kJ_per_mol; NaN if a bin
        was not sampled. reference_kJ_per_mol and reference_error_kJ_per_mol are the free energy
        of the reference itself, if its labels determine it.

        Args:
            generation: 0, 1, … or "final"; None: all.
            earlier: include those of earlier models, such as a final model that was trained again;
                by default they are omitted with a warning.
        """
        rows: list[dict[str, Any]] = []
        for found in self._history.free_energies:
            for system, one in found.items():
                if generation is not None and str(one["generation"]) != str(generation):
                    continue
                if one["outdated"] and not earlier:
                    warnings.warn(
                        f"the free energy of {system} {one['outdated']} is omitted; use "
                        "fes(earlier=True) to include it",
                        stacklevel=2,
                    )
                    continue
                rows += _free_rows(system, one)
        return _frame(rows, FES_COLUMNS)

    @property
    def timings(self) -> "pd.DataFrame":
        """One row for each finished task: task, stage, round, seconds, cores, ended (UTC)."""
        table = _frame(
            [
                {
                    "task": r.task,
                    "stage": r.stage,
                    "round": r.round,
                    "seconds": r.seconds,
                    "cores": r.cores,
                    "ended": r.time,
                }
                for r in self._history.records
            ],
            ("task", "stage", "round", "seconds", "cores", "ended"),
        )
        if len(table):
            table["ended"] = _pandas().to_datetime(table["ended"], unit="s", utc=True)
        return table

    @property
    def costs(self) -> Mapping[str, Any]:
        """Labels, core-hours and wall time, as in the report; on a site by partition too."""
        state = self._history.state
        site = {name: (state["site"] or {}).get(name, []) for name in ("partitions", "allocations")}
        return {**state["cost"], **ledger.timeline(self._history.records), **site}

    @property
    def frames(self) -> list[tuple[str, Atoms]]:
        """Title and atoms of each walker before and after the first round, and after the last."""
        rounds = sorted({trace.round for trace in self._history.traces})
        return scenes.collect(self.directory, rounds)

    @property
    def pictures(self) -> dict[str, Picture]:
        """The report's figures by name, each with its caption and numbers."""
        sections = page.sections(self._history)
        return {picture.name: picture for section in sections for picture in section.pictures}

    @property
    def figures(self) -> "dict[str, Figure]":
        """The report's figures as matplotlib figures, by name."""
        return {name: picture.figure() for name, picture in self.pictures.items()}

    def model(self, generation: str | int | None = None) -> Path:
        """The deployed model of a generation (0, 1, … or "final"); the last one by default.

        Raises:
            InputError: there is no such generation; StoreError: no model was deployed yet.
        """
        name = None if generation is None else str(generation)
        return deployed_model(self.directory, name)

    def calculator(self, generation: str | int | None = None, *, device: str = "cpu") -> Any:
        """The deployed model of a generation as an ASE calculator, through nequip.

        Args:
            generation: as in `model`.
            device: cpu or cuda, as the model was compiled for.

        Raises:
            InputError, StoreError: as `model`; EngineMissing: nequip is not installed.
        """
        try:
            from nequip.integrations.ase import NequIPCalculator
        except ImportError as error:
            raise EngineMissing("nequip is not installed; pip install nequip") from error
        species = self.status["identity"]["species"]
        return NequIPCalculator.from_compiled_model(
            str(self.model(generation)),
            device=device,
            chemical_species_to_atom_type_map={name: name for name in species},
        )


def _free_rows(system: str, one: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A free energy as rows, one for each bin."""
    free = free_energy.from_dict(one)
    names = [variable.name for variable in free.variables]
    by_reference = correction.from_dict(one.get("against_reference"), free)
    values = [v.ravel() for v in (free.values, free.errors, free.from_hills, *by_reference)]
    common = {key: one[key] for key in ("generation", "outdated", "labels")}
    return [
        {
            **common,
            "system": system,
            **dict(zip(names, place, strict=True)),
            "free_energy_kJ_per_mol": value,
            "error_kJ_per_mol": error,
            "from_hills_kJ_per_mol": hills,
            "reference_kJ_per_mol": its_own,
            "reference_error_kJ_per_mol": its_error,
        }
        for place, value, error, hills, its_own, its_error in zip(
            free_energy.points(free.centres), *values, strict=True
        )
    ]


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise InputError(
            "tables need pandas; pip install 'phasewalk[notebook]' (or pandas)"
        ) from error
    return pandas


def _frame(rows: list[dict[str, Any]], columns: Sequence[str]) -> "pd.DataFrame":
    """A table of rows; these are the columns if there are no rows."""
    table = _pandas().DataFrame(rows) if rows else _pandas().DataFrame(columns=list(columns))
    return cast("pd.DataFrame", table)
