// @ts-check
// `npm run bench:ingest`: how many events of the realistic mix (mix.js) the service processes per second, with all that
// follows: rules, database, sequence numbers, logs of the communities.
//
// A run: `npm run serve` on an empty state reads a Jetstream of its own (stream.js, another process); communities and
// members are indexed first and not counted; then the mix is put into the stream at once, and the clock runs until the
// last event is stored and delivered to every community. So the measurement shows the fastest possible reader, not the
// stream.
//
// Promises: everything is on 127.0.0.1; fails if an event was refused that should not be, or anything stays
// undelivered; ends all it started. Options: --events N (100000), --runs N (3), --seed N (1), --root DIR (this clone;
// another clone to compare with), --json (the numbers, for scripts).

import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

import { writeFrames } from './frames.js'
import { Mix } from './mix.js'
import { quantile } from './numbers.js'
import { cpuSeconds, mainThreadSeconds, peakMemory } from './process.js'
import { rowsStored } from './rows.js'
import { serve } from './service.js'
import { serveFrames } from './stream.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** A status request costs the service a query; four times a second is exact enough for runs of many seconds. */
const LOOK_EVERY_MILLIS = 250
/** A service that stores nothing new for so long will not store the rest. */
const STUCK_AFTER_MILLIS = 60_000
const AIM_PER_SECOND = 12_000

const { values: options } = parseArgs({
  options: {
    events: { type: 'string', default: '100000' },
    runs: { type: 'string', default: '3' },
    seed: { type: 'string', default: '1' },
    root: { type: 'string', default: ROOT },
    json: { type: 'boolean', default: false },
  },
})

/** @param {'events' | 'runs' | 'seed'} name */
function wholeNumber(name) {
  const number = Number(options[name])
  if (!Number.isInteger(number) || number < 1) throw new Error(`--${name} must be a whole number from 1 on, not ${options[name]}`)
  return number
}

/**
 * Waits until the event of this time is stored and everything is delivered. @param {Awaited<ReturnType<typeof serve>>}
 * service @param {number} timeUs
 */
async function taken(service, timeUs) {
  let last
  let movedAt = Date.now()
  for (;;) {
    const response = await fetch(`${service.url}/api/health`)
    const { ingest } = await response.json()
    if (ingest.cursor_us > timeUs) throw new Error('the service began to read after these frames, so it measured nothing')
    if (ingest.cursor_us === timeUs && ingest.untold === 0) return ingest
    const stands = `${ingest.cursor_us} ${ingest.untold}`
    if (stands !== last) movedAt = Date.now()
    last = stands
    if (Date.now() - movedAt > STUCK_AFTER_MILLIS) {
      throw new Error(`nothing moved for ${STUCK_AFTER_MILLIS / 1000} s: ${JSON.stringify(ingest)}\n${service.log.join('\n')}`)
    }
    await pause(LOOK_EVERY_MILLIS)
  }
}

/** One run. @param {{ folder: string, count: number, seed: number }} run */
async function measure({ folder, count, seed }) {
  const mix = new Mix({ seed })
  const [prologue, events] = [join(folder, 'prologue.jsonl'), join(folder, 'events.jsonl')]
  const prologueEnds = writeFrames(prologue, mix.prologue()).lastTimeUs
  const eventsEnd = writeFrames(events, mix.events(count)).lastTimeUs
  const { network, pid: stream } = await serveFrames(prologue)
  let service
  try {
    service = await serve(resolve(options.root), join(folder, 'state'), { JETSTREAM_URL: network.jetstream })
    const before = await taken(service, prologueEnds)
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
    const after = await taken(service, eventsEnd)
    const seconds = (performance.now() - startedAt) / 1000
    const cpuAfter = cpu()
    const used = Object.fromEntries(Object.keys(cpuAfter).map((name) => [name, cpuAfter[name] - cpuBefore[name]]))
    const peak = peakMemory(pids.workerd)
    const per = (name) => (after.since_woken?.[name] - before.since_woken?.[name]) / count
    const rows = { read: per('rows_read'), written: per('rows_written'), commits: per('commits') }
    await service.stop()
    const stored = rowsStored(join(folder, 'state'))
    return { seconds, perSecond: count / seconds, refused: after.refused, held: after.held_records, cpu: used, peak, stored, rows }
  } finally {
    await service?.stop()
    await network.stop()
  }
}

const fixed = (/** @type {number | undefined} */ number, digits = 1) => number?.toFixed(digits) ?? '?'

async function bench() {
  const [count, runs, seed] = [wholeNumber('events'), wholeNumber('runs'), wholeNumber('seed')]
  const results = []
  for (let run = 1; run <= runs; run++) {
    const folder = mkdtempSync(join(tmpdir(), 'colibri-bench-'))
    try {
      const result = await measure({ folder, count, seed })
      results.push(result)
      const { perSecond, seconds, cpu, peak, refused, held } = result
      const spent = Object.entries(cpu).map(([name, used]) => `${name} ${fixed(used)}`)
      console.error(
        `run ${run}: ${Math.round(perSecond)} events/s (${fixed(seconds)} s; CPU seconds: ${spent.join(', ')}; ` +
          `workerd at most ${fixed(peak, 0)} MiB; ${refused} refused, ${held} held; load ${fixed(loadavg()[0])})`,
      )
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
  const perSecond = quantile(results.map((result) => result.perSecond))
  if (options.json) return console.log(JSON.stringify({ count, perSecond, results }))
  const last = results[results.length - 1]
  console.log(`
events                    ${count.toLocaleString('en')} of the mix, median of ${runs} runs on ${availableParallelism()} cores
events per second         ${Math.round(perSecond).toLocaleString('en')}   (aim: ${AIM_PER_SECOND.toLocaleString('en')})
CPU per event             workerd ${fixed((quantile(results.map(({ cpu }) => cpu.workerd)) / count) * 1e6, 0)} µs, of it its loop ${fixed((quantile(results.map(({ cpu }) => cpu.loop)) / count) * 1e6, 0)} µs, node ${fixed((quantile(results.map(({ cpu }) => cpu.node)) / count) * 1e6, 0)} µs
peak memory of workerd    ${fixed(Math.max(...results.map(({ peak }) => peak ?? Number.NaN)), 0)} MiB
rows per event            ${fixed(last.rows.read)} read, ${fixed(last.rows.written)} written (as D1 counts them, index entries included), ${fixed(1 / last.rows.commits, 0)} events per commit
rows in the database      ${last.stored.rows.toLocaleString('en')}, with index entries ${last.stored.written.toLocaleString('en')} (prologue included)
database                  ${fixed(last.stored.bytes / 2 ** 20, 0)} MiB; logs of ${last.stored.objects} objects ${fixed(last.stored.objectBytes / 2 ** 20, 0)} MiB`)
}

await bench()
