// @ts-check
// A Jetstream controlled by a test: it keeps frames and replays them from an inclusive cursor, unless `answer` is set
// and decides itself what a connection receives. For the behaviour of a real one when its clock is set, its history is
// short, or a proxy is in front of it.
//
// Promises: on 127.0.0.1; gone after `close`.

import { once } from 'node:events'
import { WebSocketServer } from 'ws'

export class PlayedJetstream {
  /** The cursor of each connection so far, and its address. @type {{ cursor: number, url: URL }[]} */
  asked = []
  /** What is kept, in order. @type {{ time: number, text: string }[]} */
  frames = []
  /** What a connection gets instead of the frames that are kept. @type {((send: (data: any) => void, cursor: number) => void) | undefined} */
  answer
  /** @type {import('ws').WebSocketServer} */
  #server
  #revs = 0

  static async start() {
    const played = new PlayedJetstream()
    played.#server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    await once(played.#server, 'listening')
    played.#server.on('connection', (socket, request) => {
      const url = new URL(request.url ?? '/', 'ws://played')
      const cursor = Number(url.searchParams.get('cursor') ?? 0)
      played.asked.push({ cursor, url })
      socket.on('error', () => {}) // the other side may end it in the middle of a frame
      if (played.answer) return played.answer((data) => socket.send(data), cursor)
      for (const { time, text } of played.frames) if (time >= cursor) socket.send(text)
    })
    return played
  }

  get url() {
    const { port } = /** @type {import('node:net').AddressInfo} */ (this.#server.address())
    return `ws://127.0.0.1:${port}/subscribe`
  }

  /** The text of a frame: a commit of `who`. @param {string} who @param {string} path @param {object} record */
  commit(who, path, record, { time = Date.now() * 1000, operation = 'create' } = {}) {
    const [collection, rkey] = path.split('/')
    this.#revs += 1
    const rev = tid(Date.now() * 1000 + this.#revs)
    const commit = { rev, operation, collection: `social.colibri.${collection}`, rkey, record, cid: 'bafyreia' }
    return { time, text: JSON.stringify({ did: `did:plc:${who}`, time_us: time, kind: 'commit', commit }) }
  }

  /** Keeps a frame and sends it to everybody. @param {{ time: number, text: string }} frame */
  say(frame) {
    this.frames.push(frame)
    this.send(frame.text)
  }

  /** Sends without keeping. @param {string | Buffer} data */
  send(data) {
    for (const socket of this.#server.clients) socket.send(data)
  }

  /** Cuts every connection. */
  drop() {
    for (const socket of this.#server.clients) socket.terminate()
  }

  async close() {
    this.drop()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

/** @param {number} micros */
function tid(micros) {
  let number = BigInt(micros) * 1024n
  let text = ''
  for (; text.length < 13; number /= 32n) text = '234567abcdefghijklmnopqrstuvwxyz'[Number(number % 32n)] + text
  return text
}
