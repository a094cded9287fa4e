/**
 * `fetch` for services that answer asynchronously (respond-async).
 *
 *     import { fetchAsync } from 'respond-async';
 *     const response = await fetchAsync('/reports', { method: 'POST', body });
 *
 * @module
 */
import { AsyncClient } from './client.js';

export { AsyncClient } from './client.js';
export { AsyncRequestError, ResultUnavailable } from './errors.js';

/** @typedef {import('./client.js').ClientOptions} ClientOptions */
/** @typedef {import('./client.js').FetchAsyncInit} FetchAsyncInit */
/** @typedef {import('./client.js').Job} Job */
/** @typedef {import('./hub_messages.js').HubMessage} HubMessage */
/** @typedef {import('./hub_messages.js').Notice} Notice */
/** @typedef {import('./results.js').Listed} Listed */

/** One for each origin: all calls share its connection. @type {Map<string, AsyncClient>} */
const clients = new Map();

/**
 * `AsyncClient.fetchAsync` of a client without options, made once for each origin: anonymous. With
 * a token, or for `list` and `cancel`, make a client.
 *
 * @param {RequestInfo | URL} input
 * @param {FetchAsyncInit} [init]
 * @returns {Promise<Response>}
 */
export function fetchAsync(input, init) {
  const text = input instanceof Request ? input.url : String(input);
  const { origin } = new URL(text, globalThis.location?.href);
  let client = clients.get(origin);
  if (!client) clients.set(origin, (client = new AsyncClient({ baseUrl: origin })));
  return client.fetchAsync(input, init);
}
