"""What a broker URL says, and what is shown of it."""

import pytest
from celery import Celery
from kombu import Connection
from kombu.utils.url import maybe_sanitize_url

import kafka_transport
from kafka_transport.address import bootstrap_servers, read_url

SECRET = "p@ss:w/rd%,;"
ENCODED = "p%40ss%3Aw%2Frd%25%2C%3B"


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("a:1,b:2", "a:1,b:2"),
        ("a,b:2", "a:9092,b:2"),
        ("a:1,b:2,a:1", "a:1,b:2"),
        ("[::1]:9093,[::2]", "[::1]:9093,[::2]:9092"),
        ("::1", "[::1]:9092"),
        ("a", "a:9092"),
        ("", "localhost:9092"),
    ],
)
def test_every_broker_of_the_url_is_used(hosts: str, expected: str) -> None:
    assert bootstrap_servers(hosts) == expected
    assert read_url(f"kafka://{hosts}//").servers == expected
    assert read_url(f"kafka://u:p@{hosts}").servers == expected


def test_user_and_password_are_decoded_and_written_back() -> None:
    address = read_url(f"kafka://al%40ice:{ENCODED}@a:1,b:2//")
    assert (address.user, address.password) == ("al@ice", SECRET)
    assert address.as_url() == f"kafka://al%40ice:{ENCODED}@a:1,b:2//"
    assert address.as_url(mask="**") == "kafka://al%40ice:**@a:1,b:2//"


@pytest.mark.parametrize(
    "url", ["kafka://u:half/whole@a:1", "kafka://u:half#whole@a", "kafka://u:half?whole@a"]
)
def test_a_password_that_is_not_encoded_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(kafka_transport.InvalidOption, match="percent-encoded") as refusal:
        read_url(url)
    assert "half" not in str(refusal.value)
    assert "whole" not in str(refusal.value)


def test_options_in_the_url_are_refused() -> None:
    with pytest.raises(kafka_transport.InvalidOption, match="broker_transport_options"):
        read_url("kafka://a:1//?group_id=x")


def test_a_password_is_used_and_never_shown() -> None:
    connection = Connection(f"kafka://user:{ENCODED}@a:1,b:2//;kafka://other:{ENCODED}@c:3,d:4//")
    assert connection.as_uri() == "kafka://user:**@a:1,b:2//"
    assert connection.as_uri(include_password=True) == f"kafka://user:{ENCODED}@a:1,b:2//"
    assert connection.password == SECRET
    info = {**connection.info(), "password": None}
    # Celery's `inspect stats` masks these with kombu's parser, which takes one host and port.
    info["alternates"] = [maybe_sanitize_url(url) for url in connection.alt]
    for text in (repr(connection), repr(info), connection.as_uri()):
        assert ENCODED not in text
        assert SECRET not in text


def test_a_clone_and_the_next_of_a_list_are_whole_connections() -> None:
    connection = Connection("kafka://u:1@a:1,b:2//;kafka://v:2@[::1]:3,d:4//;kafka://e:5")
    copy = connection.clone()
    assert copy.as_uri(include_password=True) == "kafka://u:1@a:1,b:2//"
    for one in (connection, copy):
        assert one.transport is not None
        one.maybe_switch_next()
        assert one.as_uri(include_password=True) == "kafka://v:2@[::1]:3,d:4//"
        one.maybe_switch_next()
        assert one.as_uri(include_password=True) == "kafka://e:5//"
        one.maybe_switch_next()
        assert one.as_uri(include_password=True) == "kafka://u:1@a:1,b:2//"


def test_celerys_own_displays_hide_it() -> None:
    with Celery("shown", broker=f"kafka://user:{ENCODED}@a:1,b:2//", set_as_current=False) as app:
        assert ENCODED not in app.bugreport()
        assert "user:********@a:1,b:2" in repr(app.conf.table(censored=True))


def test_the_scheme_with_tls_is_shown_as_such() -> None:
    assert Connection("kafkas://u:p@a").as_uri() == "kafkas://u:**@a:9092//"
