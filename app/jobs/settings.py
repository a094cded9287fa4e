"""Where the examples keep files, and where they send mail."""

import os
import tempfile
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["EXAMPLES", "ExampleSettings"]


class ExampleSettings(BaseSettings):
    """Each comes from the variable of its name in upper case behind EXAMPLES_."""

    model_config = SettingsConfigDict(env_prefix="EXAMPLES_")

    #: App and workers share it.
    directory: Path = Path(tempfile.gettempdir()) / f"respond-async-examples-{os.getuid()}"
    #: How long uploads and exports are kept.
    file_ttl_seconds: float = Field(default=3600.0, gt=0)
    #: The largest upload.
    max_file_bytes: int = Field(default=1024**3, gt=0)
    #: Rows of the table `orders` that is made where there is no database yet.
    orders: int = Field(default=1_000_000, gt=0)
    #: The mail server: by default one for development, such as `python -m aiosmtpd -n -l localhost:1025`.
    smtp_host: str = "localhost"
    smtp_port: int = Field(default=1025, gt=0, le=65_535)


#: Read once from the environment.
EXAMPLES = ExampleSettings()
