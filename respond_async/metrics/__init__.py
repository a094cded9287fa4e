"""What is counted of requests, queues, workers and Kafka, for Prometheus.

Off unless METRICS_TOKEN or METRICS_PORT is set. `definitions` has every name.
"""
