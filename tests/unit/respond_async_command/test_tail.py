"""How messages of the hub are shown."""

import json

from respond_async.command.tail import _shown

MESSAGE = {
    "type": "data",
    "channel": "user",
    "id": "e:7",
    "data": json.dumps({"task_id": "T", "status": "completed", "action": "async_request"}),
}


def test_a_completion_is_a_line_with_its_id() -> None:
    assert _shown(MESSAGE, as_json=False) == 'e:7  completed  T  action="async_request"'


def test_as_json_it_keeps_what_the_hub_said_of_it() -> None:
    shown = json.loads(_shown(MESSAGE, as_json=True))
    assert shown == {
        "id": "e:7", "channel": "user", "task_id": "T", "status": "completed",
        "action": "async_request",
    }  # fmt: skip


def test_what_is_no_completion_is_shown_all_the_same() -> None:
    assert json.loads(_shown({"type": "data", "data": "plain"}, as_json=True))["data"] == "plain"
    assert "[1]" in _shown({"type": "data", "data": "[1]"}, as_json=False)
