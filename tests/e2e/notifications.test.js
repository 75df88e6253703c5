// Notifications and unread counts of one person with two devices (section 15): what is read or seen on one is gone on the
// other, and nobody else learns of it. On the real runtime, with a real PDS.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { COLLECTION } from '../network/records.js'
import * as records from '../network/records.js'
import { eventually } from './harness.js'
import { answers, garden, openPlace } from './place.js'
import { bearer, vouch } from './tokens.js'

const KEY = 'the key of the tests'

let place, service, alice, bob, community, channel
before(async () => {
  place = await openPlace({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: 'what signs the tokens' } })
  service = place.service
  ;({ alice, bob, community, channel } = await garden(place))
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
})

/** A device of a person: their calls, with a proof of its own. */
async function device(person) {
  const headers = bearer(await vouch(service, KEY, person.did))
  const ask = async (method, path, query = {}) => {
    const params = new URLSearchParams({ did: person.did, ...query })
    const answer = await service.fetchJson(`${path}?${params}`, { method, headers })
    assert(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer
  }
  return {
    unread: async () => (await ask('GET', '/api/unread', { community: community.uri })).body[0],
    everywhere: async () => (await ask('GET', '/api/unread')).body,
    read: (query) => ask('POST', '/api/read', { channel: channel.uri, ...query }),
    list: async (query) => (await ask('GET', '/api/notifications', query)).body,
    page: (query) => ask('GET', '/api/notifications', query),
    seen: async (query) => (await ask('POST', '/api/notifications/seen', query)).body.seen,
  }
}

const mentioning = (person) => ({
  facets: [{ index: { byteStart: 0, byteEnd: 3 }, features: [{ $type: 'app.bsky.richtext.facet#mention', did: person.did }] }],
})

test('R48–R51, U06, U10: what is read on one device is read on the other', async () => {
  const [phone, laptop] = [await device(bob), await device(bob)]
  const first = await alice.message(channel.rkey, 'one', mentioning(bob))
  const second = await alice.message(channel.rkey, 'two')
  const third = await alice.message(channel.rkey, 'bob', mentioning(bob))
  const counts = async (one) => {
    const { unread, mentions } = await one.unread()
    return [unread, mentions]
  }
  await eventually(async () => (await counts(phone))[0] === 3)
  assert.deepEqual([await counts(phone), await counts(laptop)], [[3, 2], [3, 2]])
  assert.deepEqual(await laptop.everywhere(), [await phone.unread()])
  const { unseen, notifications } = await laptop.list()
  assert.equal(unseen, 2)
  assert.deepEqual(notifications.map((one) => [one.kind, one.message.rkey, one.seen_at]), [['mention', third.rkey, null], ['mention', first.rkey, null]])
  assert.equal(notifications[0].message.author_did, alice.did)
  const page = await phone.page({ limit: '1' })
  const rest = await phone.list({ limit: '1', cursor: page.headers.get('colibri-cursor') })
  assert.deepEqual(rest.notifications, notifications.slice(1))

  await phone.read({ message: second.uri })
  assert.deepEqual(await counts(laptop), [1, 1], 'gone on the other')
  assert.equal((await laptop.list()).unseen, 1)
  await laptop.read({ message: first.uri })
  assert.deepEqual(await counts(phone), [1, 1], 'never back')
  assert.equal(await phone.seen({ message: third.uri }), 1)
  assert.deepEqual(await counts(laptop), [1, 0], 'seen is not read')
  await bob.create(COLLECTION.read, { channel: channel.uri, cursor: new Date().toISOString(), createdAt: new Date().toISOString() })
  await eventually(async () => (await counts(laptop))[0] === 0)
  assert.equal(await laptop.seen(), 1, 'the first, which was only read')

  const answer = await alice.message(channel.rkey, 'and you?', { parent: (await bob.message(channel.rkey, 'me')).rkey })
  await eventually(async () => (await laptop.list()).unseen === 1)
  assert.deepEqual((await laptop.list()).notifications[0].kind, 'reply')
  await alice.delete(COLLECTION.message, answer.rkey)
  await eventually(async () => (await laptop.list()).unseen === 0)

  // R50: the number is of all, also on a page that has none of them.
  const older = await alice.message(channel.rkey, 'bob, an older one', mentioning(bob))
  await alice.message(channel.rkey, 'bob, a newer one', mentioning(bob))
  await eventually(async () => (await laptop.list()).unseen === 2)
  const cursor = (await laptop.page({ limit: '1' })).headers.get('colibri-cursor')
  await alice.delete(COLLECTION.message, older.rkey)
  await laptop.seen({ until: notifications[0].indexed_at })
  const after = { limit: '1', cursor }
  await eventually(async () => (await laptop.list(after)).notifications[0]?.message.rkey !== older.rkey)
  assert.equal((await laptop.list(after)).unseen, 1)
})

test('U20–U22: the devices of a person are told at once, and nobody else', async () => {
  const token = await vouch(service, KEY, bob.did)
  const [phone, laptop, claimed] = await Promise.all([
    service.connect(`/api/subscribe?auth=${token}`),
    service.connect(`/api/subscribe?auth=${token}`),
    service.connect(`/api/subscribe?did=${alice.did}`),
  ])
  const message = await alice.message(channel.rkey, 'bob', mentioning(bob))
  for (const socket of [phone, laptop]) {
    const told = await socket.next({ type: 'notification', kind: 'mention' })
    assert.deepEqual([told.message.rkey, told.message.author_did, told.channel_uri, told.seen_at], [message.rkey, alice.did, channel.uri, null])
  }
  const one = await device(bob)
  assert((await one.seen({ message: message.uri })) === 1)
  for (const socket of [phone, laptop]) await socket.next({ type: 'notifications_seen', message_uri: message.uri, seen: 1 })
  await one.read({ message: message.uri })
  for (const socket of [phone, laptop]) await socket.next({ type: 'channel_read', channel_uri: channel.uri })
  await alice.put(COLLECTION.message, message.rkey, records.message(channel.rkey, 'bob!', mentioning(bob)))
  await alice.message(channel.rkey, 'bob again', mentioning(bob))
  for (const socket of [phone, laptop]) {
    await socket.next((frame) => frame.type === 'notification' && frame.message.text === 'bob again')
    assert.equal(socket.all({ type: 'notification' }).length, 2, 'an edit tells nobody twice')
  }
  await bob.message(channel.rkey, 'alice', mentioning(alice))
  await eventually(async () => (await (await device(alice)).list()).unseen === 1)
  await claimed.request({ action: 'heartbeat' })
  assert.equal(claimed.all({ type: 'notification' }).length, 0, 'it only claims to be hers')
})

test('U23: nobody is notified of what is on their screen', async () => {
  const socket = await service.connect(`/api/subscribe?auth=${await vouch(service, KEY, bob.did)}`)
  const one = await device(bob)
  await one.seen()
  assert.deepEqual(await socket.request({ action: 'view', channel: channel.uri }), { type: 'ack', message: '' })
  const watched = await alice.message(channel.rkey, 'bob, on the screen', mentioning(bob))
  const newest = async () => (await one.list()).notifications[0]
  await eventually(async () => (await newest()).message.rkey === watched.rkey && (await newest()).seen_at !== null)
  assert.equal((await one.list()).unseen, 0)
  assert.deepEqual(await socket.request({ action: 'view' }), { type: 'ack', message: '' })
  const later = await alice.message(channel.rkey, 'bob, not on the screen', mentioning(bob))
  await socket.next((frame) => frame.type === 'notification' && frame.message.rkey === later.rkey)
  assert.equal(socket.all({ type: 'notification' }).length, 1)
  assert.equal((await one.list()).unseen, 1)
  await socket.close()
})

test('U24–U26, R56, R59: two signs ping, and the rhythm says what comes through; the inbox has everything', async () => {
  const token = await vouch(service, KEY, bob.did)
  const socket = await service.connect(`/api/subscribe?auth=${token}`)
  const prefer = async (method, body) => {
    const init = { method, headers: bearer(token), body: body && JSON.stringify(body) }
    return service.fetchJson(`/api/preferences?did=${bob.did}`, init)
  }
  const say = async (text) => {
    const features = [{ $type: 'app.bsky.richtext.facet#mention', did: bob.did }]
    return alice.message(channel.rkey, text, { facets: [{ index: { byteStart: 0, byteEnd: text.indexOf(',') }, features }] })
  }
  const told = async (text) => {
    const { rkey } = await say(text)
    return (await socket.next((frame) => frame.type === 'notification' && frame.message.rkey === rkey)).urgency
  }
  const inbox = async () => (await (await device(bob)).list()).notifications
  assert.deepEqual((await prefer('GET')).body, { rhythm: 'engaged', communities: [] })
  assert.deepEqual([await told('@bob, one'), await told('@@bob, two')], ['quiet', 'ping'])
  const there = { community_uri: community.uri, rhythm: 'quiet' }
  assert.deepEqual((await prefer('PUT', there)).body, { rhythm: 'engaged', communities: [there] })
  assert.equal(await told('@@bob, three'), 'quiet')
  await prefer('PUT', { rhythm: 'busy' })
  await prefer('PUT', { community_uri: community.uri, rhythm: null })
  assert.equal(await told('@bob, four'), 'ping')
  await prefer('PUT', { rhythm: 'silent' })
  const silenced = await say('@@bob, five')
  await eventually(async () => (await inbox())[0].message.rkey === silenced.rkey)
  assert.equal((await inbox())[0].urgency, 'ping', 'as it was asked')
  await prefer('PUT', { rhythm: null })
  await socket.request({ action: 'set_state', state: 'dnd' })
  assert.equal(await told('@@bob, six'), 'quiet')
  assert.equal(socket.all({ type: 'notification' }).some((frame) => frame.message.rkey === silenced.rkey), false)
  await socket.request({ action: 'set_state', state: 'online' })
  const refused = [{}, { rhythm: 'loud' }, { rhythm: 'busy', community_uri: 7 }, { rhythm: 'busy', community_uri: 'at://did:plc:x/social.colibri.community/x' }]
  const statuses = []
  for (const body of refused) statuses.push((await prefer('PUT', body)).status)
  assert.deepEqual(statuses, [422, 422, 422, 403])
  await socket.close()
})

test('U04: it is shown to nobody else, and to nobody without a proof in any mode', async () => {
  const routes = [['GET', 'unread'], ['POST', 'read'], ['GET', 'notifications'], ['POST', 'notifications/seen'], ['GET', 'preferences']]
  const query = `did=${bob.did}&channel=${channel.uri}`
  const asked = (method, route, headers) => service.fetchJson(`/api/${route}?${query}`, { method, headers })
  const other = bearer(await vouch(service, KEY, alice.did))
  for (const [method, route] of routes) {
    assert.equal((await asked(method, route, {})).status, 401, route)
    assert.equal((await asked(method, route, other)).status, 403, route)
    assert((await asked(method, route, bearer(KEY))).status < 300, route)
  }
  const left = await service.fetchJson(`/api/unread?did=did:plc:stranger&community=${community.uri}`, { headers: bearer(KEY) })
  assert.equal(left.status, 403, 'takes no part')
})
