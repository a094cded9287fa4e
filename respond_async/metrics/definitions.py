"""Every metric of the library: names by Prometheus' conventions, units in them.

No label has a value that a client can choose: endpoints are route templates, and no label names a
user.
"""

from typing import Final

from ws_hub.metrics import HUB_METRICS, Metric

__all__ = ["METRICS", "metrics_table"]

_ENDPOINT: Final = ("endpoint",)

# Of the app.
CAPTURED: Final = Metric(
    "respond_async_requests_captured_total",
    "counter",
    "Requests that the broker confirmed; endpoint: method and route template.",
    _ENDPOINT,
)
REFUSED: Final = Metric(
    "respond_async_requests_refused_total",
    "counter",
    "Requests with the header that were not accepted; status: what they were answered.",
    ("status",),
)
CANCELLED: Final = Metric(
    "respond_async_requests_cancelled_total", "counter", "Requests that their owner cancelled."
)

# Of the worker.
ANSWERED: Final = Metric(
    "respond_async_requests_answered_total",
    "counter",
    "Requests whose endpoint's answer is stored and told, each once however often it was"
    " delivered; status: 2xx to 5xx.",
    ("endpoint", "status"),
)
FAILED: Final = Metric(
    "respond_async_requests_failed_total",
    "counter",
    "Requests that ended without an answer; reason: error, lost (its process was killed),"
    " timeout, revoked.",
    ("endpoint", "reason"),
)
RETRIES: Final = Metric(
    "respond_async_request_retries_total",
    "counter",
    "Attempts that were put back to be tried again later (`async_options(retries=...)`).",
    _ENDPOINT,
)
REDELIVERIES: Final = Metric(
    "respond_async_request_redeliveries_total",
    "counter",
    "Deliveries after the first that no retry asked for: a worker was lost, or Redis away.",
)
WAIT: Final = Metric(
    "respond_async_request_wait_seconds",
    "histogram",
    "From the acceptance to the begin of the first attempt.",
    _ENDPOINT,
)
RUN: Final = Metric(
    "respond_async_request_run_seconds",
    "histogram",
    "How long one attempt of an endpoint took, up to its whole answer.",
    _ENDPOINT,
)
END_TO_END: Final = Metric(
    "respond_async_request_end_to_end_seconds",
    "histogram",
    "From the acceptance until the owner was told of the end.",
    _ENDPOINT,
)
ACTIVE: Final = Metric(
    "respond_async_worker_tasks_active",
    "gauge",
    "Celery tasks that run in the worker.",
    several="livesum",
)
RESERVED: Final = Metric(
    "respond_async_worker_tasks_reserved",
    "gauge",
    "Celery tasks that the worker has received and not finished, those that run among them.",
    several="livesum",
)
CONCURRENCY: Final = Metric(
    "respond_async_worker_concurrency",
    "gauge",
    "Celery tasks that the worker may run at the same time.",
    several="livesum",
)
LOOP_LAG: Final = Metric(
    "respond_async_loop_lag_seconds",
    "gauge",
    "How late the asyncio pool's event loop answers; far above zero: an endpoint blocks it.",
    several="livemax",
)
LOOP_BLOCKED: Final = Metric(
    "respond_async_loop_blocked_total",
    "counter",
    "Times that the asyncio pool's event loop was blocked for longer than its limit.",
)

# Of the queues; the app asks the broker.
QUEUE_MESSAGES: Final = Metric(
    "respond_async_queue_messages",
    "gauge",
    "Messages of a queue; state: waiting, delayed (not due yet), running (a worker has them).",
    ("queue", "state"),
)
QUEUE_OLDEST: Final = Metric(
    "respond_async_queue_oldest_message_age_seconds",
    "gauge",
    "Age of the oldest message that is due and not done; 0: there is none.",
    ("queue",),
)
QUEUE_DEAD: Final = Metric(
    "respond_async_queue_dead_letters", "gauge", "Messages in the queue's dead letters.", ("queue",)
)
QUEUE_CONSUMERS: Final = Metric(
    "respond_async_queue_consumers", "gauge", "Members of the queue's consumer group.", ("queue",)
)
SURVEYED: Final = Metric(
    "respond_async_queue_survey_timestamp_seconds",
    "gauge",
    "When the broker was last asked for the numbers of queues with success (Unix time).",
)
SURVEY_FAILURES: Final = Metric(
    "respond_async_queue_survey_failures_total",
    "counter",
    "Times that the broker did not give the numbers of queues.",
)

# Of the Kafka clients of the process.
KAFKA_SENT: Final = Metric(
    "respond_async_kafka_sent_messages_total",
    "counter",
    "Messages that the process's Kafka clients sent; client: producer or consumer.",
    ("client",),
)
KAFKA_RECEIVED: Final = Metric(
    "respond_async_kafka_received_messages_total",
    "counter",
    "Messages that the process's Kafka clients fetched; client: producer or consumer.",
    ("client",),
)
KAFKA_RTT: Final = Metric(
    "respond_async_kafka_rtt_seconds",
    "gauge",
    "Mean time that a broker takes to answer, of the slowest broker; a consumer's fetches wait"
    " for messages.",
    ("client",),
    several="livemax",
)
KAFKA_OUTBUF: Final = Metric(
    "respond_async_kafka_outgoing_requests",
    "gauge",
    "Requests to brokers that wait to be sent or to be answered.",
    ("client",),
    several="livesum",
)
KAFKA_UNSENT: Final = Metric(
    "respond_async_kafka_unsent_messages",
    "gauge",
    "Messages in the producer that no broker has confirmed.",
    several="livesum",
)
KAFKA_LAG: Final = Metric(
    "respond_async_kafka_consumer_lag_messages",
    "gauge",
    "Messages of this process's partitions behind what was committed, by topic.",
    ("topic",),
    several="livesum",
)

#: All of them, the hub's too; what the documentation, the dashboard and the alerts are held to.
METRICS: Final = (
    CAPTURED, REFUSED, CANCELLED, ANSWERED, FAILED, RETRIES, REDELIVERIES, WAIT, RUN, END_TO_END,
    ACTIVE, RESERVED, CONCURRENCY, LOOP_LAG, LOOP_BLOCKED,
    QUEUE_MESSAGES, QUEUE_OLDEST, QUEUE_DEAD, QUEUE_CONSUMERS, SURVEYED, SURVEY_FAILURES,
    KAFKA_SENT, KAFKA_RECEIVED, KAFKA_RTT, KAFKA_OUTBUF, KAFKA_UNSENT, KAFKA_LAG,
    *HUB_METRICS,
)  # fmt: skip


def metrics_table() -> str:
    """Every metric as a Markdown table: name, kind, labels, meaning."""
    rows = ["| Metric | Kind | Labels | Meaning |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |")
    return "\n".join(rows) + "\n"
