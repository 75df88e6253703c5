// The main job on real parts: what people write to a real PDS appears in REST and on a live socket, step by step.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { answers, openPlace } from './place.js'

test('records of a real PDS reach REST and a socket that subscribed', async () => {
  const { network, service } = await openPlace()
  const [alice, bob] = await Promise.all([network.createAccount('alice'), network.createAccount('bob')])
  const socket = await service.connect(`/api/subscribe?did=${bob.did}`)
  assert.equal((await socket.request('{"action":"heartbeat","event_type":"heartbeat"}')).message, '', 'A10')

  // A subscription's key may name something unknown (A34).
  const channelRkey = '3khallwaychan'
  const communityRkey = '3kgarden'
  const communityUri = `at://${alice.did}/social.colibri.community/${communityRkey}`
  await socket.subscribe({ event_type: 'message', channel: channelRkey })
  await socket.subscribe({ event_type: 'community', community_uri: communityUri })

  await alice.community({ name: 'Garden', description: 'Plants', requiresApprovalToJoin: true }, communityRkey)
  const upserted = await socket.next({ type: 'community_upserted' })
  assert.equal(upserted.community_uri, communityUri)
  assert.equal(upserted.seq, 1, 'T14: the first event of the community')
  assert.equal(upserted.live, true, 'Q01')
  const community = await answers(service, `/api/community?community=${communityUri}`)
  assert.deepEqual(
    { owner: community.owner_did, rkey: community.rkey, name: community.name, approval: community.requires_approval_to_join },
    { owner: alice.did, rkey: communityRkey, name: 'Garden', approval: true },
  )

  const category = await alice.category({ name: 'General', community: communityRkey })
  assert.equal((await socket.next({ type: 'category_created' })).rkey, category.rkey)

  const channel = await alice.channel(
    { name: 'hall', type: 'text', community: communityRkey, category: category.rkey },
    channelRkey,
  )
  assert.equal((await socket.next({ type: 'channel_created' })).uri, channel.uri)
  const [listed] = await answers(service, `/api/channels?community=${communityUri}`, 200, (body) => body.length === 1)
  assert.deepEqual(listed, {
    uri: channel.uri,
    rkey: channelRkey,
    community_uri: communityUri,
    name: 'hall',
    description: null,
    channel_type: 'text',
    category_rkey: category.rkey,
    owner_only: false,
    voice_members: [],
  })

  const statuses = (body) => Object.fromEntries(body.map((member) => [member.member_did, member.status]))
  const membership = await bob.membership(communityUri)
  assert.equal((await socket.next({ type: 'member_pending' })).membership_uri, membership.uri)
  const pending = await answers(service, `/api/members?community=${communityUri}`)
  assert.deepEqual(statuses(pending), { [alice.did]: 'owner', [bob.did]: 'pending' })

  const early = await bob.message(channelRkey, 'too early')
  await alice.approval(membership.uri, communityUri)
  assert.equal((await socket.next({ type: 'member_joined' })).member_did, bob.did)
  const approved = await answers(service, `/api/members?community=${communityUri}`)
  assert.deepEqual(statuses(approved), { [alice.did]: 'owner', [bob.did]: 'approved' })

  const written = await bob.message(channelRkey, 'hello 🌿')
  const message = await socket.next({ type: 'message' })
  assert.equal(message.text, 'hello 🌿')
  assert.deepEqual(message.message.rkey, written.rkey, 'E01: the same object once more')
  const [shown] = await answers(service, `/api/messages?channel=${channelRkey}`, 200, (body) => body.length === 1)
  for (const [field, value] of Object.entries(shown)) assert.deepEqual(message[field], value, `E01 and O01 agree on ${field}`)

  await bob.put('social.colibri.message', written.rkey, {
    $type: 'social.colibri.message',
    text: 'hello again',
    channel: channelRkey,
    createdAt: message.created_at,
  })
  const edited = await socket.next({ type: 'message' })
  assert.deepEqual([edited.text, edited.edited, edited.id], ['hello again', true, message.id], 'I11')
  const one = `/api/message?author=${bob.did}&rkey=${written.rkey}`
  assert.equal((await answers(service, one)).text, 'hello again')

  await bob.delete('social.colibri.message', written.rkey)
  const deleted = await socket.next({ type: 'message_deleted' })
  assert.deepEqual([deleted.rkey, deleted.author_did, deleted.channel], [written.rkey, bob.did, channelRkey], 'E02')
  await answers(service, one, 404)
  await answers(service, `/api/message?author=${bob.did}&rkey=${early.rkey}`, 404)
  assert.deepEqual((await service.fetchJson(`/api/messages?channel=${channelRkey}`)).body, [], 'B-39: refused while pending')

  assert.deepEqual(
    socket.events.map((event) => event.seq),
    socket.events.map((_, n) => n + 1),
    'A39: in order, none missing, none twice',
  )
})
