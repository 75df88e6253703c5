// @ts-check
// How fast the service recovers from an outage: `npm run bench:backfill`. On a local network with two PDSes, 30 people
// write 12,000 messages while the service is down and the stream forgets them; then the service starts, and the clock
// runs until the index has exactly those records.
//
// Promises: everything is on 127.0.0.1; the index is compared with what the PDSes list, by `listRecords`; ends all it
// started. The PDSes run on the same machine, and reading a repository costs them more than it costs the service.
// Options: --people N (30), --records N (12000).

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { readArguments } from '../../scripts/commands.js'
import { startNetwork } from '../network/client.js'
import { chatter, gather, listedMessages, shownMessages } from '../network/crowd.js'
import { cpuSeconds, peakMemory } from './process.js'
import { serve } from './service.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LOOK_EVERY_MILLIS = 100
const GIVE_UP_AFTER_MILLIS = 10 * 60_000

const { values: options } = readArguments('bench:backfill')

const folder = mkdtempSync(join(tmpdir(), 'colibri-edge-backfill-'))
const network = await startNetwork({ state: join(folder, 'network'), two: true })
let service
try {
  const pds2 = /** @type {string} */ (network.pds2)
  const env = {
    JETSTREAM_URL: network.jetstream,
    PLC_URL: network.plc,
    INSECURE_HOSTS: [network.plc, network.pds, pds2, network.jetstream].map((url) => new URL(url).host).join(','),
  }
  const state = join(folder, 'service')
  service = await serve(ROOT, state, env)
  await until(async () => (await health()).connected, 'the stream to be read')
  const { alice, channel, people } = await gather(network, Number(options.people))
  await alice.message(channel.rkey, 'before')
  await until(async () => {
    const { repos } = await health()
    return repos.known === people.length + 1 && repos.due === 0
  }, 'everybody to be known')
  await service.stop()

  const framesBefore = (await network.stats()).frames
  const written = await chatter(people, channel.rkey, Number(options.records))
  await until(async () => (await network.stats()).frames >= framesBefore + written, 'the stream to have them')
  await network.lookback((await network.stats()).lastTimeUs + 1)
  await Promise.all([network.asked(0), network.asked(1)])

  service = await serve(ROOT, state, env)
  await until(async () => (await health()).connected, 'the stream to be read')
  const cpuBefore = cpuSeconds(service.workerd)
  await alice.message(channel.rkey, 'after')
  const began = performance.now()
  await until(async () => {
    const { repos, gaps } = await health()
    return gaps.length > 0 || repos.due > 0
  }, 'the gap to be noticed')
  await until(async () => {
    const { repos, gaps } = await health()
    return gaps.length === 0 && repos.due === 0
  }, 'the gap to be closed')
  const seconds = (performance.now() - began) / 1000

  const cpu = (cpuSeconds(service.workerd) ?? 0) - (cpuBefore ?? 0)
  const peak = peakMemory(service.workerd)
  const asked = [await network.asked(0), await network.asked(1)] // before the comparison asks
  const shown = await shownMessages({ fetchJson }, channel.uri)
  const listed = await listedMessages([alice, ...people])
  const missing = [...listed].filter(([uri, { text }]) => shown.get(uri)?.text !== text).length
  const surplus = [...shown.keys()].filter((uri) => !listed.has(uri)).length
  console.log(`${people.length} repositories on two hosts, ${written} records written while the service was down`)
  console.log(`made up for in ${seconds.toFixed(1)} s: ${Math.round(written / seconds)} records/s, ${cpu.toFixed(1)} s of CPU`)
  console.log(`peak memory of the runtime: ${peak?.toFixed(0) ?? 'unknown'} MiB`)
  for (const [n, { total, mostPerSecond, mostAtOnce }] of asked.entries()) {
    console.log(`host ${n + 1}: ${total} requests, at most ${mostPerSecond} in a second and ${mostAtOnce} at a time`)
  }
  console.log(`compared with listRecords: ${missing} missing or different, ${surplus} too many`)
  process.exitCode = missing + surplus === 0 ? 0 : 1
} finally {
  await service?.stop()
  await network.stop()
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
}

async function health() {
  return (await fetchJson('/api/health')).body.ingest
}

/** @param {string} path */
async function fetchJson(path) {
  const response = await fetch(service?.url + path)
  return { headers: response.headers, body: await response.json() }
}

/** @param {() => Promise<boolean>} holds @param {string} what */
async function until(holds, what) {
  const giveUpAt = Date.now() + GIVE_UP_AFTER_MILLIS
  while (!(await holds())) {
    if (Date.now() > giveUpAt) throw new Error(`waited ${GIVE_UP_AFTER_MILLIS} ms for ${what}`)
    await pause(LOOK_EVERY_MILLIS)
  }
}
