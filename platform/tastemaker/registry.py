"""The model registry: bundles as MLflow model versions, found by number or alias (`champion`, `challenger`).

Only MLflow's client is used, so the lean `mlflow-skinny` is enough to serve.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tastemaker.bundle import MANIFEST
from tastemaker.config import Settings
from tastemaker.errors import NotFound, Unavailable
from tastemaker.types import ModelRef

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
CHALLENGER = "challenger"
EXPERIMENT = "tastemaker"
ARTIFACT = "bundle"
ITEMS = "items"
"""Parameter of a version: the size of its bundle's catalogue."""


class Registry:
    """Versions of one registered model."""

    def __init__(self, settings: Settings) -> None:
        # Imported here: MLflow takes seconds, and most commands never ask the registry.
        from mlflow.tracking import MlflowClient

        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy", DeprecationWarning)

        self._settings = settings
        self._name = settings.model_name
        settings.home.mkdir(parents=True, exist_ok=True)
        self._client: MlflowClient = MlflowClient(settings.tracking_uri, settings.tracking_uri)

    def register(
        self, bundle: Path, metrics: Mapping[str, float], parameters: Mapping[str, str], alias: str = CHALLENGER
    ) -> ModelRef:
        """Upload the bundle directory as a new version and point `alias` at it."""
        from mlflow.exceptions import MlflowException

        client = self._client
        run = client.create_run(self._experiment_id(), run_name=bundle.name)
        for name, setting in parameters.items():
            client.log_param(run.info.run_id, name, setting)
        for name, value in metrics.items():
            client.log_metric(run.info.run_id, name.replace("@", "_at_"), value)
        client.log_artifacts(run.info.run_id, str(bundle), ARTIFACT)
        client.set_terminated(run.info.run_id)
        try:
            client.get_registered_model(self._name)
        except MlflowException:
            client.create_registered_model(self._name, description="Tastemaker model bundles")
        source = f"{run.info.artifact_uri}/{ARTIFACT}"
        version = client.create_model_version(self._name, source, run.info.run_id).version
        client.set_registered_model_alias(self._name, alias, version)
        return ModelRef(self._name, str(version), source)

    def promote(self, version: str, alias: str = CHAMPION) -> None:
        """Point `alias` at `version`.

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
                    f"the registry at {self._settings.tracking_uri} has no {self._name!r} version {ref!r}",
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

    def versions(self) -> list[tuple[str, tuple[str, ...]]]:
        """Every version, newest first, with the aliases that point at it."""
        found = self._client.search_model_versions(f"name = '{self._name}'")
        aliases: dict[str, list[str]] = {}
        if found:
            for alias, version in self._client.get_registered_model(self._name).aliases.items():
                aliases.setdefault(str(version), []).append(alias)
        numbers = sorted((str(version.version) for version in found), key=int, reverse=True)
        return [(number, tuple(sorted(aliases.get(number, ())))) for number in numbers]

    def download(self, ref: ModelRef) -> Path:
        """The bundle directory of a version on this machine's disk, downloaded once, whole or not at all."""
        local = Path(ref.path.removeprefix("file://"))
        if (local / MANIFEST).is_file():
            return local
        shelf = (self._settings.home / "bundles").absolute()
        target = shelf / f"{ref.name}-{ref.version}"
        if (target / MANIFEST).is_file():
            return target
        import mlflow.artifacts

        shelf.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shelf) as draft:
            got = mlflow.artifacts.download_artifacts(
                artifact_uri=ref.path, dst_path=draft, tracking_uri=self._settings.tracking_uri
            )
            shutil.rmtree(target, ignore_errors=True)
            os.rename(got, target)
        return target

    def _silent(self, error: Exception) -> Unavailable:
        uri = self._settings.tracking_uri
        return Unavailable(f"the registry at {uri} does not answer: {str(error)[:200]}", "Check MLFLOW_TRACKING_URI")

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        if self._settings.mlflow_tracking_uri:
            return str(self._client.create_experiment(EXPERIMENT))
        artifacts = (self._settings.home / "mlartifacts").absolute()
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=artifacts.as_uri()))
