// @ts-check
// A Jetstream that serves a file, as a separate process: the process that measures must not also create or send the
// frames. It is `npm run replay -- FILE --port 0`, controlled like any local network.
//
// Promises: gone when stopped, and at the latest with the process that started it.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

import { Network } from '../network/client.js'

const REPLAY = fileURLToPath(new URL('../../scripts/replay.js', import.meta.url))

/**
 * Serves the frames of `file`. `network.jetstream` is what to read from, the first frame included; `network.load(path)` adds
 * frames, and so on as for a whole network. There is no PDS and no directory behind it.
 * @param {string} file
 * @returns {Promise<{ network: Network, pid: number }>}
 */
export async function serveFrames(file) {
  const child = spawn(process.execPath, [REPLAY, file, '--port', '0'], { env: { ...process.env, COLIBRI_END_WITH_PARENT: '1' } })
  let complaints = ''
  child.stderr.setEncoding('utf8').on('data', (text) => {
    complaints += text
  })
  const [line] = await Promise.race([
    once(createInterface(child.stdout), 'line'),
    once(child, 'close').then(([code, signal]) => {
      throw new Error(`replay did not serve ${file} (${signal ?? `exit code ${code}`}):\n${complaints}`)
    }),
  ])
  const [, jetstream, control] = String(line).match(/^ready (\S+) control (\S+)$/) ?? []
  if (!control) throw new Error(`replay said "${line}" instead of where it serves`)
  const network = new Network({ plc: 'http://127.0.0.1:9', pds: 'http://127.0.0.1:9', jetstream, control }, child)
  return { network, pid: /** @type {number} */ (child.pid) }
}
