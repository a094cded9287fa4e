import { Feed } from './feed.js';

/**
 * What tabs tell each other over a BroadcastChannel.
 *
 * @typedef {(
 *   | { kind: 'leader' }
 *   | { kind: 'hear', tab: string, channel: string, since?: string }
 *   | { kind: 'unhear', tab: string, channel: string }
 *   | { kind: 'heard', channel: string, message: import('./hub_messages.js').HubMessage }
 *   | { kind: 'subscribed', channel: string, recovered: boolean, tab?: string }
 *   | { kind: 'state', state: import('./feed.js').FeedState }
 * )} TabMessage
 */

/** Whether tabs can share: Web Locks are there in secure contexts alone. */
export const canShare = () =>
  typeof document !== 'undefined' &&
  typeof BroadcastChannel !== 'undefined' &&
  typeof navigator !== 'undefined' &&
  'locks' in navigator;

/**
 * A feed that all tabs of one origin share: who holds the lock has the connection and passes on
 * what it hears. When that tab ends the browser gives its lock to another one; the others then say
 * again what they hear and since when, so nothing is missed in between.
 */
export class SharedFeed {
  #name;
  #make;
  #listener;
  #tab = crypto.randomUUID();
  /** Of this tab: each channel, since which id. @type {Map<string, string | undefined>} */
  #channels = new Map();
  /** @type {Set<string>} */
  #live = new Set();
  /** @type {BroadcastChannel | undefined} */
  #radio;
  /** @type {AbortController | undefined} */
  #leaving;
  /** The connection, in the tab that has it. @type {Feed | undefined} */
  #feed;
  /** In that tab: who hears each channel. @type {Map<string, Set<string>>} */
  #hearers = new Map();
  /** Tabs whose end is watched for. @type {Set<string>} */
  #watched = new Set();
  /** @type {import('./feed.js').FeedState} */
  #state = 'closed';

  /**
   * @param {string} name the same in tabs that may share: of one hub, one user
   * @param {import('./feed.js').FeedOptions} options
   * @param {import('./feed.js').Listener} listener
   */
  constructor(name, options, listener) {
    this.#name = name;
    this.#make = (/** @type {import('./feed.js').Listener} */ own) => new Feed(options, own);
    this.#listener = listener;
  }

  get state() {
    return this.#state;
  }

  /** Whether this tab is the one that has the connection. */
  get leads() {
    return this.#feed !== undefined;
  }

  /** @param {string} channel */
  isLive(channel) {
    return this.#live.has(channel);
  }

  /** @param {string} channel @param {string} [since] */
  hear(channel, since) {
    if (this.#channels.has(channel)) return;
    this.#channels.set(channel, since);
    if (!this.#radio) this.#join();
    this.#tell({ kind: 'hear', tab: this.#tab, channel, since });
  }

  /** @param {string} channel */
  unhear(channel) {
    if (!this.#channels.delete(channel)) return;
    this.#live.delete(channel);
    this.#tell({ kind: 'unhear', tab: this.#tab, channel });
    this.#leaveIfIdle();
  }

  close() {
    for (const channel of [...this.#channels.keys()]) this.unhear(channel);
  }

  hurry() {
    this.#feed?.hurry();
  }

  #join() {
    this.#radio = new BroadcastChannel(this.#name);
    this.#radio.onmessage = (event) => this.#take(event.data);
    this.#become('connecting');
    const leaving = (this.#leaving = new AbortController());
    /** @type {() => void} */
    let ended = () => undefined;
    const alive = new Promise((resolve) => (ended = () => resolve(undefined)));
    leaving.signal.addEventListener('abort', ended);
    const stays = () => (leaving.signal.aborted ? undefined : alive);
    const ignored = () => undefined;
    const { signal } = leaving;
    navigator.locks.request(`${this.#name} ${this.#tab}`, { signal }, stays).catch(ignored);
    navigator.locks
      .request(this.#name, { signal }, () => {
        if (signal.aborted) return undefined;
        this.#lead();
        return alive;
      })
      .catch(ignored);
  }

  #lead() {
    this.#hearers.clear();
    this.#watched.clear();
    this.#feed = this.#make({
      heard: (channel, message) => this.#tell({ kind: 'heard', channel, message }),
      subscribed: (channel, recovered) => {
        // Recovered since where the first of them was; another may have been behind that.
        const alone = this.#hearers.get(channel)?.size === 1;
        this.#tell({ kind: 'subscribed', channel, recovered: recovered && alone });
      },
      state: (state) => this.#tell({ kind: 'state', state }),
    });
    this.#tell({ kind: 'leader' });
  }

  /** To every tab, and to this one. @param {TabMessage} message */
  #tell(message) {
    this.#radio?.postMessage(message);
    this.#take(message);
  }

  /** @param {TabMessage} message */
  #take(message) {
    switch (message.kind) {
      case 'leader':
        this.#live.clear();
        for (const [channel, since] of this.#channels) {
          this.#tell({ kind: 'hear', tab: this.#tab, channel, since });
        }
        return;
      case 'hear':
        return this.#hearFor(message.tab, message.channel, message.since);
      case 'unhear':
        return this.#unhearFor(message.tab, message.channel);
      case 'state':
        if (this.#radio) this.#become(message.state);
        if (message.state === 'connecting' || message.state === 'closed') this.#live.clear();
        return;
      case 'subscribed':
        if (!this.#channels.has(message.channel)) return;
        if (message.tab && message.tab !== this.#tab) return;
        this.#live.add(message.channel);
        return this.#listener.subscribed(message.channel, message.recovered);
      case 'heard':
        if (!this.#channels.has(message.channel)) return;
        if (message.message.id) this.#channels.set(message.channel, message.message.id);
        return this.#listener.heard(message.channel, message.message);
    }
  }

  /** In the tab that has the connection. @type {(tab: string, channel: string, since?: string) => void} */
  #hearFor(tab, channel, since) {
    if (!this.#feed) return;
    const hearers = this.#hearers.get(channel) ?? new Set();
    this.#hearers.set(channel, hearers.add(tab));
    if (tab !== this.#tab) this.#watch(tab);
    this.#tell({ kind: 'state', state: this.#feed.state });
    if (this.#feed.isLive(channel)) {
      // It is heard already. What came before the newcomer is not sent again: it asks.
      this.#tell({ kind: 'subscribed', channel, recovered: false, tab });
    }
    this.#feed.hear(channel, since);
  }

  /** @type {(tab: string, channel: string) => void} */
  #unhearFor(tab, channel) {
    const hearers = this.#hearers.get(channel);
    if (!this.#feed || !hearers?.delete(tab) || hearers.size) return;
    this.#hearers.delete(channel);
    this.#feed.unhear(channel);
    this.#leaveIfIdle();
  }

  /** A tab that ends says nothing, but its lock is free then. @param {string} tab */
  #watch(tab) {
    if (this.#watched.has(tab)) return;
    this.#watched.add(tab);
    const signal = this.#leaving?.signal;
    navigator.locks
      .request(`${this.#name} ${tab}`, { signal }, () => {
        this.#watched.delete(tab);
        for (const channel of [...this.#hearers.keys()]) this.#unhearFor(tab, channel);
      })
      .catch(() => undefined);
  }

  #leaveIfIdle() {
    if (this.#channels.size || this.#hearers.size) return;
    this.#feed?.close();
    this.#feed = undefined;
    this.#leaving?.abort();
    this.#radio?.close();
    this.#radio = undefined;
    this.#become('closed');
  }

  /** @param {import('./feed.js').FeedState} state */
  #become(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#listener.state(state);
  }
}
