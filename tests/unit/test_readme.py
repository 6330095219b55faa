"""The README against the code: every route, command and reason that it names, and none left out."""

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest

from vaegis.service.artifact import load_artifact
from vaegis.service.cli import main
from vaegis.service.http.app import create_app
from vaegis.service.http.routes import ROUTES
from vaegis.service.reasons import Reason
from vaegis.service.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def as_shown(shown: object, found: object, where: str = "answer") -> None:
    """Check a document against what is shown of it: numbers to the digits shown, text cut at its dots."""
    if isinstance(shown, dict):
        assert isinstance(found, dict)
        assert shown.keys() == found.keys(), where
        for key, value in shown.items():
            as_shown(value, found[key], f"{where}.{key}")
    elif isinstance(shown, list):
        assert isinstance(found, list)
        assert len(shown) == len(found), where
        for i, (value, other) in enumerate(zip(shown, found, strict=True)):
            as_shown(value, other, f"{where}[{i}]")
    elif isinstance(shown, float):
        # The last digit shown may differ from one machine to the next.
        assert found == pytest.approx(shown, abs=0.02, rel=1e-3), where
    elif isinstance(shown, str) and shown.endswith("..."):
        assert str(found).startswith(shown.removesuffix("...")), where
    else:
        assert found == shown, where


def test_the_answer_shown_is_that_of_the_golden_model(golden_model):
    example = section("Use it on your records")
    record = json.loads(re.search(r"curl --json '(.*?)'", example)[1])
    shown = json.loads(example.split("```json\n")[1].split("```")[0])
    artifact = load_artifact(golden_model)
    app = create_app(artifact, load_settings({}, {}))
    app.readiness.admit(artifact.verify())

    async def score() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.post("/score", json=record)

    as_shown(shown, asyncio.run(score()).json())


def test_every_route_is_listed_with_its_method():
    served = {f"{route.method} {route.template}" for route in ROUTES if route.tag}
    listed = set(re.findall(r"(?:GET|POST) /[a-z0-9/.{}]+", section("Endpoints"))) - {"GET /openapi.json", "GET /docs"}
    assert listed == served


def test_every_command_is_listed(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    offered = set(re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, flags=re.MULTILINE))
    listed = set(re.findall(r"^\| `vaegis ([a-z]+)", section("Commands"), flags=re.MULTILINE))
    assert listed == offered


def test_every_reason_is_explained():
    table = section("Use it on your records").split("| reason | meaning |")[1]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", table, flags=re.MULTILINE)) == set(Reason)


def test_every_file_of_the_layout_is_there():
    layout = (ROOT / "docs" / "development.md").read_text(encoding="utf-8").split("\n## Where things are\n")[1]
    for folder in ("service", "training"):
        part = layout.split(f"\n{folder}/")[1].split("\n\n")[0].split("\ntraining/")[0].split("\ntests/")[0]
        for name in re.findall(r"[a-z_]+\.py|(?<= )[a-z]+/", part):
            assert (ROOT / folder / name).exists(), f"{folder}/{name}"
