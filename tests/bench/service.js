// @ts-check
// The service as a separate process, for benchmarks.
//
// Promises: resolves when it answers; shows the end of its log if it does not; gone when stopped, and at the latest
// with the process that started it. Its variables name no address beyond this machine.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const LOG_LINES_SHOWN = 20
/** Port 9 is "discard": nobody listens. */
const NOWHERE = '127.0.0.1:9'

/**
 * @param {string} root a clone of this project @param {string} state @param {Record<string, string>} [env]
 * @param {{ config?: string, port?: number, onLine?: (line: string) => void }} [options] another wrangler.toml, and who receives the log
 */
export async function serve(root, state, env = {}, { config, port = 0, onLine } = {}) {
  const more = config ? ['--config', config] : []
  const child = spawn(process.execPath, [join(root, 'scripts', 'serve.js'), '--port', String(port), '--state', state, ...more], {
    env: {
      ...process.env,
      JETSTREAM_URL: `ws://${NOWHERE}/subscribe`,
      PLC_URL: `http://${NOWHERE}`,
      BSKY_API_URL: `http://${NOWHERE}`,
      DOH_URL: `http://${NOWHERE}/dns-query`,
      RATE_LIMIT_PER_MIN: '0',
      INGEST_POINTS_HOUR: '0',
      INGEST_POINTS_DAY: '0',
      LOG_LEVEL: 'error',
      COLIBRI_END_WITH_PARENT: '1',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  /** @type {string[]} */
  const log = []
  createInterface(child.stderr).on('line', (line) => {
    onLine?.(line)
    log.push(line)
    if (log.length > LOG_LINES_SHOWN) log.shift()
  })
  const [line] = await Promise.race([
    once(createInterface(child.stdout), 'line'),
    once(child, 'close').then(() => {
      throw new Error(`the service did not start:\n${log.join('\n')}`)
    }),
  ])
  const [workerd] = readFileSync(join(state, 'serve', 'workerd.pid'), 'utf8').split(' ').map(Number)
  return {
    url: String(line).replace('ready ', ''),
    log,
    workerd,
    /** The process of scripts/serve.js. */
    pid: /** @type {number} */ (child.pid),
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const closed = once(child, 'close')
      child.kill('SIGTERM')
      await closed
    },
  }
}
