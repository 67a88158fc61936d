"""Bringing events and a catalogue into the lake: MovieLens data sets, CSV, JSON lines and Parquet files.

Everything is read and checked before anything is written, so an import either happens or leaves the lake as it was.
"""

from __future__ import annotations

from tastemaker.importing.story import FORMATS, ImportReport, ImportRequest, import_data

__all__ = ["FORMATS", "ImportReport", "ImportRequest", "import_data"]
