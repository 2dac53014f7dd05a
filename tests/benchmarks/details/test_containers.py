"""What running containers cost, on real Podman."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.details.containers import ContainerExtent, container_table, measure_containers


@pytest.mark.nightly
@pytest.mark.timeout(180)
def test_an_idle_node_with_containers_hardly_wakes_up(tmp_path: Path) -> None:
    extent = ContainerExtent(containers=1, window=6.0, idle=2)
    results = measure_containers(extent, tmp_path, say=lambda line: None)
    # Podman's API alone wakes up more than 60 times a second.
    assert results.idle_wake_ups < 5 < results.podman_wake_ups
    assert results.busy_wake_ups < 5
    assert results.idle_noticed_seconds < 2
    assert results.busy_noticed_seconds < 2
    assert results.podman_ended_seconds < 30
    assert 0 < results.scraping < 0.01
    assert len(container_table(results).splitlines()) == 10
