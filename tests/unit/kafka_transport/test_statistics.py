"""What clients tell of themselves adds up, also when they come and go."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kafka_transport import statistics
from kafka_transport.config import Options
from kafka_transport.errors import InvalidOption
from kafka_transport.statistics import client_statistics, statistics_properties

ON = Options(statistics_seconds=15)


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    statistics._in_child()
    yield
    statistics._in_child()


def told(sent: int, received: int, lag: int = -1, **more: Any) -> str:
    """As librdkafka writes it, of one broker and one topic."""
    broker = {"rtt": {"avg": 1500}, "outbuf_cnt": 1, "waitresp_cnt": 2}
    partitions = {"0": {"consumer_lag": lag}, "-1": {"consumer_lag": -1}}
    return json.dumps(
        {
            "txmsgs": sent, "rxmsgs": received, "msg_cnt": 4, "brokers": {"b:1/1": broker},
            "topics": {"q": {"partitions": partitions}}, **more,
        }
    )  # fmt: skip


def test_it_is_off_unless_it_is_asked_for() -> None:
    assert statistics_properties(Options(), "producer") == {}
    assert statistics_properties(ON, "producer")["statistics.interval.ms"] == 15_000


def test_clients_of_a_kind_are_told_together() -> None:
    callbacks = [statistics_properties(ON, "consumer")["stats_cb"] for _ in range(2)]
    callbacks[0](told(0, 10, lag=3))
    callbacks[1](told(0, 5, lag=4))
    [found] = client_statistics()
    assert (found.client, found.sent, found.received) == ("consumer", 0, 15)
    assert found.lag == {"q": 7}
    assert found.rtt_seconds == pytest.approx(0.0015)
    assert (found.outgoing_requests, found.unsent) == (6, 8)


def test_what_a_client_has_sent_stays_counted_when_it_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = statistics_properties(ON, "producer")["stats_cb"]
    first(told(10, 0))
    first(told(25, 0))
    later = time.monotonic() + 46
    monkeypatch.setattr("kafka_transport.statistics.time.monotonic", lambda: later)
    [found] = client_statistics()
    assert (found.sent, found.unsent, found.outgoing_requests) == (25, 0, 0)
    # The next one begins at nothing.
    statistics_properties(ON, "producer")["stats_cb"](told(5, 0))
    [found] = client_statistics()
    assert (found.sent, found.unsent) == (30, 4)


def test_a_producer_has_no_lag() -> None:
    statistics_properties(ON, "producer")["stats_cb"](told(1, 0, lag=9))
    [found] = client_statistics()
    assert found.lag == {}


@pytest.mark.parametrize("name", ["stats_cb", "statistics.interval.ms"])
def test_a_callback_of_the_projects_own_is_refused(name: str) -> None:
    with pytest.raises(InvalidOption, match="statistics_seconds"):
        Options.of({"kafka_common_config": {name: 1}})
