// Colibri's lexicons, and whether what a service sends is as they say.
//
// Promises: the files in tests/lexicons are the network's own, unchanged. What the client of today needs otherwise stands in
// EXCEPTIONS, each with the reason.

import { readFileSync, readdirSync } from 'node:fs'

import { jsonToLex } from '@atproto/lex-json'
import { BlobRef, Lexicons } from '@atproto/lexicon'

const FOLDER = new URL('../lexicons/', import.meta.url)
const lexicons = new Lexicons()
for (const name of readdirSync(FOLDER).filter((name) => name.endsWith('.json'))) lexicons.add(JSON.parse(readFileSync(new URL(name, FOLDER), 'utf8')))

const EVENTS = 'social.colibri.sync.subscribeEvents'

/** Where the client reads something else than the lexicon says. */
const EXCEPTIONS = {
  // The lexicon has plain blobs; records and the client have the blob and its name.
  message_event: ({ attachments = [], ...data }) => ({ ...data, attachments: attachments.map(({ blob }) => blob) }),
}

/** JSON as the validator wants it: blobs are objects of their own. @param {any} value */
function read(value) {
  if (Array.isArray(value)) return value.map(read)
  if (typeof value !== 'object' || value === null) return value
  const { $type, ref, mimeType, size } = value
  if ($type === 'blob') return new BlobRef(jsonToLex(ref), mimeType, size)
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, read(entry)]))
}

/**
 * Throws if a frame of the events socket is not as the lexicon says. Keys that it does not name may be there.
 * @param {{type: string, data?: any}} frame
 */
export function checkFrame(frame) {
  if (frame.type === 'ack') return
  const name = frame.type.replace(/_(.)/g, (_, letter) => letter.toUpperCase())
  const data = EXCEPTIONS[frame.type]?.(frame.data) ?? frame.data
  const result = lexicons.validate(`${EVENTS}#${name}Data`, read(data))
  if (!result.success) throw new Error(`${frame.type} is not as its lexicon says: ${result.error.message}\n${JSON.stringify(frame)}`)
}
