// @ts-check
// The table of variables: what is made from it is current, and mistakes are named before the service runs.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { made, meant, mistakes, NAMES, VARIABLES } from '../../scripts/variables.js'
import { startService } from './harness.js'

const config = join(fileURLToPath(new URL('./fixtures/probe', import.meta.url)), 'wrangler.toml')

test('docs/configuration.md and .dev.vars.example are what the table makes of them', () => {
  assert(NAMES.length > 40 && new Set(NAMES).size === NAMES.length)
  for (const [file, text] of made()) assert.equal(readFileSync(file, 'utf8'), text, `${file}: npm run variables`)
})

test('a name that is nearly a variable is named, and nothing else is', () => {
  for (const [given, known] of [
    ['JETSTREAM_URI', 'JETSTREAM_URL'],
    ['JETSTREAMURL', 'JETSTREAM_URL'],
    ['jetstream_url', 'JETSTREAM_URL'],
    ['COLIBRI_JETSTREAM_URL', 'JETSTREAM_URL'],
    ['AUTHMODE', 'AUTH_MODE'],
    ['INVITE_APIKEY', 'INVITE_API_KEY'],
    ['TURN_URL', 'TURN_URLS'],
    ['GATEWAY_SHARD', 'GATEWAY_SHARDS'],
  ])
    assert.equal(meant(given), known, given)
  for (const given of ['PATH', 'HOME', 'NODE_ENV', 'LANG', 'npm_config_cache', 'XDG_CACHE_HOME', 'COLIBRI_PORT', 'CDN', 'HTTP_PROXY'])
    assert.equal(meant(given), undefined, given)
  assert.deepEqual(mistakes({ JETSTREAM_URI: 'x' }), [
    'JETSTREAM_URI is not a variable of this service; JETSTREAM_URL is, and is not set',
  ])
  assert.deepEqual(mistakes({ JETSTREAM_URI: 'x', JETSTREAM_URL: 'wss://a.example' }), [], 'the right one is there')
})

test('a value that cannot be meant is named; every default is fine', () => {
  const defaults = Object.fromEntries(VARIABLES.map(({ name, default: preset }) => [name, preset]))
  assert.deepEqual(mistakes(defaults), [])
  assert.deepEqual(mistakes({ GATEWAY_SHARDS: '0', LEASE_MS: 'soon', LOG_LEVEL: 'loud', PLC_URL: 'plc.directory', WS_RATE: ' ' }).sort(), [
    'GATEWAY_SHARDS is not from 1 to 1024; the default counts',
    'LEASE_MS is not a whole number of at least 0; the default counts',
    'LOG_LEVEL is none of trace, debug, info, warn, error',
    'PLC_URL is not an address',
  ])
})

test('a start says in one line what runs, and in one each what looks wrong', async (t) => {
  const env = { AUTH_MODE: 'mixed', INVITE_API_KEY: 'a-key-that-is-long-enough', JETSTREAM_URL: 'ws://127.0.0.1:9/subscribe?token=1' }
  const service = await startService({ config, env: { ...env, GATEWAY_SHARD: '8', MAX_CONNECTIONS: 'many' } })
  t.after(() => service.kill9())
  const { version } = JSON.parse(readFileSync(fileURLToPath(new URL('../../package.json', import.meta.url)), 'utf8'))
  const line = `colibri-edge ${version}, schema 0001_notes, AUTH_MODE mixed, INVITE_API_KEY yes, stream ws://127.0.0.1:9/subscribe`
  const said = service.logs().split('\n')
  assert.equal(said.filter((one) => one.endsWith(line)).length, 1, service.logs())
  assert(said.some((one) => one.endsWith('note: GATEWAY_SHARD is not a variable of this service; GATEWAY_SHARDS is, and is not set')))
  assert(said.some((one) => one.endsWith('note: MAX_CONNECTIONS is not a whole number of at least 0; the default counts')))
  assert(!service.logs().includes(env.INVITE_API_KEY) && !service.logs().includes('token=1'))
})
