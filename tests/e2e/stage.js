// A stage for tests that need a world with exact names: a Jetstream whose frames the test writes, a host that plays the
// PLC directory, the profile API and every PDS, and a service that knows only these.
//
// Promises: everything ends with the test file; `say` resolves when the frames are in the index; the host records every
// request, so that a test can check that there was none.

import { createServer } from 'node:http'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

import { Jetstream } from '../network/jetstream.js'
import { FrameLog } from '../network/log.js'
import { atEnd, eventually, freePort, freshFolder, revision, startService } from './harness.js'
import { connected } from './place.js'

/**
 * @param {{ env?: Record<string, string | undefined>, insecure?: string[] }} [options] `insecure`: other hosts that may be asked
 */
export async function openStage({ env = {}, insecure = [] } = {}) {
  const jetstream = new Jetstream({ port: await freePort(), log: new FrameLog(freshFolder()) })
  await jetstream.resume()
  atEnd(() => jetstream.close())
  const host = await openHost()
  const service = await startService({
    env: {
      JETSTREAM_URL: jetstream.url,
      PLC_URL: `${host.url}/plc`,
      BSKY_API_URL: `${host.url}/bsky`,
      DOH_URL: `${host.url}/dns`,
      CDN_URL: 'https://cdn.bsky.app',
      INSECURE_HOSTS: [host.name, ...insecure].join(),
      ...env,
    },
  })
  await connected(service)
  return new Stage(jetstream, host, service)
}

class Stage {
  #revs = 0

  constructor(jetstream, host, service) {
    this.jetstream = jetstream
    this.host = host
    this.service = service
  }

  /**
   * Writes people's records, in this order: `[who, "create" | "update" | "delete", "collection/rkey", record]`; a
   * collection without a dot is one of `social.colibri`. Resolves when all of them are in the index.
   * @param {[string, string, string, object?][]} writes
   */
  async say(...writes) {
    let last = 0
    for (const [who, operation, path, record] of writes) {
      const [collection, rkey] = path.split('/')
      this.#revs += 1
      const commit = {
        rev: revision(this.#revs),
        operation,
        collection: collection.startsWith('app.') ? collection : `social.colibri.${collection}`,
        rkey,
        ...(record && { record, cid: 'bafyreia' }),
      }
      last = this.jetstream.injectFrame({ did: `did:plc:${who}`, kind: 'commit', commit })
    }
    await this.#indexed(last)
  }

  /** An account event of a person. */
  async account(who, active, status) {
    const did = `did:plc:${who}`
    const account = { active, did, seq: 1, time: new Date().toISOString(), ...(status && { status }) }
    this.jetstream.injectFrame({ did, kind: 'account', account })
    // Account events wait for others in a batch; a record is urgent.
    await this.say([who, 'create', `actor.data/${who}`, {}])
  }

  /** An identity event of a person, who claims this handle. */
  async identity(who, handle) {
    const did = `did:plc:${who}`
    const identity = { did, handle, seq: 1, time: new Date().toISOString() }
    this.jetstream.injectFrame({ did, kind: 'identity', identity })
    // Such events wait for others in a batch; a record is urgent. This one is of somebody unrelated.
    await this.say(['somebody', 'delete', `message/${who}`])
  }

  #indexed(time) {
    return eventually(
      async () => {
        const { body } = await this.service.fetchJson('/api/health')
        return body.ingest.cursor_us >= time && body.ingest.queued === 0
      },
      { what: 'the frames to be in the index', timeout: 30_000 },
    )
  }

  /** Invalidates the response cache; a change behind the service's back is otherwise visible within a minute. */
  forgetAnswers() {
    return this.service.evict('Editions', 'main')
  }

  /**
   * Changes the database behind the service's back; reads may answer as before for a while. @param {(db: DatabaseSync)
   * => void} change
   */
  behindItsBack(change) {
    const folder = join(this.service.state, 'v3', 'd1')
    const files = readdirSync(folder, { recursive: true }).map(String)
    const named = files.filter((file) => file.endsWith('.sqlite') && !file.endsWith('metadata.sqlite'))
    if (named.length !== 1) throw new Error(`not one database in ${folder}: ${files}`)
    const db = new DatabaseSync(join(folder, named[0]))
    try {
      db.exec('PRAGMA busy_timeout = 10000')
      change(db)
    } finally {
      db.close()
    }
  }

  /** Every row of a list, by `cursor`, in pages of `limit`; rows of an object as its entries. */
  async walk(path, limit) {
    const rows = []
    let pages = 0
    for (let cursor; ;) {
      const { status, headers, body } = await this.service.fetchJson(
        `${path}&limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`,
      )
      if (status !== 200) throw new Error(`${path} answers ${status} ${JSON.stringify(body)}`)
      rows.push(...(Array.isArray(body) ? body : Object.entries(body)))
      pages += 1
      cursor = headers.get('colibri-cursor')
      if (!cursor) return { rows, pages }
    }
  }
}

/**
 * A host on 127.0.0.1. `routes` maps a path, or a path with its query, to an answer: an object is JSON, a function gets
 * request and response, `[status, body, headers]` is the answer itself; anything else is a 404.
 */
export async function openHost() {
  /** @type {Map<string, any>} */
  const routes = new Map()
  /** @type {{ url: string, headers: import('node:http').IncomingHttpHeaders }[]} */
  const asked = []
  const server = createServer((request, response) => {
    const url = request.url ?? '/'
    asked.push({ url, headers: request.headers })
    const route = routes.get(url) ?? routes.get(url.split('?')[0])
    if (typeof route === 'function') return route(request, response)
    const [status, body, headers] = Array.isArray(route) ? route : route ? [200, route, {}] : [404, { error: 'NotFound' }, {}]
    const isJson = !Buffer.isBuffer(body) && typeof body !== 'string'
    response.writeHead(status, { ...(isJson && { 'content-type': 'application/json' }), ...headers })
    response.end(isJson ? JSON.stringify(body) : body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  atEnd(
    () =>
      new Promise((resolve) => {
        server.close(resolve)
        server.closeAllConnections()
      }),
  )
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  const name = `127.0.0.1:${port}`
  return {
    name,
    url: `http://${name}`,
    routes,
    asked,
    /** The requests since the last call. */
    news: () => asked.splice(0).map(({ url }) => url),
  }
}
