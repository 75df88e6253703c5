// @ts-check
// `npm run bench:limits`: how much longer others wait while a client asks for ten times what it may (C14, A18, S16).
//
// A run: an index of messages is written (index.js), `npm run serve` starts on it with the limits of the contract, and honest
// clients read at a steady pace that is half of theirs, each from an address of its own, whether the answer before has come or
// not. Rounds are interleaved: quiet, then with each flood of limits-flood.js, which runs in a thread of its own. Shown is p99 of
// the honest reads, and its ratio to that of the quiet time of the same round: the median over the rounds, the least and the most.
//
// Promises: everything on 127.0.0.1; an honest read that is not 200 is a failure, and so is a flood of which more than a tenth was
// not sent, or which was not throttled: it would show nothing. Ends all it started. Options: --rounds N (5) --seconds N (5; of each
// part), --only WORD (of the floods), --root DIR (this clone; another to compare with), --json.

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
/** What is aimed at: the ratio of p99. */
const AIM = 1.5

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

/** Floods until it is told to end, and resolves with what it sent and what of that was refused. @param {object} workerData */
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
/** @type {Map<string, { p50: number[], p99: number[], ratio: number[], sent: number, refused: number, reads: number }>} */
const seen = new Map()
try {
  const vouched = await fetch(`${service.url}/api/authentication`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}` },
    body: JSON.stringify({ did: 'did:plc:flooder' }),
  })
  const { token } = /** @type {any} */ (await vouched.json())
  const parts = ['quiet', ...Object.keys(FLOODS).filter((name) => name.includes(options.only))]
  for (const name of parts) seen.set(name, { p50: [], p99: [], ratio: [], sent: 0, refused: 0, reads: 0 })
  await read(service.url, WARM_UP_MILLIS)
  for (let round = 0; round < Number(options.rounds); round++) {
    let quiet = NaN
    for (const name of parts) {
      const flood = name === 'quiet' ? undefined : flooding({ name, url: service.url, limit: LIMIT, token })
      await flood?.begun
      const latencies = await read(service.url, millis)
      const outcome = await flood?.end()
      const one = seen.get(name)
      const p99 = quantile(latencies, 0.99)
      if (name === 'quiet') quiet = p99
      one.p50.push(quantile(latencies))
      one.p99.push(p99)
      one.ratio.push(p99 / quiet)
      one.reads += latencies.length
      if (!outcome) continue
      one.sent += outcome.sent
      one.refused += outcome.refused
      if (outcome.sent < outcome.planned * 0.9) throw new Error(`${name}: only ${outcome.sent} of ${outcome.planned} were sent`)
      if (outcome.refused < outcome.sent / 2) throw new Error(`${name}: only ${outcome.refused} of ${outcome.sent} were refused`)
    }
    say(`round ${round + 1} of ${options.rounds}`)
  }
} finally {
  await service.stop()
}

const results = [...seen].map(([name, { p50, p99, ratio, sent, refused, reads }]) => ({
  name,
  reads,
  sent,
  refused,
  p50: quantile(p50),
  p99: quantile(p99),
  ratio: quantile(ratio),
  least: Math.min(...ratio),
  most: Math.max(...ratio),
}))
if (options.json) {
  console.log(JSON.stringify({ cores: availableParallelism(), load: loadavg()[0], results }, null, 1))
} else {
  console.log(`\n${availableParallelism()} cores, load ${loadavg()[0].toFixed(1)}; workerd, its database, the honest and the flood share them\n`)
  console.log('beside                        reads    sent  refused  p50 ms  p99 ms  ratio  least   most')
  for (const { name, reads, sent, refused, p50, p99, ratio, least, most } of results)
    console.log(
      [
        name.padEnd(28),
        String(reads).padStart(6),
        String(sent || '–').padStart(7),
        String(refused || '–').padStart(8),
        p50.toFixed(2).padStart(7),
        p99.toFixed(2).padStart(7),
        ratio.toFixed(2).padStart(6),
        least.toFixed(2).padStart(6),
        most.toFixed(2).padStart(6),
      ].join(' '),
    )
  const worst = Math.max(...results.map(({ ratio }) => ratio))
  console.log(`\np99 beside a flood is at most ${worst.toFixed(2)} times that of a quiet time (aim ${AIM}: ${worst <= AIM ? 'met' : 'missed'})`)
}
