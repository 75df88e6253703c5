// What a client receives after an absence (contract Q02–Q14), what a slow socket receives (Q20), and what one that
// sends too much receives (A18).

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { eventually } from './harness.js'
import { openStage } from './stage.js'

const COMMUNITY = 'at://did:plc:alice/social.colibri.community/c'
const RESTORE_MS = 8_000
const KEY = 'the key of the operator, in a test'
const AS_OPERATOR = { headers: { authorization: `Bearer ${KEY}` } }
const ACK = { type: 'ack', message: '' }

/** @type {Awaited<ReturnType<typeof openStage>>} */
let stage
before(async () => {
  stage = await openStage({ env: { RESTORE_MS: String(RESTORE_MS), OFFLINE_GRACE_MS: '500', INVITE_API_KEY: KEY } })
  await stage.say(
    ['alice', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ['alice', 'create', 'channel/k', { name: 'hall', type: 'text', community: 'c' }],
    ['alice', 'create', 'channel/l', { name: 'loft', type: 'text', community: 'c' }],
    ['bob', 'create', 'membership/m', { community: COMMUNITY, createdAt: '2026-03-01T12:00:00Z' }],
  )
})

const connect = (did) => stage.service.connect(`/api/subscribe${did ? `?did=${did}` : ''}`)
const message = (text, channel = 'k') => ({ text, channel, createdAt: new Date().toISOString() })
let n = 0
/** Writes messages of bob; resolves with their rkeys. */
async function write(count, channel = 'k') {
  const rkeys = Array.from({ length: count }, () => `m${(n += 1)}`)
  await stage.say(...rkeys.map((rkey) => ['bob', 'create', `message/${rkey}`, message(rkey, channel)]))
  return rkeys
}
const short = ({ type, rkey, live }) => `${type} ${rkey}${live ? ' live' : ''}`
const numbered = (socket) => socket.events.filter(({ seq }) => seq !== undefined)
async function listening(did, channel = 'k') {
  const socket = await connect(did)
  await socket.subscribe({ event_type: 'message', channel })
  await socket.subscribe({ event_type: 'community', community_uri: COMMUNITY })
  return socket
}

test('b51 q10 ten messages and two deletions while away: those twelve, in order, once, by cursor and without asking', async () => {
  const old = await write(2)
  const watcher = await listening()
  const [known, unknown] = [await listening('did:plc:known'), await listening('did:plc:unknown')]
  await write(1)
  for (const socket of [known, unknown, watcher]) await socket.next({ type: 'message' })
  const cursor = numbered(known).at(-1).seq
  await Promise.all([known.drop(), unknown.drop()])
  const missed = []
  for (const rkey of old) {
    missed.push(...(await write(5)).map((rkey) => `message ${rkey}`))
    await stage.say(['bob', 'delete', `message/${rkey}`])
    missed.push(`message_deleted ${rkey}`)
  }
  await watcher.next({ type: 'message_deleted', rkey: old[1] })

  const restored = await connect('did:plc:unknown')
  await eventually(() => numbered(restored).length >= 12, { what: 'twelve events', timeout: 20_000 })
  const [after] = await write(1)
  await restored.next({ type: 'message', rkey: after })
  assert.deepEqual(numbered(restored).map(short), [...missed, `message ${after} live`])
  assert.deepEqual(restored.all({ type: 'resumed' }), [], 'Q10: no resumed frame')

  const resumed = await connect('did:plc:other')
  await resumed.subscribe({ event_type: 'message', channel: 'k' })
  await resumed.subscribe({ event_type: 'community', community_uri: COMMUNITY, cursor })
  await resumed.next({ type: 'resumed' })
  const [later] = await write(1)
  await resumed.next({ type: 'message', rkey: later })
  assert.deepEqual(numbered(resumed).map(short), [...missed, `message ${after}`, `message ${later} live`])
  const seqs = numbered(resumed).map(({ seq }) => seq)
  assert.deepEqual(seqs, [...seqs].sort((a, b) => a - b))
})

test('q10 the union of all sockets of a person, for every new one', async () => {
  const did = 'did:plc:union'
  const [one, two] = [await listening(did, 'k'), await connect(did)]
  await two.subscribe({ event_type: 'message', channel: 'l' })
  await Promise.all([one.close(), two.close()])
  const [k] = await write(1, 'k')
  const [l] = await write(1, 'l')
  const sockets = [await connect(did), await connect(did)]
  for (const socket of sockets) {
    await socket.next({ type: 'message', rkey: k }, { timeout: 20_000 })
    await socket.next({ type: 'message', rkey: l })
  }
  await Promise.all(sockets.map((socket) => socket.close()))
})

test('q11 a key that the client takes into its own hands is not replayed', async () => {
  const did = 'did:plc:hands'
  const first = await listening(did, 'k')
  await first.subscribe({ event_type: 'message', channel: 'l' })
  await first.close()
  const [inK, inL] = [await write(1, 'k'), await write(1, 'l')].flat()
  const socket = await connect(did)
  await socket.request({ action: 'unsubscribe', event_type: 'message', channel: 'k' })
  await socket.next({ type: 'message', rkey: inL }, { timeout: 20_000 })
  const [laterK, laterL] = [await write(1, 'k'), await write(1, 'l')].flat()
  await socket.next({ type: 'message', rkey: laterL })
  assert.deepEqual(numbered(socket).map(({ rkey }) => rkey), [inL, laterL], `neither ${inK} nor ${laterK}`)
  await socket.close()
  const [missed] = await write(1, 'l')
  const again = await connect(did)
  await again.subscribe({ event_type: 'message', channel: 'l' })
  await again.subscribe({ event_type: 'community', community_uri: COMMUNITY, cursor: numbered(socket).at(-1).seq })
  await again.next({ type: 'resumed' })
  const [last] = await write(1, 'l')
  await again.next({ type: 'message', rkey: last })
  assert.deepEqual(numbered(again).map(({ rkey }) => rkey), [missed, last], 'resumed by the client: once')
})

test('q13 people who changed meanwhile, as they are now', async () => {
  const did = 'did:plc:watching'
  const first = await listening(did)
  await first.subscribe({ event_type: 'user_status', did: 'did:plc:far' })
  await stage.say(['bob', 'create', 'actor.data/self', { status: 'before' }])
  await first.next({ type: 'user_status_changed', status: 'before' })
  await first.close()
  const watcher = await listening()
  for (const status of ['one', 'two']) await stage.say(['bob', 'create', `actor.data/${status}`, { status }])
  await watcher.next({ type: 'user_status_changed', status: 'two' })
  const far = await connect('did:plc:far')
  await far.request({ action: 'set_state', state: 'dnd' })
  const socket = await connect(did)
  const bob = await socket.next({ type: 'user_status_changed', did: 'did:plc:bob' }, { timeout: 20_000 })
  assert.deepEqual([bob.status, bob.live], ['two', false])
  assert.equal((await socket.next({ type: 'user_status_changed', did: 'did:plc:far' })).state, 'dnd')
  await socket.request({ action: 'activity' })
  assert.equal(socket.events.length, 2, 'one frame each')
})

test('q12 a gateway that sleeps, and one that crashes, restore all the same', async () => {
  const did = 'did:plc:sleeper'
  const first = await listening(did)
  await write(1)
  await first.next({ type: 'message' })
  await stage.service.kill9()
  await stage.service.restart()
  await eventually(async () => (await stage.service.fetchJson('/api/health')).body.ingest.connected, { timeout: 20_000 })
  const missed = await write(3)
  const socket = await connect(did)
  await socket.next({ type: 'message', rkey: missed[2] }, { timeout: 20_000 })
  for (const shard of [0, 1, 2, 3]) await stage.service.evict('Gateway', `gateway-${shard}`).catch(() => {})
  const [after] = await write(1)
  await socket.next({ type: 'message', rkey: after })
  assert.deepEqual(numbered(socket).map(({ rkey }) => rkey), [...missed, after])
})

test('b50 q20 a stalled reader among 200 healthy ones gets resync_required, and slows nobody', async () => {
  const healthy = await Promise.all(Array.from({ length: 200 }, () => connect()))
  await Promise.all(healthy.map((socket) => socket.subscribe({ event_type: 'message', channel: 'l' })))
  const stalled = await listening()
  const control = await listening()
  const from = numbered(control).at(-1)?.seq ?? 0
  stalled.ws.pause()
  const big = 'x'.repeat(2_000)
  const marks = []
  for (let round = 0; round < 12; round++) {
    await stage.say(
      ...Array.from({ length: 160 }, (_, at) => ['bob', 'create', `message/big-${round}-${at}`, message(big)]),
    )
    marks.push(...(await write(1, 'l')))
  }
  await control.next({ type: 'message', rkey: 'big-11-159' }, { timeout: 60_000 })
  for (const socket of healthy) await socket.next({ type: 'message', rkey: marks.at(-1) }, { timeout: 30_000 })
  assert.deepEqual(
    healthy.map((socket) => socket.events.map(({ rkey }) => rkey)),
    healthy.map(() => marks),
    'the others lose nothing',
  )
  stalled.ws.resume()
  const resync = await stalled.next({ type: 'resync_required' }, { timeout: 30_000 })
  assert.equal(resync.community_uri, COMMUNITY)
  assert.equal((await stalled.closed).code, 1013, 'A19')
  const gateways = (await stage.service.fetchJson('/api/health', AS_OPERATOR)).body.gateways
  assert.equal(gateways.reduce((sum, gateway) => sum + gateway.closed_slow, 0), 1, 'O26')
  const events = stalled.events
  assert.deepEqual(events.at(-1), resync, 'nothing after it')
  const wanted = numbered(control).filter(({ seq }) => seq > from).map(({ seq }) => seq)
  const got = events.slice(0, -1).map(({ seq }) => seq)
  assert.deepEqual(got, wanted.slice(0, got.length), 'everything before it')
})

test('a18 b66 too many frames: an error each, then the end; others are not slowed', async () => {
  const [flood, calm] = [await connect(), await connect()]
  const frames = 1_000
  for (let sent = 0; sent < frames; sent++) flood.send({ action: 'activity' })
  assert.deepEqual(await calm.request({ action: 'activity' }), ACK)
  assert.equal((await flood.closed).code, 1008)
  const over = { type: 'error', message: 'Rate limit exceeded' }
  const [fine, refused] = [flood.replies.filter(({ type }) => type === 'ack').length, flood.all().length]
  assert(fine >= 120 && fine < 400, `${fine} within the budget`)
  assert.equal(refused, 0)
  assert.deepEqual(flood.replies.at(-1), over)
})

test('a06 a15 frames that are no frames, and one that is too long', async () => {
  const socket = await connect()
  const error = (message) => ({ type: 'error', message })
  assert.deepEqual(await socket.request('{'), error('Invalid JSON'))
  assert.deepEqual(await socket.request(`{"action":"activity","pad":"${'x'.repeat(64 * 1024)}"}`), error('Frame too large'))
  assert.deepEqual(await socket.request({ action: 'dance' }), error('Unknown action: dance'))
  assert.deepEqual(await socket.request({ action: 'activity' }), ACK, 'A05: the socket lives on')
})
