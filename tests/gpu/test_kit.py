"""The kit of a GPU machine: what is packed, and what is left out."""

import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

sys.path.insert(0, str(Path(__file__).parent))

import install
import kit

METADATA = """Metadata-Version: 2.1
Name: thing
Version: 1.0
Requires-Dist: numpy>=2
Requires-Dist: tomli; python_version < "3.12"
Requires-Dist: pytest; extra == "test"
"""


def wheel(folder: Path) -> Path:
    """A wheel with a part that is not needed."""
    path = folder / "thing-1.0-py3-none-any.whl"
    record = "thing/run.py,sha256=a,1\nthing/share/large,sha256=b,2\nthing-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("thing/run.py", "1")
        archive.writestr("thing/share/large", "2" * 10_000)
        archive.writestr("thing-1.0.dist-info/METADATA", METADATA)
        archive.writestr("thing-1.0.dist-info/RECORD", record)
    return path


def test_what_does_not_run_is_left_out_of_a_wheel_and_of_its_record(tmp_path: Path) -> None:
    path = wheel(tmp_path)
    kit.without(path, ("thing/share/",))
    with zipfile.ZipFile(path) as archive:
        assert "thing/share/large" not in archive.namelist()
        assert archive.read("thing/run.py") == b"1"
        assert b"share" not in archive.read("thing-1.0.dist-info/RECORD")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("python", "names"), [("3.11", ["numpy", "tomli"]), ("3.12", ["numpy"])])
def test_needs_are_those_of_the_other_python(tmp_path: Path, python: str, names: list[str]) -> None:
    assert [need.name for need in kit.requirements(wheel(tmp_path), python)] == names


@pytest.mark.parametrize(
    ("need", "there"),
    [("torch>=2.10", True), ("scipy>=1", True), ("numpy>=2", False), ("ase", False)],
)
def test_what_a_machine_has(need: str, there: bool) -> None:
    """An unknown version is taken to fit; install.py looks again."""
    has = {"torch": "2.11.0", "scipy": None, "numpy": "1.26.4"}
    assert kit.is_there(Requirement(need), has) == there


def test_a_torch_that_is_too_old_is_said() -> None:
    with pytest.raises(SystemExit, match=r"torch 2\.8\.0 .*torch>=2\.10 is required"):
        kit.is_there(Requirement("torch>=2.10"), {"torch": "2.8.0"})


def test_names_and_versions_of_a_list() -> None:
    text = "numpy==2.5.2 Ruamel.YAML  # a remark\ntorch, lightning\n"
    assert dict(kit._named(text)) == {
        "numpy": "2.5.2", "ruamel-yaml": None, "torch": None, "lightning": None
    }  # fmt: skip


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_compiler_that_contains_the_standard_library_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert install._compiler(tmp_path) == {}
    contains = tmp_path / "g++"
    contains.write_text(f'#!/bin/sh\nexec {shutil.which("g++")} -static-libstdc++ "$@"\n')
    contains.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    chosen = install._compiler(tmp_path)
    assert chosen.get("CXX", "").startswith("/usr/bin/") or "LIBRARY_PATH" in chosen
