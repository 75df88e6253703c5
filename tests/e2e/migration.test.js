// An account moves to another PDS as the network's software does it: service auth, import, an operation in the
// directory; then the new account is active and the old one is not (K09, K11, I50).

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { COLLECTION } from '../network/records.js'
import { eventually, startService } from './harness.js'
import { answers, connected, garden, openPlace } from './place.js'

const hostOf = (url) => new URL(url).host

test('K11: accounts move between two real PDSes', async (t) => {
  const place = await openPlace({ serve: false, two: true })
  const { network, settings } = place
  const service = await startService({ ...settings, env: { ...settings.env, INVITE_API_KEY: 'key', DOH_URL: network.dns } })
  await connected(service)
  const { alice, bob, community, channel } = await garden(place)
  await answers(service, `/api/community?community=${encodeURIComponent(community.uri)}`)
  const socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'message', channel: channel.uri })
  await socket.subscribe({ event_type: 'community', community_uri: community.uri })

  const read = (who, more = () => true) =>
    answers(service, `/api/sync?did=${who.did}`, 200, (repo) => repo.status === 'synced' && repo.next_attempt_at === null && more(repo))
  const messages = async () => {
    const { body } = await service.fetchJson(`/api/messages?channel=${encodeURIComponent(channel.uri)}&all=1`)
    return new Map(body.map((message) => [message.rkey, message.text]))
  }
  const livesAt = async (who, pds) => {
    await read(who, (repo) => repo.pds && hostOf(repo.pds) === hostOf(pds))
    await answers(service, `/api/identity?id=${who.did}`, 200, (found) => hostOf(found.pds) === hostOf(pds) && found.handle_status === 'valid')
  }
  /** Every event of the community, except those about profiles. */
  const received = () => socket.all(({ type }) => type.startsWith('message') || type.startsWith('member') || type.startsWith('c'))

  const written = []
  for (let n = 0; n < 5; n++) written.push(await bob.message(channel.rkey, `from the old host ${n}`))
  const blob = await bob.uploadBlob(Buffer.from('not really a picture'), 'image/png')
  written.push(await bob.message(channel.rkey, 'look', { attachments: [{ blob, name: 'x.png' }] }))
  // A write that the stream does not bring: the newest revision is not the last one received.
  await bob.create('com.example.unrelated', { text: 'nothing of Colibri' })
  for (const { rkey } of written) await socket.next({ type: 'message', rkey, live: true })
  await livesAt(alice, network.pds)
  await livesAt(bob, network.pds)
  const before = received().length
  let moved

  await t.test('the move is followed, and nothing is published, shown twice or lost because of it', async () => {
    await network.asked(1)
    moved = await network.move(bob, network.pds2)
    assert.equal(moved.did, bob.did)
    // The new host's repository is signed with the old key, until something is written there.
    await livesAt(bob, network.pds2)
    assert((await network.asked(1)).byDid[bob.did] > 0, 'it was looked up there')
    assert.deepEqual([...(await messages()).keys()].sort(), written.map(({ rkey }) => rkey).sort())
    const { body: members } = await service.fetchJson(`/api/members?community=${encodeURIComponent(community.uri)}`)
    assert(members.some(({ member_did }) => member_did === bob.did))
    const picture = await service.fetch(`/api/blob?did=${bob.did}&cid=${blob.ref.$link}`)
    assert.deepEqual([picture.status, await picture.text()], [200, 'not really a picture'])
    // Every event that had to be published comes before this one.
    const last = await alice.message(channel.rkey, 'he has moved')
    await socket.next({ type: 'message', rkey: last.rkey })
    assert.deepEqual(received().slice(before).map(({ type, rkey }) => [type, rkey]), [['message', last.rkey]])
  })

  await t.test('what is written at the new host is received, once', async () => {
    const fresh = await moved.message(channel.rkey, 'from the new host')
    await moved.delete(COLLECTION.message, written[0].rkey)
    await socket.next({ type: 'message', rkey: fresh.rkey, live: true })
    await socket.next({ type: 'message_deleted', rkey: written[0].rkey })
    await service.fetchJson('/api/sync', {
      method: 'POST',
      headers: { authorization: 'Bearer key' },
      body: JSON.stringify({ did: bob.did }),
    })
    await read(bob, ({ reason }) => reason === 'asked')
    const all = await messages()
    assert.deepEqual([all.get(fresh.rkey), all.has(written[0].rkey)], ['from the new host', false])
    assert.equal(socket.all({ type: 'message', rkey: fresh.rkey }).length, 1)
  })

  await t.test('a move without an event, with what was written before and after it (K05)', async () => {
    await read(alice)
    await network.stopJetstream()
    const { frames } = await network.stats()
    const early = await alice.message(channel.rkey, 'still at the old host')
    const there = await network.move(alice, network.pds2)
    const late = await there.message(channel.rkey, 'at the new host')
    const side = await there.channel({ name: 'side', type: 'text', community: community.rkey })
    await moved.delete(COLLECTION.message, written[1].rkey)
    // Four writes; of the move two identity events and the active account. The old host's later events are not passed
    // on.
    await eventually(async () => (await network.stats()).frames >= frames + 7, { what: 'the stream to have all of it' })
    await network.lookback((await network.stats()).lastTimeUs + 1)
    const count = received().length
    await network.resumeJetstream()
    await connected(service)
    const live = await moved.message(channel.rkey, 'and on it goes')
    await socket.next({ type: 'message', rkey: live.rkey, live: true })
    await socket.next({ type: 'message', rkey: early.rkey, live: false })
    await socket.next({ type: 'message', rkey: late.rkey, live: false })
    await socket.next({ type: 'channel_created', rkey: side.rkey, live: false })
    await socket.next({ type: 'message_deleted', rkey: written[1].rkey, live: false })
    await livesAt(alice, network.pds2)
    await eventually(async () => (await service.fetchJson('/api/health')).body.ingest.gaps.length === 0, { what: 'the gap to be closed' })
    const news = received().slice(count)
    assert.equal(news.length, 5, JSON.stringify(news))
    const all = await messages()
    assert.deepEqual([all.get(early.rkey), all.get(late.rkey)], ['still at the old host', 'at the new host'])
    assert(!all.has(written[1].rkey))
    const { body: found } = await service.fetchJson(`/api/community?community=${encodeURIComponent(community.uri)}`)
    assert.equal(found.name, 'Garden')
  })
})
