"""Celery's and kombu's own integration suites, run against `kafka://` and, to compare, against Redis."""
