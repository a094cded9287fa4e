"""Celery's configuration, for `celery.config_from_object("config.celery")`.

Every name here is a setting of Celery's own; what can be changed from outside comes from
`config.settings`.
"""

from typing import Any as _Any

from config import settings as _settings
from respond_async.connections import result_backend as _result_backend

__all__: list[str] = []

# The broker: kafka_transport, whose options these are.
broker_url = f"kafka://{_settings.kafka_bootstrap_servers}"
broker_transport_options: dict[str, _Any] = {
    "group_id": _settings.kafka_group_id,
    "num_partitions": _settings.kafka_partitions,
    "replication_factor": _settings.kafka_replication_factor,
    "auto_offset_reset": _settings.kafka_auto_offset_reset,
    # What kills its worker is given up, visibly, after MAX_DELIVERIES of its own. The transport's
    # count is of those that only waited beside it too, and a dead letter tells no owner.
    "max_deliveries": 100,
    "publish_timeout": _settings.kafka_publish_timeout_seconds,
    "kafka_common_config": _settings.kafka_client_properties,
    "statistics_seconds": _settings.metrics_survey_seconds if _settings.metrics_on else 0,
}
# A worker outlives its broker: it waits for it at the start and after a loss, for ever.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None

# The results: kept as long as their accepted records are.
_results = _result_backend(_settings)
result_backend = _results["result_backend"]
result_backend_transport_options = _results.get("result_backend_transport_options", {})
result_expires = _settings.result_ttl_seconds
redis_socket_connect_timeout = _settings.redis_timeout_seconds
redis_socket_timeout = _settings.redis_timeout_seconds
redis_socket_keepalive = True
redis_retry_on_timeout = True
redis_backend_health_check_interval = 30

# Tasks: at least once. A worker acknowledges what it has finished, holds no more than it runs,
# and the tasks of one that was lost run elsewhere.
task_default_queue = _settings.kafka_topic
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1
imports = tuple(_settings.worker_imports)
if _settings.environment == "development" and _settings.replayed_app == "app.main:app":
    imports += ("app.jobs",)
task_serializer = "json"
result_serializer = "json"
accept_content = ["json"]

# The worker.
worker_pool = _settings.worker_pool
worker_concurrency = _settings.worker_concurrency
# Flower's button for it; the asyncio pool lets what runs end first.
worker_pool_restarts = True

# Events, for Flower and `celery events`; a replay shows its method and path there, nothing else.
# They begin with the worker's: one of the app for each request would be a second message, and
# Celery's own code instead of a message made once.
worker_send_task_events = True
task_send_sent_event = False
