// @ts-check
// `npm run soak -- --minutes 10`: 200 honest sockets and 20 events a second next to all attacks of strangers (soak.js),
// and a table of the results. Exit code 1 if an honest person lost something or waited too long, or a limit of
// SECURITY.md was exceeded.
//
// Options: --minutes N (10) of hostile time, after a tenth of it in quiet (at least 10 s); --only NAME[,NAME], those
// attackers whose names contain one of these (the flood is `the stream`); --json.

import { availableParallelism, loadavg } from 'node:os'

import { readArguments } from '../../scripts/commands.js'
import { EVENTS_PER_SECOND, SOCKETS, soak } from './soak.js'

const SETTLE_MILLIS = 120_000
const SLOWER_AT_MOST = 2
/**
 * A p99 below this passes whatever the quiet one was: clients, strangers and the service on two cores cause as much
 * noise.
 */
const P99_FLOOR_MILLIS = 250

const { values: options } = readArguments('soak')
const hostileMillis = Number(options.minutes) * 60_000
if (!(hostileMillis >= 10_000)) throw new Error(`--minutes must be a number, a sixth at least, not ${options.minutes}`)

const result = await soak({
  quietMillis: Math.max(10_000, hostileMillis / 10),
  hostileMillis,
  settleMillis: SETTLE_MILLIS,
  only: options.only,
  say: (line) => process.stderr.write(`${line}\n`),
})
const { quiet, hostile, calm, peak, after, settledMillis, account, strangers, failures, slow } = result
const p99Bound = Math.max(SLOWER_AT_MOST * quiet.p99, P99_FLOOR_MILLIS)
failures.push(...slow.map((what) => `an honest read took too long: ${what}`))
if (hostile.p99 > p99Bound) failures.push(`p99 was ${hostile.p99} ms, more than ${p99Bound} ms`)

if (options.json) {
  console.log(JSON.stringify(result, null, 1))
} else {
  const row = (/** @type {unknown[]} */ ...cells) => console.log(cells.map((cell, n) => String(cell).padEnd(n === 0 ? 30 : 14)).join(' ').trimEnd())
  console.log(`\n${availableParallelism()} cores, load ${loadavg()[0].toFixed(1)}; ${SOCKETS} honest sockets, ${EVENTS_PER_SECOND} events/s, ${options.minutes} min\n`)
  row('honest people', 'quiet', 'hostile', 'after')
  row('p50, ms', quiet.p50, hostile.p50, calm.p50)
  row('p99, ms', quiet.p99, hostile.p99, calm.p99, `bound ${p99Bound}`)
  row('deliveries', quiet.deliveries, hostile.deliveries, calm.deliveries)
  row('reads, failed, late', ...[quiet, hostile, calm].map(({ reads, failedReads, lateReads }) => `${reads}, ${failedReads.length}, ${lateReads.length}`))
  row('slowest read, ms', quiet.slowestRead, hostile.slowestRead, calm.slowestRead)
  row('CPU: service, all the rest', ...[quiet, hostile, calm].map(({ busy }) => `${busy.service.toFixed(2)}, ${busy.here.toFixed(2)}`))
  console.log(`${account.events} events at ${account.sockets} sockets: ${account.lost} lost, ${account.doubled} doubled, ${account.disordered} out of order\n`)
  row('strangers', 'what came of it')
  for (const { name, counts } of strangers) console.log(`${name.padEnd(42)} ${Object.entries(counts).map(([what, count]) => `${what}: ${count}`).join(', ')}`)
  console.log(`at most ${Math.round(peak.memory)} MiB, ${peak.descriptors} descriptors, ${peak.files} files of databases, ${Math.round(peak.bytes / 2 ** 20)} MiB on disk\n`)
  row(`${Math.round(settledMillis / 1000)} s after they left`, 'is', 'bound')
  for (const { what, is, bound } of after) row(what, is, bound)
  console.log(failures.length === 0 ? '\nall is well' : `\n${failures.slice(0, 20).join('\n')}`)
}
process.exitCode = failures.length === 0 ? 0 : 1
