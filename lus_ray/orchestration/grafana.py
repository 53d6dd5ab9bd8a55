"""Grafana dashboards of campaigns, made by the generator of Ray's own.

Queries read the metrics that an active run exports (`ray_metrics.EXPORTED`). They end with it.
"""

import json
from pathlib import Path
from typing import Any

from ray.dashboard.modules.metrics.dashboards.common import (
    DashboardConfig,
    Panel,
    PanelTemplate,
    Row,
    Target,
)
from ray.dashboard.modules.metrics.templates import DASHBOARD_PROVISIONING_TEMPLATE

from lus_ray.monitoring.ray_metrics import STATES
from lus_ray.orchestration.cluster import ray_private
from lus_ray.storage.files import write_text

UID, TITLE = "lusCells", "Lung-ultrasound cells"
DASHBOARD, PROVISIONING = "dashboards/lus_cells.json", "provisioning/dashboards/lus.yml"
VARIABLES = {"SessionName": "SessionName", "Experiment": "experiment"}
"""Variables of the dashboard, and the labels that they choose."""
SELECTED = '{{experiment=~"$Experiment",{global_filters}}}'
COLOURS = ("#8e8e8e", "#1f60c4", "#37872d", "#c4162a", "#e0b400")


def make_dashboard() -> dict[str, Any]:
    """The dashboard as JSON values: cells by state, arms x folds, and their training."""
    config = DashboardConfig(
        name="LUS",
        default_uid=UID,
        standard_global_filters=['SessionName=~"$SessionName"'],
        base_json_file_name=ray_private.GRAFANA_BASE,
        rows=[
            Row("Campaign", id=1, panels=_campaign_panels()),
            Row("Arms x folds", id=2, panels=_grid_panels()),
            Row("Training", id=3, panels=_training_panels()),
        ],
    )
    dashboard = ray_private.render_grafana(config)
    dashboard |= {"title": TITLE, "refresh": "10s"}
    dashboard["templating"]["list"] = _choose_variables(dashboard["templating"]["list"])
    for panel in dashboard["panels"]:
        if panel["type"] == "table":
            _make_matrix(panel)
    return dashboard


def write(folder: Path) -> list[Path]:
    """Write the dashboard and the file with which Grafana finds it; their paths.

    Raises:
        OSError: the folder cannot be written.
    """
    dashboard, provisioning = folder / DASHBOARD, folder / PROVISIONING
    for path in (dashboard, provisioning):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(dashboard, json.dumps(make_dashboard(), indent=4) + "\n")
    found = DASHBOARD_PROVISIONING_TEMPLATE.format(
        dashboard_output_folder=dashboard.parent.resolve()
    )
    lines = [line.partition("  # ")[0].rstrip() for line in found.strip().splitlines()]
    text = (
        "\n".join(lines)
        .replace("name: Ray", "name: lus_ray")
        .replace("folder: Ray", f"folder: {TITLE}")
    )
    write_text(provisioning, text + "\n")
    return [dashboard, provisioning]


def _campaign_panels() -> list[Panel]:
    cells = f"ray_lus_cells{SELECTED}"
    finished = cells.replace("{{", '{{state="finished",', 1)
    return [
        Panel(
            id=11, title="Cells by state", description="Cells of the table, without samples.",
            unit="cells", targets=[Target(f"sum({cells}) by (state)", "{{state}}")],
        ),
        Panel(
            id=12, title="Finished", description="Share of the cells.", unit="percentunit",
            targets=[Target(f"sum({finished}) / sum({cells})", "finished")],
            template=PanelTemplate.STAT, max_val=1,
        ),
    ]  # fmt: skip


def _grid_panels() -> list[Panel]:
    named = [
        {"value": str(n), "text": state, "color": COLOURS[n]} for n, state in enumerate(STATES)
    ]
    mappings = [{
        "type": "value",
        "options": {n["value"]: {"text": n["text"], "color": n["color"]} for n in named},
    }]  # fmt: skip
    about = "Of several seeds or samples, the largest value."
    tables = (
        (21, "State", "state", "", f"{about} States rank: {', '.join(STATES)}.", mappings),
        (22, "Validation score", "score", "percentunit", about, None),
        (23, "Finished epochs", "epoch", "", about, None),
    )
    return [
        Panel(
            id=number, title=title, description=description, unit=unit, value_mappings=texts,
            targets=[Target(f"max(ray_lus_cell_{name}{SELECTED}) by (arm, fold)", "")],
            template=PanelTemplate.TABLE,
        )
        for number, title, name, unit, description, texts in tables
    ]  # fmt: skip


def _training_panels() -> list[Panel]:
    names = "{{arm}}/fold{{fold}} seed{{seed}} {{sample}}"
    panels = ((31, "Validation score by cell", "score"), (32, "Epochs by cell", "epoch"))
    return [
        Panel(
            id=number, title=title, description="Lines end with the campaign.", unit="",
            targets=[
                Target(f"max(ray_lus_cell_{name}{SELECTED}) by (arm, fold, seed, sample)", names)
            ],
            fill=0, stack=False,
        )
        for number, title, name in panels
    ]  # fmt: skip


def _choose_variables(variables: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ray's data source, and its variable of sessions for each label that ours choose."""
    known = {variable["name"]: variable for variable in variables}
    chosen = [known["datasource"]]
    for name, label in VARIABLES.items():
        query = f"label_values(ray_lus_cells, {label})"
        text = f"Filter queries by {label}."
        chosen.append({
            **known["SessionName"], "name": name, "description": text, "definition": query,
            "query": {**known["SessionName"]["query"], "query": query},
        })  # fmt: skip
    return chosen


def _make_matrix(panel: dict[str, Any]) -> None:
    """Arms in rows and folds in columns; Ray's panels have no setting for it."""
    for target in panel["targets"]:
        target |= {"format": "table", "instant": True, "range": False}
    matrix = {"rowField": "arm", "columnField": "fold", "valueField": "Value"}
    panel["transformations"] = [{"id": "groupingToMatrix", "options": matrix}]
