"""Celery's settings of login and TLS as properties of librdkafka."""

import ssl
from operator import itemgetter
from typing import Any

import pytest

from kafka_transport import InvalidOption
from kafka_transport.security import security_properties


def made(**settings: Any) -> dict[str, Any]:
    return security_properties(
        **{"login": None, "method": None, "use_ssl": False, "token_callback": None} | settings
    )


def test_nothing_said_is_plain_text() -> None:
    assert made() == {}


@pytest.mark.parametrize("method", [None, "PLAIN", "plain", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_user_and_password_log_in(method: str | None) -> None:
    assert made(login=("u", "p"), method=method) == {
        "sasl.mechanism": (method or "PLAIN").upper(),
        "sasl.username": "u",
        "sasl.password": "p",
        "security.protocol": "SASL_PLAINTEXT",
    }


def test_tls_verifies_unless_told_otherwise() -> None:
    assert made(use_ssl=True) == {"security.protocol": "SSL"}
    assert made(login=("u", "p"), use_ssl=True)["security.protocol"] == "SASL_SSL"
    insecure = made(use_ssl={"cert_reqs": ssl.CERT_NONE, "check_hostname": False})
    assert insecure["enable.ssl.certificate.verification"] is False
    assert insecure["ssl.endpoint.identification.algorithm"] == "none"
    assert made(use_ssl={"cert_reqs": "required"})["enable.ssl.certificate.verification"] is True


@pytest.mark.parametrize("prefix", ["", "ssl_"])
def test_files_are_named_as_with_rabbitmq_or_with_redis(prefix: str) -> None:
    files = {prefix + "ca_certs": "/ca", prefix + "certfile": "/cert", prefix + "keyfile": "/key"}
    assert made(use_ssl={**files, "ssl.sigalgs.list": "x"}) == {
        "security.protocol": "SSL",
        "ssl.ca.location": "/ca",
        "ssl.certificate.location": "/cert",
        "ssl.key.location": "/key",
        "ssl.sigalgs.list": "x",
    }


def token(_: str) -> tuple[str, float]:
    return "t", 0.0


def test_a_token_comes_from_a_function_by_name_or_from_librdkafka() -> None:
    by_name = made(token_callback="operator:itemgetter")
    assert (by_name["sasl.mechanism"], by_name["oauth_cb"]) == ("OAUTHBEARER", itemgetter)
    assert made(token_callback=token)["oauth_cb"] is token
    assert made(method="OAUTHBEARER", use_ssl=True) == {
        "sasl.mechanism": "OAUTHBEARER",
        "security.protocol": "SASL_SSL",
    }


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"method": "AMQPLAIN"}, "broker_login_method.*AMQPLAIN.*SCRAM-SHA-512"),
        ({"method": "PLAIN"}, "no user"),
        ({"use_ssl": {"ca_cert": "/ca"}}, "'ca_cert'.*'ca_certs'"),
        ({"use_ssl": {"cert_reqs": 7}}, "cert_reqs"),
        ({"token_callback": "no.such:thing"}, "oauth_callback.*no.such:thing"),
    ],
)
def test_what_cannot_be_used_is_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidOption, match=named):
        made(**settings)
