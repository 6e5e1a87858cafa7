"""Finding the site file that `--site NAME|FILE` means."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..files import read_text
from ..settings_files import parse
from .site import SiteSettings

ENDINGS = (".yaml", ".yml")


def find_site(asked: str, campaign_file: Path, environ: Mapping[str, str]) -> SiteSettings:
    """The settings of a site.

    Args:
        asked: a file, or the name of one without `.yaml`, which is searched in `places`.
        campaign_file: the campaign file, or anything beside it.
        environ: environment variables.

    Raises:
        InputError: there is no such file, or it is not valid.
    """
    file = find_file(asked, places(campaign_file, environ))
    return parse(read_text(file), str(file), SiteSettings)


def places(campaign_file: Path, environ: Mapping[str, str]) -> list[Path]:
    """Folders that may have NAME.yaml: that of the campaign, and the user's folder of sites."""
    found = [campaign_file.absolute().parent]
    home = environ.get("XDG_CONFIG_HOME") or (
        f"{environ['HOME']}/.config" if environ.get("HOME") else None
    )
    return [*found, Path(home) / "phasewalk/sites"] if home else found


def find_file(asked: str, folders: Sequence[Path]) -> Path:
    """The file that is meant by a path or a name.

    Raises:
        InputError: there is none; the message has the folders, and similar names in them.
    """
    if Path(asked).is_file():
        return Path(asked)
    if not asked or "/" in asked or asked.endswith(ENDINGS):
        raise InputError(f"--site {asked}: no such file; give a site file, or the name of one")
    found = [folder / f"{asked}{ending}" for folder in folders for ending in ENDINGS]
    for path in found:
        if path.is_file():
            return path
    looked = " or ".join(str(folder) for folder in folders)
    raise InputError(f"--site {asked}: no {asked}.yaml in {looked}; {_hint(asked, folders)}")


def _hint(asked: str, folders: Sequence[Path]) -> str:
    """What else could be meant: sites of a similar name, or those of the user's folder."""
    paths = [p for folder in folders for e in ENDINGS for p in sorted(folder.glob(f"*{e}"))]
    names = [path.stem for path in paths]
    close = difflib.get_close_matches(asked, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return "copy one of examples/sites to it, or give a file"
