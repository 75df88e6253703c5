// The floors of benchmarks: the least that an object can do.
//   - of `npm run bench:fanout`: sends texts to its sockets. They hibernate, the runtime answers heartbeats, and nothing is
//     numbered, stored, matched or resumed.
//   - of `npm run bench:ingest`: reads a Jetstream and writes for each event a row of an index and a row of a log into its own
//     database, without any rule.

import { DurableObject } from 'cloudflare:workers'

export class Floor extends DurableObject {
  constructor(state, env) {
    super(state, env)
    const heartbeat = '{"action":"heartbeat","event_type":"heartbeat"}'
    state.setWebSocketAutoResponse(new WebSocketRequestResponsePair(heartbeat, '{"type":"ack","message":""}'))
  }

  async fetch(request) {
    if (request.headers.get('upgrade')) {
      const [client, server] = Object.values(new WebSocketPair())
      this.ctx.acceptWebSocket(server)
      return new Response(null, { status: 101, webSocket: client })
    }
    const texts = await request.json()
    const sockets = this.ctx.getWebSockets()
    for (const text of texts) for (const socket of sockets) socket.send(text)
    return new Response()
  }

  webSocketMessage() {}
  webSocketClose() {}
}

export class Reader extends DurableObject {
  #sql = this.ctx.storage.sql
  /** @type {string[]} */
  #queue = []
  #stored = 0
  #waits = false
  /** @type {{ frames: number, done: (value: Response) => void } | undefined} */
  #asked

  /** `?url=` begins to read that stream; `?frames=N` is answered when so many frames are stored. */
  async fetch(request) {
    const asked = new URL(request.url).searchParams
    const url = asked.get('url')
    if (url) await this.#read(url)
    return await new Promise((done) => {
      this.#asked = { frames: Number(asked.get('frames')), done }
      this.#answer()
    })
  }

  async #read(url) {
    this.#sql.exec(`CREATE TABLE records (uri TEXT PRIMARY KEY, author TEXT, rkey TEXT, channel TEXT, text TEXT, at TEXT, rev TEXT);
      CREATE INDEX by_channel ON records (channel, at, rkey); CREATE INDEX by_rkey ON records (rkey, channel);
      CREATE TABLE log (seq INTEGER PRIMARY KEY, event TEXT)`)
    const { webSocket } = await fetch(url.replace(/^ws/, 'http'), { headers: { upgrade: 'websocket' } })
    webSocket.accept()
    webSocket.addEventListener('message', ({ data }) => {
      this.#queue.push(data)
      if (this.#waits) return
      this.#waits = true
      setTimeout(() => this.#store(), 1)
    })
  }

  #store() {
    this.#waits = false
    const frames = this.#queue
    this.#queue = []
    this.ctx.storage.transactionSync(() => {
      for (const text of frames) {
        const { did, commit } = JSON.parse(text)
        if (commit) {
          const { collection, rkey, operation, rev, record = {} } = commit
          const uri = `at://${did}/${collection}/${rkey}`
          if (operation === 'delete') this.#sql.exec('DELETE FROM records WHERE uri = ?', uri)
          else {
            const row = [uri, did, rkey, record.channel ?? null, record.text ?? record.emoji ?? null, record.createdAt ?? null, rev]
            this.#sql.exec('INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)', ...row)
          }
        }
        this.#sql.exec('INSERT INTO log (event) VALUES (?)', text)
      }
    })
    this.#stored += frames.length
    this.#answer()
  }

  #answer() {
    if (this.#asked && this.#stored >= this.#asked.frames) this.#asked.done(new Response())
  }
}

export default {
  fetch: (request, env) => (request.url.includes('frames=') ? env.READER : env.FLOOR).getByName('one').fetch(request),
}
