import { AsyncRequestError, ResultUnavailable } from './errors.js';

/**
 * An accepted request.
 *
 * @typedef {object} Accepted
 * @property {string} id
 * @property {URL} location where its result is asked for
 */

/** @typedef {{ response?: Response, pending?: boolean, pause: number }} Asked */

/** The network is away, which says nothing of the request. @type {Asked} */
const UNREACHABLE = { pause: 1000 };
/** Statuses that the result endpoint may give for itself, so that they may not be the answer's. */
const AMBIGUOUS = new Set([401, 403, 404, 410, 429, 500, 502, 503, 504]);
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/**
 * What a 202 says; undefined if it is not one of the service's.
 *
 * @param {Response} response
 * @param {URL} resultsUrl used where CORS hides `Location`
 * @returns {Promise<Accepted & { channel?: string } | undefined>}
 */
export async function accepted(response, resultsUrl) {
  if (response.status !== 202) return undefined;
  const body = await response
    .clone()
    .json()
    .catch(() => undefined);
  const given = response.headers.get('location');
  let id = body?.meta?.async_request_id;
  if (given && response.headers.get('preference-applied')?.includes('respond-async')) {
    // The answer to HEAD has no body.
    id ??= given.replace(/\/$/, '').split('/').at(-1);
  }
  if (typeof id !== 'string') return undefined;
  const location = given
    ? new URL(given, response.url || resultsUrl)
    : new URL(`${encodeURIComponent(id)}/`, resultsUrl);
  return { id, location, channel: body?.meta?.channel };
}

/** Milliseconds of `Retry-After`. @param {Response} response @param {number} otherwise */
export function retryAfter(response, otherwise) {
  const text = response.headers.get('retry-after');
  if (text === null) return otherwise;
  const milliseconds = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(milliseconds) ? Math.max(0, milliseconds) : otherwise;
}

/**
 * Asks for results as their owner.
 */
export class Results {
  #fetch;

  /** @param {(url: URL, init: RequestInit) => Promise<Response>} fetch adds who asks */
  constructor(fetch) {
    this.#fetch = fetch;
  }

  /**
   * The answer, if it is there; `pending` if it is not; neither if nobody could say. `pause`: how
   * long to wait before asking again, in milliseconds.
   *
   * @param {Accepted} job
   * @param {{ wait?: number, init?: RequestInit, signal?: AbortSignal | null }} how `wait`: seconds
   * @returns {Promise<Asked>}
   * @throws {ResultUnavailable}
   */
  async get(job, { wait = 0, init = {}, signal }) {
    const url = new URL(`${job.location.pathname.replace(/\/?$/, '/')}raw`, job.location);
    if (wait) url.searchParams.set('wait', String(wait));
    // A redirect is the answer: followed from here, it would lead elsewhere.
    /** @type {RequestInit} */
    const asking = { ...init, signal, redirect: 'manual', cache: 'no-store' };
    let response;
    try {
      response = await this.#fetch(url, asking);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      // The network is away: the request is not.
      if (error instanceof TypeError) return UNREACHABLE;
      throw error;
    }
    if (response.type === 'opaqueredirect') return this.#envelope(job, asking);
    if (response.status === 202 && (await isPending(response, job.id))) {
      return { pending: true, pause: retryAfter(response, 1000) };
    }
    if (!AMBIGUOUS.has(response.status)) return { response, pause: 0 };
    const envelope = await this.#envelope(job, asking);
    if (envelope.response === undefined) return envelope;
    if (envelope.response.status === response.status) return { response, pause: 0 };
    return UNREACHABLE;
  }

  /**
   * By the envelope, which tells the answer's status from its own.
   *
   * @param {Accepted} job
   * @param {RequestInit} asking
   * @returns {Promise<Asked>}
   */
  async #envelope(job, asking) {
    let response;
    try {
      response = await this.#fetch(job.location, { ...asking, redirect: 'follow' });
    } catch (error) {
      if (asking.signal?.aborted) throw asking.signal.reason;
      if (error instanceof TypeError) return UNREACHABLE;
      throw error;
    }
    if (response.status === 200) {
      // Of a redirect nobody reads the body; of anything else the raw answer is given.
      const { status, headers } = await response.json();
      return { response: new Response(null, { status, headers: plain(headers) }), pause: 0 };
    }
    if ([401, 403, 404, 410].includes(response.status)) {
      throw new ResultUnavailable(await detail(response), { id: job.id, status: response.status });
    }
    return { pending: response.status === 202, pause: retryAfter(response, 1000) };
  }

  /** Cancels what has not ended, forgets what has. @param {Accepted} job @param {RequestInit} [init] */
  async delete(job, init = {}) {
    const response = await this.#fetch(job.location, { ...init, method: 'DELETE', keepalive: true });
    if (!response.ok && ![404, 410].includes(response.status)) {
      const about = { id: job.id, status: response.status };
      throw new AsyncRequestError(`not cancelled: ${await detail(response)}`, about);
    }
  }

  /**
   * The owner's requests, newest first.
   *
   * @param {URL} url
   * @returns {Promise<{ data: Listed[], meta: { next: string | null } }>}
   */
  async list(url) {
    const response = await this.#fetch(url, { cache: 'no-store' });
    if (!response.ok) {
      throw new AsyncRequestError(`no list: ${await detail(response)}`, { status: response.status });
    }
    return response.json();
  }
}

/**
 * One line of the list.
 *
 * @typedef {object} Listed
 * @property {string} task_id
 * @property {'pending' | 'running' | 'completed'} status
 * @property {string} method
 * @property {string} endpoint path and query
 * @property {string} accepted_at ISO 8601
 * @property {string} location
 */

/**
 * Where a redirect leads and how, as fetch would follow it; undefined if it is none.
 * https://fetch.spec.whatwg.org/#http-redirect-fetch
 *
 * @param {Response} response
 * @param {URL} from the URL that answered it
 * @param {string} method
 */
export function redirected(response, from, method) {
  const location = response.headers.get('location');
  if (!REDIRECTS.has(response.status) || location === null) return undefined;
  const becomesGet =
    response.status === 303 ? method !== 'HEAD' : response.status <= 302 && method === 'POST';
  return { url: new URL(location, from), method: becomesGet ? 'GET' : method, becomesGet };
}

/** @param {Response} response @param {string} id */
async function isPending(response, id) {
  if (response.headers.get('x-async-status') === 'pending') return true;
  // CORS may hide the header.
  if (response.type !== 'cors') return false;
  const body = await response
    .clone()
    .json()
    .catch(() => undefined);
  return body?.task_id === id && body?.status === 'not ready';
}

/** @param {Record<string, string | string[]>} headers @returns {[string, string][]} */
function plain(headers) {
  return Object.entries(headers ?? {}).flatMap(([name, values]) =>
    [values].flat().map((value) => /** @type {[string, string]} */ ([name, value])),
  );
}

/** What a problem (RFC 9457) says. @param {Response} response */
async function detail(response) {
  const problem = await response.json().catch(() => undefined);
  return typeof problem?.detail === 'string' ? problem.detail : `status ${response.status}`;
}
