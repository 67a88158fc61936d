"""The Grafana dashboard as JSON, made with Grafana's own builders (Grafana 10.1 and later read it)."""

from __future__ import annotations

import itertools
import json
import string
from typing import Final, TypeAlias

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

from tastemaker_monitoring.panels import ROWS, Panel, Row

UID: Final = "tastemaker"
WIDTH: Final = 24
"""Columns of Grafana's grid."""
SOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
COLOURS: Final = ("blue", "green")

Chart: TypeAlias = timeseries.Panel | stat.Panel | statetimeline.Panel


def to_json() -> str:
    """The dashboard, in the format that Grafana imports and its sidecar reads from a ConfigMap."""
    return json.dumps(build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def build() -> models.Dashboard:
    """The dashboard of `panels.ROWS`."""
    board = (
        dashboard.Dashboard("Tastemaker")
        .uid(UID)
        .description("Requests, the ladder, colours, freshness and quality of one installation of Tastemaker.")
        .tags(["tastemaker"])
        .time("now-3h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("namespace")
            .label("Namespace")
            .datasource(SOURCE)
            .query('label_values(up{job="tastemaker"}, namespace)')
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
        )
        .annotation(
            dashboard.AnnotationQuery()
            .name("Alerts")
            .datasource(SOURCE)
            .enable(True)
            .icon_color("red")
            .expr('ALERTS{alertname=~"Tastemaker.*", alertstate="firing", namespace="$namespace"}')
        )
    )
    numbers = itertools.count(1)
    for row in ROWS:
        board.with_row(dashboard.Row(row.title).id(next(numbers)))
        for panel in row.panels:
            board.with_panel(_panel(panel).span(WIDTH // _columns(row)).id(next(numbers)))
    return board.build()


def _columns(row: Row) -> int:
    """Panels side by side: numbers all, charts as many as stay readable and fill every line."""
    if row.panels[0].look == "number":
        return len(row.panels)
    return next(columns for columns in (3, 4, 2, 1) if len(row.panels) % columns == 0)


def _panel(panel: Panel) -> Chart:
    chart = _chart(panel)
    chart.title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    for name, (legend, expr) in zip(string.ascii_uppercase, panel.queries.items(), strict=False):
        chart.with_target(prometheus.Dataquery().ref_id(name).datasource(SOURCE).expr(expr).legend_format(legend))
    for colour in COLOURS if "{{colour}}" in panel.queries else ():
        chart.override_by_name(colour, [models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})])
    return chart


def _chart(panel: Panel) -> Chart:
    if panel.look == "number":
        return (
            stat.Panel()
            .height(4)
            .graph_mode(common_models.BigValueGraphMode.AREA)
            .color_mode(common_models.BigValueColorMode.VALUE)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .thresholds(_thresholds(panel))
            .no_value("unknown")
        )
    if panel.look == "phases":
        return (
            statetimeline.Panel()
            .height(8)
            .show_value(common_models.VisibilityMode.NEVER)
            .legend(common.VizLegendOptions().show_legend(False))
        )
    lines = (
        timeseries.Panel()
        .height(8)
        .min(0)
        .line_width(1)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_models.LegendDisplayMode.LIST)
            .placement(common_models.LegendPlacement.BOTTOM)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_models.TooltipDisplayMode.MULTI)
            .sort(common_models.SortOrder.DESCENDING)
        )
    )
    if panel.look == "stacked":
        stacking = common.StackingConfig().mode(common_models.StackingMode.NORMAL)
        return lines.max(1).fill_opacity(60).stacking(stacking)
    if panel.bad is not None:
        dashed = common.GraphThresholdsStyleConfig().mode(common_models.GraphTresholdsStyleMode.DASHED)
        lines.thresholds(_thresholds(panel)).thresholds_style(dashed)
    return lines.fill_opacity(5)


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    good, bad = "green", "red"
    steps = [models.Threshold(None, good if panel.above else bad)]
    if panel.bad is not None:
        steps.append(models.Threshold(panel.bad, bad if panel.above else good))
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
