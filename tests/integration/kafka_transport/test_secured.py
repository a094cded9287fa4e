"""A cluster that asks who is there: logins, certificates, ACLs, and what is said when they fail."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from confluent_kafka.admin import AclOperation as Op  # type: ignore[attr-defined]  # no __all__
from confluent_kafka.admin import ResourceType as Kind  # type: ignore[attr-defined]
from kombu import Connection, Queue
from kombu.exceptions import OperationalError

from kafka_transport import BrokerUnavailable, InvalidOption, LoginRefused, NotAuthorized
from kafka_transport.operations import lag, offsets
from tests.support.messages import Collector
from tests.support.ports import free_port
from tests.support.secured_kafka import SecuredKafka, password_of, unsecured_token
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = pytest.mark.kafka

To = Callable[..., Connection]


@pytest.fixture
def to(secured_kafka: SecuredKafka, prefix: str) -> Iterator[To]:
    """A connection to a listener of the secured broker."""
    with ExitStack() as opened:

        def make(listener: str, user: str | None = None, /, **settings: Any) -> Connection:
            options = {"group_id": prefix + "group", "topic_prefix": prefix, "num_partitions": 2}
            options |= settings.pop("transport_options", {})
            password = settings.pop("password", password_of(user or ""))
            login = f"{user}:{quote(password, safe='')}@" if user else ""
            url = f"kafka://{login}{secured_kafka.at(listener)}//"
            return opened.enter_context(Connection(url, transport_options=options, **settings))

        yield make


@pytest.fixture
def tls(secured_kafka: SecuredKafka) -> dict[str, Any]:
    return {"ca_certs": str(secured_kafka.authority.path), "cert_reqs": ssl.CERT_REQUIRED}


def passes_a_message(connection: Connection) -> bool:
    queue = Queue("tasks", routing_key="tasks")
    connection.Producer().publish("hello", routing_key="tasks", declare=[queue])
    return Collector(connection, queue, no_ack=True).receive(1) == ["hello"]


@pytest.mark.parametrize("method", [None, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_user_and_password_log_in(to: To, method: str | None) -> None:
    assert passes_a_message(to("SASL", "admin", login_method=method))


def test_user_and_password_over_tls(to: To, tls: dict[str, Any]) -> None:
    assert passes_a_message(to("SASLTLS", "admin", ssl=tls, login_method="SCRAM-SHA-512"))


def test_a_client_certificate_is_a_login(
    to: To, tls: dict[str, Any], secured_kafka: SecuredKafka, prefix: str
) -> None:
    secured_kafka.allow("alice", Op.ALL, Kind.TOPIC, prefix, prefixed=True)
    secured_kafka.allow("alice", Op.ALL, Kind.GROUP, prefix, prefixed=True)
    certificate = str(secured_kafka.client_certificate)
    tls |= {"certfile": certificate, "keyfile": certificate}
    assert passes_a_message(to("MUTUAL", ssl=tls))


def test_a_token_comes_from_the_projects_own_function(to: To) -> None:
    options = {"oauth_callback": f"{unsecured_token.__module__}:{unsecured_token.__name__}"}
    assert passes_a_message(to("SASL", transport_options=options))


def test_a_token_comes_from_librdkafka(to: To) -> None:
    common = {
        "enable.sasl.oauthbearer.unsecure.jwt": True,
        "sasl.oauthbearer.config": "principal=admin",
    }
    options = {"kafka_common_config": common}
    assert passes_a_message(to("SASL", login_method="OAUTHBEARER", transport_options=options))


@pytest.mark.parametrize("method", ["PLAIN", "SCRAM-SHA-512"])
def test_a_wrong_password_is_said_soon_and_not_shown(to: To, method: str) -> None:
    started = time.monotonic()
    with pytest.raises(LoginRefused, match=f"refused the login of alice with {method}") as refusal:
        to("SASL", "alice", password="s3cret", login_method=method, connect_timeout=10).connect()
    assert time.monotonic() - started < 5
    assert "s3cret" not in str(refusal.value)
    # As RabbitMQ's AccessRefused: trying again mends nothing.
    assert not isinstance(refusal.value, Connection("kafka://").connection_errors)


@pytest.mark.parametrize(
    ("listener", "settings"),
    [("EXPIRED", {}), ("MISNAMED", {}), ("SASLTLS", {"ca_certs": "another"})],
)
def test_a_certificate_that_is_not_right_is_refused(
    to: To,
    tls: dict[str, Any],
    secured_kafka: SecuredKafka,
    listener: str,
    settings: dict[str, Any],
) -> None:
    if settings:
        tls["ca_certs"] = str(secured_kafka.stranger.path)
    user = "alice" if listener == "SASLTLS" else None
    with pytest.raises(BrokerUnavailable, match=r"certificate.*unknown authority.*expired.*name"):
        to(listener, user, ssl=tls, connect_timeout=1).transport.establish_connection()


def test_a_certificate_is_not_looked_at_only_when_that_is_said(to: To, tls: dict[str, Any]) -> None:
    assert to("MISNAMED", ssl=tls | {"check_hostname": False}).connect()
    assert to("EXPIRED", ssl={"cert_reqs": ssl.CERT_NONE}).connect()


def test_a_missing_file_names_the_setting(to: To) -> None:
    with pytest.raises(InvalidOption, match=r"ssl\.ca\.location.*broker_use_ssl"):
        to("MUTUAL", ssl={"ca_certs": "/not/there"}).connect()


def test_a_listener_that_wants_a_login_says_so(to: To) -> None:
    with pytest.raises(BrokerUnavailable, match=r"TLS.*login"):
        to("SASL", connect_timeout=1).transport.establish_connection()


@contextmanager
def closing_worker(worker: Worker) -> Iterator[None]:
    try:
        yield
    finally:
        worker.kill()


def test_a_worker_with_a_wrong_password_ends_and_says_why(
    secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    (tmp_path / "project.py").write_text(
        "import kafka_transport\nfrom celery import Celery\n"
        f"app = Celery(broker='kafka://alice:s3cret@{secured_kafka.at('SASL')}//')\n"
    )
    worker = Worker(tmp_path, "project", "-P", "solo").start(wait=False)
    with closing_worker(worker):
        worker.wait_for("Unrecoverable error: LoginRefused")
        assert worker.process is not None
        assert worker.process.wait(20) != 0
        assert "refused the login of alice with PLAIN" in worker.output()
        assert "s3cret" not in worker.output()


def test_a_worker_that_may_not_see_its_topic_ends_and_names_the_acl(
    secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    login = f"bob:{quote(password_of('bob'), safe='')}"
    (tmp_path / "project.py").write_text(
        "import kafka_transport\nfrom celery import Celery\n"
        f"app = Celery(broker='kafka://{login}@{secured_kafka.at('SASL')}//')\n"
    )
    worker = Worker(tmp_path, "project", "-P", "solo").start(wait=False)
    with closing_worker(worker):
        worker.wait_for("Unrecoverable error: NotAuthorized")
        assert worker.process is not None
        assert worker.process.wait(20) != 0
        assert "DESCRIBE on topic" in worker.output()


# ACLs.


@pytest.fixture
def bob(secured_kafka: SecuredKafka, to: To, prefix: str) -> Connection:
    """May make and see topics and use the group, and has no more."""
    for operation in (Op.CREATE, Op.DESCRIBE):
        secured_kafka.allow("bob", operation, Kind.TOPIC, prefix, prefixed=True)
    return to("SASL", "bob")


def test_a_topic_that_may_not_be_made_names_the_acl(to: To, prefix: str) -> None:
    with pytest.raises(NotAuthorized, match=f"DESCRIBE on topic '{prefix}tasks'"):
        Queue("tasks").bind(to("SASL", "bob")).declare()


def test_a_topic_that_may_be_seen_and_not_made_names_the_acl(
    to: To, secured_kafka: SecuredKafka, prefix: str
) -> None:
    secured_kafka.allow("bob", Op.DESCRIBE, Kind.TOPIC, prefix, prefixed=True)
    with pytest.raises(NotAuthorized, match=f"CREATE on topic '{prefix}tasks' or on the cluster"):
        Queue("tasks").bind(to("SASL", "bob")).declare()


RETRY = {"max_retries": 3, "interval_start": 0.1}


def published(connection: Connection, queue: Queue) -> bool:
    try:
        connection.Producer().publish(1, routing_key=queue.name, declare=[queue])
    except OperationalError:
        return False
    return True


def test_a_topic_that_may_not_be_written_names_the_acl_and_may_be_once_it_is_given(
    bob: Connection, secured_kafka: SecuredKafka, prefix: str
) -> None:
    queue = Queue("tasks")
    # Tried again it would never end.
    with pytest.raises(NotAuthorized, match=f"WRITE on topic '{prefix}tasks'"):
        bob.Producer().publish(
            1, routing_key="tasks", declare=[queue], retry=True, retry_policy=RETRY
        )
    secured_kafka.allow("bob", Op.WRITE, Kind.TOPIC, prefix, prefixed=True)
    wait_until(lambda: published(bob, queue), within=20, what="the ACL to be in force")


def test_a_group_that_may_not_be_read_names_the_acl(bob: Connection, prefix: str) -> None:
    Queue("tasks").bind(bob).queue_declare()
    collector = Collector(bob, Queue("tasks"))
    with pytest.raises(NotAuthorized, match=f"READ on group '{prefix}group.{prefix}tasks'"):
        collector.drain(10)


def described(connection: Connection, ask: Callable[[Any, Any, list[str]], Any]) -> bool:
    transport: Any = connection.transport
    try:
        return bool(ask(transport.cluster, transport.durable, ["tasks"]))
    except NotAuthorized:
        return False


@pytest.mark.parametrize("ask", [lag, offsets])
def test_a_group_that_may_not_be_described_is_named_at_once_and_may_be_once_the_acl_is_given(
    bob: Connection,
    secured_kafka: SecuredKafka,
    prefix: str,
    ask: Callable[[Any, Any, list[str]], Any],
) -> None:
    Queue("tasks").bind(bob).declare()
    transport: Any = bob.transport
    group = f"{prefix}group.{prefix}tasks"
    started = time.monotonic()
    with pytest.raises(NotAuthorized, match=f"DESCRIBE on group '{group}'"):
        ask(transport.cluster, transport.durable, ["tasks"])
    # A request that is not answered is given up after ten.
    assert time.monotonic() - started < 5
    secured_kafka.allow("bob", Op.DESCRIBE, Kind.GROUP, group)
    wait_until(lambda: described(bob, ask), within=20, what="the ACL to be in force")


# Brokers that are not there.


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address where nothing comes back: a full backlog drops what knocks."""
    with socket.socket() as listener, ExitStack() as knocking:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = knocking.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def silent() -> Iterator[str]:
    """Accepts, and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("place", ["black_hole", "silent"])
def test_connect_timeout_holds(place: str, request: pytest.FixtureRequest) -> None:
    address = request.getfixturevalue(place)
    with Connection(f"kafka://{address}", connect_timeout=1.5) as connection:
        started = time.monotonic()
        # kombu's connect() tries twice.
        with pytest.raises(BrokerUnavailable, match=f"no Kafka answered at {address} within 1.5 s"):
            connection.transport.establish_connection()
        assert 1 < time.monotonic() - started < 3


def test_where_nothing_listens_that_is_said_at_once() -> None:
    dead = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    with Connection(f"kafka://{','.join(dead)}", connect_timeout=20) as connection:
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="Connection refused"):
            connection.transport.establish_connection()
        assert time.monotonic() - started < 5


def test_a_list_of_clusters_needs_no_more_than_one_timeout(
    secured_kafka: SecuredKafka, prefix: str
) -> None:
    # kombu gives all URLs together no more than `connect_timeout` where it connects by itself.
    with Connection(
        f"kafka://127.0.0.1:{free_port()};kafka://{secured_kafka.bootstrap_servers}",
        transport_options={"topic_prefix": prefix},
        connect_timeout=3,
    ) as connection:
        assert connection.default_channel


def test_the_next_cluster_of_a_list_is_tried_with_its_own_login(
    secured_kafka: SecuredKafka, prefix: str
) -> None:
    dead = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    login = f"admin:{quote(password_of('admin'), safe='')}"
    live = f"{secured_kafka.at('SASL')},127.0.0.1:{free_port()}"
    options = {"topic_prefix": prefix, "group_id": prefix + "group", "num_partitions": 2}
    with Connection(
        f"kafka://nobody:x@{dead}//;kafka://{login}@{live}//",
        transport_options=options,
        connect_timeout=1,
    ) as connection:
        connection.ensure_connection(max_retries=3, timeout=20)
        assert "admin:**@" in connection.as_uri()
        assert passes_a_message(connection)


def test_operational_error_is_what_a_caller_may_catch() -> None:
    for error in (LoginRefused, NotAuthorized, BrokerUnavailable):
        assert issubclass(error, OperationalError)
