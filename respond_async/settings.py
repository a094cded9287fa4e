"""The library's settings, read from the environment."""

import json
import os
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic.fields import FieldInfo

from respond_async.plan import EndpointOptions
from ws_hub import CommaSeparated, HubSettings, parse_servers

_MIB = 1024 * 1024

KafkaProperties = dict[str, str | int | float | bool]
Positive = Annotated[float, Field(gt=0)]


class Settings(HubSettings):
    """All settings; each comes from the environment variable of its name in upper case.

    A value given to the constructor wins over the environment. `settings_table()` prints them.

    Raises:
        pydantic.ValidationError: A value is wrong; its text names the field and never shows
            the value, since that may be a secret.
    """

    environment: Literal["production", "development"] = Field(
        default="production",
        description="`development` adds what helps to try the service, such as the token endpoint.",
    )
    asgi_app: str = Field(
        default="app.main:app",
        pattern=r"^[\w.]+:[\w.]+$",
        description="The ASGI app that is served and whose requests the worker replays, as"
        " module:attribute. The service puts its own endpoints in front of another one.",
    )
    upstream_url: str = Field(
        default="",
        pattern=r"^(https?://[^/?#\s]+(/[^?#\s]*)?)?$",
        description="An API in any language: requests are passed on to it, replays too. Stands"
        " in the place of ASGI_APP.",
    )

    bearer_tokens: Literal["verified", "ignored"] = Field(
        default="verified",
        description="`verified`: a Bearer token must be a JWT by these settings, and its `sub` owns"
        " the request. `ignored`: tokens are the app's own business, whatever they are; requests"
        " belong to anonymous channels.",
    )

    kafka_bootstrap_servers: str = Field(
        default="localhost:9092", description="Kafka brokers, as host:port, comma-separated."
    )
    kafka_topic: str = Field(
        default="async_requests",
        pattern=r"^[A-Za-z0-9._-]{1,249}$",
        description="Queue (Kafka topic) of the captured requests.",
    )
    kafka_group_id: str = Field(
        default="respond-async", description="Consumer group that the workers form."
    )
    kafka_auto_offset_reset: Literal["earliest", "latest"] = Field(
        default="earliest",
        description="Where a new consumer group begins to read: the oldest or the newest message.",
    )
    kafka_partitions: int = Field(
        default=16, gt=0, description="Partitions of topics that are made by the service."
    )
    kafka_replication_factor: int = Field(
        default=-1,
        ge=-1,
        description="Replicas of topics made by the service; -1: broker's default.",
    )
    kafka_publish_timeout_seconds: Positive = Field(
        default=5.0, description="How long Kafka may take to confirm a request before a 503."
    )
    kafka_client_properties: KafkaProperties = Field(
        default={},
        repr=False,
        description="More librdkafka properties (SASL, TLS, ...) as a JSON object.",
    )

    worker_imports: CommaSeparated = Field(
        default=[], description="Modules with further Celery tasks, comma-separated."
    )
    worker_pool: str = Field(
        default="respond_async.pool:AsyncioPool",
        description="Celery pool: a class, as module:class, or threads, processes (prefork), solo.",
    )
    worker_concurrency: int = Field(
        default=250, gt=0, description="Requests that one worker replays at the same time."
    )
    worker_lifetime_seconds: float = Field(
        default=0.0,
        ge=0,
        description="After this time a worker finishes what it runs and ends; 0: never.",
    )
    worker_lifetime_jitter_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Up to this much is added at random, so that workers do not end together.",
    )

    max_request_bytes: int = Field(
        default=100 * _MIB, gt=0, description="Largest body of a captured request; above it: 413."
    )
    claim_check_bytes: int = Field(
        default=512 * 1024,
        ge=0,
        description="A larger body of a request or answer is kept in pieces in the claim store.",
    )
    claim_store: str = Field(
        default="redis",
        pattern=r"^(redis|file:///.+)$",
        description="Where large bodies are kept: `redis`, or `file:///path` that all share.",
    )
    request_body_timeout_seconds: Positive = Field(
        default=300.0, description="How long a captured request's body may take to arrive."
    )
    max_response_bytes: int = Field(
        default=100 * _MIB, gt=0, description="Largest body of an answer that is kept."
    )
    result_ttl_seconds: int = Field(
        default=86_400, gt=0, description="How long a request and its result can be asked for."
    )
    retry_after_seconds: int = Field(
        default=1, ge=0, description="The Retry-After that tells clients when to ask again."
    )
    replay_timeout_seconds: float = Field(
        default=3600.0,
        ge=0,
        description="How long an endpoint may take in a worker before it is cancelled; 0: no limit.",
    )
    replay_startup_timeout_seconds: Positive = Field(
        default=60.0,
        description="How long the app's lifespan may take to start or stop in a worker.",
    )
    max_deliveries: int = Field(
        default=5,
        gt=0,
        description="A request whose workers die each time is given up after so many attempts.",
    )
    redis_timeout_seconds: Positive = Field(
        default=5.0, description="How long Redis may take to answer one command."
    )

    long_poll_max_seconds: float = Field(
        default=60.0,
        ge=0,
        description="The longest wait of `?wait=` and `Prefer: wait=`; 0: nobody waits.",
    )
    list_max_requests: int = Field(
        default=1000, ge=0, description="Requests in an owner's list; 0: nothing is listed."
    )
    idempotency_ttl_seconds: int = Field(
        default=86_400, gt=0, description="How long an Idempotency-Key stands for its request."
    )
    drop_headers: CommaSeparated = Field(
        default=[],
        description="Request headers that are neither queued nor replayed, comma-separated.",
    )
    limit_in_flight_per_user: int = Field(
        default=0,
        ge=0,
        description="Requests that one user or anonymous channel may have under way; 0: no limit.",
    )
    limit_in_flight: int = Field(
        default=0, ge=0, description="Requests that may be under way in all; 0: no limit."
    )
    limit_per_minute_per_user: int = Field(
        default=0,
        ge=0,
        description="Requests a minute of one user or anonymous channel; 0: no limit.",
    )
    limit_per_minute: int = Field(
        default=0, ge=0, description="Requests a minute in all; 0: no limit."
    )
    backlog_limits: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default={},
        description=(
            "Requests that may wait in a queue before new ones are answered 503, as a JSON object"
            ' by queue; `"*"` is for all others.'
        ),
    )
    task_timeout_seconds: float = Field(
        default=3600.0,
        ge=0,
        description="How long a background job may run where neither it nor its function says;"
        " 0: no limit.",
    )
    task_max_concurrent: int = Field(
        default=0, ge=0, description="Jobs that run at once, in all workers together; 0: no limit."
    )
    task_max_concurrent_per_owner: int = Field(
        default=0, ge=0, description="The same of one owner; 0: no limit."
    )
    task_max_concurrent_per_key: int = Field(
        default=1, ge=0, description="The same of one concurrency key; 0: no limit."
    )
    task_max_schedules_per_owner: int = Field(
        default=100, ge=0, description="Schedules that one owner may have; 0: no limit."
    )
    task_result_ttl_seconds: Positive = Field(
        default=86_400.0, description="How long a job can be asked for after its end."
    )
    task_history: bool = Field(
        default=True, description="Whether jobs that have ended are listed, not only known by id."
    )
    task_max_history: int = Field(
        default=100_000, ge=0, description="Jobs that are kept after their end, of all owners."
    )
    task_cleanup_seconds: Positive = Field(
        default=60.0, description="Time between two removals of jobs that are no longer kept."
    )
    task_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="What jobs log from this level on is kept for their owners."
    )
    task_keep_tracebacks: bool = Field(
        default=False,
        description="Whether the error of a job has its traceback, for its owner to read: for development.",
    )
    task_webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="What jobs' webhooks are signed with; none: no webhooks."
    )
    endpoint_options: dict[str, EndpointOptions] = Field(
        default={},
        description=(
            "Options of endpoints, as a JSON object by method and path:"
            ' `{"PUT /items/{item_id}": {"queue": "items", "partition_key": "path:item_id"}}`. The'
            " first that matches, before what the endpoint's own code says; members: those of"
            " `async_options`."
        ),
    )
    queue_place_headers: bool = Field(
        default=False,
        description="Whether a 202 says X-Queue-Depth and X-Queue-Wait-Estimate (seconds).",
    )

    metrics_survey_seconds: float = Field(
        default=15.0,
        ge=0,
        description="How often an app with metrics asks Kafka how long the queues are, and Kafka's"
        " clients tell of themselves; 0: never.",
    )
    traces: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether spans are made (OpenTelemetry). `auto`: where OTEL_EXPORTER_OTLP_ENDPOINT"
        " or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set; OTEL_SDK_DISABLED is heard.",
    )
    traces_ratio: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Of the requests that come without a trace of their own, the share that begins one:"
        " 0.01 is one in a hundred. It costs less than the same with a sampler, which is asked of each span.",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto",
        description="`json`: one object a line; `text`: for people; `auto`: by ENVIRONMENT.",
    )

    ready_worker_seconds: float = Field(
        default=60.0,
        ge=0,
        description="`/readyz` of the app tells of a worker that was seen within that time; 0: it"
        " does not ask.",
    )
    ready_needs_worker: bool = Field(
        default=False,
        description="Whether `/readyz` is 503 without a worker, not only `degraded`.",
    )
    worker_heartbeat_file: str = Field(
        default="",
        description="A file that the worker writes every two seconds, for"
        " `respond-async probe worker`; one for each worker.",
    )
    worker_stale_seconds: Positive = Field(
        default=60.0,
        description="A worker whose main loop or event loop is silent for longer is sick.",
    )

    @field_validator("redis_url")
    @classmethod
    def _is_no_cluster(cls, value: str) -> str:
        if parse_servers(value).kind == "cluster":
            raise ValueError(
                "REDIS_URL: results and records need one Redis or Sentinel (redis+sentinel://): Celery"
                " keeps no results in a Redis Cluster. A hub alone (ws_hub.main) can use one"
            )
        return value

    @property
    def traces_on(self) -> bool:
        """Whether spans are made."""
        if self.traces != "auto":
            return self.traces == "on"
        return os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true" and any(
            os.environ.get(f"OTEL_EXPORTER_OTLP_{which}ENDPOINT") for which in ("", "TRACES_")
        )

    @property
    def replayed_app(self) -> str:
        """The ASGI app that the worker replays, as module:attribute."""
        return "respond_async.upstream:app" if self.upstream_url else self.asgi_app


def settings_table() -> str:
    """Every setting as a Markdown table: environment variable, default, meaning."""
    rows = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{name.upper()}` | {_shown_default(field)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _shown_default(field: FieldInfo) -> str:
    value: Any = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
