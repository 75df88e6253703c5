// Reactions, statuses, profiles and accounts: written to a real PDS and received on a socket.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { answers, garden, openPlace } from './place.js'

test('reactions, status, profile and account of a member', async () => {
  const place = await openPlace()
  const { service } = place
  const { alice, bob, community, channel } = await garden(place)
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
  const socket = await service.connect(`/api/subscribe?did=${alice.did}`)
  await socket.subscribe({ event_type: 'message', channel: channel.rkey })
  await socket.subscribe({ event_type: 'community', community_uri: community.uri })
  await socket.subscribe({ event_type: 'user_status', did: bob.did })

  const message = await bob.message(channel.rkey, 'hello')
  await socket.next({ type: 'message' })
  const reaction = await alice.reaction(message.rkey, '🌿')
  const added = await socket.next({ type: 'reaction_added' })
  assert.deepEqual([added.rkey, added.target_rkey, added.emoji], [reaction.rkey, message.rkey, '🌿'], 'E03')
  const [shown] = await answers(service, `/api/messages?channel=${channel.rkey}`)
  assert.deepEqual(shown.reactions, [
    { emoji: '🌿', count: 1, reactor_dids: [alice.did], authors: [alice.did], rkeys: [reaction.rkey] },
  ])
  await alice.delete('social.colibri.reaction', reaction.rkey)
  assert.equal((await socket.next({ type: 'reaction_removed' })).rkey, reaction.rkey, 'E04')

  await bob.actor({ status: 'Reading', emoji: '📚' })
  const status = await socket.next({ type: 'user_status_changed' })
  assert.deepEqual([status.did, status.status, status.emoji, status.seq], [bob.did, 'Reading', '📚', undefined], 'E15')
  await bob.profile({ displayName: 'Bob' })
  const profile = await socket.next({ type: 'user_profile_updated' })
  assert.deepEqual([profile.did, profile.display_name, profile.avatar_url], [bob.did, 'Bob', null], 'E16')
  const members = await answers(service, `/api/members?community=${community.uri}`)
  const me = members.find((member) => member.member_did === bob.did)
  assert.deepEqual([me.display_name, me.status_text, me.emoji], ['Bob', 'Reading', '📚'])

  await bob.deactivate()
  assert.equal((await socket.next({ type: 'message_deleted' })).rkey, message.rkey, 'I51')
  assert.equal((await socket.next({ type: 'member_left' })).member_did, bob.did, 'I51')
  await answers(service, `/api/messages?channel=${channel.rkey}`, 200, (messages) => messages.length === 0)
  await bob.activate()
  assert.equal((await socket.next({ type: 'member_pending' })).member_did, bob.did, 'I53')
  await answers(service, `/api/messages?channel=${channel.rkey}`, 200, (messages) => messages.length === 1)
})
