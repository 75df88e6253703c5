// @ts-check
// `npm run bench:fanout`: how fast events reach many sockets, what a sleeping socket costs, and the platform's share of
// that: next to the service runs the floor (floor/worker.js), a minimal JavaScript object that sends the same texts.
//
// A run, for each number of sockets: as many clients at the service, each subscribed to one channel, and as many at the
// floor. Rounds are interleaved. For a single message: the time from the frame's entry into the stream to the last
// socket. For a burst of 100: deliveries per second in the additional time compared with a single message, at the
// service and at the floor, and their ratio within the round. The time from the first frame received to the last
// (`spread`) is shown too, but flatters the floor: one object sends nothing before it has handed all texts to all its
// sockets, so most of its own work comes before the first frame; of several objects only the first one's does. Then all
// clients sleep, with a heartbeat every 20 s: CPU of both, and memory per socket. Last, a service that logs each
// awakening (LOG_LEVEL=trace) is left alone with 100 sleeping clients.
//
// Promises: everything is on 127.0.0.1; a socket that ends or misses a frame is a failure; ends all it started.
// Options: --sockets 1,100,1000,5000 --rounds N (5) --sleep SECONDS (30; of the last part), --root DIR (this clone;
// another to compare with), --json.

import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { readArguments } from '../../scripts/commands.js'
import { COLLECTION } from '../network/records.js'
import { Crowd } from './crowd.js'
import { didOf, Repositories, writeFrames } from './frames.js'
import { quantile } from './numbers.js'
import { cpuSeconds, memory } from './process.js'
import { serve } from './service.js'
import { serveFrames } from './stream.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const FLOOR_CONFIG = fileURLToPath(new URL('./floor/wrangler.toml', import.meta.url))
const HEARTBEAT = '{"action":"heartbeat","event_type":"heartbeat"}'
const HEARTBEAT_EVERY_MILLIS = 20_000
/** The local runtime puts an object to sleep after ten seconds without work. */
const ASLEEP_AFTER_MILLIS = 12_000
/** Inactive people become away after a while (P06), and others receive that: they do so before anything is counted. */
const AWAY_AFTER_MILLIS = 5_000
const BURST = 100
const SINGLES = { alone: 200, many: 20 }
const SLEEPERS = 100
const AIM = { ofFloor: 0.95, aloneMillis: 50 }

const { values: options } = readArguments('bench:fanout')
const root = resolve(options.root)
const say = (/** @type {string} */ line) => process.stderr.write(`${line}\n`)

const owner = didOf('owner')
const member = didOf('member')
const community = `at://${owner}/${COLLECTION.community}/c`

/** The frames that the channel needs. @param {Repositories} repos */
function* prologue(repos) {
  const createdAt = repos.now
  yield repos.create(owner, COLLECTION.community, { name: 'Hall', requiresApprovalToJoin: false, createdAt }, 'c')
  yield repos.create(owner, COLLECTION.channel, { name: 'hall', type: 'text', community: 'c', createdAt }, 'hall')
  yield repos.create(member, COLLECTION.membership, { community, createdAt }, 'm')
}

/** @param {Repositories} repos @param {number} count */
function* messages(repos, count) {
  for (let n = 0; n < count; n++) {
    const text = `message ${n}: has anybody seen the small green watering can?`
    yield repos.create(member, COLLECTION.message, { text, channel: 'hall', createdAt: repos.now })
  }
}

/** A service with its stream, and the floor, in one folder. @param {string} folder @param {Record<string, string>} [env] @param {(line: string) => void} [onLine] */
async function open(folder, env, onLine) {
  const repos = new Repositories({ from: Date.now() * 1000 })
  const file = join(folder, 'frames.jsonl')
  writeFrames(file, prologue(repos))
  const { network } = await serveFrames(file)
  const service = await serve(root, join(folder, 'service'), { JETSTREAM_URL: network.jetstream, ...env }, { onLine })
  for (const until = Date.now() + 60_000; ; await pause(100)) {
    if ((await fetch(`${service.url}/api/channels?community=${community}`)).ok) break
    if (Date.now() > until) throw new Error(`the channel is not there after a minute:\n${service.log.join('\n')}`)
  }
  /** Puts so many messages into the stream. @param {number} count */
  const write = (count) => {
    writeFrames(file, messages(repos, count))
    return network.load(file)
  }
  const close = async () => {
    await service.stop()
    await network.stop()
  }
  return { service, network, repos, write, close }
}

/** @param {string} url @param {number} count */
async function follow(url, count) {
  const crowd = await Crowd.open(url, count, (n) => `/api/subscribe?did=${didOf(`client ${n}`)}`)
  crowd.mark()
  crowd.say(JSON.stringify({ action: 'subscribe', event_type: 'message', channel: 'hall' }))
  await crowd.heardAll(1)
  return crowd
}

/** Frames to everybody: milliseconds from the first client's first to the last client's last. @param {Crowd} crowd @param {number} count @param {() => Promise<unknown>} cause */
async function spread(crowd, count, cause) {
  crowd.mark()
  let first = Infinity
  const [eldest] = crowd.clients
  const received = eldest.received
  eldest.received = () => {
    first = Math.min(first, performance.now())
    received()
  }
  const all = crowd.heardAll(count)
  all.catch(() => {})
  const began = performance.now()
  await cause()
  const last = await all
  eldest.received = received
  return { spread: last - Math.min(first, last), whole: last - began, texts: eldest.texts ?? [] }
}

/** CPU seconds of two processes while everybody sleeps. @param {number[]} pids @param {Crowd[]} crowds @param {number} millis */
async function sleep(pids, crowds, millis) {
  const before = pids.map(cpuSeconds)
  for (let slept = 0; slept < millis; slept += HEARTBEAT_EVERY_MILLIS) {
    crowds.forEach((crowd) => crowd.say(HEARTBEAT))
    await pause(Math.min(HEARTBEAT_EVERY_MILLIS, millis - slept))
  }
  return pids.map((pid, n) => (cpuSeconds(pid) ?? NaN) - (before[n] ?? NaN))
}

/** @param {string} folder @param {number} count @param {number} rounds */
async function measure(folder, count, rounds) {
  const ours = await open(folder)
  const floor = await serve(root, join(folder, 'floor'), {}, { config: FLOOR_CONFIG })
  try {
    const empty = [memory(ours.service.workerd) ?? NaN, memory(floor.workerd) ?? NaN]
    const [here, there] = [await follow(ours.service.url, count), await Crowd.open(floor.url, count, () => '/')]
    const send = (/** @type {string[]} */ texts) => fetch(floor.url, { method: 'POST', body: JSON.stringify(texts) })
    const { texts } = await spread(here, 1, () => ours.write(1)) // warm
    await spread(there, 1, () => send(texts))
    await pause(ASLEEP_AFTER_MILLIS)
    const asleep = [memory(ours.service.workerd) ?? NaN, memory(floor.workerd) ?? NaN]
    const singles = /** @type {number[]} */ ([])
    const floorSingles = /** @type {number[]} */ ([])
    for (let n = 0; n < (count === 1 ? SINGLES.alone : SINGLES.many); n++) {
      singles.push((await spread(here, 1, () => ours.write(1))).whole)
      floorSingles.push((await spread(there, 1, () => send(texts))).whole)
    }
    const bursts = []
    // The first burst only warms both: neither has met so much at once.
    for (let round = 0; round <= rounds; round++) {
      const cpu = [cpuSeconds(ours.service.workerd) ?? NaN, cpuSeconds(floor.workerd) ?? NaN]
      const one = await spread(here, BURST, () => ours.write(BURST))
      const other = await spread(there, BURST, () => send(one.texts))
      if (round === 0) continue
      const [more, floorMore] = [one.whole - quantile(singles), other.whole - quantile(floorSingles)]
      bursts.push({
        perSecond: ((count * (BURST - 1)) / more) * 1000,
        floor: ((count * (BURST - 1)) / floorMore) * 1000,
        ofFloor: floorMore / more,
        ofFloorSpread: other.spread / one.spread,
        whole: one.whole,
        cpuMicros: (((cpuSeconds(ours.service.workerd) ?? NaN) - cpu[0]) / (count * BURST)) * 1e6,
        floorCpuMicros: (((cpuSeconds(floor.workerd) ?? NaN) - cpu[1]) / (count * BURST)) * 1e6,
      })
    }
    await pause(ASLEEP_AFTER_MILLIS)
    const cpu = await sleep([ours.service.workerd, floor.workerd], [here, there], HEARTBEAT_EVERY_MILLIS)
    await Promise.all([here.close(), there.close()])
    const middle = (/** @type {(burst: (typeof bursts)[0]) => number} */ of) => quantile(bursts.map(of))
    return {
      count,
      single: { p50: quantile(singles), p99: quantile(singles, 0.99), floorP50: quantile(floorSingles) },
      burst: {
        perSecond: middle((burst) => burst.perSecond),
        floorPerSecond: middle((burst) => burst.floor),
        ofFloor: middle((burst) => burst.ofFloor),
        ofFloorSpread: middle((burst) => burst.ofFloorSpread),
        millis: middle((burst) => burst.whole),
        cpuMicros: middle((burst) => burst.cpuMicros),
        floorCpuMicros: middle((burst) => burst.floorCpuMicros),
      },
      kibPerSocket: asleep.map((mebibytes, n) => ((mebibytes - empty[n]) * 1024) / count),
      asleepCpuMillisPerSecond: cpu.map((seconds) => (seconds * 1000) / (HEARTBEAT_EVERY_MILLIS / 1000)),
    }
  } finally {
    await ours.close()
    await floor.stop()
  }
}

/** How often gateways wake, and why, while 100 clients only send heartbeats. @param {string} folder @param {number} seconds */
async function awakenings(folder, seconds) {
  const because = /** @type {Record<string, number>} */ ({})
  const ours = await open(folder, { LOG_LEVEL: 'trace', AWAY_AFTER_MS: String(AWAY_AFTER_MILLIS) }, (line) => {
    if (!line.includes('a gateway is at work')) return
    const [, why = '?'] = line.match(/"because":"(\w+)"/) ?? []
    because[why] = (because[why] ?? 0) + 1
  })
  try {
    const crowd = await follow(ours.service.url, SLEEPERS)
    await pause(AWAY_AFTER_MILLIS + ASLEEP_AFTER_MILLIS)
    if (!because.frame) throw new Error('no frame was seen to wake a gateway: the count below would mean nothing')
    for (const why of Object.keys(because)) delete because[why]
    await sleep([ours.service.workerd], [crowd], seconds * 1000)
    await crowd.close()
    return { ...because }
  } finally {
    await ours.close()
  }
}

/** @template T @param {(folder: string) => Promise<T>} work */
async function inFolder(work) {
  const folder = mkdtempSync(join(tmpdir(), 'colibri-bench-'))
  try {
    return await work(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

const results = []
for (const count of options.sockets.split(',').map(Number)) {
  const result = await inFolder((folder) => measure(folder, count, Number(options.rounds)))
  results.push(result)
  say(`${count} sockets: ${result.burst.ofFloor.toFixed(2)} of the floor, a message in ${result.single.p50.toFixed(1)} ms (load ${loadavg()[0].toFixed(1)})`)
}
const seconds = Number(options.sleep)
const woken = await inFolder((folder) => awakenings(folder, seconds))

if (options.json) {
  console.log(JSON.stringify({ cores: availableParallelism(), load: loadavg()[0], results, woken }, null, 1))
} else {
  const row = (/** @type {(string | number)[]} */ ...cells) => console.log(cells.map((cell, n) => String(cell).padStart([8, 9, 9, 9, 11, 11, 9, 9, 9, 9, 9, 10][n])).join(' '))
  console.log(`\n${availableParallelism()} cores, load ${loadavg()[0].toFixed(1)}; the services, the stream and the clients share them\n`)
  row('sockets', 'p50 ms', 'p99 ms', 'floor ms', 'deliv./s', 'floor/s', 'of floor', 'spread', 'CPU µs', 'floor µs', 'KiB each', 'floor KiB')
  for (const { count, single, burst, kibPerSocket } of results)
    row(
      count.toLocaleString('en'),
      single.p50.toFixed(1),
      single.p99.toFixed(1),
      single.floorP50.toFixed(1),
      Math.round(burst.perSecond).toLocaleString('en'),
      Math.round(burst.floorPerSecond).toLocaleString('en'),
      burst.ofFloor.toFixed(2),
      burst.ofFloorSpread.toFixed(2),
      burst.cpuMicros.toFixed(1),
      burst.floorCpuMicros.toFixed(1),
      ...kibPerSocket.map((kib) => kib.toFixed(0)),
    )
  console.log('\nsingle messages: p50 and p99 from the frame to the last socket; deliveries: what a burst of 100 takes longer (aim: 0.95 of the floor)')
  for (const { count, asleepCpuMillisPerSecond: [ours, floor] } of results)
    console.log(`asleep, a heartbeat each 20 s: ${count} sockets cost ${ours.toFixed(1)} ms of CPU a second, the floor ${floor.toFixed(1)}`)
  const alone = results.find((result) => result.count === 1)
  if (alone) console.log(`a lone subscriber: p99 ${alone.single.p99.toFixed(1)} ms (aim: below ${AIM.aloneMillis}: ${alone.single.p99 < AIM.aloneMillis ? 'met' : 'missed'})`)
  const causes = Object.entries(woken).map(([why, times]) => `${why} ${times}`).join(', ')
  console.log(`${SLEEPERS} sockets that only send heartbeats for ${seconds} s woke gateways: ${causes || 'never'} (aim: by alarms only)`)
}
