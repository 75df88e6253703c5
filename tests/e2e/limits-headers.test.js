// Every answer says what is left of the budget that it was taken from (H14): every route, by its path and by its method, and every
// kind of answer that there is. What is over a limit is in limits.test.js; what the runtime answers itself is no answer of ours.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { before, test } from 'node:test'
import WebSocket from 'ws'

import { cidOf } from '../network/cid.js'
import { openStage } from './stage.js'
import { bearer, vouch } from './tokens.js'

const KEY = 'the key of the tests of the limit headers'
const LIMIT = 1_000_000
const VERIFY_MAX = 10_000
const ROUTES = JSON.parse(readFileSync(new URL('../../docs/access.json', import.meta.url), 'utf8')).routes
const HEADERS = ['ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset']
/** The values of names in braces. */
const made = { code: 'nobodys-code', target: 'did:plc:target' }
const filled = (text) => text.replace(/\{(\w+)\}/g, (_, name) => made[name] ?? `did:plc:${name}`)

let stage, service, token
/** The statuses that were met. */
const met = new Set()

before(async () => {
  const env = {
    RATE_LIMIT_PER_MIN: String(LIMIT),
    INVITE_API_KEY: KEY,
    TOKEN_SECRET: 'what signs the tokens of the tests of the limit headers',
    SERVICE_DID: 'did:web:service.test',
    BLOB_VERIFY_MAX: String(VERIFY_MAX),
  }
  stage = await openStage({ env })
  ;({ service } = stage)
  const community = 'at://did:plc:owner/social.colibri.community/c'
  await stage.say(
    ['owner', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ['owner', 'create', 'channel/k', { name: 'hall', type: 'text', community: 'c' }],
    ['member', 'create', 'membership/m', { community }],
    ['member', 'create', 'message/m', { text: 'hello', channel: 'k', createdAt: new Date().toISOString() }],
  )
  Object.assign(made, { community, channel: 'at://did:plc:owner/social.colibri.channel/k', message: 'm' })
  token = await vouch(service, KEY, 'did:plc:owner')
})

/** Fails unless these headers say what is left. */
function hasLimits(headers, status, what) {
  met.add(status)
  const [limit, left, reset] = HEADERS.map((name) => Number(headers.get(name) ?? NaN))
  assert.equal(limit, LIMIT, `${status} ${what}`)
  assert(left > 0 && left < LIMIT && Number.isInteger(reset) && reset >= 1, `${status} ${what}: ${left} left, ${reset} s`)
}

async function ask(path, init, what = `${init?.method ?? 'GET'} ${path}`) {
  const response = await service.fetch(path, init)
  await response.arrayBuffer()
  hasLimits(response.headers, response.status, what)
  return response
}

test('H14: every route, by its path, with and without a proof', async () => {
  for (const [route, [, query, body]] of Object.entries(ROUTES)) {
    const [method, path] = route.split(' ')
    for (const proof of [undefined, 'nonsense', 'a.b.c', token]) {
      const init = { method, headers: proof === undefined ? {} : bearer(proof), body: body && filled(JSON.stringify(body)) }
      const whole = await ask(filled(path + query), init)
      const etag = whole.headers.get('etag')
      if (method !== 'GET') continue
      await ask(filled(path + query), { ...init, method: 'HEAD' })
      if (!etag) continue
      const again = await ask(filled(path + query), { headers: { ...init.headers, 'if-none-match': etag } })
      if (whole.status === 200) assert.equal(again.status, 304, route)
    }
    for (const other of ['OPTIONS', 'PATCH']) await ask(filled(path), { method: other })
    await ask(`${filled(path)}/`)
  }
})

test('H14: every method of a token', async () => {
  const { paths } = (await service.fetchJson('/openapi.json')).body
  const methods = new Set(Object.values(paths).flatMap((path) => Object.values(path).flatMap((one) => one['x-lxm'] ?? [])))
  assert(methods.size > 20, `${methods.size} methods`)
  for (const method of methods) for (const init of [{}, { method: 'POST' }, { method: 'PATCH' }]) await ask(`/xrpc/${method}`, init)
})

test('H14: a person sees their own budget', async () => {
  const bans = `/api/community/bans?community=${made.community}`
  const left = async () => Number((await ask(bans, { headers: bearer(token) })).headers.get('ratelimit-remaining'))
  const before = await left()
  for (let n = 0; n < 5; n++) await ask('/api/server')
  const after = await left()
  // A few hundred come back in the time of a question.
  assert(after >= before - 1, `${before}, and then ${after}`)
})

test('H14: blobs, refusals of bodies, and what goes wrong elsewhere', async () => {
  const { host } = stage
  const did = 'did:plc:painter'
  const pds = { id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: host.url }
  host.routes.set(`/plc/${did}`, { id: did, service: [pds] })
  const put = (bytes, answer = [200, bytes, { 'content-type': 'image/png' }]) => {
    host.routes.set(`/xrpc/com.atproto.sync.getBlob?did=${encodeURIComponent(did)}&cid=${cidOf(bytes)}`, answer)
    return `/api/blob?did=${did}&cid=${cidOf(bytes)}`
  }
  const [small, large, broken] = [randomBytes(1000), randomBytes(3 * VERIFY_MAX), randomBytes(1000)]
  for (const [path, headers, status] of [
    [put(small), {}, 200],
    [put(small), { range: 'bytes=0-9' }, 206],
    [put(small), { range: 'bytes=5000-' }, 416],
    [put(small), { 'if-none-match': `"${cidOf(small)}"` }, 304],
    [put(large), {}, 200],
    [put(broken, [500, {}, {}]), {}, 502],
  ])
    assert.equal((await ask(path, { headers })).status, status, path)
  const ban = (body) => ask('/api/community/ban', { method: 'POST', headers: bearer(token), body })
  for (const [body, status] of [
    ['no JSON', 400],
    ['{}', 422],
    [' '.repeat(70_000), 413],
    [JSON.stringify({ community_uri: made.community, member_did: 'did:plc:member' }), 204],
    [JSON.stringify({ community_uri: 'at://did:plc:else/social.colibri.community/c', member_did: 'did:plc:member' }), 403],
  ])
    assert.equal((await ban(body)).status, status)
})

test('H14: upgrades, accepted and refused', async () => {
  for (const [path, status] of [
    ['/api/subscribe', 101],
    [`/api/subscribe?auth=TOKEN`, 101],
    [`/api/subscribe?community=${'at://did:plc:owner/social.colibri.community/c'}`, 101],
    ['/api/subscribe?community=at://did:plc:nobody/social.colibri.community/c', 101],
    ['/api/webrtc/signal', 101],
    ['/api/webrtc/signal?room=r', 101],
    ['/api/subscribe?auth=nonsense', 401],
    ['/api/subscribe?did=did:plc:else&auth=TOKEN', 403],
    ['/api/subscribe?did=nonsense', 422],
  ]) {
    const ws = new WebSocket(service.wsUrl + path.replace('TOKEN', encodeURIComponent(token)), { perMessageDeflate: false })
    const { headers, statusCode } = await new Promise((resolve, reject) => {
      ws.once('upgrade', resolve)
      ws.once('unexpected-response', (request, response) => {
        resolve(response)
        request.destroy()
      })
      ws.once('error', reject)
    })
    ws.on('error', () => {}) // it is ended before it is open
    ws.terminate()
    assert.equal(statusCode, status, path)
    hasLimits(new Headers(Object.entries(headers).map(([name, value]) => [name, String(value)])), statusCode, path)
  }
  const proven = await service.connect('/api/subscribe', { protocols: ['colibri.auth.bearer', token] })
  assert.equal(proven.ws.protocol, 'colibri.auth.bearer', 'X06')
  await proven.close()
})

test('every kind of answer was met', () => {
  const kinds = [101, 200, 204, 206, 304, 400, 401, 403, 404, 405, 413, 416, 422, 502]
  assert.deepEqual(kinds.filter((status) => !met.has(status)), [])
})

test('H14: a request with the key gets no limit headers, because it has no limits', async () => {
  const { headers } = await service.fetch('/api/server', { headers: bearer(KEY) })
  assert.deepEqual(HEADERS.map((name) => headers.get(name)), [null, null, null])
})
