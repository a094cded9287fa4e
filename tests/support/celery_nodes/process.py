"""Local processes with the face that pytest-celery's nodes know of a container."""

import signal as signals
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import kafka_transport
from tests.support.kafka_server import KafkaServer
from tests.support.redis_server import RedisServer
from tests.support.workers import Worker


class LocalProcess(ABC):
    """What a node asks of its container, answered by a process. Started by whoever made it."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def id(self) -> str:
        """Its process id; a container's is cut to 12 characters, which this never has."""
        return str(self._pid() or "")

    @property
    def status(self) -> str:
        return "exited" if self._pid() is None else "running"

    @property
    @abstractmethod
    def celeryconfig(self) -> dict[str, Any]:
        """Its URLs: one for workers, one for the test; here they are the same."""

    @abstractmethod
    def logs(self) -> str: ...

    @abstractmethod
    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Ends it and waits until it has ended."""

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def _pid(self) -> int | None:
        """None where it does not run."""

    def ready(self) -> bool:
        return self.status == "running"

    def restart(self, timeout: float = 60) -> None:
        if self.status == "running":
            self.kill("SIGTERM")
        self.start()

    def reload(self) -> None:
        """A container's attributes are a copy that grows old; these are not."""
        return

    def teardown(self) -> None:
        if self.status == "running":
            self.kill()


class SharedServer(LocalProcess):
    """A server that other tests use as well: it runs, and no node ends it."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__(name)
        self._url = url

    @property
    def status(self) -> str:
        return "running"

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {"url": self._url, "host_url": self._url}

    def logs(self) -> str:
        return ""

    def kill(self, signal: str | int = "SIGKILL") -> None:
        raise RuntimeError(f"{self.name} is shared: a test that ends it needs one of its own")

    def start(self) -> None:
        """Runs already."""

    def teardown(self) -> None:
        """Runs on."""

    def _pid(self) -> int | None:
        return None


class KafkaProcess(LocalProcess):
    """An Apache Kafka; its topics stay over a restart, its address too."""

    def __init__(self, server: KafkaServer) -> None:
        super().__init__("kafka")
        self._server = server

    @property
    def celeryconfig(self) -> dict[str, Any]:
        url = f"{kafka_transport.SCHEME}://{self._server.bootstrap_servers}"
        return {"url": url, "host_url": url}

    def logs(self) -> str:
        return (self._server.directory / "kafka.log").read_text(errors="replace")

    def kill(self, signal: str | int = "SIGKILL") -> None:
        self._server.stop(_signal(signal))

    def start(self) -> None:
        self._server.start()

    def _pid(self) -> int | None:
        return None if self._server.process is None else self._server.process.pid


class RedisProcess(LocalProcess):
    """A redis-server in memory; it forgets all over a restart."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__("redis")
        self._server = server

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {"url": self._server.url, "host_url": self._server.url}

    def logs(self) -> str:
        return (self._server.directory / "redis.log").read_text(errors="replace")

    def kill(self, signal: str | int = "SIGKILL") -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.start()

    def _pid(self) -> int | None:
        return None if self._server.process is None else self._server.process.pid


class WorkerProcess(LocalProcess):
    """A `celery worker` and its pool."""

    def __init__(self, worker: Worker, queue: str) -> None:
        super().__init__(worker.name)
        self.worker = worker
        self.queue = queue

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {}

    @property
    def directory(self) -> Path:
        return self.worker.directory

    def logs(self) -> str:
        return self.worker.output()

    def kill(self, signal: str | int = "SIGKILL") -> None:
        if _signal(signal) is signals.SIGTERM:
            self.worker.stop()
        else:
            self.worker.kill()

    def start(self) -> None:
        self.worker.start()

    def ready(self) -> bool:
        return super().ready() and "ready." in self.logs()

    def _pid(self) -> int | None:
        process = self.worker.process
        return None if process is None or process.poll() is not None else process.pid


def _signal(signal: str | int) -> signals.Signals:
    return signals.Signals[signal] if isinstance(signal, str) else signals.Signals(signal)
