// @ts-check
// A whole atproto network in one process: PLC directory, PDS, Jetstream and their remote control.
//
//   node main.js --state DIR [--plc-port N] [--pds-port N] [--jetstream-port N] [--control-port N]
//                [--two-pdses] [--exit-with-parent]
//
// When all of it answers, one line of JSON on stdout names the addresses; stdout has nothing else. The log of the PDS
// and the directory goes to `network.log` in the state directory. SIGTERM, SIGINT and, with --exit-with-parent, the end
// of stdin stop it: exit code 0, within three seconds. A later start on the same directory continues the same network,
// with its accounts and its stream.

import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { assertInstalled } from './installation.js'
import { choosePorts } from './ports.js'
import { substituteSqlite } from './sqlite.js'

/** A PDS that waits for a slow client must not hold up the end; its databases survive a crash. */
const STOP_MILLIS = 2000

const { values: options } = parseArgs({
  options: {
    state: { type: 'string' },
    'plc-port': { type: 'string' },
    'pds-port': { type: 'string' },
    'jetstream-port': { type: 'string' },
    'control-port': { type: 'string' },
    'two-pdses': { type: 'boolean', default: false },
    'exit-with-parent': { type: 'boolean', default: false },
  },
})

/** Called from the last to the first. @type {(() => unknown)[]} */
const stops = []

main().catch((error) => {
  console.error(`network: ${error instanceof Error ? error.message : error}`)
  process.exit(1)
})

async function main() {
  if (!options.state) throw new Error('--state DIR is missing: the directory this network lives in')
  assertInstalled()
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  if (options['exit-with-parent']) process.stdin.once('close', stop).resume()

  const state = resolve(options.state)
  mkdirSync(state, { recursive: true })
  const ports = await choosePorts(
    state,
    { plc: port('plc-port'), pds: port('pds-port'), jetstream: port('jetstream-port'), control: port('control-port') },
    { two: options['two-pdses'] },
  )

  // The loggers of the PDS and the directory read their destination when they are loaded.
  process.env.LOG_ENABLED = 'true'
  process.env.LOG_LEVEL = 'warn'
  process.env.LOG_DESTINATION = join(state, 'network.log')
  substituteSqlite()
  const [{ startPlc }, { startPds }, { Jetstream }, { FrameLog }, { readFirehose }, { startControl }] = await Promise.all([
    import('./plc.js'),
    import('./pds.js'),
    import('./jetstream.js'),
    import('./log.js'),
    import('./firehose.js'),
    import('./control.js'),
  ])

  const plc = await startPlc({ state, port: ports.plc })
  stops.push(plc.stop)
  const pds = await startPds({ state, port: ports.pds, plc: plc.url })
  stops.push(pds.stop)
  const pdses = [pds]
  if (ports.pds2) {
    pdses.push(await startPds({ state, port: ports.pds2, plc: plc.url, name: 'pds2' }))
    stops.push(pdses[1].stop)
  }

  const log = new FrameLog(state)
  const jetstream = new Jetstream({ port: ports.jetstream, log })
  await jetstream.resume()
  stops.push(() => jetstream.close())

  const reading = new AbortController()
  const warn = (/** @type {string} */ message) => console.error(`network: ${message}`)
  const read = Promise.all(
    pdses.map((one, index) =>
      readFirehose({
        pds: one.url,
        seq: () => log.seqs[index] ?? 0,
        take: (seq, frames) => jetstream.take(seq, frames, index),
        signal: reading.signal,
        warn,
        hosts: async (did) => {
          const found = await fetch(`${plc.url}/${did}`)
          return !found.ok || (await found.json()).service[0]?.serviceEndpoint === one.url
        },
      }),
    ),
  )
  stops.push(() => {
    reading.abort()
    return read
  })

  const control = await startControl({ port: ports.control, jetstream, pdses })
  stops.push(control.stop)

  console.log(JSON.stringify({ plc: plc.url, pds: pds.url, pds2: pdses[1]?.url, jetstream: jetstream.url, control: control.url }))
}

function stop() {
  setTimeout(() => process.exit(0), STOP_MILLIS)
  stopAll().then(
    () => process.exit(0),
    (error) => {
      console.error(`network: stopping failed: ${error}`)
      process.exit(0)
    },
  )
}

async function stopAll() {
  for (let undo = stops.pop(); undo; undo = stops.pop()) await undo()
}

/** @param {'plc-port' | 'pds-port' | 'jetstream-port' | 'control-port'} name @returns {number | undefined} */
function port(name) {
  const text = options[name]
  if (text === undefined) return undefined
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1 || number > 65_535) throw new Error(`--${name} ${text} is not a port`)
  return number
}
