// Voice presence: `voice_event` on the real runtime (contract section 6), with shortened periods.

import assert from 'node:assert/strict'
import { before, beforeEach, test } from 'node:test'

import { eventually } from './harness.js'
import { openProxy } from './proxy.js'
import { openStage } from './stage.js'

const API_KEY = 'a key for tests'
const GRACE_MS = 1_500
const AWAY_MS = 6_000
const ACK = { type: 'ack', message: '' }
const error = (message) => ({ type: 'error', message })

/** @type {Awaited<ReturnType<typeof openStage>>} */
let stage
let watcher
const [G, H] = ['alice', 'harry'].map((owner) => `at://did:plc:${owner}/social.colibri.community/c`)
const membership = (community) => ({ community, createdAt: '2026-03-01T12:00:00Z' })

before(async () => {
  stage = await openStage({
    env: { INVITE_API_KEY: API_KEY, OFFLINE_GRACE_MS: String(GRACE_MS), AWAY_AFTER_MS: String(AWAY_MS) },
  })
  for (const owner of ['alice', 'harry']) {
    await stage.say(
      [owner, 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
      [owner, 'create', 'channel/v', { name: 'voice', type: 'voice', community: 'c', ownerOnly: true }],
      [owner, 'create', 'channel/w', { name: 'other', type: 'voice', community: 'c' }],
      [owner, 'create', 'channel/t', { name: 'text', type: 'text', community: 'c' }],
    )
  }
})
beforeEach(async () => {
  watcher = await stage.service.connect('/api/subscribe')
  for (const community_uri of [G, H]) await watcher.subscribe({ event_type: 'community', community_uri })
})

let n = 0
/** A new person who is a member of both communities. */
async function member() {
  n += 1
  const name = `member${n}`
  await stage.say([name, 'create', 'membership/g', membership(G)], [name, 'create', 'membership/h', membership(H)])
  const did = `did:plc:${name}`
  const come = () => stage.service.connect(`/api/subscribe?did=${did}`)
  return { name, did, come }
}
const joining = (community_uri, voice_channel_rkey) => ({ action: 'voice_event', community_uri, voice_channel_rkey, voice_action: 'join' })
const LEAVE = { action: 'voice_event', community_uri: 'x', voice_channel_rkey: 'media room', voice_action: 'leave' }
const lists = () =>
  watcher
    .all({ type: 'voice_channel_updated' })
    .map(({ community_uri, channel_rkey, member_dids }) => [community_uri === G ? 'G' : 'H', channel_rkey, ...member_dids])
const said = (channel_rkey, ...member_dids) =>
  watcher.next({ type: 'voice_channel_updated', channel_rkey, member_dids }, { timeout: 20_000 })
const membersOf = async (community, rkey) => {
  const { body } = await stage.service.fetchJson(`/api/channels?community=${community}`)
  return body.find((channel) => channel.rkey === rkey).voice_members
}
const ban = (did) =>
  stage.service.fetch('/api/community/ban', {
    method: 'POST',
    headers: { authorization: `Bearer ${API_KEY}` },
    body: JSON.stringify({ community_uri: G, member_did: did }),
  })

test('a15 b56 voice_event says what is wrong, in order, and nothing happens', async () => {
  const { come, did } = await member()
  const [socket, anonymous] = [await come(), await stage.service.connect('/api/subscribe')]
  const stranger = await stage.service.connect('/api/subscribe?did=did:plc:stranger')
  for (const [who, frame, message] of [
    [anonymous, LEAVE, 'DID required for voice_event'],
    [socket, { ...LEAVE, voice_action: 'jump' }, 'Invalid voice_action: jump. Use join or leave'],
    [socket, { action: 'voice_event', community_uri: G }, 'community_uri and voice_channel_rkey are required for voice_event'],
    [socket, joining(G, 'nothing'), 'Unknown voice channel'],
    [socket, joining('at://nobody', 'v'), 'Unknown voice channel'],
    [socket, joining(G, 'at://did:plc:harry/social.colibri.channel/v'), 'Unknown voice channel'],
    [socket, joining(G, 't'), 'Not a voice channel'],
    [stranger, joining(G, 'v'), 'Not allowed in this voice channel'],
  ]) {
    assert.deepEqual(await who.request(frame), error(message))
  }
  assert.deepEqual(await socket.request(LEAVE), ACK, 'A12b: also when in no channel')
  assert.deepEqual(await socket.request(joining(G, 'v')), ACK, 'V02: ownerOnly does not count')
  assert.deepEqual(await socket.request(LEAVE), ACK)
  await said('v')
  assert.deepEqual(lists(), [['G', 'v', did], ['G', 'v']])
})

test('v03 v04 v05 v10 joins, repeats, moves and leaves, in order; REST agrees', async () => {
  const [one, other] = [await member(), await member()]
  const [first, second, third] = [await one.come(), await one.come(), await other.come()]
  const both = [one.did, other.did].sort()
  await first.request(joining(G, 'v'))
  await first.request(joining(G, `at://did:plc:alice/social.colibri.channel/v`))
  await third.request(joining(G, 'v'))
  assert.deepEqual(await membersOf(G, 'v'), both)
  await first.request(joining(G, 'w'))
  await second.request(joining(H, 'v'))
  assert.deepEqual(await membersOf(H, 'v'), [one.did])
  assert.deepEqual(await membersOf(G, 'w'), [])
  const sidebar = (await stage.service.fetchJson(`/api/sidebar?community=${H}`)).body
  assert.deepEqual(sidebar.uncategorized.find(({ rkey }) => rkey === 'v').voice_members, [one.did], 'V10: the same in R13')
  await first.request(LEAVE)
  await third.request(LEAVE)
  await eventually(() => lists().length === 8, { what: 'eight lists' })
  const of = (community) => lists().filter(([name]) => name === community)
  assert.deepEqual(of('G'), [['G', 'v', one.did], ['G', 'v', ...both], ['G', 'v', other.did], ['G', 'w', one.did], ['G', 'w'], ['G', 'v']])
  assert.deepEqual(of('H'), [['H', 'v', one.did], ['H', 'v']])
})

test('b55 v01 two sockets that join at once: one channel, and every list agrees', async () => {
  const { did, come } = await member()
  const sockets = [await come(), await come()]
  for (let times = 0; times < 25; times++) {
    const replies = await Promise.all([sockets[0].request(joining(G, 'v')), sockets[1].request(joining(H, 'w'))])
    assert.deepEqual(replies, [ACK, ACK])
    const places = [await membersOf(G, 'v'), await membersOf(H, 'w')].flat()
    assert.deepEqual(places, [did])
  }
  await sockets[0].request(LEAVE)
  await eventually(() => {
    const last = Object.fromEntries(lists().map(([community, channel, ...members]) => [`${community} ${channel}`, members]))
    return last['G v']?.length === 0 && last['H w']?.length === 0
  })
})

test('b56 v07 v08 the joining socket closes: out after the grace, unless somebody takes over', async () => {
  const { did, come } = await member()
  const [calling, other] = [await come(), await come()]
  await calling.request(joining(G, 'v'))
  await said('v', did)
  const closing = Date.now() // the service may see the end long before this side does
  await calling.close()
  await said('v')
  assert(Date.now() - closing >= GRACE_MS - 50, 'not before the grace')
  assert.equal(other.ws.readyState, 1, 'though another socket stays open')
  const again = await come()
  await again.request(joining(G, 'v'))
  await said('v', did)
  await again.close()
  const successor = await come()
  const clock = await member()
  const ticking = await clock.come()
  await ticking.request(joining(H, 'w'))
  await ticking.close()
  await said('w')
  assert.deepEqual(await membersOf(G, 'v'), [did], 'V08: taken over by opening, without an event')
  await successor.request(LEAVE)
  await said('v')
})

test('v07 v08 the line changes: the new socket holds the person, though it opened before the old one was found dead', async () => {
  const { did } = await member()
  const proxy = await openProxy(stage.service.port)
  const old = await proxy.connect(`/api/subscribe?did=${did}`)
  await old.request(joining(G, 'v'))
  await said('v', did)
  proxy.lose()
  const other = await stage.service.connect(`/api/subscribe?did=${did}`)
  await other.request({ action: 'activity' })
  proxy.breakOff()
  // A person whose grace period starts now, and ends after the first person's would have.
  const clock = await member()
  const ticking = await clock.come()
  await ticking.request(joining(H, 'w'))
  await ticking.close()
  await said('w', clock.did)
  await said('w')
  assert.deepEqual(await membersOf(G, 'v'), [did], 'the call goes on')
  assert.deepEqual(lists().filter(([name]) => name === 'G'), [['G', 'v', did]], 'without an event')
  await other.request(LEAVE)
  await said('v')
})

test('v06 v10 a voice channel that becomes text, or moves to another community: everybody is out, and lists agree', async () => {
  const [one, two] = [await member(), await member()]
  const [first, second] = [await one.come(), await two.come()]
  await stage.say(
    ['alice', 'create', 'community/other', { name: 'Other', requiresApprovalToJoin: false }],
    ['alice', 'create', 'channel/x', { name: 'x', type: 'voice', community: 'c' }],
    ['alice', 'create', 'channel/y', { name: 'y', type: 'voice', community: 'c' }],
  )
  await first.request(joining(G, 'x'))
  await second.request(joining(G, 'y'))
  await said('x', one.did)
  await said('y', two.did)
  await stage.say(['alice', 'update', 'channel/x', { name: 'x', type: 'text', community: 'c' }])
  await said('x')
  await watcher.next({ type: 'channel_created', rkey: 'x', channel_type: 'text' })
  const events = watcher.events.filter(({ channel_rkey, rkey }) => channel_rkey === 'x' || rkey === 'x')
  assert.deepEqual(events.slice(-2).map(({ type }) => type), ['voice_channel_updated', 'channel_created'], 'before it gets the reason')
  assert.deepEqual(await membersOf(G, 'x'), [])
  assert.deepEqual(await first.request(joining(G, 'x')), error('Not a voice channel'))
  await stage.say(['alice', 'update', 'channel/x', { name: 'x', type: 'voice', community: 'c' }])
  assert.deepEqual(await membersOf(G, 'x'), [], 'V10: nobody comes back by itself')
  await second.request(joining(G, 'y'))
  assert.deepEqual(await membersOf(G, 'y'), [two.did])
  await stage.say(['alice', 'update', 'channel/y', { name: 'y', type: 'voice', community: 'other' }])
  await said('y')
  const other = 'at://did:plc:alice/social.colibri.community/other'
  assert.deepEqual(await membersOf(other, 'y'), [])
  assert.deepEqual(await first.request(joining(G, 'x')), ACK)
  await said('x', one.did)
  await first.request(LEAVE)
})

test('b58 v06 silence, invisibility: out; a repeated join stays', async () => {
  const [quiet, loud, hidden] = [await member(), await member(), await member()]
  const sockets = [await quiet.come(), await loud.come(), await hidden.come()]
  await sockets[0].request({ action: 'set_state', state: 'dnd' })
  for (const [at, socket] of sockets.entries()) await socket.request(joining(G, ['v', 'w', 'w'][at]))
  await sockets[2].request({ action: 'set_state', state: 'offline' })
  await said('w', loud.did)
  const repeat = setInterval(() => sockets[1].send(joining(G, 'w')), AWAY_MS / 3)
  const beat = setInterval(() => sockets[0].send('{"action":"heartbeat"}'), 500)
  await said('v')
  assert.deepEqual(await membersOf(G, 'w'), [loud.did])
  clearInterval(repeat)
  clearInterval(beat)
  await sockets[1].request(LEAVE)
  await said('w')
})

test('b17 ban, membership, channel and community: out, in the order of the contract', async () => {
  const [one, two, three, four] = [await member(), await member(), await member(), await member()]
  const sockets = await Promise.all([one, two, three, four].map(({ come }) => come()))
  for (const [at, socket] of sockets.entries()) {
    assert.deepEqual(await socket.request(joining(G, ['v', 'v', 'v', 'w'][at])), ACK)
  }
  const order = (did) => watcher.events.filter((event) => event.member_dids || event.member_did === did).map(({ type }) => type).slice(-2)
  assert.equal((await ban(one.did)).status, 204)
  await watcher.next({ type: 'member_left', member_did: one.did })
  assert.deepEqual(order(one.did), ['voice_channel_updated', 'member_left'])
  assert.deepEqual(await sockets[0].request(joining(G, 'v')), error('Not allowed in this voice channel'))
  assert.deepEqual(await membersOf(G, 'v'), [two.did, three.did].sort())

  const mine = await stage.service.connect(`/api/subscribe?did=${two.did}`)
  await stage.say([two.name, 'delete', 'membership/g'])
  await watcher.next({ type: 'member_left', member_did: two.did })
  assert.deepEqual(order(two.did), ['voice_channel_updated', 'member_left'])
  await mine.next({ type: 'community_deleted', community_uri: G })
  assert.deepEqual(watcher.all({ type: 'community_deleted' }), [], 'B-16: bystanders receive member_left only')

  await stage.say(['alice', 'delete', 'channel/v'])
  await watcher.next({ type: 'channel_deleted' })
  assert.deepEqual(watcher.events.slice(-2).map(({ type }) => type), ['voice_channel_updated', 'channel_deleted'])
  await stage.say(['alice', 'delete', 'community/c'])
  await watcher.next({ type: 'community_deleted' })
  assert.deepEqual(watcher.events.slice(-2).map(({ type, member_dids }) => [type, member_dids]), [
    ['voice_channel_updated', []],
    ['community_deleted', undefined],
  ])
})

test('v11 after eviction and after a crash the lists are those of open sockets', async () => {
  const [one, two] = [await member(), await member()]
  const sockets = [await one.come(), await two.come()]
  for (const socket of sockets) await socket.request(joining(H, 'v'))
  const both = [one.did, two.did].sort()
  await said('v', ...both)
  for (const shard of [0, 1, 2, 3]) await stage.service.evict('Gateway', `gateway-${shard}`)
  await stage.service.evict('Community', H)
  assert.deepEqual(await membersOf(H, 'v'), both)
  await stage.service.kill9()
  await stage.service.restart()
  const back = await one.come()
  await back.request(joining(H, 'v'))
  await eventually(async () => (await membersOf(H, 'v')).length === 1, { timeout: 45_000, what: 'the other one to be out' })
  assert.deepEqual(await membersOf(H, 'v'), [one.did])
})

test('B-59, C23: no list of who is in voice is in the log', async () => {
  const people = [await member(), await member()]
  const sockets = []
  for (const [at, person] of people.entries()) {
    const socket = await person.come()
    sockets.push(socket)
    assert.deepEqual(await socket.request(joining(H, 'w')), ACK)
    await said('w', ...people.slice(0, at + 1).map(({ did }) => did).sort())
  }
  for (const socket of sockets) assert.deepEqual(await socket.request(LEAVE), ACK)
  await said('w')
  const lines = stage.service.logs().split('\n')
  assert(lines.some((line) => line.includes('"level"')), 'it is the log')
  const telling = lines.filter((line) => /member_dids|voice_members/.test(line) || people.every(({ did }) => line.includes(did)))
  assert.deepEqual(telling, [])
})
