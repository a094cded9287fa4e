"""The Lua does what the pure rules say: any sequence of steps, after each of which Redis is compared.

Leases are an hour or nothing, so that no step depends on the clock: a run is alive, or dead.
"""

import time
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from respond_async.jobs import scripts
from respond_async.jobs.state import (
    TRANSITIONS,
    State,
    Status,
    Verdict,
    begin,
    cancel,
    end,
    put_back,
)
from ws_hub import Script

HOUR = 3_600_000
MOST = 3
P = scripts.PREFIX
ENDS = st.sampled_from([s for s in Status if s.ended])


def pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


class Jobs(RuleBasedStateMachine):
    store: "redis.Redis"

    def __init__(self) -> None:
        super().__init__()
        self.store.flushall()
        self.model: dict[str, State] = {}
        self.dedupes: dict[str, str] = {}
        self.homes: dict[str, tuple[str, str]] = {}
        self.number = 0
        # Who has a slot of the limit of all, and whether its lease lasts.
        self.slots: dict[str, bool] = {}

    jobs = Bundle("jobs")
    holders = st.sampled_from(["h1", "h2", "h3"])

    def run(self, script: Script, *args: Any) -> Any:
        connection: Any = self.store
        # Twice: what a lost connection may do must change nothing.
        return connection.eval(script.text, 0, *args)

    @rule(
        target=jobs,
        repeatable=st.booleans(),
        owner=st.sampled_from("xy"),
        name=st.sampled_from("mn"),
        dedupe=st.sampled_from(["", "k"]),
    )
    def create(self, repeatable: bool, owner: str, name: str, dedupe: str) -> str:
        self.number += 1
        job = f"j{self.number}"
        record = ("owner", owner, "name", name, "repeatable", str(int(repeatable)))
        given = self.run(scripts.CREATE, job, "", dedupe, 0, *record)
        assert self.run(scripts.CREATE, job, "", dedupe, 0, *record) == given
        known = self.dedupes.get(dedupe) if dedupe else None
        if known in self.model:
            assert given == known
            return str(given)
        assert given == job
        self.model[job] = State(repeatable=repeatable)
        self.homes[job] = (owner, name)
        if dedupe:
            self.dedupes[dedupe] = job
        return job

    @rule(
        job=jobs,
        holder=holders,
        alive=st.booleans(),
        dead=st.sampled_from(["", "h1"]),
        limit=st.sampled_from([0, 1, 2]),
    )
    def begin(self, job: str, holder: str, alive: bool, dead: str, limit: int) -> None:
        lease = HOUR if alive else 0
        limits = (limit, 0, 0, 0)
        answer = self.run(scripts.BEGIN, job, holder, lease, MOST, dead, "1", 60, "0", *limits)
        if job not in self.model:
            assert answer == [Verdict.GONE]
            return
        others = [other for other, lasts in self.slots.items() if lasts and other != job]
        was = self.model[job]
        # The model's clock stands still: a lease is in its future or is over.
        room = not limit or len(others) < limit
        self.model[job], verdict = begin(
            was, holder, 0, lease, most_losses=MOST, dead=dead, room=room
        )
        assert answer[0] == verdict
        if verdict is Verdict.PARKED or (verdict is Verdict.RUN and was.holder != holder):
            self.slots.pop(job, None)
            if verdict is Verdict.RUN and limit:
                self.slots[job] = alive

    @rule()
    def unpark(self) -> None:
        self.run(scripts.UNPARK)

    @rule(job=jobs, holder=holders, status=ENDS)
    def end(self, job: str, holder: str, status: Status) -> None:
        counted = False
        if job in self.model:
            self.model[job], counted = end(self.model[job], holder, status)
        for _ in range(2):
            # 2 where others wait for the room as well.
            ended = self.run(scripts.END, job, holder, status, "", "1", 60, "result", "r")
            assert bool(ended) == counted

    @rule(job=jobs, holder=holders, delay=st.sampled_from(["", "1000"]))
    def put_back(self, job: str, holder: str, delay: str) -> None:
        follows = False
        if job in self.model:
            self.model[job], follows = put_back(self.model[job], holder)
        assert self.run(scripts.PUT_BACK, job, holder, "", "1", 60, delay, 0) == follows

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        was = self.model[job].status if job in self.model else ""
        assert self.run(scripts.CANCEL, job, "", "1", 60) == was
        if job in self.model:
            self.model[job] = cancel(self.model[job])

    @rule(job=jobs, holder=holders)
    def renew(self, job: str, holder: str) -> None:
        over = self.run(scripts.RENEW, HOUR, job, holder)
        state = self.model.get(job)
        ours = state and state.status is Status.RUNNING and state.holder == holder
        assert over == ([] if ours and state and not state.cancelling else [job])
        if ours and state:
            self.model[job] = begin(state, holder, 0, HOUR, most_losses=MOST)[0]
            if job in self.slots:
                self.slots[job] = True

    @rule(job=jobs)
    def delete(self, job: str) -> None:
        state = self.model.get(job)
        left = state.status if state and not state.status.ended else ""
        assert self.run(scripts.DELETE, job, "0") == left
        if not left:
            self.model.pop(job, None)

    @rule(most=st.integers(0, 3))
    def prune(self, most: int) -> None:
        ended = self.store.zrange(f"{P}ended", 0, -1)
        removed = self.run(scripts.PRUNE, 60, most, 100)
        assert removed == max(0, len(ended) - most)
        for job in ended[:removed]:
            assert self.model.pop(str(job)).status.ended

    @invariant()
    def redis_is_as_the_model(self) -> None:
        for job in list(self.slots):
            held = self.model.get(job)
            if held is None or held.status.ended or not held.holder:
                del self.slots[job]
        lasting = {job for job, lasts in self.slots.items() if lasts}
        in_redis: Any = self.store.zrange(f"{P}slots:all", 0, -1, withscores=True)
        assert {job for job, ends in in_redis if ends > time.time() * 1000 + 1000} == lasting
        parked: Any = self.store.zrange(f"{P}waiting:all", 0, -1)
        assert set(parked) <= {job for job, one in self.model.items() if not one.status.ended}
        seen: dict[str, set[str]] = {}
        for job, state in self.model.items():
            found: Any = self.store.hgetall(f"{P}job:{job}")
            assert found["status"] == state.status
            assert int(found.get("attempts", 0)) == state.attempts
            assert int(found.get("losses", 0)) == state.losses
            assert found.get("holder", "") == state.holder
            assert (found.get("cancelling") == "1") == state.cancelling
            assert ("completed" in found) == state.status.ended
            assert ("started" in found) == (state.attempts > 0)
            owner, name = self.homes[job]
            for rest in ("", f":o:{owner}", f":n:{name}", f":o:{owner}:n:{name}"):
                seen.setdefault(f"{P}in:{state.status}{rest}", set()).add(job)
        lists: Any = self.store.keys(f"{P}in:*")
        assert {each: set(self.store.zrange(each, 0, -1)) for each in lists} == seen
        assert set(self.store.zrange(f"{P}ended", 0, -1)) == {
            job for job, state in self.model.items() if state.status.ended
        }
        assert len(self.store.keys(f"{P}job:*")) == len(self.model)


@pytest.mark.parametrize("steps", [30])
def test_redis_keeps_the_rules(clean_redis: "redis.Redis", steps: int) -> None:
    Jobs.store = clean_redis
    run_state_machine_as_test(
        Jobs,
        settings=settings(
            max_examples=40,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_way_leads_back() -> None:
    for status, others in TRANSITIONS.items():
        assert status not in others
        assert Status.PENDING not in others


def test_a_page_goes_on_where_the_last_one_ended(clean_redis: "redis.Redis") -> None:
    connection: Any = clean_redis
    for number in range(25):
        record = ("owner", "x", "name", f"n{number % 2}", "repeatable", "1")
        connection.eval(scripts.CREATE.text, 0, f"j{number:02}", "", "", 0, *record)
    connection.eval(scripts.CANCEL.text, 0, "j03", "", "1", 60)
    lists = [f"{P}in:{status}" for status in Status]
    got: list[str] = []
    place, last = "", ""
    while rows := connection.eval(scripts.PAGE.text, 0, 10, place, last, "-inf", "+inf", *lists):
        page = [pairs(row) for row in rows]
        got += [one["id"] for one in page]
        place, last = page[-1]["created"], page[-1]["id"]
    assert got == [f"j{number:02}" for number in reversed(range(25))]


def test_what_is_old_is_pruned_and_no_more_at_once_than_asked(clean_redis: "redis.Redis") -> None:
    connection: Any = clean_redis
    for number in range(10):
        record = ("owner", "x", "name", "n", "repeatable", "1")
        connection.eval(scripts.CREATE.text, 0, f"j{number}", "", "", 0, *record)
        connection.eval(scripts.CANCEL.text, 0, f"j{number}", "", "1", 60)
    assert connection.eval(scripts.PRUNE.text, 0, 60, 100, 100) == 0
    assert connection.eval(scripts.PRUNE.text, 0, 60, 2, 3) == 3
    clean_redis.zadd(f"{P}ended", {"j3": 1})
    assert connection.eval(scripts.PRUNE.text, 0, 60, 100, 100) == 1
    assert sorted(clean_redis.zrange(f"{P}ended", 0, -1)) == [f"j{n}" for n in range(4, 10)]
    assert clean_redis.exists(f"{P}job:j3") == 0


def test_the_outbox_gives_what_was_not_published(clean_redis: "redis.Redis") -> None:
    connection: Any = clean_redis
    for job, wait in (("a", 0), ("b", 0), ("c", HOUR)):
        connection.eval(
            scripts.CREATE.text, 0, job, "", "", wait, "owner", "x", "name", "n", "repeatable", "1"
        )
    connection.eval(scripts.SENT.text, 0, "b")
    assert connection.eval(scripts.DUE.text, 0, 10, HOUR, "unsent") == ["a"]
    assert connection.eval(scripts.DUE.text, 0, 10, HOUR, "unsent") == []


def test_a_late_page_reads_no_more_than_an_early_one(clean_redis: "redis.Redis") -> None:
    connection: Any = clean_redis
    for number in range(40):
        record = ("owner", "x", "name", "n", "repeatable", "1")
        connection.eval(scripts.CREATE.text, 0, f"j{number:02}", "", "", 0, *record)

    def reads(place: str, last: str) -> int:
        connection.config_resetstat()
        rows = connection.eval(
            scripts.PAGE.text, 0, 3, place, last, "-inf", "+inf", f"{P}in:PENDING"
        )
        assert len(rows) == 3
        return int(connection.info("commandstats")["cmdstat_zrevrangebyscore"]["calls"])

    place: Any = clean_redis.zscore(f"{P}in:PENDING", "j05")
    assert reads("", "") == 1
    # One more: for the row that the cursor itself is.
    assert reads(str(int(place)), "j05") == 2
