// @ts-check
// Asks the system whether a port is free, before starting anything that needs it.
//
// A port that the caller did not choose comes from below the range from which Linux assigns outgoing connections (32768
// and up, in /proc/sys/net/ipv4/ip_local_port_range). The system's own choice, port 0, comes from that range, and an
// outgoing connection may take it between the check and the start, or while a dead service restarts. Test files that run
// side by side choose from ports of their own, for the same reason.

import { createServer } from 'node:net'

import { Refusal } from './progress.js'

const FIRST_PORT = 20_000
const LAST_PORT = 31_999
const ATTEMPTS = 50
/** More than the test files that run at the same time. */
const SHARES = 4
/** The test runner numbers the files that run side by side, from 1. */
const SHARE = Number(process.env.NODE_TEST_WORKER_ID) % SHARES

/**
 * The requested port, or any free one for 0; throws a plain message if it is taken.
 * @param {string} host @param {number} port @param {number[]} [not] ports that are reserved already
 * @returns {Promise<number>}
 */
export async function freePort(host, port, not = []) {
  if (port !== 0) return listenOnce(host, port)
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const any = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT + 1))
    const candidate = Number.isNaN(SHARE) ? any : any - (any % SHARES) + SHARE
    if (!not.includes(candidate) && (await isFree(host, candidate))) return candidate
  }
  // The system's own message explains any other problem with this host.
  return listenOnce(host, 0)
}

/** @param {string} host @param {number} port @returns {Promise<boolean>} */
export const isFree = (host, port) =>
  listenOnce(host, port).then(
    () => true,
    () => false,
  )

/** @param {string} host @param {number} port @returns {Promise<number>} */
function listenOnce(host, port) {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', (/** @type {NodeJS.ErrnoException} */ { code, message }) => {
      const taken = `Port ${port} of ${host} is taken by another program. Stop it, or give --port another number.`
      reject(new Refusal(code === 'EADDRINUSE' ? taken : `Cannot listen on ${host} port ${port}: ${message}`))
    })
    // A client that connects meanwhile must not keep the probe from closing.
    probe.on('connection', (socket) => socket.destroy())
    probe.listen(port, host, () => {
      const bound = /** @type {import('node:net').AddressInfo} */ (probe.address()).port
      probe.close(() => resolve(bound))
    })
  })
}
