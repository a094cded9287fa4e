"""The ACLs that docs/kafka.md names for each role: together they suffice, without any one they do not."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from amqp.exceptions import ChannelError
from celery import Celery
from confluent_kafka.admin import AclOperation as Op  # type: ignore[attr-defined]  # no __all__
from confluent_kafka.admin import ResourceType as Kind  # type: ignore[attr-defined]
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from kafka_transport.operations import DeadLetters, lag, offsets, topics
from kafka_transport.topics import DEAD, DELAY, EXCHANGE, Topics
from tests.support.secured_kafka import SecuredKafka, password_of
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = pytest.mark.kafka

TABLE: Final = Path(__file__).parents[3] / "docs" / "kafka.md"

OPERATIONS: Final = {
    "Read": Op.READ,
    "Write": Op.WRITE,
    "Delete": Op.DELETE,
    "Describe": Op.DESCRIBE,
    "DescribeConfigs": Op.DESCRIBE_CONFIGS,
    "Create": Op.CREATE,
}


@dataclass(frozen=True)
class Acl:
    """One operation on one topic or group, of a queue `tasks` with two lanes."""

    operation: Op
    kind: Kind
    #: With `<queue>`, `<group_id>` as in the documentation.
    name: str

    def __str__(self) -> str:
        return f"{self.operation.name} on {self.kind.name} {self.name}".lower()

    def full_name(self, prefix: str) -> str:
        name = self.name.replace("<group_id>", f"{prefix}group").replace(
            "<queue>", f"{prefix}tasks"
        )
        return name if name.startswith(prefix) else prefix + name


def documented() -> dict[str, list[Acl]]:
    (table,) = re.findall(r"<!-- acls.*?-->(.*?)<!-- end of acls -->", TABLE.read_text(), re.DOTALL)
    found: dict[str, list[Acl]] = {}
    for line in table.strip().splitlines()[2:]:
        role, on, operations = (cell.strip() for cell in line.strip("|").split("|"))
        for kind, name in re.findall(r"(topic|group) `(.*?)`", on):
            for operation in operations.split(", "):
                acl = Acl(OPERATIONS[operation], Kind[kind.upper()], name)
                found.setdefault(role.strip("`"), []).append(acl)
    return found


ACLS: Final = documented()

#: Makes the clients of each attempt new ones: a process keeps what it knows of a cluster.
_attempts = count(1)


class Site:
    """A project on the secured broker, whose topics an administrator made."""

    def __init__(self, server: SecuredKafka, prefix: str, directory: Path) -> None:
        self.server = server
        self.prefix = prefix
        self.directory = directory
        self.admin = self.app("admin")
        with self.admin.connection_for_write() as connection:
            connection.connect()
            made = self.topics_of(connection)
            made.ensure_all([prefix + "tasks", prefix + "tasks.p1"])
            made.ensure(prefix + "tasks.delay", DELAY)
            made.ensure(prefix + "tasks.dlq", DEAD)
            made.ensure(prefix + "kombu.bindings", DEAD)
            exchanges = ("celeryev", "celery.pidbox", "reply.celery.pidbox", "default")
            made.ensure_all([f"{prefix}{name}.exchange" for name in exchanges], EXCHANGE)
            # Who binds next has something to read.
            Queue("another", Exchange("another")).bind(connection.channel()).declare()

    @staticmethod
    def topics_of(connection: Any) -> Topics:
        found: Topics = connection.transport.cluster.topics
        return found

    def configuration(self, user: str) -> dict[str, Any]:
        login = f"{user}:{quote(password_of(user), safe='')}"
        return {
            "broker_url": f"kafka://{login}@{self.server.at('SASL')}//",
            "broker_transport_options": {
                "topic_prefix": self.prefix,
                "group_id": self.prefix + "group",
                "num_partitions": 1,
                "keep_done": 0.1,
                "publish_timeout": 5 + next(_attempts) / 1000,
            },
            "task_default_queue": "tasks",
            "task_queue_max_priority": 1,
            "worker_send_task_events": True,
        }

    def app(self, user: str) -> Celery:
        app = Celery("client", set_as_current=False)
        app.conf.update(self.configuration(user))
        return app

    def spans(self, topic: str) -> list[tuple[int, int]]:
        """Of each partition, the oldest offset and the next one."""
        with self.admin.connection_for_write() as connection:
            connection.connect()
            return self.topics_of(connection)._watermarks(self.prefix + topic)

    def written(self, topic: str) -> int:
        return sum(high for _, high in self.spans(topic))


@pytest.fixture
def site(secured_kafka: SecuredKafka, prefix: str, tmp_path: Path) -> Site:
    return Site(secured_kafka, prefix, tmp_path)


#: What a role does; raises if it cannot.
Scenario = Callable[[Site], None]


def publishes(site: Site) -> None:
    app = site.app("bob")
    app.send_task("any")
    app.send_task("any", priority=1)
    app.send_task("any", countdown=60)
    for topic in ("tasks", "tasks.p1", "tasks.delay"):
        assert site.written(topic) == 1, topic
    assert site.written("kombu.bindings") == 2


@contextmanager
def as_bob(site: Site) -> Iterator[Any]:
    """The transport of a connection."""
    with site.app("bob").connection_for_write() as connection:
        connection.connect()
        yield connection.transport


def purges(site: Site) -> None:
    site.admin.send_task("any")
    site.admin.send_task("any", countdown=60)
    assert site.app("bob").control.purge() == 2
    assert all(low == high for topic in ("tasks", "tasks.delay") for low, high in site.spans(topic))


def lists_topics(site: Site) -> None:
    site.admin.send_task("any")
    with as_bob(site) as transport:
        found = {t.name: t for t in topics(transport.cluster, transport.durable, ["tasks"])}
    assert found[site.prefix + "tasks"].messages == 1
    assert found[site.prefix + "tasks"].retention_ms == -1


def sees_lag(site: Site) -> None:
    site.admin.send_task("any")
    with as_bob(site) as transport:
        (found,) = lag(transport.cluster, transport.durable, ["tasks"])
    assert found.waiting == 1
    assert found.oldest_seconds is not None


def sees_offsets(site: Site) -> None:
    site.admin.send_task("any")
    with as_bob(site) as transport:
        found = offsets(transport.cluster, transport.durable, ["tasks"])
    assert sum(each.behind for each in found) == 1


def die(site: Site) -> None:
    """A dead letter, by the administrator's hand."""
    with site.admin.connection_for_write() as connection:
        site.admin.send_task("any")
        message = Queue("tasks", max_priority=1).bind(connection.channel()).get()
        assert message is not None
        message.reject()


def letters_of(transport: Any) -> DeadLetters:
    return DeadLetters(transport.cluster, transport.durable, "tasks")


def lists_letters(site: Site) -> None:
    die(site)
    with as_bob(site) as transport:
        assert len(list(letters_of(transport).letters())) == 1


def replays(site: Site) -> None:
    die(site)
    with as_bob(site) as transport:
        assert letters_of(transport).replay().handled == 1
    assert site.written("tasks") == 2
    assert all(low == high for low, high in site.spans("tasks.dlq"))


def drops(site: Site) -> None:
    die(site)
    with as_bob(site) as transport:
        assert letters_of(transport).drop().handled == 1
    assert all(low == high for low, high in site.spans("tasks.dlq"))


PROJECT: Final = """\
from celery import Celery
from celery.exceptions import Reject
import kafka_transport
from kafka_transport import retention

# Ten minutes otherwise.
retention.ROUND_SECONDS = 0.3
app = Celery("project")
app.conf.update({configuration!r})

@app.task
def good():
    pass

@app.task(acks_late=True)
def bad():
    raise Reject(requeue=False)
"""


@contextmanager
def worker_of(site: Site, user: str) -> Iterator[Worker]:
    (site.directory / "project.py").write_text(
        PROJECT.format(configuration=site.configuration(user))
    )
    worker = Worker(site.directory, "project", "-P", "threads", "-c", "2").start(wait=False)
    try:
        yield worker
    finally:
        worker.kill()


def works(site: Site) -> None:
    def denied() -> bool:
        return "ACL" in worker.output()

    def done() -> bool:
        return site.written("tasks.dlq") == 1 and all(
            sum(high for _, high in spans) > 0 and all(low == high for low, high in spans)
            for spans in map(site.spans, ("tasks", "tasks.p1", "tasks.delay"))
        )

    with worker_of(site, "bob") as worker:
        wait_until(lambda: "ready." in worker.output() or denied(), within=40, what="a worker")
        assert not denied()
        for priority in (0, 1):
            site.admin.send_task("project.good", priority=priority)
            site.admin.send_task("project.good", priority=priority, countdown=3.5)
        site.admin.send_task("project.bad")
        wait_until(lambda: denied() or done(), within=40, every=0.5, what="all that is done")
        assert site.admin.control.ping(timeout=5) == [{"w1@test": {"ok": "pong"}}]
        assert site.written("celeryev.exchange")
        assert not denied(), worker.output()


def monitors(site: Site) -> None:
    app = site.app("bob")
    site.admin.send_task("project.good")
    site.admin.send_task("project.good", priority=1)
    site.admin.send_task("project.good", countdown=60)
    with app.connection_for_read() as connection:
        channel: Any = connection.channel()
        assert channel.queue_declare("tasks", passive=True).message_count == 3
    with worker_of(site, "admin") as worker, app.connection_for_read() as connection:
        worker.wait_for("ready.", 40)
        assert app.control.inspect(timeout=5).ping() == {"w1@test": {"ok": "pong"}}
        receiver = app.events.Receiver(connection)

        def stop(_: object) -> None:
            receiver.should_stop = True

        receiver.handlers["*"] = stop
        receiver.capture(timeout=20)


SCENARIOS: Final[dict[str, Scenario]] = {
    "publisher": publishes,
    "worker": works,
    "monitor": monitors,
    "celery purge": purges,
    "kafka topics": lists_topics,
    "kafka lag": sees_lag,
    "kafka offsets": sees_offsets,
    "kafka dlq list": lists_letters,
    "kafka dlq replay": replays,
    "kafka dlq drop": drops,
}


def allow(site: Site, acls: list[Acl]) -> None:
    for acl in acls:
        site.server.allow("bob", acl.operation, acl.kind, acl.full_name(site.prefix))


@pytest.mark.parametrize("role", SCENARIOS)
def test_these_acls_suffice(site: Site, role: str) -> None:
    allow(site, ACLS[role])
    SCENARIOS[role](site)


@pytest.mark.long
@pytest.mark.parametrize(
    ("role", "acl"),
    [pytest.param(role, acl, id=f"{role}: {acl}") for role in SCENARIOS for acl in ACLS[role]],
)
def test_each_of_them_is_needed(site: Site, role: str, acl: Acl) -> None:
    allow(site, [other for other in ACLS[role] if other != acl])
    with pytest.raises((OperationalError, ChannelError, AssertionError, TimeoutError)):
        SCENARIOS[role](site)
