// A connection that can go dead: a TCP relay to the service that stops carrying anything, in either direction, without
// notice to either side, as when a phone leaves a Wi-Fi or a lid is closed.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { setTimeout } from 'node:timers/promises'

import { atEnd } from './harness.js'

/** Where the first frame in these bytes of a client ends, or 0 if it is not complete (RFC 6455, 5.2). @param {Buffer} bytes */
function frameEnd(bytes) {
  if (bytes.length < 2) return 0
  const short = bytes[1] & 0x7f
  if (short > 126) throw new Error('a client of a test sends a frame of more than 64 KiB')
  const head = short === 126 ? 8 : 6
  if (bytes.length < head) return 0
  const end = head + (short === 126 ? bytes.readUInt16BE(2) : short)
  return bytes.length < end ? 0 : end
}

/**
 * Carries what a client sends; of a WebSocket each frame, and that long after the one before.
 * @param {import('node:net').Socket} near @param {import('node:net').Socket} far @param {number} millis
 */
function carrySlowly(near, far, millis) {
  let [isSocket, rest, line] = [false, Buffer.alloc(0), Promise.resolve()]
  near.on('end', () => far.end())
  near.on('data', (chunk) => {
    if (!isSocket) {
      // Clients send the upgrade on a connection that they have already, and in one piece.
      isSocket = /^upgrade: websocket/im.test(chunk.toString('latin1'))
      far.write(chunk)
      return
    }
    rest = Buffer.concat([rest, chunk])
    for (let end = frameEnd(rest); end > 0; end = frameEnd(rest)) {
      const frame = rest.subarray(0, end)
      rest = rest.subarray(end)
      line = line.then(() => setTimeout(millis)).then(() => void (far.destroyed || far.write(frame)))
    }
  })
}

/**
 * Opens a relay to a port of this machine. Connections that are opened after `goDead()` work again.
 * @param {number} port @param {{ frameEvery?: number }} [options] `frameEvery`: the milliseconds between two frames of a client
 */
export async function openCable(port, { frameEvery } = {}) {
  /** @type {{ near: import('node:net').Socket, far: import('node:net').Socket }[]} */
  let lines = []
  let isCut = false
  const server = createServer((near) => {
    if (isCut) return near.destroy()
    const far = connect(port, '127.0.0.1')
    for (const [from, to] of [
      [near, far],
      [far, near],
    ]) {
      if (from === near && frameEvery) carrySlowly(near, far, frameEvery)
      else from.pipe(to)
      // A reset is an end like any other here.
      from.on('error', () => to.destroy())
    }
    lines.push({ near, far })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const dead = []
  const goDead = () => {
    for (const { near, far } of lines) {
      near.unpipe(far)
      far.unpipe(near)
      // Both ends still accept what is sent to them.
      near.on('data', () => {})
      far.on('data', () => {})
      dead.push(near, far)
    }
    lines = []
  }
  /** Ends all connections, and refuses new ones until `mend`. */
  const cut = () => {
    isCut = true
    for (const { near, far } of lines) [near, far].forEach((socket) => socket.destroy())
    lines = []
  }
  const mend = () => {
    isCut = false
  }
  atEnd(() => {
    goDead()
    for (const socket of dead) socket.destroy()
    server.close()
  })
  const { port: own } = /** @type {import('node:net').AddressInfo} */ (server.address())
  return { wsUrl: `ws://127.0.0.1:${own}`, url: `http://127.0.0.1:${own}`, goDead, cut, mend }
}
