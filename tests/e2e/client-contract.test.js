// The shipped web client (contract section 11): its literal frames and its timing, through the WebSocket helper library
// it uses. Half a minute of normal use, or as many minutes as CLIENT_MINUTES says.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { makeHeartbeatWS, makeReconnectingWS } from '@solid-primitives/websocket'

import { openCable } from './cable.js'
import { atEnd, eventually } from './harness.js'
import { openStage } from './stage.js'

const COMMUNITY = 'at://did:plc:alice/social.colibri.community/c'
const USE_MILLIS = Number(process.env.CLIENT_MINUTES ?? 0.5) * 60_000
/** The pause between two actions of a person; long enough for heartbeats (after 20 s of silence) in the long run. */
const STEP_MILLIS = Number(process.env.CLIENT_MINUTES ?? 0) > 1 ? 25_000 : 7_000

/** @type {Awaited<ReturnType<typeof openStage>>} */
let stage
before(async () => {
  stage = await openStage()
  await stage.say(
    ['alice', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ['alice', 'create', 'channel/k', { name: 'hall', type: 'text', community: 'c' }],
    ['alice', 'create', 'channel/v', { name: 'talk', type: 'voice', community: 'c' }],
    ['bob', 'create', 'membership/m', { community: COMMUNITY, createdAt: '2026-03-01T12:00:00Z' }],
    ['alice', 'create', 'membership/m', { community: COMMUNITY, createdAt: '2026-03-01T12:00:00Z' }],
  )
})

/** The client as it ships: reconnects after 3 s, a heartbeat after 20 s of silence, a reconnection without a frame in 1.5 s. */
function client(did, wsUrl = stage.service.wsUrl) {
  const url = `${wsUrl}/api/subscribe?did=${did}`
  const seen = { opens: 0, closes: 0, frames: [] }
  const ws = makeHeartbeatWS(makeReconnectingWS(url, [], { delay: 3000 }), {
    message: JSON.stringify({ action: 'heartbeat', event_type: 'heartbeat' }),
    interval: 20_000,
    wait: 1_500,
  })
  ws.addEventListener('open', () => (seen.opens += 1))
  ws.addEventListener('close', () => (seen.closes += 1))
  ws.addEventListener('message', ({ data }) => seen.frames.push(JSON.parse(data)))
  atEnd(() => ws.close())
  return { ...seen, seen, say: (frame) => ws.send(JSON.stringify(frame)) }
}

let n = 0
async function write() {
  n += 1
  await stage.say(['alice', 'create', `message/c${n}`, { text: `${n}`, channel: 'k', createdAt: new Date().toISOString() }])
  return `c${n}`
}

test('w02 w04 w05 w06 w07 w14 normal use: every frame answered, no reconnection, every event once', async () => {
  const { seen, say } = client('did:plc:bob')
  // Queued before the socket is open, as at page start.
  say({ action: 'activity' })
  say({ action: 'set_state', state: 'online' })
  say({ action: 'subscribe', event_type: 'community', community_uri: COMMUNITY })
  say({ action: 'subscribe', event_type: 'community', community_uri: COMMUNITY })
  say({ action: 'unsubscribe', event_type: 'message' })
  say({ action: 'subscribe', event_type: 'message', channel: 'k' })
  await eventually(() => seen.frames.filter(({ type }) => type === 'ack').length === 6, { what: 'six acks' })
  say({ action: 'voice_event', community_uri: COMMUNITY, voice_channel_rkey: 'v', voice_action: 'join' })
  const until = Date.now() + USE_MILLIS
  const written = []
  while (Date.now() < until) {
    written.push(await write())
    say({ action: 'activity' })
    say({ action: 'unsubscribe', event_type: 'message', channel: 'k' })
    say({ action: 'subscribe', event_type: 'message', channel: 'k' })
    await eventually(() => seen.frames.some(({ rkey }) => rkey === written.at(-1)), { what: 'the message' })
    await pause(Math.max(0, Math.min(STEP_MILLIS, until - Date.now())))
  }
  say({ action: 'voice_event', community_uri: COMMUNITY, voice_channel_rkey: 'media-room-7', voice_action: 'leave' })
  await eventually(() => seen.frames.filter(({ type }) => type === 'voice_channel_updated').length === 2)
  assert.deepEqual([seen.opens, seen.closes], [1, 0], 'no spurious reconnection')
  assert.deepEqual(seen.frames.filter(({ type }) => type === 'error'), [])
  assert.deepEqual(seen.frames.filter(({ type }) => type === 'message').map(({ rkey }) => rkey), written)
})

test('w03 q10 a change of network: the old socket stays half-open, and the new one receives everything all the same', async () => {
  const cable = await openCable(stage.service.port)
  const did = 'did:plc:carol'
  const { seen, say } = client(did, cable.wsUrl)
  const desktop = client(did)
  desktop.say({ action: 'subscribe', event_type: 'message', channel: 'k' })
  say({ action: 'subscribe', event_type: 'community', community_uri: COMMUNITY })
  say({ action: 'subscribe', event_type: 'message', channel: 'k' })
  await eventually(() => seen.frames.filter(({ type }) => type === 'ack').length === 2, { what: 'two acks' })
  const has = (seen, rkey) => seen.frames.some((frame) => frame.rkey === rkey)
  const first = await write()
  await eventually(() => has(seen, first) && has(desktop.seen, first), { what: 'the first message on both devices' })
  cable.goDead()
  const missed = [await write(), await write()]
  // A person acts; the client waits 1.5 s for the answer in vain, and opens another socket.
  say({ action: 'activity' })
  await eventually(() => seen.opens >= 2, { what: 'the client to reconnect', timeout: 30_000 })
  await eventually(() => missed.every((rkey) => has(seen, rkey)), { what: 'what it missed', timeout: 20_000 })
  const later = await write()
  await eventually(() => has(seen, later) && has(desktop.seen, later), { what: 'what is new', timeout: 20_000 })
  const rkeys = (seen) => seen.frames.filter(({ type }) => type === 'message').map(({ rkey }) => rkey)
  // The new socket may repeat what the old one received after its last sign of life (Q10c).
  assert.deepEqual([...new Set(rkeys(seen))], [first, ...missed, later])
  assert.deepEqual(rkeys(desktop.seen), [first, ...missed, later], 'the other device receives everything once')
})

test('w03 after a crash it comes back without subscribing again, and has everything', async () => {
  const { seen, say } = client('did:plc:alice')
  say({ action: 'subscribe', event_type: 'message', channel: 'k' })
  const first = await eventually(async () => seen.frames.length > 0 && (await write()))
  await eventually(() => seen.frames.some(({ rkey }) => rkey === first))
  await stage.service.kill9()
  await stage.service.restart()
  await eventually(async () => (await stage.service.fetchJson('/api/health')).body.ingest.connected, { timeout: 20_000 })
  const missed = [await write(), await write()]
  await eventually(() => seen.opens === 2, { what: 'the client to reconnect', timeout: 30_000 })
  const later = await write()
  await eventually(() => seen.frames.some(({ rkey }) => rkey === later), { timeout: 20_000 })
  const rkeys = seen.frames.filter(({ type }) => type === 'message').map(({ rkey }) => rkey)
  assert.deepEqual(rkeys.slice(rkeys.indexOf(first)), [first, ...missed, later])
})

test('w10 history is read back to its beginning, though one clock is ahead and one has stopped', async () => {
  const at = (millis) => new Date(Date.now() + millis).toISOString()
  const names = []
  const create = (name, createdAt) => {
    names.push(name)
    return ['alice', 'create', `message/${name}`, { text: name, channel: 'h', createdAt }]
  }
  await stage.say(
    ['alice', 'create', 'channel/h', { name: 'history', type: 'text', community: 'c' }],
    ...Array.from({ length: 60 }, (_, n) => create(`old${n}`, at(n * 1000 - 3_600_000))),
    create('ahead', at(600_000)),
    ...Array.from({ length: 49 }, (_, n) => create(`new${n}`, at(-1000))),
    ...Array.from({ length: 30 }, (_, n) => create(`last${n}`, n % 2 ? '2039-01-01T00:00:00Z' : 'no time at all')),
  )
  // As the client does: pages of 50, continued from the `created_at` of the oldest, until a page is shorter.
  const shown = []
  let before = ''
  for (let pages = 0; pages < 10; pages++) {
    const { status, body } = await stage.service.fetchJson(`/api/messages?channel=h&limit=50${before && `&before=${encodeURIComponent(before)}`}`)
    assert.equal(status, 200, before)
    for (const { created_at } of body) assert(!Number.isNaN(Date.parse(created_at)), `a browser reads ${created_at}`)
    shown.push(...body.map(({ rkey }) => rkey))
    if (body.length < 50) break
    before = body.at(-1).created_at
  }
  assert.deepEqual([...shown].sort(), [...names].sort(), 'all of it, and nothing twice')
})
