"""The tests that docs/jobs.md shows run as they stand there."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[3] / "docs" / "jobs.md").read_text()
EXAMPLES = dict(re.findall(r"```python\n# tests/(test_\w+)\.py\n(.*?)```", TEXT, re.DOTALL))
# As in a project that has no plug-ins but this one.
OPTIONS = ["-q", "-p", "no:celery", "-p", "no:rerunfailures", "-p", "no:cacheprovider"]


def test_the_examples_pass(pytester: pytest.Pytester) -> None:
    assert EXAMPLES.keys() == {"test_unit", "test_integration"}
    pytester.makepyfile(**EXAMPLES)
    result = pytester.runpytest_subprocess(*OPTIONS, timeout=120)
    result.assert_outcomes(passed=3)


def test_an_app_that_is_imported_finds_the_redis_of_the_tests(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nrespond_async_redis = true\n")
    pytester.makepyfile(
        shop="""
        from fastapi import FastAPI
        from respond_async import Jobs, TaskConfig, TaskDependency, task

        app = FastAPI()
        jobs = Jobs("no.worker:needed", config=TaskConfig(default_timeout=7))

        @task(name="shop.tripled")
        async def tripled(number: int) -> int:
            return number * 3
        """,
        conftest="import shop",
        test_shop="""
        import os
        import shop

        def test_it(eager_jobs):
            assert eager_jobs.jobs is shop.jobs
            assert shop.jobs.settings.redis_url == os.environ["REDIS_URL"]
            assert eager_jobs.create(shop.tripled, 2).result == 6
        """,
    )
    pytester.syspathinsert()
    result = pytester.runpytest_subprocess(*OPTIONS, timeout=120)
    result.assert_outcomes(passed=1)
