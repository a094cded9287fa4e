import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AsyncClient } from '../../src/index.js';

const ID = 'the-only-request';
const CHANNEL = 'channel-of-the-test';

const event = (message) => new TextEncoder().encode(`data: ${JSON.stringify(message)}\n\n`);

test('a request that ends before the hub tells, and is known after, is asked for', { timeout: 5000 }, async () => {
  let subscribe;
  const events = new ReadableStream({
    start(controller) {
      controller.enqueue(event({ type: 'welcome', protocol: 2, ping_seconds: 20 }));
      subscribe = () => controller.enqueue(event({ type: 'subscribed', channel: CHANNEL, recovered: null }));
    },
  });
  const client = new AsyncClient({
    baseUrl: 'http://api.example',
    transports: ['sse'],
    channel: CHANNEL,
    fetch: async (input) => {
      const { pathname } = new URL(String(input));
      if (pathname === '/events') return new Response(events);
      if (pathname.endsWith('/raw')) return new Response('done');
      // It has ended by now; then the hub begins to tell, and only then the id arrives.
      const heard = new Promise((resolve) => {
        client.addEventListener('message', resolve, { once: true });
      });
      subscribe();
      await heard;
      return Response.json({ data: null, meta: { async_request_id: ID } }, { status: 202 });
    },
  });
  const answer = await client.fetchAsync('/work');
  assert.equal(await answer.text(), 'done');
  client.close();
});
