import { asked } from './hub_messages.js';
import { openEvents } from './sse_source.js';
import { backoff } from './timing.js';
import { openWebSocket } from './websocket_source.js';

/**
 * What a feed tells of. `heard`: a message of a channel. `subscribed`: from now on nothing of the
 * channel is missed, and with `recovered` true nothing was; else ask for your results.
 * `state`: how messages come now; `closed`: not at all, so ask.
 *
 * @typedef {object} Listener
 * @property {(channel: string, message: import('./hub_messages.js').HubMessage) => void} heard
 * @property {(channel: string, recovered: boolean) => void} subscribed
 * @property {(state: FeedState) => void} state
 */

/** @typedef {'websocket' | 'sse' | 'connecting' | 'closed'} FeedState */

/**
 * @typedef {object} FeedOptions
 * @property {URL} url where the hub's `ws` and `events` are
 * @property {() => Promise<string | undefined>} token
 * @property {typeof fetch} fetch
 * @property {typeof WebSocket | undefined} WebSocket
 * @property {readonly ('websocket' | 'sse')[]} transports which, in order of preference
 */

const OPEN = { websocket: openWebSocket, sse: openEvents };

/**
 * One connection to the hub at a time, opened while a channel is heard and again whenever it is
 * lost. A kind that does not get through is followed by the next one at once; after the last there
 * is a pause, and the first has its turn.
 */
export class Feed {
  #options;
  #listener;
  /** Each channel, since which id. @type {Map<string, string | undefined>} */
  #channels = new Map();
  /** @type {Set<string>} */
  #live = new Set();
  /** @type {import('./source.js').Source | undefined} */
  #source;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  /** @type {FeedState} */
  #state = 'closed';
  #attempt = 0;
  #next = 0;
  /** What a connection that was given up says late counts for nothing. */
  #generation = 0;

  /**
   * @param {FeedOptions} options
   * @param {Listener} listener
   */
  constructor(options, listener) {
    this.#options = options;
    this.#listener = listener;
  }

  get state() {
    return this.#state;
  }

  /** @param {string} channel */
  isLive(channel) {
    return this.#live.has(channel);
  }

  /** The last id of a channel, to go on from. @param {string} channel */
  position(channel) {
    return this.#channels.get(channel);
  }

  /**
   * @param {string} channel
   * @param {string} [since]
   */
  hear(channel, since) {
    if (this.#channels.has(channel)) return;
    this.#channels.set(channel, since);
    if (this.#source) this.#source.subscribe(channel, since);
    else if (this.#retry === undefined) this.#open();
  }

  /** @param {string} channel */
  unhear(channel) {
    if (!this.#channels.delete(channel)) return;
    this.#live.delete(channel);
    if (this.#channels.size === 0) this.close();
    else this.#source?.unsubscribe(channel);
  }

  close() {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#channels.clear();
    this.#lost();
    this.#attempt = this.#next = 0;
    this.#become('closed');
  }

  /** Tries now what waits for its turn: the network is back, or the page is looked at. */
  hurry() {
    if (this.#retry === undefined) return;
    this.#attempt = 0;
    this.#open();
  }

  #open() {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const { transports } = this.#options;
    const kind = transports[this.#next];
    if (kind === undefined) return this.#become('closed');
    const generation = ++this.#generation;
    const current = () => generation === this.#generation;
    if (this.#state === 'closed' && this.#attempt === 0) this.#become('connecting');
    try {
      this.#source = OPEN[kind]({
        ...this.#options,
        channels: new Map(this.#channels),
        handlers: {
          opened: () => {
            if (!current()) return;
            this.#attempt = 0;
            this.#become(kind);
          },
          message: (message) => current() && this.#take(message),
          closed: (within) => current() && this.#closed(kind, within),
        },
      });
    } catch {
      this.#closed(kind);
    }
  }

  /**
   * @param {'websocket' | 'sse'} kind
   * @param {number} [within]
   */
  #closed(kind, within) {
    const worked = this.#state === kind;
    this.#lost();
    if (this.#channels.size === 0) return;
    if (!worked && this.#next + 1 < this.#options.transports.length) {
      this.#next += 1;
      return this.#open();
    }
    this.#next = 0;
    const pause = within === undefined ? backoff(this.#attempt) : Math.random() * within;
    this.#attempt += 1;
    // One that worked is likely to be back soon; one that never did is not waited for.
    this.#become(worked ? 'connecting' : 'closed');
    this.#retry = setTimeout(() => this.#open(), pause);
  }

  #lost() {
    this.#generation += 1;
    const source = this.#source;
    this.#source = undefined;
    this.#live.clear();
    source?.close();
  }

  /** @param {import('./hub_messages.js').HubMessage} message */
  #take(message) {
    const channel = asked(message.channel ?? '');
    if (!this.#channels.has(channel)) return;
    if (message.id) this.#channels.set(channel, message.id);
    if (message.type === 'subscribed') {
      this.#live.add(channel);
      this.#listener.subscribed(channel, message.recovered === true);
    }
    this.#listener.heard(channel, message);
  }

  /** @param {FeedState} state */
  #become(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#listener.state(state);
  }
}
