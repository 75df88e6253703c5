// Finding and following on the real runtime, with records as people write them: the directory (R52, R53), what happens in
// a person's communities (R54), and events about threads (U33), also for a client that was away.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { COLLECTION } from '../network/records.js'
import { eventually } from './harness.js'
import { answers, garden, openPlace } from './place.js'
import { bearer, vouch } from './tokens.js'

const KEY = 'the key of the tests'

let place, service, alice, bob, community, channel
before(async () => {
  place = await openPlace({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: 'what signs the tokens' } })
  service = place.service
  ;({ alice, bob, community, channel } = await garden(place))
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
})

const as = async ({ did }) => bearer(await vouch(service, KEY, did))

/** Fetches with the API key. */
const put = (path, body, headers = bearer(KEY)) =>
  service.fetchJson(path, { method: 'PUT', headers, body: JSON.stringify(body) })

test('U33: who receives the messages of a channel receives how long its threads are, also on resuming', async () => {
  const socket = await service.connect('/api/subscribe')
  await socket.request({ action: 'subscribe', event_type: 'message', channel: channel.uri })
  const root = await alice.message(channel.rkey, 'root')
  await socket.next({ type: 'message', rkey: root.rkey })
  const first = await bob.message(channel.rkey, 'first', { parent: root.rkey })
  const said = await socket.next({ type: 'thread_updated', parent: root.rkey, root_uri: root.uri, reply_count: 1 })
  const { created_at } = (await service.fetchJson(`/api/message?author=${bob.did}&rkey=${first.rkey}`)).body
  assert.equal(Date.parse(said.last_reply_at), Date.parse(created_at))
  assert.equal(said.channel_uri, channel.uri)
  const below = await alice.message(channel.rkey, 'below', { parent: first.uri })
  await socket.next({ type: 'thread_updated', parent: first.uri, root_uri: root.uri, reply_count: 2 })
  await alice.delete(COLLECTION.message, below.rkey)
  await socket.next({ type: 'thread_updated', parent: first.uri, root_uri: root.uri, reply_count: 1 })
  const blocked = `/api/message/block?author_did=${bob.did}&rkey=${first.rkey}`
  await service.fetch(blocked, { method: 'POST', headers: bearer(KEY) })
  const last = await socket.next({ type: 'thread_updated', parent: root.rkey, root_uri: root.uri, reply_count: 0 })
  assert.equal(last.last_reply_at, null)
  await service.fetch(blocked, { method: 'DELETE', headers: bearer(KEY) })
  await socket.next(({ type, seq, reply_count }) => type === 'thread_updated' && seq > last.seq && reply_count === 1)
  const seqs = socket.frames.filter(({ type }) => type === 'thread_updated').map(({ seq }) => seq)
  await socket.close()

  await service.evict('Community', community.uri)
  const again = await service.connect('/api/subscribe')
  await again.request({ action: 'subscribe', event_type: 'message', channel: channel.uri })
  again.send({ action: 'subscribe', event_type: 'community', community_uri: community.uri, cursor: said.seq })
  await again.next({ type: 'resumed' })
  const missed = again.frames.filter(({ type }) => type === 'thread_updated')
  assert.deepEqual(missed.map(({ seq }) => seq), seqs.slice(1), 'each once, with its number')
  await again.close()
})

test('R52, R53: the directory shows what its owner lists, as long as it is there', async () => {
  const other = await bob.community({ name: 'Grove', requiresApprovalToJoin: true })
  await answers(service, `/api/community?community=${other.uri}`)
  assert.deepEqual((await service.fetchJson('/api/directory')).body, [])
  assert.equal((await put('/api/community/listing', { community_uri: community.uri, listed: true }, await as(bob))).status, 403)
  for (const [{ uri }, owner] of [[community, alice], [other, bob]]) {
    const answer = await put('/api/community/listing', { community_uri: uri, listed: true }, await as(owner))
    assert.deepEqual([answer.status, answer.body], [200, { community_uri: uri, listed: true }])
  }
  const unknown = `at://${bob.did}/social.colibri.community/3kunknown`
  assert.equal((await put('/api/community/listing', { community_uri: unknown, listed: true })).status, 404)
  const socket = await service.connect(`/api/subscribe?did=${bob.did}`)
  await answers(service, '/api/directory', 200, ([, garden]) => garden?.online_count === 1)
  const page = await service.fetchJson('/api/directory?limit=1')
  assert.equal(page.body[0].community_uri, other.uri, 'the last listed first')
  const cursor = page.headers.get('colibri-cursor')
  const rest = await service.fetchJson(`/api/directory?${new URLSearchParams({ cursor })}`)
  const { listed_at, ...shown } = rest.body[0]
  assert(Date.parse(listed_at))
  assert.deepEqual(shown, {
    community_uri: community.uri,
    owner_did: alice.did,
    name: 'Garden',
    description: '',
    picture: null,
    requires_approval_to_join: false,
    members_only: false,
    member_count: 2,
    online_count: 1,
  })
  await put('/api/community/members-only', { community_uri: other.uri, members_only: true })
  await answers(service, '/api/directory', 200, ([grove]) => grove.members_only && grove.member_count === null)
  await bob.delete(COLLECTION.community, other.rkey)
  await answers(service, '/api/directory', 200, (all) => all.length === 1)
  await put('/api/community/listing', { community_uri: community.uri, listed: false })
  await answers(service, '/api/directory', 200, (all) => all.length === 0)
  await socket.close()
})

test('R54: the newest messages of all communities of a person, for that person alone', async () => {
  const grove = await alice.community({ name: 'Grove', requiresApprovalToJoin: true })
  const room = await alice.channel({ name: 'trees', type: 'text', community: grove.rkey })
  const wish = await bob.membership(grove.uri)
  await answers(service, `/api/channels?community=${grove.uri}`, 200, (channels) => channels.length === 1)
  const oak = await alice.message(room.rkey, 'oak')
  const rose = await alice.message(channel.rkey, 'rose')
  const path = `/api/activity?did=${bob.did}`
  const texts = async (query = '') => {
    const answer = await service.fetchJson(path + query, { headers: await as(bob) })
    assert.equal(answer.status, 200, JSON.stringify(answer.body))
    return answer.body.map(({ message }) => message.text)
  }
  await eventually(async () => (await texts('&limit=1'))[0] === 'rose')
  assert(!(await texts()).includes('oak'), 'bob is not approved there')
  await alice.approval(wish.uri, grove.uri)
  await eventually(async () => (await texts()).includes('oak'))
  const page = await service.fetchJson(`${path}&limit=1`, { headers: await as(bob) })
  assert.deepEqual(
    page.body.map(({ community_uri, channel_uri, message }) => [community_uri, channel_uri, message.rkey]),
    [[community.uri, channel.uri, rose.rkey]],
  )
  const cursor = page.headers.get('colibri-cursor')
  assert.equal((await texts(`&limit=1&${new URLSearchParams({ cursor })}`))[0], 'oak')
  await service.fetch(`/api/message/block?author_did=${alice.did}&rkey=${oak.rkey}`, { method: 'POST', headers: bearer(KEY) })
  assert(!(await texts()).includes('oak'), 'blocked')
  for (const [headers, status] of [[{}, 401], [await as(alice), 403], [bearer(KEY), 200]])
    assert.equal((await service.fetchJson(path, { headers })).status, status)
})
