// A client at ten times each limit is throttled, and the answer says so; what others may do meanwhile is what it was (C14, C15, C26, C33, H14,
// A18, A40, S16, S22). How long others wait meanwhile is no test but `npm run bench:limits`.
//
// Not here, because ten times as much is more than a test may take, or cannot come from this machine: the sockets of one object
// (src/domain/signaling/hall.rs), the number of keys (src/domain/subscriptions.rs), the connections of one address, of which
// loopback addresses are exempt (guard/src/table.rs). How many sockets one DID has is limited by nothing of its own.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { Client } from 'undici'

import { records } from '../network/client.js'
import { COLLECTION } from '../network/records.js'
import { eventually, startService, UpgradeRefused } from './harness.js'
import { garden, openPlace } from './place.js'
import { bearer, vouch } from './tokens.js'

const KEY = 'the key of the tests of limits'
const LIMIT = 60
const TIMES = 10
/** A flood comes in so many parts; others ask beside each of them. */
const PARTS = 10
const READS_BESIDE_A_PART = 4
const ENV = {
  RATE_LIMIT_PER_MIN: String(LIMIT),
  INVITE_API_KEY: KEY,
  TOKEN_SECRET: 'what signs the tokens of the tests of limits',
  TRUSTED_PROXIES: '127.0.0.1',
}
const BANS = '/api/community/bans?community=at://did:plc:o/social.colibri.community/c'
const ACK = { type: 'ack', message: '' }
const error = (message) => ({ type: 'error', message })
const onLinux = { skip: process.platform === 'linux' ? false : 'the guard is for Linux' }

let addresses = 0
/** An address that nobody had before. */
const somewhere = () => `2001:db8:${(++addresses).toString(16)}::1`
const from = (address, headers = {}) => ({ headers: { 'x-forwarded-for': address, ...headers } })
/** What a bucket gives out at most: all that it holds, and what came back since, a token more for the moment of the question. */
const most = (capacity, perMinute, since) => capacity + Math.ceil(((performance.now() - since) / 60_000) * perMinute) + 1

/**
 * Does `one` `count` times in parts, and has somebody else read beside each part: all of that is answered, from a budget that they
 * alone spend.
 * @param {{ service: import('./harness.js').Service, limit?: number,
 *   read?: (headers: Record<string, string>) => Promise<{ status: number, left: number }> }} at
 */
async function beside({ service, limit = LIMIT, read }, count, one) {
  const address = somewhere()
  const reads =
    read ??
    (async (headers) => {
      const answer = await service.fetch('/api/server', { headers })
      await answer.arrayBuffer()
      return { status: answer.status, left: Number(answer.headers.get('ratelimit-remaining')) }
    })
  const done = []
  for (let part = 0, asked = 0; part < PARTS; part++) {
    const flood = Promise.all(Array.from({ length: count / PARTS }, (_, n) => one((part * count) / PARTS + n)))
    for (let n = 0; n < READS_BESIDE_A_PART; n++) {
      const { status, left } = await reads({ 'x-forwarded-for': address })
      asked += 1
      assert.equal(status, 200, 'somebody else reads')
      assert(left >= limit - asked && left < limit, `they have ${left} left after ${asked}`)
    }
    done.push(...(await flood))
  }
  return done
}

/** How many of these answers were accepted; each of the others must say how it may go on. */
function letIn(answers, { status = 200, limit = LIMIT } = {}) {
  for (const answer of answers) {
    if (answer.status === status) continue
    assert.deepEqual([answer.status, answer.body?.error], [429, 'RateLimited'], JSON.stringify(answer.body))
    const said = (name) => Number(answer.headers.get(name))
    assert.deepEqual([said('ratelimit-limit'), said('ratelimit-remaining')], [limit, 0])
    for (const name of ['ratelimit-reset', 'retry-after'])
      assert(Number.isInteger(said(name)) && said(name) >= 1 && said(name) <= 60, `${name}: ${said(name)}`)
  }
  return answers.filter((answer) => answer.status === status).length
}

let service
before(async () => {
  service = await startService({ env: ENV })
})

test('C14 H14: an address at ten times its limit', async () => {
  const address = somewhere()
  const since = performance.now()
  const answers = await beside({ service }, LIMIT * TIMES, () => service.fetchJson('/api/server', from(address)))
  const got = letIn(answers)
  assert(got >= LIMIT && got <= most(LIMIT, LIMIT, since), `${got} of ${answers.length}`)
})

test('C14: a person at ten times their limit, from as many addresses', async () => {
  const token = await vouch(service, KEY, 'did:plc:o')
  const since = performance.now()
  const used = []
  const answers = await beside({ service }, LIMIT * TIMES, () => {
    used.push(somewhere())
    return service.fetchJson(BANS, from(used.at(-1), bearer(token)))
  })
  const got = letIn(answers)
  assert(got >= LIMIT && got <= most(LIMIT, LIMIT, since), `${got} of ${answers.length}`)
  const neighbour = await service.fetchJson('/api/server', from(used[0]))
  assert.equal(neighbour.headers.get('ratelimit-remaining'), String(LIMIT - 1), 'what the person was accepted for cost no address anything')
  const other = await service.fetchJson(BANS, from(somewhere(), bearer(await vouch(service, KEY, 'did:plc:other'))))
  assert.equal(other.status, 403, 'somebody else is judged, not throttled')
})

test('C14: many people behind one address, one of whom floods without a proof', async () => {
  const school = somewhere()
  const since = performance.now()
  const flood = () => service.fetchJson('/api/server', from(school))
  const got = letIn(await beside({ service }, LIMIT * TIMES, flood))
  assert(got >= LIMIT && got <= most(LIMIT, LIMIT, since))
  const pupils = await Promise.all(['ann', 'ben', 'cat'].map((name) => vouch(service, KEY, `did:plc:${name}`)))
  const drained = async () => assert.equal((await flood()).status === 429 || (await flood()).status === 429, true, 'the address has nothing left')
  for (const token of pupils) {
    for (const path of ['/api/server', '/api/messages?channel=k', BANS.replace('did:plc:o', 'did:plc:else')]) {
      await drained()
      const { status, headers } = await service.fetchJson(path, from(school, bearer(token)))
      assert.equal(status, path.startsWith('/api/community') ? 403 : 200, path)
      assert(Number(headers.get('ratelimit-remaining')) >= LIMIT - 10, 'from their own')
    }
    await drained()
    const socket = await service.connect(`/api/subscribe?auth=${encodeURIComponent(token)}`, from(school))
    assert.deepEqual(await socket.request({ action: 'set_state', state: 'away' }), ACK)
    await socket.close()
  }
  // A proof that fails helps nobody, and soon is not verified.
  for (const proof of ['a.b.c', `${pupils[0].slice(0, -4)}AAAA`]) {
    await drained()
    const answers = []
    for (let n = 0; n < LIMIT; n++) answers.push(await service.fetchJson('/api/server', from(school, bearer(proof))))
    assert(letIn(answers) <= most(0, LIMIT, since), 'what the address had back, and no more')
  }
})

test('C14: pupils of one address open their own sockets', async () => {
  const [limit, atOnce] = [1200, 40]
  const school = somewhere()
  const service = await startService({ env: { ...ENV, RATE_LIMIT_PER_MIN: String(limit) } })
  const open = (token) =>
    service.connect(`/api/subscribe${token ? `?auth=${encodeURIComponent(token)}` : ''}`, from(school)).then(
      async (socket) => (await socket.close(), 101),
      (refused) => refused.status,
    )
  const opened = async (token) => {
    const statuses = []
    for (let n = 0; n < atOnce + 20; n++) statuses.push(await open(token))
    assert(statuses.every((status) => status === 101 || status === 429), statuses.join())
    return statuses.filter((status) => status === 101).length
  }
  for (const name of ['ann', 'ben']) assert((await opened(await vouch(service, KEY, `did:plc:${name}`))) >= atOnce, name)
  assert((await opened()) >= atOnce, 'and the address has its own')
  await service.stop()
})

test('C14 H14: the API key has no limit and spends no address’s; a wrong one does', async () => {
  const address = somewhere()
  const answers = await beside({ service }, LIMIT * TIMES, () => service.fetchJson(BANS, from(address, bearer(KEY))))
  for (const { status, headers } of answers) assert.deepEqual([status, headers.get('ratelimit-limit')], [200, null])
  assert.equal((await service.fetchJson('/api/server', from(address))).headers.get('ratelimit-remaining'), String(LIMIT - 1))
  const since = performance.now()
  const guesses = await beside({ service }, LIMIT * TIMES, (n) => service.fetchJson(BANS, from(address, bearer(`a guess, ${n}`))))
  const got = letIn(guesses, { status: 401 })
  assert(got >= LIMIT - 1 && got <= most(LIMIT, LIMIT, since), `${got} of ${guesses.length} guesses were verified`)
})

test('C14: an address that opens ten times its sockets', async () => {
  // A tenth of the requests, a third of that at once; what is asked for below is within the requests.
  const [limit, perMinute, atOnce] = [1200, 120, 40]
  const service = await startService({ env: { ...ENV, RATE_LIMIT_PER_MIN: String(limit) } })
  const address = somewhere()
  const open = async (where, path = '/api/subscribe') => {
    try {
      const socket = await service.connect(path, from(where))
      return { status: 101, socket }
    } catch (refused) {
      if (!(refused instanceof UpgradeRefused)) throw refused
      return { status: refused.status, body: refused.body, headers: new Headers(refused.headers) }
    }
  }
  const paths = ['/api/subscribe', '/api/webrtc/signal?room=r', '/api/subscribe?community=at://did:plc:o/social.colibri.community/c']
  const since = performance.now()
  const answers = await beside({ service, limit }, atOnce * TIMES, (n) => open(address, paths[n % paths.length]))
  const opened = answers.filter(({ status }) => status === 101)
  assert(opened.length >= atOnce && opened.length <= most(atOnce, perMinute, since), `${opened.length} of ${answers.length}`)
  for (const { status, body, headers } of answers.filter(({ socket }) => !socket)) {
    assert.deepEqual([status, body.error], [429, 'RateLimited'])
    assert(Number(headers.get('retry-after')) >= 1 && headers.get('ratelimit-limit'), 'it says how to go on')
  }
  assert.equal((await open(somewhere())).status, 101, 'somebody else')
  assert.equal((await service.fetch('/api/server', from(address))).status, 200, 'reads have a budget of their own')
  await Promise.all(opened.map(({ socket }) => socket.close()))
  await service.stop()
})

test('C26: ten times as many connections as there may be', onLinux, async () => {
  const most = 60
  const full = await startService({ env: { ...ENV, MAX_CONNECTIONS: String(most) } })
  // One connection, and it has asked: it is never the one to make room.
  const client = new Client(full.url, { pipelining: 1 })
  const read = async (headers) => {
    const { statusCode, headers: got, body } = await client.request({ path: '/api/server', method: 'GET', headers })
    await body.dump()
    return { status: statusCode, left: Number(got['ratelimit-remaining']) }
  }
  try {
    assert.equal((await read({ 'x-forwarded-for': somewhere() })).status, 200)
    const socket = await full.connect('/api/subscribe', from(somewhere()))
    const opened = await beside({ service: full, read }, most * TIMES, () =>
      full.connect('/api/subscribe', from(somewhere())).then(
        (one) => one,
        () => undefined,
      ),
    )
    const held = opened.filter((one) => one !== undefined)
    assert(held.length >= most / 2 && held.length <= most - 2, `${held.length} sockets beside two connections`)
    for (const one of [socket, ...held]) assert.deepEqual(await one.request({ action: 'activity' }), ACK, 'none of them lost its line')
    await Promise.all([socket, ...held].map((one) => one.close()))
  } finally {
    await client.close()
  }
  await full.stop()
})

test('A18: a socket that sends ten times its frames', async () => {
  const burst = 120
  const [loud, quiet] = await Promise.all([1, 2].map(() => service.connect('/api/subscribe', from(somewhere()))))
  await beside({ service }, burst * TIMES, async (n) => {
    if (loud.ws.readyState === loud.ws.OPEN) loud.send({ action: 'activity' })
    if (n % burst === 0) assert.deepEqual(await quiet.request({ action: 'activity' }), ACK, 'another socket of the gateway')
  })
  assert.equal((await loud.closed).code, 1008)
  const acks = loud.frames.filter((frame) => frame.type === 'ack').length
  assert(acks >= burst && acks < burst * TIMES - 600, `${acks} had an effect`)
  const refused = loud.frames.filter((frame) => frame.type === 'error')
  assert(refused.length >= 600 && refused.every(({ message }) => message === 'Rate limit exceeded'), `${refused.length} were refused`)
  await quiet.close()
})

test('A40: a socket that subscribes to ten times what it may hold', async () => {
  const roomy = await startService({ env: { ...ENV, WS_RATE: '100000', WS_BURST: '100000', GATEWAY_SHARDS: '1' } })
  const [greedy, modest] = await Promise.all([1, 2].map(() => roomy.connect('/api/subscribe', from(somewhere()))))
  const kibi = 1024
  const key = (n) => String(n).padEnd(kibi, 'x')
  await beside({ service: roomy }, kibi * TIMES, async (n) => {
    greedy.send({ action: 'subscribe', event_type: 'message', channel: key(n) })
    if (n % kibi === 0) await modest.subscribe({ event_type: 'message', channel: `k${n}` })
  })
  await eventually(() => greedy.frames.length === kibi * TIMES, { what: 'a reply to each' })
  const subscribed = greedy.frames.filter(({ type }) => type === 'ack').length
  assert(subscribed > kibi / 2 && subscribed <= kibi, `${subscribed} keys of a kibibyte`)
  const refused = greedy.frames.filter(({ type }) => type === 'error')
  assert.deepEqual([...new Set(refused.map(({ message }) => message))], ['Too many subscriptions (max 1048576 bytes)'])
  await greedy.request({ action: 'unsubscribe', event_type: 'message', channel: key(0) })
  await greedy.subscribe({ event_type: 'message', channel: key(kibi * TIMES) })
  await Promise.all([greedy.close(), modest.close()])
  await roomy.stop()
})

test('S16: a peer that sends ten times its frames', async () => {
  const burst = 200
  const rooms = ['loud', 'quiet', 'quiet']
  const [loud, ann, ben] = await Promise.all(rooms.map((room) => service.connect(`/api/webrtc/signal?room=${room}`, from(somewhere()))))
  for (const [peer, room, name] of [[loud, 'loud', 'loud'], [ann, 'quiet', 'ann'], [ben, 'quiet', 'ben']]) {
    peer.send({ type: 'join', room, peer_id: name })
    await peer.next({ type: 'joined' })
  }
  await beside({ service }, burst * TIMES, async (n) => {
    if (loud.ws.readyState === loud.ws.OPEN) loud.send({ type: 'ice', room: 'loud', target_peer_id: 'nobody', candidate: null })
    if (n % burst !== 0) return
    ann.send({ type: 'offer', room: 'quiet', target_peer_id: 'ben', sdp: `offer ${n}` })
    await ben.next({ type: 'offer', from_peer_id: 'ann', sdp: `offer ${n}` })
  })
  assert.equal((await loud.closed).code, 1008)
  const said = (message) => loud.frames.filter((frame) => frame.message === message).length
  const [judged, refused] = [said('Unknown peer: nobody'), said('Rate limit exceeded')]
  assert(judged >= burst && judged < burst * TIMES - 600 && refused >= 600, `${judged} were judged, ${refused} refused`)
  await Promise.all([ann.close(), ben.close()])
})

test('S22: an address that asks for ten times its TURN credentials', async () => {
  const ten = 10
  const env = { ...ENV, RATE_LIMIT_PER_MIN: '600', TURN_URLS: 'turn:127.0.0.1:3478', TURN_SECRET: 'what signs TURN credentials' }
  const turn = await startService({ env })
  const address = somewhere()
  const peer = await turn.connect('/api/webrtc/signal?room=r', from(address))
  const secret = 'a secret of this peer alone'
  peer.send({ type: 'join', room: 'r', peer_id: 'p', secret })
  await peer.next({ type: 'joined' })
  const path = `/api/webrtc/ice-servers?room=r&peer_id=p&secret=${encodeURIComponent(secret)}`
  const since = performance.now()
  const answers = []
  for (let n = 0; n < ten * TIMES; n++) answers.push(await turn.fetchJson(path, from(address)))
  const got = answers.filter(({ status }) => status === 200)
  assert(got.length >= ten && got.length <= most(ten, ten, since), `${got.length} of ${answers.length}`)
  assert(got.every(({ body }) => body.ice_servers.some(({ credential }) => credential)), 'each of them has credentials')
  for (const { status, body, headers } of answers.filter(({ status }) => status !== 200))
    assert.deepEqual([status, body.error, Number(headers.get('retry-after')) >= 1, headers.has('ratelimit-limit')], [429, 'RateLimited', true, true])
  assert.equal((await turn.fetchJson('/api/webrtc/ice-servers?room=r', from(address))).status, 200, 'servers without credentials')
  assert.equal((await turn.fetch('/api/server', from(address))).status, 200)
  await peer.close()
  await turn.stop()
})

test('C33 K17: an author at ten times the points', async () => {
  // A membership, and 40 creates.
  const creates = 40
  const place = await openPlace({ serve: false })
  const env = { ...place.settings.env, ...ENV, INGEST_POINTS_HOUR: String(3 + 3 * creates), INGEST_POINTS_DAY: '0' }
  const reading = await startService({ ...place.settings, env })
  /** The key has no budget. */
  const seen = (path) => reading.fetchJson(path, { headers: bearer(KEY) })
  const health = async () => (await seen('/api/health')).body.ingest
  await eventually(async () => (await health()).connected, { what: 'the stream to be connected' })
  const { bob, community, channel } = await garden(place)
  const carol = await place.network.createAccount('carol')
  await carol.membership(community.uri)
  const members = `/api/members?community=${encodeURIComponent(community.uri)}`
  await eventually(async () => (await seen(members)).body.length === 3, { what: 'the members' })
  const isRead = async () => (await seen(`/api/sync?did=${carol.did}`)).body.status === 'synced'
  await eventually(isRead, { what: 'the repository to be read, so that only the stream brings more' })

  const many = 10
  await beside({ service: reading }, (creates * TIMES) / many, async (n) => {
    const texts = Array.from({ length: many }, (_, m) => records.message(channel.rkey, `flood ${n} ${m}`))
    await carol.createMany(COLLECTION.message, texts)
    if (n % many === 0) await bob.message(channel.rkey, `bob ${n}`)
  })
  const messages = `/api/messages?channel=${encodeURIComponent(channel.uri)}&all=1`
  const bobs = async () => (await seen(messages)).body.filter(({ author_did: author }) => author === bob.did).length
  await eventually(async () => (await bobs()) === (creates * TIMES) / many / many, { what: "bob's messages" })
  await eventually(async () => (await health()).left_out === creates * TIMES - creates, { what: 'the rest to be left out' })
  assert.deepEqual((await health()).deferred.map(({ did }) => did), [carol.did])
})
