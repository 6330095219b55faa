"""The reports in a real browser: nothing is refused or loaded, the slider moves, and a phone scrolls one way only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-c", "import sys; from vaegis.service.cli import main; sys.exit(main())")
GOOD = {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2024-03-05T10:00:00Z"}


@pytest.fixture(scope="module")
def pages(golden_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the report of the golden model, and that of records it scored."""
    folder = tmp_path_factory.mktemp("reports")
    records = [GOOD | {"placed_at": f"2024-03-{5 + hour // 24:02}T{hour % 24:02}:00:00Z"} for hour in range(200)]
    records += [GOOD | {"amount": 2250.0}] * 5
    (folder / "orders.ndjson").write_text("".join(json.dumps(record) + "\n" for record in records))
    model, scored = str(golden_model), str(folder / "scored.ndjson")
    subprocess.run(
        [*COMMAND, "report", model, "-o", str(folder / "report.html")], check=True, stderr=subprocess.DEVNULL
    )
    subprocess.run(
        [
            *COMMAND,
            "score",
            model,
            str(folder / "orders.ndjson"),
            "-o",
            scored,
            "--report",
            str(folder / "scored.html"),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return folder


@pytest.mark.parametrize("name", ["report", "scored"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_loads_nothing_and_fits_a_phone(browser, pages, name, scheme):
    page = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme).new_page()
    events: list[str] = []
    page.on("console", lambda line: events.append(line.text))
    page.on("pageerror", lambda error: events.append(str(error)))
    page.on("request", lambda request: events.append(request.url))
    page.goto((pages / f"{name}.html").as_uri())
    assert events == [(pages / f"{name}.html").as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != (
        "rgb(255, 255, 255)" if scheme == "dark" else "rgb(20, 24, 31)"
    )


def test_the_slider_of_the_report_shows_the_alarms_of_its_alpha(browser, pages):
    page = browser.new_page()
    page.goto((pages / "report.html").as_uri())
    assert page.locator("#alarms").inner_text() == "1,000"
    page.focus("#alpha")
    page.keyboard.press("Home")
    page.fill("#per-day", "2000000")
    assert page.locator("#alarms").inner_text() == "2,000"
    assert page.locator("#alpha-value").inner_text() == "0.00100"


def test_the_report_of_scored_records_names_the_cause_and_the_row(browser, pages):
    page = browser.new_page()
    page.goto((pages / "scored.html").as_uri())
    assert "amount:above_range" in page.locator("#causes").inner_text()
    assert "row 201" in page.locator("#worst").inner_text()
    assert page.locator("#time svg").first.get_attribute("aria-label").startswith("Flagged share by interval of ")
