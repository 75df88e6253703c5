// Presence on the real runtime (contract section 5), with shortened periods: who is online, away or offline.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { eventually } from './harness.js'
import { openStage } from './stage.js'

const API_KEY = 'a key for tests'
const GRACE_MS = 1_500
const AWAY_MS = 4_000
const LEASE_MS = 3_000
const HEARTBEAT = '{"action":"heartbeat","event_type":"heartbeat"}'
const ACK = { type: 'ack', message: '' }

/** @type {Awaited<ReturnType<typeof openStage>>} */
let place
const COMMUNITY = 'at://did:plc:alice/social.colibri.community/c'

before(async () => {
  place = await openTogether({
    INVITE_API_KEY: API_KEY,
    OFFLINE_GRACE_MS: String(GRACE_MS),
    AWAY_AFTER_MS: String(AWAY_MS),
    LEASE_MS: String(LEASE_MS),
  })
})

/** A stage on which alice has a community, and bob is a member. @param {Record<string, string>} env */
async function openTogether(env) {
  const stage = await openStage({ env })
  await stage.say(
    ['alice', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ['alice', 'create', 'channel/k', { name: 'hall', type: 'text', community: 'c' }],
    ['alice', 'create', 'channel/v', { name: 'voice', type: 'voice', community: 'c' }],
    ['bob', 'create', 'membership/m', { community: COMMUNITY, createdAt: '2026-03-01T12:00:00Z' }],
  )
  return stage
}

let n = 0
/** A new person, and a socket that watches them and everybody else. */
async function somebody() {
  n += 1
  const did = `did:plc:somebody${n}`
  const watcher = await place.service.connect('/api/subscribe')
  await watcher.subscribe({ event_type: 'user_status', did })
  const states = () => watcher.all({ type: 'user_status_changed', did }).map(({ state }) => state)
  const becomes = (state) => watcher.next({ type: 'user_status_changed', did, state }, { timeout: 20_000 })
  const come = () => place.service.connect(`/api/subscribe?did=${did}`)
  return { did, watcher, states, becomes, come }
}

test('b49 somebody new is online at once, is acked twice, and received once (P01, P02, A13)', async () => {
  const { watcher, states, becomes, come, did } = await somebody()
  const socket = await come()
  const event = await becomes('online')
  assert.deepEqual(event, { type: 'user_status_changed', did, status: '', state: 'online', live: true }, 'E15')
  assert.deepEqual(await socket.request({ action: 'set_state', state: 'online' }), ACK)
  assert.deepEqual(await socket.request({ action: 'set_state', state: 'online' }), ACK)
  await (await come()).close()
  assert.deepEqual(await socket.request({ action: 'set_state', state: 'dnd' }), ACK)
  await becomes('dnd')
  assert.deepEqual(states(), ['online', 'dnd'])
  await watcher.close()
})

test('a15 set_state says what is wrong, in order', async () => {
  const { come } = await somebody()
  const [anonymous, socket] = await Promise.all([place.service.connect('/api/subscribe'), come()])
  const error = (message) => ({ type: 'error', message })
  assert.deepEqual(await anonymous.request({ action: 'set_state' }), error('DID required for set_state'))
  assert.deepEqual(await socket.request({ action: 'set_state' }), error('state parameter is required'))
  const invalid = error('Invalid state. Must be online, away, dnd, or offline')
  assert.deepEqual(await socket.request({ action: 'set_state', state: 'gone' }), invalid)
})

test('a15 while the database fails a client gets an error, nothing changes, and it works when it is back', async () => {
  const { watcher, states, becomes, come } = await somebody()
  const socket = await come()
  await becomes('online')
  const choose = () => socket.request({ action: 'set_state', state: 'dnd' })
  place.behindItsBack((db) => db.exec('ALTER TABLE people RENAME TO away; ALTER TABLE channels RENAME TO away2'))
  try {
    assert.deepEqual(await choose(), { type: 'error', message: 'Failed to update state' })
    const subscribe = { action: 'subscribe', event_type: 'message', channel: 'k' }
    assert.deepEqual(await socket.request(subscribe), { type: 'error', message: 'Temporary failure, try again' })
  } finally {
    place.behindItsBack((db) => db.exec('ALTER TABLE away RENAME TO people; ALTER TABLE away2 RENAME TO channels'))
  }
  await place.say(['bob', 'create', 'message/fault', { text: 'not received', channel: 'k', createdAt: new Date().toISOString() }])
  await eventually(async () => (await choose()).type === 'ack', { what: 'the state to be stored' })
  await becomes('dnd')
  assert.deepEqual(states(), ['online', 'dnd'], 'the choice that failed was published to nobody')
  assert.deepEqual(socket.all({ type: 'message' }), [], 'the subscription that failed is none')
  await Promise.all([socket.close(), watcher.close()])
})

test('b03 x05 a15 in verified mode nobody acts for whom they only name', async () => {
  const stage = await openTogether({ AUTH_MODE: 'verified' })
  const { service } = stage
  const victim = 'did:plc:bob'
  const watcher = await service.connect('/api/subscribe')
  await watcher.subscribe({ event_type: 'community', community_uri: COMMUNITY })
  await watcher.subscribe({ event_type: 'user_status', did: victim })
  const socket = await service.connect(`/api/subscribe?did=${victim}`)
  const join = { community_uri: COMMUNITY, voice_channel_rkey: 'v', voice_action: 'join' }
  for (const action of ['set_state', 'voice_event']) {
    const message = `Authentication required for ${action}`
    assert.deepEqual(await socket.request({ action, state: 'dnd', ...join }), { type: 'error', message })
  }
  const anonymous = await service.connect('/api/subscribe')
  const message = 'DID required for set_state'
  assert.deepEqual(await anonymous.request({ action: 'set_state', state: 'dnd' }), { type: 'error', message })

  // A later event arrives, so the effects that must not happen were not published.
  await stage.say(['bob', 'create', 'actor.data/self', { status: 'Reading' }])
  const status = await watcher.next({ type: 'user_status_changed', did: victim })
  assert.deepEqual([status.status, status.state], ['Reading', 'offline'], 'E15')
  assert.deepEqual(watcher.all({ type: 'voice_channel_updated' }), [])
  const { body } = await service.fetchJson(`/api/members?community=${COMMUNITY}`)
  assert.equal(body.find(({ member_did }) => member_did === victim).state, null, 'never there')
})

test('h11 members and messages show the state of the events', async () => {
  const { service } = place
  const [alice, bob] = ['did:plc:alice', 'did:plc:bob']
  const watcher = await service.connect('/api/subscribe')
  await watcher.subscribe({ event_type: 'community', community_uri: COMMUNITY })
  await watcher.subscribe({ event_type: 'message', channel: 'k' })
  const socket = await service.connect(`/api/subscribe?did=${bob}`)
  await watcher.next({ type: 'user_status_changed', did: bob, state: 'online' })
  await socket.request({ action: 'set_state', state: 'dnd' })
  const stateOf = async (did) =>
    (await service.fetchJson(`/api/members?community=${COMMUNITY}`)).body.find((member) => member.member_did === did).state
  assert.equal(await stateOf(bob), 'dnd', 'a read after the ack sees it')
  assert.equal(await stateOf(alice), null, 'never seen')
  await watcher.next({ type: 'user_status_changed', did: bob, state: 'dnd' })
  await place.say(['bob', 'create', 'message/1', { text: 'do not disturb', channel: 'k', createdAt: new Date().toISOString() }])
  assert.equal((await watcher.next({ type: 'message' })).state, 'dnd')
  assert.equal((await service.fetchJson('/api/messages?channel=k')).body[0].state, 'dnd')
  await place.say(['bob', 'create', 'actor.data/self', { status: 'Reading', emoji: '📚' }])
  const status = await watcher.next({ type: 'user_status_changed', status: 'Reading' })
  assert.deepEqual([status.state, status.emoji], ['dnd', '📚'], 'P12: with the current state')
  await socket.close()
  await watcher.next({ type: 'user_status_changed', did: bob, state: 'offline' }, { timeout: 20_000 })
  assert.equal(await stateOf(bob), 'offline')
})

test('b52 b17 a36 the watch-list follows joins, leaves, bans and unsubscribe', async () => {
  const { service } = place
  const watcher = await service.connect('/api/subscribe')
  await watcher.subscribe({ event_type: 'community', community_uri: COMMUNITY })
  const marker = await somebody()
  await watcher.subscribe({ event_type: 'user_status', did: marker.did })
  // Everything published about carol before the marker arrives before the marker.
  const heardOfCarol = async () => {
    const socket = await marker.come()
    await socket.request({ action: 'set_state', state: marker.states().at(-1) === 'dnd' ? 'away' : 'dnd' })
    const count = marker.states().length
    await eventually(() => marker.states().length > count, { timeout: 20_000 })
    await eventually(() => watcher.all({ did: marker.did }).length >= marker.states().length, { timeout: 20_000 })
    return watcher.all({ type: 'user_status_changed', did: 'did:plc:carol' }).map(({ state }) => state)
  }
  const carol = await service.connect('/api/subscribe?did=did:plc:carol')
  const set = async (state) => assert.deepEqual(await carol.request({ action: 'set_state', state }), ACK)
  await set('dnd')
  assert.deepEqual(await heardOfCarol(), [], 'no member')
  await place.say(['carol', 'create', 'membership/m', { community: COMMUNITY, createdAt: '2026-03-01T12:00:00Z' }])
  await set('away')
  await watcher.next({ type: 'user_status_changed', did: 'did:plc:carol', state: 'away' })
  const ban = (method) =>
    method === 'POST'
      ? service.fetch('/api/community/ban', {
          method,
          headers: { authorization: `Bearer ${API_KEY}` },
          body: JSON.stringify({ community_uri: COMMUNITY, member_did: 'did:plc:carol' }),
        })
      : service.fetch(`/api/community/ban?community=${COMMUNITY}&member_did=did:plc:carol`, {
          method,
          headers: { authorization: `Bearer ${API_KEY}` },
        })
  assert.equal((await ban('POST')).status, 204)
  await set('dnd')
  assert.deepEqual(await heardOfCarol(), ['away'], 'B-17: banned')
  assert.equal((await ban('DELETE')).status, 204)
  await set('online')
  await watcher.next({ type: 'user_status_changed', did: 'did:plc:carol', state: 'online' })
  await place.say(['carol', 'delete', 'membership/m'])
  await set('dnd')
  assert.deepEqual(await heardOfCarol(), ['away', 'online'], 'left')
  await place.say(['carol', 'create', 'membership/m2', { community: COMMUNITY, createdAt: '2026-03-01T12:00:00Z' }])
  await watcher.request({ action: 'unsubscribe', event_type: 'community', community_uri: COMMUNITY })
  await set('away')
  assert.deepEqual(await heardOfCarol(), ['away', 'online'], 'B-52: unsubscribed')
})

test('p13 an account that is not active is offline, and its sockets are anonymous', async () => {
  const watcher = await place.service.connect('/api/subscribe')
  await watcher.subscribe({ event_type: 'user_status', did: 'did:plc:dave' })
  await place.say(['dave', 'create', 'actor.data/self', { status: 'here' }])
  const socket = await place.service.connect('/api/subscribe?did=did:plc:dave')
  await watcher.next({ type: 'user_status_changed', state: 'online' })
  await place.account('dave', false, 'deactivated')
  await watcher.next({ type: 'user_status_changed', state: 'offline' })
  const refused = { type: 'error', message: 'DID required for set_state' }
  assert.deepEqual(await socket.request({ action: 'set_state', state: 'dnd' }), refused)
  await place.account('dave', true)
  await watcher.next({ type: 'user_status_changed', state: 'online' })
  assert.deepEqual(await socket.request({ action: 'set_state', state: 'online' }), ACK)
})

test('b53 a reconnect within the grace never shows; the grace counts from the newest close (P03)', async () => {
  const { states, becomes, come } = await somebody()
  let socket = await come()
  await becomes('online')
  for (let times = 0; times < 5; times++) {
    await socket.close()
    socket = await come()
  }
  assert.deepEqual(await socket.request({ action: 'activity' }), ACK)
  const closing = Date.now() // the service may see the end long before this side does
  await socket.close()
  await becomes('offline')
  assert(Date.now() - closing >= GRACE_MS - 50, 'not before the grace after the last close')
  assert.deepEqual(states(), ['online', 'offline'])
})

test('b57 b13 away after silence, back to the preferred state of any device (P05-P07)', async () => {
  const { states, becomes, come } = await somebody()
  const [first, second] = [await come(), await come()]
  await becomes('online')
  await becomes('away')
  await second.request({ action: 'activity' })
  await becomes('online')
  await first.request({ action: 'set_state', state: 'dnd' })
  await becomes('dnd')
  // Both are inactive; heartbeats are not activity, and dnd stays dnd. The person who came later is away first.
  const beat = setInterval(() => [first, second].forEach((socket) => socket.send(HEARTBEAT)), 500)
  const clock = await somebody()
  await clock.come()
  await clock.becomes('away')
  clearInterval(beat)
  await second.request({ action: 'activity' })
  await first.request({ action: 'set_state', state: 'online' })
  await becomes('online')
  assert.deepEqual(states(), ['online', 'away', 'online', 'dnd', 'online'])
})

test('p09 r20 sets the state for all sockets, and without one (B-13)', async () => {
  const { states, becomes, come, did } = await somebody()
  const set = (state, key = API_KEY) =>
    place.service.fetch(`/api/user/state?did=${did}&state=${state}`, { method: 'POST', headers: { authorization: `Bearer ${key}` } })
  assert.equal((await set('dnd', 'no')).status, 401)
  assert.equal((await set('offline')).status, 422)
  assert.equal((await set('dnd')).status, 204)
  await becomes('dnd')
  assert.equal((await set('dnd')).status, 204, 'also when nothing changes')
  const sockets = [await come(), await come()]
  assert.equal((await set('online')).status, 204)
  await becomes('online')
  assert.equal((await set('dnd')).status, 204)
  await becomes('dnd')
  await sockets[0].request({ action: 'activity' })
  await Promise.all(sockets.map((socket) => socket.close()))
  await becomes('offline')
  assert.deepEqual(states(), ['dnd', 'online', 'dnd', 'offline'])
})

test('p08 invisible: through activity and a reconnect', async () => {
  const { states, becomes, come } = await somebody()
  const socket = await come()
  await becomes('online')
  await socket.request({ action: 'set_state', state: 'offline' })
  await becomes('offline')
  await socket.request({ action: 'activity' })
  await socket.close()
  const again = await come()
  await again.request({ action: 'activity' })
  await again.request({ action: 'set_state', state: 'online' })
  await becomes('online')
  assert.deepEqual(states(), ['online', 'offline', 'online'])
})

test('b54 a line that is cut counts as closed after the lease (P11)', async () => {
  const { states, becomes, come } = await somebody()
  const socket = await come()
  await becomes('online')
  const cutAt = Date.now()
  assert.deepEqual(await socket.request(HEARTBEAT), ACK)
  assert.equal((await socket.closed).code, 1001, 'A19')
  assert(Date.now() - cutAt >= LEASE_MS - 100)
  await becomes('offline')
  const silent = await come()
  await becomes('online')
  await becomes('away')
  assert.equal(silent.ws.readyState, 1, 'who never sent a heartbeat has no lease')
  assert.deepEqual(states(), ['online', 'offline', 'online', 'away'])
})

test('p11 the lease of a quiet visitor is checked in time, in a gateway that nothing else wakes', async () => {
  const stage = await openStage({
    env: { LEASE_MS: String(LEASE_MS), OFFLINE_GRACE_MS: '500', AWAY_AFTER_MS: '600000' },
  })
  const people = Array.from({ length: 5 }, (_, at) => `did:plc:quiet${at}`)
  const watcher = await stage.service.connect('/api/subscribe')
  await watcher.subscribe({ event_type: 'user_status' })
  const sockets = await Promise.all(people.map((did) => stage.service.connect(`/api/subscribe?did=${did}`)))
  for (const did of people) await watcher.next({ type: 'user_status_changed', did, state: 'online' })
  await Promise.all(sockets.map((socket) => socket.request(HEARTBEAT)))
  const silentSince = Date.now()
  for (const did of people) {
    await watcher.next({ type: 'user_status_changed', did, state: 'offline' }, { timeout: 60_000 })
  }
  const took = Date.now() - silentSince
  assert(took >= LEASE_MS, `after ${took} ms: too early`)
  // Nothing else is due within ten minutes; the tolerance is for a busy machine.
  assert(took < LEASE_MS + 500 + 8_000, `after ${took} ms: the lease and the grace are ${LEASE_MS + 500}`)
})

test('i37 p01 people who do not exist have presence, and leave no row behind', async () => {
  const { service } = place
  const made = Array.from({ length: 40 }, (_, at) => `did:plc:madeup${at}`)
  const watcher = await service.connect('/api/subscribe')
  for (const did of made) await watcher.subscribe({ event_type: 'user_status', did })
  const count = (table) => {
    let rows
    place.behindItsBack((db) => {
      rows = db.prepare(`SELECT count(*) AS n FROM ${table} WHERE did LIKE '%madeup%'`).get().n
    })
    return rows
  }
  const sockets = await Promise.all(made.map((did) => service.connect(`/api/subscribe?did=${did}`)))
  for (const did of made) await watcher.next({ type: 'user_status_changed', did, state: 'online' }, { timeout: 20_000 })
  assert.deepEqual(await sockets[0].request({ action: 'set_state', state: 'dnd' }), ACK)
  assert.deepEqual(await sockets[1].request({ action: 'set_state', state: 'offline' }), ACK)
  await watcher.next({ type: 'user_status_changed', did: made[0], state: 'dnd' })
  assert.equal(count('people'), 0)
  await Promise.all(sockets.map((socket) => socket.close()))
  for (const did of made) await watcher.next({ type: 'user_status_changed', did, state: 'offline' }, { timeout: 20_000 })
  await eventually(() => count('visitors') === 0, { what: 'the visitors to be gone' })
  assert.equal(count('people'), 0)
  const back = await service.connect(`/api/subscribe?did=${made[0]}`)
  await watcher.next({ type: 'user_status_changed', did: made[0], state: 'dnd' }, { timeout: 20_000 })
  await place.say([made[0].slice(8), 'create', 'membership/m', { community: COMMUNITY, createdAt: '2026-03-01T12:00:00Z' }])
  const { body } = await service.fetchJson(`/api/members?community=${COMMUNITY}`)
  assert.equal(body.find(({ member_did }) => member_did === made[0]).state, 'dnd', 'known now, and there')
  await Promise.all([back.close(), watcher.close()])
})

test('p10 an evicted gateway wakes with its sockets, subscriptions and presence', async () => {
  const { states, becomes, come, watcher } = await somebody()
  const socket = await come()
  await becomes('online')
  for (const shard of [0, 1, 2, 3]) {
    await place.service.connect('/api/subscribe')
    await eventually(() => place.service.evict('Gateway', `gateway-${shard}`).then(() => true, () => true))
  }
  assert.deepEqual(await socket.request({ action: 'set_state', state: 'dnd' }), ACK)
  await becomes('dnd')
  await socket.close()
  await becomes('offline')
  assert.deepEqual(states(), ['online', 'dnd', 'offline'], 'nobody was away in between')
  await watcher.close()
})

test('b54 p10 p04 c13 a crash, and another number of gateways: who does not come back is offline, who does stays', async () => {
  const [gone, back, pinned] = [await somebody(), await somebody(), await somebody()]
  await gone.come()
  await back.come()
  await place.service.fetch(`/api/user/state?did=${pinned.did}&state=dnd`, {
    method: 'POST',
    headers: { authorization: `Bearer ${API_KEY}` },
  })
  await Promise.all([gone.becomes('online'), back.becomes('online'), pinned.becomes('dnd')])
  await place.service.kill9()
  await place.service.restart({ env: { GATEWAY_SHARDS: '3' } })
  const watcher = await place.service.connect('/api/subscribe')
  const back2 = await back.come()
  for (const { did } of [gone, back, pinned]) await watcher.subscribe({ event_type: 'user_status', did })
  const offline = { type: 'user_status_changed', state: 'offline' }
  await watcher.next({ ...offline, did: gone.did }, { timeout: 45_000 })
  await watcher.next({ ...offline, did: pinned.did }, { timeout: 45_000 })
  await back2.request({ action: 'set_state', state: 'dnd' })
  await watcher.next({ type: 'user_status_changed', did: back.did, state: 'dnd' })
  assert.deepEqual(watcher.all({ ...offline, did: back.did }), [], 'without an event')
})
