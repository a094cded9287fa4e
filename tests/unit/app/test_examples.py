"""The examples of jobs are for development: in production nobody may store files or send mail."""

import subprocess
import sys

import pytest

from tests.support.service import ROOT

SAY = "from respond_async.jobs.definition import DEFINITIONS; print(*sorted(DEFINITIONS))"
ALL = "bulk_mail countdown order_export remove_file text_statistics"


@pytest.mark.parametrize(("environment", "known"), [("development", ALL), ("production", "")])
@pytest.mark.parametrize(
    "process", ["import app.main", "import tasks; tasks.celery.loader.import_default_modules()"]
)
def test_they_are_known_in_development_alone(environment: str, known: str, process: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{process}; {SAY}"],
        cwd=ROOT, env={"ENVIRONMENT": environment, "SECRET_KEY": "k" * 64},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == known
