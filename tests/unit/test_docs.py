"""What the documents say is what the code does."""

import re
from pathlib import Path

import pytest

from respond_async import settings_table
from respond_async.metrics.definitions import metrics_table
from tests.support.options_table import TABLES, options_table
from tests.unit.test_imports import MAY_IMPORT

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_settings_table_is_the_settings() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    assert settings_table() in text, "docs/settings.md is out of date: run `make docs`"


def test_the_table_of_metrics_is_what_is_counted() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert metrics_table() in text, "docs/operations.md is out of date: run `make docs`"


def test_the_table_of_imports_is_the_one_that_is_tested() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)/` \|[^|]*\| ([^|]*) \|", text, re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", may)) for name, may in rows} == MAY_IMPORT


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_links_to_is_there(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text())
    assert all((document.parent / link).exists() for link in links), links


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make (\w+)", (ROOT / "README.md").read_text())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("document", TABLES, ids=lambda path: path.name)
def test_a_table_of_options_is_the_options(document: Path) -> None:
    table = options_table(*TABLES[document])
    assert table in document.read_text(), f"{document.name} is out of date: run `make docs`"


def test_every_promise_of_the_transport_names_a_test_that_exists() -> None:
    promises = (ROOT / "docs" / "kafka.md").read_text().split("## What is promised")[1]
    rows = re.findall(r"^\| (?!promise)[^-].*\|$", promises.split("\n## ")[0], re.MULTILINE)
    assert len(rows) >= 10
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert tests, f"no test is named: {row}"
        for path, name in tests:
            assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), name
