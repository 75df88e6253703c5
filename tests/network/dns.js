// @ts-check
// DNS over HTTPS for the handles of a network, in the JSON format of Cloudflare and Google: a request for the TXT
// records of `_atproto.<handle>` returns the DID that a PDS knows. `.test` has no DNS, and no request leaves this
// machine.

/** Codes of RFC 1035, 4.1.1. */
const NO_ERROR = 0
const NO_SUCH_NAME = 3
const TXT = 16

/**
 * Answers `?name=_atproto.alice.test&type=TXT`.
 * @param {string[]} pdses @param {URLSearchParams} query
 */
export async function answerDns(pdses, query) {
  const name = query.get('name') ?? ''
  const handle = name.startsWith('_atproto.') && query.get('type') === 'TXT' ? name.slice('_atproto.'.length) : undefined
  const did = handle && (await didOf(pdses, handle))
  if (!did) return { Status: NO_SUCH_NAME }
  return { Status: NO_ERROR, Answer: [{ name, type: TXT, TTL: 60, data: `"did=${did}"` }] }
}

/** @param {string[]} pdses @param {string} handle @returns {Promise<string | undefined>} */
async function didOf(pdses, handle) {
  for (const pds of pdses) {
    const answer = await fetch(`${pds}/xrpc/com.atproto.identity.resolveHandle?handle=${encodeURIComponent(handle)}`)
    const body = /** @type {any} */ (await answer.json())
    if (answer.ok) return body.did
  }
  return undefined
}
