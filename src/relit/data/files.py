"""Photograph files: which files of a folder are photographs, and which of two folders belong together."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from relit.errors import ConfigurationError

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp")
OTHER_EXTENSIONS = (
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif", ".exr", ".hdr"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"),
)
"""Of photographs that are not read."""


def is_photo(path: Path) -> bool:
    """Whether ``path`` is a file with the name of a photograph; a link that leads nowhere counts, too."""
    # macOS writes hidden "._name.jpg" files beside photographs on foreign disks.
    if path.suffix.lower() not in EXTENSIONS or path.name.startswith("."):
        return False
    return path.is_file() or (path.is_symlink() and not path.is_dir())


def photos_in(folder: Path) -> list[Path]:
    """The photographs directly in ``folder``, sorted by name; extensions in either case, no hidden files.

    Raises: :class:`OSError` when the folder is missing or can't be read.
    """
    return sorted((path for path in folder.iterdir() if is_photo(path)), key=lambda path: path.name)


def list_photos(folder: Path | str | None, key: str) -> list[Path]:
    """:func:`photos_in` for a folder that a user named.

    Args:
        folder: the folder; None means that it was not set.
        key: the configuration key that the folder comes from, for the error message (``data.backlit``).

    Raises: :class:`ConfigurationError` when the folder is not set, missing or without photographs.
    """
    if not folder:
        raise ConfigurationError(f"{key} is not set: name a folder of photographs with {key}=DIR")
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ConfigurationError(
            f"{key}: {folder} {what} (looked for {folder.absolute()}): "
            f"name a folder of photographs with {key}=DIR"
        )
    paths = photos_in(folder)
    if not paths:
        raise ConfigurationError(
            f"{key}: no photographs in {folder} (looked for {' '.join(EXTENSIONS)}, not in sub-folders): "
            f"name the folder that holds them with {key}=DIR"
        )
    return paths


def find_folder(home: Path, below: str) -> Path:
    """The folder ``below`` in ``home``, its names in any case; as given where there is none."""
    folder = home
    for name in Path(below).parts:
        exact, alike = folder / name, []
        if folder.is_dir() and not exact.is_dir():
            alike = [path for path in folder.iterdir() if same_name(path.name) == same_name(name)]
        folder = next((path for path in sorted(alike) if path.is_dir()), exact)
    return folder


def list_folders(folders: str | list[str] | None, root: str | None, key: str) -> list[Path]:
    """:func:`list_photos` of one folder or several, those with relative names below ``root`` in any case.

    Raises: :class:`ConfigurationError` when ``root`` is no folder, too.
    """
    start = Path(root or "").expanduser()
    if not start.is_dir():
        what = "is not a folder" if start.exists() else "does not exist"
        raise ConfigurationError(
            f"data.root: {start} {what} (looked for {start.absolute()}): name the folder that the others are "
            "in with data.root=DIR"
        )
    named = folders if isinstance(folders, list) else [folders]
    rooted = [_rooted(start, folder) if folder else None for folder in named or [None]]
    try:
        return [path for folder in rooted for path in list_photos(folder, key)]
    except ConfigurationError as error:
        if root is None:
            raise
        raise ConfigurationError(f"{error}, or the folder that it is in with data.root=DIR") from error


def _rooted(start: Path, folder: str) -> Path:
    path = Path(folder).expanduser()
    return path if path.is_absolute() else find_folder(start, folder)


def unique_names(paths: Sequence[Path]) -> list[str]:
    """File names without extension, for use as file names; longer where two would be the same.

    ``a``, or ``a.png`` beside ``a.jpg``, or ``low-a`` where another folder holds the same name.
    """
    names = [path.stem for path in paths]
    longer: tuple[Callable[[Path], str], ...] = (
        lambda path: path.name,
        lambda path: f"{path.parent.name}-{path.stem}",
        lambda path: f"{path.parent.name}-{path.name}",
    )
    for name_of in longer:
        count = Counter(names)
        names = [name if count[name] == 1 else name_of(path) for name, path in zip(names, paths, strict=True)]
    return names


def same_name(name: str) -> str:
    """What two names have in common that differ in case or in how accents are encoded."""
    return unicodedata.normalize("NFC", name).casefold()


class Matches(NamedTuple):
    """Pairs (input, reference), and what is left: ``(path, reason)`` each."""

    pairs: list[tuple[Path, Path]]
    unmatched: list[tuple[Path, str]]


def match(inputs: Sequence[Path], references: Sequence[Path]) -> Matches:
    """Pairs of files with the same stem in either case; among several references the extension decides."""
    by_stem: defaultdict[str, list[Path]] = defaultdict(list)
    for path in references:
        by_stem[same_name(path.stem)].append(path)
    found = Matches([], [])
    for path in inputs:
        candidates = by_stem.get(same_name(path.stem), [])
        candidates = [c for c in candidates if same_name(c.name) == same_name(path.name)] or candidates
        if len(candidates) == 1:
            found.pairs.append((path, candidates[0]))
        else:
            found.unmatched.append((path, f"{len(candidates) or 'no'} references"))
    matched = {reference for _, reference in found.pairs}
    found.unmatched.extend((path, "no input") for path in references if path not in matched)
    return found
