"""The alarms of a production run: frames that are unlike what its model was trained on."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ..alarms import TRAINED, Output, Trained, Watch, of_campaign
from ..alarms import read as read_trained
from ..errors import PhasewalkError
from ..walkers import colvar_files
from .deck import series
from .plan import Plan

Shown = Callable[[str], None]


class Alarms:
    """Looks at the frames of a run. What goes wrong in that is said, and does not end the run.

    Args:
        plan: the run.
        folder: of the run.
        steps: step at which each walker goes on; None: nothing was cut.
        say: receives the alarms.
    """

    def __init__(
        self, plan: Plan, folder: Path, steps: Mapping[str, int] | None, say: Shown
    ) -> None:
        self._watch: Watch | None = None
        self._say = say
        with self._guarded():
            trained = _trained(plan, folder)
            if trained is None:
                say("no alarms: an exported model comes without its labels")
            else:
                self._watch = Watch(folder, trained, _outputs(plan), say)
                self._watch.begin(steps)

    @property
    def status(self) -> str:
        """For the progress; empty without alarms."""
        return f", {self._watch.status}" if self._watch and self._watch.status else ""

    def look(self) -> None:
        """Look at new frames."""
        with self._guarded():
            if self._watch:
                self._watch.look()

    def end(self) -> None:
        """Look at the last frames, and say what was found."""
        with self._guarded():
            if self._watch:
                self._watch.end()
                for line in self._watch.summary():
                    self._say(line)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except PhasewalkError as error:
            self._watch = None
            self._say(f"no alarms from now on: {error}")


def _outputs(plan: Plan) -> list[Output]:
    """What each walker writes."""
    found = []
    for walker in plan.walkers:
        files = series(plan, walker)
        printed = colvar_files(walker, plan.settings.plumed or "")
        (dump,) = (one.name for one in files if one.frames)
        tables = {one.name: one.per_step for one in files if one.name in printed}
        found.append(Output(walker, dump, tables))
    return found


def _trained(plan: Plan, folder: Path) -> Trained | None:
    """What the model was trained on, kept in the folder of the run; None if it is not known."""
    path = folder / TRAINED
    if path.is_file():
        with suppress(PhasewalkError):  # written again
            return read_trained(path)
    if not plan.model.generation:
        return None
    trained = of_campaign(
        plan.path.absolute().parent / plan.settings.campaign,
        plan.model.generation,
        plan.model.stamp.types,
        plan.model.stamp.r_max_A,
        atoms=len(plan.atoms),
        plumed_text=plan.settings.plumed,
    )
    outputs = [vars(one) for one in _outputs(plan)]
    about = {**trained.about, "outputs": outputs, "source": dict(plan.source)}
    trained = replace(trained, about=about)
    trained.write(path)
    return trained
