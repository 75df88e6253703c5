// Signaling (contract section 7) on the real runtime, in both forms: the room in the first frame, which the Worker
// relays, and the room in the address, which goes to the room's object directly.

import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { createServer } from 'node:http'
import { before, describe, test } from 'node:test'

import { atEnd, eventually, startService } from './harness.js'
import { openProxy } from './proxy.js'
import { roomsOf } from './rooms.js'

let service
before(async () => {
  service = await startService()
})

let rooms = 0
/** A separate room for each test. */
const newRoom = () => `room-${++rooms}`

const error = (message) => ({ type: 'error', message })
const join = (room, peer_id) => ({ type: 'join', room, peer_id })
const offer = (room, target_peer_id, sdp = 'v=0') => ({ type: 'offer', room, target_peer_id, sdp })

/** The next frame of any type that no earlier call returned. */
async function next(socket) {
  socket.seen ??= 0
  const frame = await eventually(() => socket.frames[socket.seen], { what: 'a frame' })
  socket.seen += 1
  return frame
}

/** Sends and resolves with the next frame: for frames that have an answer. */
async function ask(socket, frame) {
  socket.send(frame)
  return next(socket)
}

/** The remaining frames of a socket, after a request whose answer certainly comes last. */
async function nothingMore(socket) {
  socket.send({ type: 'heartbeat' })
  assert.deepEqual(await next(socket), { type: 'ack' })
}

const relayed = () => service.connect('/api/webrtc/signal')
const direct = (room) => service.connect(`/api/webrtc/signal?room=${encodeURIComponent(room)}`)

/** Opens a socket and joins. */
async function peer(open, room, peer_id) {
  const socket = await open(room)
  const joined = await ask(socket, join(room, peer_id))
  assert.deepEqual([joined.type, joined.room, joined.peer_id], ['joined', room, peer_id], JSON.stringify(joined))
  return Object.assign(socket, { room, peer_id, peers: joined.peers })
}

for (const [form, open] of [
  ['the room in the first frame', relayed],
  ['the room in the address', direct],
]) {
  describe(form, () => {
    test('S01-S06: three peers meet, talk and leave', async () => {
      const room = newRoom()
      const a = await peer(open, room, 'a')
      const b = await peer(open, room, 'b')
      const c = await peer(open, room, 'c')
      assert.deepEqual([a.peers, b.peers, c.peers], [[], ['a'], ['a', 'b']])
      assert.deepEqual(await next(a), { type: 'peer_joined', room, peer_id: 'b' })
      assert.deepEqual(await next(a), { type: 'peer_joined', room, peer_id: 'c' })
      assert.deepEqual(await next(b), { type: 'peer_joined', room, peer_id: 'c' })

      a.send(offer(room, 'b', 'v=0\r\n…'))
      assert.deepEqual(await next(b), { type: 'offer', room, from_peer_id: 'a', sdp: 'v=0\r\n…' })
      b.send({ type: 'answer', room, target_peer_id: 'a', sdp: 'v=1' })
      assert.deepEqual(await next(a), { type: 'answer', room, from_peer_id: 'b', sdp: 'v=1' })
      for (const candidate of ['candidate:1', { candidate: 'candidate:2', sdpMid: '0', sdpMLineIndex: 0 }, null, '', {}]) {
        a.send({ type: 'ice', room, target_peer_id: 'b', candidate })
        assert.deepEqual(await next(b), { type: 'ice', room, from_peer_id: 'a', candidate })
      }
      a.send({ type: 'voice_state', room, muted: true })
      const state = { type: 'voice_state', room, from_peer_id: 'a', muted: true, deafened: false, camera: false, screen: false }
      assert.deepEqual([await next(b), await next(c)], [state, state])

      a.send({ type: 'leave', room })
      assert.deepEqual(await next(b), { type: 'peer_left', room, peer_id: 'a' })
      assert.deepEqual(await next(c), { type: 'peer_left', room, peer_id: 'a' })
      await nothingMore(a)
      await b.close()
      assert.deepEqual(await next(c), { type: 'peer_left', room, peer_id: 'b' })
      await c.drop()
      const d = await eventually(async () => {
        const socket = await peer(open, room, `d${Date.now()}`)
        return socket.peers.length === 0 && socket
      })
      await nothingMore(d)
    })

    test('S10-S14: what has no effect gets one error frame that names the field, and the socket stays', async () => {
      const room = newRoom()
      const a = await open(room)
      for (const frame of [offer(room, 'b'), { type: 'leave', room }]) {
        assert.deepEqual(await ask(a, frame), error('Join a room first'))
      }
      assert.equal((await ask(a, join(room, 'a'))).type, 'joined')
      for (const [frame, message] of [
        ['hello', 'Invalid signal: not a JSON object'],
        ['{}', 'Invalid signal: type is missing'],
        [{ type: 'dance', room }, 'Invalid signal: unknown type: dance'],
        [{ type: 'join', peer_id: 'a' }, 'Invalid signal: room is missing'],
        [join('', 'a'), 'Invalid signal: room must be a string of 1 to 256 characters'],
        [join('x'.repeat(257), 'a'), 'Invalid signal: room must be a string of 1 to 256 characters'],
        [join(room, 7), 'Invalid signal: peer_id must be a string of 1 to 256 characters'],
        [{ type: 'offer', room, sdp: 'v=0' }, 'Invalid signal: target_peer_id is missing'],
        [{ type: 'offer', room, target_peer_id: 'b' }, 'Invalid signal: sdp is missing'],
        [{ type: 'ice', room, target_peer_id: 'b', candidate: 1 }, 'Invalid signal: candidate must be a string or an object'],
        [offer('elsewhere', 'b'), 'Not in room elsewhere'],
        [offer(room, 'nobody'), 'Unknown peer: nobody'],
        [offer(room, 'a'), 'Unknown peer: a'],
        [offer(room, 'a', 'x'.repeat(65_536)), 'Frame too large'],
      ]) {
        assert.deepEqual(await ask(a, frame), error(message))
      }
      a.ws.send(Buffer.from('{"type":"leave"}'), { binary: true })
      assert.deepEqual(await next(a), error('Invalid signal: a binary frame; frames are JSON text'))
      await nothingMore(a)
    })

    test('B-61, S12, S18: a used peer_id is refused, and nobody is replaced or removed', async () => {
      const room = newRoom()
      const [a, b] = [await peer(open, room, 'a'), await peer(open, room, 'b')]
      await next(a)
      const thief = await open(room)
      assert.deepEqual(await ask(thief, join(room, 'a')), error('peer_id already in use'))
      b.send(offer(room, 'a'))
      assert.equal((await next(a)).type, 'offer')
      await thief.close()
      const c = await peer(open, room, 'c')
      assert.deepEqual(c.peers, ['a', 'b'])
      assert.deepEqual(await next(b), { type: 'peer_joined', room, peer_id: 'c' }, 'and no peer_left before it')
    })

    test('B-62, B-63, S13: a frame for another room reaches nobody there', async () => {
      const [here, there] = [newRoom(), newRoom()]
      const a = await peer(open, here, 'same')
      const b = await peer(open, there, 'same')
      assert.deepEqual(await ask(a, offer(there, 'same')), error(`Not in room ${there}`))
      assert.deepEqual(await ask(a, { type: 'leave', room: there }), error(`Not in room ${there}`))
      await nothingMore(b)
      const c = await peer(open, there, 'c')
      assert.deepEqual(c.peers, ['same'], 'the namesake is untouched')
      const d = await peer(open, here, 'd')
      await a.close()
      await next(d)
      const e = await peer(open, here, 'e')
      assert.deepEqual(e.peers, ['d'], 'and a did not leak')
    })

    test('S17: joining again as joined, and under another name', async () => {
      const room = newRoom()
      const [a, b] = [await peer(open, room, 'a'), await peer(open, room, 'b')]
      await next(a)
      assert.deepEqual(await ask(a, join(room, 'a')), { type: 'joined', room, peer_id: 'a', peers: ['b'] })
      assert.deepEqual(await ask(a, join(room, 'c')), { type: 'joined', room, peer_id: 'c', peers: ['b'] })
      assert.deepEqual(await next(b), { type: 'peer_left', room, peer_id: 'a' })
      assert.deepEqual(await next(b), { type: 'peer_joined', room, peer_id: 'c' })
    })

    test('S19: a thousand frames of two peers arrive in order', async () => {
      const room = newRoom()
      const [a, b, c] = [await peer(open, room, 'a'), await peer(open, room, 'b'), await peer(open, room, 'c')]
      const each = 150
      for (let n = 0; n < each; n++) for (const from of [a, b]) from.send(offer(room, 'c', String(n)))
      await eventually(() => c.all({ type: 'offer' }).length === 2 * each, { what: 'all offers', timeout: 20_000 })
      for (const from of ['a', 'b']) {
        const got = c.all({ from_peer_id: from }).map(({ sdp }) => Number(sdp))
        assert.deepEqual(got, [...Array(each).keys()])
      }
    })

    test('B-66, S16: a flood is throttled, then closed with 1008; others keep their delay', async () => {
      const room = newRoom()
      const [a, b, c] = [await peer(open, room, 'a'), await peer(open, room, 'b'), await peer(open, room, 'c')]
      for (let n = 0; n < 1_000; n++) a.send(offer(room, 'nobody', 'x'.repeat(1_000)))
      const sentAt = Date.now()
      b.send(offer(room, 'c', 'in between'))
      await c.next({ from_peer_id: 'b', sdp: 'in between' }, { timeout: 15_000 })
      const delay = Date.now() - sentAt
      // Sent at full speed, until the server closes the socket.
      const flood = setInterval(() => {
        for (let n = 0; n < 100 && a.ws.readyState === a.ws.OPEN; n++) a.send('{}')
      }, 20)
      const { code } = await a.closed
      clearInterval(flood)
      assert.equal(code, 1008)
      assert(a.replies.some(({ message }) => message === 'Rate limit exceeded'))
      await c.next({ type: 'peer_left', peer_id: 'a' })
      assert(delay < 5_000, `the others waited ${delay} ms`)
    })

    test('the room sleeps and wakes: nobody notices (invariant 6)', async () => {
      const room = newRoom()
      const [a, b] = [await peer(open, room, 'a'), await peer(open, room, 'b')]
      await next(a)
      b.send({ type: 'voice_state', room, camera: true })
      await next(a)
      await service.evict('VoiceRoom', roomsOf(room))
      a.send(offer(room, 'b', 'after the sleep'))
      assert.deepEqual(await next(b), { type: 'offer', room, from_peer_id: 'a', sdp: 'after the sleep' })
      await service.evict('VoiceRoom', roomsOf(room))
      const c = await peer(open, room, 'c')
      assert.deepEqual(c.peers, ['a', 'b'], 'in order of joining')
      const state = await next(c)
      assert.deepEqual([state.type, state.from_peer_id, state.camera], ['voice_state', 'b', true])
      await service.evict('VoiceRoom', roomsOf(room))
      await b.drop()
      assert.deepEqual(await next(c), { type: 'peer_left', room, peer_id: 'b' })
      await service.evict('VoiceRoom', roomsOf(room))
      assert.deepEqual(await ask(await open(room), join(room, 'a')), error('peer_id already in use'))
    })
  })
}

for (const [form, open] of [
  ['the room in the first frame', relayed],
  ['the room in the address', direct],
]) {
  test(`S12: a client that comes back on a new line has its name again at once: ${form}`, async () => {
    const room = newRoom()
    const secret = 'nobody else knows this'
    const [a, b] = [await open(room), await peer(open, room, 'b')]
    assert.equal((await ask(a, { ...join(room, 'a'), secret })).type, 'joined')
    await next(b)
    const thief = await open(room)
    for (const guess of ['', 'short', 7]) assert.match((await ask(thief, { ...join(room, 'a'), secret: guess })).message, /^Invalid signal: secret/)
    assert.deepEqual(await ask(thief, { ...join(room, 'a'), secret: 'something else entirely' }), error('peer_id already in use'))
    await service.evict('VoiceRoom', roomsOf(room))
    const again = await open(room)
    assert.deepEqual(await ask(again, { ...join(room, 'a'), secret }), { type: 'joined', room, peer_id: 'a', peers: ['b'] })
    assert.deepEqual([await next(b), await next(b)], [{ type: 'peer_left', room, peer_id: 'a' }, { type: 'peer_joined', room, peer_id: 'a' }])
    assert.deepEqual(await next(a), error('Taken over by another connection'))
    assert.equal((await a.closed).code, 1008)
    b.send(offer(room, 'a'))
    assert.equal((await next(again)).type, 'offer')
  })
}

test('S12: a line that is lost without a word: the name is free after the lease, with heartbeats and without; a quiet peer stays', async () => {
  const quick = await startService({ env: { LEASE_MS: '2000' } })
  const proxy = await openProxy(quick.port)
  const open = (room) => quick.connect(`/api/webrtc/signal?room=${room}`)
  for (const beats of [true, false]) {
    const room = `lost-${beats}`
    const quiet = await peer(open, room, 'quiet')
    const lost = await peer(() => proxy.connect(`/api/webrtc/signal?room=${room}`), room, 'me')
    if (beats) assert.deepEqual(await ask(lost, '{"type":"heartbeat"}'), { type: 'ack' })
    proxy.lose()
    const again = await open(room)
    assert.deepEqual(await ask(again, join(room, 'me')), error('peer_id already in use'), 'not at once')
    const joined = await eventually(async () => {
      const answer = await ask(again, join(room, 'me'))
      return answer.type === 'joined' && answer
    })
    assert.deepEqual(joined.peers, ['quiet'], 'nobody asked for its name')
    again.send(offer(room, 'quiet'))
    await quiet.next({ type: 'offer', from_peer_id: 'me' })
  }
})

test('B-64, S17: going to another room leaves the old one; a refused join stays where it was', async () => {
  const [here, there] = [newRoom(), newRoom()]
  const a = await peer(relayed, here, 'a')
  const b = await peer(relayed, here, 'b')
  await next(a)
  const c = await peer(direct, there, 'c')
  assert.deepEqual(await ask(a, join(there, 'c')), error('peer_id already in use'))
  b.send(offer(here, 'a'))
  assert.equal((await next(a)).type, 'offer', 'S12: the membership it had stays')
  assert.deepEqual(await ask(a, join(there, 'a')), { type: 'joined', room: there, peer_id: 'a', peers: ['c'] })
  assert.deepEqual(await next(b), { type: 'peer_left', room: here, peer_id: 'a' })
  assert.deepEqual(await next(c), { type: 'peer_joined', room: there, peer_id: 'a' })
  assert.deepEqual(await ask(a, offer(here, 'b')), error(`Not in room ${here}`))
  await a.close()
  assert.deepEqual(await next(c), { type: 'peer_left', room: there, peer_id: 'a' })
  const d = await peer(relayed, here, 'd')
  assert.deepEqual(d.peers, ['b'], 'no ghost')
})

test('a room in the address is the only one of its socket', async () => {
  const room = newRoom()
  const a = await direct(room)
  assert.deepEqual(await ask(a, join('another', 'a')), error('Not in room another'))
  assert.equal((await ask(a, join(room, 'a'))).type, 'joined')
  assert.deepEqual(await ask(a, join('another', 'a')), error('Not in room another'))
  const b = await peer(relayed, room, 'b')
  assert.deepEqual(b.peers, ['a'], 'both forms meet')
})

test('S11: rooms may have any name of up to 256 characters', async () => {
  for (const room of ['😀'.repeat(256), 'a/b?c#d%2F', ' ', '"\\\n', 'main', 'gateway-0']) {
    const a = await peer(relayed, room, 'a')
    const b = await peer(direct, room, 'b')
    assert.deepEqual([a.peers, b.peers], [[], ['a']], JSON.stringify(room))
  }
  const { status, body } = await service.fetchJson('/api/webrtc/signal')
  assert.deepEqual([status, body.error], [400, 'InvalidRequest'])
  const long = service.connect(`/api/webrtc/signal?room=${'x'.repeat(257)}`)
  await assert.rejects(long, { status: 422 })
})

test('B-65, S18: joining and leaving under stress: every joined peer is found by the next', async () => {
  const room = newRoom()
  const sockets = await Promise.all(Array.from({ length: 6 }, (_, n) => (n % 2 ? relayed() : direct(room))))
  for (let round = 0; round < 10; round++) {
    const joined = await Promise.all(sockets.map((socket, n) => socket.send(join(room, `p${n}`)) ?? nextOf(socket, 'joined')))
    const sizes = joined.map(({ peers }) => peers.length).sort()
    assert.deepEqual(sizes, [0, 1, 2, 3, 4, 5], 'each found all who were before it')
    for (const socket of sockets) socket.send({ type: 'leave', room })
    for (const socket of sockets) {
      socket.send({ type: 'heartbeat', round })
      await nextOf(socket, 'ack')
    }
  }
})

/** The next frame of a type, whatever comes before it. */
async function nextOf(socket, type) {
  for (;;) {
    const frame = await next(socket)
    if (frame.type === type) return frame
  }
}

test('S15: SIGNAL_MAX_PEERS, and LEASE_MS for peers that stop their heartbeats', async () => {
  const small = await startService({ env: { SIGNAL_MAX_PEERS: '2', LEASE_MS: '2000' } })
  const open = (room) => small.connect(`/api/webrtc/signal?room=${room}`)
  const a = await peer(open, 'r', 'a')
  const b = await peer(() => small.connect('/api/webrtc/signal'), 'r', 'b')
  const c = await open('r')
  assert.deepEqual(await ask(c, join('r', 'c')), error('Room is full'))
  await next(a)
  // b sends one heartbeat, which the runtime answers; then its connection is as good as cut.
  assert.deepEqual(await ask(b, '{"type":"heartbeat"}'), { type: 'ack' })
  assert.deepEqual(await next(a), { type: 'peer_left', room: 'r', peer_id: 'b' })
  assert.equal((await b.closed).code, 1001)
  assert.equal((await ask(c, join('r', 'c'))).type, 'joined', 'a never said that it would beat, so it stays')
})

test('S19: a peer that does not take what it is sent is closed with 1013, and slows nobody', async () => {
  for (const open of [direct, relayed]) {
    const room = newRoom()
    const [a, b, slow] = [await peer(open, room, 'a'), await peer(open, room, 'b'), await peer(open, room, 'slow')]
    slow.ws.pause()
    let left = false
    const flood = (async () => {
      // 60 kB, a little under 50 times a second: within the budget, and more than any buffer on the way.
      while (!left) {
        a.send(offer(room, 'slow', 'x'.repeat(60_000)))
        await new Promise((resolve) => setTimeout(resolve, 22))
      }
    })()
    await b.next({ type: 'peer_left', peer_id: 'slow' }, { timeout: 60_000 })
    left = true
    await flood
    slow.ws.resume()
    assert.equal((await slow.closed).code, 1013)
    assert.deepEqual(b.all({ type: 'peer_left' }).length, 1)
  }
})

test('X05-X08: in verified mode signaling needs a proof, in either form', async () => {
  const strict = await startService({ env: { AUTH_MODE: 'verified', INVITE_API_KEY: 'key' } })
  for (const query of ['', '?did=did:plc:a', '?room=r&did=did:plc:a']) {
    await assert.rejects(strict.connect(`/api/webrtc/signal${query}`), { status: 401 })
  }
  assert.equal((await iceServers(strict)).status, 401)
  const vouched = await strict.fetchJson('/api/authentication', {
    method: 'POST',
    headers: { authorization: 'Bearer key' },
    body: JSON.stringify({ did: 'did:plc:a' }),
  })
  assert.equal(vouched.status, 200)
  const protocols = ['colibri.auth.bearer', vouched.body.token]
  for (const query of ['', '?room=r']) {
    const socket = await strict.connect(`/api/webrtc/signal${query}`, { protocols })
    assert.equal(socket.ws.protocol, 'colibri.auth.bearer', 'X06')
    assert.equal((await ask(socket, join('r', `a${query}`))).type, 'joined')
  }
  assert.equal((await iceServers(strict, `room=r&auth=${encodeURIComponent(vouched.body.token)}`)).status, 200)
  const mine = await strict.connect('/api/webrtc/signal', { protocols })
  for (const name of ['did:plc:b', 'did:plc:b#phone', 'did:plc:ab']) {
    assert.match((await ask(mine, join('lobby', name))).message, /^Invalid signal: peer_id/, `S12: not under the DID of another: ${name}`)
  }
  assert.equal((await ask(mine, join('lobby', 'did:plc:a#phone'))).type, 'joined')
  const again = await strict.connect('/api/webrtc/signal', { protocols })
  assert.equal((await ask(again, join('lobby', 'did:plc:a#phone'))).type, 'joined', 'S12: a proof is enough to have the name again')
  assert.equal((await mine.closed).code, 1008)
  await assert.rejects(strict.connect('/api/webrtc/signal?did=did:plc:b', { protocols }), { status: 403 })
  await assert.rejects(service.connect('/api/webrtc/signal?auth=nonsense'), { status: 401 }, 'X07: in both modes')
  await assert.rejects(service.connect('/api/webrtc/signal?did=nonsense'), { status: 422 })
})

const iceServers = (of, query = 'room=r') => of.fetchJson(`/api/webrtc/ice-servers?${query}`)
/** A query by somebody who is in the room with that name. */
async function joinRoom(of, room) {
  const secret = 'a secret of this test'
  const socket = await of.connect(`/api/webrtc/signal?room=${room}`)
  assert.equal((await ask(socket, { ...join(room, 'p'), secret })).type, 'joined')
  return new URLSearchParams({ room, peer_id: 'p', secret }).toString()
}
const maxAge = ({ headers }) => Number(/^private, max-age=(\d+)$/.exec(headers.get('cache-control'))[1])

test('S22: ICE servers: a fixed list, and credentials for callers that end after the answer does', async () => {
  const plain = await iceServers(service)
  assert.deepEqual(
    [plain.status, plain.body],
    [200, { ice_servers: [{ urls: ['stun:stun.cloudflare.com:3478'] }], relay_only: false, expires_at: null }],
  )
  for (const query of ['', 'room=', `room=${'x'.repeat(257)}`, 'room=r&did=nobody']) {
    const { status, body } = await iceServers(service, query)
    assert.deepEqual([status, body.error], [422, 'InvalidRequest'], query)
  }
  const servers = [{ urls: 'turn:turn.example', username: 'u', credential: 'c' }]
  const own = await startService({
    env: {
      ICE_SERVERS: JSON.stringify(servers),
      TURN_URLS: 'turn:turn.example:3478?transport=udp, turns:turn.example:443?transport=tcp',
      TURN_SECRET: 'north',
      TURN_TTL_SECS: '60',
      ICE_POLICY: 'members',
    },
  })
  const before = Math.floor(Date.now() / 1000)
  const inRoom = await joinRoom(own, 'r')
  for (const query of ['room=r', 'room=r&did=did:plc:bob', 'room=other', inRoom.replace('secret=a', 'secret=b'), inRoom.replace('room=r', 'room=s')]) {
    const { status, body } = await iceServers(own, query)
    assert.deepEqual([status, body], [200, { ice_servers: [], relay_only: true, expires_at: null }], `nothing for passers-by: ${query}`)
  }
  const answer = await iceServers(own, `${inRoom}&did=did:plc:bob`)
  const [fixed, shared] = answer.body.ice_servers
  assert.deepEqual(fixed, { urls: ['turn:turn.example'], username: 'u', credential: 'c' })
  assert.deepEqual(shared.urls, ['turn:turn.example:3478?transport=udp', 'turns:turn.example:443?transport=tcp'])
  const [, ends, id] = /^(\d+):(.+)$/.exec(shared.username)
  assert.equal(id, 'did:plc:bob')
  assert(Number(ends) >= before + 60 && Number(ends) <= Date.now() / 1000 + 60)
  assert.equal(shared.credential, createHmac('sha1', 'north').update(shared.username).digest('base64'))
  assert.equal(Math.floor(Date.parse(answer.body.expires_at) / 1000), Number(ends))
  assert(maxAge(answer) <= 30, 'half of what the credentials live')
  assert.equal(answer.body.relay_only, true, 'a plain room has no members')
  const refused = await eventually(async () => {
    const { status, body, headers } = await iceServers(own, inRoom)
    return status !== 200 && { status, body, wait: Number(headers.get('retry-after')) }
  })
  assert.deepEqual([refused.status, refused.body.error], [429, 'RateLimited'], 'few for an address')
  assert(refused.wait >= 1 && refused.wait <= 60)
  assert.equal((await iceServers(own)).status, 200, 'STUN is for everybody')
})

test('S22: credentials live for minutes where nobody proved anything, for TURN_TTL_SECS where somebody did', async () => {
  const turn = await startService({ env: { ICE_SERVERS: 'none', TURN_URLS: 'turn:turn.example', TURN_SECRET: 'north' } })
  const answer = await iceServers(turn, await joinRoom(turn, 'kitchen'))
  const lives = Date.parse(answer.body.expires_at) - Date.now()
  assert(lives > 590_000 && lives <= 600_000, `${lives}`)
})

test("ICE servers: Cloudflare's TURN service is asked with the key's token; its failure is a 502", async () => {
  const asked = []
  let answer
  const turn = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    asked.push({ method: request.method, url: request.url, authorization: request.headers.authorization, body })
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(JSON.stringify(answer.body))
  })
  await new Promise((resolve) => turn.listen(0, '127.0.0.1', () => resolve(undefined)))
  atEnd(() => turn.close())
  const { port } = /** @type {import('node:net').AddressInfo} */ (turn.address())
  const cloud = await startService({
    env: { ICE_SERVERS: 'none', TURN_KEY_ID: 'k', TURN_KEY_TOKEN: 't', TURN_API_URL: `http://127.0.0.1:${port}/`, TURN_TTL_SECS: '600' },
  })
  const issued = { urls: ['turn:turn.example:3478?transport=udp', 'turn:turn.example:53?transport=udp'], username: 'u', credential: 'c' }
  answer = { status: 201, body: { iceServers: [issued] } }
  assert.deepEqual((await iceServers(cloud)).body.ice_servers, [], 'S22: nobody is asked for a passer-by')
  const inRoom = await joinRoom(cloud, 'r')
  const { status, body } = await iceServers(cloud, inRoom)
  assert.deepEqual([status, body.ice_servers], [200, [{ ...issued, urls: ['turn:turn.example:3478?transport=udp'] }]])
  assert.deepEqual(asked, [
    { method: 'POST', url: '/v1/turn/keys/k/credentials/generate-ice-servers', authorization: 'Bearer t', body: '{"ttl":600}' },
  ])
  for (const failure of [{ status: 403, body: {} }, { status: 200, body: { nonsense: 1 } }]) {
    answer = failure
    const failed = await iceServers(cloud, inRoom)
    assert.deepEqual([failed.status, failed.body.error], [502, 'UpstreamFailure'])
  }
  assert(!cloud.logs().includes('Bearer'), 'C23')
})
