"""Shoal's own list of labeled-data folders to leave out: ``<project>/shoal/exclude.txt``.

DLC leaves a folder out by a comment in config.yaml; shoal never writes there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shoal.errors import ProjectError
from shoal.io.dlc.config_file import config_path

_HEAD = "# labeled-data folders that shoal leaves out, one a line (`shoal dataset PROJECT --exclude/--include`)\n"


def exclude_file(root: Path) -> Path:
    """Where the list is kept."""
    return config_path(root).parent / "shoal" / "exclude.txt"


def read_excluded(root: Path) -> tuple[str, ...]:
    """Folder names on the list, sorted; none if there is no list."""
    path = exclude_file(root)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(f"expected a text file, got: {error}\nwhere: {path}") from error
    names = (line.partition("#")[0].strip() for line in lines)
    return tuple(sorted({name for name in names if name}))


def change_excluded(root: Path, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> tuple[str, ...]:
    """Put folders on the list or take them off.

    Returns:
        The names now on the list.

    Raises:
        ProjectError: a folder to add does not exist, or one to remove is not on the list.
    """
    root = config_path(root).parent
    before = read_excluded(root)
    folders = {path.name for path in (root / "labeled-data").glob("*") if path.is_dir()}
    for name in add:
        if name not in folders:
            raise ProjectError(
                f"expected a folder of labeled-data, got '{name}'\nwhere: {root / 'labeled-data'}",
                hint="`shoal check PROJECT` lists the folders",
            )
    for name in remove:
        if name not in before:
            raise ProjectError(
                f"expected a folder on the list, got '{name}'\nwhere: {exclude_file(root)}",
                hint=f"on the list: {', '.join(before) or 'nothing'}",
            )
    after = tuple(sorted({*before, *add} - set(remove)))
    if after != before:
        path = exclude_file(root)
        path.parent.mkdir(exist_ok=True)
        path.write_text(_HEAD + "".join(f"{name}\n" for name in after), encoding="utf-8")
    return after
