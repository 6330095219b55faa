from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.training


def test_every_name_in_the_document_of_the_model_stands_in_the_code(pytestconfig):
    root = pytestconfig.rootpath
    document = (root / "docs" / "model.md").read_text(encoding="utf-8")
    named = {part for name in re.findall(r"`([A-Za-z_][A-Za-z_.]*)`", document) for part in name.split(".")}
    sources = [path for folder in ("training", "service") for path in (root / folder).rglob("*.py")]
    words = {"py", *(path.stem for path in sources)}
    for path in sources:
        words |= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    assert named <= words
