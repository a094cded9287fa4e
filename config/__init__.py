"""The reference service's configuration: one instance of the library's settings class.

Celery's, logging's and Flower's own configuration are the modules beside this one.
"""

from respond_async import Settings

__all__ = ["settings"]

#: Read once from the environment; `docs/settings.md` lists every variable.
settings = Settings()
