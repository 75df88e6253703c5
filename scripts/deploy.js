// @ts-check
// `npm run deploy`: asks once whom to believe (choose-mode.js), applies the migrations, uploads the Worker, and names the
// secrets that it lacks (deployed.js). `--dry-run` only builds and shows what would be uploaded.

import { mkdirSync } from 'node:fs'

import { chooseMode } from './choose-mode.js'
import { readArguments } from './commands.js'
import { nameMissingSecrets } from './deployed.js'
import { node24 } from './node24.js'
import { PAGES_DIR, ROOT, WRANGLER } from './paths.js'
import { exitWith, Refusal, runShown } from './progress.js'

const env = { WRANGLER_SEND_METRICS: 'false', WRANGLER_HIDE_BANNER: 'true' }

/** @param {string[]} args */
async function wrangler(...args) {
  const code = await runShown(node24(), [WRANGLER, ...args], { cwd: ROOT, env })
  if (code !== 0) throw new Refusal(`failed: wrangler ${args.join(' ')}`)
}

async function deploy() {
  const { 'dry-run': dryRun } = readArguments('deploy').values
  // wrangler looks for the folder before it builds what is in it.
  mkdirSync(PAGES_DIR, { recursive: true })
  if (dryRun) return wrangler('deploy', '--dry-run')
  await chooseMode()
  await wrangler('d1', 'migrations', 'apply', 'DB', '--remote')
  await wrangler('deploy')
  nameMissingSecrets()
}

deploy().catch(exitWith)
