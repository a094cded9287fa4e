"""What a line of the log says, and what it must never say."""

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest
import structlog
from celery import Celery

import config.logging
from config import settings

Log = Callable[[str], logging.Logger]


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(params=["production", "development"])
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    chosen = settings.model_copy(update={"environment": request.param})
    monkeypatch.setattr(config.logging, "settings", chosen)
    return str(request.param)


@pytest.fixture
def log(out: io.StringIO) -> Iterator[Log]:
    """Loggers of any name that write to `out` in the service's format."""
    made: list[tuple[logging.Logger, logging.Handler]] = []

    def get(name: str) -> logging.Logger:
        logger = logging.getLogger(name)
        handler = logging.StreamHandler(out)
        handler.setFormatter(config.logging.formatter())
        logger.addHandler(handler)
        logger.setLevel("INFO")
        made.append((logger, handler))
        return logger

    yield get
    for logger, handler in made:
        logger.removeHandler(handler)
        logger.setLevel("NOTSET")


def test_a_production_line_is_one_json_object(
    monkeypatch: pytest.MonkeyPatch, log: Log, out: io.StringIO
) -> None:
    chosen = settings.model_copy(update={"environment": "production"})
    monkeypatch.setattr(config.logging, "settings", chosen)
    try:
        int("two\nlines")
    except ValueError:
        log("shop").exception("it %s", "broke")
    line = json.loads(out.getvalue())
    assert out.getvalue().count("\n") == 1
    assert (line["event"], line["level"], line["logger"]) == ("it broke", "error", "shop")
    assert line["timestamp"].endswith("Z")
    assert "ValueError" in line["exception"]


def test_a_development_line_is_text(
    monkeypatch: pytest.MonkeyPatch, log: Log, out: io.StringIO
) -> None:
    chosen = settings.model_copy(update={"environment": "development"})
    monkeypatch.setattr(config.logging, "settings", chosen)
    log("shop").warning("careful")
    assert "careful" in out.getvalue()
    assert "warning" in out.getvalue()
    assert not out.getvalue().startswith("{")


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("logger", "message", "arguments"),
    [
        (
            "uvicorn.access",
            '%s - "%s %s HTTP/%s" %d',
            ("127.0.0.1:1", "GET", "/ws?x=1&token=hush.hush", "1.1", 200),
        ),
        ("uvicorn.error", '%s - "WebSocket %s" [accepted]', ("127.0.0.1:1", "/ws?channel=hush")),
        ("uvicorn.access", '%s - "%s %s HTTP/%s" %d', ("c", "GET", "/pay?card=hush", "1.1", 200)),
        ("some.client", "GET http://hub/ws?token=%s&x=1", ("hush",)),
        ("some.client", "connecting with access_token=hush", ()),
    ],
)
def test_no_line_holds_a_token_a_channel_or_a_query_that_uvicorn_prints(
    log: Log, out: io.StringIO, logger: str, message: str, arguments: tuple[object, ...]
) -> None:
    log(logger).info(message, *arguments)
    assert out.getvalue()
    assert "hush" not in out.getvalue()


@pytest.mark.usefixtures("environment")
def test_a_traceback_shows_no_local_variables(log: Log, out: io.StringIO) -> None:
    body = "-hush-".strip("-")  # not as it stands in the source line
    try:
        int(body[0] * 2)
    except ValueError:
        log("shop").exception("it broke")
    assert "ValueError" in out.getvalue()
    assert "hush" not in out.getvalue()


@pytest.mark.usefixtures("environment")
def test_a_line_written_in_a_task_names_the_task(log: Log, out: io.StringIO) -> None:
    app = Celery("t", broker="memory://", set_as_current=False)

    @app.task(name="shop.bill")
    def bill() -> None:
        logging.getLogger("shop").info("billed")

    log("shop")
    bill.apply(task_id="5f0c")
    assert "5f0c" in out.getvalue()
    assert "shop.bill" in out.getvalue()


@pytest.mark.usefixtures("environment")
def test_what_celery_adds_to_a_record_is_not_printed(log: Log, out: io.StringIO) -> None:
    log("celery.app.trace").info("done", extra={"data": {"return_value": "hush"}})
    assert "done" in out.getvalue()
    assert "hush" not in out.getvalue()


def test_a_structlog_logger_and_a_standard_one_write_the_same_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings.model_copy(update={"environment": "production", "log_level": "INFO"})
    monkeypatch.setattr(config.logging, "settings", chosen)
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    config.logging.configure_logging.cache_clear()
    try:
        config.logging.configure_logging()
        logging.getLogger("standard").info("said %s", "so")
        structlog.get_logger("other").info("said so", user="u1", token="t")
        sys.stderr.flush()
        standard, other = map(json.loads, capsys.readouterr().err.splitlines())
    finally:
        root.handlers[:], root.level = before
        structlog.reset_defaults()
        config.logging.configure_logging.cache_clear()
    assert standard["event"] == other["event"] == "said so"
    assert set(standard) < set(other)
    assert other["user"] == "u1"
