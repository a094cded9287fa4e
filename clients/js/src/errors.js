/** Base of what this client throws itself; network failures are `fetch`'s own TypeError. */
export class AsyncRequestError extends Error {
  /**
   * @param {string} message
   * @param {{ id?: string, status?: number }} [about]
   */
  constructor(message, about = {}) {
    super(message);
    this.name = new.target.name;
    /** The request's id; undefined if it was not accepted. */
    this.id = about.id;
    /** The HTTP status that says so, if one does. */
    this.status = about.status;
  }
}

/** The result cannot be had any more: it is gone, unknown or somebody else's. Ask again anew. */
export class ResultUnavailable extends AsyncRequestError {}
