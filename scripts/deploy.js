// @ts-check
// `npm run deploy`: asks once whom to believe (choose-mode.js), applies the migrations, uploads the Worker, and names the
// secrets that it lacks (deployed.js). `--dry-run` only builds and shows what would be uploaded; `--env NAME` is for an
// environment of wrangler.toml.

import { chooseMode } from './choose-mode.js'
import { readArguments } from './commands.js'
import { nameMissingSecrets } from './deployed.js'
import { exitWith, Refusal } from './progress.js'
import { wrangler } from './wrangler.js'

/** @param {string[]} args */
async function run(...args) {
  const code = await wrangler(args)
  if (code !== 0) throw new Refusal(`failed: wrangler ${args.join(' ')}`)
}

async function deploy() {
  const { 'dry-run': dryRun, env } = readArguments('deploy').values
  const which = env === undefined ? [] : ['--env', env]
  if (dryRun) return run('deploy', '--dry-run', ...which)
  await chooseMode(env)
  await run('d1', 'migrations', 'apply', 'DB', '--remote', ...which)
  await run('deploy', ...which)
  nameMissingSecrets(which)
}

deploy().catch(exitWith)
