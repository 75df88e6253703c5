// @ts-check
// All attacks of the soak on the service, in a thread of their own, so that another thread measures the honest sockets
// and does nothing else. flood.js writes the strangers' records into the stream.
//
// Promises: contacts only 127.0.0.1; each attacker has its own address (127.0.0.x), a rate and a limit on what it holds
// open; all of it is closed when the thread is asked to stop; each counts its answers, which shows whether an attack
// really happened.

import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { parentPort } from 'node:worker_threads'
import WebSocket from 'ws'

import { cidOf } from '../network/cid.js'
import { blobOf, json, openHost } from './hosts.js'

const MEBIBYTE = 1 << 20
const TIMEOUT_MILLIS = 20_000
const TICK_MILLIS = 100
/** Distinct blobs that are requested by range: more than the cache can hold. */
const RANGE_BLOBS = 300
const RANGE_BLOB_BYTES = MEBIBYTE
/** Strangers' hosts whose repositories do not end. */
const HOSTS = 40
const HALF_OPEN = 1_000
/** Frames that a socket may send at once (WS_BURST). */
const KEYS_AT_ONCE = 110

const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort)

/** Where the service is, once it runs. */
let target = { hostname: '127.0.0.1', port: 0 }
let stopping = false
/** @type {(() => unknown)[]} */
const undo = []

let attackers = 0
/** One stranger: an address, and the answers it got. */
class Attacker {
  /** @type {Record<string, number>} */
  counts = {}
  /** @type {Set<WebSocket>} */
  #sockets = new Set()

  /** @param {string} name */
  constructor(name) {
    this.name = name
    this.address = `127.0.0.${10 + attackers++}`
    this.agent = new Agent({ keepAlive: true, maxSockets: 40, localAddress: this.address })
    undo.push(() => {
      this.agent.destroy()
      for (const ws of this.#sockets) ws.terminate()
    })
  }

  /** @param {string | number} what */
  count(what) {
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }

  /**
   * Calls `act` this many times a second, with at most `atMost` in progress.
   * @param {number} perSecond @param {(n: number) => Promise<unknown> | void} act @param {number} [atMost]
   */
  async every(perSecond, act, atMost = 40) {
    let [n, owed, underWay] = [0, 0, 0]
    for (; !stopping; await pause(TICK_MILLIS)) {
      owed = Math.min(owed + (perSecond * TICK_MILLIS) / 1000, perSecond)
      for (; owed >= 1 && underWay < atMost; owed--) {
        underWay += 1
        Promise.resolve(act(n++))
          .catch((error) => this.count(error.code ?? error.message))
          .finally(() => (underWay -= 1))
      }
    }
  }

  /**
   * Sends a request, and resolves when the whole answer is there. @param {string} path
   * @param {{ method?: string, headers?: Record<string, string>, body?: string | Buffer, hangUpAfter?: number }}
   * [options]
   */
  ask(path, { method = 'GET', headers, body, hangUpAfter } = {}) {
    return new Promise((resolve) => {
      const done = (/** @type {string | number} */ what) => {
        clearTimeout(timer)
        this.count(what)
        resolve(what)
      }
      const sent = request({ ...target, path, method, headers, agent: this.agent }, (answer) => {
        answer.on('error', () => done('cut off'))
        answer.on('end', () => done(answer.statusCode ?? 0))
        answer.resume()
      })
      const timer = setTimeout(() => {
        done(hangUpAfter ? 'hung up' : 'no answer')
        sent.destroy()
      }, hangUpAfter ?? TIMEOUT_MILLIS)
      sent.on('error', (error) => done(/** @type {any} */ (error).code ?? error.message))
      sent.end(body)
    })
  }

  /**
   * Opens a socket, sends, and leaves after a while, every second time without a close. @param {string} path
   * @param {{ say?: (string | Buffer | object)[], hold?: number }} [options]
   */
  open(path, { say = [], hold = 1_000 } = {}) {
    this.count('tried')
    return new Promise((resolve) => {
      const ws = new WebSocket(`ws://${target.hostname}:${target.port}${path}`, { localAddress: this.address, perMessageDeflate: false })
      this.#sockets.add(ws)
      const timer = setTimeout(() => (Math.random() < 0.5 ? ws.terminate() : ws.close()), hold)
      // A client without an answer leaves a moment later.
      const late = setTimeout(() => ws.terminate(), hold + 2_000)
      ws.on('open', () => {
        this.count('open')
        for (const frame of say) ws.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame))
      })
      ws.on('unexpected-response', (_, response) => {
        this.count(response.statusCode ?? 0)
        ws.terminate()
      })
      ws.on('error', () => {})
      ws.on('close', (code) => {
        clearTimeout(timer)
        clearTimeout(late)
        this.#sockets.delete(ws)
        if (code !== 1006 && code !== 1005) this.count(`closed ${code}`)
        resolve(undefined)
      })
    })
  }

  /** Sends bytes that need not be HTTP, and waits for the end. @param {string} text @param {number} hold */
  raw(text, hold) {
    return new Promise((resolve) => {
      const socket = connect({ host: target.hostname, port: target.port, localAddress: this.address })
      const timer = setTimeout(() => socket.destroy(), hold)
      const destroy = () => socket.destroy()
      undo.push(destroy)
      socket.on('connect', () => socket.write(text))
      socket.once('data', (data) => this.count(data.toString('latin1').match(/^HTTP\/1.1 (\d+)/)?.[1] ?? 'bytes'))
      socket.on('error', () => {})
      socket.on('close', () => {
        clearTimeout(timer)
        undo.splice(undo.indexOf(destroy), 1)
        this.count('connections')
        resolve(undefined)
      })
    })
  }
}

const blobPath = (/** @type {string} */ did, /** @type {string} */ cid) => `/api/blob?did=${did}&cid=${cid}`

/** Strangers' hosts, by the prefix of the DIDs whose documents lead there. */
async function openHosts() {
  /** @type {Map<string, number>} */
  const ranges = new Map()
  for (let n = 0; n < RANGE_BLOBS; n++) ranges.set(cidOf(blobOf(n, RANGE_BLOB_BYTES)), n)
  const rangeHost = await openHost((url, response) => {
    const n = ranges.get(url.searchParams.get('cid') ?? '')
    if (n === undefined) return json(response, { error: 'RepoNotFound' }, 400)
    response.writeHead(200, { 'content-type': 'video/mp4', 'content-length': RANGE_BLOB_BYTES })
    response.end(blobOf(n, RANGE_BLOB_BYTES))
  })
  const stallHost = await openHost((_, response) => {
    response.writeHead(200, { 'content-type': 'video/mp4', 'content-length': 32 * MEBIBYTE })
    response.write('x')
  })
  // A header of an archive, then unreferenced blocks, then nothing for ever.
  const noise = blobOf(1, MEBIBYTE)
  const many = await Promise.all(
    Array.from({ length: HOSTS }, () =>
      openHost((url, response) => {
        if (url.pathname.endsWith('getLatestCommit')) return json(response, { cid: cidOf(noise), rev: '3l22222222222' })
        if (url.pathname.endsWith('listRecords')) return json(response, { records: [], cursor: String(Math.random()) })
        if (!url.pathname.endsWith('getRepo')) return json(response, { error: 'InternalServerError' }, 500)
        response.writeHead(200, { 'content-type': 'application/vnd.ipld.car' })
        response.write(noise)
      }),
    ),
  )
  for (const host of [rangeHost, stallHost, ...many]) undo.push(host.close)
  return { cids: [...ranges.keys()], rangeHost, stallHost, many }
}

/** @param {Awaited<ReturnType<typeof openHosts>>} hosts @param {{ only: string, victims: string[], community: string, channel: string }} honest */
function attacks({ cids }, { only, victims, community, channel }) {
  /** @type {Attacker[]} */
  const all = []
  const by = (/** @type {string} */ name, /** @type {(attacker: Attacker) => unknown} */ begin) => {
    if (!only.split(',').some((part) => name.includes(part))) return
    const attacker = new Attacker(name)
    all.push(attacker)
    begin(attacker)
  }
  const run = Date.now().toString(36)
  const deep = '['.repeat(30_000)
  by('made-up rooms', (a) =>
    a.every(15, (n) => {
      const room = n % 2 ? `room-${run}-${n}` : `at://did:plc:nobody${n}/social.colibri.channel/k`
      return a.open(`/api/webrtc/signal?room=${encodeURIComponent(room)}`, { say: [{ type: 'join', room, peer_id: `p${n}` }], hold: 2_000 })
    }),
  )
  by('made-up communities, observed and read', (a) => {
    const uri = (/** @type {number} */ n) => `at://did:plc:nobody${n}/social.colibri.community/${run}`
    a.every(10, (n) => a.open(`/api/subscribe?community=${uri(n)}`, { hold: 2_000 }))
    a.every(10, (n) => a.ask(`/api/${['sidebar', 'channels', 'members', 'invites'][n % 4]}?community=${uri(n)}`))
  })
  by('half-open connections', (a) => a.every(300, (n) => a.raw(n % 2 ? '' : 'GET /api/server HTTP/1.1\r\nHost: x\r\n', 60_000), HALF_OPEN))
  by("sockets in a victim's name", (a) =>
    a.every(8, (n) =>
      a.open(`/api/subscribe?did=${victims[n % victims.length]}`, {
        say: [{ action: 'subscribe', event_type: 'community', community_uri: community, cursor: 0 }, { action: 'session' }],
        hold: 1_500,
      }),
    ),
  )
  by('sockets of DIDs that do not exist', (a) =>
    a.every(15, (n) => a.open(`/api/subscribe?did=did:plc:made${run}up${n}`, { say: [{ action: 'set_state', state: 'dnd' }], hold: 1_500 })),
  )
  by('many blobs, one byte of each', (a) =>
    a.every(6, (n) => a.ask(blobPath(`did:plc:evilrange${n % 20}`, cids[n % cids.length]), { headers: { range: 'bytes=0-0', host: `h${n % 3}.test` } })),
  )
  by('blobs that stall', (a) =>
    a.every(4, (n) => a.ask(blobPath(`did:plc:evilstall${n % 50}`, cids[n % cids.length]), { hangUpAfter: n % 3 ? 800 : 15_000 }), 12),
  )
  by('blobs of forty hosts', (a) => a.every(10, (n) => a.ask(blobPath(`did:plc:evilhost${n % HOSTS}`, cids[n % cids.length]))))
  by('a PDS that is the service', (a) =>
    a.every(5, (n) => a.ask(blobPath(`did:plc:evil${['self', 'broken'][n % 2]}${Math.floor(n / 2)}`, cids[n % cids.length]))),
  )
  by('DIDs that nobody knows', (a) => a.every(30, (n) => a.ask(`/api/identity?id=did:plc:unknown${n % 5 ? `${run}${n}` : 'same'}`)))
  by('forged client addresses', (a) =>
    a.every(70, (n) =>
      a.ask('/api/server', { headers: { 'cf-connecting-ip': `198.51.${n % 250}.${n % 199}`, 'x-forwarded-for': `203.0.113.${n % 250}` } }),
    ),
  )
  by('TURN credentials', (a) => a.every(5, (n) => a.ask(`/api/webrtc/ice-servers?room=anything${n}`)))
  by('CONNECT and other odd methods', (a) => {
    a.every(3, () => a.raw('CONNECT example.test:443 HTTP/1.1\r\nHost: example.test:443\r\n\r\n', 5_000))
    a.every(3, (n) => a.ask('/api/server', { method: ['PROPFIND', 'TRACE', 'PATCH', 'OPTIONS'][n % 4] }))
  })
  by('malformed bodies and parameters', (a) =>
    a.every(10, (n) => {
      const bodies = ['{', deep, '"\ud800"', 'null', 'x'.repeat(200_000), '{"did":1}', Buffer.from([0xff, 0xfe, 0])]
      const headers = { authorization: `Bearer guess-${n}`, 'content-type': 'application/json' }
      const paths = ['/api/community/ban', '/api/user/state', '/api/invite', '/api/authentication', '/api/message/block', '/api/sync']
      return n % 3
        ? a.ask(paths[n % paths.length], { method: 'POST', body: bodies[n % bodies.length], headers })
        : a.ask(`/api/messages?channel=${'%00'.repeat(n % 500)}&limit=-1&cursor=${'a'.repeat(n % 5_000)}`)
    }),
  )
  by('malformed frames', (a) =>
    a.every(5, (n) =>
      a.open(n % 2 ? '/api/subscribe' : `/api/webrtc/signal?room=odd${n}`, {
        say: ['{', deep, Buffer.alloc(100), 'null', '[]', 'x'.repeat(70_000), { action: 'subscribe', event_type: 7 }, { action: 'x'.repeat(60_000) }, { type: 'offer', room: {}, sdp: deep }],
      }),
    ),
  )
  by('thousands of keys', (a) => a.every(1, (n) => keys(a, n, channel), 8))
  return all
}

/** A socket that subscribes to as much as it may, a key a frame, as fast as frames are accepted. @param {Attacker} attacker @param {number} n @param {string} channel */
function keys(attacker, n, channel) {
  // Names that may be known one day: those of any other form are not even looked up.
  const name = (/** @type {number} */ k, /** @type {string} */ kind) => `at://did:plc:${'n'.repeat(230)}${n}/social.colibri.${kind}/${'k'.repeat(480)}${k}`
  const say = Array.from({ length: KEYS_AT_ONCE }, (_, k) => ({
    action: 'subscribe',
    event_type: k % 2 ? 'message' : 'community',
    [k % 2 ? 'channel' : 'community_uri']: k === 0 ? channel : name(k, k % 2 ? 'channel' : 'community'),
  }))
  return attacker.open('/api/subscribe', { say, hold: 8_000 })
}

const hosts = await openHosts()
/** @type {Attacker[]} */
let all = []
port.on('message', async (message) => {
  if (message.begin) {
    const { hostname, port: at } = new URL(message.begin.url)
    target = { hostname, port: Number(at) }
    all = attacks(hosts, message.begin)
  }
  if (message.stop) {
    stopping = true
    await pause(2 * TICK_MILLIS)
    while (undo.length > 0) await undo.pop()?.()
    port.postMessage({ stopped: all.map(({ name, counts }) => ({ name, counts })) })
    port.close()
  }
})
port.postMessage({
  leads: {
    evilrange: hosts.rangeHost.url,
    evilstall: hosts.stallHost.url,
    ...Object.fromEntries(hosts.many.map(({ url }, n) => [`evilhost${n}`, url])),
  },
  names: [hosts.rangeHost, hosts.stallHost, ...hosts.many].map(({ name }) => name),
})
