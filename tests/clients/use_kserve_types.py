"""Reads a manifest of an InferenceService, JSON, by kserve's models; an unknown field or a wrong type ends it."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import kserve
from kubernetes import client

PLAIN = {"str": str, "bool": bool, "int": int, "float": float}
EITHER = {"IntOrString", "ResourceQuantity", "object", "datetime"}


def check(value: Any, kind: str, place: str) -> None:
    """Exit if a value is not of a type, by its name in the models."""
    if listed := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        for at, each in enumerate(value):
            check(each, listed[1], f"{place}[{at}]")
    elif mapped := re.fullmatch(r"(?:dict\(|Dict\[)str, (.+)[)\]]", kind):
        for name, each in value.items():
            check(each, mapped[1], f"{place}.{name}")
    elif kind in PLAIN:
        if type(value) is not PLAIN[kind]:
            raise SystemExit(f"{place}: expected {kind}, got {type(value).__name__}")
    elif kind not in EITHER:
        model = getattr(kserve, kind, None) or getattr(client, kind)
        names = {written: name for name, written in model.attribute_map.items()}
        for written, each in value.items():
            if written not in names:
                raise SystemExit(f"{place}: {kind} has no field {written}")
            check(each, model.openapi_types[names[written]], f"{place}.{written}")


check(json.loads(sys.argv[1]), "V1beta1InferenceService", "manifest")
