"""What can go wrong in the library itself; what clients are told is in `problems`.

RespondAsyncError
├── ConfigurationError    the settings or the call cannot work
├── EnvelopeError         a sealed text that is not ours, or is damaged
├── UnknownTaskId         an id that we did not make
├── BodyLostError         the body of a captured request is no longer in Redis
└── AppStartError         the ASGI app to replay requests in cannot be started
"""


class RespondAsyncError(Exception):
    """Base of everything the library raises itself."""


class ConfigurationError(RespondAsyncError):
    """The settings or arguments cannot work; the message says which and what to set."""


class EnvelopeError(RespondAsyncError):
    """A message or stored value was not made with our SECRET_KEY, or it is damaged.

    The message never quotes it. A worker that raises this for every request has another
    SECRET_KEY than the app.
    """


class UnknownTaskId(RespondAsyncError):
    """An id that none of our SECRET_KEYs made: forged, mistyped, or of another installation."""


class BodyLostError(RespondAsyncError):
    """Redis no longer has the body of a captured request.

    It waited longer than RESULT_TTL_SECONDS, or Redis lost its data.
    """


class AppStartError(RespondAsyncError):
    """The ASGI app cannot be imported, or its lifespan failed; the worker's log has the reason."""
