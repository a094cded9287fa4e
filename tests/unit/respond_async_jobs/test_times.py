"""When schedules are due, also where clocks are changed."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from respond_async import TaskError
from respond_async.jobs.times import Times

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)


def times_of(times: Times, begin: datetime, end: datetime) -> list[datetime]:
    found = []
    while (begin := times.after(begin)) <= end:
        found.append(begin)
    return found


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cron": "* * * *"}, "has not five fields"),
        ({"cron": "* * * * * *"}, "has not five fields"),
        ({"cron": "61 * * * *"}, "bad minute"),
        ({"cron": "0 0 * * FOO"}, "bad day-of-week"),
        ({"cron": "0 0 30 2 *"}, "bad day-of-month"),
        ({"cron": "0 0 * * *", "timezone": "Europe/Atlantis"}, "no time zone"),
        ({"cron": "0 0 * * *", "timezone": "../etc/passwd"}, "no time zone"),
        ({"cron": "0 0 * * *", "every": 5}, "either cron or every"),
        ({}, "either cron or every"),
        ({"every": 0.1}, "one second"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_is_wrong(
    wrong: dict[str, object], said: str
) -> None:
    with pytest.raises(TaskError, match=said) as refused:
        Times(**wrong)  # type: ignore[arg-type]
    assert refused.value.code == "invalid_schedule"


def test_a_time_of_the_day_is_that_of_its_zone() -> None:
    times = Times(cron="30 2 * * *", timezone="Europe/Berlin")
    begin = datetime(2026, 1, 10, tzinfo=UTC)
    assert times.after(begin) == datetime(2026, 1, 10, 1, 30, tzinfo=UTC)
    summer = datetime(2026, 7, 10, tzinfo=UTC)
    assert times.after(summer) == datetime(2026, 7, 10, 0, 30, tzinfo=UTC)


def test_each_day_has_one_time_also_where_clocks_are_changed() -> None:
    times = Times(cron="30 2 * * *", timezone="Europe/Berlin")
    # Forward on 29 March at 2, back on 25 October at 3.
    for year, month, day in ((2026, 3, 28), (2026, 10, 24)):
        begin = datetime(year, month, day, tzinfo=BERLIN)
        found = times_of(times, begin, begin + timedelta(days=3))
        assert [each.astimezone(BERLIN).day for each in found] == [day, day + 1, day + 2]
    (gap,) = times_of(
        times, datetime(2026, 3, 29, tzinfo=BERLIN), datetime(2026, 3, 29, 12, tzinfo=BERLIN)
    )
    assert gap == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_every_so_many_minutes_goes_on_where_clocks_are_changed() -> None:
    times = Times(cron="*/30 * * * *", timezone="Europe/Berlin")
    for begin in (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)):
        found = times_of(times, begin, begin + timedelta(hours=4))
        assert found == [begin + 30 * MINUTE * number for number in range(1, 9)]


def test_every_so_many_seconds_keeps_its_step_and_makes_up_for_nothing() -> None:
    times, last = Times(every=10), datetime(2026, 1, 1, tzinfo=UTC)
    assert times.after(last, last) == last + timedelta(seconds=10)
    assert times.after(last + timedelta(seconds=34), last) == last + timedelta(seconds=40)
    assert times.after(last + timedelta(seconds=40), last) == last + timedelta(seconds=50)
