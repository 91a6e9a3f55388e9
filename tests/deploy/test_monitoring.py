"""conf/monitoring: it asks for what commands leave, in words that Prometheus understands, and wakes whom it should."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scoreline.runs.metrics import METRICS

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "conf" / "monitoring"
BOARD = json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]


def asked() -> list[str]:
    """Every expression of the dashboard, its variables filled in."""
    found = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    return [re.sub(r"\$\w+", "x", expr) for expr in found]


def promtool(*arguments: str | Path) -> str:
    """What it says; the test is skipped where it is not installed."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_asked_for_is_left_by_commands() -> None:
    alerts = [str(rule["expr"]) for rule in RULES]
    variables = [str(one.get("definition", "")) for one in BOARD["templating"]["list"]]
    asked_for = {name for text in [*alerts, *variables, *asked()] for name in re.findall(r"scoreline_\w+", text)}
    assert asked_for <= METRICS.keys()
    assert METRICS.keys() - asked_for == set()


def test_prometheus_reads_the_rules_and_the_dashboards_questions(tmp_path: Path) -> None:
    assert "4 rules found" in promtool("check", "rules", MONITORING / "alerts.yaml")
    questions = [{"record": f"x:{place}", "expr": expr} for place, expr in enumerate(asked())]
    file = tmp_path / "questions.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": questions}]}))
    assert f"{len(questions)} rules found" in promtool("check", "rules", file)


def test_alerts_fire_when_they_should_and_not_before() -> None:
    assert "SUCCESS" in promtool("test", "rules", Path(__file__).parent / "alerts_test.yaml")


def test_the_dashboard_hangs_together() -> None:
    """Each panel has a place of its own, and takes its data from where the reader says."""
    panels: list[dict[str, Any]] = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    taken: list[tuple[int, int]] = []
    for at in (panel["gridPos"] for panel in panels):
        taken += [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
    assert max(x for x, _ in taken) < 24
    assert len(set(taken)) == len(taken)
