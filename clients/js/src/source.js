/**
 * One connection to the hub, of whatever kind; it is not opened again.
 *
 * @typedef {object} Source
 * @property {'websocket' | 'sse'} kind
 * @property {(channel: string, since: string | undefined) => void} subscribe
 * @property {(channel: string) => void} unsubscribe
 * @property {() => void} close no `closed` is called for it
 */

/**
 * @typedef {object} Handlers
 * @property {() => void} opened it speaks the hub's protocol, and is logged in if there is a token
 * @property {(message: import('./hub_messages.js').HubMessage) => void} message
 * @property {(within?: number) => void} closed `within`: milliseconds to spread the way back over
 */

/**
 * @typedef {object} SourceOptions
 * @property {URL} url
 * @property {() => Promise<string | undefined>} token asked for each time it is needed
 * @property {Map<string, string | undefined>} channels to hear, each since which id
 * @property {Handlers} handlers
 * @property {typeof fetch} fetch
 * @property {typeof WebSocket | undefined} WebSocket
 */

/** How long a hub may take to let a client in, in milliseconds. */
export const OPENING = 10_000;

/** Calls `lost` when nothing was heard for some pings: a half-open connection says nothing. */
export class Watchdog {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #milliseconds = OPENING;
  /** @type {() => void} */
  #lost;

  /** @param {() => void} lost */
  constructor(lost) {
    this.#lost = lost;
    this.heard();
  }

  /** @param {number} [pingSeconds] how often the hub says something, once that is known */
  heard(pingSeconds) {
    if (pingSeconds) this.#milliseconds = pingSeconds * 2500 + 5000;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#lost, this.#milliseconds);
  }

  stop() {
    clearTimeout(this.#timer);
  }
}
