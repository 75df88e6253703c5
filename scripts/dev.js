// @ts-check
// `npm run dev`: wrangler's own development server, with a database and objects of its own (.wrangler/), which builds
// again after a change. Variables and secrets come from .dev.vars; .dev.vars.example lists them.

import { mkdirSync } from 'node:fs'

import { readArguments } from './commands.js'
import { node24 } from './node24.js'
import { PAGES_DIR, ROOT, WRANGLER } from './paths.js'
import { freePort } from './port.js'
import { exitWith, runShown } from './progress.js'

const env = { WRANGLER_SEND_METRICS: 'false', WRANGLER_HIDE_BANNER: 'true' }

async function dev() {
  const { port, host } = readArguments('dev').values
  // wrangler looks for the folder before it builds what is in it.
  mkdirSync(PAGES_DIR, { recursive: true })
  const free = await freePort(host, Number(port))
  // CI: the question whether to apply them has one answer.
  const migrated = await runShown(node24(), [WRANGLER, 'd1', 'migrations', 'apply', 'DB', '--local'], { cwd: ROOT, env: { ...env, CI: 'true' } })
  if (migrated !== 0) return migrated
  return runShown(node24(), [WRANGLER, 'dev', '--port', String(free), '--ip', host], { cwd: ROOT, env })
}

dev().then((code) => {
  process.exitCode = code
}, exitWith)
