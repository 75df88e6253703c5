// asyncapi.json against the running service: the document is valid AsyncAPI, each of its example frames is sent and
// answered as it says, and every frame that arrives matches its schema.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { before, test } from 'node:test'

import Ajv from 'ajv'
import Ajv2020 from 'ajv/dist/2020.js'

import { COLLECTION } from '../network/records.js'
import * as records from '../network/records.js'
import { eventually } from './harness.js'
import { answers, garden, openPlace } from './place.js'

const KEY = 'the key of the tests'
const BASE = 'https://documents.invalid'
const LENIENT = { strict: false, validateFormats: false }

let place, service, document, ajv, people, alice, bob, community, channel, voice, membership

before(async () => {
  place = await openPlace({
    env: { INVITE_API_KEY: KEY, TOKEN_SECRET: 'what signs these tokens', SERVICE_DID: 'did:web:service.test', AUTH_MODE: 'mixed' },
  })
  service = place.service
  people = await garden(place)
  ;({ alice, bob, community, channel, membership } = people)
  voice = await alice.channel({ name: 'lounge', type: 'voice', community: community.rkey })
  await answers(service, `/api/members?community=${community.uri}`, 200, (rows) => rows.length === 2)
  await answers(service, `/api/channels?community=${community.uri}`, 200, (rows) => rows.length === 2)
  document = (await service.fetchJson('/asyncapi.json')).body
  ajv = new Ajv2020(LENIENT)
  ajv.addSchema(document, `${BASE}/asyncapi.json`)
  ajv.addSchema((await service.fetchJson('/openapi.json')).body, `${BASE}/openapi.json`)
})

const at = (reference) =>
  reference
    .slice(2)
    .split('/')
    .reduce((part, key) => part[key], document)

/** The messages of a list of an operation: its key, name, examples. */
const messagesOf = (list) =>
  list.map((reference) => {
    const { $ref } = at(reference.$ref)
    return { key: $ref.split('/').at(-1), ...at($ref) }
  })

/** Fails unless a frame of the service matches the message of its type; returns the type. */
function documented(operation, frame) {
  const { messages, reply } = document.operations[operation]
  const message = messagesOf([...messages, ...(reply?.messages ?? [])]).find(({ name }) => name === frame.type)
  assert(message, `${frame.type} is not documented: ${JSON.stringify(frame)}`)
  const fits = ajv.getSchema(`${BASE}/asyncapi.json#/components/messages/${message.key}/payload`)
  assert(fits(frame), `${JSON.stringify(frame)}: ${ajv.errorsText(fits.errors)}`)
  const { properties, allOf } = message.payload
  const known = allOf ? undefined : Object.keys(properties)
  if (known) assert.deepEqual(Object.keys(frame).filter((name) => !known.includes(name)), [], frame.type)
  return frame.type
}

const typesOf = (list) => messagesOf(list).map(({ name }) => name)
const proofOf = async ({ did }) => {
  const headers = { authorization: `Bearer ${KEY}` }
  const body = JSON.stringify({ did, ttl: 3_600 })
  return (await service.fetchJson('/api/authentication', { method: 'POST', headers, body })).body.token
}

/** An example with what exists here in place of what it names. */
const real = (example) =>
  JSON.parse(
    JSON.stringify(example)
      .replaceAll('at://did:plc:owner/social.colibri.community/3kcom', community.uri)
      .replaceAll('at://did:plc:owner/social.colibri.channel/3kchan', channel.uri)
      .replaceAll('did:plc:member', alice.did)
      .replaceAll('3kvoice', voice.rkey)
      .replace('"cursor":40', '"cursor":0'),
  )

test('the document is valid AsyncAPI', async () => {
  const answer = await service.fetch('/asyncapi.json')
  assert.equal(answer.headers.get('content-type'), 'application/json')
  const again = await service.fetch('/asyncapi.json', { headers: { 'if-none-match': answer.headers.get('etag') } })
  assert.equal(again.status, 304)
  const schema = createRequire(import.meta.url)(`@asyncapi/specs/schemas/${document.asyncapi}.json`)
  // The schema contains the meta-schema of JSON Schema, which Ajv would add a second time.
  const validator = new Ajv({ ...LENIENT, meta: false, validateSchema: false })
  const fits = validator.compile(schema)
  assert(fits(document), validator.errorsText(fits.errors))
})

test('the events socket: every example is accepted, and every event is as documented', async () => {
  const path = `/api/subscribe?did=${bob.did}&auth=${await proofOf(bob)}`
  const socket = await service.connect(path)
  const frames = document.operations.publish.messages
  for (const { name, examples } of messagesOf(document.operations.act.messages).reverse()) {
    for (const { payload } of examples) {
      const reply = await socket.request(real(payload))
      const expected = name === 'presence' ? 'presence_snapshot' : 'ack'
      assert.equal(documented('act', reply), expected, `${name}: ${JSON.stringify(reply)}`)
    }
  }
  // The examples of `unsubscribe` are over; now everything that there is.
  await socket.subscribe({ event_type: 'message' })
  await socket.subscribe({ event_type: 'community', community_uri: community.uri, cursor: 0 })
  await socket.next({ type: 'resumed' })
  await socket.subscribe({ event_type: 'community', community_uri: community.uri, cursor: 1_000_000 })
  await socket.next({ type: 'resync_required' })
  await socket.subscribe({ event_type: 'community' })
  await socket.request({ action: 'dance' })
  await cause(socket)
  const seen = new Set(socket.frames.map((frame) => documented(isReply(frame) ? 'act' : 'publish', frame)))
  const missing = [...typesOf(frames), 'ack', 'error'].filter((type) => !seen.has(type))
  assert.deepEqual(missing, [], 'every frame came')
})

const isReply = ({ type }) => ['ack', 'error', 'presence_snapshot'].includes(type)

/** Causes every event; each is awaited, so that none is lost in the next. */
async function cause(socket) {
  const { network } = place
  const said = await alice.message(channel.rkey, 'hello')
  await socket.next({ type: 'message', rkey: said.rkey })
  const hers = await service.connect(`/api/subscribe?auth=${await proofOf(alice)}`)
  await hers.request({ action: 'typing', channel: channel.uri })
  await socket.next({ type: 'typing' })
  await hers.close()
  await alice.message(channel.rkey, 'and more', { parent: said.rkey })
  await socket.next({ type: 'thread_updated', parent: said.rkey, reply_count: 1 })
  const reaction = await bob.reaction(said.rkey, '👍')
  await socket.next({ type: 'reaction_added' })
  await bob.delete(COLLECTION.reaction, reaction.rkey)
  await socket.next({ type: 'reaction_removed' })
  await alice.delete(COLLECTION.message, said.rkey)
  await socket.next({ type: 'message_deleted' })
  const features = [{ $type: 'app.bsky.richtext.facet#mention', did: bob.did }]
  const asked = await alice.message(channel.rkey, 'bob', { facets: [{ index: { byteStart: 0, byteEnd: 3 }, features }] })
  await socket.next({ type: 'notification', kind: 'mention' })
  const more = []
  for (let n = 0; n < 4; n += 1) more.push(await alice.message(channel.rkey, 'bob', { facets: [{ index: { byteStart: 0, byteEnd: 3 }, features }] }))
  await socket.next({ type: 'digest', count: 5 })
  const headers = { authorization: `Bearer ${KEY}` }
  for (const path of ['/api/notifications/seen?', `/api/read?channel=${channel.uri}&`])
    assert((await service.fetch(`${path}did=${bob.did}`, { method: 'POST', headers })).ok, path)
  await socket.next({ type: 'notifications_seen', seen: 5 })
  await socket.next({ type: 'channel_read', channel_uri: channel.uri })
  for (const { rkey } of [asked, ...more]) await alice.delete(COLLECTION.message, rkey)
  const category = await alice.category({ name: 'General', community: community.rkey })
  await socket.next({ type: 'category_created' })
  await alice.delete(COLLECTION.category, category.rkey)
  await socket.next({ type: 'category_deleted' })
  const other = await alice.channel({ name: 'other', type: 'text', community: community.rkey })
  await socket.next({ type: 'channel_created', rkey: other.rkey })
  await alice.delete(COLLECTION.channel, other.rkey)
  await socket.next({ type: 'channel_deleted' })
  await socket.request({ action: 'voice_event', community_uri: community.uri, voice_channel_rkey: voice.rkey })
  await socket.next({ type: 'voice_channel_updated', member_dids: [bob.did] })
  const call = await inCall({ muted: true })
  await socket.next({ type: 'voice_state_changed', did: alice.did, muted: true })
  await call.close()
  await muted(bob)
  await socket.next({ type: 'voice_moderated', action: 'mute' })
  const second = await service.connect(`/api/subscribe?auth=${await proofOf(bob)}`)
  await second.request({ action: 'voice_event', community_uri: community.uri, voice_channel_rkey: voice.rkey })
  await socket.next({ type: 'superseded', channel_rkey: voice.rkey })
  await second.close()
  await socket.request({ action: 'set_state', state: 'away' })
  await socket.next({ type: 'user_status_changed', did: bob.did, state: 'away' })
  await bob.profile({ displayName: 'Bob' })
  await socket.next({ type: 'user_profile_updated', did: bob.did })
  await alice.put(COLLECTION.community, community.rkey, records.community({ name: 'Grove', requiresApprovalToJoin: true }))
  await socket.next({ type: 'community_upserted', name: 'Grove' })
  const carol = await network.createAccount('carol')
  const wish = await carol.membership(community.uri)
  await socket.next({ type: 'member_pending', member_did: carol.did })
  await alice.approval(wish.uri, community.uri)
  await socket.next({ type: 'member_joined', member_did: carol.did })
  await carol.delete(COLLECTION.membership, wish.rkey)
  await socket.next({ type: 'member_left', member_did: carol.did })
  const approval = await alice.approval(membership.uri, community.uri)
  await socket.next({ type: 'member_joined', member_did: bob.did })
  await onlyMembers(true)
  await socket.next({ type: 'members_only', members_only: true })
  await alice.delete(COLLECTION.approval, approval.rkey)
  await socket.next({ type: 'subscription_ended' })
  await onlyMembers(false)
  await socket.subscribe({ event_type: 'community', community_uri: community.uri })
  await alice.delete(COLLECTION.community, community.rkey)
  await socket.next({ type: 'community_deleted' })
  await alice.put(COLLECTION.community, community.rkey, records.community({ name: 'Garden', requiresApprovalToJoin: false }))
  await socket.next({ type: 'community_upserted', name: 'Garden' })
  await restart('sockets')
  await socket.next({ type: 'server_restart' })
}

/** alice, with such devices in the room of the voice channel. */
async function inCall(devices) {
  const query = new URLSearchParams({ room: voice.uri, auth: await proofOf(alice) })
  const call = await service.connect(`/api/webrtc/signal?${query}`)
  call.send({ type: 'join', room: voice.uri, peer_id: alice.did })
  await call.next({ type: 'joined' })
  call.send({ type: 'voice_state', room: voice.uri, ...devices })
  return call
}

/** A moderator mutes a person. */
async function muted({ did }) {
  const headers = { authorization: `Bearer ${KEY}` }
  const body = JSON.stringify({ community_uri: community.uri, member_did: did, channel: voice.rkey, action: 'mute' })
  assert.equal((await service.fetch('/api/voice/moderate', { method: 'POST', headers, body })).status, 204)
}

/** @param {string} scope */
async function restart(scope) {
  const headers = { authorization: `Bearer ${KEY}` }
  const body = JSON.stringify({ scope })
  assert.equal((await service.fetchJson('/api/admin/restart', { method: 'POST', headers, body })).status, 200)
}

async function onlyMembers(members_only) {
  const headers = { authorization: `Bearer ${KEY}` }
  const body = JSON.stringify({ community_uri: community.uri, members_only })
  assert.equal((await service.fetchJson('/api/community/members-only', { method: 'PUT', headers, body })).status, 200)
}

test('signaling: every example is accepted, and every frame is as documented', async () => {
  const [one, two] = await Promise.all([service.connect('/api/webrtc/signal'), service.connect('/api/webrtc/signal')])
  const until = (socket, type) => socket.next((frame) => frame.type === type)
  two.send({ type: 'join', room: 'kitchen', peer_id: 'bob' })
  await until(two, 'joined')
  // In the order of the document: join first, leave nearly last.
  for (const { examples } of messagesOf(document.operations.callPeers.messages))
    for (const { payload } of examples) one.send(payload)
  await until(two, 'peer_left')
  two.send({ type: 'join', room: 'kitchen', peer_id: 'bob' })
  two.send({ type: 'offer', room: 'kitchen', target_peer_id: 'nobody', sdp: 'v=0' })
  await replied(two, 'error')
  await replied(one, 'ack')
  const call = await inCall({})
  await muted(alice)
  await until(call, 'moderated')
  await restart('calls')
  await until(two, 'server_restart')
  const seen = new Set([...one.frames, ...two.frames, ...call.frames].map((frame) => documented('connectPeers', frame)))
  assert.deepEqual([...seen].sort(), typesOf(document.operations.connectPeers.messages).sort(), 'every frame came')
  assert.deepEqual(one.frames.filter(({ type }) => type === 'error'), [], 'no example is refused')
})

const replied = (socket, type) =>
  eventually(() => socket.replies.some((frame) => frame.type === type), { what: `a reply of the type ${type}` })

test('the events socket of the newest client: every frame is as documented', async () => {
  const socket = await service.connect(`/xrpc/social.colibri.sync.subscribeEvents?cursor=now&auth=${await proofOf(bob)}`)
  const isType = (type) => (frame) => frame.type === type
  await socket.next(isType('resumed'))
  for (const { examples } of messagesOf(document.operations.actNewest.messages))
    for (const { payload } of examples) socket.send(real(payload))
  const said = await alice.message(channel.rkey, 'hello')
  await socket.next(isType('message_event'))
  await bob.reaction(said.rkey, '👍')
  await socket.next(isType('reaction_event'))
  await alice.category({ name: 'Paths', community: community.rkey })
  await socket.next(isType('category_event'))
  await alice.channel({ name: 'pond', type: 'text', community: community.rkey })
  await socket.next(isType('channel_event'))
  await bob.profile({ displayName: 'Robert' })
  await socket.next(isType('user_event'))
  const call = await inCall({ deafened: true })
  await socket.next(isType('voice_state_event'))
  await call.close()
  const seen = new Set(socket.frames.map((frame) => documented('publishNewest', frame)))
  for (const type of ['ack', 'resumed', 'message_event', 'reaction_event', 'category_event', 'channel_event', 'user_event', 'voice_state_event'])
    assert(seen.has(type), type)
})
