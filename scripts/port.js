// @ts-check
// Asks the system whether a port can be had, before anything is started that would need it.

import { createServer } from 'node:net'

import { Refusal } from './progress.js'

/**
 * The port asked for, or any free one when 0 was; refuses in plain words when it is taken.
 * @param {string} host @param {number} port
 * @returns {Promise<number>}
 */
export function freePort(host, port) {
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
