// Who writes, what is on the screen, who is here (A50 to A52, U40 to U43), what answers what (U50), and search (R55), on the real
// runtime with a real PDS: for both clients, and for communities that only members read.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { COLLECTION } from '../network/records.js'
import { eventually } from './harness.js'
import { answers, garden, openPlace } from './place.js'
import { bearer, vouch } from './tokens.js'

const KEY = 'the key of the tests'
const SERVICE = 'did:web:service.test'
const ACK = { type: 'ack', message: '' }
const error = (message) => ({ type: 'error', message })

let place, service, alice, bob, carol, eve, community, hall, pond, quay, lounge, stage
before(async () => {
  const env = { INVITE_API_KEY: KEY, TOKEN_SECRET: 'what signs the tokens', SERVICE_DID: SERVICE, AUTH_MODE: 'mixed', GATEWAY_SHARDS: '8' }
  place = await openPlace({ env })
  service = place.service
  ;({ alice, bob, community, channel: hall } = await garden(place))
  ;[carol, eve] = await Promise.all(['carol', 'eve'].map((name) => place.network.createAccount(name)))
  const inGarden = { community: community.rkey }
  pond = await alice.channel({ name: 'pond', type: 'text', ...inGarden })
  quay = await alice.channel({ name: 'quay', type: 'text', ...inGarden })
  lounge = await alice.channel({ name: 'lounge', type: 'voice', ...inGarden })
  stage = await alice.channel({ name: 'stage', type: 'text', ownerOnly: true, ...inGarden })
  await carol.membership(community.uri)
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 3)
  await answers(service, `/api/channels?community=${community.uri}`, 200, (channels) => channels.length === 5)
})

/** A socket of a person with a proof, which receives these channels. */
async function open(person, ...channels) {
  const socket = await service.connect(`/api/subscribe?auth=${encodeURIComponent(await vouch(service, KEY, person.did))}`)
  for (const { uri: channel } of channels) await socket.subscribe({ event_type: 'message', channel })
  return socket
}
/** A socket of the newest client. */
async function follow(person) {
  const proof = await person.serviceToken(SERVICE, 'social.colibri.sync.subscribeEvents')
  return service.connect('/xrpc/social.colibri.sync.subscribeEvents', { protocols: ['colibri.auth.bearer', proof] })
}
const typing = (channel) => ({ action: 'typing', channel: channel.uri })
const view = (channel) => ({ action: 'view', ...(channel && { channel: channel.uri }) })
const close = (...sockets) => Promise.all(sockets.map((socket) => socket.close()))

test('U40, A51: the others in the channel learn who writes, once in three seconds, and nobody else does', async () => {
  const [hers, his, elsewhere] = [await open(alice, hall, pond), await open(bob, hall, pond), await open(carol, pond)]
  for (let n = 0; n < 3; n += 1) assert.deepEqual(await his.request(typing(hall)), ACK)
  assert.deepEqual(await his.request({ action: 'typing', channel: hall.rkey }), ACK, 'by its other name')
  assert.deepEqual(await his.request(typing(pond)), ACK)
  const shown = await hers.next({ type: 'typing', channel_uri: pond.uri })
  assert.deepEqual(Object.keys(shown), ['type', 'did', 'channel', 'expires_at', 'community_uri', 'channel_uri'])
  assert.deepEqual([shown.did, shown.channel, shown.community_uri], [bob.did, pond.rkey, community.uri])
  await hers.next({ type: 'typing', channel_uri: hall.uri })
  await elsewhere.next({ type: 'typing', channel_uri: pond.uri, did: bob.did })
  // A gateway that had nobody for the hall asks for it again when somebody comes.
  await elsewhere.subscribe({ event_type: 'message', channel: hall.uri })
  assert.deepEqual(await hers.request(typing(hall)), ACK)
  await elsewhere.next({ type: 'typing', channel_uri: hall.uri, did: alice.did })
  await his.next({ type: 'typing', channel_uri: hall.uri, did: alice.did })
  assert.equal(hers.all({ type: 'typing' }).length, 2, 'once for each channel')
  assert.equal(elsewhere.all({ type: 'typing' }).length, 2)
  assert.equal(his.all({ type: 'typing', did: bob.did }).length, 0, 'not to the person')
  await close(hers, his, elsewhere)
})

test('U40, A51: who may not post there is refused', async () => {
  const [hers, stranger, his] = [await open(alice, stage), await open(eve), await open(bob, stage)]
  const anonymous = await service.connect('/api/subscribe')
  const NOT_HERE = error('Not allowed in this channel')
  for (const [socket, frame, reply] of [
    [anonymous, typing(hall), error('DID required for typing')],
    [await service.connect(`/api/subscribe?did=${bob.did}`), typing(hall), error('Authentication required for typing')],
    [his, { action: 'typing' }, error('channel is required for typing')],
    [his, { action: 'typing', channel: 'nowhere' }, error('Unknown channel')],
    [his, typing(stage), NOT_HERE],
    [stranger, typing(hall), NOT_HERE],
  ]) {
    assert.deepEqual(await socket.request(frame), reply, JSON.stringify(frame))
  }
  const ban = { community_uri: community.uri, member_did: carol.did }
  const headers = { authorization: `Bearer ${KEY}` }
  const banned = await open(carol)
  assert.deepEqual(await banned.request(typing(hall)), ACK)
  assert.equal((await service.fetch('/api/community/ban', { method: 'POST', headers, body: JSON.stringify(ban) })).status, 204)
  assert.deepEqual(await banned.request(typing(pond)), NOT_HERE)
  const lift = `/api/community/ban?community=${community.uri}&member_did=${carol.did}`
  assert.equal((await service.fetch(lift, { method: 'DELETE', headers })).status, 204)
  assert.deepEqual(await hers.request(typing(stage)), ACK, 'its owner may')
  assert.equal((await his.next({ type: 'typing' })).did, alice.did)
  await close(hers, stranger, his, anonymous, banned)
})

test('U40, N168: both clients show each other who writes', async () => {
  const [hers, newest] = [await open(carol, quay), await follow(bob)]
  newest.ws.send(JSON.stringify({ type: 'view', data: { channel: quay.uri } }))
  assert.deepEqual(await newest.request({ type: 'heartbeat' }), { type: 'ack' })
  assert.deepEqual(await hers.request(typing(quay)), ACK)
  const event = await newest.next({ type: 'typing_event' })
  assert.deepEqual(event.data, { event: 'start', channel: quay.uri, did: carol.did })
  newest.ws.send(JSON.stringify({ type: 'typing', data: { channel: quay.uri } }))
  assert.equal((await hers.next({ type: 'typing' })).did, bob.did)
  await close(hers, newest)
})

test('U41, U42, A52: what is on the screen is read, with a proof', async () => {
  const headers = bearer(await vouch(service, KEY, bob.did))
  const path = `/api/unread?did=${bob.did}&community=${community.uri}`
  const unread = async () => {
    const { body } = await service.fetchJson(path, { headers })
    return body.find(({ channel_uri: uri }) => uri === hall.uri).unread
  }
  const counts = (count) => eventually(async () => (await unread()) === count, { what: `${count} unread` })
  const socket = await open(bob, hall)
  const [phone, tablet, claims] = [await open(bob), await follow(bob), await service.connect(`/api/subscribe?did=${eve.did}`)]
  const hears = async (channel) => {
    await phone.next({ type: 'channel_read', channel_uri: channel.uri })
    await tablet.next((frame) => frame.type === 'seen_event' && frame.data.channelUri === channel.uri)
  }
  await alice.message(hall.rkey, 'one')
  await counts(1)
  assert.deepEqual(await socket.request(view(hall)), ACK)
  assert.equal(await unread(), 0, 'H11')
  await hears(hall)
  await alice.message(hall.rkey, 'two')
  await counts(1)
  assert.deepEqual(await socket.request(view(pond)), ACK)
  assert.equal(await unread(), 0, 'left for another channel')
  await hears(pond)
  await alice.message(hall.rkey, 'three')
  await counts(1)
  assert.deepEqual(await socket.request(view(hall)), ACK)
  await alice.message(hall.rkey, 'four')
  await counts(1)
  await socket.close()
  await counts(0)
  await eventually(() => phone.all({ type: 'channel_read', channel_uri: hall.uri }).length === 4, { what: 'closed: read' })
  await claims.request({ action: 'heartbeat' })
  assert.equal(claims.all({ type: 'channel_read' }).length, 0, 'U22: to nobody else')
  await close(phone, tablet, claims)
  const claimed = await service.connect(`/api/subscribe?did=${eve.did}`)
  assert.deepEqual(await claimed.request(view(hall)), error('Authentication required for view'))
  const nowhere = await open(eve)
  for (const frame of [view(hall), view(), { action: 'view', channel: 'nowhere' }]) assert.deepEqual(await nowhere.request(frame), ACK)
  await close(claimed, nowhere)
})

test('U43, A50: one frame says who is here, and later events continue from it', async () => {
  const anonymous = await service.connect('/api/subscribe')
  const ask = { action: 'presence', community_uri: community.uri }
  const joined = { action: 'voice_event', community_uri: community.uri, voice_channel_rkey: lounge.rkey, voice_action: 'join' }
  await anonymous.request({ action: 'subscribe', event_type: 'community', community_uri: community.uri, cursor: -1 })
  const [hers, his] = [await open(alice), await open(bob)]
  const isThere = ({ did }) => [alice.did, bob.did].includes(did)
  const becomes = (person, state) => anonymous.next({ type: 'user_status_changed', did: person.did, state }, { timeout: 30_000 })
  assert.deepEqual(await hers.request(joined), ACK)
  assert.deepEqual(await his.request({ action: 'set_state', state: 'dnd' }), ACK)
  const { seq } = await anonymous.next({ type: 'voice_channel_updated' })
  const states = [[alice.did, 'online'], [bob.did, 'dnd']].sort()
  const members = states.map(([did, state]) => ({ did, state }))
  const expected = { type: 'presence_snapshot', community_uri: community.uri, members, complete: true, voice: { [lounge.rkey]: [alice.did] }, voice_states: {}, seq }
  await becomes(bob, 'dnd')
  const isOnline = ({ member_did: did, state }) => did === alice.did && state === 'online'
  await answers(service, `/api/members?community=${community.uri}`, 200, (list) => list.some(isOnline))
  const snapshot = await anonymous.request(ask)
  assert.deepEqual({ ...snapshot, members: snapshot.members.filter(isThere) }, expected)
  assert.deepEqual(await hers.request({ ...joined, voice_action: 'leave' }), ACK)
  const left = await anonymous.next({ type: 'voice_channel_updated', member_dids: [] })
  assert.equal(left.seq, seq + 1)
  assert.deepEqual((await anonymous.request(ask)).voice, {})
  await close(hers, his)
  for (const person of [alice, bob]) await becomes(person, 'offline')
  assert.deepEqual((await anonymous.request(ask)).members.filter(isThere), [])
  for (const community_uri of [undefined, 'nonsense', `at://${bob.did}/${COLLECTION.community}/none`]) {
    const text = community_uri ? 'Unknown community' : 'community_uri is required for presence'
    assert.deepEqual(await anonymous.request({ action: 'presence', community_uri }), error(text))
  }
  await anonymous.close()
})

test('U50, R70, R71, R02: threads, from any of their messages, in pages', async () => {
  const root = await alice.message(quay.rkey, 'a question')
  const first = await bob.message(quay.rkey, 'an answer', { parent: root.rkey })
  const second = await carol.message(quay.rkey, 'to the answer', { parent: first.uri })
  await alice.message(quay.rkey, 'something else')
  const count = async ({ uri, rkey }) => (await service.fetchJson(`/api/message?author=${uri.split('/')[2]}&rkey=${rkey}`)).body.reply_count
  await eventually(async () => (await count(root)) === 2, { what: 'two answers' })
  assert.deepEqual([await count(first), await count(second)], [1, 0])
  const threads = await answers(service, `/api/threads?channel=${quay.rkey}`)
  const shown = threads.map(({ reply_count: n, participants, message }) => [message.rkey, n, participants])
  assert.deepEqual(shown, [[root.rkey, 2, [carol.did, bob.did]]])
  assert.match(threads[0].last_reply_at, /Z$/)
  for (const { uri } of [root, first, second]) {
    const one = await service.fetchJson(`/api/thread?uri=${uri}&limit=2`)
    const two = await service.fetchJson(`/api/thread?uri=${uri}&limit=2&cursor=${one.headers.get('colibri-cursor')}`)
    const all = [...one.body, ...two.body].map(({ depth, parent_uri: parent, message }) => [message.rkey, depth, parent])
    assert.deepEqual(all, [[root.rkey, 0, null], [first.rkey, 1, root.uri], [second.rkey, 2, first.uri]])
    assert.equal(two.headers.get('colibri-cursor'), null)
  }
  await bob.delete(COLLECTION.message, first.rkey)
  await answers(service, `/api/threads?channel=${quay.uri}`, 200, (list) => list.length === 0)
  await answers(service, `/api/thread?uri=${second.uri}`, 200, (list) => list.length === 1 && list[0].depth === 0)
  await answers(service, `/api/thread?uri=${first.uri}`, 404)
  await answers(service, '/api/thread?uri=nonsense', 422)
})

test('R55, U70, U71: words of every script, as they are edited, deleted and blocked', async () => {
  const find = (q, until, more = '') =>
    answers(service, `/api/search?community=${community.uri}&q=${encodeURIComponent(q)}${more}`, 200, until)
  const texts = (...expected) => (found) => JSON.stringify(found.map(({ message }) => message.text)) === JSON.stringify(expected)
  const first = await alice.message(pond.rkey, 'The heron, 日本語のサギ 🐟')
  await bob.message(quay.rkey, 'a heron again: цапля مالك')
  await find('heron', (found) => found.length === 2)
  for (const q of ['日本', '本語', '🐟', 'サギ']) await find(q, texts('The heron, 日本語のサギ 🐟'))
  for (const q of ['ЦАПЛЯ', 'مالك', 'again heron', 'hero*', 'again:цап*']) {
    await find(q, q === 'hero*' ? (found) => found.length === 2 : texts('a heron again: цапля مالك'))
  }
  const [{ snippet }] = await find('日本語', (found) => found.length === 1)
  const bytes = Buffer.from(snippet.text)
  assert.deepEqual(snippet.marks.map(({ byteStart, byteEnd }) => bytes.subarray(byteStart, byteEnd).toString()), ['日本語'])
  await find('heron', texts('The heron, 日本語のサギ 🐟'), `&channel=${pond.rkey}`)
  await find('heron', texts('a heron again: цапля مالك'), `&author=${bob.did}`)
  const page = await service.fetchJson(`/api/search?community=${community.uri}&q=heron&limit=1`)
  const next = await service.fetchJson(
    `/api/search?community=${community.uri}&q=heron&limit=1&cursor=${page.headers.get('colibri-cursor')}`,
  )
  assert.equal(new Set([...page.body, ...next.body].map(({ message }) => message.text)).size, 2)
  await alice.delete(COLLECTION.message, first.rkey)
  await find('heron', texts('a heron again: цапля مالك'))
  await answers(service, `/api/search?community=${community.uri}&q=…`, 422)
  await answers(service, `/api/search?community=${community.uri}&q=heron&has=wings`, 422)
})

test('U40, U43, X43: a community for members only says nothing to others', async () => {
  const own = await alice.community({ name: 'Shed', requiresApprovalToJoin: true })
  const room = await alice.channel({ name: 'inside', type: 'text', community: own.rkey })
  const wish = await bob.membership(own.uri)
  await alice.approval(wish.uri, own.uri)
  await answers(service, `/api/members?community=${own.uri}`, 200, (list) => list.some((one) => one.status === 'approved'))
  const [hers, his, stranger] = [await open(alice), await open(bob, room), await open(eve, room)]
  const body = JSON.stringify({ community_uri: own.uri, members_only: true })
  const headers = { authorization: `Bearer ${KEY}` }
  assert.equal((await service.fetch('/api/community/members-only', { method: 'PUT', headers, body })).status, 200)
  const ask = { action: 'presence', community_uri: own.uri }
  assert.deepEqual(await stranger.request(ask), error('This community is for members only'))
  assert.equal((await his.request(ask)).members.length, 2)
  assert.deepEqual(await hers.request(typing(room)), ACK)
  assert.equal((await his.next({ type: 'typing' })).did, alice.did)
  assert.deepEqual(await stranger.request(typing(room)), error('Not allowed in this channel'))
  assert.equal(stranger.all({ type: 'typing' }).length, 0)
  await close(hers, his, stranger)
})
