"""Options of an endpoint: how its captured requests run.

@app.put("/items/{item_id}", dependencies=[Depends(async_options(partition_key="path:item_id"))])
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import routing
from starlette.routing import BaseRoute, Mount, compile_path

from respond_async.errors import ConfigurationError
from respond_async.plan import EndpointOptions, Plan, Retry
from respond_async.problems import Problem
from respond_async.scope import Scope

#: Gives the partition key of a request: its ASGI scope (with `path_params`) and its body, None if
#: that is larger than CLAIM_CHECK_BYTES.
PartitionKey = Callable[[Scope, bytes | None], str | None]

_LONGEST_PARTITION_KEY: Final = 512
_HIGHEST_PRIORITY: Final = 9


class AsyncOptions:
    """What `async_options` gives: a dependency that does nothing where it runs.

    The capture finds it among the endpoint's dependencies.
    """

    def __init__(self, plan: Plan, partition_key: PartitionKey | None) -> None:
        self.plan = plan
        self._partition_key = partition_key

    async def __call__(self) -> None:
        """Lets the endpoint run."""

    def plan_of(self, scope: Scope, body: bytes | None) -> Plan:
        """The plan of one request.

        Raises:
            Problem: 422, the request has no usable partition key.
        """
        if self._partition_key is None:
            return self.plan
        key = self._partition_key(scope, body)
        if key is not None and not 0 < len(key) <= _LONGEST_PARTITION_KEY:
            raise Problem(
                422, f"What orders these requests has 1 to {_LONGEST_PARTITION_KEY} characters."
            )
        return self.plan.model_copy(update={"partition_key": key})


def async_options(
    *,
    queue: str | None = None,
    priority: int | None = None,
    timeout: float | None = None,
    retries: Retry | None = None,
    partition_key: str | PartitionKey | None = None,
) -> AsyncOptions:
    """A dependency that says how an endpoint's captured requests run.

        @app.post("/orders", dependencies=[Depends(async_options(
            timeout=30, retries=Retry(exceptions=[ConnectionError]), partition_key="body:customer.id",
        ))])

    Args:
        queue: Another queue than KAFKA_TOPIC; its workers are started with `-Q`.
        priority: 0 to 9, where the broker knows priorities; Kafka does not.
        timeout: Seconds, instead of REPLAY_TIMEOUT_SECONDS; then the endpoint is cancelled and the
            answer is 504.
        retries: Default: whatever is answered stands.
        partition_key: `path:NAME` of a path parameter, `body:NAME` or `body:NAME.NAME` of a field
            in a JSON body, or a function of scope and body. Requests of one key are taken in the
            order in which they were accepted, as far as the broker keeps one; a retry comes later.

    Raises:
        ConfigurationError: An option cannot work.
    """
    if priority is not None and not 0 <= priority <= _HIGHEST_PRIORITY:
        raise ConfigurationError(f"priority is 0 to {_HIGHEST_PRIORITY}, not {priority}")
    if timeout is not None and timeout <= 0:
        raise ConfigurationError(f"timeout must be more than 0 seconds, not {timeout:g}")
    plan = Plan(queue=queue, priority=priority, timeout_seconds=timeout, retry=retries)
    if isinstance(partition_key, str):
        partition_key = _named(partition_key)
    return AsyncOptions(plan, partition_key)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The options of the endpoint that a request goes to."""

    options: AsyncOptions
    path_params: Mapping[str, Any]

    def plan(self, scope: Scope, body: bytes | None) -> Plan:
        """The plan of the request.

        Args:
            scope: The request's.
            body: None: it is too large to be held.

        Raises:
            Problem: 422, the request has no usable partition key.
        """
        return self.options.plan_of({**scope, "path_params": self.path_params}, body)


class OptionsTable:
    """The options of an app's endpoints, those of mounted apps with it.

    Args:
        routes: The app's; read anew when there are more of them.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes: Final = routes
        self._size = -1
        self._entries: list[tuple[Any, AsyncOptions | OptionsTable | None]] = []

    def chosen(self, scope: Scope) -> Chosen | None:
        """The options of the endpoint that the request goes to; None if it has none."""
        return self._chosen(route_path(scope), scope["method"], {})

    def _chosen(self, path: str, method: str, params: dict[str, Any]) -> Chosen | None:
        if self._size != len(self._routes):
            self._read()
        for route, options in self._entries:
            match = route.path_regex.match(path)
            if match is None:
                continue
            mounted = isinstance(options, OptionsTable)
            if not mounted and route.methods and method not in route.methods:
                continue
            if options is None:
                return None
            converted = {
                name: route.param_convertors[name].convert(value)
                for name, value in match.groupdict().items()
            }
            if isinstance(options, OptionsTable):
                # As Starlette: what a mount takes goes to nobody else.
                left = "/" + converted.pop("path")
                return options._chosen(left, method, {**params, **converted})  # noqa: SLF001
            return Chosen(options, {**params, **converted})
        return None

    def _read(self) -> None:
        self._size = len(self._routes)
        # FastAPI before 0.130 or so has the routes of included routers in the app's own list.
        expanded: Any = getattr(routing, "iter_route_contexts", iter)
        entries: list[tuple[Any, AsyncOptions | OptionsTable | None]] = []
        for route in expanded(self._routes):
            mount = getattr(route, "starlette_route", None) or getattr(
                route, "original_route", route
            )
            if isinstance(mount, Mount):
                entries.append((mount, OptionsTable(mount.routes or ())))
            elif getattr(route, "path_regex", None) is not None:
                entries.append((route, _found(getattr(route, "dependant", None))))
        # Those behind the last one with options decide nothing.
        last = max((place for place, (_, has) in enumerate(entries, 1) if has), default=0)
        self._entries = entries[:last]


class OptionPatterns:
    """The options that ENDPOINT_OPTIONS names, by method and path.

    Args:
        patterns: Options by `METHOD /path/{parameter}`, or by the path alone for every method.

    Raises:
        ConfigurationError: A pattern or its options cannot work.
    """

    def __init__(self, patterns: Mapping[str, EndpointOptions]) -> None:
        self._patterns: Final = [
            (*_compiled(pattern), async_options(**dict(options)))
            for pattern, options in patterns.items()
        ]

    def chosen(self, scope: Scope) -> Chosen | None:
        """The options of the first pattern that the request matches; None if there is none."""
        if not self._patterns:
            return None
        path, method = route_path(scope), scope["method"]
        for asked, regex, converters, options in self._patterns:
            match = regex.match(path) if asked in {"", method} else None
            if match is not None:
                return Chosen(
                    options,
                    {name: converters[name].convert(value)
                     for name, value in match.groupdict().items()},
                )  # fmt: skip
        return None


def _compiled(pattern: str) -> tuple[str, re.Pattern[str], Mapping[str, Any]]:
    method, _, path = pattern.rpartition(" ")
    if not path.startswith("/") or (method and not method.isalpha()):
        raise ConfigurationError(
            f'ENDPOINT_OPTIONS: {pattern!r} must be "METHOD /path/{{parameter}}" or "/path"'
        )
    try:
        regex, _, converters = compile_path(path)
    except (AssertionError, ValueError) as error:
        raise ConfigurationError(f"ENDPOINT_OPTIONS: {pattern!r}: {error}") from None
    return method.upper(), regex, converters


def route_path(scope: Scope) -> str:
    """The path that routes are matched with: without `root_path` where that stands in front."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    left = path.removeprefix(root)
    return left if root and left.startswith("/") else path


def _found(dependant: Any) -> AsyncOptions | None:
    """The last one in the order of dependencies: an endpoint's own wins over its router's."""
    found = None
    for dependency in getattr(dependant, "dependencies", ()):
        if isinstance(dependency.call, AsyncOptions):
            found = dependency.call
        found = _found(dependency) or found
    return found


def _named(name: str) -> PartitionKey:
    kind, _, path = name.partition(":")
    if kind == "path" and path:
        return lambda scope, _: _text(scope.get("path_params", {}).get(path), name)
    if kind == "body" and path:
        return lambda _, body: _text(_field(body, path.split("."), name), name)
    raise ConfigurationError(
        f'partition_key must be "path:NAME", "body:NAME.NAME" or a function, not {name!r}'
    )


def _field(body: bytes | None, path: list[str], name: str) -> Any:
    if body is None:
        raise Problem(422, f"The body is too large for {name}, which orders these requests.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(422, f"The body is no JSON, and {name} orders these requests.") from None
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: Any, name: str) -> str:
    if isinstance(value, str) and value.isprintable():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        # Not of any length: Python refuses to print numbers of thousands of digits.
        if value.bit_length() < _LONGEST_PARTITION_KEY:
            return str(value)
    elif hasattr(value, "hex") and not isinstance(value, float | bytes):
        # A path parameter of the type UUID.
        return str(value)
    raise Problem(422, f"The request needs {name}, a string or whole number: it orders them.")
