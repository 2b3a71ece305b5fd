"""The page of input formats: an example of each format, true of the code, and kept fresh."""

import importlib.util
import json
from pathlib import Path

import pytest

from pluralign.datasets import FORMATS, load_preferences
from pluralign.datasets.formats import recognised

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
EXAMPLES = json.loads((ROOT / "docs" / "examples" / "formats.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build", ROOT / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_table_of_formats_gives(build):
    assert build.formats() == PAGE


def test_a_change_of_the_table_makes_it_stale(build, monkeypatch):
    fewer = {name: form for name, form in FORMATS.items() if name != "shp"}
    monkeypatch.setattr(build, "FORMATS", fewer)
    assert build.formats() != PAGE


def test_every_format_has_one_example():
    assert set(EXAMPLES) == set(FORMATS)
    assert all(f"\n## {name}\n" in PAGE for name in FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_an_example_becomes_the_pairs_shown(name):
    example = EXAMPLES[name]
    options = example.get("options", {}) | ({"join": example["join"]} if "join" in example else {})
    group = example.get("group")
    pairs = load_preferences(example["rows"], format=name, options=options, group=group)
    part = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    shown = part.split("become, by")[1].split("```json\n")[1].split("```")[0].splitlines()
    assert [json.loads(line)["chosen"] for line in shown] == [
        text if isinstance(text, str) else [dict(turn) for turn in text] for text in pairs.chosen
    ]
    if FORMATS[name].telling is not None:
        assert recognised(example["rows"][0]) is FORMATS[name]


@pytest.mark.parametrize("name", ["prism", "ultrafeedback"])
def test_limits_are_stated(name):
    part = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert "not on the published file" in part
    assert "not independent" in part
