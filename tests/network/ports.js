// @ts-check
// The ports of 127.0.0.1 that a network uses.
//
// A network keeps its ports for life: every DID document contains the address of the PDS, so the accounts of a network
// that returned on other ports could not be found. The ports are chosen once, stored in `ports.json` in the state
// directory, and used again by every later start.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { freePort, isFree } from '../../scripts/port.js'

export const HOST = '127.0.0.1'

/** `pds2` is that of a second PDS, 0 without one. @typedef {{plc: number, pds: number, jetstream: number, control: number, pds2: number}} Ports */

/**
 * The ports to listen on; all of them were free a moment ago.
 *
 * @param {string} state the state directory
 * @param {Partial<Ports>} wanted ports named on the command line
 * @param {{two?: boolean}} [options] whether there is a second PDS; one that was there stays
 * @returns {Promise<Ports>}
 */
export async function choosePorts(state, wanted, { two = false } = {}) {
  const file = join(state, 'ports.json')
  const remembered = readPorts(file)
  if (wanted.pds && remembered?.pds && wanted.pds !== remembered.pds) {
    throw new Error(
      `the accounts in ${state} live at PDS port ${remembered.pds}, it cannot become ${wanted.pds}: ` +
        'leave --pds-port out, or take a new state directory',
    )
  }
  /** @type {Ports} */
  const ports = { plc: 0, pds: 0, jetstream: 0, control: 0, pds2: 0 }
  for (const role of /** @type {(keyof Ports)[]} */ (Object.keys(ports))) {
    if (role === 'pds2' && !two && !remembered?.pds2) continue
    const fixed = wanted[role] ?? (remembered?.[role] || undefined)
    if (fixed === undefined) {
      ports[role] = await freePort(HOST, 0, Object.values(ports))
      continue
    }
    if (!(await isFree(HOST, fixed))) throw new Error(takenMessage(role, fixed, wanted[role] === undefined, state))
    ports[role] = fixed
  }
  writeFileSync(file, JSON.stringify(ports) + '\n')
  return ports
}

/** @param {string} file @returns {Ports | undefined} */
function readPorts(file) {
  let text
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return undefined // a new state directory
  }
  return JSON.parse(text)
}

/**
 * @param {keyof Ports} role @param {number} port @param {boolean} remembered @param {string} state
 */
function takenMessage(role, port, remembered, state) {
  const taken = `port ${port} (${role}) of ${HOST} is taken`
  if (!remembered) return `${taken}: name another with --${role}-port, or leave it out for a free one`
  return (
    `${taken}, and this network has used it before: stop the process that listens there ` +
    `(perhaps this very network, already running on ${state}), or take a new state directory`
  )
}
