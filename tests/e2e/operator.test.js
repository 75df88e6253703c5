// @ts-check
// What the operator counts and restarts (R62 to R66): the numbers are those of who is there, and a restart loses nothing.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { eventually } from './harness.js'
import { openStage } from './stage.js'

const KEY = 'the key of the operator tests'
const COMMUNITY = 'at://did:plc:owner/social.colibri.community/c'
const auth = { headers: { authorization: `Bearer ${KEY}` } }

/** @type {Awaited<ReturnType<typeof openStage>>} */
let stage
/** @type {import('./harness.js').Service} */
let service

/** @param {string} path @param {object} [body] */
const post = (path, body) => service.fetchJson(path, { method: 'POST', ...auth, ...(body && { body: JSON.stringify(body) }) })
const statistics = async () => (await service.fetchJson('/api/statistics', auth)).body
let written = 0

/** Writes a message into the hall. */
async function write() {
  written += 1
  const text = `message ${written}`
  await stage.say(['alice', 'create', `message/m${written}`, { text, createdAt: '2026-03-01T12:00:00.000Z', channel: 'hall' }])
  return text
}

before(async () => {
  stage = await openStage({ env: { INVITE_API_KEY: KEY } })
  service = stage.service
  await stage.say(
    ['owner', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ['owner', 'create', 'channel/hall', { name: 'hall', type: 'text', community: 'c' }],
    ['owner', 'create', 'channel/stage', { name: 'stage', type: 'voice', community: 'c' }],
    ['alice', 'create', 'membership/m', { community: COMMUNITY }],
    ['bob', 'create', 'membership/m', { community: COMMUNITY }],
  )
})

/** A socket of somebody that listens to all of the community. @param {string} who */
async function listener(who) {
  const socket = await service.connect(`/api/subscribe?did=did:plc:${who}`)
  await socket.subscribe({ event_type: 'message' })
  await socket.subscribe({ event_type: 'community', community_uri: COMMUNITY })
  return socket
}

/** The frame before a restart, and the close behind it (R65). @param {import('./harness.js').LiveSocket} socket */
async function restarted(socket) {
  const { retry_after_ms: after } = await socket.next({ type: 'server_restart' })
  assert(after >= 500 && after < 2_500, String(after))
  assert.equal((await socket.closed).code, 1012)
}

test('R62: who is present, in which community, on how many sockets, and in voice', async () => {
  assert.deepEqual(await statistics(), { UserCount: 0, Usernames: [], sockets: 0, communities: {} })
  const [alice, bob] = [await listener('alice'), await listener('bob')]
  const second = await service.connect('/api/subscribe?did=did:plc:bob')
  await bob.request({ action: 'set_state', state: 'dnd' })
  await alice.request({ action: 'voice_event', community_uri: COMMUNITY, voice_channel_rkey: 'stage', voice_action: 'join' })
  await eventually(async () => (await statistics()).communities[COMMUNITY]?.online === 1, { what: 'the stored states' })
  assert.deepEqual(await statistics(), {
    UserCount: 2,
    Usernames: ['did:plc:alice', 'did:plc:bob'],
    sockets: 3,
    communities: { [COMMUNITY]: { online: 1, away: 0, dnd: 1, connections: 2, voice: 1 } },
  })
  for (const socket of [alice, bob, second]) await socket.close()
  assert.equal((await service.fetchJson('/api/statistics')).status, 401)
})

test('R63: sockets come back after a restart and have missed nothing', async () => {
  const [listening, observer] = [await listener('owner'), await service.connect(`/api/subscribe?community=${COMMUNITY}`)]
  const bob = await service.connect('/api/subscribe?did=did:plc:bob')
  await bob.subscribe({ event_type: 'user_status', did: 'did:plc:owner' })
  const first = await write()
  const { seq } = await observer.next({ type: 'message', text: first })
  await listening.next({ type: 'message', text: first })
  // Until the gateways know that there is an observer.
  const states = async () => {
    for (const state of ['dnd', 'online']) await listening.request({ action: 'set_state', state })
    return observer.all({ type: 'user_status_changed' }).length > 0
  }
  await eventually(states, { what: 'the observer to be known' })
  await listening.request({ action: 'heartbeat' })
  const { status, body } = await post('/api/admin/restart', { scope: 'sockets' })
  assert.deepEqual([status, body.scope], [200, 'sockets'])
  assert(body.sockets >= 3, `${body.sockets} sockets`)
  for (const socket of [listening, observer, bob]) await restarted(socket)
  const missed = [await write(), await write()]
  // Restored without a word (Q10), and resumed with a cursor (Q02).
  const [again, resumed] = [
    await service.connect('/api/subscribe?did=did:plc:owner'),
    await service.connect(`/api/subscribe?community=${COMMUNITY}&cursor=${seq}`),
  ]
  await resumed.next({ type: 'resumed' })
  for (const text of missed) await again.next({ type: 'message', text })
  const last = await write()
  for (const socket of [again, resumed]) await socket.next({ type: 'message', text: last })
  const texts = (/** @type {typeof again} */ socket) => socket.all({ type: 'message' }).map(({ text }) => text)
  assert.deepEqual(texts(again), [...missed, last], 'each once, in order')
  assert.deepEqual(texts(resumed), [...missed, last])
  // Somebody who left voice meanwhile may have a number in between.
  const seen = resumed.events.flatMap((event) => event.seq ?? [])
  assert.deepEqual(seen, seen.map((_, at) => seq + 1 + at), 'the numbers go on')
  assert.equal((await service.fetchJson('/api/authors?did=did:plc:owner')).body.state, 'online')
  await again.close()
  await resumed.close()
})

test('R63: calls and the stream start afresh, too', async () => {
  const peer = await service.connect('/api/webrtc/signal?room=r')
  peer.send({ type: 'join', room: 'r', peer_id: 'p' })
  await peer.next({ type: 'joined' })
  assert.deepEqual((await post('/api/admin/restart', { scope: 'calls' })).body, { scope: 'calls', sockets: 1 })
  await restarted(peer)
  const again = await service.connect('/api/webrtc/signal?room=r')
  again.send({ type: 'join', room: 'r', peer_id: 'p' })
  assert.deepEqual((await again.next({ type: 'joined' })).peers, [])
  assert.deepEqual((await post('/api/admin/restart', { scope: 'stream' })).body, { scope: 'stream', sockets: 0 })
  const text = await write()
  const page = await service.fetchJson('/api/messages?channel=hall')
  assert(page.body.some((/** @type {any} */ message) => message.text === text), 'the stream is read')
  await again.close()
})

test('R64: a shutdown in the form of BareRTC restarts everything', async () => {
  const [alice, peer] = [await listener('alice'), await service.connect('/api/webrtc/signal?room=r')]
  assert.deepEqual([(await post('/api/shutdown')).body], [{ OK: true }])
  await restarted(alice)
  await restarted(peer)
  assert.equal((await service.fetchJson('/api/shutdown', { method: 'POST' })).status, 401)
  for (const scope of ['everything', '', null, 1]) assert.equal((await post('/api/admin/restart', { scope })).status, 422)
  await write()
})

test('R66: health says of each part how it is, and what to do', async () => {
  const socket = await service.connect('/api/subscribe')
  const well = (await service.fetchJson('/api/health')).body.parts
  const names = ['database', 'stream', 'deliveries', 'gateways', 'held records', 'set aside', 'panics', 'repositories']
  assert.deepEqual(well.map((/** @type {any} */ { part }) => part), names)
  assert.match(well[0].message, /^answers in \d+ ms$/)
  // Strangers learn what another one learned within five seconds, the key what is now.
  assert.match(well[3].message, /^(4 of 4 answer, with \d+ sockets(, \d s ago)?|are being asked)$/)
  const now = await service.fetchJson('/api/health', { headers: { authorization: `Bearer ${KEY}` } })
  assert.match(now.body.parts[3].message, /^4 of 4 answer, with [1-9]\d* sockets$/)
  assert.deepEqual(well.filter((/** @type {any} */ { verdict }) => verdict === 'wrong'), [])
  await stage.jetstream.stop()
  const stream = await eventually(
    async () => (await service.fetchJson('/api/health')).body.parts.find((/** @type {any} */ { part, verdict }) => part === 'stream' && verdict === 'wrong'),
    { what: 'the stream to be missed' },
  )
  assert.match(stream.advice, /JETSTREAM_URL/)
  await socket.close()
})
