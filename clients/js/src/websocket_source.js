import { SUBPROTOCOL, USER, parsed, reconnectWithin } from './hub_messages.js';
import { Watchdog } from './source.js';

/** A token is renewed when so much of its time is over. */
const RENEWED_AT = 0.8;
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * Neither token nor channel stand in the URL, so neither stands in a log.
 *
 * @param {import('./source.js').SourceOptions} options
 * @returns {import('./source.js').Source}
 */
export function openWebSocket({ url, token, channels, handlers, WebSocket }) {
  if (!WebSocket) throw new TypeError('there is no WebSocket here');
  const address = new URL('ws', url);
  address.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  const socket = new WebSocket(address, [SUBPROTOCOL]);
  let ended = false;
  let opened = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let renewal;

  /** @param {number} [within] */
  const end = (within) => {
    if (ended) return;
    ended = true;
    watchdog.stop();
    clearTimeout(renewal);
    handlers.closed(within);
    socket.close();
  };
  const watchdog = new Watchdog(() => end());

  /** @param {object} message */
  const send = (message) => {
    if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message));
  };
  /** @type {(channel: string, since: string | undefined) => void} */
  const subscribe = (channel, since) => {
    channels.set(channel, since);
    if (opened) send({ type: 'subscribe', channel, since });
  };
  const open = () => {
    opened = true;
    handlers.opened();
    for (const [channel, since] of channels) subscribe(channel, since);
  };
  const authenticate = async () => {
    const given = await token();
    if (given) send({ type: 'auth', token: given });
    else if (!opened) open();
  };
  /** @param {string} expiresAt */
  const renewBefore = (expiresAt) => {
    clearTimeout(renewal);
    const left = (Date.parse(expiresAt) - Date.now()) * RENEWED_AT;
    if (left > 0) {
      const again = () => authenticate().catch(() => undefined);
      renewal = setTimeout(again, Math.min(left, LONGEST_TIMER));
    }
  };

  socket.addEventListener('message', (event) => {
    if (ended) return;
    /** @type {import('./hub_messages.js').HubMessage | undefined} */
    const message = typeof event.data === 'string' ? parsed(event.data) : undefined;
    if (!message) return;
    watchdog.heard(message.ping_seconds);
    switch (message.type) {
      case 'welcome':
        // Nobody who hears only anonymous channels needs to be known.
        if (!channels.has(USER)) return open();
        authenticate().catch(() => end());
        return;
      case 'authenticated':
        if (message.expires_at) renewBefore(message.expires_at);
        if (!opened) open();
        return;
      case 'ping':
        return send({ type: 'pong' });
      case 'pong':
        return;
      default:
        handlers.message(message);
    }
  });
  socket.addEventListener('close', (event) => end(reconnectWithin(event.reason)));
  socket.addEventListener('error', () => end());
  return {
    kind: 'websocket',
    subscribe(channel, since) {
      // One who was nobody until now logs in first; the hub takes what comes in order.
      const stranger = channel === USER && opened && !channels.has(USER);
      if (!stranger) return subscribe(channel, since);
      authenticate().then(() => subscribe(channel, since), () => end());
    },
    unsubscribe(channel) {
      channels.delete(channel);
      if (opened) send({ type: 'unsubscribe', channel });
    },
    close() {
      if (ended) return;
      ended = true;
      watchdog.stop();
      clearTimeout(renewal);
      socket.close(1000);
    },
  };
}
