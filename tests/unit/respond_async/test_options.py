import contextlib
import json
from typing import Any
from uuid import UUID

import pytest
from fastapi import APIRouter, Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from respond_async import ConfigurationError, Problem, Retry, async_options
from respond_async.options import OptionPatterns, OptionsTable
from respond_async.plan import EndpointOptions, Plan, raised_names
from respond_async.settings import Settings


class OwnError(ConnectionError):
    pass


def scope(path: str, method: str = "GET", **more: Any) -> dict[str, Any]:
    return {"type": "http", "path": path, "method": method, "headers": [], **more}


def app() -> FastAPI:
    made = FastAPI()

    @made.get("/fixed/plain")
    async def plain() -> None: ...

    @made.get("/fixed/{name}", dependencies=[Depends(async_options(partition_key="path:name"))])
    async def named(name: str) -> None: ...

    @made.post("/fixed/{name}")
    async def posted(name: str) -> None: ...

    routes = APIRouter(prefix="/items", dependencies=[Depends(async_options(queue="items"))])

    @routes.get("/{item_id}")
    async def item(item_id: UUID) -> None: ...

    @routes.put(
        "/{item_id:int}",
        dependencies=[Depends(async_options(queue="own", partition_key="path:item_id"))],
    )
    async def put(item_id: int) -> None: ...

    made.include_router(routes, prefix="/api")
    return made


@pytest.mark.parametrize(
    ("path", "method", "queue", "key"),
    [
        ("/fixed/a%2Fb", "GET", None, "a%2Fb"),
        ("/api/items/x", "GET", "items", None),
        ("/api/items/007", "PUT", "own", "7"),
    ],
)
def test_an_endpoint_has_its_own_options_or_its_routers(
    path: str, method: str, queue: str | None, key: str | None
) -> None:
    table = OptionsTable(app().routes)
    for root in ("", "/shop"):
        asked = scope(root + path, method, root_path=root)
        chosen = table.chosen(asked)
        assert chosen is not None
        plan = chosen.plan(asked, b"")
        assert (plan.queue, plan.partition_key) == (queue, key)


@pytest.mark.parametrize(
    ("path", "method"), [("/fixed/plain", "GET"), ("/fixed/x", "POST"), ("/nowhere", "GET")]
)
def test_another_endpoint_has_none(path: str, method: str) -> None:
    assert OptionsTable(app().routes).chosen(scope(path, method)) is None


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"customer": {"id": "c-7"}}, "c-7"),
        ({"customer": {"id": 7}}, "7"),
    ],
)
def test_a_field_of_the_body_orders(body: Any, key: str) -> None:
    options = async_options(partition_key="body:customer.id")
    assert options.plan_of(scope("/"), json.dumps(body).encode()).partition_key == key


@given(st.one_of(st.none(), st.binary(), st.text().map(str.encode), st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda some: st.lists(some) | st.dictionaries(st.sampled_from(["customer", "id"]), some),
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_whatever_the_body_is_there_is_a_key_or_a_problem(body: bytes | None) -> None:
    options = async_options(partition_key="body:customer.id")
    # Nothing but a Problem is raised.
    with contextlib.suppress(Problem):
        key = options.plan_of(scope("/"), body).partition_key
        assert key is not None
        assert 0 < len(key) <= 512
        assert key.isprintable()


def test_a_function_may_give_the_key_or_none() -> None:
    options = async_options(partition_key=lambda scope, _: scope["path"].strip("/") or None)
    assert options.plan_of(scope("/a"), b"").partition_key == "a"
    assert options.plan_of(scope("/"), b"").partition_key is None


@pytest.mark.parametrize(
    "options",
    [
        {"priority": 10},
        {"timeout": 0},
        {"partition_key": "header:x"},
        {"partition_key": "path:"},
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        async_options(**options)


def test_chosen_failures_are_tried_again_later_each_time_and_not_for_ever() -> None:
    retry = Retry(times=4, backoff_seconds=2, backoff_max_seconds=10)
    for retries, (least, most) in enumerate([(1, 2), (2, 4), (4, 8), (5, 10)]):
        delays = [retry.delay(503, (), retries) for _ in range(200)]
        assert all(delay is not None and least <= delay <= most for delay in delays)
        assert len(set(delays)) > 100
    assert retry.delay(503, (), 4) is None
    assert retry.delay(500, (), 0) is None
    assert Retry(times=10**9).delay(503, (), 10**8) is not None


def test_exceptions_are_chosen_by_class_with_what_is_derived_from_it() -> None:
    retry = Retry(exceptions=(ConnectionError,), statuses=frozenset())
    assert retry.delay(500, raised_names(OwnError()), 0) is not None
    assert retry.delay(500, raised_names(ValueError()), 0) is None
    named = Retry(exceptions=(f"{__name__}.OwnError",))
    assert named.delay(500, raised_names(OwnError()), 0) is not None
    assert named.delay(500, raised_names(ConnectionError()), 0) is None


def test_a_plan_survives_the_way() -> None:
    plan = Plan(queue="q", retry=Retry(exceptions=(OSError,)), partition_key="k")
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    with pytest.raises(ValidationError):
        Retry(statuses=frozenset({99}))


def mounting(inner: Any, path: str = "/v1/{tenant}") -> FastAPI:
    outer = FastAPI()
    outer.mount(path, inner)

    @outer.get("/{rest:path}", dependencies=[Depends(async_options(queue="outer"))])
    async def others(rest: str) -> None: ...

    return outer


@pytest.mark.parametrize("included", [False, True])
def test_a_mounted_apps_endpoints_have_their_own_options(included: bool) -> None:
    inner = app()
    if included:
        router = APIRouter()
        router.mount("/v1/{tenant}", inner)
        outer = FastAPI()
        outer.include_router(router)
    else:
        outer = mounting(inner)
    table = OptionsTable(outer.routes)
    asked = scope("/shop/v1/acme/api/items/7", "PUT", root_path="/shop")
    chosen = table.chosen(asked)
    assert chosen is not None
    assert chosen.path_params == {"tenant": "acme", "item_id": 7}
    assert chosen.plan(asked, b"") == Plan(queue="own", partition_key="7")
    # What the mounted app does not know is not looked for behind the mount.
    assert table.chosen(scope("/v1/acme/fixed/plain")) is None
    assert table.chosen(scope("/v1/acme/nowhere")) is None

    # Its routes may come later.
    @inner.get("/late", dependencies=[Depends(async_options(queue="late"))])
    async def late() -> None: ...

    found = table.chosen(scope("/v1/acme/late"))
    assert found is not None
    assert found.options.plan.queue == "late"


def test_what_stands_behind_a_mount_is_found() -> None:
    chosen = OptionsTable(mounting(lambda *_: None).routes).chosen(scope("/elsewhere"))
    assert chosen is not None
    assert chosen.options.plan.queue == "outer"


PATTERNS = {
    "PUT /items/{item_id:int}": {"partition_key": "path:item_id", "priority": 3},
    "/items/{item_id}": {"queue": "items", "retries": {"times": 1, "exceptions": ["builtins.OSError"]}},
    "get /items/{item_id}/parts": {"queue": "never: this is no GET"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "plan"),
    [
        ("PUT", "/items/7", Plan(partition_key="7", priority=3)),
        ("PUT", "/items/x", Plan(queue="items", retry=Retry(times=1, exceptions=(OSError,)))),
        ("DELETE", "/shop/items/7", Plan(queue="items", retry=Retry(times=1, exceptions=(OSError,)))),
        ("POST", "/items/7/parts", None),
        ("PUT", "/items", None),
    ],
)  # fmt: skip
def test_patterns_find_an_endpoint_of_any_app(method: str, path: str, plan: Plan | None) -> None:
    settings = Settings.model_validate({"endpoint_options": PATTERNS})
    asked = scope(path, method, root_path="/shop")
    chosen = OptionPatterns(settings.endpoint_options).chosen(asked)
    assert (chosen.plan(asked, b"") if chosen else None) == plan


@pytest.mark.parametrize(
    ("pattern", "options", "said"),
    [
        ("items", {}, "must be"),
        ("PUT  /items", {}, "must be"),
        ("/items/{a}/{a}", {}, "Duplicated"),
        ("/items/{a:color}", {}, "convertor"),
        ("/items", {"priority": 11}, "priority"),
        ("/items", {"partition_key": "header:x"}, "partition_key"),
    ],
)
def test_a_pattern_that_cannot_work_is_said(pattern: str, options: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        OptionPatterns({pattern: EndpointOptions(**options)})
