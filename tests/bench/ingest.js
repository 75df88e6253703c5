// @ts-check
// `npm run bench:ingest`: how many events of the realistic mix (mix.js) the service takes in per second, with all that follows:
// rules, database, sequence numbers, logs of the communities.
//
// A run: `npm run serve` on an empty state reads a Jetstream of its own (stream.js, another process); communities and members
// are indexed first and not counted; then the mix is put into the stream at once, and the clock runs until the last event is
// stored and the outbox is empty: every community received its events. The fastest possible reader is thus what is measured, not
// the stream. Both are read beside the service, in its file, because a question would change what is measured.
//
// Promises: everything on 127.0.0.1; fails when an event was refused that should not be, when the messages are not as many as the
// mix wrote, or when two runs led to different states (state.js); ends all it started. Options: --events N (100000), --runs N (3),
// --seed N (1), --root DIR (this clone), --against DIR (another clone: its runs alternate with ours, and the ratio is shown with its
// spread), --floor (the same frames, read by a bare object: others.js), --external COMMAND with --counter COMMAND (read by another
// program), --json (the numbers, for scripts).

import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { readArguments } from '../../scripts/commands.js'
import { writeFrames } from './frames.js'
import { Mix } from './mix.js'
import { quantile } from './numbers.js'
import { measureFloor, measureProgram } from './others.js'
import { cpuSeconds, mainThreadSeconds, peakMemory } from './process.js'
import { rowsStored } from './rows.js'
import { serve } from './service.js'
import { outcome, progress, sharedColumns } from './state.js'
import { serveFrames } from './stream.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LOOK_EVERY_MILLIS = 100
/** A service that stores nothing new for so long will not store the rest. */
const STUCK_AFTER_MILLIS = 60_000
const AIM_PER_SECOND = 12_000

const { values: options } = readArguments('bench:ingest')

/** @param {'events' | 'runs' | 'seed'} name */
function wholeNumber(name) {
  const number = Number(options[name])
  if (!Number.isInteger(number) || number < 1) throw new Error(`--${name} must be a whole number from 1 on, not ${options[name]}`)
  return number
}

/**
 * Waits until the event of this time is stored and delivered; resolves with what health says then.
 * @param {Awaited<ReturnType<typeof serve>>} service @param {string} state @param {number} timeUs
 */
async function taken(service, state, timeUs) {
  let last
  let movedAt = Date.now()
  for (;;) {
    const { cursor, undelivered } = progress(state)
    if (cursor > timeUs) throw new Error('the service began to read after these frames, so it measured nothing')
    if (cursor === timeUs && undelivered === 0) return performance.now()
    const stands = `${cursor} ${undelivered}`
    if (stands !== last) movedAt = Date.now()
    last = stands
    if (Date.now() - movedAt > STUCK_AFTER_MILLIS) {
      throw new Error(`nothing moved for ${STUCK_AFTER_MILLIS / 1000} s: cursor and outbox are at ${stands}\n${service.log.join('\n')}`)
    }
    await pause(LOOK_EVERY_MILLIS)
  }
}

/** @param {{ url: string }} service */
const ingestOf = async ({ url }) => /** @type {any} */ (await (await fetch(`${url}/api/health`)).json()).ingest

/** The frames of a run, in files. @param {string} folder @param {number} count @param {number} seed */
function framesOf(folder, count, seed) {
  const mix = new Mix({ seed })
  const [prologue, events] = [join(folder, 'prologue.jsonl'), join(folder, 'events.jsonl')]
  const { lastTimeUs: prologueEnds, count: prologueCount } = writeFrames(prologue, mix.prologue())
  const { lastTimeUs: eventsEnd } = writeFrames(events, mix.events(count))
  return { prologue, prologueEnds, prologueCount, events, eventsEnd, count, messages: mix.messages }
}

/** One run. @param {{ root: string, folder: string, count: number, seed: number, columns: Map<string, string[]> }} run */
async function measure({ root, folder, count, seed, columns }) {
  const state = join(folder, 'state')
  const { prologue, prologueEnds, events, eventsEnd, messages } = framesOf(folder, count, seed)
  const { network, pid: stream } = await serveFrames(prologue)
  let service
  try {
    service = await serve(root, state, { JETSTREAM_URL: network.jetstream })
    await taken(service, state, prologueEnds)
    const before = await ingestOf(service)
    if (before.refused > 0) throw new Error(`${before.refused} events of the prologue were refused`)
    const pids = { workerd: service.workerd, node: service.pid, stream }
    const cpu = () => ({
      ...Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, cpuSeconds(pid) ?? 0])),
      loop: mainThreadSeconds(pids.workerd) ?? 0,
    })
    const cpuBefore = cpu()
    console.error(`measuring (workerd is process ${pids.workerd})`)
    // The stream reads and checks the file in this call, and sends at its end: the clock starts when it has.
    await network.load(events)
    const startedAt = performance.now()
    const seconds = ((await taken(service, state, eventsEnd)) - startedAt) / 1000
    const cpuAfter = cpu()
    const after = await ingestOf(service)
    const used = Object.fromEntries(Object.keys(cpuAfter).map((name) => [name, cpuAfter[name] - cpuBefore[name]]))
    const peak = peakMemory(pids.workerd)
    const per = (name) => (after.since_woken?.[name] - before.since_woken?.[name]) / count
    const rows = { read: per('rows_read'), written: per('rows_written'), commits: per('commits') }
    await service.stop()
    const stored = rowsStored(state)
    const led = outcome(state, columns)
    if (led.messages !== messages) throw new Error(`${led.messages} messages are stored, and ${messages} were written`)
    return { led, seconds, perSecond: count / seconds, refused: after.refused, held: after.held_records, cpu: used, peak, stored, rows }
  } finally {
    await service?.stop()
    await network.stop()
  }
}

const fixed = (/** @type {number | undefined} */ number, digits = 1) => number?.toFixed(digits) ?? '?'

/** What `run` makes of a folder that is gone afterwards. @template T @param {(folder: string) => Promise<T>} run */
async function inFolder(run) {
  const folder = mkdtempSync(join(tmpdir(), 'colibri-bench-'))
  try {
    return await run(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** A run, and a line about it. @param {string} root @param {number} run @param {{ count: number, seed: number, columns: Map<string, string[]> }} what */
const run = (root, run, what) =>
  inFolder(async (folder) => {
    const result = await measure({ root, folder, ...what })
    const { perSecond, seconds, cpu, peak, refused, held, led } = result
    const spent = Object.entries(cpu).map(([name, used]) => `${name} ${fixed(used)}`)
    console.error(
      `run ${run} of ${root}: ${Math.round(perSecond)} events/s (${fixed(seconds)} s; CPU seconds: ${spent.join(', ')}; workerd at most ` +
        `${fixed(peak, 0)} MiB; ${refused} refused, ${held} held, ${led.numbered} numbered, state ${led.digest}; load ${fixed(loadavg()[0])})`,
    )
    return result
  })

/** The same frames for others, once each, and a line about each. @param {string} root @param {number} count @param {number} seed @param {number} ours */
async function runOthers(root, count, seed, ours) {
  const show = (/** @type {string} */ name, /** @type {{ perSecond: number, cpuMicros: number }} */ { perSecond, cpuMicros }) =>
    `${name.padEnd(25)} ${Math.round(perSecond).toLocaleString('en')} events per second at ${fixed(cpuMicros, 0)} µs of CPU: ours are ${fixed(ours / perSecond, 2)} of it`
  const measured = []
  if (options.floor) measured.push(show('floor', await inFolder((folder) => measureFloor(root, folder, framesOf(folder, count, seed)))))
  if (options.external) {
    const program = { command: options.external, counter: options.counter }
    measured.push(show('the other program', await inFolder((folder) => measureProgram(program, framesOf(folder, count, seed)))))
  }
  return measured
}

/** Ours divided by theirs, run by run. @param {number[]} ours @param {number[]} theirs */
function ratio(ours, theirs) {
  const ratios = ours.map((our, n) => our / theirs[n])
  return `${fixed(quantile(ratios), 2)} (${fixed(Math.min(...ratios), 2)} to ${fixed(Math.max(...ratios), 2)})`
}

async function bench() {
  const [count, runs, seed] = [wholeNumber('events'), wholeNumber('runs'), wholeNumber('seed')]
  const root = resolve(options.root)
  const other = options.against && resolve(options.against)
  if (options.external && !options.counter) throw new Error('--external needs --counter: a command that prints how many messages are stored')
  const what = { count, seed, columns: sharedColumns(other ? [root, other] : [root]) }
  const [results, others] = /** @type {Awaited<ReturnType<typeof measure>>[][]} */ ([[], []])
  for (let n = 1; n <= runs; n++) {
    if (other) others.push(await run(other, n, what))
    results.push(await run(root, n, what))
  }
  const states = new Set([...results, ...others].map(({ led }) => `${led.digest} ${led.numbered}`))
  if (states.size > 1) throw new Error(`the same stream led to different states: ${[...states].join(', ')}`)
  const perSecond = quantile(results.map((result) => result.perSecond))
  if (options.json) return console.log(JSON.stringify({ count, perSecond, results, others }))
  const last = results[results.length - 1]
  const cpuOf = (/** @type {'workerd' | 'loop' | 'node'} */ who) => `${fixed((quantile(results.map(({ cpu }) => cpu[who])) / count) * 1e6, 0)} µs`
  const against = (/** @type {(result: any) => number} */ of) => ratio(results.map(of), others.map(of))
  console.log(`
events                    ${count.toLocaleString('en')} of the mix, median of ${runs} runs on ${availableParallelism()} cores
events per second         ${Math.round(perSecond).toLocaleString('en')}   (aim: ${AIM_PER_SECOND.toLocaleString('en')})
CPU per event             workerd ${cpuOf('workerd')}, of it its loop ${cpuOf('loop')}, node ${cpuOf('node')}
peak memory of workerd    ${fixed(Math.max(...results.map(({ peak }) => peak ?? Number.NaN)), 0)} MiB
rows per event            ${fixed(last.rows.read)} read, ${fixed(last.rows.written)} written (as D1 counts them, index entries included), ${fixed(1 / last.rows.commits, 0)} events per commit
rows in the database      ${last.stored.rows.toLocaleString('en')}, with index entries ${last.stored.written.toLocaleString('en')} (prologue included)
database                  ${fixed(last.stored.bytes / 2 ** 20, 0)} MiB; logs of ${last.stored.objects} objects ${fixed(last.stored.objectBytes / 2 ** 20, 0)} MiB
state                     ${last.led.digest}: ${last.led.messages.toLocaleString('en')} messages, ${last.led.numbered.toLocaleString('en')} events numbered`)
  for (const line of await runOthers(root, count, seed, perSecond)) console.log(line)
  if (other) {
    console.log(`against ${other}
  events per second       ${against(({ perSecond }) => perSecond)} of its own
  CPU of the loop         ${against(({ cpu }) => cpu.loop)}
  CPU of workerd          ${against(({ cpu }) => cpu.workerd)}`)
  }
}

await bench()
