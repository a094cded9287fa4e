"""`respond-async dev`: the whole service on one machine, for trying and developing.

An embedded Redis and an embedded Kafka (unless `REDIS_URL` and `KAFKA_BOOTSTRAP_SERVERS` name
others), the worker, the app and Flower, as children of one foreground process that ends them all.
It starts the app and the worker by name and imports neither.
"""

__all__: list[str] = []
