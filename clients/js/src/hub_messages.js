/**
 * What the hub sends (protocol 2; docs/asyncapi.yaml of the service).
 *
 * @typedef {object} HubMessage
 * @property {string} type
 * @property {string} [channel]
 * @property {string} [id]
 * @property {string} [data] JSON in JSON: what happened to a request
 * @property {boolean | null} [recovered]
 * @property {number} [ping_seconds]
 * @property {string | null} [expires_at]
 * @property {string} [detail]
 */

/**
 * What happened to a request: `completed`, `failed`, `cancelled`, or on its way `progress`.
 *
 * @typedef {object} Notice
 * @property {string} task_id
 * @property {string} status
 * @property {number} [done] of `progress`: 0 to 1
 * @property {string} [detail] of `progress`: for people
 */

export const SUBPROTOCOL = 'respond-async.v2';
/** What the channel of the user who is logged in is called. */
export const USER = 'user';

/**
 * The channel as it was asked for: a user's is shown as `user.<sub>`, and no other has a dot.
 *
 * @param {string} shown
 */
export const asked = (shown) => (shown.startsWith('user.') ? USER : shown);

/**
 * @param {string} text
 * @returns {any} undefined if it is no JSON
 */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * @param {string | undefined} text
 * @returns {Notice | undefined}
 */
export function notice(text) {
  const data = typeof text === 'string' ? parsed(text) : undefined;
  return typeof data?.task_id === 'string' && typeof data?.status === 'string' ? data : undefined;
}

/**
 * Milliseconds within which a hub that restarts asks its clients to come back, spread.
 *
 * @param {string | undefined} reason
 */
export function reconnectWithin(reason) {
  const seconds = /reconnect within (\d+) s/.exec(reason ?? '')?.[1];
  return seconds === undefined ? undefined : Number(seconds) * 1000;
}
