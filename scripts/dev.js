// @ts-check
// `npm run dev`: wrangler's own development server, with a database and objects of its own (.wrangler/), which builds
// again after a change. Variables and secrets come from .dev.vars; .dev.vars.example lists them.

import { readArguments } from './commands.js'
import { freePort } from './port.js'
import { exitWith } from './progress.js'
import { wrangler } from './wrangler.js'

async function dev() {
  const { port, host } = readArguments('dev').values
  const free = await freePort(host, Number(port))
  // CI: the question whether to apply them has one answer.
  const migrated = await wrangler(['d1', 'migrations', 'apply', 'DB', '--local'], { CI: 'true' })
  if (migrated !== 0) return migrated
  return wrangler(['dev', '--port', String(free), '--ip', host])
}

dev().then((code) => {
  process.exitCode = code
}, exitWith)
