// Web Push (contract U28, U29): a push service on this machine takes what the service sends, checks who sent it (RFC 8292),
// and decrypts it (RFC 8291) with the keys of a browser. On the real runtime, with a real PDS.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { eventually, startService } from './harness.js'
import { answers, connected, garden, openPlace } from './place.js'
import { SUBJECT, keyPair, pushService, sentBy } from './push-service.js'
import { bearer, vouch } from './tokens.js'

const KEY = 'the key of the tests'

const vapid = keyPair()
let place, service, push, alice, bob, community, channel
before(async () => {
  push = await pushService()
  const env = { INVITE_API_KEY: KEY, TOKEN_SECRET: 'what signs the tokens', VAPID_PRIVATE_KEY: vapid.secret, VAPID_SUBJECT: SUBJECT }
  place = await openPlace({ serve: false, env })
  const hosts = `${place.settings.env.INSECURE_HOSTS},${push.host}`
  service = await startService({ ...place.settings, env: { ...place.settings.env, INSECURE_HOSTS: hosts } })
  await connected(service)
  ;({ alice, bob, community, channel } = await garden(place))
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
})

async function ask(method, path, body, person = bob) {
  const headers = bearer(await vouch(service, KEY, person.did))
  return service.fetchJson(path, { method, headers, body: body && JSON.stringify(body) })
}
const subscribe = (subscription) => ask('POST', `/api/push?did=${bob.did}`, { subscription })

/** alice mentions bob: with two signs, it is a ping. */
function say(text) {
  const features = [{ $type: 'app.bsky.richtext.facet#mention', did: bob.did }]
  return alice.message(channel.rkey, text, { facets: [{ index: { byteStart: 0, byteEnd: text.indexOf(',') }, features }] })
}

test('R67–R69: a browser is named with its keys, at an address that may be asked', async () => {
  assert.deepEqual((await service.fetchJson('/api/push/key')).body, { public_key: vapid.shown })
  const browser = push.browser('/named')
  assert.equal((await subscribe(browser)).status, 204)
  const other = (change) => ({ ...browser, ...change })
  const wrong = [
    other({ endpoint: 'https://localhost/x' }),
    other({ endpoint: 'http://push.example.com/x' }),
    other({ endpoint: 'https://10.0.0.1/x' }),
    other({ endpoint: 'nonsense' }),
    other({ keys: { ...browser.keys, auth: 'AAAA' } }),
    other({ keys: { ...browser.keys, p256dh: browser.keys.p256dh.slice(0, 40) } }),
    undefined,
  ]
  for (const subscription of wrong) assert.equal((await subscribe(subscription)).status, 422, JSON.stringify(subscription))
  const path = `/api/push?did=${bob.did}`
  assert.equal((await service.fetchJson(path, { method: 'POST', body: '{}' })).status, 401)
  assert.equal((await ask('POST', path, { subscription: browser }, alice)).status, 403)
  const gone = `${path}&endpoint=${encodeURIComponent(browser.endpoint)}`
  assert.equal((await ask('DELETE', gone)).status, 204)
  assert.equal((await ask('DELETE', gone)).status, 204)
  assert.equal((await ask('DELETE', path)).status, 422)
})

test('U28, U29: a ping reaches the browsers of a person who is away, once each, and only theirs', async () => {
  await subscribe(push.browser('/one'))
  await subscribe(push.browser('/two'))
  await say('@bob, quiet')
  const { rkey, uri } = await say('@@bob, now')
  for (const path of ['/one', '/two']) {
    const got = await push.got(path, 1)
    assert.equal(sentBy(got, push.origin), vapid.shown)
    const { ttl, urgency, topic, 'content-encoding': encoding } = got.headers
    assert.deepEqual([encoding, ttl, urgency], ['aes128gcm', '86400', 'high'])
    assert.match(topic, /^[\w-]{1,32}$/)
    const { id, author, ...said } = got.said
    assert(uri.endsWith(rkey) && id > 0 && author !== undefined)
    assert.deepEqual(said, { type: 'notification', kind: 'mention', urgency: 'ping', community_uri: community.uri,
      channel_uri: channel.uri, message_uri: uri, text: '@@bob, now' })
  }

  // A push service that fails is asked again; a browser that is gone is forgotten.
  push.statuses.push(503, 503)
  await say('@@bob, again')
  for (const path of ['/one', '/two']) assert.equal((await push.got(path, 3)).said.text, '@@bob, again')
  push.statuses.push(410, 410)
  await say('@@bob, the last')
  for (const path of ['/one', '/two']) assert.equal((await push.got(path, 4)).status, 410)
  await subscribe(push.browser('/three'))
  await say('@@bob, elsewhere')
  assert.equal((await push.got('/three', 1)).said.text, '@@bob, elsewhere')
  assert.equal(push.requests.filter(({ path }) => path !== '/three').length, 8)
})

test('U23, U28: what stands on the screen is not pushed; a digest is, to a person who sees nothing', async () => {
  await ask('POST', `/api/notifications/seen?did=${bob.did}`)
  const socket = await service.connect(`/api/subscribe?auth=${await vouch(service, KEY, bob.did)}`)
  await socket.request({ action: 'view', channel: channel.uri })
  const { rkey } = await say('@@bob, on the screen')
  const newest = async () => (await ask('GET', `/api/notifications?did=${bob.did}`)).body.notifications[0]
  await eventually(async () => (await newest()).message.rkey === rkey && (await newest()).seen_at !== null)
  await socket.request({ action: 'view' })
  await say('@@bob, with a socket')
  assert.equal((await push.got('/three', 2)).said.text, '@@bob, with a socket')
  await socket.close()
  for (let n = 0; n < 5; n += 1) await say('@bob, quiet')
  const { said, headers } = await push.got('/three', 3)
  assert.deepEqual([said.kind, said.urgency, said.count, headers.urgency], ['digest', 'quiet', 5, 'low'])
})

test('U29: of a community for members only nothing that was written there', async () => {
  const body = { community_uri: community.uri, members_only: true }
  assert.equal((await ask('PUT', '/api/community/members-only', body, alice)).status, 200)
  const { uri } = await say('@@bob, a secret')
  const { said } = await push.got('/three', 4)
  assert.deepEqual([said.message_uri, said.text, said.author], [uri, undefined, undefined])
})
