// Rooms that are voice channels (S20): who may enter, and who is removed when a right ends, with records as people
// write them, on a real network.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { eventually } from './harness.js'
import { answers, openPlace } from './place.js'
import { roomsOf } from './rooms.js'

const REFUSED = { type: 'error', message: 'Not allowed in this voice channel' }

let place, alice, bob, carol, community, voice, approvals
before(async () => {
  place = await openPlace({ env: { INVITE_API_KEY: 'key' } })
  const { network, service } = place
  ;[alice, bob, carol] = await Promise.all(['alice', 'bob', 'carol'].map((name) => network.createAccount(name)))
  community = await alice.community({ name: 'Studio', requiresApprovalToJoin: true })
  voice = await alice.channel({ name: 'talk', type: 'voice', community: community.rkey })
  approvals = {}
  for (const person of [bob, carol]) {
    const membership = await person.membership(community.uri)
    approvals[person.did] = { membership, approval: await alice.approval(membership.uri, community.uri) }
  }
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) =>
    members.length === 3 && members.every(({ status }) => status !== 'pending'),
  )
  await answers(service, `/api/channels?community=${community.uri}`, 200, (channels) => channels.length === 1)
})

const open = (person, { room } = {}) =>
  place.service.connect(
    `/api/webrtc/signal?${new URLSearchParams({ ...(person && { did: person.did }), ...(room && { room }) })}`,
  )

/** Sends a join and resolves with its answer: `joined`, or an error. */
async function join(socket, room, peer_id) {
  const had = socket.frames.length
  socket.send({ type: 'join', room, peer_id })
  return eventually(() => socket.frames.slice(had).find(({ type }) => type === 'joined' || type === 'error'))
}

async function inside(person, suffix = '', options) {
  const socket = await open(person, options)
  const answer = await join(socket, voice.uri, person.did + suffix)
  assert.equal(answer.type, 'joined', JSON.stringify(answer))
  return socket
}

/** A removed peer receives the reason, and is closed. */
async function sentAway(socket) {
  const { code } = await socket.closed
  assert.deepEqual([socket.frames.at(-1), code], [REFUSED, 1008])
}

/** Asks the service to ban or unban, with its API key. */
async function moderate(method, path, body) {
  const headers = { authorization: 'Bearer key' }
  const answer = await place.service.fetch(path, { method, headers, body: body && JSON.stringify(body) })
  assert.equal(answer.status, 204)
}

test('S20: a voice channel lets in whom V02 lets in, under their own name', async () => {
  const [owner, member] = [await open(alice), await open(bob, { room: voice.uri })]
  const stranger = await place.network.createAccount('stranger')
  const [eve, nobody] = [await open(stranger), await open()]
  assert.equal((await join(owner, voice.uri, alice.did)).type, 'joined')
  assert.deepEqual((await join(member, voice.uri, `${bob.did}#phone`)).peers, [alice.did])
  assert.deepEqual(await join(eve, voice.uri, stranger.did), REFUSED, 'no member')
  assert.deepEqual(await join(nobody, voice.uri, bob.did), REFUSED, 'nobody')
  for (const name of ['bob', alice.did, `${bob.did}phone`]) {
    const other = await open(bob)
    assert.match((await join(other, voice.uri, name)).message, /^Invalid signal: peer_id/, name)
    assert.equal((await join(other, voice.uri, bob.did)).type, 'joined', 'the socket stays')
    await other.close()
  }
  const unknown = `at://${alice.did}/social.colibri.channel/unknown`
  assert.equal((await join(nobody, unknown, 'anybody')).type, 'joined', 'what is no channel is a name like any other')
  await Promise.all([owner, member].map((socket) => socket.close()))
  for (const [did, status] of [
    [bob.did, 200],
    [stranger.did, 403],
    ['', 403],
  ]) {
    const answer = await place.service.fetchJson(`/api/webrtc/ice-servers?${new URLSearchParams({ room: voice.uri, did })}`)
    assert.equal(answer.status, status, `servers for calls go to whom V02 lets in: ${JSON.stringify(answer.body)}`)
  }
})

test('S20: who leaves the community, or loses the approval, is sent away; also while the room sleeps', async () => {
  const [owner, member, carols] = [await inside(alice), await inside(bob), await inside(carol, '#1', { room: voice.uri })]
  await place.service.evict('VoiceRoom', roomsOf(voice.uri))
  const { approval, membership } = approvals[bob.did]
  await alice.delete('social.colibri.approval', approval.rkey)
  await sentAway(member)
  await owner.next({ type: 'peer_left', peer_id: bob.did })
  await carols.next({ type: 'peer_left', peer_id: bob.did })
  assert.deepEqual(await join(await open(bob), voice.uri, bob.did), REFUSED)
  await alice.approval(membership.uri, community.uri)
  await eventually(async () => (await join(await open(bob), voice.uri, bob.did)).type === 'joined', { what: 'a new approval' })

  await place.service.evict('VoiceRoom', roomsOf(voice.uri))
  await place.service.evict('Community', community.uri)
  await carol.delete('social.colibri.membership', approvals[carol.did].membership.rkey)
  await sentAway(carols)
  await owner.close()
})

test('U30, U31, U43: the community sees who is muted, also after the objects slept; a second device calls in place of the first', async () => {
  const listener = await place.service.connect(`/api/subscribe?did=${carol.did}`)
  await listener.request({ action: 'subscribe', event_type: 'community', community_uri: community.uri })
  const state = (devices) => ({ muted: false, deafened: false, camera: false, screen: false, ...devices })
  const changed = (devices) =>
    ({ type: 'voice_state_changed', community_uri: community.uri, channel_rkey: voice.rkey, did: alice.did, ...state(devices) })
  const told = () => listener.frames.filter(({ type }) => type === 'voice_state_changed')
  const enter = { action: 'voice_event', community_uri: community.uri, voice_channel_rkey: voice.rkey }
  const [first, call] = [await place.service.connect(`/api/subscribe?did=${alice.did}`), await inside(alice)]
  await first.request(enter)
  const say = (devices) => call.send({ type: 'voice_state', room: voice.uri, ...devices })
  say({ muted: true })
  await listener.next(changed({ muted: true }))
  await place.service.evict('VoiceRoom', roomsOf(voice.uri))
  await place.service.evict('Community', community.uri)
  const snapshot = await listener.request({ action: 'presence', community_uri: community.uri })
  assert.deepEqual(snapshot.voice_states, { [alice.did]: state({ muted: true }) })
  for (const devices of [{ muted: true }, { screen: true }, { muted: false }]) say(devices)
  await listener.next(changed({ screen: true }))
  const second = await place.service.connect(`/api/subscribe?did=${alice.did}`)
  await second.request(enter)
  await first.next({ type: 'superseded', community_uri: community.uri, channel_rkey: voice.rkey })
  await call.close()
  await listener.next(changed({}))
  assert.deepEqual(told(), [{ muted: true }, { muted: true, screen: true }, { screen: true }, {}].map(changed), 'each once, in order')
  const { voice_states } = await listener.request({ action: 'presence', community_uri: community.uri })
  assert.deepEqual(voice_states, {})
  assert.deepEqual(second.frames.filter(({ type }) => type === 'superseded'), [])
  await Promise.all([first, second, listener].map((socket) => socket.close()))
})

test('R57, U32: a moderator mutes, moves and disconnects people in voice channels', async () => {
  const other = await alice.channel({ name: 'other', type: 'voice', community: community.rkey })
  const text = await alice.channel({ name: 'text', type: 'text', community: community.rkey })
  await answers(place.service, `/api/channels?community=${community.uri}`, 200, (channels) => channels.length === 3)
  const listener = await place.service.connect(`/api/subscribe?did=${carol.did}`)
  await listener.request({ action: 'subscribe', event_type: 'community', community_uri: community.uri })
  const events = await place.service.connect(`/api/subscribe?did=${bob.did}`)
  await events.request({ action: 'voice_event', community_uri: community.uri, voice_channel_rkey: voice.rkey })
  const [owner, call] = [await inside(alice), await inside(bob, '#1')]
  const asked = { community_uri: community.uri, member_did: bob.did, channel: voice.rkey }
  const act = (more) => moderate('POST', '/api/voice/moderate', { ...asked, ...more })
  const updated = (channel, ...member_dids) => ({ type: 'voice_channel_updated', channel_rkey: channel.rkey, member_dids })

  await act({ action: 'mute' })
  await call.next({ type: 'moderated', room: voice.uri, action: 'mute' })
  await owner.next({ type: 'voice_state', from_peer_id: `${bob.did}#1`, muted: true })
  await listener.next({ type: 'voice_state_changed', did: bob.did, muted: true })
  await events.next({ type: 'voice_moderated', community_uri: community.uri, channel_rkey: voice.rkey, action: 'mute' })

  await place.service.evict('VoiceRoom', roomsOf(voice.uri))
  await act({ action: 'move', to: other.uri, channel: voice.uri, reason: 'too loud' })
  await events.next({ type: 'voice_moderated', action: 'move', channel_rkey: voice.rkey, to_channel_rkey: other.rkey })
  await listener.next(updated(voice))
  await listener.next(updated(other, bob.did))
  assert.equal((await call.closed).code, 1008)
  assert.deepEqual(call.frames.at(-1), { type: 'moderated', room: voice.uri, action: 'move', to: other.uri })
  await owner.next({ type: 'peer_left', peer_id: `${bob.did}#1` })

  const onlyPeer = await inside(bob, '#2')
  await act({ action: 'disconnect' })
  assert.equal((await onlyPeer.closed).code, 1008, 'a peer without a place in the list is disconnected, too')
  await act({ action: 'disconnect', channel: other.rkey })
  await events.next({ type: 'voice_moderated', action: 'disconnect', channel_rkey: other.rkey })
  await listener.next(updated(other))

  for (const [more, status, why] of [
    [{ action: 'mute' }, 404, 'not there'],
    [{ action: 'mute', channel: text.rkey }, 422, 'no voice channel'],
    [{ action: 'mute', channel: 'unknown' }, 404, 'no channel'],
    [{ action: 'mute', community_uri: `at://${bob.did}/social.colibri.community/3kother` }, 404, 'of another community'],
    [{ action: 'move', to: text.rkey }, 422, 'not to a text channel'],
    [{ action: 'move', to: `at://${bob.did}/social.colibri.channel/3kother` }, 422, 'not to another community'],
    [{ action: 'move' }, 422, 'where to?'],
    [{ action: 'move', to: other.rkey }, 404, 'not there, but may be in the other'],
    [{ action: 'move', to: other.rkey, member_did: 'did:plc:stranger' }, 422, 'may not be in the other, wherever they are'],
    [{ action: 'sing' }, 422, 'no such action'],
  ]) {
    const body = JSON.stringify({ ...asked, ...more })
    const headers = { authorization: 'Bearer key' }
    assert.equal((await place.service.fetch('/api/voice/moderate', { method: 'POST', headers, body })).status, status, why)
  }
  const audit = await place.service.fetchJson(`/api/audit?community=${community.uri}&subject=${bob.did}`, {
    headers: { authorization: 'Bearer key' },
  })
  assert.deepEqual(
    audit.body.map(({ action, reason }) => [action, reason]).reverse(),
    [['voice_mute', null], ['voice_move', 'too loud'], ['voice_disconnect', null], ['voice_disconnect', null]],
  )
  for (const { rkey } of [other, text]) await alice.delete('social.colibri.channel', rkey)
  await answers(place.service, `/api/channels?community=${community.uri}`, 200, (channels) => channels.length === 1)
  await Promise.all([listener, events, owner].map((socket) => socket.close()))
})

test('B-17, S20: who is banned is sent away at once, and nobody else', async () => {
  const [owner, member] = [await inside(alice), await inside(bob, '#2')]
  await moderate('POST', '/api/community/ban', { community_uri: community.uri, member_did: bob.did })
  await sentAway(member)
  await owner.next({ type: 'peer_left', peer_id: `${bob.did}#2` })
  assert.deepEqual(await join(await open(bob), voice.uri, bob.did), REFUSED)
  await moderate('DELETE', `/api/community/ban?community=${community.uri}&member_did=${bob.did}`)
  assert.equal((await join(await open(bob), voice.uri, bob.did)).type, 'joined')
  assert.equal(owner.ws.readyState, owner.ws.OPEN)
  await owner.close()
})

test('S20, I70b: the end of the channel sends everybody away', async () => {
  const later = await alice.channel({ name: 'stage', type: 'voice', community: community.rkey })
  const socket = await open(alice)
  const bobs = await open(bob)
  await eventually(
    async () => (await place.service.fetchJson(`/api/channels?community=${community.uri}`)).body.length === 2,
    { what: 'the second channel' },
  )
  assert.equal((await join(socket, later.uri, alice.did)).type, 'joined')
  assert.equal((await join(bobs, later.uri, bob.did)).type, 'joined')
  await alice.delete('social.colibri.channel', later.rkey)
  await Promise.all([sentAway(socket), sentAway(bobs)])
})

test('S20: a name that becomes a voice channel sends strangers away', async () => {
  const uri = `at://${alice.did}/social.colibri.channel/3klater`
  const [stranger, bobs] = [await open(), await open(bob)]
  assert.equal((await join(stranger, uri, 'anybody')).type, 'joined')
  assert.equal((await join(bobs, uri, `${bob.did}#later`)).type, 'joined')
  await alice.channel({ name: 'later', type: 'voice', community: community.rkey }, '3klater')
  await sentAway(stranger)
  await bobs.next({ type: 'peer_left', peer_id: 'anybody' })
  await alice.delete('social.colibri.channel', '3klater')
  await sentAway(bobs)
})
