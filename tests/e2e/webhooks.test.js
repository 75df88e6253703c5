// Webhooks (R82 to R84, C50), on the real runtime with a real PDS: receivers that are there, slow, down, or redirect. What
// takes an hour is in tests/native/webhooks.rs.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { before, test } from 'node:test'
import { Webhook } from 'standardwebhooks'

import { atEnd, eventually, startService } from './harness.js'
import { answers, connected, garden, openPlace } from './place.js'
import { bearer } from './tokens.js'

const KEY = 'the key of the tests of webhooks'

/** Somebody's server: it keeps what it gets, and answers as `answer` says. */
async function receiver(answer = () => 204) {
  const got = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const status = await answer(got.length)
    got.push({ status, headers: request.headers, method: request.method, body, json: JSON.parse(body) })
    response.writeHead(status, status === 302 ? { location: '/elsewhere' } : {}).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  atEnd(() => server.closeAllConnections())
  atEnd(() => server.close())
  const place = `127.0.0.1:${server.address().port}`
  return { got, place, url: `http://${place}/hook`, taken: () => got.filter(({ status }) => status < 300), answer: (next) => (answer = next) }
}

let place, service, alice, bob, community, channel, quick, stuck, flaky, moved, gone
/** Lets the stuck receiver go. */
let release
before(async () => {
  place = await openPlace({ serve: false })
  const waits = new Promise((resolve) => (release = resolve))
  quick = await receiver()
  stuck = await receiver(() => waits.then(() => 204))
  flaky = await receiver(() => 500)
  moved = await receiver(() => 302)
  gone = await receiver(() => 410)
  const { settings } = place
  const hosts = [settings.env.INSECURE_HOSTS, ...[quick, stuck, flaky, moved, gone].map((one) => one.place)]
  service = await startService({ ...settings, env: { ...settings.env, INSECURE_HOSTS: hosts.join(), INVITE_API_KEY: KEY } })
  await connected(service)
  ;({ alice, bob, community, channel } = await garden(place))
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
})

const ask = (method, path, body) =>
  service.fetchJson(path, { method, headers: bearer(KEY), body: body && JSON.stringify({ community_uri: community.uri, ...body }) })
const list = async () => (await ask('GET', `/api/webhooks?community=${community.uri}`)).body
async function set(url, more) {
  const { status, body } = await ask('PUT', '/api/webhooks', { url, ...more })
  assert.equal(status, 200, JSON.stringify(body))
  return body
}
const texts = (events) => events.map(({ json }) => json.data.message?.text)

test('C50: signed, in order, and nobody waits for a receiver that does not answer', async () => {
  await set(stuck.url)
  const { secret, id, ...hook } = await set(quick.url, { events: ['message'] })
  assert.deepEqual(hook, { ...hook, community_uri: community.uri, url: quick.url, events: ['message'], disabled_at: null })
  const said = ['one', 'two', 'three']
  for (const text of said) await bob.message(channel.rkey, text)
  await eventually(() => quick.got.length >= 3, { what: 'three events' })
  assert.deepEqual(texts(quick.got), said)
  for (const { method, headers, body, json } of quick.got) {
    assert.deepEqual([method, headers['content-type']], ['POST', 'application/json'])
    new Webhook(secret).verify(body, headers)
    assert.throws(() => new Webhook(secret).verify(`${body} `, headers), 'the signature is of this body')
    assert.equal(headers['webhook-id'], `${id}-${json.data.seq}`)
    assert.deepEqual([json.type, json.data.type, json.data.live], ['message', 'message', true])
  }
  assert.equal(stuck.got.length, 0, 'it has not answered yet')
  release()
  await eventually(() => stuck.taken().length >= 3, { what: 'the other receiver to have them too' })
  assert.deepEqual(texts(stuck.taken()), said)
  const shown = await list()
  assert.deepEqual(shown.map((one) => one.url).sort(), [quick.url, stuck.url].sort())
  assert(shown.every((one) => !('secret' in one)), 'nobody reads a secret')
})

test('C50: a receiver that is down, while the service restarts, gets each event once and in order', async () => {
  await set(flaky.url, { events: ['message'] })
  const said = []
  for (let n = 0; n < 6; n++) {
    said.push(`while it is down ${n}`)
    await bob.message(channel.rkey, said.at(-1))
    if (n === 2) {
      await eventually(() => flaky.got.length > 0, { what: 'a first attempt' })
      await service.restart()
      await connected(service)
    }
  }
  await eventually(() => flaky.got.length > 1, { what: 'another attempt' })
  flaky.answer(() => 200)
  await set(flaky.url, { events: ['message'] })
  await eventually(() => flaky.taken().length >= said.length, { what: 'everything' })
  assert.deepEqual(texts(flaky.taken()), said, 'each once, in order')
  const attempts = flaky.got.filter(({ status }) => status === 500)
  assert.deepEqual(new Set(attempts.map(({ headers }) => headers['webhook-id'])), new Set([flaky.taken()[0].headers['webhook-id']]))
})

test('C50, R21.6: a redirect is not followed; a receiver that is gone is disabled, and the console says so', async () => {
  await set(moved.url)
  await set(gone.url)
  const { rkey } = await bob.message(channel.rkey, 'for those who are there')
  await eventually(async () => (await list()).find((one) => one.url === gone.url).disabled_at !== null, { what: 'it to be disabled' })
  await eventually(() => moved.got.length > 0)
  assert.equal(moved.got.every(({ json }) => json.type === 'message'), true)
  const { webhooks } = (await ask('GET', '/api/operator')).body
  assert.deepEqual(webhooks.map(({ url, disabled_because: why }) => [url, why]), [[gone.url, 'the receiver answered 410 Gone']])
  gone.answer(() => 204)
  await set(gone.url)
  await eventually(() => gone.taken().length > 0, { what: 'what it had missed' })
  assert.equal(gone.taken()[0].json.data.message.rkey, rkey)
  const sixth = await ask('PUT', '/api/webhooks', { url: `${quick.url}/sixth` })
  assert.deepEqual([sixth.status, sixth.body.error], [422, 'InvalidRequest'], 'five of a community')
  for (const { id } of await list()) {
    assert.equal((await ask('DELETE', `/api/webhooks?community=${community.uri}&id=${id}`)).status, 204)
    assert.equal((await ask('DELETE', `/api/webhooks?community=${community.uri}&id=${id}`)).status, 404)
  }
  assert.deepEqual(await list(), [])
})

test('R82: only addresses of public hosts', async () => {
  for (const url of ['http://hooks.example.com/', 'https://localhost/', 'https://127.0.0.1/', 'https://10.1.2.3/', 'https://[::1]/', 'https://127.1/',
    'https://2130706433/', 'https://169.254.169.254/latest', 'https://user:word@hooks.example.com/', 'https://metadata.internal/', 'https://intranet/',
    'ftp://hooks.example.com/', 'nonsense', `${service.url}/api/webhooks`, `https://hooks.example.com/${'x'.repeat(2_048)}`]) {
    const { status, body } = await ask('PUT', '/api/webhooks', { url })
    assert.deepEqual([status, body.error], [422, 'InvalidRequest'], `${url}: ${JSON.stringify(body)}`)
    assert.match(body.message, /\burl\b/)
  }
  for (const wrong of [{ events: ['Message'] }, { events: 'message' }, { secret: 'whsec_short' }, { secret: 7 }]) {
    assert.equal((await ask('PUT', '/api/webhooks', { url: quick.url, ...wrong })).status, 422, JSON.stringify(wrong))
  }
  const unknown = { community_uri: `at://${alice.did}/social.colibri.community/none`, url: quick.url }
  assert.equal((await ask('PUT', '/api/webhooks', unknown)).status, 404)
})
