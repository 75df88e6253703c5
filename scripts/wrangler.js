// @ts-check
// Runs wrangler under Node 24, with its output shown, and without its statistics and its banner.

import { mkdirSync } from 'node:fs'

import { node24 } from './node24.js'
import { PAGES_DIR, ROOT, WRANGLER } from './paths.js'
import { runShown } from './progress.js'

/** Resolves with wrangler's exit code. @param {string[]} args @param {Record<string, string>} [env] */
export function wrangler(args, env) {
  // wrangler looks for the folder before it builds what is in it.
  mkdirSync(PAGES_DIR, { recursive: true })
  return runShown(node24(), [WRANGLER, ...args], {
    cwd: ROOT,
    env: { WRANGLER_SEND_METRICS: 'false', WRANGLER_HIDE_BANNER: 'true', ...env },
  })
}
