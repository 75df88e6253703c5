// A connection that can go dead: a TCP relay to the service that stops carrying anything, in either direction, without
// notice to either side, as when a phone leaves a Wi-Fi or a lid is closed.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'

import { atEnd } from './harness.js'

/**
 * Opens a relay to a port of this machine. Connections that are opened after `goDead()` work again.
 * @param {number} port
 */
export async function openCable(port) {
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
      from.pipe(to)
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
