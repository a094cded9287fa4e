"""The dashboard and the alerts ask for what the code counts, by its names and labels."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from respond_async.metrics.definitions import METRICS
from ws_hub.metrics import Metric

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
BY_SERIES: dict[str, Metric] = {name: metric for metric in METRICS for name in metric.series}

#: What Prometheus and Grafana add of themselves.
ADDED = {"le", "instance", "job"}


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((DEPLOY / "grafana" / "respond-async.json").read_text())
    found: list[dict[str, Any]] = [one for one in dashboard["panels"] if one["type"] != "row"]
    return found


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> list[str]:
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return shown + [rule["expr"] for rule in rules()]


def test_every_metric_that_is_asked_for_is_counted() -> None:
    for expression in expressions():
        asked = set(re.findall(r"\b(?:respond_async|ws_hub)_\w+", expression))
        assert asked, expression
        assert asked <= BY_SERIES.keys(), expression


def test_every_label_that_is_asked_for_is_one_of_the_metric() -> None:
    for expression in expressions():
        metrics = re.findall(r"\b(?:respond_async|ws_hub)_\w+", expression)
        labels = {label for name in metrics for label in BY_SERIES[name].labels} | ADDED
        asked = set(re.findall(r"(\w+)\s*(?:=~|!=|=)\s*\"", expression))
        for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            asked |= {label.strip() for label in group.split(",")}
        assert asked <= labels, expression


def test_every_metric_is_on_the_dashboard() -> None:
    text = json.dumps([panel["targets"] for panel in panels()])
    missing = [m.name for m in METRICS if not any(series in text for series in m.series)]
    assert not missing


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    for rule in rules():
        assert rule["annotations"].keys() == {"summary", "runbook"}, rule["alert"]
        assert len(rule["annotations"]["runbook"]) > 80, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["for"], rule["alert"]


def test_panels_have_places_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.parametrize(
    "command", [("check", "rules", "rules.yaml"), ("test", "rules", "rules_test.yaml")]
)
def test_prometheus_takes_the_rules(command: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    done = subprocess.run(
        [promtool, *command], cwd=RULES.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    # Grafana puts values in the place of its variables.
    plain = [
        one.replace("$__rate_interval", "1m").replace("$endpoint", ".*") for one in expressions()
    ]
    records = [{"record": f"one:{number}", "expr": one} for number, one in enumerate(plain)]
    rule = {"groups": [{"name": "all", "rules": records}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule))
    done = subprocess.run(
        [promtool, "check", "rules", "rules.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_names_follow_the_conventions_of_prometheus() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"(respond_async|ws_hub)_[a-z][a-z0-9_]*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        if metric.kind == "histogram":
            assert metric.name.endswith("_seconds"), metric.name
        assert metric.meaning.endswith(".")
        assert not {"user", "channel", "task_id", "path"} & set(metric.labels), metric.name
    assert len({metric.name for metric in METRICS}) == len(METRICS)
