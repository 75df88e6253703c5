// @ts-check
// The filters of a Jetstream client: `wantedCollections`, `wantedDids`, `maxMessageSizeBytes`.
//
// The same three are in the query of `/subscribe` and in an `options_update` message. Empty means everything. Identity
// and account frames ignore the collections, but not the DIDs and the size.

const MAX_COLLECTIONS = 100
const MAX_DIDS = 10_000
const SEGMENT = '[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?'
const NSID = new RegExp(`^${SEGMENT}(?:\\.${SEGMENT})+$`)

/**
 * @typedef {object} Wanted
 * @property {Set<string>} collections exact names
 * @property {string[]} prefixes with their last dot
 * @property {Set<string>} dids
 * @property {number} maxBytes 0 for no limit
 */

/**
 * @param {{wantedCollections?: unknown, wantedDids?: unknown, maxMessageSizeBytes?: unknown}} asked
 * @returns {Wanted}
 */
export function parseWanted({ wantedCollections, wantedDids, maxMessageSizeBytes }) {
  const names = strings('wantedCollections', wantedCollections, MAX_COLLECTIONS)
  const dids = strings('wantedDids', wantedDids, MAX_DIDS)
  for (const name of names) {
    if (!NSID.test(name.replace(/\.\*$/, ''))) throw new Error(`wantedCollections: ${name} is neither an NSID nor a prefix such as social.colibri.*`)
  }
  for (const did of dids) {
    if (!did.startsWith('did:')) throw new Error(`wantedDids: ${did} is not a DID`)
  }
  const maxBytes = Number(maxMessageSizeBytes ?? 0)
  if (!Number.isSafeInteger(maxBytes)) throw new Error(`maxMessageSizeBytes: ${maxMessageSizeBytes} is not a whole number`)
  return {
    collections: new Set(names.filter((name) => !name.endsWith('*'))),
    prefixes: names.filter((name) => name.endsWith('*')).map((name) => name.slice(0, -1)),
    dids: new Set(dids),
    maxBytes: Math.max(0, maxBytes),
  }
}

/**
 * Whether this client gets this frame.
 *
 * @param {Wanted} wanted @param {string | undefined} did @param {string | undefined} collection
 * @param {number} bytes
 */
export function wants({ collections, prefixes, dids, maxBytes }, did, collection, bytes) {
  if (maxBytes > 0 && bytes > maxBytes) return false
  if (dids.size > 0 && !(did !== undefined && dids.has(did))) return false
  if (collection === undefined || (collections.size === 0 && prefixes.length === 0)) return true
  return collections.has(collection) || prefixes.some((prefix) => collection.startsWith(prefix))
}

/** @param {string} name @param {unknown} given @param {number} max @returns {string[]} */
function strings(name, given, max) {
  const list = given ?? []
  if (!Array.isArray(list) || list.some((entry) => typeof entry !== 'string')) throw new Error(`${name} must be a list of strings`)
  if (list.length > max) throw new Error(`${name}: ${list.length} given, at most ${max} allowed`)
  return list
}
