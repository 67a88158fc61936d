"""`tastemaker import-model`: beginning with what others have learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tastemaker import config


def import_model(
    source: Annotated[
        Path, typer.Argument(help="Parquet file, .npy file, or directory of another installation's bundle.")
    ],
    ids: Annotated[Path | None, typer.Option(help="Of an .npy file: the item id of each row, one a line.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Seed a new platform: make a bundle that serves slates and similar items before there is any event.

    Import the catalogue first (`tastemaker data import`). Its items are found in SOURCE, the surest way first:

      by id        files of vectors only: item ids are ours

      by title     title and release year, whatever the case, accents and order of words

      by content   words of title, text and categories, where each is the other's nearest

    An item that is not found takes the mean vector of items like it. What was popular there is popular here.

    SOURCE is one of

      FILE.parquet   columns item_id and vector (a list of numbers); and, where you have them, title, release_year,
                     categories, text to match by, and popularity (a count)

      FILE.npy       an array (items, width), with --ids FILE

      DIRECTORY      a bundle, as `tastemaker registry download` prints its place on the other installation

    The version becomes challenger, and champion where there is none. Once there are events, `tastemaker train`.
    """
    from tastemaker_training.narrator import Narrator
    from tastemaker_training.transfer import donor, first_bundle

    ref, report = first_bundle.import_model(donor.read(source, ids), config.load(), Narrator(quiet=as_json))
    if as_json:
        print(json.dumps({"version": str(ref), **report}))
        return
    print(
        f"{ref} of {report['items']:,} items: {report['id']:,} found by id, {report['title']:,} by title, "
        f"{report['content']:,} by content; {report['from_content']:,} have the vectors of items like them, "
        f"{report['without_vector']:,} none."
    )
    print("It is the champion." if report["champion"] else "It is challenger; the champion stays.")
