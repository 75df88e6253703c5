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

import { ADMIN } from './admin-commands.js'
import { COMMANDS, readArguments, typedPath } from './commands.js'
import { isProgram, ROOT } from './paths.js'
import { exitWith, Refusal, say } from './progress.js'

const KEY = 'INVITE_API_KEY'
const ANSWER_WITHIN_MILLIS = 60_000
const PAGE = 1_000

/** Why a request failed. @param {any} error */
export const causeOf = (error) => error.cause?.code ?? error.cause?.message ?? error.message

/** The API of one service. */
export class Api {
  /** @param {string} url @param {string | undefined} key */
  constructor(url, key) {
    this.url = url.replace(/\/+$/, '')
    this.key = key
  }

  /**
   * The answer to a request; throws a Refusal if the service cannot be reached.
   * @param {string} method @param {string} path @param {object} [body] @param {number} [within] milliseconds
   */
  async ask(method, path, body, within = ANSWER_WITHIN_MILLIS) {
    const headers = { ...(this.key && { authorization: `Bearer ${this.key}` }), ...(body && { 'content-type': 'application/json' }) }
    const signal = AbortSignal.timeout(within)
    return fetch(this.url + path, { method, headers, signal, ...(body && { body: JSON.stringify(body) }) }).catch((error) => {
      const why = error.name === 'TimeoutError' ? 'no answer in time' : causeOf(error)
      throw new Refusal(`Nothing answers at ${this.url} (${why}). Is the service running? --url names another one.`)
    })
  }

  /** The body of an answer that must be a success. @param {string} method @param {string} path @param {object} [body] */
  async get(method, path, body) {
    const response = await this.ask(method, path, body)
    return { response, body: await bodyOf(response) }
  }

  /** Every row of a list, in pages. @param {string} path */
  async every(path) {
    const rows = []
    for (let cursor; ;) {
      const { response, body } = await this.get('GET', `${path}?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`)
      rows.push(...body)
      cursor = response.headers.get('colibri-cursor')
      if (!cursor) return rows
    }
  }
}

/** @param {Response} response */
async function bodyOf(response) {
  const text = await response.text()
  let body
  try {
    body = text === '' ? undefined : JSON.parse(text)
  } catch {
    throw new Refusal(`What answers there is not this service: ${response.status} ${text.slice(0, 100)}`)
  }
  if (response.ok) return body
  const advice = { 401: ` Is ${KEY}, or --key-file, the key of that service?`, 429: ' Try again later.' }[response.status] ?? ''
  throw new Refusal(`The service refuses: ${body?.message ?? response.status} (${body?.error ?? response.status}).${advice}`)
}

/** The key that was given, if one was. @param {Record<string, any>} values */
function keyIn(values) {
  const file = values['key-file'] && typedPath(values['key-file'], 'admin')
  if (!file) return process.env[KEY]?.trim() || undefined
  if (!existsSync(file)) throw new Refusal(`There is no file ${file}, which --key-file names.`)
  return readFileSync(file, 'utf8').trim()
}

/** @param {Api} api @param {string} named @returns {Promise<string>} an AT-URI */
async function communityOf(api, named) {
  if (named.startsWith('at://')) return named
  const found = (await api.every('/api/operator/communities')).filter(({ uri, name }) => name === named || uri.endsWith(`/${named}`))
  if (found.length === 1) return found[0].uri
  const uris = found.map(({ uri }) => `\n  ${uri}`).join('')
  throw new Refusal(found.length === 0 ? `No community is called ${named}. See: npm run admin -- community list` : `Several communities are called ${named}:${uris}`)
}

/** @param {Api} api @param {string} named @returns {Promise<string>} a DID */
async function personOf(api, named) {
  if (named.startsWith('did:')) return named
  const { body } = await api.get('GET', `/api/identity?id=${encodeURIComponent(named.replace(/^@/, ''))}`)
  return body.did
}

/** A message by its AT-URI. @param {string} named */
function messageOf(named) {
  if (/^at:\/\/did:[^/]+\/[^/]+\/[^/]+$/.test(named)) return named
  throw new Refusal(`${named} is not the AT-URI of a message, such as at://did:plc:…/social.colibri.message/…`)
}

/** What the words of the arguments mean. @type {Record<string, (api: Api, typed: string) => string | Promise<string>>} */
const MEANING = { COMMUNITY: communityOf, PERSON: personOf, MESSAGE: (_, typed) => messageOf(typed) }

/**
 * The arguments by their names.
 * @param {Api} api @param {string} chosen @param {string[]} typed @returns {Promise<Record<string, any>>}
 */
async function named(api, chosen, typed) {
  const words = (ADMIN[chosen].arguments ?? '').split(/ (?![…|])/).filter(Boolean)
  const needed = words.filter((word) => !word.startsWith('['))
  const takesMore = words.some((word) => word.includes('…'))
  if (typed.length < needed.length || (typed.length > words.length && !takesMore))
    throw new Refusal(`Usage: npm run admin -- ${[chosen, ADMIN[chosen].arguments].filter(Boolean).join(' ')}`)
  /** @type {Record<string, any>} */
  const given = {}
  for (const [at, word] of needed.entries()) given[word.toLowerCase()] = await (MEANING[word]?.(api, typed[at]) ?? typed[at])
  const more = typed.slice(needed.length)
  if (takesMore) given.people = await Promise.all(more.map((person) => personOf(api, person)))
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

/** @param {Api} api @param {{ values: Record<string, any> }} given */
async function status(api, { values }) {
  const response = await api.ask('GET', '/api/health')
  const health = await response.json().catch(() => undefined)
  if (typeof health?.ok !== 'boolean') throw new Refusal(`What answers at ${api.url} is not this service.`)
  console.log(values.json ? JSON.stringify(health) : statusLines(health))
  if (!health.ok) process.exitCode = 1
}

/** Writes an export with all its parts (R43.1); a file that is cut off keeps another name. @param {Api} api @param {{ values: Record<string, any>, positionals: string[] }} given */
async function exported(api, { values, positionals }) {
  if (positionals.length !== 1 || !values.community === !values.person)
    throw new Refusal('Usage: npm run admin -- export FILE (--community COMMUNITY | --person PERSON)')
  const file = typedPath(positionals[0], 'admin')
  if (existsSync(file)) throw new Refusal(`There is ${file} already. Name a file that does not exist yet.`)
  const asked = values.community
    ? { community: await communityOf(api, values.community) }
    : { did: await personOf(api, values.person) }
  const making = `${file}.incomplete`
  rmSync(making, { force: true })
  for (let cursor; ;) {
    const headers = { authorization: `Bearer ${api.key}` }
    const response = await fetch(`${api.url}/api/export?${new URLSearchParams({ ...asked, ...(cursor && { cursor }) })}`, { headers })
    if (!response.ok) await bodyOf(response)
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

/** What no single request does. @type {Record<string, (api: Api, given: { values: Record<string, any>, positionals: string[] }) => Promise<void>>} */
const PERFORM = {
  status,
  doctor: async (api, { values }) => (await import('./doctor.js')).doctor(api, values.state && typedPath(values.state, 'admin')),
  'community list': async (api, { values }) => show(await api.every('/api/operator/communities'), values.json),
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
  const api = new Api(values.url, keyIn(values))
  if (PERFORM[chosen]) return PERFORM[chosen](api, given)
  const typed = await named(api, chosen, positionals)
  if (ADMIN[chosen].warns) await consent(ADMIN[chosen].warns, values.yes)
  const { body } = await api.get(...ADMIN[chosen].request({ ...values, ...typed }))
  show(body, values.json)
}

if (isProgram(import.meta.url)) admin().catch(exitWith)
