// Communities for members only (X40–X44, R45, R46), on the real runtime. A walk through every route and every action of a
// socket, as everybody who may not read such a community, looks for words, names and people of it in every byte. And a history
// in which memberships and the setting change while sockets are open.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, test } from 'node:test'

import { COLLECTION } from '../network/records.js'
import { UpgradeRefused, eventually } from './harness.js'
import { answers, connected, openPlace } from './place.js'

const KEY = 'the key of the tests for members only'
const WORD = 'xyzzy'
const REFUSED = { type: 'error', message: 'This community is for members only' }
const TABLE = JSON.parse(readFileSync(new URL('../../docs/access.json', import.meta.url), 'utf8'))
const OUTSIDE = ['nobody', 'bad', 'stranger', 'pending', 'banned', 'other_owner']
const INSIDE = ['member', 'moderator', 'owner', 'key']

let place, service, people, community, hall, voice, elsewhere, open, secrets
/** The values of names in braces in the table. */
const made = { target: 'did:plc:target', moderator: 'did:plc:moderator' }
const proofs = { nobody: undefined, bad: 'nonsense', key: KEY }

const headers = (caller) => (proofs[caller] === undefined ? {} : { authorization: `Bearer ${proofs[caller]}` })
const ask = (caller, method, path, body) =>
  service.fetchJson(path, { method, headers: headers(caller), body: body === undefined ? undefined : JSON.stringify(body) })
const set = async (on, caller = 'key') => {
  const answer = await ask(caller, 'PUT', '/api/community/members-only', { community_uri: community.uri, members_only: on })
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  return answer.body
}
const as = (caller, query = '') =>
  service.connect(`/api/subscribe?${query}${proofs[caller] === undefined ? '' : `&auth=${encodeURIComponent(proofs[caller])}`}`)
const filled = (text) => text.replace(/\{(\w+)\}/g, (_, name) => made[name])
const status = (caller, path) => service.fetch(path, { headers: headers(caller) }).then((answer) => answer.status)
const ofMembers = (list) => (members) =>
  Object.entries(list).every(([name, of]) => members.some((one) => one.member_did === people[name].did && one.status === of))

before(async () => {
  place = await openPlace({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: 'what signs these tokens', GATEWAY_SHARDS: '1' } })
  service = place.service
  const names = ['owner', 'member', 'hidden', 'pending', 'banned', 'other']
  const accounts = await Promise.all(names.map((name) => place.network.createAccount(`x-${name}`)))
  people = Object.fromEntries(names.map((name, n) => [name, accounts[n]]))
  const { owner, member, hidden, pending, banned, other } = people
  community = await owner.community({ name: 'Closed', description: `about ${WORD}`, requiresApprovalToJoin: true })
  const category = await owner.category({ name: `room ${WORD}`, community: community.rkey })
  hall = await owner.channel({ name: `hall ${WORD}`, type: 'text', community: community.rkey, category: category.rkey })
  voice = await owner.channel({ name: `talk ${WORD}`, type: 'voice', community: community.rkey })
  elsewhere = await other.community({ name: 'Elsewhere', requiresApprovalToJoin: false })
  open = await other.channel({ name: 'yard', type: 'text', community: elsewhere.rkey })
  for (const person of [member, hidden]) {
    const membership = await person.membership(community.uri)
    await owner.approval(membership.uri, community.uri)
  }
  people.waits = await pending.membership(community.uri)
  await banned.membership(community.uri)
  const stand = { owner: 'owner', member: 'approved', hidden: 'approved', pending: 'pending', banned: 'pending' }
  await answers(service, `/api/members?community=${community.uri}`, 200, ofMembers(stand))
  const message = await member.message(hall.rkey, `says ${WORD}`)
  await answers(service, `/api/message?author=${member.did}&rkey=${message.rkey}`)
  await hidden.reaction(message.rkey, '👍')
  const reply = await hidden.message(hall.rkey, `answers ${WORD}`, { parent: message.rkey })
  await answers(service, `/api/message?author=${hidden.did}&rkey=${reply.rkey}`)
  await member.read(voice.uri)
  await answers(service, `/api/reactions?message=${message.rkey}`, 200, (groups) => groups.length === 1)
  await answers(service, `/api/channel-reads?did=${member.did}`, 200, (marks) => marks.length === 1)
  // What people outside answer to it.
  const answer = await other.message(open.uri, 'an answer', { parent: message.uri })
  await answers(service, `/api/message?author=${other.did}&rkey=${answer.rkey}`, 200, (one) => one.parent_message !== null)
  const moderators = { community_uri: community.uri, moderators: [made.moderator] }
  assert.equal((await ask('key', 'PUT', '/api/community/moderators', moderators)).status, 204)
  const ban = { community_uri: community.uri, member_did: banned.did }
  assert.equal((await ask('key', 'POST', '/api/community/ban', ban)).status, 204)
  const { body } = await ask('key', 'POST', '/api/invite', { community_uri: community.uri, owner_did: owner.did })
  Object.assign(made, { community: community.uri, channel: hall.uri, message: message.rkey, code: body.code })
  Object.assign(made, { community_rkey: community.rkey, channel_rkey: hall.rkey })
  Object.assign(made, { owner: owner.did, member: member.did, answer: answer.rkey, other: other.did })
  secrets = { word: WORD, member: hidden.did, channel: voice.rkey }
  const dids = { stranger: 'did:plc:stranger', moderator: made.moderator, other_owner: other.did, hidden: hidden.did }
  for (const name of ['owner', 'member', 'pending', 'banned']) dids[name] = people[name].did
  for (const [caller, did] of Object.entries(dids)) {
    proofs[caller] = (await ask('key', 'POST', '/api/authentication', { did, ttl: 86_400 })).body.token
  }
})

const leaksIn = (text) => Object.keys(secrets).filter((name) => text.includes(secrets[name]))

test('R45, R46: the owner or the key sets it, and it says what it means', async () => {
  const path = `/api/community/members-only?community=${community.uri}`
  assert.equal((await ask('nobody', 'GET', path)).body.members_only, false, 'off by default')
  for (const caller of ['stranger', 'member', 'moderator', 'other_owner']) {
    const refused = await ask(caller, 'PUT', '/api/community/members-only', { community_uri: community.uri, members_only: true })
    assert.equal(refused.status, 403, caller)
  }
  for (const value of [undefined, 1, 'true', null]) {
    const body = { community_uri: community.uri, members_only: value }
    assert.equal((await ask('owner', 'PUT', '/api/community/members-only', body)).status, 422, String(value))
  }
  // Answers that everybody gets are kept by now, and must not be shown any more.
  for (let n = 0; n < 4; n += 1) assert.equal(await status('nobody', `/api/channels?community=${community.uri}`), 200)
  for (let n = 0; n < 4; n += 1) assert.equal(await status('nobody', `/api/messages?channel=${hall.uri}`), 200)
  const said = await set(true, 'owner')
  assert.equal(said.members_only, true)
  assert.match(said.meaning, /shipped web client shows no proof/)
  assert.equal(await status('nobody', `/api/channels?community=${community.uri}`), 401, 'H11')
  assert.equal(await status('nobody', `/api/messages?channel=${hall.uri}`), 401, 'H11')
  assert.deepEqual((await ask('nobody', 'GET', path)).body, said)
  const log = await ask('owner', 'GET', `/api/audit?community=${community.uri}&action=members_only`)
  assert.deepEqual(log.body.map(({ actor, subject }) => [actor, subject]), [[people.owner.did, 'on']], 'X22')
})

test('X41, X42: no route shows anything of it to outsiders, in no byte', async () => {
  const { body: reference } = await service.fetchJson('/openapi.json')
  const routes = Object.entries(reference.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, spec]) => [`${method.toUpperCase()} ${path}`, spec]),
  )
  const { members, some, nothing } = TABLE.members_only
  const listed = [...members, ...some, ...nothing]
  assert.deepEqual(listed.toSorted(), routes.map(([route]) => route).toSorted(), 'every route is in one list')
  let looked = 0
  for (const [route, spec] of routes) {
    const [, query, body] = TABLE.routes[route]
    const [method, path] = route.split(' ')
    const own = spec['x-lxm']?.[0]
    const ways = [[method, filled(path + query)]]
    if (own && !own.endsWith('subscribeEvents') && method === 'GET') ways.push(['GET', filled(`/xrpc/${own}${query}`)])
    for (const caller of OUTSIDE) {
      for (const [how, where] of ways) {
        const response = await service.fetch(where, { method: how, headers: headers(caller), body: body && filled(JSON.stringify(body)) })
        const text = JSON.stringify([...response.headers]) + (await response.text())
        assert.deepEqual(leaksIn(text), [], `${how} ${where} as ${caller}: ${response.status} ${text}`)
        const expected = caller === 'nobody' || caller === 'bad' ? 401 : 403
        if (members.includes(route)) assert.equal(response.status, expected, `${how} ${where} as ${caller}`)
        if (some.includes(route)) assert.equal(response.status, 200, `${how} ${where} as ${caller}`)
        looked += 1
      }
    }
    if (!members.includes(route)) continue
    for (const caller of INSIDE) {
      const response = await service.fetch(filled(path + query), { headers: headers(caller) })
      const text = await response.text()
      assert.equal(response.status, 200, `${route} as ${caller}: ${text}`)
      assert(leaksIn(text).length > 0, `${route} as ${caller}: who may read it reads it: ${text}`)
      assert.equal(response.headers.get('cache-control'), 'private, no-cache', route)
      const again = await service.fetch(filled(path + query), { headers: { 'if-none-match': response.headers.get('etag') } })
      assert.equal(again.status, 401, `${route}: a tag is no proof`)
    }
    // Asked for often enough to be kept, if it could be.
    for (let n = 0; n < 3; n += 1) assert.equal(await status('member', filled(path + query)), 200)
    assert.equal(await status('nobody', filled(path + query)), 401, `${route}: what members got is kept for nobody`)
    assert.equal(await status('stranger', filled(path + query)), 403, `${route}: what members got is kept for nobody`)
  }
  assert(looked > 300, `${looked} answers`)
})

test('X42, X44: what everybody sees of it, of its members, and of answers to it', async () => {
  const { body: shown } = await ask('nobody', 'GET', `/api/community?community=${community.uri}`)
  assert.deepEqual([shown.name, shown.description, shown.category_order], ['Closed', null, null])
  for (const caller of ['member', 'member', 'member', 'nobody', 'nobody', 'nobody', 'member', 'stranger']) {
    const { body: full } = await ask(caller, 'GET', `/api/community?community=${community.uri}`)
    assert.equal(full.description, caller === 'member' ? `about ${WORD}` : null, `${caller}, no matter who asked before`)
  }
  const joined = async (caller) => (await ask(caller, 'GET', `/api/communities?did=${made.member}`)).body.joined.length
  for (const caller of OUTSIDE) assert.equal(await joined(caller), 0, caller)
  assert.deepEqual([await joined('member'), await joined('key'), await joined('owner')], [1, 1, 0])
  const marks = async (caller) => (await ask(caller, 'GET', `/api/channel-reads?did=${made.member}`)).body.length
  assert.deepEqual([await marks('nobody'), await marks('hidden'), await marks('member')], [0, 0, 1])
  const answer = await ask('nobody', 'GET', `/api/message?author=${made.other}&rkey=${made.answer}`)
  assert.deepEqual([answer.status, answer.body.text, answer.body.parent_message], [200, 'an answer', null])
  const all = await service.fetch(`/api/messages?channel=${hall.uri}&all`, { headers: headers('member') })
  assert.equal((await all.json()).length, 2, 'streamed')
  assert.equal(await status('nobody', `/api/messages?channel=${hall.uri}&all`), 401)
})

/** Every request to the events socket that would subscribe a client to it. */
const SUBSCRIBES = () => [
  { action: 'subscribe', event_type: 'community', community_uri: community.uri },
  { action: 'subscribe', event_type: 'community', community_uri: community.uri, cursor: 0 },
  { action: 'subscribe', event_type: 'message', channel: hall.uri },
  { action: 'subscribe', event_type: 'message', channel: hall.rkey },
]

test('X43: no socket of an outsider receives anything of it, by any action', async () => {
  const sockets = {}
  for (const caller of [...OUTSIDE.filter((caller) => caller !== 'bad'), 'claimed']) {
    const socket = caller === 'claimed' ? await as('nobody', `did=${made.member}`) : await as(caller)
    sockets[caller] = socket
    for (const frame of SUBSCRIBES()) assert.deepEqual(await socket.request(frame), REFUSED, `${caller}: ${JSON.stringify(frame)}`)
    await socket.subscribe({ event_type: 'message' })
    await socket.subscribe({ event_type: 'community' })
    for (const action of ['heartbeat', 'activity', 'session', 'set_state', 'dance']) await socket.request({ action, state: 'dnd' })
    const join = { action: 'voice_event', community_uri: community.uri, voice_channel_rkey: voice.rkey }
    assert.equal((await socket.request(join)).type, 'error', caller)
    await socket.request({ action: 'unsubscribe', event_type: 'message', channel: hall.uri })
  }
  for (const [caller, expected] of Object.entries({ nobody: 401, bad: 401, stranger: 403, member: 403 })) {
    const refused = await as(caller, `community=${encodeURIComponent(community.uri)}&cursor=0`).then(() => undefined, (error) => error)
    assert(refused instanceof UpgradeRefused && refused.status === expected, `an observer as ${caller}: ${refused}`)
  }
  const inside = {}
  for (const caller of ['member', 'moderator', 'owner']) {
    inside[caller] = await as(caller)
    for (const frame of SUBSCRIBES()) assert.equal((await inside[caller].request(frame)).type, 'ack', caller)
    await inside[caller].next({ type: 'resumed' })
    assert(leaksIn(JSON.stringify(inside[caller].frames)).length > 0, `${caller} gets the log`)
  }
  const unnamed = await as('member')
  await unnamed.subscribe({ event_type: 'message' })
  await unnamed.subscribe({ event_type: 'community' })

  const watching = await as('hidden')
  const join = { action: 'voice_event', community_uri: community.uri, voice_channel_rkey: voice.rkey }
  assert.deepEqual(await watching.request(join), { type: 'ack', message: '' }, 'with a proof')
  await watching.request({ action: 'set_state', state: 'dnd' })
  await people.hidden.message(hall.rkey, `again ${WORD}`)
  await people.owner.channel({ name: `new ${WORD}`, type: 'text', community: community.rkey })
  for (const socket of Object.values(inside)) {
    await socket.next({ type: 'message', text: `again ${WORD}` })
    await socket.next({ type: 'channel_created', name: `new ${WORD}` })
    await socket.next({ type: 'voice_channel_updated', member_dids: [people.hidden.did] })
    await socket.next({ type: 'user_status_changed', did: people.hidden.did, state: 'dnd' })
  }
  // All are at one gateway, which has published these; what comes later shows that nothing more is on its way.
  await people.other.message(open.rkey, 'the end')
  for (const [caller, socket] of Object.entries({ ...sockets, unnamed })) {
    await socket.next({ type: 'message', text: 'the end' })
    assert.deepEqual(leaksIn(JSON.stringify(socket.frames)), [], `${caller}: ${JSON.stringify(socket.frames)}`)
  }
  for (const socket of [...Object.values(sockets), ...Object.values(inside), unnamed, watching]) await socket.close()
})

test('X43: calls in its voice channels take a proof', async () => {
  const room = voice.uri
  const signal = (query) => service.connect(`/api/webrtc/signal?room=${encodeURIComponent(room)}&${query}`)
  const join = { type: 'join', room, peer_id: made.member }
  const claimed = await signal(`did=${made.member}`)
  claimed.send(join)
  await eventually(() => claimed.frames.length === 1)
  assert.deepEqual(claimed.frames, [{ type: 'error', message: 'Not allowed in this voice channel' }])
  const ice = (query) => service.fetch(`/api/webrtc/ice-servers?room=${encodeURIComponent(room)}&${query}`).then(({ status }) => status)
  assert.equal(await ice(`did=${made.member}`), 401)
  assert.equal(await ice(`auth=${proofs.stranger}`), 403)
  assert.equal(await ice(`auth=${proofs.member}`), 200)
  const proven = await signal(`auth=${proofs.member}`)
  proven.send(join)
  assert.equal((await proven.next({ type: 'joined' })).peer_id, made.member)
  await set(false)
  const late = await signal(`did=${people.hidden.did}`)
  late.send({ type: 'join', room, peer_id: people.hidden.did })
  await late.next({ type: 'joined' })
  await set(true)
  assert.equal((await late.closed).code, 1008, 'nobody proved to be there')
  await proven.next({ type: 'peer_left', peer_id: people.hidden.did })
  for (const socket of [claimed, proven]) await socket.close()
})

test('X43: memberships and the setting change while sockets are open', async () => {
  await set(false)
  const sockets = { anybody: await as('nobody'), pending: await as('pending'), member: await as('member'), owner: await as('owner') }
  const observer = await as('nobody', `community=${encodeURIComponent(community.uri)}`)
  const listen = async (name) => {
    await sockets[name].subscribe({ event_type: 'community', community_uri: community.uri })
    await sockets[name].subscribe({ event_type: 'message', channel: hall.uri })
  }
  for (const name of Object.keys(sockets)) await listen(name)
  /** The owner says something, and then something in a place that all receive; who received the first? */
  const heardBy = async (text) => {
    await people.owner.message(hall.rkey, text)
    await sockets.owner.next({ type: 'message', text })
    await people.other.message(open.rkey, `after ${text}`)
    const names = []
    for (const [name, socket] of Object.entries(sockets)) {
      await socket.next({ type: 'message', text: `after ${text}` })
      if (socket.all({ type: 'message', text }).length === 1) names.push(name)
    }
    return names
  }
  for (const socket of Object.values(sockets)) await socket.subscribe({ event_type: 'message', channel: open.uri })
  const ended = (name) => sockets[name].next({ type: 'subscription_ended', community_uri: community.uri })
  assert.deepEqual(await heardBy('one'), ['anybody', 'pending', 'member', 'owner'])
  await observer.next({ type: 'message', text: 'one' })

  await set(true)
  await Promise.all([ended('anybody'), ended('pending')])
  assert.equal((await observer.closed).code, 1008)
  await sockets.member.next({ type: 'members_only', members_only: true })
  assert.deepEqual(await heardBy('two'), ['member', 'owner'])
  assert.deepEqual(await sockets.pending.request(SUBSCRIBES()[0]), REFUSED)

  const approval = await people.owner.approval(people.waits.uri, community.uri)
  await sockets.owner.next({ type: 'member_joined', member_did: people.pending.did })
  await listen('pending')
  assert.deepEqual(await heardBy('three'), ['pending', 'member', 'owner'])
  await people.owner.delete(COLLECTION.approval, approval.rkey)
  await ended('pending')
  assert.deepEqual(await heardBy('four'), ['member', 'owner'])

  const person = { community_uri: community.uri, member_did: made.member }
  assert.equal((await ask('owner', 'POST', '/api/community/ban', person)).status, 204)
  await ended('member')
  assert.equal(await status('member', `/api/messages?channel=${hall.uri}`), 403)
  assert.deepEqual(await heardBy('five'), ['owner'])
  const lifted = await ask('owner', 'DELETE', `/api/community/ban?community=${community.uri}&member_did=${made.member}`)
  assert.equal(lifted.status, 204)
  await listen('member')
  assert.deepEqual(await heardBy('six'), ['member', 'owner'])
  assert.equal((await ask('owner', 'POST', '/api/community/kick', person)).status, 204)
  await ended('member')
  await sockets.member.next({ type: 'community_deleted', community_uri: community.uri })
  assert.deepEqual(await heardBy('seven'), ['owner'])

  await set(false)
  await listen('anybody')
  assert.deepEqual(await heardBy('eight'), ['anybody', 'owner'])
  for (const { length } of Object.values(sockets).map((socket) => socket.all({ type: 'subscription_ended' }))) assert(length <= 3)
  for (const socket of Object.values(sockets)) await socket.close()
})

test('X43, Q10: a kill right after the answer, and what a socket left behind, open nothing', async () => {
  await set(false)
  const listen = async (socket) => {
    await socket.subscribe({ event_type: 'community', community_uri: community.uri })
    await socket.subscribe({ event_type: 'message', channel: hall.uri })
    await socket.subscribe({ event_type: 'message', channel: open.uri })
  }
  const [pending, hidden, claimed] = [await as('pending'), await as('hidden'), await as('nobody', `did=${people.owner.did}`)]
  for (const socket of [pending, hidden, claimed]) await listen(socket)
  await people.owner.message(hall.rkey, 'everybody receives this')
  for (const socket of [pending, hidden, claimed]) await socket.next({ type: 'message', text: 'everybody receives this' })
  await Promise.all([pending.drop(), hidden.drop(), claimed.drop()])
  const missed = await people.owner.message(hall.rkey, `missed ${WORD}`)
  await answers(service, `/api/message?author=${people.owner.did}&rkey=${missed.rkey}`)
  await set(true)
  await service.kill9()
  await service.restart()
  await connected(service)

  // They say nothing: they are given what they had, and what they missed, as far as they may have it.
  const back = { pending: await as('pending'), hidden: await as('hidden') }
  back.claimed = await as('nobody', `did=${people.owner.did}`)
  await back.hidden.next({ type: 'message', text: `missed ${WORD}` })
  for (const name of ['pending', 'claimed']) {
    await back[name].next({ type: 'subscription_ended', community_uri: community.uri })
  }
  for (const evicts of [false, true]) {
    if (evicts) await service.evict('Community', community.uri)
    await people.hidden.message(hall.rkey, `late ${WORD} ${evicts}`)
    await back.hidden.next({ type: 'message', text: `late ${WORD} ${evicts}` })
    await people.other.message(open.rkey, `the end ${evicts}`)
    for (const [name, socket] of Object.entries(back)) {
      await socket.next({ type: 'message', text: `the end ${evicts}` })
      if (name !== 'hidden') assert.deepEqual(leaksIn(JSON.stringify(socket.frames)), [], JSON.stringify(socket.frames))
    }
  }
  for (const cursor of [0, 1]) {
    assert.deepEqual(await back.pending.request({ ...SUBSCRIBES()[0], cursor }), REFUSED, 'a cursor is no proof')
  }
  assert.deepEqual((await set(true)).members_only, true, 'again, with the same outcome')
  assert.equal(back.hidden.all({ type: 'members_only' }).length, 1, 'published once, though it was set three times over')
  for (const socket of Object.values(back)) await socket.close()
})
