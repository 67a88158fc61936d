"""What is kept with a version in the registry beside its bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from tastemaker.gates import Evidence, evidence_of
from tastemaker.manifest import MANIFEST

EVIDENCE = "evidence"
"""Tag of a version: what gates go by, as JSON."""
REPORT_FILE = "report.json"
CARD = "model_card"
"""Part of a bundle, and, with `.md`, its file."""
LONGEST_DESCRIPTION: Final = 5_000
"""Characters: MLflow's tables hold no more."""


@dataclass(frozen=True)
class Papers:
    """What training hands to the registry with a bundle."""

    card: str = ""
    """Markdown for people; its beginning becomes the version's description."""
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    """(step, value) by the metric's name."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """By the artefact's path in the run, such as `figures/training.png`."""


@dataclass(frozen=True)
class Registered:
    """What the registry knows of a version."""

    version: str
    aliases: tuple[str, ...]
    created_at: datetime
    tags: Mapping[str, str]
    description: str

    @property
    def evidence(self) -> Evidence | None:
        """What gates go by; None where it was not evaluated, or by another Tastemaker that noted other things."""
        try:
            return Evidence.model_validate_json(self.tags[EVIDENCE])
        except (KeyError, ValidationError):
            return None


def tags_of(bundle: Path) -> dict[str, str]:
    """What the manifest and the report of a bundle directory say, as far as they do, as tags."""
    manifest, report = _document(bundle / MANIFEST), _document(bundle / REPORT_FILE)
    tags: dict[str, str] = {name: manifest[name] for name in ("feature_schema", "catalogue") if name in manifest}
    if "data_window" in manifest:
        tags["data_from"], tags["data_until"] = manifest["data_window"]
    try:
        return tags | {EVIDENCE: evidence_of(report).model_dump_json()}
    except KeyError:  # made without a holdout, or by an earlier Tastemaker
        return tags


def beginning(text: str, longest: int) -> str:
    """As many whole paragraphs of `text` as `longest` characters hold."""
    return text if len(text) <= longest else text[: max(text.rfind("\n\n", 0, longest), 0)]


def _document(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.is_file() else {}
