from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput, NotFound
from tastemaker.importing import ImportRequest, import_data
from tastemaker.lake import Lake

SAMPLE = Path(__file__).parents[3] / "data" / "movielens-small"
FILES = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,10,4.5,964982703\n2,10,1.0,964982800\n",
    "movies.csv": "movieId,title,genres\n10,Heat (1995),Action|Crime\n"
    '20,"Series, A (2001\u20132004)",(no genres listed)\n30,Untimed,Drama\n',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ml-tiny"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_text(content)
    return folder


def archived(folder: Path, kind: str) -> Path:
    return Path(shutil.make_archive(str(folder.parent / "archives" / "tiny"), kind, folder.parent, folder.name))


def imported(path: Path) -> Lake:
    lake = Lake(f"memory://{path}")
    import_data(lake, ImportRequest("movielens", path), Settings())
    return lake


def test_ratings_become_events_and_movies_items(folder: Path) -> None:
    lake = imported(folder)

    assert lake.events().select(["user_id", "item_id", "event_type", "value"]).to_pylist() == [
        {"user_id": "1", "item_id": "10", "event_type": "rating", "value": 4.5},
        {"user_id": "2", "item_id": "10", "event_type": "rating", "value": 1.0},
    ]
    told_of_none = [columns.CONTENT_LENGTH_MIN, columns.AUTHOR, columns.PUBLISHED_AT, columns.AVAILABLE]
    assert lake.items().drop_columns(told_of_none).to_pylist() == [
        {
            "item_id": "10",
            "title": "Heat (1995)",
            "categories": ["Action", "Crime"],
            "release_year": 1995,
            "text": "",
        },
        {"item_id": "20", "title": "Series, A (2001\u20132004)", "categories": [], "release_year": 2001, "text": ""},
        {"item_id": "30", "title": "Untimed", "categories": ["Drama"], "release_year": None, "text": ""},
    ]


@pytest.mark.parametrize("kind", ["zip", "xztar", "gztar"])
def test_an_archive_or_a_directory_with_one_is_the_same(folder: Path, kind: str) -> None:
    archive = archived(folder, kind)
    for path in (archive, archive.parent):
        lake = imported(path)
        assert lake.events().equals(imported(folder).events())
        assert lake.items().num_rows == 3


def test_an_archive_cannot_write_outside_of_its_folder(folder: Path) -> None:
    archive = folder.parent / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as tape:
        for name in FILES:
            tape.add(folder / name, f"../../{name}")
    assert imported(archive).events().num_rows == 2


def test_what_is_no_movielens_set_is_refused(folder: Path) -> None:
    with pytest.raises(NotFound, match="there is no"):
        imported(folder / "absent")
    with pytest.raises(InvalidInput, match="cannot be unpacked"):
        imported(folder / "movies.csv")
    (folder / "movies.csv").write_text("id,name\n1,x\n")
    with pytest.raises(InvalidInput, match="no column 'genres'"):
        imported(folder)
    (folder / "movies.csv").unlink()
    with pytest.raises(NotFound, match=r"no movies\.csv"):
        imported(folder)
    (folder / "ratings.csv").unlink()
    with pytest.raises(NotFound, match=r"holds no ratings\.csv"):
        imported(folder)


def test_the_sample_is_whole() -> None:
    lake = imported(SAMPLE)
    events = lake.events()

    assert (events.num_rows, lake.items().num_rows) == (100_836, 9_742)
    assert len(events[columns.USER_ID].unique()) == 610
    assert sum(file.stat().st_size for file in SAMPLE.iterdir()) < 1_500_000
