import subprocess
import sys

import ws_hub


def test_everything_on_the_face_is_there() -> None:
    for name in ws_hub.__all__:
        assert getattr(ws_hub, name) is not None


def test_a_publisher_does_not_load_the_web_framework() -> None:
    code = (
        "import sys; from ws_hub import publish, completed;"
        "sys.exit(any(name in sys.modules for name in ('starlette', 'fastapi', 'redis', 'uvicorn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
