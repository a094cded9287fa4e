/** Against the reference service at SERVICE_URL; started by tests/e2e/test_js_client.py. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AsyncClient, ResultUnavailable, fetchAsync } from '../../src/index.js';
import { proxyOf } from './proxy.js';

const baseUrl = process.env.SERVICE_URL ?? 'http://127.0.0.1:8000';
const TRANSPORTS = { websocket: ['websocket'], 'server-sent events': ['sse'], 'long-poll': [] };

function upload(path, text = 'name,age\nAda,36\nAlan,41\n') {
  const body = new FormData();
  body.set('file', new File([text], 'people.csv', { type: 'text/csv' }));
  return [path, { method: 'POST', body }];
}

const sleeping = (seconds) => `/api/v1/demo/sleep?seconds=${seconds}`;

async function shown(response) {
  const headers = Object.fromEntries(response.headers);
  for (const name of ['date', 'server', 'x-request-id', 'connection', 'keep-alive']) delete headers[name];
  return { status: response.status, headers, body: await response.text() };
}

/** The first event of a client that `wanted` takes. */
const happens = (client, kind, wanted) =>
  new Promise((resolve) => {
    const hear = (event) => {
      if (!wanted(event.detail)) return;
      client.removeEventListener(kind, hear);
      resolve(event.detail);
    };
    client.addEventListener(kind, hear);
  });

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  test(`${name}: answers are those of direct requests`, { timeout: 60_000 }, async () => {
    const client = new AsyncClient({ baseUrl, transports });
    const states = [];
    client.addEventListener('state', (event) => states.push(event.detail));
    const requests = [
      () => upload('/api/v1/demo/csv-report'),
      () => upload('/api/v1/demo/csv-report?format=csv'),
      () => upload('/api/v1/demo/csv-report', ''),
      () => ['/api/v1/demo/fail?status=404', {}],
      () => ['/api/v1/demo/fail?status=503', {}],
      () => ['/api/v1/demo/sleep?seconds=x', {}],
    ];
    await Promise.all(
      requests.map(async (request) => {
        const [path, init] = request();
        const direct = await fetch(new URL(path, baseUrl), init);
        let id;
        const onAccepted = (job) => (id = job.id);
        const [, again] = request();
        const answer = await client.fetchAsync(path, { ...again, onAccepted });
        assert.ok(id, `${path} was not accepted`);
        assert.ok(answer instanceof Response);
        assert.deepEqual(await shown(answer), await shown(direct));
      }),
    );
    assert.equal(states.includes(transports[0] ?? 'closed'), transports.length > 0, `${states}`);
  });
}

test('all calls of a client share one socket', { timeout: 60_000 }, async () => {
  let opened = 0;
  class Counted extends WebSocket {
    constructor(...given) {
      super(...given);
      opened += 1;
    }
  }
  const client = new AsyncClient({ baseUrl, WebSocket: Counted });
  let asked = 0;
  const counting = (input, init) => {
    if (String(input).includes('/raw')) asked += 1;
    return fetch(input, init);
  };
  const counted = new AsyncClient({ baseUrl, WebSocket: Counted, fetch: counting });
  const connected = happens(counted, 'message', (message) => message.type === 'subscribed');
  const release = counted.connect();
  await connected;
  const calls = Array.from({ length: 20 }, () => counted.fetchAsync(sleeping(0.3)));
  for (const response of await Promise.all(calls)) assert.equal(response.status, 200);
  assert.equal(opened, 1);
  assert.equal(asked, 20, 'each result is asked for once, when it is there');
  release();
  client.close();
});

test('what the service refuses is its answer', async () => {
  const token = 'forged';
  const client = new AsyncClient({ baseUrl, token, transports: [] });
  const response = await client.fetchAsync(sleeping(0));
  assert.equal(response.status, 401);
});

test('a direct answer is passed through', async () => {
  const headers = { 'X-Async-Request': 'false' };
  const client = new AsyncClient({ baseUrl, transports: [] });
  const response = await client.fetchAsync(sleeping(0), { headers });
  assert.deepEqual(await response.json(), { slept_seconds: 0 });
});

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  test(`${name}: aborting cancels the request`, { timeout: 60_000 }, async () => {
    const client = new AsyncClient({ baseUrl, transports });
    const aborting = new AbortController();
    let job;
    const reason = new Error('changed my mind');
    const onAccepted = (accepted) => {
      job = accepted;
      setTimeout(() => aborting.abort(reason), 100);
    };
    const call = client.fetchAsync(sleeping(600), { signal: aborting.signal, onAccepted });
    await assert.rejects(call, reason);
    const ended = await client.resume(job.id);
    assert.equal(ended.status, 499);
    const { data } = await client.list();
    assert.deepEqual(data.map((one) => [one.task_id, one.status]), [[job.id, 'completed']]);
    client.close();
  });
}

test('a user hears of their own requests, with a token that is renewed', { timeout: 60_000 }, async () => {
  let given = 0;
  const token = async () => {
    given += 1;
    const body = JSON.stringify({ sub: 'ada' });
    const headers = { 'Content-Type': 'application/json' };
    const init = { method: 'POST', body, headers };
    return (await (await fetch(`${baseUrl}/api/v1/demo/token`, init)).json()).access_token;
  };
  for (const transports of Object.values(TRANSPORTS)) {
    const client = new AsyncClient({ baseUrl, token, transports });
    const response = await client.fetchAsync('/api/v1/demo/me');
    assert.deepEqual(await response.json(), { sub: 'ada' });
    client.close();
  }
  assert.ok(given >= 3);
});

for (const kind of ['websocket', 'sse']) {
  test(`${kind}: a request that ends while the network is away resolves`, { timeout: 60_000 }, async () => {
    const proxy = await proxyOf(baseUrl);
    try {
      let raws = 0;
      const counting = (input, init) => {
        if (String(input).includes('/raw')) raws += 1;
        return fetch(input, init);
      };
      // Only the hub is behind the proxy: a result can be asked for all the time.
      const client = new AsyncClient({ baseUrl, hubUrl: proxy.url, transports: [kind], fetch: counting, checkSeconds: 600 });
      const messages = [];
      client.addEventListener('message', ({ detail }) => messages.push(detail));
      const subscribed = happens(client, 'message', (message) => message.type === 'subscribed');
      const release = client.connect();
      await subscribed;
      const first = await client.fetchAsync(sleeping(0));
      assert.equal(first.status, 200);
      const lost = happens(client, 'state', (state) => state === 'connecting');
      proxy.refuse(true);
      proxy.cut();
      await lost;
      const other = new AsyncClient({ baseUrl, channel: client.channel, transports: [] });
      assert.equal((await other.fetchAsync(sleeping(0))).status, 200);
      const back = happens(client, 'message', (message) => message.type === 'subscribed');
      proxy.refuse(false);
      assert.equal((await back).recovered, true);
      const ids = messages.filter((message) => message.type === 'data').map((message) => message.id);
      assert.equal(ids.length, 2, 'what was missed is heard');
      assert.equal(new Set(ids).size, 2, 'and nothing twice');
      release();
      client.close();
    } finally {
      proxy.close();
    }
  });
}

test('calls that wait while connections are cut again and again resolve', { timeout: 90_000 }, async () => {
  const proxy = await proxyOf(baseUrl);
  const client = new AsyncClient({ baseUrl, hubUrl: proxy.url, checkSeconds: 600 });
  const cutting = setInterval(() => proxy.cut(), 150);
  try {
    const calls = Array.from({ length: 20 }, (_, at) => client.fetchAsync(sleeping(at / 10)));
    const bodies = await Promise.all(calls.map(async (call) => (await call).json()));
    assert.deepEqual(bodies.map((body) => body.slept_seconds), calls.map((_, at) => at / 10));
  } finally {
    clearInterval(cutting);
    client.close();
    proxy.close();
  }
});

test('without a hub results are asked for', { timeout: 60_000 }, async () => {
  const client = new AsyncClient({ baseUrl, hubUrl: 'http://127.0.0.1:9/' });
  const response = await client.fetchAsync(sleeping(0.5));
  assert.equal(response.status, 200);
  client.close();
});

test('a request that has ended long ago is asked for at once', { timeout: 30_000 }, async () => {
  const client = new AsyncClient({ baseUrl, checkSeconds: 600 });
  const release = client.connect();
  let job;
  const again = { headers: { 'Idempotency-Key': 'once' }, onAccepted: (accepted) => (job = accepted) };
  for (let time = 0; time < 2; time += 1) {
    assert.equal((await client.fetchAsync(sleeping(0), again)).status, 200);
    assert.equal((await client.resume(job.id)).status, 200);
  }
  release();
});

test('a result that was forgotten is said to be gone', { timeout: 60_000 }, async () => {
  const client = new AsyncClient({ baseUrl, transports: [] });
  let job;
  await client.fetchAsync(sleeping(0), { onAccepted: (accepted) => (job = accepted) });
  await job.cancel();
  const expected = (error) => error instanceof ResultUnavailable && error.status === 410;
  await assert.rejects(client.resume(job.id), expected);
  await assert.rejects(client.resume('no-such-id'), ResultUnavailable);
});

test('a program that has its answer ends', { timeout: 60_000 }, async () => {
  // Nothing is closed here: node --test waits for what is open.
  const response = await fetchAsync(new URL(sleeping(0), baseUrl));
  assert.equal(response.status, 200);
});
