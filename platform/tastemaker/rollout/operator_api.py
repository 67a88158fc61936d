"""The API server, as little of it as the operator needs: plain JSON over HTTP, errors as ours."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping
from typing import Any, Final

import httpx
from kubernetes import config as kubernetes_config
from kubernetes.client import Configuration

from tastemaker.errors import Conflict, InvalidInput, NotFound, TastemakerError, Unauthorized, Unavailable
from tastemaker.rollout.resources import GROUP, VERSION

Object = dict[str, Any]

FIELD_MANAGER: Final = "tastemaker-operator"
TIMEOUT_S: Final = 5.0
NOT_TYPED: Final = "failed to create typed patch object"
RECOMMENDERS: Final = "recommenders"
ROLLOUTS: Final = "modelrollouts"
PLACES: Final[Mapping[str, str]] = {
    "ConfigMap": "api/v1/{namespace}/configmaps",
    "Deployment": "apis/apps/v1/{namespace}/deployments",
    "Event": "api/v1/{namespace}/events",
    "HorizontalPodAutoscaler": "apis/autoscaling/v2/{namespace}/horizontalpodautoscalers",
    "ModelRollout": f"apis/{GROUP}/{VERSION}/{{namespace}}/{ROLLOUTS}",
    "Pod": "api/v1/{namespace}/pods",
    "PodDisruptionBudget": "apis/policy/v1/{namespace}/poddisruptionbudgets",
    "RayService": "apis/ray.io/v1/{namespace}/rayservices",
    "Recommender": f"apis/{GROUP}/{VERSION}/{{namespace}}/{RECOMMENDERS}",
    "Service": "api/v1/{namespace}/services",
}


class Api:
    """Objects of one namespace. Every method raises

    Unavailable: the API server does not answer, or not now.
    Unauthorized: the operator's account may not do this.
    NotFound, Conflict, InvalidInput: there is no such object, it changed since it was read, it is not valid.
    """

    def __init__(self, namespace: str, configuration: Configuration | None = None) -> None:
        self.namespace = namespace
        self._configuration = configuration or _from_environment()
        self._http = httpx.Client(
            base_url=self._configuration.host, verify=_trust(self._configuration), timeout=TIMEOUT_S, trust_env=False
        )

    def close(self) -> None:
        """End all connections."""
        self._http.close()

    def credentials(self) -> dict[str, Any]:
        """What another client needs to log in as this one: the arguments of `kopf.ConnectionInfo`."""
        scheme, _, token = self._authorization().get("Authorization", "").rpartition(" ")
        return {
            "server": self._configuration.host,
            "ca_path": self._configuration.ssl_ca_cert,
            "insecure": not self._configuration.verify_ssl,
            "certificate_path": self._configuration.cert_file,
            "private_key_path": self._configuration.key_file,
            "scheme": scheme or None,
            "token": token or None,
        }

    def get(self, kind: str, name: str) -> Object:
        """An object."""
        return self._ask("GET", kind, name)

    def list(self, kind: str, selector: str = "") -> list[Object]:
        """The objects that a label selector matches. A kind that the cluster does not have has none."""
        try:
            return list(self._ask("GET", kind, query={"labelSelector": selector} if selector else {})["items"])
        except NotFound:
            return []

    def apply(self, wanted: Object) -> Object:
        """Make an object be as `wanted`, in the fields that it names (server-side apply)."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return self._ask("PATCH", wanted["kind"], wanted["metadata"]["name"], query, wanted, "apply-patch+yaml")

    def create(self, wanted: Object) -> Object:
        """Make a new object."""
        return self._ask("POST", wanted["kind"], query={"fieldManager": FIELD_MANAGER}, body=wanted)

    def patch_status(self, seen: Object, status: Object) -> Object:
        """Replace the fields of a status, if the object is still as it was `seen`."""
        metadata = seen["metadata"]
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": status}
        query = {"fieldManager": FIELD_MANAGER}
        return self._ask("PATCH", seen["kind"], f"{metadata['name']}/status", query, patch, "merge-patch+json")

    def delete(self, kind: str, name: str) -> None:
        """Delete an object and what belongs to it; one that is gone is fine."""
        with contextlib.suppress(NotFound):
            self._ask("DELETE", kind, name, body={"propagationPolicy": "Background"})

    def _ask(
        self,
        method: str,
        kind: str,
        name: str = "",
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content: str = "json",
    ) -> Object:
        path = PLACES[kind].format(namespace=f"namespaces/{self.namespace}") + (f"/{name}" if name else "")
        headers = {"Content-Type": f"application/{content}"} | self._authorization()
        try:
            answer = self._http.request(method, f"/{path}", params=dict(query or {}), json=body, headers=headers)
        except httpx.HTTPError as error:
            raise Unavailable(f"the API server at {self._configuration.host} does not answer: {error}") from error
        if answer.is_success:
            found: Object = answer.json()
            return found
        raise _error(f"{method} {kind} {name}".strip(), answer)

    def _authorization(self) -> dict[str, str]:
        # Asked each time: the token of a service account is renewed in its file.
        found = self._configuration.auth_settings().get("BearerToken")
        return {"Authorization": str(found["value"])} if found else {}


def _from_environment() -> Configuration:
    configuration = Configuration()
    try:
        kubernetes_config.load_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except kubernetes_config.ConfigException as error:
        raise Unavailable(
            f"no Kubernetes API is known: {error}", "Run inside a pod with a ServiceAccount, or set KUBECONFIG"
        ) from error
    return configuration


def _trust(configuration: Configuration) -> ssl.SSLContext | bool:
    if not configuration.verify_ssl:
        return False
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


def _error(what: str, answer: httpx.Response) -> TastemakerError:
    """Our error for the API server's: its own words, bounded."""
    try:
        words = str(answer.json().get("message", ""))
    except ValueError:
        words = answer.text
    problem = f"{what}: {' '.join(words.split())[:400] or answer.reason_phrase}"
    if answer.status_code == 401 or answer.status_code == 403:
        return Unauthorized(problem, "Compare the operator's Role with the chart's")
    if answer.status_code == 404:
        return NotFound(problem)
    if answer.status_code == 409:
        return Conflict(problem)
    # A list with a name twice is a server error of server-side apply, and no less wrong.
    if NOT_TYPED in words or (400 <= answer.status_code < 500 and answer.status_code != 429):
        return InvalidInput(problem)
    return Unavailable(problem)
