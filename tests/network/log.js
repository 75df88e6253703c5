// @ts-check
// The frames of the bridge: kept in memory for replay, and on disk for the next start.
//
// `jetstream.jsonl` holds the frames, one per line, byte for byte as they are sent; `position.json`
// says how many of its bytes count and which event of the PDS they reach. It is replaced after the
// frames are written, and what lies beyond it is cut off at the next start: a crash between the two
// makes the bridge read that event again, so no frame is lost and none is there twice.
// `time_us` is unique and strictly increasing, whatever the frames bring along.

import { closeSync, ftruncateSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'

const LINE_END = Buffer.from('\n')
const WRITE_FRAMES = 1000

/** @typedef {import('./firehose.js').Frame} Frame */

export class FrameLog {
  /** Text of every frame, as sent. @type {Buffer[]} */
  texts = []
  /** @type {number[]} */
  timesUs = []
  /** @type {(string | undefined)[]} */
  dids = []
  /** Only commits have one. @type {(string | undefined)[]} */
  collections = []
  /** Of each PDS the last event whose frames are here. @type {number[]} */
  seqs = []
  /** Frames with a smaller `time_us` are not replayed. */
  floorUs = 0

  #bytes = 0
  #file
  #positionFile
  /** One string per distinct DID and collection, however many frames name it. @type {Map<string, string>} */
  #names = new Map()

  /** @param {string} state the state directory */
  constructor(state) {
    const path = join(state, 'jetstream.jsonl')
    this.#positionFile = join(state, 'position.json')
    this.#file = openSync(path, 'a+')
    const position = readPosition(this.#positionFile)
    ftruncateSync(this.#file, position.bytes)
    this.seqs = position.seqs ?? [position.seq]
    this.floorUs = position.floorUs
    this.#bytes = position.bytes
    for (const line of lines(readFileSync(path))) {
      this.#remember(head(line, path), line)
    }
  }

  /** The last event of the first PDS whose frames are here. */
  get seq() {
    return this.seqs[0] ?? 0
  }

  get length() {
    return this.texts.length
  }

  get lastTimeUs() {
    return this.timesUs.at(-1) ?? 0
  }

  /** Adds the frames of one event of a PDS. @param {number} seq @param {Frame[]} frames @param {number} [pds] which one */
  take(seq, frames, pds = 0) {
    this.seqs[pds] = seq
    this.append(frames)
  }

  /**
   * Adds frames; each keeps its `time_us` if that is later than all before, else gets the next one.
   *
   * @param {Partial<Frame>[]} frames
   */
  append(frames) {
    this.#write(frames.map((frame) => this.#stamped(frame)))
  }

  /**
   * Adds the frames of a JSONL file, all or (when a line is not a JSON object) none.
   *
   * @param {string} path
   * @returns {number} how many
   */
  load(path) {
    const found = lines(readFileSync(path))
    const heads = found.map((line, index) => head(line, `line ${index + 1} of ${path}`))
    if (areLater(heads, this.lastTimeUs)) {
      heads.forEach((frame, index) => this.#remember(frame, found[index]))
      this.#write(found)
      return found.length
    }
    for (let first = 0; first < found.length; first += WRITE_FRAMES) {
      this.append(found.slice(first, first + WRITE_FRAMES).map((line) => JSON.parse(line.toString())))
    }
    return found.length
  }

  /** The first frame with this `time_us` or a later one. @param {number} timeUs */
  indexAt(timeUs) {
    let low = 0
    let high = this.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.timesUs[middle] < timeUs) low = middle + 1
      else high = middle
    }
    return low
  }

  /** @param {number} timeUs */
  setFloor(timeUs) {
    this.floorUs = timeUs
    this.#writePosition()
  }

  close() {
    closeSync(this.#file)
  }

  /** @param {Partial<Frame>} frame @returns {Buffer} */
  #stamped(frame) {
    const { did, time_us, ...rest } = frame
    const time = typeof time_us === 'number' && Number.isSafeInteger(time_us) ? time_us : nowMicros()
    const stamped = { did, time_us: Math.max(time, this.lastTimeUs + 1), ...rest }
    return this.#remember(stamped, Buffer.from(JSON.stringify(stamped)))
  }

  /** @param {any} frame @param {Buffer} text */
  #remember(frame, text) {
    this.texts.push(text)
    this.timesUs.push(frame.time_us)
    this.dids.push(this.#name(frame.did))
    this.collections.push(frame.kind === 'commit' ? this.#name(frame.commit?.collection) : undefined)
    return text
  }

  /** @param {unknown} name @returns {string | undefined} */
  #name(name) {
    if (typeof name !== 'string') return undefined
    const known = this.#names.get(name)
    if (known !== undefined) return known
    this.#names.set(name, name)
    return name
  }

  /** @param {Buffer[]} texts */
  #write(texts) {
    for (let first = 0; first < texts.length; first += WRITE_FRAMES) {
      const block = Buffer.concat(texts.slice(first, first + WRITE_FRAMES).flatMap((text) => [text, LINE_END]))
      for (let written = 0; written < block.length; ) written += writeSync(this.#file, block, written)
      this.#bytes += block.length
    }
    this.#writePosition()
  }

  #writePosition() {
    const { seq, seqs, floorUs } = this
    writeFileSync(this.#positionFile + '.new', JSON.stringify({ seq, seqs, bytes: this.#bytes, floorUs }) + '\n')
    renameSync(this.#positionFile + '.new', this.#positionFile)
  }
}

export function nowMicros() {
  return Date.now() * 1000
}

/**
 * What the log has to know of a frame; the rest of it stays text.
 *
 * @param {Buffer} line @param {string} place
 */
function head(line, place) {
  let frame
  try {
    frame = JSON.parse(line.toString())
  } catch {
    throw new Error(`${place} is not JSON`)
  }
  if (frame === null || typeof frame !== 'object' || Array.isArray(frame)) throw new Error(`${place} is not a JSON object`)
  const { did, time_us, kind, commit } = frame
  return { did, time_us, kind, commit: { collection: commit?.collection } }
}

/** @param {{time_us: unknown}[]} frames @param {number} last */
function areLater(frames, last) {
  for (const { time_us } of frames) {
    if (typeof time_us !== 'number' || !Number.isSafeInteger(time_us) || time_us <= last) return false
    last = time_us
  }
  return true
}

/** @param {string} file @returns {{seq: number, seqs?: number[], bytes: number, floorUs: number}} */
function readPosition(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error
    return { seq: 0, bytes: 0, floorUs: 0 }
  }
}

/** The lines of a file that are not empty, as views into it. @param {Buffer} bytes @returns {Buffer[]} */
function lines(bytes) {
  const found = []
  for (let start = 0; start < bytes.length; ) {
    const end = bytes.indexOf(0x0a, start)
    const stop = end === -1 ? bytes.length : end
    if (stop > start) found.push(bytes.subarray(start, stop))
    start = stop + 1
  }
  return found
}
