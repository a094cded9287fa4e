"""A Kafka that asks who is there: SASL, TLS and ACLs, each listener another case of one broker.

Users are `admin`, `alice` and `bob`; the password of each is `<name>:p@ss/w%rd`, which a URL must
encode. Only `admin` and who comes through `open` (a listener without login) may do everything;
what the others may do a test says with `allow`.
"""

import base64
import json
import time
from datetime import timedelta
from pathlib import Path

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from cryptography import x509

from tests.support.certificates import LOOPBACK, Authority
from tests.support.kafka_server import KafkaServer
from tests.support.ports import free_port
from tests.support.waiting import wait_until

USERS = ("admin", "alice", "bob")

#: Listener name -> its security protocol.
LISTENERS = {
    "OPEN": "PLAINTEXT",
    "SASL": "SASL_PLAINTEXT",
    "SASLTLS": "SASL_SSL",
    "MUTUAL": "SSL",
    "EXPIRED": "SSL",
    "MISNAMED": "SSL",
}


def password_of(user: str) -> str:
    return f"{user}:p@ss/w%rd"


class SecuredKafka(KafkaServer):
    """`server.at("SASL")` is the address of a listener."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.ports = {name: free_port() for name in LISTENERS}
        self.port = self.ports["OPEN"]
        self.authority = Authority(directory)
        self.stranger = Authority(directory, "another-ca")
        self.client_certificate = self.authority.issue("alice")

    def at(self, listener: str) -> str:
        return f"127.0.0.1:{self.ports[listener]}"

    def allow(
        self,
        user: str,
        operation: AclOperation,
        kind: ResourceType,
        name: str,
        *,
        prefixed: bool = False,
    ) -> None:
        pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
        acl = AclBinding(
            kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW
        )  # fmt: skip
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        for future in admin.create_acls([acl]).values():
            future.result(10)
        given = AclBindingFilter(
            kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW
        )
        wait_until(
            lambda: admin.describe_acls(given).result(10), within=20, what="the ACL to be in force"
        )

    def _properties(self) -> str:
        good = self.authority.issue("broker", *LOOPBACK)
        expired = self.authority.issue("expired", *LOOPBACK, valid_for=timedelta(days=-1))
        misnamed = self.authority.issue("misnamed", x509.DNSName("kafka.example"))
        users = " ".join(f'user_{user}="{password_of(user)}"' for user in USERS)
        login = "org.apache.kafka.common.security"
        oauth = (
            'oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
        )
        lines = [
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:ANONYMOUS;User:admin",
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            "ssl.principal.mapping.rules=RULE:^CN=(.*?)$/$1/,DEFAULT",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={self.authority.path}",
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={good}",
            "listener.name.mutual.ssl.client.auth=required",
            f"listener.name.expired.ssl.keystore.location={expired}",
            f"listener.name.misnamed.ssl.keystore.location={misnamed}",
        ]
        for listener in ("sasl", "sasltls"):
            prefix = f"listener.name.{listener}"
            lines += [
                f"{prefix}.plain.sasl.jaas.config={login}.plain.PlainLoginModule required {users};",
                f"{prefix}.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;",
                f"{prefix}.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;",
                f"{prefix}.oauthbearer.sasl.jaas.config={login}.{oauth}",
            ]
        return super()._properties() + "\n".join(lines) + "\n"

    def _listeners(self) -> dict[str, tuple[str, int]]:
        return {name: (protocol, self.ports[name]) for name, protocol in LISTENERS.items()}

    def _format_arguments(self) -> list[str]:
        return [
            argument
            for user in USERS
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for argument in ("-S", f"{mechanism}=[name={user},password={password_of(user)}]")
        ]


def unsecured_token(_: str) -> tuple[str, float, str]:
    """A JWT without a signature for `admin`, as Kafka's unsecured handler takes them."""
    end = time.time() + 600

    def part(claims: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()

    claims = {"sub": "admin", "iat": time.time(), "exp": end}
    return f"{part({'alg': 'none'})}.{part(claims)}.", end, "admin"
