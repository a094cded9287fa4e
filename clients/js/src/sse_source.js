import { USER, asked, parsed, reconnectWithin } from './hub_messages.js';
import { Watchdog } from './source.js';

/**
 * Server-sent events, read with `fetch`: EventSource can neither send a token in a header nor say
 * why it failed, and Node 20 has none.
 *
 * @param {import('./source.js').SourceOptions} options
 * @returns {import('./source.js').Source}
 */
export function openEvents({ url, token, channels, handlers, fetch }) {
  let ended = false;
  let opened = false;
  /** @type {AbortController} */
  let reading;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let reopening;

  /** @param {number} [within] */
  const end = (within) => {
    if (ended) return;
    stop();
    handlers.closed(within);
  };
  const stop = () => {
    ended = true;
    watchdog.stop();
    clearTimeout(reopening);
    reading.abort();
  };
  const watchdog = new Watchdog(() => end());

  const read = async () => {
    const mine = (reading = new AbortController());
    try {
      const address = new URL('events', url);
      for (const [channel, since] of channels) {
        address.searchParams.append('channel', channel);
        if (since) address.searchParams.append('since', `${channel}:${since}`);
      }
      /** @type {Record<string, string>} */
      const headers = { Accept: 'text/event-stream' };
      const given = channels.has(USER) ? await token() : undefined;
      if (given) headers.Authorization = `Bearer ${given}`;
      const response = await fetch(address, { headers, cache: 'no-store', signal: mine.signal });
      if (!response.ok || !response.body) throw new Error(`status ${response.status}`);
      let reason;
      for await (const event of events(response.body, () => watchdog.heard())) {
        if (mine.signal.aborted) return;
        const message = parsed(event);
        if (message?.type === 'welcome') {
          watchdog.heard(message.ping_seconds);
          if (!opened) {
            opened = true;
            handlers.opened();
          }
        } else if (message?.type === 'error' && 'code' in message) {
          reason = message.detail;
        } else if (message) {
          const channel = asked(message.channel ?? '');
          // Where the next request goes on.
          if (message.id && channels.has(channel)) channels.set(channel, message.id);
          handlers.message(message);
        }
      }
      if (!mine.signal.aborted) end(reconnectWithin(reason));
    } catch {
      if (!mine.signal.aborted) end();
    }
  };
  // The channels stand in the URL, so others need another request; several at once need one.
  const reopen = () => {
    clearTimeout(reopening);
    reopening = setTimeout(() => {
      reading.abort();
      if (channels.size) read();
    }, 0);
  };
  read();
  return {
    kind: 'sse',
    subscribe(channel, since) {
      channels.set(channel, since);
      reopen();
    },
    unsubscribe(channel) {
      channels.delete(channel);
      reopen();
    },
    close() {
      if (!ended) stop();
    },
  };
}

/**
 * The data of each event (https://html.spec.whatwg.org/multipage/server-sent-events.html).
 *
 * @param {ReadableStream<Uint8Array>} body
 * @param {() => void} heard called for each piece, comments too
 * @returns {AsyncGenerator<string>}
 */
export async function* events(body, heard) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  /** @type {string[]} */
  let data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      rest += decoder.decode(value, { stream: true });
      // A CR at the end may be half of a CRLF.
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line === '') {
          if (data.length) yield data.join('\n');
          data = [];
        } else if (line.startsWith('data:')) {
          data.push(line.slice(line[5] === ' ' ? 6 : 5));
        }
      }
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
