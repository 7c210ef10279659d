"""The figures of the site are those of the file that the measuring program wrote."""

from __future__ import annotations

import json
import runpy

from pages import ROOT

PAGE = (ROOT / "docs/performance.md").read_text("utf-8")


def test_the_page_of_performance_says_what_was_measured() -> None:
    benchmarks = runpy.run_path(str(ROOT / "benchmarks/run.py"))
    data = json.loads((ROOT / "docs/performance/results.json").read_text("utf-8"))
    part = PAGE.partition(benchmarks["BEGIN"])[2].partition(benchmarks["END"])[0]
    assert part.strip() == "\n".join(benchmarks["measured"](data)).strip()
    assert data["figures"].keys() == {table.name for table in benchmarks["TABLES"]}


def test_every_chart_is_on_the_page() -> None:
    charts = {path.name for path in (ROOT / "docs/performance").glob("*.svg")}
    assert charts
    assert all(f"(performance/{name})" in PAGE for name in charts)
    assert PAGE.count(".svg)") == len(charts)
