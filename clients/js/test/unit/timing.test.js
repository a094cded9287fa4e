import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Bell, backoff, sleep } from '../../src/timing.js';

test('pauses double up to the longest, and half of each is random', () => {
  for (const [attempt, most] of [[0, 250], [1, 500], [4, 4000], [20, 30_000], [5000, 30_000]]) {
    assert.equal(backoff(attempt, 250, 30_000, () => 0), most / 2);
    assert.equal(backoff(attempt, 250, 30_000, () => 1), most);
  }
});

test('a sleep and a wait end with the reason of their signal', async () => {
  const aborting = new AbortController();
  const waits = [sleep(60_000, aborting.signal), new Bell().wait(0, 60_000, aborting.signal)];
  const reason = new Error('enough');
  aborting.abort(reason);
  for (const wait of waits) await assert.rejects(wait, reason);
  await assert.rejects(sleep(1, aborting.signal), reason);
});

test('a bell that rang before it was waited for is heard', async () => {
  const bell = new Bell();
  const seen = bell.rung;
  bell.ring();
  await bell.wait(seen, 60_000);
});
