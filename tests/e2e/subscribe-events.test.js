// The events socket of the newest client (contract section 14), on the real runtime: proofs by the real PDS,
// communities of both forms, every frame as the lexicon says.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { lexiconsFolder, openLexicons } from '../network/lexicons.js'
import { COLLECTION, channel, community, member, moderation, role } from '../network/records.js'
import { UpgradeRefused, eventually } from './harness.js'
import { answers, garden, openPlace } from './place.js'

const SERVICE = 'did:web:service.test'
const METHOD = 'social.colibri.sync.subscribeEvents'
const PATH = `/xrpc/${METHOD}`
const KEY = 'the key of the tests'

let place, service, nest, alice, bob, carol, old, home, hall
const sockets = []

const PERSON = ['did', 'status', 'profile']
const inCommunity = (frame) => !['ack', 'user_event', 'seen_event', 'mute_event', 'notification_event'].includes(frame.type)

/** A socket of a person, with a token of their PDS. @param {any} person @param {string} [query] */
async function follow(person, query = '') {
  const proof = await person.serviceToken(SERVICE, METHOD)
  const socket = await service.connect(PATH + query, { protocols: ['colibri.auth.bearer', proof] })
  sockets.push(socket)
  return socket
}
const event = (socket, type, name, data = {}) =>
  socket.next((frame) => frame.type === type && frame.data.event === name && Object.entries(data).every(([key, value]) => frame.data[key] === value))

before(async () => {
  place = await openPlace({ env: { INVITE_API_KEY: KEY, SERVICE_DID: SERVICE, TOKEN_SECRET: 'what signs these tokens', AUTH_MODE: 'verified' } })
  service = place.service
  old = await garden(place)
  ;({ alice, bob } = old)
  ;[nest, carol] = await Promise.all(['nest', 'carol'].map((name) => place.network.createAccount(name)))
  home = `at://${nest.did}/${COLLECTION.community}/self`
  await nest.create(COLLECTION.community, community({ name: 'Nest', requiresApprovalToJoin: true }), 'self')
  await nest.create(COLLECTION.role, role({ name: 'Moderator', position: 50, permissions: ['message.hide'] }), 'mod')
  const category = await nest.category({ name: 'General', community: 'self' })
  const fields = { name: 'hall', type: 'social.colibri.channel.text', category: category.rkey, community: 'self' }
  hall = await nest.create(COLLECTION.channel, channel(fields))
  await nest.create(COLLECTION.member, member(bob.did, { roles: ['mod'] }))
  const bobIsIn = (list) => list.some((one) => one.member_did === bob.did && one.status === 'approved')
  await answers(service, `/api/members?community=${home}`, 200, bobIsIn)
  await answers(service, `/api/members?community=${old.community.uri}`, 200, (list) => list.length === 2)
})

test('N161: a socket takes a proof, and its sub-protocol alone is answered', async () => {
  for (const query of ['', '?auth=nonsense', `?did=${bob.did}`]) {
    await assert.rejects(service.connect(PATH + query), (error) => error instanceof UpgradeRefused && error.status === 401, query)
  }
  const socket = await follow(bob)
  assert.equal(socket.ws.protocol, 'colibri.auth.bearer')
  assert.deepEqual(await socket.request({ type: 'heartbeat' }), { type: 'ack' })
  for (const frame of [{ type: 'view', data: { channel: hall.uri } }, { type: 'voice_state', data: {} }, { action: 'subscribe' }, 'nonsense']) {
    socket.ws.send(typeof frame === 'string' ? frame : JSON.stringify(frame))
  }
  assert.deepEqual(await socket.request({ type: 'heartbeat' }), { type: 'ack' })
  assert.equal(socket.frames.filter((frame) => frame.type !== 'user_event' && frame.type !== 'ack').length, 0, 'nothing else gets a word')
  await socket.close()
})

test('N162, N168: a member receives all of their communities, in the words of the lexicon', async () => {
  const socket = await follow(bob)
  const stranger = await follow(carol)
  const first = await nest.message(hall.uri, 'hello')
  const shown = await event(socket, 'message_event', 'upsert', { uri: first.uri })
  assert.deepEqual([shown.data.channel, shown.data.author.did, shown.data.live, shown.community], [hall.uri, nest.did, true, home])
  assert.equal(typeof shown.seq, 'number')
  const answer = await bob.message(hall.uri, 'hello yourself', { parent: first.uri })
  assert.equal((await event(socket, 'message_event', 'upsert', { uri: answer.uri })).data.parent, first.uri)
  const reaction = await bob.reaction(first.uri, '👍')
  const added = await event(socket, 'reaction_event', 'added', { uri: reaction.uri })
  assert.deepEqual([added.data.target, added.data.channel, added.data.emoji], [first.uri, hall.uri, '👍'])
  await bob.delete(COLLECTION.reaction, reaction.rkey)
  await event(socket, 'reaction_event', 'removed', { uri: reaction.uri })
  await bob.delete(COLLECTION.message, answer.rkey)
  await event(socket, 'message_event', 'delete', { uri: answer.uri, channel: hall.uri })
  const said = await alice.message(old.channel.rkey, 'in the garden')
  assert.equal((await event(socket, 'message_event', 'upsert', { uri: said.uri })).data.channel, old.channel.uri, 'of the old form too')
  const category = await nest.category({ name: 'More', community: 'self' })
  await event(socket, 'category_event', 'upsert', { uri: category.uri, community: home })
  const fields = { name: 'quiet', type: 'social.colibri.channel.text', category: category.rkey, community: 'self', allowedRoles: ['mod'] }
  const quiet = await nest.create(COLLECTION.channel, channel(fields))
  const made = await event(socket, 'channel_event', 'upsert', { uri: quiet.uri })
  assert.deepEqual([made.data.allowedRoles, made.data.category], [[`at://${nest.did}/${COLLECTION.role}/mod`], category.uri])
  await nest.delete(COLLECTION.channel, quiet.rkey)
  await event(socket, 'channel_event', 'delete', { uri: quiet.uri, community: home })
  assert.equal(stranger.frames.filter(inCommunity).length, 0, 'A37')
  const seqs = socket.frames.filter((frame) => frame.community === home).map((frame) => frame.seq)
  assert.deepEqual(seqs, [...new Set(seqs)].sort((a, b) => a - b), 'A38, A39')
})

test('N162: whoever is admitted receives `join` first, whoever leaves the end, and nothing after it', async () => {
  const [others, socket] = await Promise.all([follow(bob), follow(carol)])
  const wish = await carol.membership(home)
  const admission = await nest.create(COLLECTION.member, member(carol.did, { fromMembership: wish.uri }))
  const join = await event(socket, 'member_event', 'join', { community: home })
  assert.deepEqual([join.data.member.did, join.data.membership], [carol.did, wish.uri])
  await event(others, 'member_event', 'join', { community: home })
  const message = await nest.message(hall.uri, 'welcome')
  await event(socket, 'message_event', 'upsert', { uri: message.uri })
  await nest.delete(COLLECTION.member, admission.rkey)
  await event(socket, 'community_event', 'delete', { uri: home })
  await event(others, 'member_event', 'leave', { memberDid: carol.did })
  const after = await nest.message(hall.uri, 'she is gone')
  await event(others, 'message_event', 'upsert', { uri: after.uri })
  await carol.delete(COLLECTION.membership, wish.rkey)
  assert.deepEqual(socket.frames.filter(inCommunity).map((frame) => frame.type), ['member_event', 'message_event', 'community_event'])
  assert.equal(others.all((frame) => frame.data?.memberDid === carol.did).length, 1, 'what she asks for is no news')
})

test('N168: roles, and who has them', async () => {
  const socket = await follow(bob)
  const made = await nest.create(COLLECTION.role, role({ name: 'Guide', position: 10, permissions: ['message.hide', 'nonsense'] }))
  const shown = await event(socket, 'role_event', 'upsert', { uri: made.uri, community: home })
  assert.deepEqual([shown.data.name, shown.data.permissions, shown.data.protected], ['Guide', ['message.hide'], false])
  await nest.create(COLLECTION.member, member(bob.did, { roles: ['mod', made.rkey] }))
  const updated = await event(socket, 'member_event', 'roles_updated', { community: home })
  assert.deepEqual(updated.data.member.roles.map((uri) => uri.split('/').at(-1)).sort(), ['mod', made.rkey].sort())
  await nest.delete(COLLECTION.role, made.rkey)
  await event(socket, 'role_event', 'delete', { uri: made.uri })
})

test('N168, N192: who asks to be admitted is shown to those who may admit, and to no other member', async () => {
  const [account, other, own] = await Promise.all([follow(nest), follow(bob), follow(carol)])
  const wish = await carol.membership(home)
  const asked = await event(account, 'application_event', 'create', { did: carol.did, community: home })
  assert.deepEqual([asked.data.membership, typeof asked.data.createdAt, typeof asked.data.data.displayName], [wish.uri, 'string', 'string'])
  await carol.create(COLLECTION.actor, { status: 'let me in', communities: [] }, 'self')
  await own.next((frame) => frame.type === 'user_event' && frame.data.status.text === 'let me in')
  await carol.delete(COLLECTION.membership, wish.rkey)
  await event(account, 'application_event', 'resolve', { did: carol.did })
  const message = await nest.message(hall.uri, 'who was that?')
  await event(other, 'message_event', 'upsert', { uri: message.uri })
  assert.deepEqual(other.all((frame) => frame.type === 'application_event' || frame.data?.did === carol.did), [])
})

test('N54, N168: previews that a moderator or the author hides', async () => {
  const socket = await follow(bob)
  const links = ['https://a.test/', 'https://b.test/']
  const message = await nest.message(hall.uri, links.join(' '))
  const shown = await event(socket, 'message_event', 'upsert', { uri: message.uri })
  assert.deepEqual([shown.data.suppressedEmbeds, shown.data.modSuppressedEmbeds], [[], []])
  const made = await nest.create(COLLECTION.moderation, moderation('suppressEmbeds', { uri: message.uri }, { embeds: links }))
  const hidden = await event(socket, 'message_event', 'embeds', { uri: message.uri, channel: hall.uri })
  assert.deepEqual(hidden.data.modSuppressedEmbeds, links)
  const view = await service.fetchJson(`/xrpc/social.colibri.channel.listMessages?channel=${hall.uri}&limit=1`)
  assert.deepEqual(view.body.messages.map((one) => one.modSuppressedEmbeds), [links])
  await nest.delete(COLLECTION.moderation, made.rkey)
  const back = await socket.next((frame) => frame.data?.event === 'embeds' && frame.data.modSuppressedEmbeds.length === 0)
  assert.equal(back.data.uri, message.uri)
  const { text, createdAt } = shown.data
  await nest.put(COLLECTION.message, message.rkey, { channel: hall.uri, text, createdAt, suppressedEmbeds: links.slice(0, 1) })
  const own = await socket.next((frame) => frame.data?.uri === message.uri && frame.data.suppressedEmbeds?.length === 1)
  assert.deepEqual([own.data.edited, own.data.modSuppressedEmbeds], [false, []], 'N53')
})

test('N168, U20: what notifies somebody, and what they read and mute, all their devices learn', async () => {
  const [first, second, other] = await Promise.all([follow(bob), follow(bob), follow(nest)])
  const features = [{ $type: 'social.colibri.richtext.facet#mention', did: bob.did }]
  const message = await nest.message(hall.uri, 'read me', { facets: [{ index: { byteStart: 0, byteEnd: 4 }, features }] })
  await event(first, 'message_event', 'upsert', { uri: message.uri })
  for (const socket of [first, second]) await event(socket, 'notification_event', undefined, { kind: 'mention', messageUri: message.uri })
  const mark = await bob.create(COLLECTION.read, { channel: hall.uri, cursor: message.uri }, hall.rkey)
  const mute = await bob.create(COLLECTION.mute, { subject: hall.uri })
  await bob.delete(COLLECTION.mute, mute.rkey)
  for (const socket of [first, second]) {
    await event(socket, 'seen_event', 'channel_read', { channelUri: hall.uri })
    await event(socket, 'mute_event', 'muted', { subject: hall.uri })
    await event(socket, 'mute_event', 'unmuted', { subject: hall.uri })
  }
  await bob.delete(COLLECTION.read, mark.rkey)
  assert.equal(other.frames.filter((frame) => ['seen_event', 'mute_event', 'notification_event'].includes(frame.type)).length, 0, 'nobody else')
})

test('N168: who writes is shown to those who see that channel', async () => {
  const [writer, reader, other] = await Promise.all([follow(bob), follow(nest), follow(bob)])
  for (const socket of [writer, reader]) socket.ws.send(JSON.stringify({ type: 'view', data: { channel: hall.uri } }))
  for (const socket of [writer, reader]) await socket.request({ type: 'heartbeat' })
  writer.ws.send(JSON.stringify({ type: 'typing', data: { channel: hall.uri } }))
  await event(reader, 'typing_event', 'start', { channel: hall.uri, did: bob.did })
  const message = await nest.message(hall.uri, 'what is it?')
  for (const socket of [writer, other]) {
    await event(socket, 'message_event', 'upsert', { uri: message.uri })
    assert.equal(socket.all({ type: 'typing_event' }).length, 0)
  }
})

test('N162, N164: people who share a community learn who is there', async () => {
  const socket = await follow(bob)
  const other = await follow(alice)
  const there = await socket.next((frame) => frame.type === 'user_event' && frame.data.did === alice.did && frame.data.status.state === 'online')
  assert.deepEqual(Object.keys(there.data).sort(), [...PERSON].sort())
  assert([alice.handle, 'handle.invalid'].includes(there.data.profile.handle), 'verified or not by then')
  await other.close()
})

test('N165: a client that asks for it misses nothing', async () => {
  const first = await follow(bob, '?cursor=now')
  const { cursor } = await first.next({ type: 'resumed' })
  assert.deepEqual(cursor.split(',').map((one) => one.split('@')[0]).sort(), [home, old.community.uri].sort())
  await first.close()
  const watchers = [await follow(nest), await follow(alice)]
  const [one, two] = [await nest.message(hall.uri, 'while he is away'), await alice.message(old.channel.rkey, 'here too')]
  for (const [n, { uri }] of [one, two].entries()) await event(watchers[n], 'message_event', 'upsert', { uri })
  const second = await follow(bob, `?cursor=${encodeURIComponent(cursor)}`)
  for (const { uri } of [one, two]) {
    const missed = await event(second, 'message_event', 'upsert', { uri })
    assert.equal(missed.data.live, false)
  }
  const { cursor: next } = await second.next({ type: 'resumed' })
  const third = await follow(bob, `?cursor=${encodeURIComponent(next)}`)
  await third.next({ type: 'resumed' })
  assert.equal(third.frames.filter(inCommunity).length, 1, 'each once')
  for (const wrong of ['7', `${home}@x`, `${hall.uri}@1`]) {
    const proof = await bob.serviceToken(SERVICE, METHOD)
    const refused = service.connect(`${PATH}?cursor=${encodeURIComponent(wrong)}`, { protocols: ['colibri.auth.bearer', proof] })
    await assert.rejects(refused, (error) => error instanceof UpgradeRefused && error.status === 400)
  }
  const elsewhere = await follow(carol, `?cursor=${encodeURIComponent(next)}`)
  await event(elsewhere, 'community_event', 'delete', { uri: home })
})

test('N162: a ban ends what its person receives', async () => {
  const socket = await follow(bob)
  const ban = (method, path, body) =>
    service.fetchJson(path, { method, headers: { authorization: `Bearer ${KEY}` }, body: body && JSON.stringify(body) })
  const banned = await ban('POST', '/api/community/ban', { community_uri: old.community.uri, member_did: bob.did })
  assert.equal(banned.status, 204)
  await event(socket, 'community_event', 'delete', { uri: old.community.uri })
  const unbanned = await ban('DELETE', `/api/community/ban?community=${old.community.uri}&member_did=${bob.did}`)
  assert.equal(unbanned.status, 204)
  const back = await event(socket, 'member_event', 'join', { community: old.community.uri })
  assert.equal(back.data.member.did, bob.did)
})

const folder = lexiconsFolder()
const skip = folder ? false : 'there are no lexicons beside this checkout, and none in LEXICONS_DIR'
if (!folder) assert(process.env.CI !== 'true', skip)

test('N168: every frame of these tests is as the lexicon says', { skip }, async () => {
  const lexicons = openLexicons(/** @type {string} */ (folder))
  const frames = sockets.flatMap((socket) => socket.frames)
  await eventually(() => frames.length > 20, { what: 'frames to check' })
  for (const frame of frames) lexicons.validateFrame(frame)
  const kinds = new Set(frames.filter((frame) => frame.data).map((frame) => `${frame.type} ${frame.data.event ?? ''}`.trim()))
  for (const kind of ['message_event upsert', 'message_event delete', 'reaction_event added', 'member_event join', 'member_event leave', 'community_event delete', 'channel_event upsert', 'category_event upsert', 'user_event', 'typing_event start', 'member_event roles_updated', 'role_event upsert', 'message_event embeds', 'application_event create', 'application_event resolve', 'seen_event channel_read', 'mute_event muted']) {
    assert(kinds.has(kind), kind)
  }
})
