"""Redis in several processes: a master that Sentinel watches, and a cluster. Both need Redis 7."""

import os
import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import redis

from tests.support.ports import free_port
from tests.support.redis_server import redis_binary
from tests.support.waiting import wait_until

MISSING = "NO REDIS 7"
_MASTER = "mymaster"


def need_redis_7() -> None:
    """Skips loudly where there is none; with REQUIRE_REDIS_7 set (CI) that is a failure."""
    told = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"v=(\d+)", told.stdout)
    if found is not None and int(found[1]) >= 7:
        return
    lacking = f"{MISSING}: {redis_binary()} is {told.stdout.split()[2]}"
    if os.environ.get("REQUIRE_REDIS_7"):
        pytest.fail(lacking)
    pytest.skip(lacking)


class _Processes:
    """Servers by their port; all end on exit."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def client(self, port: int) -> Any:
        return redis.Redis(port=port, decode_responses=True, socket_timeout=5)

    def kill(self, port: int) -> None:
        """As a machine that is gone: nothing is said to anybody."""
        process = self.processes.pop(port)
        process.kill()
        process.wait()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        for port in list(self.processes):
            self.kill(port)

    def _run(self, port: int, *arguments: str, program: str = redis_binary()) -> None:
        folder = self.directory / str(port)
        folder.mkdir()
        self.processes[port] = subprocess.Popen(
            [
                program, *arguments, "--port", str(port), "--bind", "127.0.0.1",
                "--dir", str(folder), "--logfile", "log",
            ]
        )  # fmt: skip
        self._until(port, lambda: bool(self.client(port).ping()), "answers")

    def _until(self, port: int, condition: Callable[[], bool], what: str) -> None:
        def holds() -> bool:
            with suppress(redis.RedisError):
                return condition()
            return False

        wait_until(holds, within=60, what=f"Redis on port {port} {what}")


class SentinelSet(_Processes):
    """A master, two replicas and three sentinels, two of which must agree that it is gone."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.servers = [free_port() for _ in range(3)]
        self.sentinels = [free_port() for _ in range(3)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"redis+sentinel://{hosts}/{_MASTER}/0"

    @property
    def master(self) -> int:
        """The port that a sentinel tells."""
        return self._told()[0]

    def _told(self) -> list[int]:
        return [
            int(self.client(port).sentinel_get_master_addr_by_name(_MASTER)[1])
            for port in self.sentinels
            if port in self.processes
        ]

    def start(self) -> None:
        first, *others = self.servers
        for port in self.servers:
            self._run(port, "--save", "")
        for port in others:
            self.client(port).replicaof("127.0.0.1", first)
        for port in others:
            self._until(port, partial(self._is_replica_of_a_master, port), "follows its master")
        for port in self.sentinels:
            configuration = self.directory / f"sentinel-{port}.conf"
            configuration.write_text(
                f"sentinel monitor {_MASTER} 127.0.0.1 {first} 2\n"
                f"sentinel down-after-milliseconds {_MASTER} 2000\n"
                f"sentinel failover-timeout {_MASTER} 3000\n"
            )
            self._run(port, str(configuration), "--sentinel")
        for port in self.sentinels:
            self._until(port, partial(self._knows_all, port), "knows the others")

    def fail_over(self) -> None:
        """Kills the master and returns once every sentinel tells of another, and it is one."""
        before = self.master
        self.kill(before)
        wait_until(lambda: before not in self._told(), within=60, what="all sentinels name another")
        self._until(self.master, lambda: self._is_master(self.master), "is a master")

    def _is_master(self, port: int) -> bool:
        return bool(self.client(port).role()[0] == "master")

    def _is_replica_of_a_master(self, port: int) -> bool:
        return bool(self.client(port).info("replication").get("master_link_status") == "up")

    def _knows_all(self, port: int) -> bool:
        state = self.client(port).sentinel_master(_MASTER)
        return bool(state["num-slaves"] == 2 and state["num-other-sentinels"] == 2)


class RedisCluster(_Processes):
    """Three masters, each with a third of the slots; the first has a replica."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.masters = [free_port() for _ in range(3)]
        self.replica = free_port()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.masters)

    def start(self) -> None:
        every = [*self.masters, self.replica]
        for port in every:
            self._run(
                port, "--save", "", "--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
                "--cluster-port", str(free_port()),
            )  # fmt: skip
        ranges = ((0, 5460), (5461, 10922), (10923, 16383))
        for number, (port, slots) in enumerate(zip(self.masters, ranges, strict=True), start=1):
            self.client(port).execute_command("CLUSTER ADDSLOTSRANGE", *slots)
            self.client(port).execute_command("CLUSTER SET-CONFIG-EPOCH", number)
        for port in every:
            self._until(port, partial(self._knows_all, port), "knows all nodes")
        self._until(self.replica, self._replicates, "is a replica")
        for port in every:
            self._until(port, partial(self._is_ok, port), "has a whole cluster")
        self._until(self.replica, self._follows, "follows its master")

    def id_of(self, port: int) -> str:
        return str(self.client(port).execute_command("CLUSTER MYID"))

    def node_of(self, key: str) -> int:
        """The port of the master that has a key."""
        slot = self.client(self.masters[0]).execute_command("CLUSTER KEYSLOT", key)
        for port in [*self.masters, self.replica]:
            if port not in self.processes:
                continue
            for first, last, master, *_ in self._slots(port):
                if first <= slot <= last:
                    return int(master[1])
        raise AssertionError(f"no node has slot {slot}")

    def move_slot_of(self, key: str) -> None:
        """Moves the slot of a key, with what is in it, to another master, as redis-cli does."""
        slot = self.client(self.masters[0]).execute_command("CLUSTER KEYSLOT", key)
        source = self.node_of(key)
        target = next(port for port in self.masters if port != source)
        of, to = self.client(source), self.client(target)
        to.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", self.id_of(source))
        of.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", self.id_of(target))
        while keys := of.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
            of.execute_command("MIGRATE", "127.0.0.1", target, "", 0, 5000, "KEYS", *keys)
        for port in (target, source, *(p for p in self.masters if p not in (source, target))):
            self.client(port).execute_command("CLUSTER SETSLOT", slot, "NODE", self.id_of(target))

    def fail_over(self) -> None:
        """Kills the master that has a replica, and returns once that has its slots."""
        self.kill(self.masters[0])
        self._until(
            self.replica,
            lambda: bool(self.client(self.replica).role()[0] == "master"),
            "is a master",
        )
        for port in self.masters[1:]:
            self._until(port, partial(self._is_ok, port), "has a whole cluster")

    def _slots(self, port: int) -> Any:
        return self.client(port).execute_command("CLUSTER SLOTS")

    def _info(self, port: int, field: str) -> str:
        return str(self.client(port).execute_command("CLUSTER INFO")[field])

    def _knows_all(self, port: int) -> bool:
        if self._info(port, "cluster_known_nodes") == "4":
            return True
        # Again: a handshake that takes longer than the node timeout is given up.
        for other in [*self.masters, self.replica]:
            if other != port:
                bus = self.client(other).config_get("cluster-port")["cluster-port"]
                self.client(port).execute_command("CLUSTER MEET", "127.0.0.1", other, bus)
        return False

    def _is_ok(self, port: int) -> bool:
        return self._info(port, "cluster_state") == "ok"

    def _replicates(self) -> bool:
        return bool(
            self.client(self.replica).execute_command(
                "CLUSTER REPLICATE", self.id_of(self.masters[0])
            )
        )

    def _follows(self) -> bool:
        return bool(self.client(self.replica).info("replication").get("master_link_status") == "up")
