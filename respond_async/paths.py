"""Where results are asked for."""

from typing import Final

LIST_PATH: Final = "/api/v1/async_background_response/"
RESULT_PATH: Final = "/api/v1/async_background_response/{task_id}/"
RAW_PATH: Final = "/api/v1/async_background_response/{task_id}/raw"
