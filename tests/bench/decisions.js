// @ts-check
// `npm run bench:decisions`: how many decisions of moderators the service makes in a second while it takes in the stream as fast as
// it can, and how long their callers wait.
//
// A run: `npm run serve` on an empty state reads a Jetstream of its own; communities and members are indexed first. Then more events
// of the mix (mix.js) than it can take in during the measurement are put into the stream at once, and bans of people from
// communities, each a different one, are asked for at a steady pace, whatever the answers. Then the same pace without a stream.
//
// Promises: everything on 127.0.0.1; an answer other than 204 is a lost attempt, and fails the run; so does a ban that was answered
// and is not in the database or not in the audit log, and a stream that ended before the measurement did; ends all it started.
// Options: --rate N (300 decisions a second), --seconds N (10), --events N (60000), --root DIR, --json (the numbers, for scripts).

import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Pool } from 'undici'

import { readArguments } from '../../scripts/commands.js'
import { databaseFile, inDatabase } from './databases.js'
import { didOf, writeFrames } from './frames.js'
import { pace } from './limits-flood.js'
import { Mix } from './mix.js'
import { quantile } from './numbers.js'
import { serve } from './service.js'
import { progress } from './state.js'
import { serveFrames } from './stream.js'

const KEY = 'the key of a benchmark of decisions'
const CONNECTIONS = 128
const LOOK_EVERY_MILLIS = 100
const STORED_WITHIN_MILLIS = 120_000
/** How long the stream runs before the first decision. */
const WARM_UP_MILLIS = 2_000
const AIM = { perSecond: 300, p99: 250 }

const { values: options } = readArguments('bench:decisions')

/** @param {'rate' | 'seconds' | 'events'} name */
function wholeNumber(name) {
  const number = Number(options[name])
  if (!Number.isInteger(number) || number < 1) throw new Error(`--${name} must be a whole number from 1 on, not ${options[name]}`)
  return number
}

/** The position of a stream in a state folder. @param {string} state */
const cursorOf = (state) => progress(state).cursor

/** @param {string} state @param {number} timeUs */
async function stored(state, timeUs) {
  for (const until = Date.now() + STORED_WITHIN_MILLIS; cursorOf(state) < timeUs; await pause(LOOK_EVERY_MILLIS)) {
    if (Date.now() > until) throw new Error(`the stream is not stored after ${STORED_WITHIN_MILLIS / 1000} s`)
  }
}

/** How many events have been stored up to a position. @param {number[]} times @param {number} cursor */
const eventsUntil = (times, cursor) => times.filter((time) => time <= cursor).length

/**
 * Asks for bans at a pace, and resolves with how long each caller waited, and which answers were none.
 * @param {string} url @param {string[]} communities @param {string} series @param {number} rate @param {number} seconds
 */
async function decide(url, communities, series, rate, seconds) {
  const pool = new Pool(url, { connections: CONNECTIONS, pipelining: 1 })
  const waits = /** @type {number[]} */ ([])
  const lost = /** @type {string[]} */ ([])
  const startedAt = performance.now()
  await pace(rate, seconds * 1000, async (n) => {
    const body = JSON.stringify({ community_uri: communities[n % communities.length], member_did: didOf(`${series} ${n}`) })
    const dueAt = startedAt + (n * 1000) / rate
    try {
      const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' }
      const answer = await pool.request({ path: '/api/community/ban', method: 'POST', headers, body })
      const text = await answer.body.text()
      // From when it was due: waiting for a free connection counts.
      if (answer.statusCode === 204) waits.push(performance.now() - dueAt)
      else lost.push(`${answer.statusCode} ${text}`)
    } catch (error) {
      lost.push(String(error))
    }
  })
  const took = (performance.now() - startedAt) / 1000
  await pool.close()
  const quantiles = { p50: quantile(waits), p99: quantile(waits, 0.99), longest: Math.max(...waits) }
  return { made: waits.length, lost, perSecond: waits.length / took, ...quantiles }
}

/** How many bans and entries of the audit log are stored. @param {string} state */
const storedDecisions = (state) =>
  inDatabase(databaseFile(state), (db) => {
    const count = (/** @type {string} */ sql) => Number(db.prepare(sql).get()?.n)
    return { bans: count('SELECT count(*) n FROM bans'), logged: count("SELECT count(*) n FROM audit_log WHERE action = 'ban'") }
  })

/** @param {string} folder */
async function measure(folder) {
  const [rate, seconds, events] = [wholeNumber('rate'), wholeNumber('seconds'), wholeNumber('events')]
  const state = join(folder, 'state')
  const mix = new Mix()
  const [prologue, stream] = [join(folder, 'prologue.jsonl'), join(folder, 'events.jsonl')]
  const { lastTimeUs: prologueEnds } = writeFrames(prologue, mix.prologue())
  const times = /** @type {number[]} */ ([])
  const noted = function* () {
    for (const frame of mix.events(events)) {
      times.push(frame.time_us)
      yield frame
    }
  }
  const { lastTimeUs: streamEnds } = writeFrames(stream, noted())
  const { network } = await serveFrames(prologue)
  let service
  try {
    service = await serve(resolve(options.root), state, { JETSTREAM_URL: network.jetstream, INVITE_API_KEY: KEY })
    await stored(state, prologueEnds)
    const communities = inDatabase(databaseFile(state), (db) => db.prepare('SELECT uri FROM communities').all().map(({ uri }) => String(uri)))
    const quiet = await decide(service.url, communities, 'quiet', rate, seconds)
    await network.load(stream)
    await pause(WARM_UP_MILLIS)
    const [from, startedAt] = [cursorOf(state), performance.now()]
    const busy = await decide(service.url, communities, 'busy', rate, seconds)
    const until = cursorOf(state)
    const beside = (eventsUntil(times, until) - eventsUntil(times, from)) / ((performance.now() - startedAt) / 1000)
    if (until >= streamEnds) throw new Error('the stream ended before the measurement: give more --events')
    const counted = storedDecisions(state)
    return { quiet, busy, beside, counted }
  } finally {
    await service?.stop()
    await network.stop()
  }
}

async function bench() {
  const folder = mkdtempSync(join(tmpdir(), 'colibri-bench-'))
  try {
    const result = await measure(folder)
    if (options.json) console.log(JSON.stringify(result))
    const show = (/** @type {string} */ name, /** @type {Awaited<ReturnType<typeof decide>>} */ { perSecond, p50, p99, longest, lost }) =>
      console.log(
        `${name.padEnd(24)} ${perSecond.toFixed(0)} decisions/s; p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms, longest ${longest.toFixed(0)} ms; ${lost.length} lost`,
      )
    const { quiet, busy, beside, counted } = result
    if (!options.json) {
      console.log(`${options.rate} decisions asked for per second on ${availableParallelism()} cores (aim: ${AIM.perSecond}, p99 below ${AIM.p99} ms)`)
      show('without a stream', quiet)
      show('beside a full stream', busy)
      console.log(`events beside them       ${Math.round(beside).toLocaleString('en')} per second`)
    }
    const made = quiet.made + busy.made
    const lost = [...quiet.lost, ...busy.lost]
    if (lost.length > 0) throw new Error(`${lost.length} attempts were lost, the first: ${lost[0]}`)
    if (counted.bans !== made || counted.logged !== made) {
      throw new Error(`${made} decisions were answered, but ${counted.bans} bans and ${counted.logged} entries of the log are stored`)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

await bench()
