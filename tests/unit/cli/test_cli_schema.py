from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fakes.cli import Pragma
from fakes.site import FakeSite, cluster_view
from pragma_boot.errors import Fault
from pragma_boot.model import ImageName
from pragma_boot.repository.base import ImageOutcome

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parents[3] / "docs" / "output.schema.json").read_text())


def validate(kind: str, text: str) -> None:
    jsonschema.Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}).validate(json.loads(text))


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("boot", "boot demo 3"),
        ("boot dry-run", "boot demo 3 dry-run=yes"),
        ("start", "start vc1"),
        ("list cluster", "list cluster"),
        ("list cluster", "list cluster vc1"),
        ("list repository", "list repository"),
        ("sync repository", "sync repository"),
        ("check site", "check site"),
    ],
)
def test_json_is_as_documented(pragma: Pragma, site: FakeSite, kind: str, line: str) -> None:
    wide = cluster_view("vc1")
    site.add(replace(wide, nodes=tuple(replace(node, networks={"lab": "10.103.0.1/28"}) for node in wide.nodes)))
    lost = cluster_view("lost", state="broken", note="its record is lost")
    site.add(replace(lost, fqdn="", public_ip="", created="", owner="", image=""))
    site.outcomes = (ImageOutcome(ImageName("a"), "fetched"), ImageOutcome(ImageName("b"), "failed", "why"))
    site.faults = (Fault("a", "b"), Fault("a", "b", "c"))
    validate(kind, pragma(*line.split(), "--json").out)


def test_the_schema_refuses_what_it_does_not_describe() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate("list cluster", '[{"name": "x"}]')
