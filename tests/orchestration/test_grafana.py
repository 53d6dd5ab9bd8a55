"""The Grafana dashboard: Ray's structure, and queries of metrics that a run exports."""

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from ray.dashboard.modules.metrics import grafana_dashboard_factory
from ray.dashboard.modules.metrics.dashboards.common import PanelTemplate

from lus_ray import cli
from lus_ray.monitoring.ray_metrics import EXPORTED, STATES
from lus_ray.orchestration import grafana


@pytest.fixture(scope="module")
def dashboard():
    return grafana.make_dashboard()


def test_it_has_the_structure_of_a_dashboard_of_ray(dashboard):
    ray_own = json.loads(grafana_dashboard_factory.generate_train_grafana_dashboard()[0])
    assert set(dashboard) == set(ray_own)
    assert dashboard["schemaVersion"] == ray_own["schemaVersion"]
    assert dashboard["uid"] != ray_own["uid"]
    known = {variable["name"]: set(variable) for variable in ray_own["templating"]["list"]}
    for variable in dashboard["templating"]["list"]:
        assert set(variable) == known.get(variable["name"], known["SessionName"])
    rows = [panel for panel in ray_own["panels"] if panel["type"] == "row"]
    templates = [*rows, *(template.value for template in PanelTemplate)]
    for panel in dashboard["panels"]:
        same = [set(template) for template in templates if template["type"] == panel["type"]]
        assert set(panel) in [keys | {"description", "gridPos"} & set(panel) for keys in same]
    assert {panel["type"] for panel in dashboard["panels"]} == {"row", "graph", "stat", "table"}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_every_query_reads_exported_metrics_and_their_labels(dashboard):
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ())]
    assert len(queries) == 7
    shown = set()
    for query in queries:
        for name, selected in re.findall(r"(ray_\w+)\{([^}]*)\}", query):
            tags = EXPORTED[name.removeprefix("ray_")][1]
            grouped = re.findall(r"by \(([^)]*)\)", query)
            labels = [*re.findall(r"(\w+)=", selected), *", ".join(grouped).split(", ")]
            assert set(labels) - {""} <= {*tags, "SessionName"}
            shown.add(name.removeprefix("ray_"))
    assert shown == set(EXPORTED)


def test_arms_are_rows_and_folds_are_columns_and_states_have_names(dashboard):
    tables = [panel for panel in dashboard["panels"] if panel["type"] == "table"]
    assert [table["title"] for table in tables] == ["State", "Validation score", "Finished epochs"]
    for table in tables:
        options = table["transformations"][0]["options"]
        assert (options["rowField"], options["columnField"]) == ("arm", "fold")
        assert [(t["format"], t["instant"]) for t in table["targets"]] == [("table", True)]
    names = tables[0]["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert {int(value): shown["text"] for value, shown in names.items()} == dict(enumerate(STATES))


def test_the_command_writes_what_grafana_needs(tmp_path):
    done = CliRunner().invoke(cli.main, ["watch", "--grafana", str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    dashboard, provisioning = done.stdout.split()
    provider = yaml.safe_load(Path(provisioning).read_text())["providers"][0]
    assert provider["options"]["path"] == str(Path(dashboard).parent)
    assert json.loads(Path(dashboard).read_text())["uid"] == grafana.UID
