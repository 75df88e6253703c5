// A relay leads to unknown repositories, within its limits (RELAY_URL; K03, K06, K07), and a relay that lies or fails
// harms nothing (invariant 4).

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Listener } from '../network/listener.js'
import { startRelay } from '../network/relay.js'
import { atEnd, eventually, startService } from './harness.js'
import { answers, connected, openPlace } from './place.js'

const COLLECTIONS = ['social.colibri.community', 'social.colibri.membership', 'social.colibri.actor.data']

const ingestOf = async (service) => (await service.fetchJson('/api/health')).body.ingest

/** Waits until the relay walk matches. */
const walk = (service, what, fits) =>
  eventually(
    async () => {
      const { relay, repos } = await ingestOf(service)
      if (relay && fits(relay, repos)) return { ...relay, repos }
      throw new Error(JSON.stringify({ relay, repos }))
    },
    { what, timeout: 60_000 },
  )

const repoOf = async (service, { did }) => (await service.fetchJson(`/api/sync?did=${did}`)).body

/** Waits until the stream has a record. */
async function streamed(network, account, record) {
  const listener = await Listener.open(network.jetstream, { cursor: 1, wantedDids: account.did })
  await listener.commit('create', record)
  listener.close()
}

/** A network with a past that no stream contains, and a relay that lists it. */
async function past() {
  const place = await openPlace({ serve: false, two: true })
  const { network } = place
  const relay = await startRelay([network.pds, network.pds2])
  atEnd(() => relay.stop())
  return { ...place, relay, env: { ...place.settings.env, RELAY_URL: relay.url, INVITE_API_KEY: 'key' } }
}

test('a community whose owner nobody named is found, with its members', async (t) => {
  const { network, relay, settings, env } = await past()
  const [alice, bob] = [await network.createAccount('alice'), await network.createAccount('bob', undefined, network.pds2)]
  const carol = await network.createAccount('carol', undefined, network.pds2)
  await network.createAccount('dora') // has nothing to do with it
  const community = await alice.community({ name: 'Garden', requiresApprovalToJoin: false })
  const channel = await alice.channel({ name: 'hall', type: 'text', community: community.rkey })
  await bob.membership(community.uri)
  const written = await bob.message(channel.rkey, 'anybody here?')
  const status = await carol.actor({ status: 'reading', emoji: '📚' })
  await streamed(network, alice, channel)
  await streamed(network, bob, written)
  await streamed(network, carol, status)
  await network.lookback((await network.stats()).lastTimeUs + 1)
  relay.pageMax = 1
  relay.strays = [{ did: 'nobody' }, 7, { did: 'did:key:zabc' }]
  relay.fault = 'down'

  const service = await startService({ ...settings, env })
  await connected(service)

  await t.test('K03: a relay that fails is asked after growing pauses, and holds nothing up', async () => {
    const failing = await walk(service, 'the relay to have failed', ({ failures }) => failures >= 2)
    assert.match(failing.error, /relay|fetch|network|connection/i)
    assert(failing.next_attempt_at > failing.began_at)
    assert.deepEqual([failing.ended_at, failing.pages, failing.found], [null, 0, 0])
    const erin = await network.createAccount('erin')
    const other = await erin.community({ name: 'Orchard', requiresApprovalToJoin: false })
    await answers(service, `/api/community?community=${encodeURIComponent(other.uri)}`)
    await answers(service, `/api/sync?did=${erin.did}`, 200, ({ status }) => status === 'synced')
    // Pauses of at least 2, 4, 8 … seconds: at most one request more than failures.
    const { failures } = (await ingestOf(service)).relay
    assert(relay.news().length <= failures + 1)
    relay.fault = 'nonsense'
    await walk(service, 'nonsense to be a failure, too', ({ error }) => /nonsense/.test(error ?? ''))
    relay.fault = undefined
  })

  await t.test('what it lists is read, page after page, and what is nonsense in it is dropped', async () => {
    const done = await walk(service, 'the walk to end', ({ ended_at }) => ended_at !== null)
    assert.deepEqual([done.ending, done.failures, done.error], ['complete', 0, null])
    assert.equal(done.found, 3, 'alice, bob and carol')
    assert.equal(done.dropped, COLLECTIONS.length * relay.strays.length)
    await answers(service, `/api/communities?did=${bob.did}`, 200, ({ joined }) => joined[0]?.rkey === community.rkey)
    await answers(service, `/api/messages?channel=${encodeURIComponent(channel.uri)}`, 200, ([message]) => message?.rkey === written.rkey)
    await answers(service, `/api/authors?did=${carol.did}`, 200, ({ status_text }) => status_text === 'reading')
    await walk(service, 'everything to be read', (_, { due }) => due === 0)
    assert.deepEqual((await Promise.all([alice, bob, carol].map((who) => repoOf(service, who)))).map(({ reason }) => reason), [
      'new', // known for their own sake by an accepted record
      'new',
      'found',
    ])
    const asked = relay.news()
    assert.deepEqual([...new Set(asked.map(({ collection }) => collection))], COLLECTIONS)
    assert(asked.length < 40, `${asked.length} requests`)
  })

  await t.test('K06: then there is silence, and another walk makes no work', async () => {
    await Promise.all([network.asked(0), network.asked(1)])
    const { began_at } = (await ingestOf(service)).relay
    await service.restart()
    await connected(service)
    await walk(service, 'the database to answer', () => true)
    assert.deepEqual(relay.news(), [], 'one walk a day')
    // Another relay, or the same one under another name, is walked at once.
    await service.restart({ env: { RELAY_URL: `${relay.url}/again` } })
    relay.fault = 'error'
    await walk(service, 'another relay to be asked', (again) => again.began_at > began_at && again.failures > 0)
    await service.restart({ env: { RELAY_URL: relay.url } })
    relay.fault = undefined
    const again = await walk(service, 'the second walk to end', (one) => one.began_at > began_at && one.ended_at !== null)
    assert.deepEqual([again.ending, again.found, again.repos.due], ['complete', 0, 0])
    for (const pds of [0, 1]) {
      // Requests that name no DID go to the relay.
      const dids = Object.keys((await network.asked(pds)).byDid).filter((did) => did !== '')
      assert.deepEqual(dids, [], 'no repository was asked for')
    }
  })
})

test('a relay that lists people without end finds a bounded number, and those who are known come first', async () => {
  const { network, relay, settings, env } = await past()
  relay.fault = 'flood'
  const service = await startService({ ...settings, env })
  await connected(service)
  const full = await walk(service, 'the queue to be full', ({ found }) => found >= 1_000)
  const alice = await network.createAccount('alice')
  const community = await alice.community({ name: 'Garden', requiresApprovalToJoin: false })
  const channel = await alice.channel({ name: 'hall', type: 'text', community: community.rkey })
  const socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'message', channel: channel.uri })
  await answers(service, `/api/sync?did=${alice.did}`, 200, ({ status }) => status === 'synced')
  const { rkey } = await alice.message(channel.rkey, 'hello')
  await socket.next({ type: 'message', rkey, live: true })
  const { relay: later, repos } = await ingestOf(service)
  assert(repos.due > 500, `alice did not wait for those who were found: ${repos.due} are due`)
  // The waiting ones, one page on top, and those tried in the meantime.
  assert(repos.known <= 2_500, `${repos.known} are known`)
  assert(later.pages <= 5, `${later.pages} pages`)
  assert.equal(later.ended_at, null)
  assert(full.pages <= 3)
})

test('without RELAY_URL nobody is asked', async () => {
  const { network, relay, settings, env } = await past()
  const service = await startService({ ...settings, env: { ...env, RELAY_URL: '' } })
  await connected(service)
  const alice = await network.createAccount('alice')
  const community = await alice.community({ name: 'Garden', requiresApprovalToJoin: false })
  await answers(service, `/api/community?community=${encodeURIComponent(community.uri)}`)
  assert.deepEqual(relay.news(), [])
  assert.equal((await ingestOf(service)).relay, undefined)
})
