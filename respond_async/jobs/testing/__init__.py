"""Fixtures of pytest for projects that have jobs; `plugin` says which. Documented in docs/jobs.md."""

__all__: list[str] = []
