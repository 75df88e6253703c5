// @ts-check
// Converts the events of a PDS into the frames of Jetstream.
//
// `readFirehose` follows `com.atproto.sync.subscribeRepos` from a sequence number on and passes on, for every event in
// order, its number and its frames; after a lost connection it continues after the last event that was taken.
// `framesOf` is the conversion alone. A frame's `time_us` is the time of its event; the log makes it unique.
//
// Like a relay, it believes a PDS about the state of an account only if the account lives there: an account that has
// moved is deactivated at its old PDS, and is not gone.

import { decode } from '@atproto/lex-cbor'
import { lexToJson } from '@atproto/lex-json'
import { readCarWithRoot } from '@atproto/repo'
import { Subscription } from '@atproto/xrpc-server'

const MICROS_PER_MILLI = 1000
const RECONNECT_MILLIS = 200

/**
 * @typedef {Record<string, any> & {did: string, time_us: number, kind: string}} Frame
 */

/**
 * @param {object} options
 * @param {string} options.pds its HTTP address
 * @param {() => number} options.seq the last event that was taken; 0 for none
 * @param {(seq: number, frames: Frame[]) => void} options.take
 * @param {AbortSignal} options.signal ends the reading
 * @param {(message: string) => void} options.warn
 * @param {(did: string) => Promise<boolean>} [options.hosts] whether an account lives at this PDS
 */
export async function readFirehose({ pds, seq, take, signal, warn, hosts = async () => true }) {
  while (!signal.aborted) {
    const events = new Subscription({
      service: pds.replace(/^http/, 'ws'),
      method: 'com.atproto.sync.subscribeRepos',
      getParams: () => ({ cursor: seq() }),
      validate: (body) => /** @type {any} */ (body),
      maxReconnectSeconds: 1,
      signal,
    })
    try {
      for await (const event of events) {
        if (typeof event.seq !== 'number') warn(`the PDS says ${JSON.stringify(event)}`)
        else if (event.seq > seq()) {
          const isElsewhere = event.$type.endsWith('#account') && !(await hosts(event.did))
          take(event.seq, isElsewhere ? [] : await framesOf(event))
        }
      }
    } catch (error) {
      if (!signal.aborted) warn(`reading the PDS failed after event ${seq()}: ${error}`)
    }
    if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, RECONNECT_MILLIS))
  }
}

/**
 * One frame for each operation of a commit, one for an identity or account event, none for anything
 * else (Jetstream v1 does not pass on `#sync`).
 *
 * @param {any} event
 * @returns {Promise<Frame[]>}
 */
export async function framesOf(event) {
  const kind = event.$type.slice(event.$type.indexOf('#') + 1)
  const time_us = Date.parse(event.time) * MICROS_PER_MILLI
  const { did, seq, time } = event
  switch (kind) {
    case 'commit':
      return commitFrames(event, time_us)
    case 'identity':
      return [{ did, time_us, kind, identity: { did, ...(event.handle && { handle: event.handle }), seq, time } }]
    case 'account': {
      const { active, status } = event
      return [{ did, time_us, kind, account: { active, did, seq, time, ...(!active && status && { status }) } }]
    }
    default:
      return []
  }
}

/** @param {any} event @param {number} time_us @returns {Promise<Frame[]>} */
async function commitFrames(event, time_us) {
  const { blocks } = await readCarWithRoot(event.blocks)
  return event.ops.map((/** @type {any} */ op) => {
    const [collection, rkey] = op.path.split('/')
    const commit = { rev: event.rev, operation: op.action, collection, rkey }
    if (op.action !== 'delete') {
      const bytes = blocks.get(op.cid)
      if (!bytes) throw new Error(`event ${event.seq} of the PDS does not bring the record ${op.path}`)
      Object.assign(commit, { record: lexToJson(decode(bytes)), cid: op.cid.toString() })
    }
    return { did: event.repo, time_us, kind: 'commit', commit }
  })
}
