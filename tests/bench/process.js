// @ts-check
// The memory and CPU time of a process, from Linux. Elsewhere everything is undefined.

import { readFileSync } from 'node:fs'

/** Linux counts CPU time in hundredths of a second on every architecture (USER_HZ). */
const TICKS_PER_SECOND = 100

/** @param {number} pid @param {string} file */
function read(pid, file) {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return undefined
  }
}

/** @param {number} pid @param {'VmRSS' | 'VmHWM'} field */
function mebibytes(pid, field) {
  const [, kib] = read(pid, 'status')?.match(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm')) ?? []
  return kib === undefined ? undefined : Number(kib) / 1024
}

/** Memory held now, in MiB. @param {number} pid */
export const memory = (pid) => mebibytes(pid, 'VmRSS')

/** The most memory ever held, in MiB. @param {number} pid */
export const peakMemory = (pid) => mebibytes(pid, 'VmHWM')

/** CPU seconds used so far, by all threads. @param {number} pid */
export const cpuSeconds = (pid) => seconds(pid, 'stat')

/** CPU seconds used so far by the first thread: the one that runs the loop of workerd or Node. @param {number} pid */
export const mainThreadSeconds = (pid) => seconds(pid, `task/${pid}/stat`)

/** @param {number} pid @param {string} file */
function seconds(pid, file) {
  // Fields 14 and 15; the second is a name in parentheses that may contain blanks.
  const fields = read(pid, file)
    ?.replace(/^.*\) /s, '')
    .split(' ')
  return fields && (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}
