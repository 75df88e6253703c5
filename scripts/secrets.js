// @ts-check
// Checks before a start: refuses a key that can be found by trying. The rule is the Worker's (src/domain/secrets.rs,
// C25), which ignores such a key; here a person can read the reason.

import { Refusal } from './progress.js'

const SECRET_MIN = 16

/**
 * @param {string} url @returns {boolean} whether the stream comes from this machine, so that the whole network is a
 * test network
 */
function isTestStream(url) {
  if (!URL.canParse(url)) return false
  const { hostname } = new URL(url)
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}

/**
 * @param {Record<string, string | undefined>} variables of the Worker
 * @param {(line: string) => void} say
 */
export function checkSecrets(variables, say) {
  for (const name of ['INVITE_API_KEY', 'TOKEN_SECRET', 'TOKEN_SECRET_PREVIOUS', 'METRICS_TOKEN']) {
    const secret = (variables[name] ?? '').trim()
    if (secret === '' || [...secret].length >= SECRET_MIN) continue
    if (!isTestStream((variables.JETSTREAM_URL ?? '').trim()))
      throw new Refusal(
        `${name} has ${[...secret].length} characters, which is found by trying; give it at least ${SECRET_MIN}, for example what \`openssl rand -base64 32\` prints.`,
      )
    say(`note: ${name} is shorter than ${SECRET_MIN} characters; that is accepted because JETSTREAM_URL is on this machine`)
  }
}
