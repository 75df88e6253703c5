// @ts-check
// A played relay: it lists the repositories with records of a collection (`com.atproto.sync.listReposByCollection`),
// from the PDSes' current data. It has no other function of a relay, and stores nothing.
//
// `fault` makes it fail:
//   down      every connection is cut without an answer;
//   error     500;
//   nonsense  200, and no JSON;
//   flood     invented people, on one page after the other, for ever;
//   stuck     every page leads to itself.
// Its lists include `strays`: invalid entries.

import { createServer } from 'node:http'
import { once } from 'node:events'
import { HOST } from './ports.js'
import { xrpc } from './xrpc.js'

const LIST = '/xrpc/com.atproto.sync.listReposByCollection'

/** @typedef {'down' | 'error' | 'nonsense' | 'flood' | 'stuck'} RelayFault */

export class Relay {
  /** @type {RelayFault | undefined} */
  fault
  /** Entries of a page, whatever is asked for. */
  pageMax = 500
  /** Entries that name nobody. @type {unknown[]} */
  strays = []
  /** Collection and cursor of each request. @type {{collection: string, cursor: string | null}[]} */
  #asked = []
  #server
  #pdses

  /** @param {string[]} pdses */
  constructor(pdses) {
    this.#pdses = pdses
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch(() => response.destroy())
    })
  }

  async start() {
    this.#server.listen(0, HOST)
    await once(this.#server, 'listening')
    return this
  }

  get url() {
    const { port } = /** @type {import('node:net').AddressInfo} */ (this.#server.address())
    return `http://${HOST}:${port}`
  }

  /** What was asked since the last call. */
  news() {
    return this.#asked.splice(0)
  }

  async stop() {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeAllConnections()
    await closed
  }

  /** @param {import('node:http').IncomingMessage} request @param {import('node:http').ServerResponse} response */
  async #answer(request, response) {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://relay')
    const send = (/** @type {number} */ status, /** @type {string} */ text) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(text)
    const collection = searchParams.get('collection')
    if (pathname !== LIST || !collection) return send(404, '{"error":"MethodNotImplemented"}')
    const cursor = searchParams.get('cursor')
    this.#asked.push({ collection, cursor })
    if (this.fault === 'down') return request.socket.destroy()
    if (this.fault === 'error') return send(500, '{"error":"InternalServerError"}')
    if (this.fault === 'nonsense') return send(200, '<html>')
    const limit = Math.min(Number(searchParams.get('limit') ?? 500), this.pageMax)
    const from = Number(cursor ?? 0)
    const page = (/** @type {unknown[]} */ repos, /** @type {string | undefined} */ next) => send(200, JSON.stringify({ repos, cursor: next }))
    if (this.fault === 'flood') {
      const invented = Array.from({ length: limit }, (_, n) => ({ did: `did:plc:${String(from + n).padStart(24, 'x')}` }))
      return page(invented, String(from + limit))
    }
    const all = [...(await this.#havers(collection)).map((did) => ({ did })), ...this.strays]
    if (this.fault === 'stuck') return page(all.slice(0, limit), cursor ?? 'here')
    page(all.slice(from, from + limit), from + limit < all.length ? String(from + limit) : undefined)
  }

  /** Who has records of a collection. @param {string} collection */
  async #havers(collection) {
    /** @type {string[]} */
    const found = []
    for (const pds of this.#pdses) {
      let cursor
      do {
        const page = await xrpc(pds, 'com.atproto.sync.listRepos', { params: { limit: 500, cursor } })
        for (const { did, active } of page.repos) {
          if (active === false) continue
          const { collections } = await xrpc(pds, 'com.atproto.repo.describeRepo', { params: { repo: did } })
          if (collections.includes(collection)) found.push(did)
        }
        cursor = page.cursor
      } while (cursor)
    }
    return found
  }
}

/** Starts a relay for these PDSes. @param {string[]} pdses @returns {Promise<Relay>} */
export function startRelay(pdses) {
  return new Relay(pdses).start()
}
