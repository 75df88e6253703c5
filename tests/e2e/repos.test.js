// Repositories are read completely and within limits: what was written before the service knew of it, and what a gap in
// the stream lost (K01, K03–K05, K08, J07).

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { COLLECTION } from '../network/records.js'
import { Follower } from './follower.js'
import { eventually, startService } from './harness.js'
import { answers, connected, openPlace } from './place.js'

const KEY = { authorization: 'Bearer key' }
const ENV = { INVITE_API_KEY: 'key' }

/** Has a repository read, as an operator. */
const sync = (service, did) =>
  service.fetchJson('/api/sync', { method: 'POST', headers: KEY, body: JSON.stringify({ did }) })

/** Waits until a repository is read and nothing is due. */
const synced = (service, did) =>
  answers(service, `/api/sync?did=${did}`, 200, ({ status, next_attempt_at }) => status === 'synced' && next_attempt_at === null)

/** Waits until nothing is due anywhere and no gap is open. */
const settled = (service) =>
  eventually(
    async () => {
      const { ingest } = (await service.fetchJson('/api/health')).body
      if (ingest.repos.due === 0 && ingest.gaps.length === 0) return ingest.repos
      throw new Error(JSON.stringify(ingest))
    },
    { what: 'every repository to be read', timeout: 60_000 },
  )

/** Records of a person as their PDS lists them, by key. */
const listed = async (account, collection) => new Map((await account.list(collection)).map(({ rkey, value }) => [rkey, value]))

/** Every message of a channel, by key. */
async function shown(service, channel) {
  const { body } = await service.fetchJson(`/api/messages?channel=${encodeURIComponent(channel)}&all=1`)
  return new Map(body.map((message) => [`${message.author_did} ${message.rkey}`, message]))
}

test('repositories that become known are read in full, and what a gap took comes back (K01, K05, B-27, B-35, B-41)', async (t) => {
  const { network, settings } = await openPlace({ serve: false })
  const [alice, bob] = await Promise.all([network.createAccount('alice'), network.createAccount('bob')])
  const community = await alice.community({ name: 'Garden', requiresApprovalToJoin: true })
  const channel = await alice.channel({ name: 'hall', type: 'text', community: community.rkey })
  const membership = await bob.membership(community.uri)
  await alice.approval(membership.uri, community.uri)
  const texts = Array.from({ length: 250 }, (_, n) => ({ text: `old ${n}`, channel: channel.rkey, createdAt: '2026-03-01T12:00:00Z' }))
  const old = await bob.createMany(COLLECTION.message, texts)
  await alice.reaction(old[0].uri, '🌿')
  await bob.profile({ displayName: 'Bob' })
  await bob.actor({ status: 'reading', emoji: '📚' })
  // The stream does not reach back to any of it.
  await eventually(async () => (await network.stats()).frames >= 250)
  await network.lookback((await network.stats()).lastTimeUs + 1)

  const service = await startService({ ...settings, env: { ...settings.env, ...ENV } })
  await connected(service)

  await t.test('only an operator may have a repository read', async () => {
    const refused = await service.fetchJson('/api/sync', { method: 'POST', body: JSON.stringify({ did: bob.did }) })
    assert.equal(refused.status, 401)
    assert.equal((await service.fetchJson(`/api/sync?did=${bob.did}`)).status, 404)
    assert.equal((await service.fetchJson('/api/sync?did=bob')).status, 422)
  })

  await t.test('what was written before the service knew of it is there', async () => {
    // The member first: the gate judges again when the owner's repository is read.
    const asked = await sync(service, bob.did)
    assert.deepEqual([asked.status, asked.body.did, asked.body.reason], [202, bob.did, 'asked'])
    await synced(service, alice.did)
    await settled(service)
    const messages = await shown(service, channel.uri)
    assert.equal(messages.size, 250)
    assert.equal(messages.get(`${bob.did} ${old[7].rkey}`).text, 'old 7')
    assert.equal(messages.get(`${bob.did} ${old[0].rkey}`).reactions[0]?.emoji, '🌿', 'K10')
    const { body: members } = await service.fetchJson(`/api/members?community=${encodeURIComponent(community.uri)}`)
    const member = members.find(({ member_did }) => member_did === bob.did)
    assert.deepEqual([member.status, member.display_name, member.status_text], ['approved', 'Bob', 'reading'])
  })

  await t.test('a client receives what a gap took, once, with live: false', async () => {
    const socket = await service.connect('/api/subscribe')
    await socket.subscribe({ event_type: 'message', channel: channel.uri })
    await socket.subscribe({ event_type: 'community', community_uri: community.uri })
    const first = await alice.message(channel.rkey, 'live')
    await socket.next({ type: 'message', rkey: first.rkey, live: true })
    await settled(service)
    await network.stopJetstream()
    const { frames: framesBefore } = await network.stats()
    const before = await listed(bob, COLLECTION.message)
    await bob.applyWrites([
      ...old.slice(0, 20).map(({ rkey }) => ({ action: 'delete', collection: COLLECTION.message, rkey })),
      ...old.slice(20, 40).map(({ rkey }) => ({
        action: 'update',
        collection: COLLECTION.message,
        rkey,
        value: { ...before.get(rkey), text: `edited ${rkey}` },
      })),
    ])
    const missed = await bob.createMany(
      COLLECTION.message,
      Array.from({ length: 110 }, (_, n) => ({ text: `missed ${n}`, channel: channel.rkey, createdAt: new Date().toISOString() })),
    )
    const side = await alice.channel({ name: 'side', type: 'text', community: community.rkey })
    await eventually(async () => (await network.stats()).frames >= framesBefore + 151, { what: 'the stream to have them' })
    await network.lookback((await network.stats()).lastTimeUs + 1)
    await network.resumeJetstream()
    await connected(service)
    const live = await alice.message(channel.rkey, 'and on it goes')
    await socket.next({ type: 'message', rkey: live.rkey, live: true })
    await socket.next({ type: 'channel_created', rkey: side.rkey, live: false })
    for (const { rkey } of missed) await socket.next({ type: 'message', rkey, live: false })
    for (const { rkey } of old.slice(20, 40)) {
      const { text, edited } = await socket.next({ type: 'message', rkey, live: false })
      assert.deepEqual([text, edited], [`edited ${rkey}`, true])
    }
    for (const { rkey } of old.slice(0, 20)) await socket.next({ type: 'message_deleted', rkey, live: false })
    await settled(service)

    const records = await listed(bob, COLLECTION.message)
    const messages = await shown(service, channel.uri)
    assert.equal(messages.size, records.size + 2)
    for (const [rkey, { text }] of records) assert.equal(messages.get(`${bob.did} ${rkey}`)?.text, text)
    const received = socket.all((frame) => frame.type === 'message' || frame.type === 'message_deleted')
    assert.equal(received.length, 110 + 20 + 20 + 2, 'each once')
  })

  await t.test('a quiet instance sends no requests, whatever lookups there were (K06, B-34)', async () => {
    await network.asked(0)
    for (let n = 0; n < 200; n++) await service.fetchJson(`/api/authors?did=did:plc:nobody${n}`)
    assert.equal((await settled(service)).known, 2)
    assert.equal((await network.asked(0)).total, 0)
  })

  await t.test('a community that somebody looks for is there soon, with what its owner wrote (K01)', async () => {
    const carol = await network.createAccount('carol')
    await network.stopJetstream()
    const lost = await carol.community({ name: 'Lost', requiresApprovalToJoin: false })
    const attic = await carol.channel({ name: 'attic', type: 'text', community: lost.rkey })
    await carol.message(attic.rkey, 'anybody here?')
    const path = `/api/community?community=${encodeURIComponent(lost.uri)}`
    assert.equal((await service.fetchJson(path)).status, 404)
    await answers(service, path, 200, ({ name }) => name === 'Lost')
    await answers(service, `/api/messages?channel=${encodeURIComponent(attic.uri)}`, 200, (messages) => messages.length === 1)
    await settled(service)
    await network.resumeJetstream()
  })

  await t.test('an account that went away unseen is hidden, and shown again when it is back (I51, I53)', async () => {
    const count = async () => (await shown(service, channel.uri)).size
    const before = await count()
    await network.stopJetstream()
    await bob.deactivate()
    await sync(service, bob.did)
    await answers(service, `/api/sync?did=${bob.did}`, 200, ({ status, next_attempt_at }) => status === 'absent' && !next_attempt_at)
    assert((await count()) < before)
    await bob.activate()
    await sync(service, bob.did)
    await synced(service, bob.did)
    assert.equal(await count(), before)
    await network.resumeJetstream()
    await connected(service)
  })

  await t.test('what a restart finds is not published again', async () => {
    await service.restart()
    await connected(service)
    const socket = await service.connect('/api/subscribe')
    await socket.subscribe({ event_type: 'message', channel: channel.uri })
    await sync(service, bob.did)
    await settled(service)
    const last = await bob.message(channel.rkey, 'the end')
    await socket.next({ type: 'message', rkey: last.rkey })
    assert.equal(socket.all({ type: 'message' }).length, 1)
    await settled(service)
  })

  await t.test('a client that was there before an outage of the service, and comes back with its cursor, gets the differences (J07, K08, Q02)', async () => {
    const client = new Follower(service, [{ uri: community.uri, channels: [channel.uri] }])
    await client.connect()
    client.leave()
    const heardBefore = client.events().length
    await service.stop()
    const { frames: framesBefore } = await network.stats()
    const before = await listed(bob, COLLECTION.message)
    const [gone, changed] = [[...before.keys()].slice(0, 20), [...before.keys()].slice(20, 40)]
    await bob.applyWrites([
      ...gone.map((rkey) => ({ action: 'delete', collection: COLLECTION.message, rkey })),
      ...changed.map((rkey) => ({
        action: 'update',
        collection: COLLECTION.message,
        rkey,
        value: { ...before.get(rkey), text: `changed while away ${rkey}` },
      })),
    ])
    const texts = Array.from({ length: 110 }, (_, n) => ({ text: `away ${n}`, channel: channel.rkey, createdAt: new Date().toISOString() }))
    const written = await bob.createMany(COLLECTION.message, texts)
    await eventually(async () => (await network.stats()).frames >= framesBefore + 150, { what: 'the stream to have them' })
    await network.lookback((await network.stats()).lastTimeUs + 1)
    await service.start()
    await connected(service)
    await client.connect()
    const live = await alice.message(channel.rkey, 'here again')
    const received = () => client.events().slice(heardBefore)
    await eventually(() => received().length >= 151, { what: 'the client to receive everything', timeout: 60_000 })
    await settled(service)
    const of = (events) => events.map(({ rkey }) => rkey).sort()
    const found = received().filter((event) => !event.live)
    assert.deepEqual(of(found.filter(({ type }) => type === 'message_deleted')), gone.toSorted())
    assert.deepEqual(of(found.filter(({ type, edited }) => type === 'message' && edited)), changed.toSorted())
    assert.deepEqual(of(found.filter(({ type, edited }) => type === 'message' && !edited)), of(written))
    assert.deepEqual(of(received().filter((event) => event.live)), [live.rkey], 'and nothing else')
    const seqs = client.events().map(({ seq }) => seq)
    assert.deepEqual(seqs, seqs.toSorted((a, b) => a - b), 'in order')
    assert.equal(new Set(seqs).size, seqs.length, 'each once')
    const { body } = await service.fetchJson('/api/health')
    assert.deepEqual(body.ingest.gaps, [], 'the gap is closed')
    client.leave()
  })
})
