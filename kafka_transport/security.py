"""Login and encryption: Celery's own settings as librdkafka's properties."""

import ssl
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from kombu.utils.imports import symbol_by_name

from kafka_transport.errors import InvalidOption

__all__ = ["security_properties"]

#: What ``broker_login_method`` may be; librdkafka has GSSAPI only where it was built with it.
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI")

#: Keys of ``broker_use_ssl``; each may have ``ssl_`` before it, as Celery's Redis transport has it.
_TLS: Final = {
    "ca_certs": "ssl.ca.location",
    "certfile": "ssl.certificate.location",
    "keyfile": "ssl.key.location",
    "keyfile_password": "ssl.key.password",
    "ciphers": "ssl.cipher.suites",
}

_VERIFY: Final[dict[object, bool]] = {
    ssl.CERT_NONE: False,
    "none": False,
    "CERT_NONE": False,
    ssl.CERT_OPTIONAL: True,
    "optional": True,
    "CERT_OPTIONAL": True,
    ssl.CERT_REQUIRED: True,
    "required": True,
    "CERT_REQUIRED": True,
}


def security_properties(
    *,
    login: tuple[str, str] | None,
    method: str | None,
    use_ssl: object,
    token_callback: object = None,
) -> dict[str, Any]:
    """Makes librdkafka's properties of a login, ``broker_login_method`` and ``broker_use_ssl``.

    With TLS the broker's certificate and its host name are verified unless ``cert_reqs`` or
    ``check_hostname`` says otherwise.

    Raises:
        InvalidOption: A setting cannot be used.
    """
    properties = _sasl(login, method, token_callback)
    if properties or use_ssl:
        properties["security.protocol"] = ("SASL_" if properties else "") + (
            "SSL" if use_ssl else "PLAINTEXT"
        )
    if isinstance(use_ssl, Mapping):
        for key, value in use_ssl.items():
            properties |= _tls(str(key), value)
    return properties


def _sasl(
    login: tuple[str, str] | None, method: str | None, token_callback: object
) -> dict[str, Any]:
    if method is None:
        method = "OAUTHBEARER" if token_callback else "PLAIN" if login else None
    if method is None:
        return {}
    mechanism = method.upper()
    if mechanism not in MECHANISMS:
        raise InvalidOption(
            f"broker_login_method is {method!r}: Kafka knows {', '.join(MECHANISMS)}"
        )
    properties: dict[str, Any] = {"sasl.mechanism": mechanism}
    if mechanism == "OAUTHBEARER":
        if token_callback:
            properties["oauth_cb"] = _function(token_callback)
    elif mechanism != "GSSAPI":
        if login is None:
            raise InvalidOption(
                f"broker_login_method is {method!r} and the broker URL has no user: write "
                "kafka://user:password@host:9092"
            )
        properties["sasl.username"], properties["sasl.password"] = login
    return properties


def _function(named: object) -> object:
    try:
        found: object = symbol_by_name(named) if isinstance(named, str) else named
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidOption(f"oauth_callback {named!r} cannot be imported: {error}") from error
    if not callable(found):
        raise InvalidOption(f"oauth_callback {named!r} is no function")
    return found


def _tls(key: str, value: object) -> dict[str, Any]:
    if "." in key:
        return {key: value}
    name = key.removeprefix("ssl_")
    if name == "cert_reqs":
        if value not in _VERIFY:
            raise InvalidOption(f"broker_use_ssl: cert_reqs is {value!r}: use ssl.CERT_REQUIRED")
        return {"enable.ssl.certificate.verification": _VERIFY[value]}
    if name == "check_hostname":
        return {"ssl.endpoint.identification.algorithm": "https" if value else "none"}
    if name not in _TLS:
        known = [*_TLS, "cert_reqs", "check_hostname"]
        near = get_close_matches(name, known, n=1)
        raise InvalidOption(
            f"broker_use_ssl: {key!r} is not known"
            + (f", do you mean {near[0]!r}?" if near else f": use {', '.join(known)}")
        )
    return {} if value is None else {_TLS[name]: value}
