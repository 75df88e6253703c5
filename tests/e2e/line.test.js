// What a client receives that returns on another connection and does not subscribe (contract Q10-Q16, W03): next to a
// half-open socket, next to another device, after longer than RESTORE_MS; and what strangers receive of it.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { openCable } from './cable.js'
import { eventually, LiveSocket } from './harness.js'
import { openStage } from './stage.js'

const API_KEY = 'a key for tests'
const COMMUNITY = 'at://did:plc:alice/social.colibri.community/c'
const RESTORE_MS = 1_000
const HEARTBEAT = '{"action":"heartbeat","event_type":"heartbeat"}'

/** @type {Awaited<ReturnType<typeof openStage>>} */
let stage
/** @type {Awaited<ReturnType<typeof openCable>>} */
let cable
before(async () => {
  stage = await openStage({
    env: {
      INVITE_API_KEY: API_KEY,
      RESTORE_MS: String(RESTORE_MS),
      OFFLINE_GRACE_MS: '500',
      EVENT_LOG_MAX: '60',
      WS_RATE: '100000',
      WS_BURST: '100000',
    },
  })
  await stage.say(
    ['alice', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ...['k', 'l', 'm'].map((rkey) => ['alice', 'create', `channel/${rkey}`, { name: rkey, type: 'text', community: 'c' }]),
  )
  cable = await openCable(stage.service.port)
})

let n = 0
/** A new person. */
function somebody() {
  n += 1
  const did = `did:plc:person${n}`
  const path = (more = '') => `/api/subscribe?did=${did}${more}`
  return {
    did,
    come: (more, options) => stage.service.connect(path(more), options),
    comeByCable: () => LiveSocket.connect(cable.wsUrl + path()),
  }
}
/** Writes a message of alice to a channel; resolves with its rkey when a subscriber has received it. */
async function write(channel = 'k') {
  n += 1
  const rkey = `m${n}`
  const witness = await stage.service.connect('/api/subscribe')
  await witness.subscribe({ event_type: 'message', channel })
  await stage.say(['alice', 'create', `message/${rkey}`, { text: rkey, channel, createdAt: new Date().toISOString() }])
  await witness.next({ type: 'message', rkey })
  await witness.close()
  return rkey
}
const messagesOf = (channel) => ({ event_type: 'message', channel })
const received = (socket) => socket.all({ type: 'message' }).map(({ rkey }) => rkey)
const gets = (socket, rkey) => socket.next({ type: 'message', rkey }, { timeout: 20_000 })

test('q10 w03 a new socket beside a half-open old one receives what the old one received, and what was missed, once', async () => {
  const { comeByCable, come } = somebody()
  const old = await comeByCable()
  await old.subscribe(messagesOf('k'))
  await gets(old, await write())
  // A sign of life in the same millisecond does not prove that the frame arrived: it would be sent again.
  const gotAt = Date.now()
  await eventually(() => Date.now() > gotAt + 1, { what: 'the clock to move on' })
  assert.deepEqual(await old.request(HEARTBEAT), { type: 'ack', message: '' })
  cable.goDead()
  const missed = [await write(), await write()]
  const socket = await come()
  await gets(socket, missed[1])
  const later = await write()
  await gets(socket, later)
  assert.deepEqual(received(socket), [...missed, later])
  assert.deepEqual(
    socket.all({ type: 'message' }).map(({ live }) => live),
    [false, false, true],
  )
  assert.equal(old.ws.readyState, 1, 'the old one still looks open')
})

test('q10 a phone that returns while the desktop stays receives its own channel again', async () => {
  const { comeByCable, come } = somebody()
  const desktop = await come()
  await desktop.subscribe(messagesOf('l'))
  const phone = await comeByCable()
  await phone.subscribe(messagesOf('k'))
  cable.goDead()
  const missed = await write('k')
  const back = await come()
  await gets(back, missed)
  const [k, l] = [await write('k'), await write('l')]
  await gets(back, k)
  await gets(desktop, l)
  assert.deepEqual(received(back).filter((rkey) => rkey !== l), [missed, k])
  assert.deepEqual(received(desktop), [l], 'the desktop receives nothing else than before')
})

test('q10 one of two tabs that comes back, after longer than RESTORE_MS', async () => {
  const { come } = somebody()
  const [stays, goes] = [await come(), await come()]
  await stays.subscribe(messagesOf('l'))
  await goes.subscribe(messagesOf('k'))
  await goes.close()
  const closedAt = Date.now()
  const missed = await write('k')
  await eventually(() => Date.now() > closedAt + RESTORE_MS + 200, { what: 'RESTORE_MS to be over' })
  const back = await come()
  await gets(back, missed)
  const after = await write('k')
  await gets(back, after)
  assert.deepEqual(received(back), [missed, after])
  assert.deepEqual(received(stays), [])
})

test('q10 everything once over a chain of lost connections, whichever side ends them', async () => {
  const { come } = somebody()
  let socket = await come()
  await socket.subscribe(messagesOf('k'))
  const [written, got] = [[], []]
  for (let round = 0; round < 3; round++) {
    written.push(await write())
    await gets(socket, written.at(-1))
    got.push(...received(socket))
    await (round % 2 ? socket.drop() : socket.close())
    written.push(await write())
    socket = await come()
    await gets(socket, written.at(-1))
  }
  got.push(...received(socket))
  assert.deepEqual(got, written)
})

test('q10 q11 a client that knows cursors gets what it asks for, once, and nothing else', async () => {
  const { come } = somebody()
  const old = await come()
  await old.subscribe(messagesOf('k'))
  await old.subscribe(messagesOf('l'))
  await old.subscribe({ event_type: 'community', community_uri: COMMUNITY })
  await gets(old, await write('k'))
  const cursor = old.all({ type: 'message' }).at(-1).seq
  await old.close()
  const [k] = [await write('k'), await write('l')]
  const socket = await come()
  await socket.subscribe(messagesOf('k'))
  await socket.subscribe({ event_type: 'community', community_uri: COMMUNITY, cursor })
  await socket.next({ type: 'resumed' })
  const witness = await come()
  await gets(witness, k)
  const [later, other] = [await write('k'), await write('l')]
  await gets(witness, other)
  await gets(socket, later)
  assert.deepEqual(received(socket), [k, later])
})

test('q12 what left the log meanwhile: read anew', async () => {
  const { come } = somebody()
  const old = await come()
  await old.subscribe(messagesOf('m'))
  await gets(old, await write('m'))
  await old.close()
  const burst = Array.from({ length: 70 }, (_, at) => [
    'alice',
    'create',
    `message/burst${at}`,
    { text: 'x', channel: 'k', createdAt: new Date().toISOString() },
  ])
  await stage.say(...burst)
  await write('k')
  const socket = await come()
  const resync = await socket.next({ type: 'resync_required' }, { timeout: 20_000 })
  assert.equal(resync.community_uri, COMMUNITY)
  const after = await write('m')
  await gets(socket, after)
  assert.deepEqual(received(socket), [after])
})

test('q15 a socket with the secret continues that socket alone, and no other gets anything of it', async () => {
  const { come } = somebody()
  const [guarded, other] = [await come(), await come()]
  await guarded.subscribe(messagesOf('k'))
  await other.subscribe(messagesOf('l'))
  const ask = async (socket) => (await socket.request({ action: 'session' })).message
  const secret = await ask(guarded)
  assert.match(secret, /^[0-9a-f]{32}$/)
  assert.equal(await ask(guarded), secret, 'the same each time')
  const error = { type: 'error', message: 'DID required for session' }
  assert.deepEqual(await (await stage.service.connect('/api/subscribe')).request({ action: 'session' }), error)
  await Promise.all([guarded.close(), other.close()])
  const [k, l] = [await write('k'), await write('l')]
  const stranger = await come()
  await gets(stranger, l)
  assert.deepEqual(received(stranger), [l], 'what nobody guards')
  const socket = await come(`&session=${secret}`)
  await gets(socket, k)
  const later = await write('k')
  await gets(socket, later)
  assert.deepEqual(received(socket), [k, later])
  assert.equal(await ask(socket), secret)
  await socket.drop()
  const missed = await write('k')
  const again = await come(`&session=${secret}`)
  await gets(again, missed)
  assert.deepEqual(received(again), [missed], 'and so on')
})

test('q10d q14 a stranger who names the DID takes nothing away; a proof keeps strangers out', async () => {
  const { come, did } = somebody()
  const victim = await come()
  await victim.subscribe(messagesOf('k'))
  await victim.close()
  const missed = await write('k')
  const elsewhere = { localAddress: '127.0.0.2' }
  const stranger = await come('', elsewhere)
  await gets(stranger, missed)
  await stranger.close()
  const back = await come()
  await gets(back, missed)
  await back.close()

  const { body } = await stage.service.fetchJson('/api/authentication', {
    method: 'POST',
    headers: { authorization: `Bearer ${API_KEY}` },
    body: JSON.stringify({ did }),
  })
  const proven = await come(`&auth=${body.token}`)
  await proven.subscribe(messagesOf('m'))
  await proven.close()
  const m = await write('m')
  const again = await come('', elsewhere)
  const proof = await come(`&auth=${body.token}`)
  await gets(proof, m)
  const [k, last] = [await write('k'), await write('m')]
  await gets(proof, last)
  await gets(again, k)
  assert.deepEqual(again.all({ rkey: m }).concat(again.all({ rkey: last })), [], 'nothing of what was proven')
})

test('a03 replies keep the order of frames that are sent without waiting', async () => {
  const { come } = somebody()
  const socket = await come()
  const texts = []
  for (let at = 0; at < 20; at++) {
    socket.send({ action: 'subscribe', ...messagesOf(`nobody${at}`) })
    socket.send({ action: `nothing${at}` })
    texts.push('Subscribed to message', `Unknown action: nothing${at}`)
  }
  await eventually(() => socket.replies.length === texts.length, { what: 'forty replies' })
  assert.deepEqual(socket.replies.map(({ message }) => message), texts)
})

test('a40 subscriptions are bounded in bytes; what is refused changes nothing', async () => {
  const socket = await stage.service.connect('/api/subscribe')
  const key = (at) => `at://did:plc:${'x'.repeat(900)}/social.colibri.channel/${String(at).padStart(80, '0')}`
  const fits = Math.floor((1024 * 1024) / key(0).length)
  const replies = await Promise.all(
    Array.from({ length: fits + 1 }, (_, at) => socket.request({ action: 'subscribe', ...messagesOf(key(at)) }, { timeout: 60_000 })),
  )
  assert.deepEqual(replies.pop(), { type: 'error', message: 'Too many subscriptions (max 1048576 bytes)' })
  assert.deepEqual([...new Set(replies.map(({ type }) => type))], ['ack'])
  await socket.request({ action: 'unsubscribe', ...messagesOf(key(0)) })
  await socket.subscribe(messagesOf('k'))
  await socket.subscribe(messagesOf('x'.repeat(2_000)))
  await gets(socket, await write('k'))
})
