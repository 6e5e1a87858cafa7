"""Make an environment from the kit, beside the Python that runs this, and without a network.

    python3 gpu-kit/install.py FOLDER

The environment sees all packages of this Python (torch, CUDA); the kit's come first. Only the
standard library and pip are used.
"""

import ctypes
import importlib.metadata
import os
import site
import subprocess
import sys
import sysconfig
import tempfile
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
    chosen = _compiler(folder)
    lines = [f"export {name}={value}\n" for name, value in chosen.items()]
    (folder / "compiler.env").write_text("".join(lines), encoding="utf-8")
    print(f"compiler: {chosen or 'as it is'}")


def _compiler(folder: Path) -> dict[str, str]:
    """Variables with which the C++ compiler links the shared libstdc++.

    Where only the static one is found, each library has its own. A compiled model, whose symbols
    are all visible, then crashes when torch loads it (in `std::regex`, with torch 2.11).
    """
    ctypes.CDLL("libstdc++.so.6")
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    loaded = next(line.split()[-1] for line in maps.splitlines() if "libstdc++" in line)
    place = folder / "lib/cxx"
    place.mkdir(parents=True, exist_ok=True)
    (place / "libstdc++.so").unlink(missing_ok=True)
    (place / "libstdc++.so").symlink_to(loaded)
    library = {"LIBRARY_PATH": str(place)}
    others = [{"CXX": f"/usr/bin/{name}"} for name in ("g++", "c++", "clang++")]
    tries = [{}, library, *others, *({**library, **other} for other in others)]
    return next((one for one in tries if _shares_libstdcxx({**os.environ, **one})), {})


def _shares_libstdcxx(env: dict[str, str]) -> bool:
    """Whether a library of the compiler needs libstdc++.so.6, rather than containing it."""
    with tempfile.TemporaryDirectory() as place:
        source, library = Path(place, "a.cpp"), Path(place, "a.so")
        source.write_text("#include <iostream>\nvoid f() { std::cout << 1; }\n", encoding="utf-8")
        argv = [env.get("CXX", "g++"), "-shared", "-fPIC", str(source), "-o", str(library)]
        try:
            subprocess.run(argv, env=env, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        return b"libstdc++.so.6" in library.read_bytes()


def _site_packages() -> list[str]:
    """Where this Python's packages are."""
    found = dict.fromkeys([sysconfig.get_path("purelib"), *site.getsitepackages()])
    return [path for path in found if Path(path).is_dir()]


if __name__ == "__main__":
    main()
