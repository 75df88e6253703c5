// @ts-check
// How long to wait before restarting a runtime that died: not at all at first, because clients are waiting, and longer
// each time if it dies again and again. The service itself never gives up: the cause may pass.

/** A runtime that lived this long counts as healthy again. */
const WELL_AFTER_MILLIS = 60_000
const AT_ONCE = 3
const LONGEST_SECS = 30

export class Restarts {
  #deaths = 0
  #last = -Infinity

  /** Records a death at that time. @param {number} nowMillis @returns {number} the seconds to wait */
  died(nowMillis) {
    if (nowMillis - this.#last > WELL_AFTER_MILLIS) this.#deaths = 0
    this.#last = nowMillis
    this.#deaths += 1
    return this.#deaths <= AT_ONCE ? 0 : Math.min(2 ** (this.#deaths - AT_ONCE - 1), LONGEST_SECS)
  }
}
