// @ts-check
// The soak: honest people and strangers at the same service, and whether the honest ones notice.
//
// First honest people alone (quiet), then the same with all attacks (hostile); then strangers leave, and the soak waits
// until the service's resources are back within the limits of SECURITY.md, while honest people continue.
//
// Promises: only 127.0.0.1; all it started is gone when it resolves or rejects; `failures` are sentences that say what
// went wrong, apart from `slow`: reads that were not answered in time, which a busy machine causes as well.

import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'

import { freePort } from '../../scripts/port.js'
import { cpuSeconds } from '../bench/process.js'
import { serve } from '../bench/service.js'
import { cidOf } from '../network/cid.js'
import { Jetstream } from '../network/jetstream.js'
import { FrameLog } from '../network/log.js'
import { bounds, look } from './bounds.js'
import { flood } from './flood.js'
import { CHANNEL, COMMUNITY, Honest, HonestRepositories, memberOf } from './honest.js'
import { blobOf, documentOf, json, openHost } from './hosts.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
export const SOCKETS = 200
export const EVENTS_PER_SECOND = 20
/** What strangers write into the stream. */
const FLOOD_PER_SECOND = 150
/** The time until people are looked up and everything is warm. */
const WARM_MILLIS = 10_000
const LOOK_EVERY_MILLIS = 5_000
/**
 * Connections of the service: more than strangers open, because clients that sent a request keep theirs (C26:
 * serve.test.js).
 */
const MAX_CONNECTIONS = 4_000
/** People who write, and those whose hosts do not end (flood.js, attackers.js). */
const STRANGERS = 100
const HOSTS = 40
const HONEST_BLOBS = 5
const HONEST_BLOB_BYTES = 200_000

/**
 * @param {{ quietMillis: number, hostileMillis: number, settleMillis: number, only?: string, say?: (line: string) => void }} options
 * `only`: those attackers whose names have this in them, to find out who it is that hurts
 */
export async function soak({ quietMillis, hostileMillis, settleMillis, only = '', say = () => {} }) {
  /** @type {(() => unknown)[]} */
  const undo = []
  const folder = mkdtempSync(join(tmpdir(), 'colibri-soak-'))
  undo.push(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  try {
    return await run(folder, undo, { quietMillis, hostileMillis, settleMillis, only, say })
  } finally {
    while (undo.length > 0) await undo.pop()?.()
  }
}

/**
 * Answers, each time, the CPU seconds per second since the last time: of the service, and of all that happens here.
 * @param {number} workerd
 */
function meter(workerd) {
  const read = () => ({ at: performance.now(), service: cpuSeconds(workerd) ?? NaN, here: cpuSeconds(process.pid) ?? NaN })
  let last = read()
  return () => {
    const [before, now] = [last, read()]
    last = now
    const share = (/** @type {'service' | 'here'} */ who) => ((now[who] - before[who]) * 1000) / (now.at - before.at)
    return { service: share('service'), here: share('here') }
  }
}

/** @param {string} folder @param {(() => unknown)[]} undo @param {Required<Parameters<typeof soak>[0]>} options */
async function run(folder, undo, { quietMillis, hostileMillis, settleMillis, only, say }) {
  const attackers = new Worker(new URL('./attackers.js', import.meta.url))
  undo.push(() => attackers.terminate())
  const broke = once(attackers, 'error').then(([error]) => Promise.reject(error))
  broke.catch(() => {})
  const received = (/** @type {string} */ key) =>
    Promise.race([
      broke,
      new Promise((resolve) => {
        const take = (/** @type {any} */ message) => {
          if (message[key] === undefined) return
          attackers.off('message', take)
          resolve(message)
        }
        attackers.on('message', take)
      }),
    ])
  const { leads, names } = await received('leads')

  const blobs = new Map(Array.from({ length: HONEST_BLOBS }, (_, n) => [cidOf(blobOf(n, HONEST_BLOB_BYTES)), n]))
  const repositories = new HonestRepositories()
  const pds = await openHost((url, response) => {
    const did = url.searchParams.get('did') ?? ''
    const n = blobs.get(url.searchParams.get('cid') ?? '')
    const asked = repositories.answer(url)
    if (asked) return json(response, asked)
    // Honest repositories are listed: this host has no signed export of them.
    if (url.pathname.endsWith('getRepo') && did.startsWith('did:plc:soak')) return json(response, { error: 'MethodNotImplemented' }, 501)
    // Strangers claim records that are not here; requests for them look like a broken host.
    if (!did.startsWith('did:plc:soak') || n === undefined) return json(response, { error: 'InternalServerError' }, 500)
    response.writeHead(200, { 'content-type': 'image/png', 'content-length': HONEST_BLOB_BYTES })
    response.end(blobOf(n, HONEST_BLOB_BYTES))
  })
  undo.push(pds.close)
  const port = await freePort('127.0.0.1', 0)
  const url = `http://127.0.0.1:${port}`
  const directory = await openHost(({ pathname }, response) => {
    const did = pathname.slice(1)
    const name = did.slice('did:plc:'.length)
    const lead = leads[name] ?? leads[name.replace(/\d+$/, '')]
    const where = name.startsWith('soak') ? pds.url : name.startsWith('evilself') ? url : name.startsWith('evilbroken') ? `${pds.url}/broken?x=` : lead
    return where ? json(response, documentOf(did, where)) : json(response, { error: 'NotFound' }, 404)
  })
  undo.push(directory.close)
  const jetstream = new Jetstream({ port: await freePort('127.0.0.1', 0), log: new FrameLog(mkdtempSync(join(folder, 'stream-'))) })
  await jetstream.resume()
  undo.push(() => jetstream.close())

  const state = join(folder, 'service')
  const restarts = /** @type {string[]} */ ([])
  const onLine = (/** @type {string} */ line) => {
    if (/workerd (ended|did not|runs again)/.test(line)) restarts.push(line)
  }
  const env = {
    JETSTREAM_URL: jetstream.url,
    PLC_URL: directory.url,
    INSECURE_HOSTS: [directory.name, pds.name, `127.0.0.1:${port}`, ...names].join(),
    RATE_LIMIT_PER_MIN: '3000',
    MAX_CONNECTIONS: String(MAX_CONNECTIONS),
    TURN_URLS: 'turn:127.0.0.1:9',
    TURN_SECRET: 't'.repeat(32),
    INVITE_API_KEY: 'k'.repeat(32),
  }
  const service = await serve(ROOT, state, env, { port, onLine })
  undo.push(() => service.stop())
  const at = () => look({ state, workerd: service.workerd })

  const paths = [`/api/messages?channel=${CHANNEL}&limit=20`, `/api/members?community=${COMMUNITY}&limit=50`, '/api/server']
  for (const cid of blobs.keys()) paths.push(`/api/blob?did=${memberOf(0)}&cid=${cid}`, `/api/sidebar?community=${COMMUNITY}`)
  const honest = new Honest({ jetstream, repositories, url: service.url, paths })
  undo.push(() => honest.leave())
  await honest.arrive(SOCKETS)
  honest.write(EVENTS_PER_SECOND)
  await pause(WARM_MILLIS)
  const busy = meter(service.workerd)
  honest.phase()
  honest.stretch()
  busy()
  await pause(quietMillis)
  const quiet = { ...honest.phase(), ...at(), busy: busy() }
  if (quiet.deliveries === 0) throw new Error(`nothing is delivered: ${await (await fetch(`${service.url}/api/health`)).text()}\n${service.log.join('\n')}`)
  say(`quiet: p50 ${quiet.p50} ms, p99 ${quiet.p99} ms, ${Math.round(quiet.memory)} MiB, ${quiet.descriptors} descriptors, ${quiet.files} files`)

  const victims = Array.from({ length: SOCKETS }, (_, n) => memberOf(n))
  attackers.postMessage({ begin: { url: service.url, only, victims, community: COMMUNITY, channel: CHANNEL } })
  const { counts, stop } = flood(jetstream, { perSecond: FLOOD_PER_SECOND, only, channel: CHANNEL, community: COMMUNITY, hosts: HOSTS })
  undo.push(stop)
  const busyOfMinute = meter(service.workerd)
  const peak = { memory: 0, descriptors: 0, files: 0, bytes: 0 }
  const beganAt = performance.now()
  const until = beganAt + hostileMillis
  let minutes = 0
  for (let left; (left = until - performance.now()) > 0; ) {
    await Promise.race([broke, pause(Math.min(left, LOOK_EVERY_MILLIS))])
    const now = at()
    if (performance.now() - beganAt >= (minutes + 1) * 60_000) {
      const { p50, p99 } = honest.stretch()
      say(`minute ${++minutes}: p50 ${p50} ms, p99 ${p99} ms, ${Math.round(now.memory)} MiB, CPU ${busyOfMinute().service.toFixed(2)}, ${now.rows.held} held`)
    }
    for (const key of /** @type {(keyof typeof peak)[]} */ (Object.keys(peak))) peak[key] = Math.max(peak[key], now[key])
  }
  const hostile = { ...honest.phase(), busy: busy() }
  stop()
  const stopped = received('stopped')
  attackers.postMessage({ stop: true })
  const strangers = [...(await stopped).stopped, ...counts()]
  say(`hostile: p50 ${hostile.p50} ms, p99 ${hostile.p99} ms, at most ${Math.round(peak.memory)} MiB, ${peak.descriptors} descriptors, ${peak.files} files`)

  const expected = { sockets: SOCKETS, strangers: STRANGERS, hosts: HOSTS }
  const missed = (/** @type {ReturnType<typeof bounds>} */ rows) => rows.filter(({ is, bound }) => !(is <= bound))
  const leftAt = performance.now()
  let after = bounds(at(), quiet, expected)
  while (missed(after).length > 0 && performance.now() - leftAt < settleMillis) {
    await pause(1_000)
    after = bounds(at(), quiet, expected)
  }
  const settledMillis = Math.round(performance.now() - leftAt)
  const calm = { ...honest.phase(), busy: busy() }
  await honest.fallSilent(30_000)
  const account = honest.account()
  const health = /** @type {any} */ (await (await fetch(`${service.url}/api/health`)).json())

  const phases = [quiet, hostile, calm]
  const failures = [
    ...(account.lost > 0 ? [`${account.lost} deliveries are missing`] : []),
    ...(account.doubled > 0 ? [`${account.doubled} deliveries came twice`] : []),
    ...(account.disordered > 0 ? [`${account.disordered} events came out of order`] : []),
    ...account.closed.map((how) => `an honest socket was closed with ${how}`),
    ...phases.flatMap(({ failedReads }) => failedReads).map((what) => `an honest read failed: ${what}`),
    ...restarts,
    ...missed(after).map(({ what, is, bound }) => `${what}: ${is} of ${bound}`),
    ...strangers.filter((/** @type {any} */ one) => Object.keys(one.counts).length === 0).map((/** @type {any} */ one) => `nothing came of "${one.name}"`),
  ]
  return { quiet, hostile, calm, peak, after, settledMillis, account, strangers, health, failures, slow: phases.flatMap(({ lateReads }) => lateReads), log: service.log }
}
