"""What a connection shows of its options."""

import copy
import json
import pickle
from typing import Any

import pytest
from kombu import Connection
from kombu.utils.json import dumps

import kafka_transport
from kafka_transport.config import Options
from kafka_transport.hidden import Hidden, hide, reveal

SECRET = "swordfish"
OPTIONS: dict[str, Any] = {
    "group_id": "shop",
    "kafka_common_config": {
        "sasl.password": SECRET,
        "ssl.key.pem": SECRET,
        "sasl.oauthbearer.client.secret": SECRET,
        "sasl.oauthbearer.config": f"secret={SECRET}",
        "ssl.key.location": "/etc/kafka/key.pem",
    },
    "kafka_producer_config": {"ssl.keystore.password": SECRET},
}


def token(config: str) -> tuple[str, float]:
    return config, 0.0


def connection(options: dict[str, Any] = OPTIONS) -> Connection:
    made = Connection(f"{kafka_transport.SCHEME}://localhost", transport_options=options)
    assert options_of(made)
    return made


def options_of(made: Connection) -> Options:
    transport: Any = made.transport
    options: Options = transport.options
    return options


def test_what_a_worker_answers_about_its_connection_has_no_secret() -> None:
    answer = dumps(connection().info())
    assert SECRET not in answer
    shown = json.loads(answer)["transport_options"]
    assert shown["group_id"] == "shop"
    assert shown["kafka_common_config"]["sasl.password"] == "********"
    assert shown["kafka_common_config"]["ssl.key.location"] == "/etc/kafka/key.pem"


def test_a_function_does_not_break_the_answer() -> None:
    made = connection({"oauth_callback": token})
    assert json.loads(dumps(made.info()))["transport_options"]["oauth_callback"] == "token"
    assert options_of(made).oauth_callback is token


def test_the_transport_and_a_clone_of_the_connection_have_the_real_ones() -> None:
    first = connection()
    for each in (first, first.clone(), first.clone().clone()):
        assert options_of(each).kafka_common_config == OPTIONS["kafka_common_config"]
        assert options_of(each).kafka_producer_config == OPTIONS["kafka_producer_config"]
    assert OPTIONS["kafka_common_config"]["sasl.password"] == SECRET


def test_connections_that_differ_by_their_password_alone_are_two() -> None:
    other = copy.deepcopy(OPTIONS)
    other["kafka_common_config"]["sasl.password"] = "another"
    assert connection().__eqhash__() == connection().__eqhash__()
    assert connection().__eqhash__() != connection(other).__eqhash__()
    assert SECRET not in repr(connection().transport_options)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_know_the_real_one(again: Any) -> None:
    made = again(hide(OPTIONS))
    assert reveal(made) == OPTIONS
    assert reveal(hide(made)) == OPTIONS
    assert isinstance(made["kafka_common_config"]["sasl.password"], Hidden)
