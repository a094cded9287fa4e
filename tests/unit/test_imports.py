"""Imports go one way only: the third column of the table in docs/architecture.md."""

import ast
import sys
from pathlib import Path

import pytest

import respond_async

ROOT = Path(__file__).parents[2]

#: What each package may import of the others.
MAY_IMPORT: dict[str, set[str]] = {
    "kafka_transport": set(),
    "ws_hub": set(),
    "respond_async": {"ws_hub"},
    "config": {"kafka_transport", "respond_async"},
    "tasks": {"config", "respond_async", "kafka_transport"},
    "app": {"config", "tasks", "respond_async", "ws_hub"},
}

#: What `kafka_transport` may import at all: any Celery project can use it alone.
TRANSPORT_NEEDS = {"kombu", "amqp", "confluent_kafka"}

#: What `respond_async.client` may import at all: anyio comes with httpx.
CLIENT_NEEDS = {"httpx", "anyio"}

#: What its command of `celery`, and its part in Flower, need on top.
COMMAND_NEEDS = {
    "kafka_transport/command.py": {"celery", "click"},
    "kafka_transport/flower.py": {"celery", "flower", "tornado"},
    "kafka_transport/flower_lost.py": {"celery", "flower", "tornado"},
    "kafka_transport/operations/rendering.py": {"rich"},
}


def imports_of(source: str) -> set[str]:
    """Top-level names that a module imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def modules_of(package: str) -> list[Path]:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules, f"no module in {package}/"
    return modules


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way_only(package: str) -> None:
    forbidden = MAY_IMPORT.keys() - MAY_IMPORT[package] - {package}
    wrong = [
        f"{module.relative_to(ROOT)} imports {name}"
        for module in modules_of(package)
        for name in sorted(imports_of(module.read_text()) & forbidden)
    ]
    assert not wrong


def test_the_transport_needs_nothing_but_kombu_and_the_kafka_client() -> None:
    allowed = TRANSPORT_NEEDS | {"kafka_transport"} | sys.stdlib_module_names
    for module in modules_of("kafka_transport"):
        more = COMMAND_NEEDS.get(str(module.relative_to(ROOT)), set())
        assert imports_of(module.read_text()) <= allowed | more, module


def test_the_python_client_needs_nothing_but_httpx() -> None:
    for module in modules_of("respond_async/client"):
        tree = ast.parse(module.read_text())
        own = {
            node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
        }
        allowed = CLIENT_NEEDS | {"respond_async"} | sys.stdlib_module_names
        assert imports_of(module.read_text()) <= allowed, module
        assert all(
            name.startswith("respond_async.client")
            for name in own
            if name.split(".")[0] == "respond_async"
        ), module


def test_the_check_sees_an_import_inside_a_function() -> None:
    assert imports_of("def f():\n    from app.main import app\n    import tasks.x") == {
        "app",
        "tasks",
    }


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_module_is_read_in_one_sitting(package: str) -> None:
    long = {
        str(module.relative_to(ROOT)): lines
        for module in modules_of(package)
        if (lines := len(module.read_text().splitlines())) > 400
    }
    assert not long


def test_no_public_name_is_hidden_by_a_module_of_that_name() -> None:
    # `import respond_async.task` would put the module in the place of the decorator.
    modules = {module.stem for module in (ROOT / "respond_async").glob("*.py")}
    assert not modules & set(respond_async.__all__)
