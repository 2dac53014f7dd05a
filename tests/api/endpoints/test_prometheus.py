"""A real Prometheus scrapes a node; its tools judge the format and the alert rules."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import markdown
from tests.support.client import Api, eventually
from tests.support.echo import EchoService
from tests.support.haproxy import HAProxy
from tests.support.markdown import DOCS
from tests.support.node import NodeProcess
from tests.support.ports import free_port
from tests.support.prometheus import Prometheus, promtool

RULES = DOCS / "prometheus-rules.yml"
PAGE = (DOCS / "monitoring.md").read_text()
METRIC = re.compile(r"infernet_edge_(\w+)")


def documented() -> set[str]:
    table = markdown.rows(markdown.section(PAGE, "## Metrics"))
    return {row[0].strip("`") for row in table}


def without_suffix(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", name)


def test_a_node_is_scraped(tmp_path: Path) -> None:
    with EchoService(tmp_path) as echo:
        containers = [
            {"id": "echo", "url": echo.url},
            {"id": "down", "url": f"http://127.0.0.1:{free_port()}"},
        ]
        with (
            NodeProcess({"containers": containers}, tmp_path / "node") as node,
            Prometheus(tmp_path, node.port, RULES) as prometheus,
        ):
            api = Api(node.port)
            api.finished([api.submit("echo", {}), api.submit("echo", {}), api.submit("down", {})])
            ended = 'sum(infernet_edge_jobs_total{outcome!="cancelled"})'
            eventually(lambda: prometheus.values(ended) == [3])
            [target] = prometheus.get("targets")["activeTargets"]
            assert (target["health"], target["lastError"]) == ("up", "")
            assert prometheus.values('infernet_edge_jobs_total{outcome="success"} > 0') == [2]
            assert prometheus.values('infernet_edge_job_seconds_count{container="echo"}') == [2]
            assert prometheus.values('sum(infernet_edge_job_seconds_bucket{le="+Inf"})') == [3]
            [quantile] = prometheus.values(
                "histogram_quantile(0.5, sum by (le) (infernet_edge_job_seconds_bucket))"
            )
            assert 0 < quantile <= 1
            names = set(prometheus.get("label/__name__/values"))
            found = {METRIC.fullmatch(name) for name in names}
            reported = {without_suffix(each[1]) for each in found if each is not None}
            on_every_machine = {row for row in documented() if not needs_more(row)}
            assert reported - {"temperature_celsius"} == on_every_machine
            metadata = prometheus.get("targets/metadata", match_target='{job="infernet-edge"}')
            kinds = {each["metric"]: (each["type"], each["unit"]) for each in metadata}
            assert kinds["infernet_edge_job_seconds"] == ("histogram", "seconds")
            assert kinds["infernet_edge_jobs"] == ("counter", "")  # the name in OpenMetrics
            eventually(lambda: alert(prometheus, "InfernetEdgeContainerDown") == "pending")
            assert alert(prometheus, "InfernetEdgeDown") == ""
            [group] = prometheus.get("rules")["groups"]
            assert {rule["health"] for rule in group["rules"]} == {"ok"}, group
            node.stop()
            eventually(lambda: alert(prometheus, "InfernetEdgeDown") == "pending")


def test_a_node_behind_a_proxy_is_scraped_with_a_token_in_a_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    server = {"tokens": {"prometheus": {"token": "0123456789abcdef", "scope": "metrics"}}}
    with (
        NodeProcess({"server": server}, tmp_path / "node") as node,
        HAProxy(node.port, tmp_path) as proxy,
    ):
        token.write_text("a token that is wrong\n")
        with Prometheus(tmp_path, proxy.port, RULES, token) as prometheus:
            eventually(lambda: prometheus.values("up") == [0])
            [target] = prometheus.get("targets")["activeTargets"]
            assert "401" in target["lastError"]
            token.write_text("0123456789abcdef\n")
            eventually(lambda: prometheus.values("up") == [1])
            assert prometheus.values("infernet_edge_build_info") == [1]


def needs_more(name: str) -> bool:
    """Whether a metric is only there with managed containers, with the chain, or with sensors."""
    chain = ("rpc_", "head_", "deliveries_", "gas_", "balance_", "temperature_")
    managed = ("container_restarts", "container_memory", "container_cpu")
    return name.startswith((*chain, *managed))


def alert(prometheus: Prometheus, name: str) -> str:
    """The state of an alert; "" when it is not there."""
    found = prometheus.get("alerts")["alerts"]
    return next((each["state"] for each in found if each["labels"]["alertname"] == name), "")


def test_promtool_has_no_complaint_about_the_metrics(tmp_path: Path) -> None:
    with EchoService(tmp_path) as echo:
        containers = [{"id": "echo", "url": echo.url}]
        with NodeProcess({"containers": containers}, tmp_path) as node:
            text = Api(node.port).get("/metrics").body.decode()
    assert "infernet_edge_jobs_total" in text
    assert promtool("check", "metrics", text=text) == ""
    with pytest.raises(AssertionError, match="counter metrics should have"):
        promtool("check", "metrics", text="# HELP a A\n# TYPE a counter\na 1\n")


def test_promtool_accepts_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))


def test_the_rules_are_printed_by_the_command() -> None:
    command = [sys.executable, "-m", "infernet_edge", "help", "prometheus-rules"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == RULES.read_text()


def test_the_rules_use_metrics_that_are_documented() -> None:
    used = {without_suffix(name) for name in METRIC.findall(RULES.read_text())}
    assert len(used) > 10
    assert used <= documented()


# Each alert, a series of it, and the values of that which raise it, and which do not. Samples are a
# minute apart: `0+1x120` is a counter, `_` is no sample.
RAISED = {
    "Down": ("up", "0x120", "1x120"),
    "ContainerDown": ("infernet_edge_container_up", "0x120", "1x120"),
    "ContainerRestarts": ("infernet_edge_container_restarts_total", "0+1x120", "0+1x3 3x116"),
    "JobsFail": ('infernet_edge_jobs_total{outcome="failed"}', "0+1x120", "0+0.1x120"),
    "QueueLong": ("infernet_edge_queue_jobs", "3x120", "3x110 0 3x9"),
    "RequestsRefused": ('infernet_edge_requests_total{status="503"}', "0+1x120", "5x120"),
    "DiskLow": ("infernet_edge_storage_free_bytes", "9e8x120", "2e9x120"),
    "DatabaseUnreadable": ("infernet_edge_storage_bytes", "_x120", "1x120"),
    "DiskSlow": ('infernet_edge_commit_seconds_bucket{le="1.0"}', "0+1x120", "0+10x120"),
    "MemoryShort": ('infernet_edge_held_bytes{kind="inputs"}', "70x120", "50x120"),
    "Hot": ("infernet_edge_temperature_celsius", "85x120", "60x120"),
    "HeadOld": ("infernet_edge_head_age_seconds", "400x120", "20x120"),
    "RpcFails": ('infernet_edge_rpc_requests_total{outcome="timeout"}', "0+9x120", "0+1x120"),
    "DeliveriesFail": ('infernet_edge_deliveries_total{state="failed"}', "0x100 1x20", "1x120"),
    "BalanceLow": ("infernet_edge_balance_wei", "1e15x120", "1e18x120"),
}
BESIDE = {
    "up": "1x120",
    "infernet_edge_held_limit_bytes": "100x120",
    'infernet_edge_held_bytes{kind="outputs"}': "20x120",
    'infernet_edge_commit_seconds_bucket{le="2.5"}': "0+10x120",
    'infernet_edge_commit_seconds_bucket{le="+Inf"}': "0+10x120",
    'infernet_edge_jobs_total{outcome="success"}': "0+1x120",
    'infernet_edge_jobs_total{outcome="cancelled"}': "0+9x120",
    'infernet_edge_rpc_requests_total{outcome="answered"}': "0+5x120",
    'infernet_edge_requests_total{status="200"}': "0+1x120",
}
"""Series that all have besides."""


def series(text: str, instance: str) -> str:
    name, _, labels = text.rstrip("}").partition("{")
    given = f'job="infernet-edge",instance="{instance}"'
    return f"{name}{{{given},{labels}}}" if labels else f"{name}{{{given}}}"


@pytest.mark.parametrize("name", RAISED)
def test_an_alert_is_raised(name: str, tmp_path: Path) -> None:
    """For the instance "bad", and not for the instance "good"."""
    text, bad, good = RAISED[name]
    values = [(series(text, "bad"), bad), (series(text, "good"), good)]
    for each, given in BESIDE.items():
        if each != text:
            values += [(series(each, instance), given) for instance in ("bad", "good")]
    tests = {
        "interval": "1m",
        "input_series": [{"series": each, "values": given} for each, given in values],
        # None is expected: promtool complains, and shows those that are raised.
        "alert_rule_test": [{"eval_time": "2h", "alertname": f"InfernetEdge{name}"}],
    }
    path = tmp_path / "alerts.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "tests": [tests]}))
    with pytest.raises(AssertionError) as complaint:
        promtool("test", "rules", str(path))
    found = re.findall(r'instance=\\*"(\w+)', str(complaint.value))
    assert set(found) == {"bad"}, str(complaint.value)


def test_each_alert_is_tested_and_documented() -> None:
    names = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert names == [f"InfernetEdge{name}" for name in RAISED]
    table = markdown.rows(markdown.section(PAGE, "## Alert rules"))
    assert [row[0].strip("`") for row in table] == names


def test_expressions_of_the_page_are_valid(tmp_path: Path) -> None:
    table = markdown.rows(markdown.section(PAGE, "## Grafana"))
    rules = [{"record": f"panel:{n}", "expr": row[1].strip("`")} for n, row in enumerate(table)]
    path = tmp_path / "panels.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"SUCCESS: {len(table)} rules" in promtool("check", "rules", str(path))
    used = {without_suffix(name) for row in table for name in METRIC.findall(row[1])}
    assert used <= documented()


def test_the_configurations_of_the_page_are_valid(tmp_path: Path) -> None:
    shown = [block.text for block in markdown.blocks(PAGE) if block.kind == "yaml"]
    assert len(shown) == 2
    for number, text in enumerate(shown):
        for name, content in (("token", "x" * 32), ("rules.yml", RULES.read_text())):
            text = re.sub(rf"/etc/prometheus/infernet-edge\.{name}", f"{tmp_path}/{name}", text)
            (tmp_path / name).write_text(content)
        path = tmp_path / f"prometheus{number}.yml"
        path.write_text(text)
        assert "SUCCESS" in promtool("check", "config", str(path))
