"""`tastemaker operator …`: leads rollouts on Kubernetes, and prints the definitions of its resources."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tastemaker import config

operator = typer.Typer(help="Lead rollouts on Kubernetes (the chart runs this).", no_args_is_help=True)

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
BRIEF = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""A registry that is away must not hold up a look for minutes."""


@operator.command()
def run(
    namespace: Annotated[
        str | None, typer.Option(help="Namespace whose resources are led; by default the pod's own, else `default`.")
    ] = None,
    prometheus_url: Annotated[
        str | None, typer.Option(help="Prometheus that answers the queries of rollouts; without one they are refused.")
    ] = None,
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="/metrics, on every interface; 0: none.")] = 9100,
    health_port: Annotated[int, typer.Option(min=0, max=65535, help="/healthz, on every interface; 0: none.")] = 8080,
    colour_url: Annotated[
        str | None,
        typer.Option(
            help="Where colours answer, for an operator outside the cluster: a URL with {recommender} and {colour}."
        ),
    ] = None,
) -> None:
    """Lead the rollouts of a namespace until stopped.

    Needs TASTEMAKER_REDIS_URL and MLFLOW_TRACKING_URI as the edges and models have them.
    """
    for variable, value in BRIEF.items():
        os.environ.setdefault(variable, value)
    from tastemaker.rollout.operator_run import Options, run

    chosen = namespace or (NAMESPACE_FILE.read_text().strip() if NAMESPACE_FILE.is_file() else "default")
    run(config.load(), Options(chosen, prometheus_url, metrics_port, health_port, colour_url))


@operator.command()
def crds(
    write: Annotated[Path | None, typer.Option(help="Write a file for each into this directory.")] = None,
) -> None:
    """Print the CustomResourceDefinitions, as the chart installs them."""
    from tastemaker.rollout import crds

    if write is None:
        print(crds.as_yaml(crds.crds()), end="")
        return
    for crd in crds.crds():
        (write / f"{crd['spec']['names']['plural']}.yaml").write_text(crds.as_yaml([crd]))
