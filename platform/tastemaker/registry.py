"""The model registry: bundles as MLflow model versions, found by number or alias (`champion`, `challenger`).

Only MLflow's client is used, so the lean `mlflow-skinny` is enough to serve.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tastemaker.config import Settings
from tastemaker.errors import Conflict, NotFound, Unavailable
from tastemaker.gates import evidence_of
from tastemaker.manifest import MANIFEST
from tastemaker.papers import CARD, EVIDENCE, LONGEST_DESCRIPTION, Papers, Registered, beginning, tags_of
from tastemaker.types import ModelRef

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
CHALLENGER = "challenger"
EXPERIMENT = "tastemaker"
ARTIFACT = "bundle"
ITEMS = "items"
"""Parameter of a version: the size of its bundle's catalogue."""
LONGEST_BATCH: Final = 1_000
"""Metrics in one call of MLflow's."""


class Registry:
    """Versions of one registered model."""

    def __init__(self, settings: Settings) -> None:
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        # Imported here: MLflow takes seconds, and most commands never ask the registry.
        from mlflow.tracking import MlflowClient

        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy", DeprecationWarning)

        self.settings = settings
        self._name = settings.model_name
        settings.home.mkdir(parents=True, exist_ok=True)
        self._client: MlflowClient = MlflowClient(settings.tracking_uri, settings.tracking_uri)

    def register(
        self,
        bundle: Path,
        metrics: Mapping[str, float],
        parameters: Mapping[str, str],
        alias: str = CHALLENGER,
        papers: Papers | None = None,
    ) -> ModelRef:
        """Upload the bundle directory as a new version and point `alias` at it.

        What its manifest and its report say becomes tags of the version: data window, feature schema, evidence.
        """
        from mlflow.exceptions import MlflowException

        papers = papers or Papers()
        client = self._client
        run = client.create_run(self._experiment_id(), run_name=bundle.name)
        for name, setting in parameters.items():
            client.log_param(run.info.run_id, name, setting)
        self._log(run.info.run_id, {name: [(0, value)] for name, value in metrics.items()} | dict(papers.curves))
        for name, content in papers.files.items():
            self._attach(run.info.run_id, name, content)
        client.log_artifacts(run.info.run_id, str(bundle), ARTIFACT)
        client.set_terminated(run.info.run_id)
        try:
            client.get_registered_model(self._name)
        except MlflowException:
            client.create_registered_model(self._name, description="Tastemaker model bundles")
        source = f"{run.info.artifact_uri}/{ARTIFACT}"
        version = client.create_model_version(
            self._name,
            source,
            run.info.run_id,
            tags=dict(parameters) | tags_of(bundle),
            description=beginning(papers.card, LONGEST_DESCRIPTION),
        ).version
        client.set_registered_model_alias(self._name, alias, version)
        return ModelRef(self._name, str(version), source)

    def point(self, version: str, alias: str) -> None:
        """Point `alias` at `version`, whatever gates say (`tastemaker.promotion` asks them).

        Raises:
            NotFound: there is no such version.
            Unavailable: the registry does not answer.
        """
        from mlflow.exceptions import MlflowException

        self.resolve(version)
        try:
            self._client.set_registered_model_alias(self._name, alias, version)
        except MlflowException as error:
            raise self._silent(error) from error

    def catalogue(self, version: str) -> int | None:
        """How many items the version's bundle has, as training noted; None where it did not.

        Raises:
            NotFound: there is no such version.
            Unavailable: the registry does not answer.
        """
        from mlflow.exceptions import MlflowException

        try:
            run_id = self._client.get_model_version(self._name, version).run_id
            noted = self._client.get_run(run_id).data.params.get(ITEMS) if run_id else None
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise NotFound(f"the registry has no {self._name!r} version {version!r}") from error
            raise self._silent(error) from error
        return int(noted) if noted else None

    def resolve(self, ref: str = CHAMPION) -> ModelRef:
        """The version that a number or an alias names.

        Raises:
            NotFound: there is none; the message says how to make one.
            Unavailable: the registry does not answer.
        """
        from mlflow.exceptions import MlflowException

        try:
            if ref.isdigit():
                found = self._client.get_model_version(self._name, ref)
            else:
                found = self._client.get_model_version_by_alias(self._name, ref)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise NotFound(
                    f"the registry at {self.settings.tracking_uri} has no {self._name!r} version {ref!r}",
                    "Train one with `tastemaker train`",
                ) from error
            raise self._silent(error) from error
        return ModelRef(self._name, str(found.version), str(found.source))

    def has(self, ref: str) -> bool:
        """Whether a number or an alias names a version."""
        try:
            self.resolve(ref)
        except NotFound:
            return False
        return True

    def registered(self, ref: str) -> Registered:
        """All that is known of the version that a number or an alias names.

        Raises:
            NotFound: there is none.
            Unavailable: the registry does not answer.
        """
        version = self.resolve(ref).version
        return self._registered(self._client.get_model_version(self._name, version), self._aliases())

    def versions(self) -> list[Registered]:
        """Every version, newest first."""
        found = self._client.search_model_versions(f"name = '{self._name}'")
        aliases = self._aliases() if found else {}
        newest_first = sorted(found, key=lambda version: int(version.version), reverse=True)
        return [self._registered(version, aliases) for version in newest_first]

    def card(self, version: str) -> str:
        """The model card of a version; its description where its bundle has none.

        Raises:
            NotFound: there is no such version.
            Unavailable: the registry does not answer.
        """
        from mlflow.exceptions import MlflowException

        found = self.registered(version)
        run_id = self._client.get_model_version(self._name, found.version).run_id or ""
        with tempfile.TemporaryDirectory() as scratch:
            try:
                file = self._client.download_artifacts(run_id, f"{ARTIFACT}/{CARD}.md", scratch)
                return Path(file).read_text()
            except (MlflowException, OSError):
                return found.description

    def tag(self, version: str, key: str, value: str) -> None:
        """Note something with a version.

        Raises:
            Unavailable: the registry does not answer.
        """
        from mlflow.exceptions import MlflowException

        try:
            self._client.set_model_version_tag(self._name, version, key, value)
        except MlflowException as error:
            raise self._silent(error) from error

    def note(self, version: str, report: Mapping[str, Any]) -> None:
        """Let gates go by another evaluation `report` of the version from now on."""
        self.tag(version, EVIDENCE, evidence_of(report).model_dump_json())

    def download(self, ref: ModelRef) -> Path:
        """The bundle directory of a version on this machine's disk, downloaded once, whole or not at all.

        Raises:
            Conflict: what lies in its place is no whole bundle.
        """
        local = Path(ref.path.removeprefix("file://"))
        if (local / MANIFEST).is_file():
            return local
        target = self._place(ref)
        if (target / MANIFEST).is_file():
            return target
        import mlflow.artifacts

        shelf = target.parent
        shelf.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shelf) as draft:
            got = mlflow.artifacts.download_artifacts(
                artifact_uri=ref.path, dst_path=draft, tracking_uri=self.settings.tracking_uri
            )
            try:
                os.rename(got, target)
            except OSError as error:
                # Another process may have been faster: what it put there may be in use, and is the same.
                if not (target / MANIFEST).is_file():
                    raise Conflict(
                        f"the bundle of {ref} cannot be moved to {target}: {error.strerror}",
                        "Remove what lies there; it is no whole bundle",
                    ) from error
        return target

    def _place(self, ref: ModelRef) -> Path:
        """Where a version lies once it is downloaded: other registries have versions of the same number."""
        source = f"{self.settings.tracking_uri}\n{ref.path}"
        digest = hashlib.sha256(source.encode()).hexdigest()[:12]
        return (self.settings.home / "bundles").absolute() / f"{ref.name}-{ref.version}-{digest}"

    def _aliases(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for alias, version in self._client.get_registered_model(self._name).aliases.items():
            found.setdefault(str(version), []).append(alias)
        return found

    def _registered(self, version: ModelVersion, aliases: Mapping[str, list[str]]) -> Registered:
        number = str(version.version)
        created = datetime.fromtimestamp(version.creation_timestamp / 1e3, UTC)
        return Registered(
            number, tuple(sorted(aliases.get(number, ()))), created, dict(version.tags), version.description or ""
        )

    def _log(self, run_id: str, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1e3)
        points = [
            Metric(name.replace("@", "_at_"), value, now, step)
            for name, curve in curves.items()
            for step, value in curve
        ]
        for start in range(0, len(points), LONGEST_BATCH):
            self._client.log_batch(run_id, points[start : start + LONGEST_BATCH])

    def _attach(self, run_id: str, name: str, content: bytes) -> None:
        folder, _, called = name.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / called).write_bytes(content)
            self._client.log_artifact(run_id, str(Path(scratch) / called), folder or None)

    def _silent(self, error: Exception) -> Unavailable:
        uri = self.settings.tracking_uri
        return Unavailable(f"the registry at {uri} does not answer: {str(error)[:200]}", "Check MLFLOW_TRACKING_URI")

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        if self.settings.mlflow_tracking_uri:
            return str(self._client.create_experiment(EXPERIMENT))
        artifacts = (self.settings.home / "mlartifacts").absolute()
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=artifacts.as_uri()))
