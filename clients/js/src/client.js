import { AsyncRequestError } from './errors.js';
import { Feed } from './feed.js';
import { USER, notice } from './hub_messages.js';
import { Results, accepted, redirected } from './results.js';
import { SharedFeed, canShare } from './tabs.js';
import { Bell, backoff, sleep } from './timing.js';

/**
 * @typedef {object} ClientOptions
 * @property {string | URL} [baseUrl] where the service is; default: the page's origin
 * @property {string | (() => string | undefined | Promise<string | undefined>)} [token] a Bearer
 *   token, or what gives one: called whenever one is needed, so it may renew it
 * @property {string} [channel] the anonymous channel, a secret of 16 to 128 characters of
 *   A-Z a-z 0-9 _ -; default: a random one. Keep it to ask for results after a reload.
 * @property {string} [resultsPath] default: `/api/v1/async_background_response/`
 * @property {string | URL} [hubUrl] what `ws` and `events` are below; default: `baseUrl`
 * @property {readonly ('websocket' | 'sse')[]} [transports] default: both; []: long-poll alone
 * @property {boolean} [shareTabs] one connection for all tabs of the origin; default: true
 * @property {number} [idleSeconds] how long the connection outlives the last call; default: 30 in
 *   browsers, 0 elsewhere, so that a program ends
 * @property {number} [checkSeconds] a result is asked for at least so often while the hub is
 *   silent; default: 60
 * @property {typeof globalThis.fetch} [fetch]
 * @property {typeof globalThis.WebSocket} [WebSocket] default: the global one, which Node has
 *   from version 22 on
 */

/**
 * @typedef {object} AsyncInit
 * @property {(job: Job) => void} [onAccepted] the request has been accepted
 * @property {(notice: import('./hub_messages.js').Notice) => void} [onProgress]
 */

/** @typedef {RequestInit & AsyncInit} FetchAsyncInit */

/**
 * An accepted request.
 *
 * @typedef {object} Job
 * @property {string} id
 * @property {string} location where its result is asked for
 * @property {() => Promise<void>} cancel ends it: what waits for it gets status 499
 */

/**
 * @typedef {object} Waiting
 * @property {Bell} bell
 * @property {AsyncInit['onProgress']} onProgress
 */

const inBrowser = typeof document !== 'undefined';
const LONG_POLL_SECONDS = 25;
/** How long a result is waited for before the first long-poll, while the hub lets us in. */
const GRACE = 500;
/** Requests that ended before we knew of them: kept until their 202 arrives. */
const MOST_EARLY = 1000;

/**
 * `fetch` for a service that answers asynchronously. One client has one identity (a user's token,
 * or an anonymous channel) and one connection for all its calls.
 *
 * Events: `message` (`detail`: what the hub sent) and `state` (`detail`: `websocket`, `sse`,
 * `connecting` or `closed`).
 */
export class AsyncClient extends EventTarget {
  #options;
  #base;
  #token;
  #channel;
  #fetch;
  #results;
  /** @type {Map<string, Waiting>} */
  #waiting = new Map();
  /** @type {Set<string>} */
  #early = new Set();
  /** How often the hub began to tell without all that was before. */
  #gaps = 0;
  /** @type {Promise<{ feed: Feed | SharedFeed, channel: string }> | undefined} */
  #feed;
  #users = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #idle;
  #hurry = () => {
    this.#feed?.then(({ feed }) => feed.hurry()).catch(() => undefined);
  };

  /** @param {ClientOptions} [options] */
  constructor(options = {}) {
    super();
    this.#options = options;
    this.#base = new URL(options.baseUrl ?? globalThis.location?.href ?? missingBase());
    const { token } = options;
    this.#token = typeof token === 'function' ? async () => token() : async () => token;
    this.#channel = options.channel ?? randomName();
    // Not as a method: a browser's fetch wants no other `this`.
    const fetch = options.fetch ?? globalThis.fetch;
    this.#fetch = /** @type {typeof globalThis.fetch} */ ((input, init) => fetch(input, init));
    this.#results = new Results((url, init) => this.#ask(url, init));
  }

  /** The anonymous channel; who knows it may read its results. */
  get channel() {
    return this.#channel;
  }

  /**
   * Sends a request and resolves with its answer once that is there, however long it takes; with
   * what the service answered at once if it did not accept it (an error, or a direct answer).
   * Aborting cancels the request.
   *
   * @param {RequestInfo | URL} input
   * @param {FetchAsyncInit} [init]
   * @returns {Promise<Response>}
   * @throws {TypeError} The network failed before it was accepted.
   * @throws {import('./errors.js').ResultUnavailable} Its result is gone.
   */
  async fetchAsync(input, init = {}) {
    const { onAccepted, onProgress, ...plain } = init;
    const given = input instanceof Request ? input : undefined;
    const signal = plain.signal ?? given?.signal ?? null;
    const target = given ?? new URL(/** @type {string | URL} */ (input), this.#base);
    const headers = new Headers(plain.headers ?? given?.headers);
    const own = headers.get('authorization');
    const named = headers.get('x-async-request');
    await this.#identify(headers);
    const release = own === null ? this.connect() : () => undefined;
    const gaps = this.#gaps;
    try {
      const response = await this.#fetch(target, { ...plain, headers });
      const found = await accepted(response, this.#resultsUrl());
      if (!found) return response;
      /** @type {RequestInit} */
      const asking = { credentials: plain.credentials ?? given?.credentials };
      if (own !== null) asking.headers = { Authorization: own };
      else if (found.channel ?? named) {
        asking.headers = { 'X-Async-Request': found.channel ?? named ?? '' };
      }
      const cancel = () => this.#results.delete(found, asking);
      const method = (plain.method ?? given?.method ?? 'GET').toUpperCase();
      const waiting = { bell: new Bell(), onProgress };
      this.#waiting.set(found.id, waiting);
      try {
        onAccepted?.({ id: found.id, location: found.location.href, cancel });
        const heard = asking.headers === undefined || named === this.#channel;
        // A repeated request may have ended long ago; any other, before the hub began to tell, if
        // that was while its id was on the way to us.
        const ended = headers.has('idempotency-key') || gaps !== this.#gaps;
        const answer = await this.#answer(found, waiting, { asking, signal, heard, ended });
        return await this.#followed(answer, {
          from: new URL(response.url || (given?.url ?? String(target))),
          method,
          init: { ...plain, headers },
          redirect: plain.redirect ?? given?.redirect ?? 'follow',
        });
      } catch (error) {
        if (signal?.aborted) cancel().catch(() => undefined);
        throw error;
      } finally {
        this.#waiting.delete(found.id);
      }
    } finally {
      release();
    }
  }

  /**
   * Waits for a request that was sent earlier, for instance before a reload.
   *
   * @param {string} id
   * @param {Pick<FetchAsyncInit, 'signal' | 'onProgress'>} [init] aborting ends the wait alone
   * @returns {Promise<Response>}
   */
  async resume(id, { signal = null, onProgress } = {}) {
    const release = this.connect();
    const waiting = { bell: new Bell(), onProgress };
    this.#waiting.set(id, waiting);
    try {
      return await this.#answer(this.#job(id), waiting, { asking: {}, signal, heard: true, ended: true });
    } finally {
      this.#waiting.delete(id);
      release();
    }
  }

  /** Cancels a request that has not ended, and forgets one that has. @param {string} id */
  async cancel(id) {
    await this.#results.delete(this.#job(id));
  }

  /**
   * One's own requests, newest first.
   *
   * @param {{ status?: 'pending' | 'running' | 'completed', limit?: number, cursor?: string }} [page]
   */
  async list(page = {}) {
    const url = this.#resultsUrl();
    for (const [name, value] of Object.entries(page)) url.searchParams.set(name, String(value));
    return this.#results.list(url);
  }

  /**
   * Keeps the connection to the hub open until the returned function is called.
   *
   * @returns {() => void}
   */
  connect() {
    clearTimeout(this.#idle);
    this.#users += 1;
    this.#heard().catch(() => undefined);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#users -= 1;
      if (this.#users > 0) return;
      const seconds = this.#options.idleSeconds ?? (inBrowser ? 30 : 0);
      this.#idle = setTimeout(() => this.close(), seconds * 1000);
    };
  }

  /** Closes the connection; calls that wait go on without it. */
  close() {
    clearTimeout(this.#idle);
    if (inBrowser) globalThis.removeEventListener('online', this.#hurry);
    const feed = this.#feed;
    this.#feed = undefined;
    feed?.then(({ feed }) => feed.close()).catch(() => undefined);
  }

  /**
   * @param {import('./results.js').Accepted} job
   * @param {Waiting} waiting
   * @param {{ asking: RequestInit, signal: AbortSignal | null, heard: boolean, ended: boolean }} how
   *   `heard`: the hub tells of it; `ended`: perhaps it has already
   * @returns {Promise<Response>}
   */
  async #answer(job, waiting, { asking, signal, heard, ended }) {
    const { bell } = waiting;
    const hub = heard ? await this.#heard().catch(() => undefined) : undefined;
    const live = () => hub?.feed.isLive(hub.channel) ?? false;
    const check = (this.#options.checkSeconds ?? 60) * 1000;
    let seen = bell.rung;
    if (!this.#early.delete(job.id) && !ended) {
      if (live()) await bell.wait(seen, check, signal);
      else if (hub && hub.feed.state !== 'closed') await bell.wait(seen, GRACE, signal);
    }
    for (let failures = 0; ; ) {
      seen = bell.rung;
      const wait = live() ? 0 : LONG_POLL_SECONDS;
      const begun = Date.now();
      const asked = await this.#results.get(job, { wait, init: asking, signal });
      if (asked.response) return asked.response;
      failures = asked.pending ? 0 : failures + 1;
      if (failures) await sleep(asked.pause + backoff(failures), signal);
      else if (live()) await bell.wait(seen, check, signal);
      // A service that waited has answered late; one that does not know `wait` says when to ask.
      else await bell.wait(seen, asked.pause - (Date.now() - begun), signal);
    }
  }

  /**
   * @param {Response} answer
   * @param {{ from: URL, method: string, init: RequestInit, redirect: RequestRedirect }} asked
   */
  async #followed(answer, { from, method, init, redirect }) {
    const to = redirected(answer, from, method);
    if (!to || redirect === 'manual') return answer;
    if (redirect === 'error') throw new TypeError('the answer is a redirect');
    const headers = new Headers(init.headers);
    headers.delete('x-async-request');
    if (to.url.origin !== from.origin) headers.delete('authorization');
    if (to.becomesGet) for (const name of ['content-type', 'content-length']) headers.delete(name);
    const body = to.becomesGet ? undefined : init.body;
    return this.#fetch(to.url, { ...init, method: to.method, headers, body });
  }

  /** The feed, hearing the channel of the caller. */
  #heard() {
    if (inBrowser && !this.#feed) globalThis.addEventListener('online', this.#hurry);
    this.#feed ??= this.#token().then((token) => {
      const transports = this.#options.transports ?? ['websocket', 'sse'];
      const url = new URL(this.#options.hubUrl ?? new URL('/', this.#base), this.#base);
      if (!url.pathname.endsWith('/')) url.pathname += '/';
      const options = {
        url,
        token: this.#token,
        fetch: this.#fetch,
        WebSocket: this.#options.WebSocket ?? globalThis.WebSocket,
        transports,
      };
      const listener = {
        heard: this.#take.bind(this),
        subscribed: this.#subscribed.bind(this),
        state: this.#changed.bind(this),
      };
      const who = token === undefined ? 'anonymous' : subject(token);
      const shares = (this.#options.shareTabs ?? true) && transports.length > 0 && canShare();
      // Two tokens of which it is not known whether they are one user's do not share.
      const feed =
        shares && who !== undefined
          ? new SharedFeed(`respond-async ${url} ${who}`, options, listener)
          : new Feed(options, listener);
      const channel = token === undefined ? this.#channel : USER;
      feed.hear(channel);
      return { feed, channel };
    });
    return this.#feed;
  }

  /** @param {string} channel @param {import('./hub_messages.js').HubMessage} message */
  #take(channel, message) {
    this.dispatchEvent(new CustomEvent('message', { detail: message }));
    const told = message.type === 'data' ? notice(message.data) : undefined;
    if (!told) return;
    const waiting = this.#waiting.get(told.task_id);
    if (told.status === 'progress') {
      waiting?.onProgress?.(told);
    } else if (waiting) {
      waiting.bell.ring();
    } else {
      this.#early.add(told.task_id);
      if (this.#early.size > MOST_EARLY) {
        for (const first of this.#early) {
          this.#early.delete(first);
          break;
        }
      }
    }
  }

  /** @param {string} channel @param {boolean} recovered */
  #subscribed(channel, recovered) {
    if (recovered) return;
    this.#gaps += 1;
    for (const { bell } of this.#waiting.values()) bell.ring();
  }

  /** @param {import('./feed.js').FeedState} state */
  #changed(state) {
    this.dispatchEvent(new CustomEvent('state', { detail: state }));
    // Whoever waits for messages that do not come now asks instead.
    if (state !== 'websocket' && state !== 'sse') {
      for (const { bell } of this.#waiting.values()) bell.ring();
    }
  }

  /** @param {URL} url @param {RequestInit} init */
  async #ask(url, init) {
    const send = async () => {
      const headers = new Headers(init.headers);
      if (!headers.has('authorization')) await this.#identify(headers);
      return this.#fetch(url, { ...init, headers });
    };
    const response = await send();
    // The token may have ended in between: the one given now is perhaps another.
    return response.status === 401 && typeof this.#options.token === 'function' ? send() : response;
  }

  /** @param {Headers} headers */
  async #identify(headers) {
    const token = headers.has('authorization') ? undefined : await this.#token();
    if (token) headers.set('Authorization', `Bearer ${token}`);
    if (headers.has('x-async-request')) return;
    headers.set('X-Async-Request', headers.has('authorization') ? 'true' : this.#channel);
  }

  #resultsUrl() {
    return new URL(this.#options.resultsPath ?? '/api/v1/async_background_response/', this.#base);
  }

  /** @param {string} id @returns {import('./results.js').Accepted} */
  #job(id) {
    return { id, location: new URL(`${encodeURIComponent(id)}/`, this.#resultsUrl()) };
  }
}

/** 32 random bytes: nobody guesses it. */
function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Whose a token says it is, unverified: it only keeps users apart. @param {string} token */
function subject(token) {
  try {
    const [, payload = ''] = token.split('.');
    const text = atob(payload.replace(/-/g, '+').replace(/_/g, '/'));
    const sub = JSON.parse(text).sub;
    return typeof sub === 'string' ? `user ${sub}` : undefined;
  } catch {
    return undefined;
  }
}

/** @returns {never} */
function missingBase() {
  throw new AsyncRequestError('new AsyncClient({ baseUrl }): there is no page whose origin to use');
}
