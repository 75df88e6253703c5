// @ts-check
// `npm run import -- FILE`: brings an export (`GET /api/export`, R43) into an empty service.
//
// The file is played to the service as its stream, so that every record goes through the same gate as any other. Two ways:
//   --state DIR: starts the service on that folder for as long as the import takes, and ends it; `npm run serve` goes on with it;
//   --url URL --port P: a service that runs already, and reads ws://127.0.0.1:P/subscribe.
//
// Promises: a file that was cut off or is malformed is refused before anything is played, with the number of the line; so is a
// service that is not empty, unless --merge is given. The command ends when everything is decided, and says what became of it. The
// same file a second time changes nothing. The file is read as it is played: memory does not grow with it. The service then goes on
// in the real stream from ten minutes before the export.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream, existsSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { WebSocketServer } from 'ws'

import { readArguments, typedPath } from './commands.js'
import { END_SIGNALS, node24 } from './node24.js'
import { isProgram, ROOT } from './paths.js'
import { freePort } from './port.js'
import { exitWith, Refusal, say } from './progress.js'

const USAGE = 'Usage: npm run import -- FILE (--state DIR | --url URL --port P) [--merge]'
const HOST = '127.0.0.1'
const LOOK_EVERY_MILLIS = 200
/** A service that decides nothing for so long does not read the stream. */
const STUCK_AFTER_MILLIS = 60_000
/** So long before the export the stream goes on afterwards; nothing of it counts as live (Q01). */
const BEFORE_EXPORT_US = 600_000_000
const SEND_AHEAD_BYTES = 1024 * 1024
/** Of a profile that came from no record: older than every record. */
const OLDEST_REV = '2222222222222'
const URI = /^at:\/\/(did:[a-z]+:[A-Za-z0-9._:%-]+)\/([A-Za-z0-9.-]+)\/([A-Za-z0-9._:~-]{1,512})$/
const REV = /^[2-7a-z]{13}$/
const CID = /^[A-Za-z0-9+=]{1,256}$/
/** A line as the service writes it: the text after "value" is replayed byte for byte. */
const LINE = /^\{"uri":"[^"\\]*","cid":(?:null|"[^"\\]*"),"rev":(?:null|"[^"\\]*"),"value":(\{.*\})\}$/s

/** @typedef {{ records: number, at: number, collections: Map<string, number> }} Contents */

/** @param {unknown} value @returns {value is Record<string, any>} */
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value)

/** Why an object is no record of an export, or undefined when it is one. @param {Record<string, any>} line */
function whyNoRecord({ uri, cid, rev, value }) {
  if (typeof uri !== 'string' || !URI.test(uri)) return '"uri" is not the AT-URI of a record'
  if (cid !== null && (typeof cid !== 'string' || !CID.test(cid))) return '"cid" is neither a CID nor null'
  if (rev !== null && (typeof rev !== 'string' || !REV.test(rev))) return '"rev" is neither a revision nor null'
  if (!isObject(value)) return '"value" is not a JSON object'
}

/** The lines of a file, with their numbers. @param {string} file */
async function* linesOf(file) {
  let number = 0
  for await (const text of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
    number += 1
    if (text.trim() !== '') yield { number, text }
  }
}

/** Reads all of a file and says what is in it; refuses one that is no whole export. @param {string} file @returns {Promise<Contents>} */
async function contentsOf(file) {
  /** @param {number} number @param {string} why @returns {never} */
  const refuse = (number, why) => {
    throw new Refusal(`${file} is no export: line ${number}: ${why}.`)
  }
  const collections = new Map()
  let [records, last] = [0, 0]
  let end
  let goesOn = false
  for await (const { number, text } of linesOf(file)) {
    last = number
    if (end) refuse(number, 'there is a line after the last one')
    let line
    try {
      line = JSON.parse(text)
    } catch {
      refuse(number, 'not JSON; the file may have been cut off')
    }
    if (!isObject(line)) refuse(number, 'not a JSON object')
    goesOn = line.end === false
    if (line.end === true || goesOn) {
      if (line.records !== records) refuse(number, `it says that there are ${line.records} records, but ${records} came before it`)
      if (!goesOn) end = line
      continue
    }
    const why = whyNoRecord(line)
    if (why) refuse(number, why)
    const [, , collection] = /** @type {string[]} */ (URI.exec(line.uri))
    collections.set(collection, (collections.get(collection) ?? 0) + 1)
    records += 1
  }
  if (last === 0) throw new Refusal(`${file} is no export: it is empty.`)
  if (goesOn) {
    throw new Refusal(`${file} is not complete: line ${last}, its last, says that the export goes on. Append what \
GET /api/export answers with the cursor of that line, and do so until a line says "end":true.`)
  }
  if (!end) throw new Refusal(`${file} was cut off: line ${last}, its last, does not say that it is the end. Export it again.`)
  const at = Date.parse(end.at)
  if (Number.isNaN(at)) refuse(last, '"at" is not a time')
  return { records, at, collections }
}

/** The frame of a line. @param {string} text @param {any} line what it says @param {number} timeUs */
function frameOf(text, line, timeUs) {
  const [, did, collection, rkey] = /** @type {string[]} */ (URI.exec(line.uri))
  const cid = line.cid === null ? '' : `,"cid":"${line.cid}"`
  return (
    `{"did":"${did}","time_us":${timeUs},"kind":"commit","commit":{"rev":"${line.rev ?? OLDEST_REV}","operation":"create",` +
    `"collection":"${collection}","rkey":"${rkey}","record":${valueIn(text, line)}${cid}}}`
  )
}

/** The text after "value": byte for byte where the line is as the service writes it. @param {string} text @param {any} line */
function valueIn(text, line) {
  const written = LINE.exec(text)?.[1]
  try {
    if (written && JSON.stringify(JSON.parse(written)) === JSON.stringify(line.value)) return written
  } catch {
    // another form of the same
  }
  return JSON.stringify(line.value)
}

/**
 * A Jetstream that replays a file to every client: nothing before it is opened, then from the requested cursor. Frames are a
 * microsecond apart.
 */
class Player {
  #file
  /** The time of the frame before the first record. @type {number | undefined} */
  #beginUs
  /** @type {(() => void)[]} */
  #waiting = []
  #http = createServer((_, response) => response.writeHead(426).end('this is a WebSocket server, see /subscribe\n'))
  #sockets = new WebSocketServer({ server: this.#http, path: '/subscribe', perMessageDeflate: false })
  /** Why it cannot go on. @type {Error | undefined} */
  broken

  /** @param {string} file */
  constructor(file) {
    this.#file = file
    this.#sockets.on('connection', (socket, request) => {
      socket.on('error', () => {}) // a close follows
      const cursor = Number(new URL(request.url ?? '/', 'ws://player').searchParams.get('cursor') ?? 0)
      this.#play(socket, cursor).catch((error) => {
        this.broken = error
      })
    })
  }

  /** @param {number} port */
  async listen(port) {
    this.#http.listen(port, HOST)
    await once(this.#http, 'listening')
  }

  /** @param {number} beginUs */
  open(beginUs) {
    this.#beginUs = beginUs
    for (const go of this.#waiting.splice(0)) go()
  }

  close() {
    for (const socket of this.#sockets.clients) socket.terminate()
    this.#sockets.close()
    this.#http.close()
    this.#http.closeAllConnections()
  }

  /** @param {import('ws').WebSocket} socket @param {number} cursor */
  async #play(socket, cursor) {
    if (this.#beginUs === undefined) await new Promise((go) => this.#waiting.push(() => go(undefined)))
    let timeUs = Number(this.#beginUs)
    // A cursor names an event. This is the one that a service asks for which was here before (J07), and is about nobody.
    const did = 'did:plc:import'
    if (timeUs >= cursor) await send(socket, JSON.stringify({ did, time_us: timeUs, kind: 'identity', identity: { did } }))
    for await (const { text } of linesOf(this.#file)) {
      if (socket.readyState !== socket.OPEN) return
      const line = JSON.parse(text)
      // The end, of the whole or of a part, is no record.
      if ('end' in line) continue
      timeUs += 1
      if (timeUs >= cursor) await send(socket, frameOf(text, line, timeUs))
    }
  }
}

/** Sends a text; resolves at once while little is on its way, else when it is gone. @param {import('ws').WebSocket} socket @param {string} text */
function send(socket, text) {
  if (socket.bufferedAmount < SEND_AHEAD_BYTES) return void socket.send(text)
  return new Promise((resolve) => socket.send(text, () => resolve(undefined)))
}

function readOptions() {
  const { values, positionals } = readArguments('import')
  if (positionals.length !== 1) throw new Refusal(USAGE)
  if (!values.state === !values.url) throw new Refusal(`Say where to: --state DIR or --url URL.\n${USAGE}`)
  if (!values.url !== !values.port) throw new Refusal(`--url and --port belong together.\n${USAGE}`)
  const port = Number(values.port ?? 0)
  if (!Number.isInteger(port) || port < 0 || port > 65_535 || (values.port && port === 0)) {
    throw new Refusal(`--port must be a number from 1 to 65535, not ${values.port}`)
  }
  const file = typedPath(positionals[0], 'import')
  if (!existsSync(file)) throw new Refusal(`There is no file ${file}.\n${USAGE}`)
  if (!statSync(file).isFile()) throw new Refusal(`${file} is not a file.\n${USAGE}`)
  return { file, port, merge: values.merge, url: values.url?.replace(/\/+$/, ''), state: values.state && typedPath(values.state, 'import') }
}

/** What a service says of itself. @param {string} url */
async function health(url) {
  const response = await fetch(`${url}/api/health`).catch((error) => {
    throw new Refusal(`Nothing answers at ${url} (${error.cause?.code ?? error.message}).`)
  })
  const body = await response.json().catch(() => undefined)
  if (!isObject(body?.ingest) || !('cursor_us' in body.ingest)) {
    throw new Refusal(`${url}/api/health answers ${response.status}, and not what this service says when its database answers.`)
  }
  return body.ingest
}

/** Starts the service on a folder, with a stream. @param {string} state @param {string} stream */
async function startService(state, stream) {
  const env = {
    ...process.env,
    JETSTREAM_URL: stream,
    // What is imported was counted when it was written (K17).
    INGEST_POINTS_HOUR: '0',
    INGEST_POINTS_DAY: '0',
    COLIBRI_END_WITH_PARENT: '1',
  }
  const child = spawn(node24(), [join(ROOT, 'scripts', 'serve.js'), '--port', '0', '--state', state], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [log, printed] = ['', '']
  child.stderr.setEncoding('utf8').on('data', (text) => {
    log = (log + text).slice(-10_000)
  })
  const exited = once(child, 'exit')
  const ready = new Promise((found) =>
    child.stdout.setEncoding('utf8').on('data', (text) => {
      printed += text
      const url = printed.match(/^ready (\S+)$/m)?.[1]
      if (url) found(url)
    }),
  )
  const stop = async () => {
    child.kill('SIGTERM')
    await exited
  }
  for (const signal of END_SIGNALS) process.once(signal, () => stop().finally(() => process.exit(1)))
  const url = await Promise.race([ready, exited.then(() => undefined)])
  if (!url) throw new Refusal(`The service did not start on ${state}:\n${log.trim()}`)
  return { url: String(url), stop, log: () => log.trim() }
}

/** Waits until the service reads the stream, and returns its ingest status. @param {string} url @param {Player} player */
async function connected(url, player) {
  const giveUpAt = Date.now() + STUCK_AFTER_MILLIS
  for (;;) {
    const ingest = await health(url)
    if (ingest.connected && ingest.cursor_us !== null) return ingest
    if (player.broken) throw player.broken
    if (Date.now() > giveUpAt) throw new Refusal(`${url} does not read the stream at ${ingest.host}.`)
    await pause(LOOK_EVERY_MILLIS)
  }
}

/** Waits until everything up to this time is committed and delivered. @param {string} url @param {number} endUs @param {Player} player */
async function decided(url, endUs, player) {
  let before = ''
  let movedAt = Date.now()
  for (;;) {
    const ingest = await health(url)
    if (ingest.cursor_us >= endUs && ingest.queued === 0 && ingest.untold === 0) return ingest
    if (player.broken) throw player.broken
    if (ingest.left_out > 0) {
      throw new Refusal(
        `${url} leaves records out, because their authors wrote more than their points allow (K17). Start it with ` +
          'INGEST_POINTS_HOUR=0 INGEST_POINTS_DAY=0, and import once more with --merge.',
      )
    }
    const now = JSON.stringify([ingest.cursor_us, ingest.queued, ingest.untold])
    if (now !== before) movedAt = Date.now()
    before = now
    if (Date.now() - movedAt > STUCK_AFTER_MILLIS) {
      throw new Refusal(`For ${STUCK_AFTER_MILLIS / 1000} s ${url} committed nothing; its cursor is at ${ingest.cursor_at}, and ${ingest.queued} events wait.`)
    }
    await pause(LOOK_EVERY_MILLIS)
  }
}

/** @param {number} count @param {string} one @param {string} [many] */
const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`

/** Plays the file to the service at `url`. @param {string} url @param {Player} player @param {Contents} contents @param {boolean} merge */
async function play(url, player, { records, at }, merge) {
  const before = await connected(url, player)
  if (!merge && (before.repos.known > 0 || before.held_records > 0)) {
    throw new Refusal(
      `The service at ${url} is not empty: it knows ${counted(before.repos.known, 'repository', 'repositories')}. ` +
        'With --merge the records are added to it.',
    )
  }
  const exportedUs = Math.min(at, Date.now()) * 1000 - BEFORE_EXPORT_US
  const beginUs = Math.max(exportedUs - records - 1, before.cursor_us)
  player.open(beginUs)
  const after = await decided(url, beginUs + records, player)
  return { refused: after.refused - before.refused, held: after.held_records - before.held_records }
}

async function run() {
  const { file, port, merge, url, state } = readOptions()
  const contents = await contentsOf(file)
  const kinds = [...contents.collections].map(([collection, count]) => `${count} ${collection}`).join(', ')
  say(`${file}: ${counted(contents.records, 'record')}${kinds && ` (${kinds})`}`)
  const player = new Player(file)
  const chosen = await freePort(HOST, port)
  await player.listen(chosen)
  const stream = `ws://${HOST}:${chosen}/subscribe`
  let service
  try {
    if (state) service = await startService(state, `${stream}?cursor=1`)
    else {
      const { host } = await health(String(url))
      if (host !== `${HOST}:${chosen}`) {
        throw new Refusal(
          `The service at ${url} reads ${host}. Start it with JETSTREAM_URL='${stream}?cursor=1' INGEST_POINTS_HOUR=0 ` +
            'INGEST_POINTS_DAY=0, and import then.',
        )
      }
    }
    const { refused, held } = await play(service?.url ?? String(url), player, contents, merge)
    say(`decided: ${counted(contents.records, 'record')}, of these ${refused} refused by the gate, ${held} waiting for others`)
    if (refused > 0) say('why records are refused: SELECT * FROM refusals_by_reason')
    if (state) say(`go on with: npm run serve -- --state ${state}`)
  } finally {
    await service?.stop()
    player.close()
  }
}

if (isProgram(import.meta.url)) run().then(() => process.exit(0), exitWith)
