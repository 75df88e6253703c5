// @ts-check
// The last step of `npm run deploy`: names the secrets that the service on Cloudflare lacks, and how to set them.
//
// `npm run serve` generates TOKEN_SECRET itself; on Cloudflare only the deployer can set it. Without it
// /api/authentication answers 500 NotConfigured and no socket token is accepted (C08).

import { execFileSync } from 'node:child_process'

import { node24 } from './node24.js'
import { WRANGLER } from './paths.js'
import { Refusal } from './progress.js'

const HOW = "openssl rand -base64 32 | tr -d '\\n' | npm exec wrangler secret put"

/** The names of the secrets that are set. @param {string[]} which @returns {string[]} */
function secrets(which) {
  try {
    const printed = execFileSync(node24(), [WRANGLER, 'secret', 'list', '--format', 'json', ...which], { encoding: 'utf8' })
    return JSON.parse(printed).map((/** @type {{ name: string }} */ { name }) => name)
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : error
    throw new Refusal(`The secrets could not be listed (${reason}). TOKEN_SECRET must be among them; set it with:\n  ${HOW} TOKEN_SECRET`)
  }
}

/** Says what lacks; throws a Refusal if no socket token would count. @param {string[]} which of the environments */
export function nameMissingSecrets(which) {
  const set = secrets(which)
  if (!set.includes('INVITE_API_KEY')) console.log(`note: without INVITE_API_KEY only owners and moderators with a proof of their own can moderate. Set it with:\n  ${HOW} INVITE_API_KEY`)
  if (!set.includes('TOKEN_SECRET'))
    throw new Refusal(`TOKEN_SECRET is missing, so that /api/authentication answers 500 and no socket token counts. Set it with:\n  ${HOW} TOKEN_SECRET`)
}
