"""Make an environment from the kit, beside the Python that runs this, and without a network.

    python3 gpu-kit/install.py FOLDER

The environment sees all packages of this Python (torch, CUDA); the kit's come first. Only the
standard library and pip are used.
"""

import importlib.metadata
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

WHEELS = Path(__file__).resolve().parent / "wheels"
CHECK = """
import importlib.metadata as metadata
from packaging.requirements import Requirement
todo, seen, bad = ["phasewalk"], set(), []
while todo:
    name = todo.pop()
    for text in metadata.requires(name) or []:
        need = Requirement(text)
        if need.name in seen or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        seen.add(need.name)
        try:
            version = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            bad.append(f"{name} needs {need}, which is not there")
            continue
        if not need.specifier.contains(version, prereleases=True):
            bad.append(f"{name} needs {need}, and {version} is there")
        todo.append(need.name)
print("\\n".join(bad))
raise SystemExit(bool(bad))
"""


def main() -> None:
    """Make it, install, and compare with what phasewalk needs."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1]).absolute()
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin/python"
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    seen = folder / "lib" / version / "site-packages/beside.pth"
    lines = [f"import site; site.addsitedir({path!r})\n" for path in _site_packages()]
    seen.write_text("".join(lines), encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install"]
    options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--force-reinstall"]
    wheels = map(str, sorted(WHEELS.glob("*.whl")))
    subprocess.run([*pip, *options, "--disable-pip-version-check", *wheels], check=True)
    torch = importlib.metadata.version("torch")
    print(f"{python}: Python {version}, torch {torch}")
    subprocess.run([str(python), "-c", CHECK], check=True)


def _site_packages() -> list[str]:
    """Where this Python's packages are."""
    found = dict.fromkeys([sysconfig.get_path("purelib"), *site.getsitepackages()])
    return [path for path in found if Path(path).is_dir()]


if __name__ == "__main__":
    main()
