// Observers of one community (contract A21): read-only sockets that the community's own object holds.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { eventually, UpgradeRefused } from './harness.js'
import { lobbyOf } from './rooms.js'
import { openStage } from './stage.js'

const COMMUNITY = 'at://did:plc:alice/social.colibri.community/c'
const ACK = { type: 'ack', message: '' }

/** @type {Awaited<ReturnType<typeof openStage>>} */
let stage
before(async () => {
  stage = await openStage()
  await stage.say(
    ['alice', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ['alice', 'create', 'channel/k', { name: 'hall', type: 'text', community: 'c' }],
    ['bob', 'create', 'membership/m', { community: COMMUNITY, createdAt: '2026-03-01T12:00:00Z' }],
  )
})

const observe = (more = '') => stage.service.connect(`/api/subscribe?community=${COMMUNITY}${more}`)
const seqs = (socket) => socket.events.filter(({ seq }) => seq !== undefined).map(({ seq }) => seq)
let n = 0
const write = async () => {
  n += 1
  await stage.say(['bob', 'create', `message/o${n}`, { text: 'hi', channel: 'k', createdAt: new Date().toISOString() }])
  return `o${n}`
}

test('a21 everything of the community and its channels, from now on or from a cursor, also after eviction', async () => {
  const live = await observe()
  const rkey = await write()
  const event = await live.next({ type: 'message', rkey })
  assert.equal(event.live, true)
  assert.deepEqual(seqs(live), [4], 'and nothing before')
  const fromStart = await observe('&cursor=0')
  assert.deepEqual(await fromStart.next({ type: 'resumed' }), { type: 'resumed', community_uri: COMMUNITY, from: 0, to: 4 })
  assert.deepEqual(seqs(fromStart), [1, 2, 3, 4])
  assert(fromStart.events.filter(({ seq }) => seq).every(({ live }) => live === false))
  const beyond = await observe('&cursor=99')
  assert.equal((await beyond.next({ type: 'resync_required' })).oldest, 1)
  await stage.service.evict('Community', COMMUNITY)
  const again = await write()
  for (const socket of [live, fromStart, beyond]) await socket.next({ type: 'message', rkey: again, live: true })
  assert.deepEqual(seqs(fromStart), [1, 2, 3, 4, 5])
})

test('a21 a36 it receives events about the people of the community', async () => {
  const observer = await observe()
  await stage.say(['bob', 'create', 'actor.data/self', { status: 'Reading' }])
  await observer.next({ type: 'user_status_changed', did: 'did:plc:bob', status: 'Reading' }, { timeout: 20_000 })
  await stage.service.connect('/api/subscribe?did=did:plc:stranger')
  await stage.service.connect('/api/subscribe?did=did:plc:bob')
  await observer.next({ type: 'user_status_changed', did: 'did:plc:bob', state: 'online' })
  assert.deepEqual(observer.all({ did: 'did:plc:stranger' }), [])
})

test('a21 it may say anything, and nothing comes of it', async () => {
  const observer = await observe('&did=did:plc:bob')
  const channel = 'at://did:plc:bob/social.colibri.channel/x'
  assert.deepEqual(await observer.request({ action: 'unsubscribe', event_type: 'message' }), {
    type: 'ack',
    message: 'Unsubscribed from message',
  })
  assert.deepEqual(await observer.request({ action: 'subscribe', event_type: 'message', channel }), {
    type: 'ack',
    message: 'Subscribed to message',
  })
  assert.deepEqual(await observer.request('{"action":"heartbeat","event_type":"heartbeat"}'), ACK)
  assert.deepEqual(await observer.request({ action: 'set_state', state: 'dnd' }), {
    type: 'error',
    message: 'DID required for set_state',
  })
  const rkey = await write()
  await observer.next({ type: 'message', rkey })
  await assert.rejects(stage.service.connect('/api/subscribe?community=c'), UpgradeRefused)
  await assert.rejects(observe('&cursor=x'), UpgradeRefused)
  const unknown = await stage.service.connect('/api/subscribe?community=at://nobody/x/y&cursor=0')
  assert.deepEqual(await unknown.request({ action: 'activity' }), ACK, 'T03: unknown, not malformed')
})

test('a21 it waits for a community that nobody knows, in no object of its own, and receives everything of it from its first event on', async () => {
  const later = 'at://did:plc:alice/social.colibri.community/later'
  const waiting = await stage.service.connect(`/api/subscribe?community=${later}`)
  const asking = await stage.service.connect(`/api/subscribe?community=${later}&cursor=0`)
  assert.deepEqual(await asking.next({ type: 'resumed' }), { type: 'resumed', community_uri: later, from: 0, to: 0 })
  assert.deepEqual(await waiting.request({ action: 'activity' }), ACK)
  await stage.service.evict('Community', lobbyOf(later))
  await stage.say(
    ['alice', 'create', 'community/later', { name: 'Later', requiresApprovalToJoin: false }],
    ['alice', 'create', 'channel/l', { name: 'hall', type: 'text', community: 'later' }],
    ['carol', 'create', 'membership/m', { community: later, createdAt: '2026-03-01T12:00:00Z' }],
  )
  for (const socket of [waiting, asking]) await socket.next({ type: 'member_pending' })
  await stage.say(['carol', 'create', 'message/l1', { text: 'hi', channel: 'l', createdAt: new Date().toISOString() }])
  for (const socket of [waiting, asking]) {
    assert.equal((await socket.next({ type: 'message', rkey: 'l1' })).live, true)
    assert.deepEqual(seqs(socket), [1, 2, 3, 4], 'each once, in order')
    assert.deepEqual(await socket.request({ action: 'activity' }), ACK)
  }
  assert.equal(waiting.all({ type: 'resumed' }).length, 0, 'it asked for no replay')
  await stage.say(['carol', 'create', 'actor.data/self', { status: 'Reading' }])
  await waiting.next({ type: 'user_status_changed', did: 'did:plc:carol', status: 'Reading' }, { timeout: 20_000 })
})

test('q08 one address reads so much of logs at once and then so fast, and reads anew after a minute in vain; others and live events do not wait', async () => {
  const busy = 'at://did:plc:alice/social.colibri.community/busy'
  const message = (rkey) => ['bob', 'create', `message/${rkey}`, { text: 'hi', channel: 'b', createdAt: new Date().toISOString() }]
  await stage.say(
    ['alice', 'create', 'community/busy', { name: 'Busy', requiresApprovalToJoin: false }],
    ['alice', 'create', 'channel/b', { name: 'hall', type: 'text', community: 'busy' }],
    ['bob', 'create', 'membership/busy', { community: busy, createdAt: '2026-03-01T12:00:00Z' }],
    ...Array.from({ length: 480 }, (_, n) => message(`b${n}`)),
  )
  const path = `/api/subscribe?community=${busy}`
  const to = (await (await stage.service.connect(`${path}&cursor=-1`)).next({ type: 'resumed' })).to
  assert(to > 480 && to <= 500, `one page of the log: ${to}`)
  const live = await stage.service.connect(path)
  // A whole log each: more than one address reads at once and in a minute. What may be read grows from the first of them on.
  const began = Date.now()
  const readers = await Promise.all(Array.from({ length: 190 }, () => stage.service.connect(`${path}&cursor=0`)))
  const ends = (wanted) => readers.filter(({ frames }) => frames.some(({ type }) => type === wanted))
  await eventually(() => ends('resumed').length >= 35, { what: 'what is read at once' })

  const other = await stage.service.connect(`${path}&cursor=0`, { localAddress: '127.0.0.2' })
  await other.next({ type: 'resumed' })
  await stage.say(message('live'))
  await live.next({ type: 'message', rkey: 'live', live: true })
  const soon = Date.now() - began
  const waiting = readers.length - ends('resumed').length
  assert(waiting > 60, `${waiting} wait after ${soon} ms`)
  assert.deepEqual(ends('resync_required'), [], 'nobody has waited for a minute')

  await eventually(() => ends('resumed').length + ends('resync_required').length === readers.length, {
    what: 'the last to be published',
    timeout: 90_000,
  })
  const took = (Date.now() - began) / 1000
  const [whole, none] = [ends('resumed'), ends('resync_required')]
  assert(took > 55, `it took ${took} s`)
  assert(none.length > 0)
  assert(whole.length * to <= 20_000 + 1000 * took + to, `${whole.length} read everything in ${took} s`)
  assert(whole.length > 60, `${whole.length} read everything`)
  for (const reader of whole) assert.deepEqual(seqs(reader).slice(0, to), Array.from({ length: to }, (_, n) => n + 1))
  for (const reader of none) assert.deepEqual(reader.all({ live: false }), [], 'nothing of what it missed')
  await stage.say(message('after'))
  for (const reader of [...whole, ...none]) await reader.next({ type: 'message', rkey: 'after', live: true })
})
