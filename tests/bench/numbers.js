// @ts-check
// Statistics of many measurements.

/** A delivery that took longer counts as one that took this long. */
const LATENCY_MAX_MILLIS = 60_000

/** The value that `share` of the numbers do not exceed; the middle one by default. @param {number[]} numbers @param {number} [share] */
export function quantile(numbers, share = 0.5) {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}

/** How long deliveries took, by the millisecond. */
export class Latencies {
  #counts = new Uint32Array(LATENCY_MAX_MILLIS + 1)
  count = 0

  /** @param {number} millis */
  add(millis) {
    this.#counts[Math.min(LATENCY_MAX_MILLIS, Math.max(0, Math.round(millis)))] += 1
    this.count += 1
  }

  /** @param {number} share */
  quantile(share) {
    let left = this.count * share
    const at = this.#counts.findIndex((count) => (left -= count) <= 0)
    return Math.max(0, at)
  }
}
