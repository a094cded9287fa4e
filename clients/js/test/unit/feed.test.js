import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { Feed } from '../../src/feed.js';

/** A socket whose other side is the test. */
class Socket extends EventTarget {
  static all = [];
  OPEN = 1;
  readyState = 1;
  sent = [];
  constructor(url, protocols) {
    super();
    Object.assign(this, { url, protocols });
    Socket.all.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.readyState = 3;
  }
  says(message) {
    this.dispatchEvent(new MessageEvent('message', { data: JSON.stringify(message) }));
  }
  ends(reason = '') {
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event('close'), { reason }));
  }
}

const CHANNEL = 'channel-of-the-test';
const welcome = { type: 'welcome', protocol: 2, ping_seconds: 20 };

function feed(options = {}) {
  const told = [];
  const listener = {
    heard: (channel, message) => told.push([channel, message.type, message.id]),
    subscribed: (channel, recovered) => told.push([channel, recovered]),
    state: (state) => told.push(state),
  };
  const made = new Feed(
    { url: new URL('http://service/'), token: async () => undefined, WebSocket: Socket,
      fetch: async () => new Response(null, { status: 404 }), transports: ['websocket'], ...options },
    listener,
  );
  return { made, told };
}

beforeEach(() => {
  Socket.all = [];
  mock.timers.enable({ apis: ['setTimeout'] });
});
afterEach(() => {
  mock.restoreAll();
  mock.timers.reset();
});
const settled = () => new Promise((resolve) => setImmediate(resolve));

test('a connection that was lost goes on after the last message it had', () => {
  const { made, told } = feed();
  made.hear(CHANNEL);
  const [first] = Socket.all;
  assert.equal(String(first.url), 'ws://service/ws');
  first.says(welcome);
  assert.deepEqual(first.sent, [{ type: 'subscribe', channel: CHANNEL }]);
  first.says({ type: 'subscribed', channel: CHANNEL, id: 'e.4', recovered: null });
  assert.ok(made.isLive(CHANNEL));
  first.says({ type: 'data', channel: CHANNEL, id: 'e.5', data: '{}' });
  first.ends();
  assert.ok(!made.isLive(CHANNEL));
  mock.timers.tick(300);
  const second = Socket.all[1];
  second.says(welcome);
  assert.deepEqual(second.sent, [{ type: 'subscribe', channel: CHANNEL, since: 'e.5' }]);
  second.says({ type: 'subscribed', channel: CHANNEL, id: 'e.6', recovered: true });
  assert.deepEqual(told.filter((one) => one[1] === true), [[CHANNEL, true]]);
});

test('what an old connection says late is not heard', () => {
  const { made, told } = feed();
  made.hear(CHANNEL);
  const [first] = Socket.all;
  first.says(welcome);
  first.ends();
  told.length = 0;
  first.says({ type: 'data', channel: CHANNEL, id: 'e.9', data: '{}' });
  assert.deepEqual(told, []);
});

test('a hub that restarts has its clients back within the time it says, no sooner than chance', () => {
  const { made } = feed();
  mock.method(Math, 'random', () => 0.5);
  made.hear(CHANNEL);
  Socket.all[0].says(welcome);
  Socket.all[0].ends('the server restarts, reconnect within 8 s');
  mock.timers.tick(3999);
  assert.equal(Socket.all.length, 1);
  mock.timers.tick(1);
  assert.equal(Socket.all.length, 2);
});

test('attempts that fail come less and less often', () => {
  const { made, told } = feed();
  made.hear(CHANNEL);
  let milliseconds = 0;
  const at = [];
  while (Socket.all.length < 6) {
    const last = Socket.all.at(-1);
    if (last.readyState === 1) {
      at.push(milliseconds);
      last.ends();
    }
    mock.timers.tick(10);
    milliseconds += 10;
  }
  const pauses = at.slice(1).map((moment, index) => moment - at[index]);
  for (const [index, pause] of pauses.entries()) {
    assert.ok(pause >= 125 * 2 ** index && pause <= 250 * 2 ** index + 20, `${pauses}`);
  }
  assert.deepEqual(told, ['connecting', 'closed']);
});

test('a connection on which nothing is heard for some pings is given up', () => {
  const { made } = feed();
  made.hear(CHANNEL);
  Socket.all[0].says(welcome);
  mock.timers.tick(54_000);
  assert.equal(Socket.all.length, 1);
  mock.timers.tick(1001);
  mock.timers.tick(300);
  assert.equal(Socket.all.length, 2);
});

test('a token goes in a message, never in the URL, and is renewed before it ends', async () => {
  let asked = 0;
  const { made } = feed({ token: async () => `token-${++asked}` });
  made.hear('user');
  const [socket] = Socket.all;
  assert.ok(!String(socket.url).includes('token'));
  socket.says(welcome);
  await settled();
  const expires_at = new Date(Date.now() + 100_000).toISOString();
  socket.says({ type: 'authenticated', expires_at });
  socket.says({ type: 'subscribed', channel: 'user.ada', id: 'e.1', recovered: null });
  assert.ok(made.isLive('user'));
  for (let passed = 0; passed < 85; passed += 1) {
    mock.timers.tick(1000);
    socket.says({ type: 'ping' });
  }
  await settled();
  const said = socket.sent.filter((message) => message.type !== 'pong');
  assert.deepEqual(said, [
    { type: 'auth', token: 'token-1' },
    { type: 'subscribe', channel: 'user' },
    { type: 'auth', token: 'token-2' },
  ]);
});

test('where no WebSocket gets through, events are read; where neither does, it says closed', async () => {
  const asked = [];
  const fetch = async (url) => {
    asked.push(url.pathname);
    return new Response(null, { status: 404 });
  };
  const { made, told } = feed({ fetch, transports: ['websocket', 'sse'] });
  made.hear(CHANNEL);
  Socket.all[0].ends();
  await settled();
  assert.deepEqual(asked, ['/events']);
  assert.deepEqual(told, ['connecting', 'closed']);
});
