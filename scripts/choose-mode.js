// @ts-check
// The first step of `npm run deploy`: asks once how far claims without proof are believed (AUTH_MODE, C06).
//
// An unset variable means `open`, which the shipped web client of March 2026 requires; a new deployment must not get
// that mode without a decision. The choice is written to wrangler.toml. Without a terminal, the script says what to
// set.

import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline/promises'

import { WRANGLER_CONFIG } from './paths.js'
import { Refusal } from './progress.js'

/** In the order in which the script offers them. */
export const MODES = {
  mixed: 'a DID without a proof is believed for presence only, and not at all once its owner has shown a proof',
  verified: 'nobody acts as somebody without a proof; the web client of March 2026 shows none',
  open: 'anybody may act as anybody',
}

/**
 * The mode of a Worker with these variables (`domain::auth_mode`), and whether it was set explicitly.
 * @param {Record<string, unknown>} variables @returns {{ mode: keyof typeof MODES, isChosen: boolean }}
 */
export function modeIn(variables) {
  const given = String(variables.AUTH_MODE ?? '').trim()
  const mode = /** @type {keyof typeof MODES} */ (given === '' ? 'open' : Object.hasOwn(MODES, given) ? given : 'verified')
  return { mode, isChosen: given !== '' }
}

/**
 * Refuses a mode that is none. The Worker takes it for `verified` (C06), which is safe and not what was meant.
 * @param {unknown} given
 */
export function checkMode(given) {
  const mode = String(given ?? '').trim()
  if (mode !== '' && !Object.hasOwn(MODES, mode))
    throw new Refusal(`AUTH_MODE is ${mode}, which is none of ${Object.keys(MODES).join(', ')}.`)
}

/** The mode that a configuration sets, if any. @param {string} config @param {string} [environment] */
export function modeOf(config, environment) {
  const section = environment ? `env.${environment}.vars]` : 'vars]'
  const vars = config.split(/^\[/m).find((part) => part.startsWith(section))
  return vars?.match(/^[ \t]*AUTH_MODE[ \t]*=[ \t]*["']([^"'\n]*)["']/m)?.[1]
}

/** A configuration that sets this mode. @param {string} config @param {string} mode */
export function withMode(config, mode) {
  const line = `AUTH_MODE = "${mode}"`
  return /^\[vars\]/m.test(config) ? config.replace(/^\[vars\].*$/m, (vars) => `${vars}\n${line}`) : `${config.trimEnd()}\n\n[vars]\n${line}\n`
}

/** Asks unless wrangler.toml has a mode; one that is none is refused. @param {string} [environment] */
export async function chooseMode(environment) {
  const config = readFileSync(WRANGLER_CONFIG, 'utf8')
  const given = modeOf(config, environment)
  if (given) return checkMode(given)
  if (environment) throw new Refusal(`Set AUTH_MODE under [env.${environment}.vars] in wrangler.toml: ${Object.keys(MODES).join(', ')}.`)
  const offered = Object.entries(MODES).map(([name, meaning]) => `  ${name.padEnd(8)}  ${meaning}`)
  const text = `Who is believed is not chosen yet (AUTH_MODE):\n${offered.join('\n')}\n`
  if (!process.stdin.isTTY || !process.stdout.isTTY)
    throw new Refusal(`${text}Set it under [vars] in wrangler.toml, for example: AUTH_MODE = "mixed"`)
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  try {
    console.log(text)
    let mode
    while (!mode) {
      const answer = (await terminal.question('AUTH_MODE [mixed]: ')).trim() || 'mixed'
      if (Object.hasOwn(MODES, answer)) mode = answer
    }
    writeFileSync(WRANGLER_CONFIG, withMode(config, mode))
    console.log(`wrote AUTH_MODE = "${mode}" into wrangler.toml`)
  } finally {
    terminal.close()
  }
}
