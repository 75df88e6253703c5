// @ts-check
// Statistics of many measurements.

/** The value that `share` of the numbers do not exceed; the middle one by default. @param {number[]} numbers @param {number} [share] */
export function quantile(numbers, share = 0.5) {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}
