// @ts-check
// `npm run bench:rest`: how fast the service answers reads, and the share of the read itself: each is shown next to a
// route of the same Worker that does nothing (`/api/server`), the floor, in the same run.
//
// A run: an index of a million messages is written (index.js), `npm run serve` starts on it, and each client sends its
// next request when it has the last answer: hot reads, whose answers the service caches, and some that it must read
// from its index. Rounds are interleaved (every path in each), so that other load on this machine affects all of them;
// the results are medians over the rounds, and the ratio to the floor of the same round. Latencies are those of all
// rounds.
//
// Promises: everything is on 127.0.0.1; an answer that is not 200 and of the expected size is a failure; ends all it
// started. Options: --connections 1,8,32 --rounds N (5) --seconds N (1 per round) --large N (1000000), --only WORD,
// --root DIR (this clone; another clone to compare with), --json (the numbers, for scripts).

import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Client } from 'undici'

import { readArguments } from '../../scripts/commands.js'
import { fill, PATHS } from './index.js'
import { quantile } from './numbers.js'
import { cpuSeconds } from './process.js'
import { serve } from './service.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const FLOOR = 'floor'
const WARM_UP_MILLIS = 500
/** The targets: a hot read's share of the floor, and how much slower a channel may be for being long. */
const AIM_OF_FLOOR = 0.5
const AIM_OF_LENGTH = 1.2

const { values: options } = readArguments('bench:rest')

let asked = 0

/** Asks once and resolves with the size of the body. @param {Client} client @param {string} path @returns {Promise<number>} */
const ask = (client, path) =>
  new Promise((answered, failed) => {
    let size = 0
    client.dispatch(
      { path: path.replace('{n}', () => String(asked++)), method: 'GET' },
      {
        onRequestStart: () => {},
        onResponseStart: (_, status) => {
          if (status !== 200) failed(new Error(`${path} answers ${status}`))
        },
        onResponseData: (_, chunk) => {
          size += chunk.length
        },
        onResponseEnd: () => answered(size),
        onResponseError: (_, error) => failed(error),
      },
    )
  })

/** Asks for `path` over so many connections for so long. @param {string} url @param {string} path @param {number} connections @param {number} millis */
async function load(url, path, connections, millis) {
  const clients = Array.from({ length: connections }, () => new Client(url, { pipelining: 1 }))
  const latencies = /** @type {number[]} */ ([])
  const sizes = new Set()
  await Promise.all(clients.map((client) => ask(client, path))) // connected
  const startedAt = performance.now()
  await Promise.all(
    clients.map(async (client) => {
      for (let before = startedAt; before < startedAt + millis;) {
        sizes.add(await ask(client, path))
        const now = performance.now()
        latencies.push(now - before)
        before = now
      }
    }),
  )
  const seconds = (performance.now() - startedAt) / 1000
  await Promise.all(clients.map((client) => client.close()))
  if (sizes.size !== 1) throw new Error(`${path} answers with ${[...sizes]} bytes, now this and now that`)
  return { perSecond: latencies.length / seconds, latencies, bytes: [...sizes][0] }
}

const state = mkdtempSync(join(tmpdir(), 'colibri-edge-bench-'))
process.on('exit', () => rmSync(state, { recursive: true, force: true, maxRetries: 5 }))
const root = resolve(options.root)
const say = (line) => process.stderr.write(`${line}\n`)

// Started once, to apply the migrations.
await (await serve(root, state)).stop()
const fillingSince = performance.now()
fill(state, { small: 20_000, large: Number(options.large), members: 1_000, channels: 60 })
say(`wrote the index in ${((performance.now() - fillingSince) / 1000).toFixed(1)} s`)

const service = await serve(root, state)
const results = []
try {
  const paths = Object.entries({ [FLOOR]: '/api/server', ...PATHS }).filter(([name]) => name === FLOOR || name.includes(options.only))
  for (const [, path] of paths) await load(service.url, path, 8, WARM_UP_MILLIS)
  for (const connections of options.connections.split(',').map(Number)) {
    /** @type {Map<string, { perSecond: number[], ofFloor: number[], latencies: number[], cpu: number[], bytes: number }>} */
    const seen = new Map(paths.map(([name]) => [name, { perSecond: [], ofFloor: [], latencies: [], cpu: [], bytes: 0 }]))
    for (let round = 0; round < Number(options.rounds); round++) {
      let floor = NaN
      for (const [name, path] of paths) {
        const before = cpuSeconds(service.workerd)
        const { perSecond, latencies, bytes } = await load(service.url, path, connections, Number(options.seconds) * 1000)
        const after = cpuSeconds(service.workerd)
        if (name === FLOOR) floor = perSecond
        const one = seen.get(name)
        one.perSecond.push(perSecond)
        one.ofFloor.push(perSecond / floor)
        one.latencies.push(...latencies)
        one.bytes = bytes
        if (before !== undefined && after !== undefined) one.cpu.push(((after - before) * 1e6) / latencies.length)
      }
    }
    for (const [name, { perSecond, ofFloor, latencies, cpu, bytes }] of seen)
      results.push({
        connections,
        name,
        perSecond: Math.round(quantile(perSecond)),
        ofFloor: quantile(ofFloor),
        p50: quantile(latencies),
        p99: quantile(latencies, 0.99),
        cpuMicros: Math.round(quantile(cpu)),
        bytes,
      })
  }
} finally {
  await service.stop()
}

const find = (name, connections) => results.find((one) => one.name.startsWith(name) && one.connections === connections)
if (options.json) {
  console.log(JSON.stringify({ cores: availableParallelism(), load: loadavg()[0], results }, null, 1))
} else {
  console.log(`\n${availableParallelism()} cores, load ${loadavg()[0].toFixed(1)}; workerd, its database and the clients share them\n`)
  console.log('conns  read                              req/s  of floor   p50 ms   p99 ms  CPU µs    bytes')
  for (const { connections, name, perSecond, ofFloor, p50, p99, cpuMicros, bytes } of results)
    console.log(
      [
        String(connections).padStart(5),
        ` ${name.padEnd(32)}`,
        String(perSecond).padStart(7),
        ofFloor.toFixed(2).padStart(9),
        p50.toFixed(2).padStart(8),
        p99.toFixed(2).padStart(8),
        String(cpuMicros || '–').padStart(7),
        String(bytes).padStart(8),
      ].join(' '),
    )
  console.log('')
  for (const connections of options.connections.split(',').map(Number)) {
    const [hot, small, large] = ['messages, short', 'unkept messages, short', 'unkept messages, long'].map((name) => find(name, connections))
    if (!hot || !small || !large) continue
    const length = large.p50 / small.p50
    console.log(
      `${connections} connections: a page of messages is ${hot.ofFloor.toFixed(2)} of the floor if it is kept (aim ${AIM_OF_FLOOR}), ${small.ofFloor.toFixed(2)} if not; of the long channel ` +
        `p50 is ${length.toFixed(2)} times that of the short (aim at most ${AIM_OF_LENGTH}: ${length <= AIM_OF_LENGTH ? 'met' : 'missed'})`,
    )
    const searches = results.filter((one) => one.name.startsWith('search') && one.connections === connections)
    for (const { name, p50 } of searches) {
      const times = p50 / large.p50
      console.log(`${connections} connections: ${name}: p50 is ${times.toFixed(2)} times a page's (aim at most 3: ${times <= 3 ? 'met' : 'missed'})`)
    }
  }
}
