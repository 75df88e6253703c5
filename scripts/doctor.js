// @ts-check
// `npm run admin -- doctor`: what is wrong with a service and with the machine it runs on, in words.
//
// Promises: it changes nothing, and every check ends within seconds; one line per check, `ok`, `note` or `wrong`, and what
// to do about it; exit code 1 if anything is wrong. It checks the variables of its own environment, which are those of
// `serve` if both are started the same way, and the service that answers at --url. Neither key nor secret is shown.

import { lookup } from 'node:dns/promises'
import { accessSync, constants, existsSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { join } from 'node:path'

import { Refused } from '../packages/client/src/index.ts'
import { causeOf } from './admin.js'
import { checkMode } from './choose-mode.js'
import { migrationsIn } from './copy.js'
import { filesOf, refuseNewer } from './migrate.js'
import { MIGRATIONS_DIR } from './paths.js'
import { Refusal } from './progress.js'
import { checkSecrets } from './secrets.js'
import { mistakes, VARIABLES } from './variables.js'

const WITHIN_MILLIS = 5_000
const DISK_MIN = 1_000_000_000
/** Hosts of repositories that cannot be read which are tried. */
const HOSTS_MAX = 5

/** @typedef {import('../packages/client/src/index.ts').Service} Service */
/** @typedef {[verdict: 'ok' | 'note' | 'wrong', what: string]} Finding */

const within = () => AbortSignal.timeout(WITHIN_MILLIS)

const valueOf = (/** @type {string} */ name) => process.env[name]?.trim() || VARIABLES.find((row) => row.name === name)?.default

/** @returns {Finding[]} */
function variables() {
  /** @type {Finding[]} */
  const found = mistakes(process.env).map((mistake) => ['wrong', `${mistake} (docs/configuration.md)`])
  for (const check of [() => checkMode(process.env.AUTH_MODE), () => checkSecrets(process.env, (note) => found.push(['note', note]))])
    try {
      check()
    } catch (error) {
      found.push(['wrong', error.message])
    }
  return found.length > 0 ? found : [['ok', 'the variables of this environment have no mistakes that can be seen']]
}

/** Whether a host has an address and answers. @param {string} what @param {string} address @returns {Promise<Finding>} */
async function reached(what, address) {
  if (!URL.canParse(address)) return ['wrong', `${what}: ${address} is not an address`]
  const url = new URL(address)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  try {
    await lookup(host)
  } catch {
    return ['wrong', `${what}: there is no address for ${host}; check the name, and the DNS of this machine`]
  }
  const plain = `${url.protocol.replace('ws', 'http')}//${url.host}${url.pathname}`
  try {
    const response = await fetch(plain, { signal: AbortSignal.timeout(WITHIN_MILLIS), redirect: 'manual' })
    await response.body?.cancel()
    return ['ok', `${what}: ${url.host} answers`]
  } catch (error) {
    const why = error.name === 'TimeoutError' ? `no answer in ${WITHIN_MILLIS / 1000} s` : causeOf(error)
    return ['wrong', `${what}: ${url.host} cannot be reached (${why}); is there a firewall, or is that host down?`]
  }
}

/** @returns {Promise<Finding[]>} */
const network = () =>
  Promise.all(
    [
      ['the stream (JETSTREAM_URL)', valueOf('JETSTREAM_URL')],
      ['the directory of did:plc (PLC_URL)', valueOf('PLC_URL')],
      ['profiles (BSKY_API_URL)', valueOf('BSKY_API_URL')],
      ['DNS over HTTPS (DOH_URL)', valueOf('DOH_URL')],
      ['the relay (RELAY_URL)', valueOf('RELAY_URL')],
    ].flatMap(([what, address]) => (address ? [reached(what, address)] : [])),
  )

/** The folder of a `serve`, its disk and its schema. @param {string | undefined} folder @returns {Promise<Finding[]>} */
async function storage(folder) {
  if (!folder) return [['note', 'the disk and the schema were not checked; --state names the folder of the service']]
  if (!existsSync(folder)) return [['wrong', `there is no folder ${folder}, which --state names`]]
  /** @type {Finding[]} */
  const found = []
  try {
    accessSync(folder, constants.R_OK | constants.W_OK)
  } catch {
    found.push(['wrong', `this user may not read and write ${folder}`])
  }
  const { bavail, bsize } = await statfs(folder)
  const free = bavail * bsize
  const left = `${(free / 1e9).toFixed(1)} GB are free on the disk of ${folder}`
  found.push(free < DISK_MIN ? ['wrong', `${left}; when it is full, nothing can be stored`] : ['ok', left])
  const path = join(folder, 'v3')
  if (!existsSync(path)) return [...found, ['note', `${folder} has no database yet`]]
  const [applied, known] = [migrationsIn(path), filesOf({ migrationsDir: MIGRATIONS_DIR })]
  try {
    refuseNewer(applied, known, folder)
    const missing = known.filter((name) => !applied.includes(name)).length
    const schema = `the schema is ${applied.at(-1)?.replace(/\.sql$/, '') ?? 'empty'}`
    found.push(missing > 0 ? ['note', `${schema}; the next start applies ${missing} more`] : ['ok', `${schema}, as this version has it`])
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    found.push(['wrong', error.message])
  }
  return found
}

/** Whether others reach what SERVICE_DID names. @returns {Promise<Finding[]>} */
async function identity() {
  const did = valueOf('SERVICE_DID')
  if (!did) return [['note', 'SERVICE_DID is not set, so tokens of people\'s own PDS do not count as proofs']]
  if (!did.startsWith('did:web:')) return []
  const host = decodeURIComponent(did.slice('did:web:'.length))
  const url = `${/^localhost(:|$)/.test(host) ? 'http' : 'https'}://${host}/.well-known/did.json`
  try {
    const document = await (await fetch(url, { signal: AbortSignal.timeout(WITHIN_MILLIS) })).json()
    if (document.id === did) return [['ok', `${url} names this service`]]
    return [['wrong', `${url} names ${document.id}, and SERVICE_DID is ${did}`]]
  } catch (error) {
    return [['wrong', `${url} cannot be read (${causeOf(error)}); SERVICE_DID must name the host at which people reach this service`]]
  }
}

/** @param {Service} service @returns {Promise<Finding[]>} */
async function running(service) {
  let health
  try {
    health = await service.health(within())
  } catch (error) {
    const why = error.name === 'TimeoutError' ? `no answer in ${WITHIN_MILLIS / 1000} s` : causeOf(error)
    return [['wrong', error instanceof SyntaxError ? `what answers at ${service.url} is not this service` : `nothing answers at ${service.url} (${why}); is the service running?`]]
  }
  if (typeof health?.ok !== 'boolean') return [['wrong', `what answers at ${service.url} is not this service`]]
  /** @type {Finding[]} */
  const found = [health.ok ? ['ok', `the service at ${service.url} works`] : ['wrong', `the service at ${service.url}: ${health.message}`]]
  for (const { part, verdict, message, advice } of health.parts ?? [])
    if (verdict !== 'ok') found.push([verdict, `${part}: ${message}${advice ? `; ${advice}` : ''}`])
  return [...found, ...(await operator(service))]
}

/** The key, and the hosts that a key shows. @param {Service} service @returns {Promise<Finding[]>} */
async function operator(service) {
  let body
  try {
    body = await service.body('/api/operator', {}, { signal: within() })
  } catch (error) {
    if (!(error instanceof Refused)) return [['wrong', `the service does not show its operator's numbers (${causeOf(error)})`]]
    if (error.code === 'NotConfigured') return [['wrong', 'the service has no INVITE_API_KEY, so nobody can operate it']]
    if (error.status !== 401) return [['wrong', `the service answers ${error.status} to the key: ${error.message}`]]
    return [service.hasProof ? ['wrong', 'the service has another key than this one'] : ['note', 'no key was given: set INVITE_API_KEY or --key-file to check it']]
  }
  const failing = body.repositories.filter((/** @type {any} */ { failures, host }) => failures > 0 && host)
  const hosts = [...new Set(failing.map((/** @type {any} */ { host }) => String(host)))].slice(0, HOSTS_MAX)
  const tried = await Promise.all(hosts.map((host) => reached('a PDS whose repositories cannot be read', `https://${host}/xrpc/_health`)))
  return [['ok', 'the key is the one of the service'], ...tried]
}

/**
 * Prints what is found.
 * @param {Service} service @param {string | undefined} folder
 */
export async function doctor(service, folder) {
  const found = (await Promise.all([variables(), storage(folder), network(), identity(), running(service)])).flat()
  for (const [verdict, what] of found) console.log(`${verdict.padEnd(5)}  ${what}`)
  if (found.some(([verdict]) => verdict === 'wrong')) process.exitCode = 1
}
