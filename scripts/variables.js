// @ts-check
// The variables and secrets of the service: src/domain/variables.json, the one table that the Worker reads its defaults
// from too. `npm run variables` writes docs/configuration.md (the part between its two marks) and .dev.vars.example from
// it; `--check` only says whether they are current.
//
// A row: `name`, `section` of the document, `kind` (url, number, words, list, text), `default` (none: unset), `shown`
// (what the document says instead of the default), `min` and `max` of a number, `words`, `secret`, `reader: "guard"` if
// the Worker does not read it, `meaning`.
//
// Promises: a name or a value that looks like a mistake is named before the start, with what was probably meant.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { readArguments } from './commands.js'
import { isProgram, ROOT } from './paths.js'
import { exitWith, Refusal, say } from './progress.js'

const TABLE = join(ROOT, 'src', 'domain', 'variables.json')
const DOCUMENT = join(ROOT, 'docs', 'configuration.md')
const EXAMPLE = join(ROOT, '.dev.vars.example')
const MARKS = ['<!-- npm run variables writes from here -->\n', '<!-- to here -->']
const WIDTH = 120
/** Names that differ in this many letters are taken for one another. */
const NEAR = 2

/**
 * @typedef {{ name: string, section: string, kind: 'url' | 'number' | 'words' | 'list' | 'text', default?: string,
 *   shown?: string, min?: number, max?: number, words?: string[], secret?: boolean, reader?: string, meaning: string }} Variable
 */

/** @type {Variable[]} */
export const VARIABLES = JSON.parse(readFileSync(TABLE, 'utf8'))
export const NAMES = VARIABLES.map(({ name }) => name)

/** @param {string} text @param {string} indent of the lines after the first */
function wrapped(text, indent) {
  const lines = ['']
  // A command in backquotes stays whole.
  for (const word of text.match(/(?:[^\s`]|`[^`]*`)+/g)) {
    const line = lines[lines.length - 1]
    if (line === '' || line === indent) lines[lines.length - 1] += word
    else if (line.length + 1 + word.length <= WIDTH) lines[lines.length - 1] += ` ${word}`
    else lines.push(indent + word)
  }
  return lines.join('\n')
}

/** What may be given, in words. @param {Variable} variable */
function range({ kind, min, max, words }) {
  if (kind === 'words') return words.map((word) => `\`${word}\``).join(', ')
  if (kind !== 'number') return ''
  return max === undefined ? `from ${min ?? 0}` : `${min ?? 0} to ${max}`
}

/** The sections of docs/configuration.md. */
export function documented() {
  const sections = [...new Set(VARIABLES.map(({ section }) => section))]
  const entry = (/** @type {Variable} */ variable) => {
    const { name, secret, shown, default: preset, meaning } = variable
    const facts = [shown ? `default: ${shown}` : `default: ${preset === undefined ? 'none' : `\`${preset}\``}`, range(variable)]
    return wrapped(`- **\`${name}\`${secret ? ' (secret)' : ''}** (${facts.filter(Boolean).join('; ')}): ${meaning}`, '  ')
  }
  return sections
    .map((section) => `## ${section}\n\n${VARIABLES.filter((variable) => variable.section === section).map(entry).join('\n')}\n`)
    .join('\n')
}

/** .dev.vars.example. */
export function example() {
  const lines = VARIABLES.filter(({ reader }) => reader === undefined).map(
    ({ name, secret, default: preset }) => `# ${name}=${preset === undefined ? '' : JSON.stringify(preset)}${secret ? '  # secret' : ''}`,
  )
  return `# Copy this to .dev.vars, which \`npm run dev\` reads. docs/configuration.md says what each means.\n${lines.join('\n')}\n`
}

/** docs/configuration.md with the sections of the table. @param {string} document */
function withSections(document) {
  const [from, to] = MARKS.map((mark) => document.indexOf(mark))
  if (from < 0 || to < from) throw new Refusal(`docs/configuration.md must have these two marks:\n${MARKS.join('')}`)
  return `${document.slice(0, from)}${MARKS[0]}\n${documented()}\n${document.slice(to)}`
}

/** The files that are made from the table, and what should be in them. @returns {[string, string][]} */
export const made = () => [
  [DOCUMENT, withSections(readFileSync(DOCUMENT, 'utf8'))],
  [EXAMPLE, example()],
]

/** How many letters must be added, removed or changed. @param {string} a @param {string} b */
function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, n) => n)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + Number(a[i - 1] !== b[j - 1]))
    row = next
  }
  return row[b.length]
}

/**
 * The known name that was probably meant. @param {string} given a name that is none of the table
 * @returns {string | undefined}
 */
export function meant(given) {
  const plain = (/** @type {string} */ name) => name.toUpperCase().replace(/[^A-Z0-9]/g, '')
  const same = NAMES.find((name) => plain(name) === plain(given) || `COLIBRI_${name}` === given)
  if (same) return same
  if (given.length < 6) return undefined
  const [nearest] = NAMES.map((name) => ({ name, off: distance(name, given.toUpperCase()) })).sort((a, b) => a.off - b.off)
  return nearest.off <= NEAR && nearest.off * 3 < given.length ? nearest.name : undefined
}

/** What is wrong with a value, as the end of a sentence; undefined if nothing is. @param {Variable} variable @param {string} given */
export function problem({ kind, min = 0, max = Number.MAX_SAFE_INTEGER, words }, given) {
  const text = given.trim()
  if (text === '') return undefined
  if (kind === 'words' && !words.includes(text)) return `is none of ${words.join(', ')}`
  if (kind === 'url' && !(URL.canParse(text) && /^(https?|wss?):$/.test(new URL(text).protocol))) return 'is not an address'
  if (kind !== 'number') return undefined
  if (!/^\d{1,15}$/.test(text)) return 'is not a whole number of at least 0; the default counts'
  const number = Number(text)
  return number < min || number > max ? `is not from ${min} to ${max}; the default counts` : undefined
}

/**
 * Sentences about names and values that look like mistakes.
 * @param {Record<string, string | undefined>} environment
 * @returns {string[]}
 */
export function mistakes(environment) {
  const names = Object.keys(environment).filter((name) => !NAMES.includes(name))
  const near = names.flatMap((name) => {
    const known = meant(name)
    return known && environment[known] === undefined ? [`${name} is not a variable of this service; ${known} is, and is not set`] : []
  })
  const values = VARIABLES.flatMap((variable) => {
    const wrong = problem(variable, environment[variable.name] ?? '')
    return wrong ? [`${variable.name} ${wrong}`] : []
  })
  return [...near, ...values]
}

async function write() {
  const { check } = readArguments('variables').values
  for (const [file, text] of made()) {
    if (readFileSync(file, { encoding: 'utf8', flag: 'a+' }) === text) continue
    if (check) throw new Refusal(`${file} is not what the table of variables makes of it. Write it with: npm run variables`)
    writeFileSync(file, text)
    say(`wrote ${file}`)
  }
}

if (isProgram(import.meta.url)) write().catch(exitWith)
