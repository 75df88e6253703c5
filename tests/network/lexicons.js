// @ts-check
// The lexicons of Colibri's AppView, to compare answers and frames with. They are nobody's to ship, so they are not in
// the repository: they are looked for in LEXICONS_DIR, and beside the checkout.
//
// Promises: where the client of today needs something else than a lexicon says, it stands in EXCEPTIONS, with the reason.

import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { jsonToLex, Lexicons } from '@atproto/lexicon'

const BESIDE = ['../../../shared/upstream/lexicons', '../../../../shared/upstream/lexicons']
const EVENTS = 'social.colibri.sync.subscribeEvents'

/** What the client reads, and the lexicon does not have. */
const NOT_IN_THE_LEXICON = ['ack', 'resumed', 'role_event', 'application_event', 'seen_event', 'mute_event', 'notification_event']

/** @type {Record<string, (data: any) => any>} */
const EXCEPTIONS = {
  // The lexicon has plain blobs; records and the client have the blob and its name.
  message_event: ({ attachments = [], ...data }) => ({ ...data, attachments: attachments.map((/** @type {any} */ { blob }) => blob) }),
}

/** The folder of the lexicons, if there is one. */
export function lexiconsFolder() {
  const beside = BESIDE.map((path) => fileURLToPath(new URL(path, import.meta.url)))
  return [process.env.LEXICONS_DIR, ...beside].find((folder) => folder && existsSync(folder))
}

/** @param {string} folder */
export function openLexicons(folder) {
  const lexicons = new Lexicons()
  for (const file of readdirSync(folder).filter((name) => name.startsWith('social.colibri.'))) {
    const document = JSON.parse(readFileSync(join(folder, file), 'utf8'))
    // A set of OAuth permissions describes no data.
    if (document.defs.main?.type === 'permission-set') continue
    lexicons.add(document)
  }
  /** @param {string} nsid */
  const has = (nsid) => lexicons.get(nsid) !== undefined
  /**
   * Fails unless `body` is an answer of `nsid` as a client reads it. @param {string} nsid @param {unknown} body
   */
  const validate = (nsid, body) => lexicons.assertValidXrpcOutput(nsid, jsonToLex(/** @type {any} */ (body)))
  return {
    has,
    validate,
    /**
     * Fails unless an answer is that of the lexicon, or an error as the client reads it (N157).
     * @param {string} nsid @param {{ status: number, body: any }} answer @param {string} why
     */
    conforms(nsid, { status, body }, why) {
      if (status === 200) {
        try {
          if (has(nsid)) validate(nsid, body)
        } catch (error) {
          assert.fail(`${why}: ${/** @type {Error} */ (error).message}\n${JSON.stringify(body, null, 1)}`)
        }
        assert(!JSON.stringify(body).includes(':null'), `${why}: N160: nothing is null: ${JSON.stringify(body)}`)
        return
      }
      assert([400, 401, 403, 404, 421, 502, 503].includes(status), `${why}: ${status} ${JSON.stringify(body)}`)
      if (status > 500) assert.equal(body.error, 'UpstreamFailure', 'N157')
      if (status === 421) assert.equal(body.error, 'NotCommunityHub', 'N173')
      const { hub, ...rest } = body
      assert.deepEqual(Object.keys(rest), ['error', 'message'], why)
      // A PDS does not pass it on.
      assert(hub === undefined || status === 421, why)
    },
    /**
     * Fails unless a frame of the events socket is as the lexicon says. Keys that it does not name may be there.
     * @param {{ type: string, data?: any }} frame
     */
    validateFrame(frame) {
      if (NOT_IN_THE_LEXICON.includes(frame.type)) return
      const name = frame.type.replace(/_(.)/g, (_, letter) => letter.toUpperCase())
      const data = EXCEPTIONS[frame.type]?.(frame.data) ?? frame.data
      const result = lexicons.validate(`${EVENTS}#${name}Data`, jsonToLex(data))
      if (result.success === false) throw new Error(`${frame.type} is not as its lexicon says: ${result.error.message}\n${JSON.stringify(frame)}`)
    },
  }
}
