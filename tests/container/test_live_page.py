"""The live page in a real browser: it shows what was scored, each control does what it says, and nothing is refused."""

from __future__ import annotations

import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vaegis.service.model_file import content_digest
from vaegis.service.model_folder import live_version, promote, set_shadow

RECORD = {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}
BAD = {"amount": 2250, "express": None, "country": "Atlantis", "placed_at": "2023-11-22T10:00:00Z"}
COMMAND = (sys.executable, "-c", "import sys; from vaegis.service.cli import main; sys.exit(main())", "serve")
PICTURES = os.environ.get("LIVE_PAGE_PICTURES")
"""Folder for pictures such as those in docs/."""
PATIENCE_MS = 60_000

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright, of the extra containers")


@dataclass
class Service:
    """A service of two workers."""

    url: str

    def score(self, records: list[dict[str, Any]]) -> None:
        headers = {"Content-Type": "application/json"}
        body = json.dumps(records).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/score", body, headers)).read()


@pytest.fixture
def serve(golden_model: Path, free_port: Callable[[], int], wait_until: Any) -> Iterator[Callable[..., Service]]:
    started = []

    def start(model: Path = golden_model, **variables: str) -> Service:
        port = free_port()
        environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "VAEGIS_WORKERS": "2", **variables}
        command = [*COMMAND, str(model), "--port", str(port)]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: urllib.request.urlopen(f"{url}/readyz").status == 200, "a service that is ready")
        return Service(url)

    yield start
    for process in started:
        process.terminate()
        process.wait(60)


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page whose console and requests are watched; at the end, nothing may have gone wrong or gone out."""
    errors, contexts = [], []

    def note(line: Any) -> None:
        # Chromium asks for this beside an answer of text or JSON, which names no icon.
        if line.type in {"error", "warning"} and not line.location["url"].endswith("/favicon.ico"):
            errors.append(line.text)

    def open_it(url: str, *, expected: str = "$^", **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", note)
        page.on("request", lambda request: None if request.url.startswith(url) else errors.append(request.url))
        page.expected = expected
        page.goto(f"{url}/")
        return page

    yield open_it
    expected = "|".join(page.expected for context in contexts for page in context.pages)
    for context in contexts:
        context.close()
    assert [error for error in errors if not re.search(expected, error)] == []


def text(page: Any, selector: str) -> str:
    return page.locator(selector).inner_text()


def wait_for_text(page: Any, selector: str, pattern: str) -> None:
    playwright.expect(page.locator(selector)).to_have_text(re.compile(pattern), timeout=PATIENCE_MS)


def picture(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"live-page-{name}.png", full_page=True)


def normal_orders(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """Return orders as those that the golden model learned: in office hours of weekdays."""
    rng = random.Random(seed)
    monday = datetime(2024, 1, 1, 8, tzinfo=UTC)
    orders = []
    for _ in range(count):
        country = rng.choices(("DE", "FR", "IT"), (6, 3, 1))[0]
        amount = round(math.exp(rng.gauss({"DE": 3.0, "FR": 3.2, "IT": 3.4}[country], 0.4)), 2)
        placed = monday + timedelta(rng.randrange(52) * 7 + rng.randrange(5), rng.randrange(36_000))
        express = rng.random() < 1 / (1 + math.exp(5 - 1.2 * math.log(amount)))
        orders.append({"amount": amount, "express": express, "country": country, "placed_at": placed.isoformat()})
    return orders


def test_the_page_shows_what_all_workers_scored(serve, open_page):
    service = serve(VAEGIS_SHOW_VALUES="true")
    records = normal_orders(400)
    service.score(records)
    page = open_page(service.url, viewport={"width": 1100, "height": 900}, color_scheme="light")
    wait_for_text(page, "#scored", "^400$")
    wait_for_text(page, "#model", "^orders sha256:")
    assert text(page, "#promised") == "≤ 1.0%"
    for faults in (0, 1, 12):
        scored = text(page, "#scored")
        service.score([*records[:200], *[BAD] * faults])
        playwright.expect(page.locator("#scored")).not_to_have_text(scored, timeout=PATIENCE_MS)
    playwright.expect(page.locator("#share svg")).to_be_visible(timeout=PATIENCE_MS)
    assert page.locator("#share svg").get_attribute("aria-label").startswith("Flagged share over time: latest")
    row = page.locator("#columns tbody tr", has_text="country")
    assert "unseen_category 13" in row.inner_text()
    assert text(page, "#violating") == "1.3%"

    page.select_option("#window", "300")  # what was scored before the page was opened is not in it
    wait_for_text(page, "#scored", "^613$")
    assert text(page, "#verdict") in {"as promised", "more than promised"}
    assert page.locator("#gauge svg").get_attribute("aria-label").startswith("Flagged ")
    assert "amount:above_range+more" in text(page, "#signatures")
    assert re.match(r"≤ \d", text(page, "#slowest"))
    wait_for_text(page, "#columns tbody tr:first-child td:nth-child(2)", r"^\+\d")

    page.click("#pause")
    wait_for_text(page, "#state", "^Paused")
    service.score(records)
    page.click("#pause")
    wait_for_text(page, "#scored", "^1,013$")
    page.fill("#record", json.dumps(BAD))
    page.click("#try button:text('Score')")
    wait_for_text(page, "#answer h3", "^Anomaly$")
    assert page.locator("#answer th").all_inner_texts() == ["column", "observed", "expected", "reason", "contribution"]
    assert re.search(r"Violation: amount above_range, observed 2250, limit \d", text(page, "#answer"))
    picture(page, "light")


def test_a_pasted_record_gets_its_verdict_and_what_led_to_it(serve, open_page):
    service = serve()
    page = open_page(service.url, expected="422|400", viewport={"width": 1100, "height": 900}, color_scheme="dark")
    service.score(normal_orders(400))
    page.fill("#record", json.dumps(BAD))
    page.click("#try button:text('Score')")
    wait_for_text(page, "#answer h3", "^Anomaly$")
    answer = text(page, "#answer")
    # Only with VAEGIS_SHOW_VALUES: what training took from past records.
    assert page.locator("#answer th").all_inner_texts() == ["column", "observed", "reason", "contribution"]
    assert "Violation: amount above_range, observed 2250\n" in answer
    assert page.locator("#answer svg rect").count() == 6  # four columns, the latent code and the score
    assert {*BAD, "latent code", "score"} <= {*page.locator("#answer svg text").all_text_contents()}
    assert page.locator("#answer tbody tr", has_text="country").inner_text().split("\t")[1] == "Atlantis"
    picture(page, "dark")

    page.fill("#record", json.dumps(RECORD))
    page.click("#try button:text('Score')")
    wait_for_text(page, "#answer h3", "^Not an anomaly$")
    page.fill("#record", json.dumps(dict.fromkeys(["<b>amount</b>", *(f"c{at}" for at in range(11))], 1)))
    page.click("#try button:text('Score')")
    wait_for_text(page, "#answer", "^422 ")
    assert "<b>amount</b>" in text(page, "#answer")
    assert text(page, "#answer").endswith("and 2 more")
    page.click("#try button:text('Clear')")
    assert text(page, "#answer") == ""
    for link in ("Metrics", "API"):
        with page.expect_response(lambda response: response.status == 200):
            page.click(f"nav a:text-is('{link}')")
        page.go_back()


def test_versions_are_promoted_and_rolled_back_with_the_keyboard(serve, open_page, golden_model, tmp_path):
    long_name = "returns_of_" + "all_" * 20 + "shops"
    for name, version in (("orders", "1"), ("orders", "2"), ("returns", "7"), (long_name, "1")):
        (tmp_path / name).mkdir(exist_ok=True)
        shutil.copy(golden_model, tmp_path / name / f"{version}.onnx")
    (tmp_path / "orders" / "broken.onnx").write_bytes(b"no model")
    promote(tmp_path, "orders", "1", f"sha256:{content_digest(golden_model.read_bytes())}")
    service = serve(tmp_path, VAEGIS_DEFAULT_MODEL="orders")
    page = open_page(service.url, expected="409", viewport={"width": 1100, "height": 900})
    wait_for_text(page, "#versions dd >> nth=0", "^1, since ")

    def chosen(version: str, key: str) -> None:
        page.select_option("#version-choice", version)
        page.focus("#promote")
        page.keyboard.press("Enter")
        playwright.expect(page.locator("#confirm")).to_be_visible()
        page.keyboard.press(key)

    chosen("2", "Escape")
    chosen("broken", "Enter")
    wait_for_text(page, "#change-result", "^The version cannot be made live: ")
    chosen("2", "Enter")
    wait_for_text(page, "#change-result", "^2 is live from now on")
    wait_for_text(page, "#versions dd >> nth=0", "^2, since ")
    assert text(page, "#version") == "version 2"
    page.click("#rollback")
    page.click("#confirm-yes")
    wait_for_text(page, "#versions dd >> nth=0", "^1, since ")
    assert live_version(tmp_path, "orders")[0] == "1"

    (tmp_path / "orders" / "broken.onnx").replace(tmp_path / "orders" / "1.onnx")
    wait_for_text(page, "#version", "^version 1, a change could not be loaded")
    assert "expected the digest" in text(page, "#versions")

    page.select_option("#model-choice", "returns")
    wait_for_text(page, "#versions dd >> nth=0", "^7, since ")
    page.fill("#record", json.dumps(BAD))
    page.click("#try button:text('Score')")
    wait_for_text(page, "#scored", "^1$")
    page.set_viewport_size({"width": 390, "height": 844})
    page.select_option("#model-choice", long_name)
    wait_for_text(page, "#versions dd >> nth=0", "^1, since ")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_gate_that_does_not_hold_is_reported_and_asked_about(serve, open_page, golden_model, tmp_path):
    (tmp_path / "orders").mkdir()
    digest = f"sha256:{content_digest(golden_model.read_bytes())}"
    for version in ("1", "2"):
        shutil.copy(golden_model, tmp_path / "orders" / f"{version}.onnx")
    promote(tmp_path, "orders", "1", digest)
    set_shadow(tmp_path, "orders", "2", digest)
    service = serve(tmp_path, VAEGIS_SHADOW_SHARE="1")
    page = open_page(service.url, expected="409", viewport={"width": 1100, "height": 900})
    wait_for_text(page, "#versions", "in shadow2: no record has been compared yet")
    page.fill("#gate", "records>150, disagreement<0.02")
    for count in (100, 100):
        service.score(normal_orders(count))
    wait_for_text(page, "#versions", "of 200 records flagged")
    assert page.input_value("#gate") == "records>150, disagreement<0.02"  # what is typed outlives the polls

    page.fill("#gate", "records>1000")
    page.click("#promote")
    page.click("#confirm-yes")
    wait_for_text(page, "#confirm-text", "^The gate does not hold.")
    assert "expected records>1000, got 200" in text(page, "#confirm-note")
    page.click("#confirm button:text('Cancel')")
    assert live_version(tmp_path, "orders")[0] == "1"

    page.click("#promote")
    page.click("#confirm-yes")
    wait_for_text(page, "#confirm-text", "^The gate does not hold.")
    page.click("#confirm-yes")
    wait_for_text(page, "#change-result", "^2 is live from now on")
    assert live_version(tmp_path, "orders")[0] == "2"


def test_a_phone_needs_no_scrolling_sideways(serve, open_page):
    service = serve()
    service.score(normal_orders(400))
    page = open_page(service.url, expected="422", viewport={"width": 390, "height": 844}, color_scheme="dark")
    wait_for_text(page, "#scored", "^400$")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate("[...document.querySelectorAll('.wide')].every((box) => box.scrollWidth <= box.clientWidth)")
    picture(page, "phone")
    page.fill("#record", json.dumps({"a" * 200: 1}))
    page.click("#try button:text('Score')")
    wait_for_text(page, "#answer", "^422 ")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_page_asks_for_a_key_and_keeps_it_to_itself(serve, open_page):
    made = subprocess.run(
        [*COMMAND[:3], "key", "person", "--scopes", "metrics"], capture_output=True, text=True, check=True
    )
    key = re.search(r"vaegis_\S+", made.stderr)[0]
    service = serve(VAEGIS_KEYS=made.stdout.strip().splitlines()[-1])
    page = open_page(service.url, expected="401")
    wait_for_text(page, "#state", "^The service asks for a key")
    page.fill("#key", "wrong")
    page.click("#key-form button")
    wait_for_text(page, "#state", "^This key is not known")
    page.fill("#key", key)
    page.click("#key-form button")
    wait_for_text(page, "#state", "^Live: 2 workers")
    wait_for_text(page, "#versions", "^A key with the scope model shows the versions")
    playwright.expect(page.locator("#key-form")).to_be_hidden()
    assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
