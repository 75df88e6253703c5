// The writes of REST (R03, R08, R09, R16–R19), on the real runtime: permissions, answers, and published events.

import assert from 'node:assert/strict'
import { globSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { before, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'

import { atEnd, eventually, startService } from './harness.js'
import { answers, garden, openPlace } from './place.js'

const KEY = 'the key of the tests'
const SECRET = 'what signs the tokens of these tests'
const headers = { authorization: `Bearer ${KEY}` }
/** A community that nobody has. */
const NOWHERE = 'at://did:plc:nobody/social.colibri.community/x'
const JWT = 'eyJhbGciOiJFUzI1NksifQ.eyJpc3MiOiJkaWQ6cGxjOmEifQ.c2ln'

let place, people, service, community, channel
before(async () => {
  place = await openPlace({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: SECRET } })
  service = place.service
  people = await garden(place)
  ;({ community, channel } = people)
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
})

/** A guarded call; a body that is not a string is sent as JSON, and as text, as the web client does (W15). */
const ask = (method, path, body) =>
  service.fetchJson(path, {
    method,
    headers: { ...headers, 'content-type': 'text/plain' },
    body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
  })
const ban = (did, uri = community.uri) => ask('POST', '/api/community/ban', { community_uri: uri, member_did: did })
const unban = (did, uri = community.uri) => ask('DELETE', `/api/community/ban?community=${uri}&member_did=${did}`)
const block = (did, rkey) => ask('POST', `/api/message/block?author_did=${did}&rkey=${rkey}`)
const create = (fields) => ask('POST', '/api/invite', { community_uri: community.uri, owner_did: people.alice.did, ...fields })
const use = (code) => ask('POST', `/api/invite/${code}/use`)

async function refused(answer, status, error, sentence, why) {
  const { status: got, body, headers } = await answer
  assert.deepEqual([got, body.error], [status, error], `${why ?? ''} ${JSON.stringify(body)}`)
  assert.match(body.message, sentence, why)
  assert.match(headers.get('content-type'), /^application\/json/)
}
async function done(answer, why) {
  const { status, body } = await answer
  assert.deepEqual([status, body], [204, undefined], why)
}

/** A socket that subscribes to the community and its channel. */
async function listen(cursor) {
  const socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'message', channel: channel.uri })
  await socket.subscribe({ event_type: 'community', community_uri: community.uri, ...(cursor === undefined ? {} : { cursor }) })
  return socket
}

const GUARDED = [
  ['POST', '/api/message/block'],
  ['POST', '/api/community/ban'],
  ['DELETE', '/api/community/ban'],
  ['GET', '/api/community/bans'],
  ['GET', '/api/invites'],
  ['POST', '/api/authentication'],
  ['POST', '/api/invite'],
  ['DELETE', '/api/invite/0f3a9c51d2e84b76'],
  ['POST', '/api/invite/0f3a9c51d2e84b76/use'],
]

test('X01, X02, H03: no key configured, no key sent, a wrong one, a token', async () => {
  const open = await startService()
  for (const [method, path] of GUARDED) {
    const why = `${method} ${path}`
    const to = (service, authorization, init = {}) =>
      service.fetchJson(path, { method, headers: authorization === undefined ? {} : { authorization }, ...init })
    for (const authorization of [undefined, 'Bearer ', `Bearer ${KEY}`, `Bearer ${JWT}`]) {
      await refused(to(open, authorization), 500, 'NotConfigured', /API key/, `${why}: X02`)
    }
    for (const authorization of [undefined, KEY, 'Bearer', `bearer ${KEY}`, `Basic ${KEY}`, `Bearer ${KEY}x`, `Bearer ${JWT}`]) {
      const answer = to(service, authorization)
      await refused(answer, 401, 'AuthRequired', /./, `${why} with ${authorization}: 401 beats 422`)
      assert.equal((await answer).headers.get('www-authenticate'), 'Bearer')
    }
    if (method === 'POST') {
      await refused(to(service, undefined, { body: 'x'.repeat(100_000) }), 401, 'AuthRequired', /./, `${why}: 401 beats 413`)
      const put = await service.fetchJson(path, { method: 'PUT' })
      assert.equal(put.status, 405, `${why}: 405 beats 401`)
    }
  }
})

test('R03: a blocked message is gone at once, for good, and the event comes once', async () => {
  const { bob } = people
  const socket = await listen()
  const { rkey } = await bob.message(channel.rkey, 'block me')
  await socket.next({ type: 'message', rkey })
  const path = `/api/message?author=${bob.did}&rkey=${rkey}`
  await done(block(bob.did, rkey))
  assert.equal((await service.fetch(path)).status, 404, 'H11: a read after the answer sees the write')
  const event = await socket.next({ type: 'message_deleted', rkey })
  assert.deepEqual(
    [event.author_did, event.channel, event.community_uri, event.channel_uri, event.live],
    [bob.did, channel.rkey, community.uri, channel.uri, true],
    'E02',
  )
  await refused(block(bob.did, rkey), 404, 'NotFound', /blocked/)
  await bob.delete('social.colibri.message', rkey)
  await bob.create('social.colibri.message', { text: 'again', channel: channel.rkey, createdAt: new Date().toISOString() }, rkey)
  const later = await bob.message(channel.rkey, 'later')
  await socket.next({ type: 'message', rkey: later.rkey })
  assert.equal((await service.fetch(path)).status, 404, 'B-12: also when it is written again')
  assert.equal(socket.all({ rkey }).length, 2, 'one message, one message_deleted')

  await refused(block(bob.did, 'unknown'), 404, 'NotFound', /message/)
  for (const query of ['', `?author_did=${bob.did}`, '?rkey=x', `?author_did=bob&rkey=x`, `?author_did=${bob.did}&rkey=a/b`]) {
    await refused(ask('POST', `/api/message/block${query}`), 422, 'InvalidRequest', /author_did|rkey/, query)
  }
})

test('R08, R09: a ban and its lifting are published once each, also to clients that resume', async () => {
  const carol = await place.network.createAccount('carol')
  const socket = await listen()
  const membership = await carol.membership(community.uri)
  const joined = await socket.next({ type: 'member_pending', member_did: carol.did })
  const early = await carol.message(channel.rkey, 'early')
  await socket.next({ type: 'message', rkey: early.rkey })

  // Two at once: one of them is new.
  await Promise.all([done(ban(carol.did)), done(ban(carol.did))])
  const members = await service.fetchJson(`/api/members?community=${community.uri}`)
  assert(!members.body.some((member) => member.member_did === carol.did), 'H11, R14')
  const left = await socket.next({ type: 'member_left', member_did: carol.did })
  assert.equal(left.live, true)
  await done(ban(carol.did), 'idempotent')
  const refusedMessage = await carol.message(channel.rkey, 'let me')
  await carol.delete('social.colibri.membership', membership.rkey)
  const again = await carol.membership(community.uri)
  const { rkey } = await people.bob.message(channel.rkey, 'after all that')
  await socket.next({ type: 'message', rkey })

  await done(unban(carol.did))
  const back = await socket.next({ type: 'member_joined', member_did: carol.did })
  assert.deepEqual([back.membership_uri, back.live], [again.uri, true], 'R09: an open community')
  await refused(unban(carol.did), 404, 'NotFound', /not banned/)
  const welcome = await carol.message(channel.rkey, 'back')
  await socket.next({ type: 'message', rkey: welcome.rkey })

  const received = socket.all((event) => event.seq > joined.seq).map(({ type, seq }) => ({ type, seq }))
  assert.deepEqual(
    received.map(({ type }) => type),
    ['message', 'member_left', 'message', 'member_joined', 'message'],
    'B-17: nothing else of a banned person, and nothing twice',
  )
  const resumed = await listen(joined.seq)
  await resumed.next({ type: 'resumed' })
  const replayed = resumed.events.filter(({ type }) => type !== 'resumed')
  assert.deepEqual(
    replayed.map(({ type, seq }) => ({ type, seq })),
    received,
    'Q02: once each, in order',
  )
  assert(replayed.every((event) => event.live === false))
  assert.equal((await service.fetch(`/api/message?author=${carol.did}&rkey=${refusedMessage.rkey}`)).status, 404, 'G2')
  assert.equal((await service.fetch(`/api/message?author=${carol.did}&rkey=${early.rkey}`)).status, 200, 'G8')
})

test('R09: a person who returns to an approval community is published with their status', async () => {
  const dora = await place.network.createAccount('dora')
  const closed = await people.alice.community({ name: 'Closed', requiresApprovalToJoin: true })
  const socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'community', community_uri: closed.uri })
  const received = async (type, member_did) => (await socket.next({ type, member_did, community_uri: closed.uri })).seq
  const membership = await dora.membership(closed.uri)
  await received('member_pending', dora.did)
  await done(ban(dora.did, closed.uri))
  const left = await received('member_left', dora.did)
  await done(unban(dora.did, closed.uri))
  const pending = await eventually(() => socket.all({ type: 'member_pending', member_did: dora.did })[1])
  assert(pending.seq > left && pending.membership_uri === membership.uri)
  const status = async () =>
    (await service.fetchJson(`/api/members?community=${closed.uri}`)).body.find(({ member_did }) => member_did === dora.did)?.status
  assert.equal(await status(), 'pending', 'H11: as the list has it')

  await people.alice.approval(membership.uri, closed.uri)
  await received('member_joined', dora.did)
  await done(ban(dora.did, closed.uri))
  await eventually(() => socket.all({ type: 'member_left', member_did: dora.did }).length === 2)
  await done(unban(dora.did, closed.uri))
  await eventually(() => socket.all({ type: 'member_joined', member_did: dora.did }).length === 2)
  assert.equal(await status(), 'approved')
  await socket.close()
})

test('R08, R09: what is refused, and bans of what is not known', async () => {
  await refused(ban(people.alice.did), 422, 'InvalidRequest', /member_did.*owner/, 'B-17')
  await done(ban('did:plc:stranger', NOWHERE), 'a community that is not known')
  await done(unban('did:plc:stranger', NOWHERE))
  await refused(unban('did:plc:stranger', NOWHERE), 404, 'NotFound', /banned/)
  await refused(unban('did:plc:stranger', 'at://garbage'), 404, 'NotFound', /banned/)
  for (const [body, status, sentence] of [
    ['', 400, /JSON/],
    ['{"community_uri":', 400, /JSON/],
    ['[]', 422, /object/],
    [{}, 422, /community_uri/],
    [{ community_uri: community.uri }, 422, /member_did/],
    [{ community_uri: 'garden', member_did: 'did:plc:x' }, 422, /community_uri/],
    [{ community_uri: channel.uri, member_did: 'did:plc:x' }, 422, /community_uri/],
    [{ community_uri: community.uri, member_did: 'bob' }, 422, /member_did/],
    [{ community_uri: [community.uri], member_did: 'did:plc:x' }, 422, /community_uri/],
  ]) {
    await refused(ask('POST', '/api/community/ban', body), status, 'InvalidRequest', sentence, JSON.stringify(body))
  }
  for (const query of ['', `?community=${community.uri}`, `?member_did=did:plc:x`, `?community=x&member_did=did:plc:x`]) {
    await refused(ask('DELETE', `/api/community/ban${query}`), 422, 'InvalidRequest', /community|member_did/, query)
  }
})

test('R16–R19: an invite, from the code to its end', async () => {
  const { alice } = people
  const made = await create({ max_uses: 2, unknown: { field: true } })
  assert.equal(made.status, 200)
  assert.deepEqual(Object.keys(made.body), ['code'], 'R17; who breaks: the web client reads it by name')
  const { code } = made.body
  assert.match(code, /^[0-9a-f]{16}$/)
  const shown = await service.fetchJson(`/api/invite/${code}`)
  assert.equal(
    JSON.stringify(shown.body),
    `{"code":"${code}","community_uri":"${community.uri}","created_by_did":"${alice.did}","max_uses":2,"use_count":0,"active":true,` +
      `"community":{"owner_did":"${alice.did}","rkey":"${community.rkey}","name":"Garden","description":"","picture":null,` +
      `"category_order":[],"requires_approval_to_join":false}}`,
    'R16, O08, O04; who breaks: the join page of the web client (W17)',
  )
  await done(use(code))
  await done(use(code))
  await refused(use(code), 410, 'Gone', /invite/, 'exhausted')
  const counted = await service.fetchJson(`/api/invite/${code}`, { headers })
  assert.deepEqual([counted.body.use_count, counted.body.active], [2, true], 'O08: exhausted is active')

  const revoke = (code, owner = alice.did) => ask('DELETE', `/api/invite/${code}?owner_did=${owner}`)
  const unlimited = (await create({ max_uses: null })).body.code
  assert.notEqual(unlimited, code)
  await refused(revoke(unlimited, people.bob.did), 403, 'Forbidden', /owner_did/)
  await done(use(unlimited))
  await done(revoke(unlimited))
  await done(revoke(unlimited), 'R18: also when revoked already')
  await refused(use(unlimited), 410, 'Gone', /revoked/)
  assert.equal((await service.fetchJson(`/api/invite/${unlimited}`)).body.active, false)

  for (const unknown of ['0000000000000000', 'x'.repeat(10_000), '%00', "'%20OR%201=1"]) {
    await refused(service.fetchJson(`/api/invite/${unknown}`), 404, 'NotFound', /invite/)
    await refused(use(unknown), 404, 'NotFound', /invite/)
    await refused(revoke(unknown), 404, 'NotFound', /invite/)
  }
  await refused(ask('DELETE', `/api/invite/${code}`), 422, 'InvalidRequest', /owner_did/)
  await refused(ask('DELETE', `/api/invite/${code}?owner_did=x`), 422, 'InvalidRequest', /owner_did/)
  await refused(create({ owner_did: people.bob.did }), 403, 'Forbidden', /owner/)
  await refused(create({ community_uri: NOWHERE, owner_did: 'did:plc:nobody' }), 403, 'Forbidden', /community/)
  for (const [fields, sentence] of [
    [{ owner_did: undefined }, /owner_did/],
    [{ owner_did: 1 }, /owner_did/],
    [{ community_uri: 'garden' }, /community_uri/],
    [{ community_uri: null }, /community_uri/],
    ...[0, -1, 1.5, '1', true, [], {}, 2 ** 31].map((max_uses) => [{ max_uses }, /max_uses/]),
  ]) {
    await refused(create(fields), 422, 'InvalidRequest', sentence, JSON.stringify(fields))
  }
})

/** Walks a list by cursor, `limit` rows at a time. */
async function walk(path, limit) {
  const rows = []
  for (let cursor = ''; ; ) {
    const answer = await ask('GET', `${path}&limit=${limit}${cursor && `&cursor=${cursor}`}`)
    assert.equal(answer.status, 200, JSON.stringify(answer.body))
    rows.push(...answer.body)
    cursor = answer.headers.get('colibri-cursor')
    if (!cursor) return rows
  }
}

test('R10, R15, H40: lists newest first, whole and in pages', async () => {
  const { alice } = people
  const home = await alice.community({ name: 'Lists', requiresApprovalToJoin: true })
  await answers(service, `/api/community?community=${home.uri}`)
  const codes = []
  for (let n = 0; n < 5; n++) {
    codes.unshift((await create({ community_uri: home.uri, max_uses: n === 0 ? 7 : undefined })).body.code)
    await done(ban(`did:plc:banned${n}`, home.uri))
  }
  await done(ask('DELETE', `/api/invite/${codes[2]}?owner_did=${alice.did}`))
  const bans = `/api/community/bans?community=${home.uri}`
  const invites = `/api/invites?community=${home.uri}`
  const [banned, invited] = [(await ask('GET', bans)).body, (await ask('GET', invites)).body]
  assert.deepEqual(
    banned.map((member) => member.member_did),
    [4, 3, 2, 1, 0].map((n) => `did:plc:banned${n}`),
  )
  assert.equal(
    JSON.stringify(banned[0]),
    '{"member_did":"did:plc:banned4","status":"banned","display_name":null,"avatar_url":null,"banner_url":null,' +
      '"description":null,"handle":null,"status_text":null,"emoji":null,"state":null}',
    'O07; who breaks: the moderation page of the web client',
  )
  assert.deepEqual(
    invited.map(({ code, active }) => [code, active]),
    codes.map((code, n) => [code, n !== 2]),
    'R15: revoked ones included',
  )
  assert.equal(
    JSON.stringify(invited[4]),
    `{"code":"${codes[4]}","community_uri":"${home.uri}","created_by_did":"${alice.did}","max_uses":7,"use_count":0,"active":true}`,
    'O08; who breaks: the invite page of the web client (W17)',
  )
  for (const limit of [1, 2, 5]) {
    assert.deepEqual(await walk(bans, limit), banned)
    assert.deepEqual(await walk(invites, limit), invited)
  }
  for (const path of ['/api/community/bans', '/api/invites']) {
    for (const unknown of [NOWHERE, 'at://garbage']) {
      assert.deepEqual((await ask('GET', `${path}?community=${unknown}`)).body, [], 'an unknown community')
    }
    await refused(ask('GET', path), 422, 'InvalidRequest', /community/)
    await refused(ask('GET', `${path}?community=garden`), 422, 'InvalidRequest', /community/)
    await refused(ask('GET', `${path}?community=${home.uri}&limit=x`), 422, 'InvalidRequest', /limit/)
    await refused(ask('GET', `${path}?community=${home.uri}&cursor=x`), 422, 'InvalidRequest', /cursor/)
  }
})

test('B-22: of 50 uses at once, exactly one is counted', async () => {
  const { code } = (await create({ max_uses: 1 })).body
  const statuses = await Promise.all(Array.from({ length: 50 }, async () => (await use(code)).status))
  assert.equal(statuses.filter((status) => status === 204).length, 1)
  assert.equal(statuses.filter((status) => status === 410).length, 49)
  assert.equal((await service.fetchJson(`/api/invite/${code}`)).body.use_count, 1)
})

test('40 decisions at once: each is made, each is published once', async () => {
  const socket = await listen()
  const { rkey } = await people.bob.message(channel.rkey, 'block me forty times')
  await socket.next({ type: 'message', rkey })
  const strangers = Array.from({ length: 30 }, (_, n) => `did:plc:stranger${n}`)
  const blocks = Array.from({ length: 10 }, () => block(people.bob.did, rkey))
  await Promise.all(strangers.map((did) => done(ban(did))))
  const answered = (await Promise.all(blocks)).map(({ status }) => status).sort()
  assert.deepEqual(answered, [204, ...Array(9).fill(404)], 'R03: one of them was the first')
  for (const member_did of strangers) await socket.next({ type: 'member_left', member_did })
  await socket.next({ type: 'message_deleted', rkey })
  const last = await people.bob.message(channel.rkey, 'the end')
  await socket.next({ type: 'message', rkey: last.rkey })
  assert.equal(socket.all({ type: 'member_left' }).length, strangers.length)
  assert.equal(socket.all({ type: 'message_deleted' }).length, 1)
})

test('I70, B-23: a deleted community takes its invites along for good, and keeps its bans', async () => {
  const { alice } = people
  const other = await alice.community({ name: 'Second', requiresApprovalToJoin: false })
  const known = (status) => answers(service, `/api/community?community=${other.uri}`, status)
  await known(200)
  const { code } = (await create({ community_uri: other.uri })).body
  await done(ban('did:plc:stranger', other.uri))
  await alice.delete('social.colibri.community', other.rkey)
  await known(404)
  await refused(use(code), 410, 'Gone', /community/)
  await refused(service.fetchJson(`/api/invite/${code}`), 404, 'NotFound', /invite/)
  await alice.community({ name: 'Second again', requiresApprovalToJoin: false }, other.rkey)
  await known(200)
  await refused(use(code), 410, 'Gone', /community/)
  const shown = await service.fetchJson(`/api/invite/${code}`)
  assert.deepEqual([shown.body.active, shown.body.community.name], [false, 'Second again'])
  await done(unban('did:plc:stranger', other.uri), 'T10: the ban was still there')
})

test('H08: bodies of every size and kind are answered, and change nothing', async () => {
  const big = 10 * 1024 * 1024
  const valid = JSON.stringify({ community_uri: community.uri, member_did: 'did:plc:hostile' })
  const padded = (length) => valid.slice(0, -1) + ' '.repeat(length - valid.length) + '}'
  await done(ask('POST', '/api/community/ban', padded(64 * 1024)), '64 KiB are allowed')
  await done(unban('did:plc:hostile'))
  const lists = () =>
    Promise.all(['/api/community/bans', '/api/invites'].map(async (path) => (await ask('GET', `${path}?community=${community.uri}`)).body))
  const before = await lists()
  const inChunks = (text) =>
    new ReadableStream({
      start(controller) {
        for (let at = 0; at < text.length; at += 32_768) controller.enqueue(new TextEncoder().encode(text.slice(at, at + 32_768)))
        controller.close()
      },
    })
  for (const [what, body, status, init = {}] of [
    ['one byte too long', padded(64 * 1024 + 1), 413],
    ['10 MB', padded(big), 413],
    ['10 MB without Content-Length', () => inChunks(padded(big)), 413, { duplex: 'half' }],
    ['deep nesting', '['.repeat(30_000) + ']'.repeat(30_000), 422],
    ['deep nesting, open', '['.repeat(60_000), 400],
    ['a NUL', '{"community_uri":"\u0000"}', 400],
    ['an escaped NUL', JSON.stringify({ community_uri: `${community.uri}\u0000`, member_did: 'did:plc:x' }), 422],
    ['a lone surrogate', '{"community_uri":"\\ud800","member_did":"did:plc:x"}', 422],
    ['not UTF-8', new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]), 400],
    ['a field twice', `{"member_did":"did:plc:y",${valid.slice(1)}`, 422],
    ['a form', 'community_uri=x', 400, { headers: { 'content-type': 'application/x-www-form-urlencoded' } }],
    ['an unknown type', '<a/>', 400, { headers: { 'content-type': 'application/x-nonsense; charset=klingon' } }],
    ['10 KB of DID', JSON.stringify({ community_uri: community.uri, member_did: `did:plc:${'a'.repeat(10_000)}` }), 422],
    ['SQL', JSON.stringify({ community_uri: community.uri, member_did: "did:plc:a'; DROP TABLE bans; --" }), 422],
  ]) {
    for (const path of ['/api/community/ban', '/api/invite']) {
      const sent = typeof body === 'function' ? body() : body
      const answer = await service.fetchJson(path, { method: 'POST', body: sent, ...init, headers: { ...headers, ...init.headers } })
      assert.equal(answer.status, status, `${what} to ${path}: ${JSON.stringify(answer.body)}`)
      assert(answer.body.error && answer.body.message, what)
    }
  }
  assert.deepEqual(await lists(), before, 'nothing changed')
})

test('R25, X05–X07: the website vouches for a person, and the token opens sockets', async () => {
  const { alice, bob } = people
  const vouch = (body) => ask('POST', '/api/authentication', body)
  const made = await vouch({ did: bob.did, ttl: 600 })
  assert.equal(made.status, 200)
  assert.deepEqual(Object.keys(made.body), ['ok', 'token', 'expires_at'])
  const left = Date.parse(made.body.expires_at) - Date.now()
  assert(left > 500_000 && left <= 601_000, `${made.body.expires_at}: ten minutes from now`)
  assert.match(made.body.expires_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, 'H10')
  for (const [ttl, seconds] of [[1, 60], [-5, 60], [1e6, 86_400], [undefined, 3600], [null, 3600]]) {
    const { body } = await vouch({ did: bob.did, ttl })
    const wide = Date.parse(body.expires_at) - Date.now() - seconds * 1000
    assert(Math.abs(wide) < 30_000, `ttl ${ttl}: ${body.expires_at}`)
  }
  for (const body of [{}, { did: 'bob' }, { did: bob.did, ttl: 'x' }, { did: bob.did, ttl: 1.5 }, { did: bob.did, ttl: [] }]) {
    await refused(vouch(body), 422, 'InvalidRequest', /did|ttl/, JSON.stringify(body))
  }
  await refused(vouch('{'), 400, 'InvalidRequest', /JSON/)

  const { token } = made.body
  /** A socket with a proof, sent as the web client does, or as a parameter. */
  const bySubprotocol = (proof, query = '') => service.connect(`/api/subscribe${query}`, { protocols: ['colibri.auth.bearer', proof] })
  const byParameter = (proof, query = '?x') => service.connect(`/api/subscribe${query}&auth=${proof}`)
  const named = await bySubprotocol(token, `?did=${bob.did}`)
  assert.equal(named.ws.protocol, 'colibri.auth.bearer', 'X06: the answer echoes only that')
  for (const socket of [await bySubprotocol(token), await byParameter(token), await byParameter(token, `?did=${bob.did}`)]) {
    await socket.subscribe({ event_type: 'user_status' })
  }
  for (const connect of [bySubprotocol, byParameter]) {
    for (const [proof, query, status, why] of [
      ['nonsense', undefined, 401, 'X07: a bad proof'],
      [JWT, undefined, 401, 'X04: a JWT while none can be verified'],
      [`${token.slice(0, -2)}AA`, undefined, 401, 'a token that was bent'],
      [token, `?did=${alice.did}`, 403, 'X07: of another person'],
      ['nonsense', `?did=${alice.did}`, 401, 'bad before other'],
    ]) {
      await assert.rejects(connect(proof, query), (error) => {
        assert.equal(error.status, status, `${why}: ${error.message}`)
        return true
      })
    }
  }

  // The token depends on the secret: a service with another secret refuses it, one with the same accepts it.
  for (const [env, opens] of [
    [{ INVITE_API_KEY: KEY }, false],
    [{ INVITE_API_KEY: KEY, TOKEN_SECRET: 'another' }, false],
    [{ TOKEN_SECRET: SECRET, AUTH_MODE: 'verified' }, true],
  ]) {
    const other = await startService({ env })
    const opened = await other.connect(`/api/subscribe?auth=${token}`).then(
      () => true,
      (error) => error.status !== 401,
    )
    assert.equal(opened, opens, JSON.stringify(env))
    await other.stop()
  }
})

/** Reads the number of rows in the outbox from D1's file, besides the service. */
function openOutbox() {
  const [file] = globSync(join(place.settings.state, 'v3/d1/*/*.sqlite')).filter((path) => !path.endsWith('metadata.sqlite'))
  const database = new DatabaseSync(file, { timeout: 10_000 })
  atEnd(() => database.isOpen && database.close())
  const count = database.prepare('SELECT count(*) AS rows FROM outbox')
  return { rows: () => Number(count.get().rows), close: () => database.close() }
}

test('kill -9 between a commit and its announcement: every decision is published, once', async () => {
  const socket = await listen()
  const { rkey } = await people.bob.message(channel.rkey, 'a mark')
  const { seq } = await socket.next({ type: 'message', rkey })
  const answered = []
  const strangers = []
  let struck = false
  for (let round = 0; round < 10 && !struck; round++) {
    const some = Array.from({ length: 20 }, (_, n) => `did:plc:killed${round}x${n}`)
    strangers.push(...some)
    const outbox = openOutbox()
    for (const did of some) {
      ban(did).then(
        ({ status }) => status === 204 && answered.push(did),
        () => {},
      )
    }
    for (const giveUpAt = Date.now() + 10_000; outbox.rows() === 0 && Date.now() < giveUpAt; ) await setImmediate()
    await service.kill9()
    struck = outbox.rows() > 0
    outbox.close()
    await service.restart()
  }
  assert(struck, 'a kill came between a commit and its announcement')
  await eventually(async () => (await service.fetchJson('/api/health')).body.ingest.connected, { timeout: 20_000 })
  const resumed = await listen(seq)
  await resumed.next({ type: 'resumed' })
  // Every ban was published, and every published ban is in force.
  const { body } = await ask('GET', `/api/community/bans?community=${community.uri}`)
  const banned = body.map((member) => member.member_did).filter((did) => strangers.includes(did))
  for (const member_did of banned) await resumed.next({ type: 'member_left', member_did }, { timeout: 20_000 })
  const received = resumed.all({ type: 'member_left' }).map((event) => event.member_did)
  assert.deepEqual(received.toSorted(), banned.toSorted(), 'each once')
  assert(answered.every((did) => banned.includes(did)), 'what was answered was stored')
})
