// A connection that can be lost without notice, as when a phone changes its network.

import { createServer, connect as connectTo } from 'node:net'

import { atEnd, LiveSocket } from './harness.js'

/** A proxy on 127.0.0.1 in front of a service on this machine. */
export async function openProxy(port) {
  const lines = []
  const server = createServer((client) => {
    const service = connectTo(port, '127.0.0.1')
    lines.push({ client, service })
    for (const socket of [client, service]) socket.on('error', () => {})
    client.pipe(service, { end: false })
    service.pipe(client, { end: false })
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)))
  atEnd(() => {
    for (const { client, service } of lines) for (const socket of [client, service]) socket.destroy()
    server.close()
  })
  const address = /** @type {import('node:net').AddressInfo} */ (server.address())
  return {
    connect: (path, options) => LiveSocket.connect(`ws://127.0.0.1:${address.port}${path}`, options),
    /** Cuts the newest connection for its client; the service does not notice, and nobody reads what it sends. */
    lose() {
      const { client, service } = lines.at(-1)
      client.unpipe(service)
      service.unpipe(client)
      client.destroy()
      service.resume()
    },
    /** The service notices that the connections are broken, without a close. */
    breakOff() {
      for (const { service } of lines) service.destroy()
    },
  }
}
