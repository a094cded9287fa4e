/**
 * How long to wait before attempt `attempt` (0, 1, ...): doubles up to `longest`, and half of it is
 * random so that clients that lost the same server do not come back together.
 *
 * @param {number} attempt
 * @param {number} [first] milliseconds
 * @param {number} [longest] milliseconds
 * @param {() => number} [random]
 */
export function backoff(attempt, first = 250, longest = 30_000, random = Math.random) {
  const most = Math.min(longest, first * 2 ** Math.min(attempt, 30));
  return most * (0.5 + 0.5 * random());
}

/**
 * Resolves after `milliseconds`, rejects with the signal's reason once it is aborted.
 *
 * @param {number} milliseconds
 * @param {AbortSignal | null} [signal]
 * @returns {Promise<void>}
 */
export function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const aborted = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', aborted);
      resolve();
    }, milliseconds);
    signal?.addEventListener('abort', aborted, { once: true });
  });
}

/** Something that many may wait for, and that happens again and again. */
export class Bell {
  /** @type {Set<() => void>} */
  #waiting = new Set();
  /** How often it rang: tells whether it did while nobody waited. */
  rung = 0;

  ring() {
    this.rung += 1;
    for (const wake of [...this.#waiting]) wake();
  }

  /**
   * Resolves when it rings next, at the latest after `milliseconds`; at once if it rang since `seen`.
   *
   * @param {number} seen
   * @param {number} milliseconds
   * @param {AbortSignal | null} [signal]
   * @returns {Promise<void>}
   */
  wait(seen, milliseconds, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      if (this.rung !== seen) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', aborted);
        this.#waiting.delete(done);
        resolve();
      };
      const aborted = () => {
        // The first of the two counts.
        reject(signal?.reason);
        done();
      };
      const timer = setTimeout(done, milliseconds);
      signal?.addEventListener('abort', aborted, { once: true });
      this.#waiting.add(done);
    });
  }
}
