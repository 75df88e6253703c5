// @ts-check
// `npm run replay -- FILE.jsonl`: feeds a file of Jetstream frames, one per line, to a running service.
//
// There are two ways:
//   1. into a running `npm start` (the default; --control URL names another local network): it appends the frames to
//      the stream of that network, and waits until the service has been sent all of them;
//   2. --port P (0: any): it serves the file itself, as a Jetstream with an inclusive cursor, until Ctrl-C. Start the
//      service with the printed JETSTREAM_URL: its `?cursor=1` makes a service without a cursor start at the first
//      frame.
//
// Promises: a line that is not a frame is skipped and reported, with its number and the reason; a file without any
// frame changes nothing and is an error; frames keep their order. `time_us` must increase strictly in every stream: a
// frame whose time is not later than all before it gets the next free one, and the command reports how many did.
// Records and revisions stay unchanged, so replaying a file twice changes nothing the second time. Account events have
// no revision: with a later time they apply again.

import { once } from 'node:events'
import { createReadStream, createWriteStream, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'

import { readArguments, typedPath } from './commands.js'
import { isProgram } from './paths.js'
import { DEMO_DIR, readDemo } from './demo.js'
import { END_SIGNALS, endWithParent } from './node24.js'
import { freePort } from './port.js'
import { exitWith, Refusal, say } from './progress.js'

const USAGE = 'Usage: npm run replay -- FILE.jsonl [--control URL | --port P]'
const HOST = '127.0.0.1'
const LOOK_EVERY_MILLIS = 100
/** A service that accepts no frame for this long is not reading the stream. */
const STUCK_AFTER_MILLIS = 30_000
const SKIPPED_SHOWN = 20
/** The longest frame that the service reads (wire/jetstream.rs); a longer line is sent all the same. */
const WRITE_AHEAD_BYTES = 1024 * 1024

/** Why a line is not a Jetstream frame; undefined if it is one. @param {string} line */
export function whyNoFrame(line) {
  let frame
  try {
    frame = JSON.parse(line)
  } catch {
    return 'not JSON'
  }
  if (frame === null || typeof frame !== 'object' || Array.isArray(frame)) return 'not a JSON object'
  if (typeof frame.did !== 'string') return 'no "did"'
  if (typeof frame.kind !== 'string') return 'no "kind"'
  if (frame.time_us !== undefined && !Number.isSafeInteger(frame.time_us)) return '"time_us" is not a whole number'
  const { commit } = frame
  if (frame.kind !== 'commit') return undefined
  if (commit === null || typeof commit !== 'object') return 'a commit without "commit"'
  const absent = ['rev', 'operation', 'collection', 'rkey'].find((name) => typeof commit[name] !== 'string')
  return absent && `a commit without "${absent}"`
}

/**
 * Reads a file and writes only its frames to `clean`.
 * @param {string} file @param {string} clean
 * @returns {Promise<{ frames: number, skipped: { line: number, why: string }[] }>}
 */
async function sift(file, clean) {
  const output = createWriteStream(clean, { highWaterMark: WRITE_AHEAD_BYTES })
  const found = { frames: 0, skipped: /** @type {{ line: number, why: string }[]} */ ([]) }
  let number = 0
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
    number += 1
    if (line.trim() === '') continue
    const why = whyNoFrame(line)
    if (why) {
      found.skipped.push({ line: number, why })
      continue
    }
    found.frames += 1
    if (!output.write(`${line}\n`)) await once(output, 'drain')
  }
  output.end()
  await once(output, 'finish')
  return found
}

/** @param {{ line: number, why: string }[]} skipped */
function sayWhatIsSkipped(skipped) {
  if (skipped.length === 0) return
  say(`skipped ${skipped.length === 1 ? 'one line that is no frame' : `${skipped.length} lines that are no frames`}:`)
  for (const { line, why } of skipped.slice(0, SKIPPED_SHOWN)) say(`  line ${line}: ${why}`)
  if (skipped.length > SKIPPED_SHOWN) say(`  and ${skipped.length - SKIPPED_SHOWN} more`)
}

function readOptions() {
  const { values, positionals } = readArguments('replay')
  if (positionals.length !== 1) throw new Refusal(USAGE)
  if (values.control && values.port) throw new Refusal(`--control and --port are two ways; choose one.\n${USAGE}`)
  const port = values.port === undefined ? undefined : Number(values.port)
  const file = typedPath(positionals[0], 'replay')
  if (!existsSync(file)) throw new Refusal(`There is no file ${file}.\n${USAGE}`)
  if (!statSync(file).isFile()) throw new Refusal(`${file} is not a file.\n${USAGE}`)
  return { file, port, control: values.control }
}

/** The control address of a running `npm start`, whose network keeps its ports. */
function demoControl() {
  const ports = join(DEMO_DIR, 'network', 'ports.json')
  if (!existsSync(ports)) {
    throw new Refusal('There is no demo yet. Start it in another terminal with `npm start`, or serve the file with --port 0.')
  }
  return `http://${HOST}:${JSON.parse(readFileSync(ports, 'utf8')).control}`
}

/** @param {string} control @param {string} path @param {object} [body] */
async function ask(control, path, body) {
  const response = await fetch(control + path, { method: body && 'POST', body: body && JSON.stringify(body) }).catch((error) => {
    throw new Refusal(`Nothing answers at ${control} (${error.cause?.code ?? error.message}). Is \`npm start\` running?`)
  })
  const text = await response.text()
  const answer = text.startsWith('{') ? JSON.parse(text) : {}
  if (!response.ok || !('result' in answer)) {
    throw new Refusal(`${control}${path} answered ${response.status}: ${answer.error ?? text.slice(0, 200)}`)
  }
  return answer.result
}

/** Waits until every reader of the stream has been sent all of it. @param {string} control */
async function sentToAll(control) {
  let before = -1
  let movedAt = Date.now()
  for (;;) {
    const { subscribers, framesSent, state } = await ask(control, '/stats')
    if (subscribers.length > 0 && subscribers.every(({ waiting }) => waiting === 0)) return subscribers.length
    if (framesSent !== before) movedAt = Date.now()
    before = framesSent
    if (Date.now() - movedAt > STUCK_AFTER_MILLIS) {
      const readers = subscribers.map(({ waiting }) => `one has ${waiting} frames before it`).join(', ') || 'nobody is connected'
      throw new Refusal(
        `The frames are in the stream, but for ${STUCK_AFTER_MILLIS / 1000} s nobody read on (the stream is ${state}; ${readers}).`,
      )
    }
    await pause(LOOK_EVERY_MILLIS)
  }
}

/** The health of the service of `npm start`, if it answers. */
async function health() {
  const service = readDemo()?.service
  const response = service && (await fetch(`${service}/api/health`).catch(() => undefined))
  return response && (await response.json()).ingest
}

/** Waits until the service of `npm start` has stored what it received, and prints the result. */
async function sayWhatIsStored(before) {
  let ingest
  const giveUpAt = Date.now() + STUCK_AFTER_MILLIS
  do {
    await pause(LOOK_EVERY_MILLIS)
    ingest = await health()
    if (!ingest) return
  } while ((ingest.queued > 0 || ingest.untold > 0) && Date.now() < giveUpAt)
  say(
    `the service's cursor is at ${ingest.cursor_at}: ${ingest.refused - before.refused} more refused, ` +
      `${ingest.held_records} waiting for others${ingest.queued > 0 ? `, ${ingest.queued} not stored yet` : ''}`,
  )
}

/** Appends the frames to the stream of a local network: that of `npm start`, or another. */
async function append(named, clean, frames) {
  const control = named ?? demoControl()
  const { lastTimeUs } = await ask(control, '/stats')
  const healthBefore = named ? undefined : await health()
  const renumbered = await countOutOfOrder(clean, lastTimeUs)
  await ask(control, '/jetstream/load', { path: clean })
  const readers = await sentToAll(control)
  say(`appended ${frames} frames to the stream of ${control}; all of them were sent to ${readers} reader${readers === 1 ? '' : 's'}`)
  if (renumbered > 0) say(`${renumbered} got a later time_us, because the stream had passed theirs`)
  if (healthBefore) await sayWhatIsStored(healthBefore)
}

/** Counts the frames whose time is not later than all before. */
async function countOutOfOrder(file, last) {
  let count = 0
  for await (const line of createInterface({ input: createReadStream(file) })) {
    const { time_us: time } = JSON.parse(line)
    if (Number.isSafeInteger(time) && time > last) last = time
    else {
      count += 1
      last += 1
    }
  }
  return count
}

/** Serves the frames until it is stopped. */
async function serve(port, clean, frames, folder) {
  const [{ FrameLog }, { Jetstream }, { startControl }] = await Promise.all([
    import('../tests/network/log.js'),
    import('../tests/network/jetstream.js'),
    import('../tests/network/control.js'),
  ]).catch((error) => {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new Refusal(`The packages of tests/network are not installed. Install them with: npm run setup\n(${error.message})`)
  })
  const chosen = await freePort(HOST, port)
  const log = new FrameLog(folder)
  log.load(clean)
  const jetstream = new Jetstream({ port: chosen, log })
  await jetstream.resume()
  const control = await startControl({ port: await freePort(HOST, 0), jetstream })
  const end = (code) => {
    rmSync(folder, { recursive: true, force: true })
    process.exit(code)
  }
  for (const signal of END_SIGNALS) process.once(signal, () => end(0))
  endWithParent(() => end(1))
  process.stdout.write(`ready ${jetstream.url}?cursor=1 control ${control.url}\n`)
  say(`serving ${frames} frames. Start the service with JETSTREAM_URL=${jetstream.url}?cursor=1; Ctrl-C ends this.`)
}

async function replay() {
  const { file, port, control } = readOptions()
  const folder = mkdtempSync(join(tmpdir(), 'colibri-replay-'))
  let keep = false
  try {
    const clean = join(folder, 'frames.jsonl')
    const { frames, skipped } = await sift(file, clean)
    sayWhatIsSkipped(skipped)
    if (frames === 0) throw new Refusal(`There is no frame in ${file}${skipped.length > 0 ? '' : ': it is empty'}.`)
    if (port === undefined) return await append(control, clean, frames)
    keep = true
    await serve(port, clean, frames, folder)
  } finally {
    if (!keep) rmSync(folder, { recursive: true, force: true })
  }
}

if (isProgram(import.meta.url)) replay().catch(exitWith)
