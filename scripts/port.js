// @ts-check
// Asks the system whether a port is free, before anything is started that needs it.
//
// A port that nobody named comes from below the range from which Linux serves outgoing connections (32768 and up, in
// /proc/sys/net/ipv4/ip_local_port_range). The system's own choice, port 0, comes from that range, and some
// outgoing connection may take it between the question and the start, or while a service that died starts again.

import { createServer } from 'node:net'

import { Refusal } from './progress.js'

const FIRST_PORT = 20_000
const LAST_PORT = 31_999
const ATTEMPTS = 50

/**
 * The port asked for, or any free one when 0 was asked for; refuses in plain words when it is taken.
 * @param {string} host @param {number} port @param {number[]} [not] ports that are promised to somebody already
 * @returns {Promise<number>}
 */
export async function freePort(host, port, not = []) {
  if (port !== 0) return listenOnce(host, port)
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const candidate = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT + 1))
    if (!not.includes(candidate) && (await isFree(host, candidate))) return candidate
  }
  // Whatever else is wrong with this host is told by the system in words of its own.
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
    probe.listen(port, host, () => {
      const bound = /** @type {import('node:net').AddressInfo} */ (probe.address()).port
      probe.close(() => resolve(bound))
    })
  })
}
