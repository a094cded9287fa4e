"""Durable background jobs on Celery: created in a handler, watched, cancelled, waited for.

The public face is `respond_async`; the design is in docs/jobs.md.
"""
