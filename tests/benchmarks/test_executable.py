"""The benchmark of the executable works; how fast it is depends on the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.executable import ExecutableExtent, executable_table, measure_executable


@pytest.mark.nightly
def test_a_tiny_run_measures_everything(tmp_path: Path) -> None:
    extent = ExecutableExtent(starts=1, settle=0.5)
    results = measure_executable(extent, tmp_path, say=lambda line: None)
    for form in (results.package, results.file, results.unpacked):
        assert form.start_seconds > 0
        assert form.pss_mebibytes > 0
    assert results.file.size_mebibytes
    assert len(executable_table(results).splitlines()) == 5
