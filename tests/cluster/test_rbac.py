"""The operator needs no more than its Role, and has no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import kubernetes.client
import pytest
import yaml
from tests.cluster.stand_ins import Cluster, OperatorProcess

from tastemaker.errors import Unauthorized
from tastemaker.rollout.operator_api import Api, Object

ROLE = Path(__file__).with_name("role.yaml")


def token_of(cluster: Cluster) -> str:
    """Of a ServiceAccount with the operator's Role."""
    namespace = cluster.namespace
    named: Object = {"name": "operator", "namespace": namespace}
    core, rbac = {"apiVersion": "v1"}, {"apiVersion": "rbac.authorization.k8s.io/v1"}
    cluster.api.create(core | {"kind": "ServiceAccount", "metadata": named})
    role = yaml.safe_load(ROLE.read_text())
    cluster.api.create(role | {"metadata": named})
    subject = {"kind": "ServiceAccount"} | named
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"}
    cluster.api.create(rbac | {"kind": "RoleBinding", "metadata": named, "roleRef": reference, "subjects": [subject]})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    answer = cluster.api._ask("POST", "ServiceAccount", "operator/token", body=request)
    return str(answer["status"]["token"])


def test_the_role_is_enough_for_a_whole_rollout(cluster: Cluster, process: OperatorProcess, tmp_path: Path) -> None:
    credentials = cluster.api.credentials()
    where = {"server": credentials["server"], "certificate-authority": credentials["ca_path"]}
    file = tmp_path / "operator.kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": where}],
                "users": [{"name": "u", "user": {"token": token_of(cluster)}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "c",
            }
        )
    )
    process.environment = process.environment | {"KUBECONFIG": str(file)}
    cluster.recommender(workers=[{"name": "cpu", "minReplicas": 1, "maxReplicas": 2, "nodeSelector": {"no": "node"}}])
    process.start()
    cluster.until_phase("tastemaker", "Ready", "Recommender", timeout_s=90)
    cluster.rollout("second")
    cluster.until_phase("second", "Completed", timeout_s=90)
    cluster.until("the old colour is gone", lambda: set(cluster.colours()) == {"green"})
    assert ("Normal", "Completed") in cluster.events("second")
    assert cluster.api.get("ConfigMap", "tastemaker-routing")
    assert "forbidden" not in process.log.lower()


def test_the_role_gives_nothing_else(cluster: Cluster, admin: Callable[..., Api]) -> None:
    credentials = cluster.api.credentials()
    configuration = kubernetes.client.Configuration(host=credentials["server"])
    configuration.ssl_ca_cert = credentials["ca_path"]
    configuration.api_key = {"authorization": f"Bearer {token_of(cluster)}"}
    cluster.recommender()
    mine, other = Api(cluster.namespace, configuration), Api("default", configuration)
    try:
        assert len(mine.list("Recommender")) == 1
        denied: dict[str, Callable[[], object]] = {
            "secrets": lambda: mine.list("Secret"),
            "a secret": lambda: mine.get("Secret", "any"),
            "resources": lambda: mine.delete("Recommender", "tastemaker"),
            "a change of a resource": lambda: mine._ask("PATCH", "Recommender", "tastemaker", body={"spec": {}}),
            "a pod": lambda: mine.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}),
            "the end of a pod": lambda: mine.delete("Pod", "any"),
            "roles": lambda: mine.list("Role"),
            "accounts": lambda: mine.list("ServiceAccount"),
            "tokens": lambda: mine._ask("POST", "ServiceAccount", "operator/token", body={}),
            "nodes": lambda: mine.list("Node"),
            "namespaces": lambda: mine.list("Namespace"),
            "definitions": lambda: mine.list("CustomResourceDefinition"),
            "another namespace's resources": lambda: other.list("Recommender"),
            "another namespace's pods": lambda: other.list("Pod"),
            "another namespace's configuration": lambda: other.list("ConfigMap"),
        }
        for what, ask in denied.items():
            try:
                ask()
            except Unauthorized:
                continue
            pytest.fail(f"the operator was given {what}")
    finally:
        mine.close()
        other.close()
