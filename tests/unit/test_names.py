"""A search for a name gives one answer: no two classes share one, and few classes have a method of the same name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import vaegis

PACKAGE = Path(vaegis.__file__).parent
CLASSES = [
    node
    for side in ("service", "training")
    for path in sorted((PACKAGE / side).rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.ClassDef)
]
BY_NAME = {node.name: node for node in CLASSES}
MOST_CLASSES = 4
STANDARD = {"close"}  # what `contextlib.closing` and `with` take is a protocol of the language


def methods(node: ast.ClassDef) -> set[str]:
    """Return the names of the methods that anyone may call."""
    return {
        item.name
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and not item.name.startswith("_")
    }


def bases(node: ast.ClassDef) -> list[str]:
    """Return the names of the direct bases, without type parameters."""
    return [ast.unparse(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]


def inherited(node: ast.ClassDef, method: str) -> str | None:
    """Return the topmost class of ours from which a class has a method, or the library's class that it extends."""
    for base in bases(node):
        if base in BY_NAME:
            found = inherited(BY_NAME[base], method) or (base if method in methods(BY_NAME[base]) else None)
        else:
            found = None if base in {"ABC", "Generic", "NamedTuple", "Protocol", "msgspec.Struct"} else base
        if found is not None:
            return found
    return None


def family(node: ast.ClassDef, method: str) -> str:
    """Return the class or protocol from which a class has a method: a base, a protocol that it fits, or itself."""
    protocols = (other for other in CLASSES if "Protocol" in bases(other) and method in methods(other))
    fitting = next((other.name for other in protocols if methods(other) <= methods(node)), node.name)
    return inherited(node, method) or fitting


def test_no_two_classes_have_one_name():
    names = [node.name for node in CLASSES]
    assert len(names) > MOST_CLASSES
    assert {name for name in names if names.count(name) > 1} == set()


def test_few_classes_have_a_method_of_one_name_unless_they_share_a_protocol():
    families: dict[str, set[str]] = defaultdict(set)
    for node in CLASSES:
        for method in methods(node) - STANDARD:
            families[method].add(family(node, method))
    assert len(families["finish"]) > 1
    assert {method: found for method, found in families.items() if len(found) > MOST_CLASSES} == {}
