import assert from 'node:assert/strict';
import { test } from 'node:test';
import { events } from '../../src/sse_source.js';

async function read(text, size) {
  const bytes = new TextEncoder().encode(text);
  const body = new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
      controller.close();
    },
  });
  const found = [];
  for await (const data of events(body, () => undefined)) found.push(data);
  return found;
}

for (const end of ['\n', '\r\n', '\r']) {
  test(`events are the same however they are cut, with ${JSON.stringify(end)}`, async () => {
    const lines = [': still here', '', 'event: data', 'data: {"a":"ü"}', 'id: x.1', '', 'data:one',
      'data: two', '', 'data: not finished'];
    const text = lines.join(end);
    for (const size of [1, 2, 3, 7, 1000]) {
      assert.deepEqual(await read(text, size), ['{"a":"ü"}', 'one\ntwo'], `in pieces of ${size}`);
    }
  });
}
