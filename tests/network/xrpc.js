// @ts-check
// One XRPC call over `fetch`, and the error it can end with.

/** An answer that is not a success; the message names the call, the status and the body. */
export class XrpcError extends Error {
  /** @param {string} nsid @param {number} status @param {string} text the body */
  constructor(nsid, status, text) {
    super(`${nsid} answered ${status}: ${text}`)
    this.name = 'XrpcError'
    this.status = status
    /** The name of the error, such as `ExpiredToken`. @type {string | undefined} */
    this.error = undefined
    try {
      this.error = JSON.parse(text).error
    } catch {
      // not every failing server answers in JSON; the message has the text
    }
  }
}

/**
 * A query, or a procedure when there is an `input`.
 *
 * @param {string} service such as http://127.0.0.1:2583
 * @param {string} nsid
 * @param {object} [options]
 * @param {Record<string, string | number | boolean | undefined>} [options.params]
 * @param {object | Uint8Array} [options.input] bytes are sent as they are, anything else as JSON
 * @param {boolean} [options.procedure] a procedure without input
 * @param {string} [options.mime] of bytes
 * @param {string} [options.token]
 * @returns {Promise<any>}
 */
export async function xrpc(service, nsid, { params = {}, input, procedure = input !== undefined, mime, token } = {}) {
  const url = new URL(`/xrpc/${nsid}`, service)
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined) url.searchParams.set(name, String(value))
  }
  const bytes = input instanceof Uint8Array
  /** @type {Record<string, string>} */
  const headers = {}
  if (token) headers.authorization = `Bearer ${token}`
  if (input) headers['content-type'] = bytes ? (mime ?? 'application/octet-stream') : 'application/json'
  const body = /** @type {any} */ (bytes || input === undefined ? input : JSON.stringify(input))
  const response = await fetch(url, { method: procedure ? 'POST' : 'GET', headers, body })
  const text = await response.text()
  if (!response.ok) throw new XrpcError(nsid, response.status, text)
  return text === '' ? {} : JSON.parse(text)
}
