// @ts-check
// `npm run bench:limits`: how much longer others wait while a client asks for ten times what it may (C14, A18, S16).
//
// A run: an index of messages is written (index.js), `npm run serve` starts on it with the limits of the contract, and honest
// clients read at a steady pace that is half of theirs, each from an address of its own, whether the answer before has come or
// not. Rounds are interleaved: quiet, then for each client of limits-flood.js what it may, and ten times that. It runs in a thread
// of its own. Shown is p99 of the honest reads, and its ratios to that of the quiet time and to that beside what the client may,
// of the same round: the median over the rounds, the least and the most.
//
// Promises: everything on 127.0.0.1; an honest read that is not 200 is a failure, and so is a flood of which more than a tenth was
// not sent, or which was not throttled, and a client that was throttled below its limit: it would show nothing. Ends all it started.
// Options: --rounds N (5) --seconds N (5; of each part), --only WORD (of the clients), --root DIR (this clone; another to compare
// with), --json.

import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Worker } from 'node:worker_threads'
import { Pool } from 'undici'

import { readArguments } from '../../scripts/commands.js'
import { fill, PATHS } from './index.js'
import { FLOODS, pace } from './limits-flood.js'
import { quantile } from './numbers.js'
import { serve } from './service.js'

/** What the contract has by default (C14). */
const LIMIT = 3_000
const KEY = 'the key of a benchmark of limits'
const HONEST = 8
const READS_OF_EACH = 25
/** Half of them are kept by the service. */
const READS = ['messages, short channel', 'unkept messages, short channel']
const WARM_UP_MILLIS = 1_000
/** What is aimed at: p99 beside ten times the limit, of that beside what is allowed. */
const AIM = 1.5
const TIMES = 10

const { values: options } = readArguments('bench:limits')
const root = resolve(options.root)
const millis = Number(options.seconds) * 1000
const say = (/** @type {string} */ line) => process.stderr.write(`${line}\n`)

let asked = 0

/** The latencies of what honest people read meanwhile. @param {string} url @param {number} time */
async function read(url, time) {
  const people = Array.from({ length: HONEST }, () => new Pool(url, { connections: 4, pipelining: 1 }))
  const one = async (/** @type {Pool} */ pool, /** @type {number} */ who) => {
    const path = PATHS[READS[asked % READS.length]].replace('{n}', String(asked))
    asked += 1
    const before = performance.now()
    const { statusCode, body } = await pool.request({ path, method: 'GET', headers: { 'x-forwarded-for': `198.51.100.${who + 1}` } })
    await body.dump()
    if (statusCode !== 200) throw new Error(`an honest read was answered with ${statusCode}`)
    return performance.now() - before
  }
  try {
    const all = await Promise.all(people.map((pool, who) => pace(READS_OF_EACH, time, () => one(pool, who))))
    return all.flat()
  } finally {
    await Promise.all(people.map((pool) => pool.close()))
  }
}

/** Floods until it is asked to end, and resolves with what it sent and what of that was refused. @param {object} workerData */
function flooding(workerData) {
  const worker = new Worker(new URL('./limits-flood.js', import.meta.url), { workerData })
  const first = new Promise((begun, failed) => {
    worker.once('message', begun)
    worker.once('error', failed)
  })
  return {
    begun: first,
    async end() {
      const done = new Promise((resolved, failed) => {
        worker.once('message', resolved)
        worker.once('error', failed)
      })
      worker.postMessage('end')
      const outcome = /** @type {{ planned: number, sent: number, refused: number }} */ (await done)
      await worker.terminate()
      return outcome
    },
  }
}

const state = mkdtempSync(join(tmpdir(), 'colibri-edge-bench-'))
process.on('exit', () => rmSync(state, { recursive: true, force: true, maxRetries: 5 }))
// Once to have the migrations applied.
await (await serve(root, state)).stop()
fill(state, { small: 20_000, large: 0, members: 100, channels: 10 })

const env = { RATE_LIMIT_PER_MIN: String(LIMIT), TRUSTED_PROXIES: '127.0.0.1', INVITE_API_KEY: KEY, TOKEN_SECRET: 'what signs the tokens of a benchmark' }
const service = await serve(root, state, env)
/** @type {Map<string, { p50: number[], p99: number[], ofQuiet: number[], ofAllowed: number[], sent: number, refused: number, reads: number }>} */
const seen = new Map()
/** @type {{ label: string, name?: string, times: number }[]} */
const parts = [
  { label: 'quiet', times: 0 },
  ...Object.keys(FLOODS)
    .filter((name) => name.includes(options.only))
    .flatMap((name) => [1, TIMES].map((times) => ({ label: times === 1 ? name : `${times} times as many`, name, times }))),
]
const keyOf = (/** @type {{ label: string, name?: string }} */ { label, name }) => `${name} ${label}`
try {
  const vouched = await fetch(`${service.url}/api/authentication`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}` },
    body: JSON.stringify({ did: 'did:plc:flooder' }),
  })
  const { token } = /** @type {any} */ (await vouched.json())
  for (const part of parts) seen.set(keyOf(part), { p50: [], p99: [], ofQuiet: [], ofAllowed: [], sent: 0, refused: 0, reads: 0 })
  await read(service.url, WARM_UP_MILLIS)
  for (let round = 0; round < Number(options.rounds); round++) {
    let quiet = NaN
    let allowed = NaN
    for (const part of parts) {
      const { name, times } = part
      const client = name && flooding({ name, times, url: service.url, limit: LIMIT, token })
      await (client && client.begun)
      const latencies = await read(service.url, millis)
      const outcome = client ? await client.end() : undefined
      const one = seen.get(keyOf(part))
      const p99 = quantile(latencies, 0.99)
      if (times === 0) quiet = p99
      if (times <= 1) allowed = p99
      one.p50.push(quantile(latencies))
      one.p99.push(p99)
      one.ofQuiet.push(p99 / quiet)
      one.ofAllowed.push(p99 / allowed)
      one.reads += latencies.length
      if (!outcome) continue
      one.sent += outcome.sent
      one.refused += outcome.refused
      if (outcome.sent < outcome.planned * 0.9) throw new Error(`${name}: only ${outcome.sent} of ${outcome.planned} were sent`)
      const { refused, sent } = outcome
      if (times > 1 && refused < sent / 2) throw new Error(`${name}: only ${refused} of ${sent} were refused`)
      if (times === 1 && refused > sent / 10) throw new Error(`${name}: ${refused} of ${sent} were refused, though they are allowed`)
    }
    say(`round ${round + 1} of ${options.rounds}`)
  }
} finally {
  await service.stop()
}

const spread = (/** @type {number[]} */ ratios) => ({ median: quantile(ratios), least: Math.min(...ratios), most: Math.max(...ratios) })
const results = parts.map((part) => {
  const { p50, p99, ofQuiet, ofAllowed, sent, refused, reads } = seen.get(keyOf(part))
  return { ...part, reads, sent, refused, p50: quantile(p50), p99: quantile(p99), ofQuiet: spread(ofQuiet), ofAllowed: spread(ofAllowed) }
})
if (options.json) {
  console.log(JSON.stringify({ cores: availableParallelism(), load: loadavg()[0], results }, null, 1))
} else {
  const inWords = (/** @type {ReturnType<typeof spread>} */ { median, least, most }) =>
    `${median.toFixed(2)} (${least.toFixed(2)}-${most.toFixed(2)})`
  console.log(`\n${availableParallelism()} cores, load ${loadavg()[0].toFixed(1)}; workerd, its database, the honest and the flood share them\n`)
  console.log('beside                    reads   sent  refused  p50 ms  p99 ms           of quiet  of what is allowed')
  for (const { label, times, reads, sent, refused, p50, p99, ofQuiet, ofAllowed } of results)
    console.log(
      [
        label.padEnd(24),
        String(reads).padStart(6),
        String(sent || '–').padStart(6),
        String(refused || '–').padStart(8),
        p50.toFixed(2).padStart(7),
        p99.toFixed(2).padStart(7),
        inWords(ofQuiet).padStart(18),
        (times > 1 ? inWords(ofAllowed) : '').padStart(19),
      ].join(' '),
    )
  const worst = Math.max(...results.map(({ ofAllowed }) => ofAllowed.median))
  console.log(
    `\np99 beside ${TIMES} times the limit is at most ${worst.toFixed(2)} times that beside what is allowed (aim ${AIM}: ${worst <= AIM ? 'met' : 'missed'})`,
  )
}
