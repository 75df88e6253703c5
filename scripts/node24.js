// @ts-check
// wrangler and miniflare need Node 22.12, the TypeScript of packages/client 22.18. npm scripts of an installed clone find
// Node 24 first on their PATH, but a plain `node scripts/serve.js` may run an older Node. Such a script continues here
// under the Node from package.json.

import { spawn } from 'node:child_process'

import { packaged } from './paths.js'

const [major, minor] = process.versions.node.split('.').map(Number)
const suffices = major > 22 || (major === 22 && minor >= 18)

/** The signals with which a person, a terminal or a supervisor ends a program. @type {NodeJS.Signals[]} */
export const END_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP']

/** The Node for everything that loads wrangler or miniflare. */
export const node24 = () => (suffices ? process.execPath : packaged('node'))

/**
 * Runs `script` in this process if its Node is new enough, otherwise in a child with the same arguments, streams and
 * signals.
 */
export function continueUnderNode24(script, inThisProcess) {
  if (suffices) return inThisProcess()
  const child = spawn(packaged('node'), [script, ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...process.env, COLIBRI_END_WITH_PARENT: '1' },
  })
  for (const signal of END_SIGNALS) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? (signal ? 1 : 0)))
  endWithParent(() => child.kill('SIGKILL'))
}

/**
 * npm, a test run and the launcher above pass signals on to a service, but not if they are killed with kill -9; then
 * the service would keep running unnoticed, with its port and its folder. So it ends with them. A service that was
 * started directly stays.
 */
export function endWithParent(end) {
  if (!process.env.npm_lifecycle_event && !process.env.COLIBRI_END_WITH_PARENT) return
  const parent = process.ppid
  const look = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(look)
    end()
  }, 100).unref()
}
