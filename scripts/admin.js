// @ts-check
// `npm run admin -- COMMAND`: operates a running service through its HTTP API, with its API key.
//
// Promises: it has no rules of its own: what a command may do, the service decides, and its words are shown when it
// refuses. A name that fits several communities is refused. What cannot be undone is asked for first, or needs --yes.
// The key comes from a file or from the environment, never from the command line, where others on the machine see it.

import { createWriteStream, existsSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { pipeline } from 'node:stream/promises'
import { pathToFileURL } from 'node:url'

import { Refused, Service } from '../packages/client/src/index.ts'
import { ADMIN } from './admin-commands.js'
import { COMMANDS, readArguments, typedPath } from './commands.js'
import { isProgram, ROOT } from './paths.js'
import { exitWith, Refusal, say } from './progress.js'

const KEY = 'INVITE_API_KEY'
const ANSWER_WITHIN_MILLIS = 60_000
const PAGE = 1_000

/** Why a request failed. @param {any} error */
export const causeOf = (error) => error.cause?.code ?? error.cause?.message ?? error.message

/** What a service answers; an error is one sentence. @template T @param {Service} service @param {Promise<T>} answer @returns {Promise<T>} */
async function answered(service, answer) {
  try {
    return await answer
  } catch (error) {
    throw error instanceof Refusal ? error : new Refusal(inWords(service, error))
  }
}

/** @param {Service} service @param {any} error */
function inWords(service, error) {
  if (error instanceof SyntaxError || (error instanceof Refused && !error.code)) return `What answers at ${service.url} is not this service: ${error.message}`
  if (error instanceof Refused) {
    const advice = { 401: ` Is ${KEY}, or --key-file, the key of that service?`, 429: ' Try again later.' }[error.status] ?? ''
    return `The service refuses: ${error.message} (${error.code}).${advice}`
  }
  const why = error.name === 'TimeoutError' ? 'no answer in time' : causeOf(error)
  return `Nothing answers at ${service.url} (${why}). Is the service running? --url names another one.`
}

/** The body of an answer. @param {Service} service @param {import('./admin-commands.js').Asked} asked */
const ask = (service, [method, path, { query, body } = {}]) =>
  answered(service, service.body(path, query, { method, body, signal: AbortSignal.timeout(ANSWER_WITHIN_MILLIS) }))

/** Every known community. @param {Service} service */
async function communities(service) {
  const found = []
  for await (const row of service.rows('/api/operator/communities', { limit: PAGE })) found.push(row)
  return found
}

/** The key that was given, if one was. @param {Record<string, any>} values */
function keyIn(values) {
  const file = values['key-file'] && typedPath(values['key-file'], 'admin')
  if (!file) return process.env[KEY]?.trim() || undefined
  if (!existsSync(file)) throw new Refusal(`There is no file ${file}, which --key-file names.`)
  return readFileSync(file, 'utf8').trim()
}

/** @param {Service} service @param {string} named @returns {Promise<string>} an AT-URI */
async function communityOf(service, named) {
  if (named.startsWith('at://')) return named
  const found = (await answered(service, communities(service))).filter(({ uri, name }) => name === named || uri.endsWith(`/${named}`))
  if (found.length === 1) return found[0].uri
  const uris = found.map(({ uri }) => `\n  ${uri}`).join('')
  throw new Refusal(found.length === 0 ? `No community is called ${named}. See: npm run admin -- community list` : `Several communities are called ${named}:${uris}`)
}

/** @param {Service} service @param {string} named @returns {Promise<string>} a DID */
async function personOf(service, named) {
  if (named.startsWith('did:')) return named
  return (await ask(service, ['GET', '/api/identity', { query: { id: named.replace(/^@/, '') } }])).did
}

/** A message by its AT-URI. @param {string} named */
function messageOf(named) {
  if (/^at:\/\/did:[^/]+\/[^/]+\/[^/]+$/.test(named)) return named
  throw new Refusal(`${named} is not the AT-URI of a message, such as at://did:plc:…/social.colibri.message/…`)
}

/** What the words of the arguments mean. @type {Record<string, (service: Service, typed: string) => string | Promise<string>>} */
const MEANING = { COMMUNITY: communityOf, PERSON: personOf, MESSAGE: (_, typed) => messageOf(typed) }

/**
 * The arguments by their names.
 * @param {Service} service @param {string} chosen @param {string[]} typed @returns {Promise<Record<string, any>>}
 */
async function named(service, chosen, typed) {
  const words = (ADMIN[chosen].arguments ?? '').split(/ (?![…|])/).filter(Boolean)
  const needed = words.filter((word) => !word.startsWith('['))
  const takesMore = words.some((word) => word.includes('…'))
  if (typed.length < needed.length || (typed.length > words.length && !takesMore))
    throw new Refusal(`Usage: npm run admin -- ${[chosen, ADMIN[chosen].arguments].filter(Boolean).join(' ')}`)
  /** @type {Record<string, any>} */
  const given = {}
  for (const [at, word] of needed.entries()) given[word.toLowerCase()] = await (MEANING[word]?.(service, typed[at]) ?? typed[at])
  const more = typed.slice(needed.length)
  if (takesMore) given.people = await Promise.all(more.map((person) => personOf(service, person)))
  else if (words.length > needed.length) given.setting = checkedSetting(more[0], words[needed.length])
  return given
}

/** @param {string | undefined} typed @param {string} word such as [on|off] */
function checkedSetting(typed, word) {
  const choices = word.slice(1, -1).split('|')
  if (typed !== undefined && !choices.includes(typed)) throw new Refusal(`${typed} is none of ${choices.join(', ')}.`)
  return typed
}

/** @param {string} warning @param {boolean} consented */
async function consent(warning, consented) {
  if (consented) return
  if (!process.stdin.isTTY || !process.stderr.isTTY) throw new Refusal(`${warning} This cannot be undone. If you mean it, add --yes.`)
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  const answer = await terminal.question(`${warning} Type yes to go on: `)
  terminal.close()
  if (answer.trim() !== 'yes') throw new Refusal('Nothing was done.')
}

const cell = (/** @type {unknown} */ value) => (value === null || value === undefined ? '-' : typeof value === 'object' ? JSON.stringify(value) : String(value))

/** An answer for a person to read: a list of objects as a table, an object as lines. @param {unknown} body */
function readable(body) {
  if (body === undefined) return 'done'
  if (!Array.isArray(body)) {
    if (typeof body !== 'object') return cell(body)
    return Object.entries(body ?? {}).map(([name, value]) => `${name}: ${cell(value)}`).join('\n')
  }
  if (body.length === 0) return 'none'
  if (typeof body[0] !== 'object') return body.map(cell).join('\n')
  const names = Object.keys(body[0])
  const rows = [names, ...body.map((row) => names.map((name) => cell(row[name])))]
  const widths = names.map((_, at) => Math.max(...rows.map((row) => row[at].length)))
  return rows.map((row) => row.map((text, at) => text.padEnd(widths[at])).join('  ').trimEnd()).join('\n')
}

/** @param {any} health */
function statusLines({ ok, message, auth_mode: mode, ingest, parts }) {
  const { repos } = ingest
  const facts = parts
    ? parts.map((/** @type {any} */ { part, verdict, message: about, advice }) => `${verdict.padEnd(5)} ${part}: ${about}${advice ? ` → ${advice}` : ''}`)
    : [
        `stream ${ingest.host}, read up to ${ingest.cursor_at ?? 'nothing yet'}, ${ingest.queued} frames waiting`,
        `held records ${ingest.held_records ?? '?'}, refused ${ingest.refused ?? '?'}, set aside ${ingest.set_aside ?? '?'}, restarts ${ingest.restarts ?? '?'}`,
        repos ? `repositories ${repos.known}, due ${repos.due}, failing ${repos.failing}` : 'the database does not answer',
      ]
  return [ok ? 'works' : `does not work: ${message}`, `AUTH_MODE ${mode}`, ...facts].join('\n')
}

/** @param {Service} service @param {{ values: Record<string, any> }} given */
async function status(service, { values }) {
  const health = await answered(service, service.health(AbortSignal.timeout(ANSWER_WITHIN_MILLIS)))
  if (typeof health?.ok !== 'boolean') throw new Refusal(`What answers at ${service.url} is not this service.`)
  console.log(values.json ? JSON.stringify(health) : statusLines(health))
  if (!health.ok) process.exitCode = 1
}

/** Writes an export with all its parts (R43.1); a file that is cut off keeps another name. @param {Service} service @param {{ values: Record<string, any>, positionals: string[] }} given */
async function exported(service, { values, positionals }) {
  if (positionals.length !== 1 || !values.community === !values.person)
    throw new Refusal('Usage: npm run admin -- export FILE (--community COMMUNITY | --person PERSON)')
  const file = typedPath(positionals[0], 'admin')
  if (existsSync(file)) throw new Refusal(`There is ${file} already. Name a file that does not exist yet.`)
  const asked = values.community
    ? { community: await communityOf(service, values.community) }
    : { did: await personOf(service, values.person) }
  const making = `${file}.incomplete`
  rmSync(making, { force: true })
  for (let cursor; ;) {
    const response = await answered(service, service.request('/api/export', { ...asked, cursor }))
    let tail = ''
    const seen = async function* (/** @type {AsyncIterable<Uint8Array>} */ pieces) {
      const decoder = new TextDecoder()
      for await (const piece of pieces) {
        tail = (tail + decoder.decode(piece, { stream: true })).slice(-10_000)
        yield piece
      }
    }
    await pipeline(/** @type {any} */ (response.body), seen, createWriteStream(making, { flags: 'a', mode: 0o600 }))
    const last = tail.trimEnd().split('\n').at(-1)
    const end = last?.startsWith('{"end":') ? JSON.parse(last) : undefined
    if (!end) throw new Refusal(`The export was cut off; what came is in ${making}. Run this again.`)
    if (end.end) {
      renameSync(making, file)
      return say(`${file}: ${end.records} records, as of ${end.at}`)
    }
    cursor = end.cursor
  }
}

/** What no single request does. @type {Record<string, (service: Service, given: { values: Record<string, any>, positionals: string[] }) => Promise<void>>} */
const PERFORM = {
  status,
  doctor: async (service, { values }) => (await import('./doctor.js')).doctor(service, values.state && typedPath(values.state, 'admin')),
  'community list': async (service, { values }) => show(await answered(service, communities(service)), values.json),
  export: exported,
}

/** @param {unknown} body @param {boolean} asJson */
const show = (body, asJson) => console.log(asJson ? JSON.stringify(body ?? null) : readable(body))

async function admin() {
  const given = readArguments('admin')
  const { values, positionals, chosen } = given
  // Commands that are scripts of their own, with the same arguments.
  if (ADMIN[chosen].isLocal) {
    if (process.env.npm_lifecycle_event === 'admin') process.env.npm_lifecycle_event = chosen
    const script = join(ROOT, COMMANDS[chosen].script)
    process.argv = [process.execPath, script, ...process.argv.slice(3)]
    return void (await import(pathToFileURL(script).href))
  }
  const service = new Service(values.url, keyIn(values))
  if (PERFORM[chosen]) return PERFORM[chosen](service, given)
  const typed = await named(service, chosen, positionals)
  if (ADMIN[chosen].warns) await consent(ADMIN[chosen].warns, values.yes)
  show(await ask(service, ADMIN[chosen].request({ ...values, ...typed })), values.json)
}

if (isProgram(import.meta.url)) admin().catch(exitWith)
