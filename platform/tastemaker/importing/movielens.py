"""MovieLens data sets (https://grouplens.org/datasets/movielens/): a directory, or the archive it came in."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

import pyarrow.compute as pc

from tastemaker import columns
from tastemaker.errors import InvalidInput, NotFound
from tastemaker.importing.sources import Source, read_csv

RATINGS, MOVIES = "ratings.csv", "movies.csv"
ARCHIVES = (".zip", ".tar", ".tar.xz", ".tar.gz", ".tgz")
EVENT_MAPPING = {
    columns.USER_ID: "userId",
    columns.ITEM_ID: "movieId",
    columns.VALUE: "rating",
    columns.TIMESTAMP: "timestamp",
}
ITEM_MAPPING = {columns.ITEM_ID: "movieId", columns.TITLE: "title", columns.CATEGORIES: "genres"}
EVENT_TYPE = "rating"


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The directory that holds ratings.csv and its companions, unpacked for the time being when they are archived.

    Raises:
        NotFound: `path` holds no MovieLens data set.
        InvalidInput: `path` is a file but no archive.
    """
    if not path.exists():
        raise NotFound(f"there is no {path}", "Check the path")
    if path.is_file():
        with TemporaryDirectory() as folder:
            _unpack(path, Path(folder))
            yield _folder_of(Path(folder), path)
        return
    archives = sorted(file for file in path.iterdir() if file.name.endswith(ARCHIVES))
    if not any(path.rglob(RATINGS)) and len(archives) == 1:
        with opened(archives[0]) as folder_inside:
            yield folder_inside
        return
    yield _folder_of(path, path)


def read_ratings(folder: Path) -> Source:
    """The ratings, one row each."""
    return read_csv(folder / RATINGS)


def read_movies(folder: Path) -> Source:
    """The films, with the release year from the title.

    Tags stay out: users gave them while or after they watched, so as a film's text they would tell an evaluation what
    its holdout hides.
    """
    movies = read_csv(folder / MOVIES)
    _check_columns(movies, ITEM_MAPPING.values())
    table = movies.table
    years = pc.struct_field(pc.extract_regex(table["title"], r"\((?P<year>\d{4})(?:[\x{2013}-]\d{0,4})?\)\s*$"), "year")
    genres = pc.if_else(pc.equal(table["genres"], "(no genres listed)"), "", table["genres"])
    table = table.set_column(table.schema.get_field_index("genres"), "genres", genres)
    return replace(movies, table=table.append_column(columns.RELEASE_YEAR, years))


def _check_columns(source: Source, names: Iterable[str]) -> None:
    missing = sorted(set(names) - set(source.table.column_names))
    if missing:
        raise InvalidInput(f"{source.path} has no column {missing[0]!r}", "It is not a MovieLens file as published")


def _folder_of(root: Path, path: Path) -> Path:
    found = sorted(root.rglob(RATINGS))
    if not found:
        raise NotFound(f"{path} holds no {RATINGS}", "Give a MovieLens directory or archive that does (from 20M on)")
    if not (found[0].parent / MOVIES).is_file():
        raise NotFound(f"{path} holds {RATINGS} but no {MOVIES}", "Give the data set as published")
    return found[0].parent


def _unpack(archive: Path, folder: Path) -> None:
    """The two files we read, by name alone: where an archive says that they belong is of no interest."""
    try:
        for name, stream in _members(archive):
            (folder / name).write_bytes(stream.read())
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise InvalidInput(f"{archive} cannot be unpacked: {error}", "Give a .zip, .tar.xz or .tar.gz") from error


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    wanted = {RATINGS, MOVIES}
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as bundle:
            for name in bundle.namelist():
                if PurePosixPath(name).name in wanted:
                    with bundle.open(name) as stream:
                        yield PurePosixPath(name).name, stream
        return
    with tarfile.open(archive) as tape:
        for member in tape:
            stream_or_none = tape.extractfile(member) if member.isfile() else None
            if stream_or_none is not None and PurePosixPath(member.name).name in wanted:
                yield PurePosixPath(member.name).name, stream_or_none
