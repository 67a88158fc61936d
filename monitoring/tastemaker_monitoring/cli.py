"""`tastemaker monitoring …`: the rules and the dashboard as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from tastemaker.errors import InvalidInput

monitoring = typer.Typer(help="Prometheus rules and the Grafana dashboard.", no_args_is_help=True)

RULES_FILE: Final = "rules/tastemaker.yaml"
DASHBOARD_FILE: Final = "dashboards/tastemaker.json"
ORIGIN: Final = "Written by `tastemaker monitoring render` from monitoring/tastemaker_monitoring/alerts.py; edit that."


@monitoring.command()
def render(
    into: Annotated[Path, typer.Option(help="Gets rules/ and dashboards/.")] = Path("helm/tastemaker/files"),
) -> None:
    """Write the rules and the dashboard, as Prometheus and Grafana read them. The chart installs both."""
    for name, text in files().items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path)


def files() -> dict[str, str]:
    """Text by file name.

    Raises:
        InvalidInput: the library that makes dashboards is not installed.
    """
    from tastemaker_monitoring import alerts, rules

    try:
        from tastemaker_monitoring import dashboard
    except ModuleNotFoundError as error:
        raise InvalidInput(f"{error.name} is not installed", "Run `pip install 'tastemaker[monitoring]'`") from error
    return {
        RULES_FILE: rules.to_yaml(rules.document(alerts.GROUPS), ORIGIN),
        DASHBOARD_FILE: dashboard.to_json(),
    }
