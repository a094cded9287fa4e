"""What is printed once everything answers: where things are, what to paste, what not to expect."""

from respond_async.dev.options import Options

__all__ = ["banner"]

RULE = "─" * 78

#: The embedded broker's limits, as measured.
LIMITS = """\
The embedded Kafka (librdkafka's mock cluster) is for trying this out, never for production:
  · it lives in memory: every topic and every waiting request is gone at exit
  · a partition silently drops its oldest messages beyond 5 MB
  · it cannot create topics on request: they appear at first use, with 4 partitions
  · a worker's first join of the consumer group takes about 3 s
  · it knows the classic group protocol only, and one broker
For a real one: KAFKA_BOOTSTRAP_SERVERS=host:9092 make run"""

REDIS_LIMIT = """\
The embedded Redis keeps results in memory: gone at exit. For a real one: REDIS_URL=redis://…"""


def banner(options: Options, *, redis: str, kafka: str) -> str:
    """The text of it.

    Args:
        options: The run's options.
        redis: The embedded Redis' URL; not shown for a given one: it may hold a password.
        kafka: The embedded Kafka's bootstrap servers.

    Returns:
        Lines to be printed as they are, so that the curl line can be copied.
    """
    host = {"127.0.0.1": "localhost", "0.0.0.0": "localhost", "::": "localhost"}.get(  # noqa: S104 - compared, not bound
        options.host, options.host
    )
    base = f"http://{host}:{options.port}"
    lines = [
        RULE,
        f"  app      {base}   (interactive docs: {base}/docs)",
        f"  hub      ws://{host}:{options.port}/ws?channel=NAME  (or ?token=JWT)",
        f"  Flower   http://localhost:{options.flower_port}",
        f"  Redis    {'from REDIS_URL' if options.redis_url else f'embedded, {redis}'}",
        f"  Kafka    {options.kafka_bootstrap_servers or f'embedded, {kafka}'}",
        "",
        "  Try it: this is answered with 202 at once, and with the result when it is done",
        "",
        f"curl -i -H 'X-Async-Request: true' '{base}{options.path}'",
        "",
    ]
    if options.kafka_bootstrap_servers is None:
        lines += [*LIMITS.splitlines(), ""]
    if options.redis_url is None:
        lines += [*REDIS_LIMIT.splitlines(), ""]
    return "\n".join([*lines, "Ctrl-C ends everything.", RULE])
