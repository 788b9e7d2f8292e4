"""The component that serves metrics, and its dashboard: what they name is there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from searches import make_spec, run

from rlnas.cli import look
from rlnas.report.metrics import SearchCollector
from rlnas.state import Bucket, StoreSettings

FOLDER = Path(__file__).parents[2] / "manifests/components/metrics"
DEPLOYMENT, SERVICE, POLICY = yaml.safe_load_all((FOLDER / "metrics.yaml").read_text())
CONTAINER = DEPLOYMENT["spec"]["template"]["spec"]["containers"][0]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
WORDS = {"sum", "rate", "increase", "by", "search", "state", "method"}
"""Of the queries, beside metrics."""


@pytest.fixture
def metrics(bucket: Bucket) -> dict[str, set[str]]:
    """What the server of metrics has to say: names, and the labels of each."""
    ledger = run(bucket.settings, make_spec())
    families = list(SearchCollector(ledger.bucket, ledger.name).collect())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def test_the_pod_runs_a_command_that_there_is():
    command, search, *options = CONTAINER["args"]
    assert CONTAINER["command"] == ["rlnas"]
    context = typer.main.get_command(look.app).commands[command].make_context(command, [search, *options])
    assert context.params == {"search": search, "listen": ":9090"}
    patch = yaml.safe_load(re.search(r"^#\s+- (\{op.*\})$", (FOLDER / "kustomization.yaml").read_text(), re.M)[1])
    *path, place = patch["path"].strip("/").split("/")
    assert (path, CONTAINER["args"][int(place)]) == (["spec", "template", "spec", "containers", "0", "args"], search)


def test_all_name_the_port_at_which_it_listens():
    (port,) = {port["containerPort"] for port in CONTAINER["ports"]}
    template = DEPLOYMENT["spec"]["template"]["metadata"]
    assert CONTAINER["args"][-1] == f":{port}"
    assert template["annotations"]["prometheus.io/port"] == str(port)
    assert [rule["port"] for rule in SERVICE["spec"]["ports"]] == [port]
    assert POLICY["spec"]["ingress"][0]["ports"] == [{"port": port}]
    for selector in (SERVICE["spec"]["selector"], POLICY["spec"]["podSelector"]["matchLabels"]):
        assert selector.items() <= template["labels"].items()


def test_the_pod_finds_the_store_as_a_task_does():
    config = yaml.safe_load((FOLDER.parents[1] / "base/store-config.yaml").read_text())
    assert CONTAINER["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
    keys = {variable["name"]: "given" for variable in CONTAINER["env"]}
    settings = StoreSettings.from_environment(config["data"] | keys)
    assert (settings.access_key, settings.secret_key) == ("given", "given")


def test_the_dashboard_asks_only_for_what_there_is(metrics):
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert trespasses(queries, metrics) == []
    values = [variable["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"]
    assert values == ["label_values(rlnas_up, search)"]
    shown = {name for query in queries for name in re.findall(r"rlnas_\w+", query)}
    assert shown == metrics.keys()


def test_the_documentation_explains_each(metrics):
    text = (FOLDER.parents[2] / "docs/commands.md").read_text("utf-8")
    assert set(re.findall(r"`(rlnas_\w+)`", text)) == metrics.keys()


def trespasses(queries: list[str], metrics: dict[str, set[str]]) -> list[str]:
    """What queries name and nobody serves: metrics, labels of one, other words."""
    found = []
    for query in queries:
        for name, labels in re.findall(r"(\w+)\{([^}]*)\}", query):
            known = metrics.get(name, set())
            found += [f"{name}: {label}" for label in re.findall(r"(\w+)=", labels) if label not in known]
        words = re.findall(r"[A-Za-z_]\w*", re.sub(r"\{[^}]*\}|\[\w+\]", "", query))
        found += [word for word in words if word not in WORDS | metrics.keys()]
    return found


def test_a_query_for_what_is_not_there_would_be_seen(metrics):
    queries = ["rlnas_child", 'sum(rlnas_up{serch="x"})', "rate(rlnas_store_requests{search='x'}[5m])", "rlnas_up"]
    assert trespasses(queries, metrics) == [
        "rlnas_child",
        "rlnas_up: serch",
        "rlnas_store_requests: search",
        "rlnas_store_requests",
    ]


def test_the_dashboard_is_one_that_grafana_can_import():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(cells)) == len(cells), "panels lie over one another"
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) == variables
