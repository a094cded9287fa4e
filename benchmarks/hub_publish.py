"""Publishes one message to each of many channels, as fast as Redis takes them."""

import sys
import time

import redis

from benchmarks.hub_clients import channel
from ws_hub import anonymous_channel, encode, publication
from ws_hub.history import PUBLISH


def main(url: str, kind: str, count: int) -> None:
    with redis.Redis.from_url(url) as client:
        client.script_load(PUBLISH.text)
        for start in range(0, count, 100):
            pipe = client.pipeline(transaction=False)
            for number in range(start, min(start + 100, count)):
                message = {"type": "data", "data": repr(time.time())}
                if kind == "naive":
                    pipe.publish(f"naive:{channel(number)}", encode(message))
                    continue
                made = publication(anonymous_channel(channel(number)), message)
                pipe.execute_command("EVALSHA", PUBLISH.sha, 2, *made.keys, *made.args)
            pipe.execute()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
