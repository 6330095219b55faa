"""The documents among each other: every link leads to a file and a heading that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("demo/*.md")])
DECISIONS = ROOT / "docs" / "adr"
RELATION = re.compile(r"(superseded by|amended by|extended by|supersedes|amends|extends) ((?:\d{4}(?:, | and )?)+)")
INVERSE = {"superseded by": "supersedes", "amended by": "amends", "extended by": "extends"}


def prose(path: Path) -> str:
    """Return a document without its blocks of code."""
    return re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", prose(path), flags=re.MULTILINE)
    texts = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w -]", "", text.lower()).strip().replace(" ", "-") for text in texts}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(path):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)) if "://" not in link]
    for link in links:
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_index_of_decisions_lists_every_page_by_subject_and_by_number():
    by_subject, by_number = (DECISIONS / "README.md").read_text().split("| | decision |")
    pages = sorted(path.name for path in DECISIONS.glob("0*.md"))
    assert sorted(re.findall(r"\]\((0[^)]+)\)", by_subject)) == pages
    assert re.findall(r"^\| \[\d{4}\]\(([^)]+)\)", by_number, flags=re.MULTILINE) == pages


def test_index_of_experiments_lists_every_question():
    index, *sections = (ROOT / "docs" / "log.md").read_text(encoding="utf-8").split("\n### ")
    assert {re.sub(r"[^\w -]", "", text.split("\n")[0].lower()).replace(" ", "-") for text in sections} == set(
        re.findall(r"^\| \[[^]]*\]\(#([^)]+)\)", index, flags=re.MULTILINE)
    )


def relations(number: str, status: str) -> set[tuple[str, str, str]]:
    """Return what a status says of other decisions, as the later decision would say it: later, verb, earlier."""
    plain = re.sub(r"\[(\d{4})\]\([^)]*\)", r"\1", " ".join(status.split()))
    found = [(verb, other) for verb, others in RELATION.findall(plain) for other in re.findall(r"\d{4}", others)]
    return {(other, INVERSE[verb], number) if verb in INVERSE else (number, verb, other) for verb, other in found}


def test_statuses_of_decisions_agree_with_the_index_and_with_each_other():
    index = re.findall(r"^\| \[(\d{4})\].*\| ([^|]+) \|$", (DECISIONS / "README.md").read_text(), flags=re.MULTILINE)
    pages = {
        path.name[:4]: re.search(r"Status: (.*?)\n\n", path.read_text(), re.DOTALL)[1]
        for path in DECISIONS.glob("0*.md")
    }
    assert len(index) == len(pages)
    for number, status in index:
        assert relations(number, status) == relations(number, pages[number]), number
        assert status.split(";")[0].split()[0] == re.split(r"\W", pages[number])[0], number
    said = [relation for number, status in index for relation in relations(number, status)]
    assert {relation for relation in said if said.count(relation) != 2} == set()  # by both pages
