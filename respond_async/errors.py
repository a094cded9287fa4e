"""What can go wrong in the library itself; what clients are told is in `problems`.

RespondAsyncError
├── ConfigurationError    the settings or the call cannot work
├── EnvelopeError         a sealed text that is not ours, or is damaged
├── UnknownTaskId         an id that we did not make
├── BodyLostError         a large body is no longer in the claim store
├── StoreUnavailableError the claim store does not answer
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
    """The claim store no longer has a large body, or not all of it.

    It waited longer than RESULT_TTL_SECONDS, or the store lost its data; with CLAIM_STORE=file://
    the app and all workers must see the same directory.
    """


class StoreUnavailableError(RespondAsyncError):
    """The claim store (CLAIM_STORE) does not answer, or does not take what is to be kept."""


class AppStartError(RespondAsyncError):
    """The ASGI app cannot be imported, or its lifespan failed; the worker's log has the reason."""
