"""Rollouts on Kubernetes, as the command line edits them: ModelRollout resources through the official client."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from tastemaker.errors import Conflict, InvalidInput, NotFound, Unavailable
from tastemaker.rollout.resources import API_VERSION, GROUP, VERSION, Action, ModelRolloutSpec, ModelRolloutStatus
from tastemaker.rollout.world import Rollout

PLURAL = "modelrollouts"
TIMEOUT_S = 10
ERRORS = {401: Unavailable, 403: Unavailable, 404: NotFound, 409: Conflict, 422: InvalidInput}
T = TypeVar("T")


class ClusterRollouts:
    """The ModelRollouts of a namespace.

    Raises:
        Unavailable: the package `kubernetes` or a kubeconfig is missing.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._api = _api()

    def create(self, name: str, spec: Mapping[str, Any]) -> None:
        """Add a rollout.

        Raises:
            Conflict: there is one of that name.
            InvalidInput: the API server refuses it; the message is its own.
        """
        body = {"apiVersion": API_VERSION, "kind": "ModelRollout", "metadata": {"name": name}, "spec": dict(spec)}
        self._call(name, lambda: self._api.create_namespaced_custom_object(*self._place, body, **self._brief))

    def all(self) -> list[Rollout]:
        """Every rollout, oldest first."""
        found = self._call("", lambda: self._api.list_namespaced_custom_object(*self._place, **self._brief))
        return sorted(map(_rollout, found["items"]), key=lambda rollout: (rollout.created, rollout.name))

    def act(self, name: str, action: Action) -> None:
        """Set `spec.action`.

        Raises:
            NotFound: there is no such rollout.
        """
        body = {"spec": {"action": action}}
        self._call(name, lambda: self._api.patch_namespaced_custom_object(*self._place, name, body, **self._brief))

    def delete(self, name: str) -> None:
        """Remove a rollout; one under way is taken back by the operator.

        Raises:
            NotFound: there is no such rollout.
        """
        self._call(name, lambda: self._api.delete_namespaced_custom_object(*self._place, name, **self._brief))

    @property
    def _place(self) -> tuple[str, str, str, str]:
        return GROUP, VERSION, self._namespace, PLURAL

    @property
    def _brief(self) -> dict[str, Any]:
        return {"_request_timeout": TIMEOUT_S}

    def _call(self, name: str, request: Callable[[], T]) -> T:
        """Errors of the client, as ours."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return request()
        except ApiException as error:
            if error.status == 404 and not name:
                raise NotFound(
                    "the cluster knows no ModelRollouts", "Install Tastemaker: helm install tastemaker helm/tastemaker"
                ) from error
            raise ERRORS.get(error.status or 0, Unavailable)(_said(error.body, str(error.reason))) from error
        except HTTPError as error:
            raise Unavailable(f"the cluster does not answer: {str(error)[:200]}", "Check your kubeconfig") from error


def _api() -> Any:
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise Unavailable(
            "--namespace needs the package kubernetes, which is not installed", "pip install 'tastemaker[operator]'"
        ) from error
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        else:
            config.load_kube_config(os.environ.get("KUBECONFIG"))  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise Unavailable(
            f"no cluster is configured: {str(error)[:200]}", "Set KUBECONFIG, or leave --namespace out on a laptop"
        ) from error
    return client.CustomObjectsApi()


def _rollout(document: Mapping[str, Any]) -> Rollout:
    metadata = document["metadata"]
    return Rollout(
        name=metadata["name"],
        uid=metadata["uid"],
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        spec=ModelRolloutSpec.model_validate(document.get("spec", {})),
        status=ModelRolloutStatus.model_validate(document.get("status", {})),
    )


def _said(body: str | bytes | None, reason: str) -> str:
    try:
        return str(json.loads(body or "")["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return reason
