"""A real Apache Kafka (KRaft, one node) for one test session, from Java 17 and Maven alone."""

import fcntl
import logging
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.support.ports import free_port
from tests.support.waiting import wait_until

logger = logging.getLogger(__name__)
POM = Path(__file__).parent / "kafka" / "pom.xml"
CACHE = Path(__file__).parents[2] / ".cache" / "kafka"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT
inter.broker.listener.name={first}
controller.listener.names=CONTROLLER
log.dirs={directory}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.enable=false
"""


def missing() -> str | None:
    """What is not there of what a real Kafka needs, or None."""
    for tool, package in (("java", "a Java 17 runtime"), ("mvn", "Maven")):
        if shutil.which(tool) is None:
            return (
                f"`{tool}` is not on PATH: install {package}, or set KAFKA_TEST_BOOTSTRAP_SERVERS"
            )
    return None


def jars() -> Path:
    """The folder of Kafka's jars; brought by Maven the first time, under a lock."""
    libs = CACHE / "libs"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = CACHE / "complete"
        if not stamp.exists() or stamp.stat().st_mtime < POM.stat().st_mtime:
            shutil.rmtree(libs, ignore_errors=True)
            subprocess.run(
                ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
                 f"-DoutputDirectory={libs}"],
                check=True,
            )  # fmt: skip
            stamp.touch()
    return libs


class KafkaServer:
    """Starts on enter, ends on exit; `stop`, `kill` and `start` let a test take it away and back."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.properties = directory / "server.properties"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def format(self) -> None:
        self.properties.write_text(self._properties())
        storage_tool = [*self._java("-Xmx128m"), "kafka.tools.StorageTool"]
        cluster = subprocess.run(
            [*storage_tool, "random-uuid"], check=True, capture_output=True, text=True
        ).stdout.strip()
        subprocess.run(
            [
                *storage_tool,
                "format",
                "-t",
                cluster,
                "-c",
                str(self.properties),
                *self._format_arguments(),
            ],
            check=True,
            capture_output=True,
        )

    def start(self) -> None:
        log = (self.directory / "kafka.log").open("ab")
        self.process = subprocess.Popen(
            [*self._java("-Xmx512m"), "kafka.Kafka", str(self.properties)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers}, logger=logger)
        wait_until(lambda: self._answers(admin), within=150, what=f"Kafka: see {self.directory}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def _listeners(self) -> dict[str, tuple[str, int]]:
        """Each listener's security protocol and port; the first is the tests' own way in."""
        return {"PLAINTEXT": ("PLAINTEXT", self.port)}

    def _properties(self) -> str:
        listeners = self._listeners()
        return PROPERTIES.format(
            listeners=",".join(f"{n}://127.0.0.1:{port}" for n, (_, port) in listeners.items()),
            protocols=",".join(f"{n}:{protocol}" for n, (protocol, _) in listeners.items()),
            first=next(iter(listeners)),
            controller=free_port(),
            directory=self.directory,
        )

    def _format_arguments(self) -> list[str]:
        return []

    def _answers(self, admin: AdminClient) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"Kafka ended: see {self.directory}/kafka.log")
        try:
            return bool(admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def _java(self, memory: str) -> list[str]:
        return [
            "java", memory, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-cp", f"{jars()}{os.sep}*",
        ]  # fmt: skip

    def __enter__(self) -> Self:
        self.format()
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
