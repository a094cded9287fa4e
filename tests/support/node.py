"""Node for the tests of the JavaScript client."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

JS_CLIENT = Path(__file__).parents[2] / "clients" / "js"


def node_test(folder: str, **environment: str) -> None:
    """Runs a folder of the client's tests; fails with what they say."""
    if shutil.which("node") is None:
        pytest.skip("NO NODE: apt-get install nodejs (20 or newer)")
    ran = subprocess.run(
        # Node 20 has a WebSocket behind the flag; newer ones take the flag and need it not.
        ["node", "--experimental-websocket", "--test", f"test/{folder}/"],
        cwd=JS_CLIENT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
