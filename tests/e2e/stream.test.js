// The stream under real conditions: unreachable, frozen, dropped, full of invalid frames.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { eventually, startService } from './harness.js'
import { answers, connected, garden, openPlace } from './place.js'

test('an unreachable Jetstream is shown by health and retried until it is back (J05)', async () => {
  const place = await openPlace({ serve: false })
  await place.network.stopJetstream()
  const service = await startService(place.settings)
  const health = await eventually(async () => {
    const answer = await service.fetchJson('/api/health')
    return answer.body.ingest.failures > 0 && answer
  })
  assert.equal(health.status, 503)
  assert.equal(health.body.ok, false)
  assert.equal(health.body.ingest.connected, false)
  assert.equal(health.body.error, 'Unavailable', 'H02')
  assert(health.headers.get('retry-after'), 'H13')
  await place.network.resumeJetstream()
  await connected(service, { timeout: 30_000 })
  const { status, body } = await service.fetchJson('/api/health')
  assert.deepEqual([status, body.ok, body.database], [200, true, true])
})

test('a malformed frame is counted and skipped (invariant 4)', async () => {
  const place = await openPlace()
  const { bob, channel } = await garden(place)
  await place.network.injectText('{ this is not a frame')
  await place.network.injectText('[]')
  await place.network.injectText(JSON.stringify({ did: 'nobody', time_us: 1, kind: 'commit', commit: {} }))
  await bob.message(channel.rkey, 'still here')
  await answers(place.service, `/api/messages?channel=${channel.rkey}`, 200, (messages) => messages.length === 1)
  assert.equal((await place.service.fetchJson('/api/health')).body.ingest.refused, 3)
})

test('b29 a frozen stream is renewed within STREAM_IDLE_MS, and nothing is lost', async () => {
  const place = await openPlace({ env: { STREAM_IDLE_MS: '2500' } })
  const { bob, channel } = await garden(place)
  await bob.message(channel.rkey, 'before')
  await answers(place.service, `/api/messages?channel=${channel.rkey}`, 200, (messages) => messages.length === 1)
  const before = (await place.network.stats()).connectionsEver
  await place.network.freezeJetstream()
  await bob.message(channel.rkey, 'frozen')
  await eventually(async () => !(await place.service.fetchJson('/api/health')).body.ingest.connected, {
    what: 'silence to be taken for death',
    timeout: 20_000,
  })
  await place.network.thawJetstream()
  await answers(place.service, `/api/messages?channel=${channel.rkey}`, 200, (messages) => messages.length === 2)
  // The message may have come from bob's repository, which is read because he is new.
  await eventually(async () => (await place.network.stats()).connectionsEver > before, { what: 'a new connection' })
})

test('b26 a URL without a query is asked for all collections, and for the cursor after a restart', async () => {
  const place = await openPlace()
  const { bob, channel } = await garden(place)
  await bob.message(channel.rkey, 'hello')
  await answers(place.service, `/api/messages?channel=${channel.rkey}`, 200, (messages) => messages.length === 1)
  const { lastTimeUs } = await place.network.stats()
  await place.network.dropJetstream()
  const asked = await eventually(
    async () => {
      const url = new URL((await place.network.stats()).lastRequestUrl, 'ws://stream')
      return url.searchParams.get('cursor') === String(lastTimeUs) && url.searchParams
    },
    { what: 'a reconnection with the cursor of the last event' },
  )
  assert.equal(new Set(asked.getAll('wantedCollections')).size, 16, 'J02')
  await bob.message(channel.rkey, 'again')
  await answers(place.service, `/api/messages?channel=${channel.rkey}`, 200, (messages) => messages.length === 2)
})

test('b25 what is written while a service that has stored nothing is dead is not missed (J03)', async () => {
  const place = await openPlace()
  await place.service.kill9()
  const { bob, channel } = await garden(place)
  await bob.message(channel.rkey, 'while you were away')
  await place.service.restart()
  await answers(place.service, `/api/messages?channel=${channel.rkey}`, 200, (messages) => messages.length === 1)
  assert.deepEqual((await place.service.fetchJson('/api/health')).body.ingest.gaps, [], 'J07: a beginning is no gap')
})

test('a message written before its channel and community waits for them (I60, I61)', async () => {
  const { network, service } = await openPlace()
  const [alice, bob] = await Promise.all([network.createAccount('alice'), network.createAccount('bob')])
  const communityUri = `at://${alice.did}/social.colibri.community/3klater`
  await bob.message('3klaterchan', 'early bird')
  await bob.membership(communityUri)
  await eventually(async () => (await service.fetchJson('/api/health')).body.ingest.held_records === 2, {
    what: 'two records to be held',
  })
  await alice.channel({ name: 'hall', type: 'text', community: '3klater' }, '3klaterchan')
  await alice.community({ name: 'Later', requiresApprovalToJoin: false }, '3klater')
  const [message] = await answers(service, '/api/messages?channel=3klaterchan', 200, (messages) => messages.length === 1)
  assert.equal(message.text, 'early bird')
  assert.equal((await service.fetchJson('/api/health')).body.ingest.held_records, 0)
})

test('j07 a cursor older than the stream reaches back is recorded as a gap and shown by health', async () => {
  const place = await openPlace()
  const { bob, channel } = await garden(place)
  await bob.message(channel.rkey, 'before')
  await answers(place.service, `/api/messages?channel=${channel.rkey}`, 200, (messages) => messages.length === 1)
  assert.deepEqual((await place.service.fetchJson('/api/health')).body.ingest.gaps, [])
  await place.service.stop()
  await bob.message(channel.rkey, 'lost to the stream')
  await eventually(async () => (await place.network.stats()).frames > 0)
  const { lastTimeUs } = await place.network.stats()
  await bob.message(channel.rkey, 'after')
  const { lastTimeUs: after } = await eventually(async () => {
    const stats = await place.network.stats()
    return stats.lastTimeUs > lastTimeUs && stats
  })
  await place.network.lookback(after)
  await place.service.start()
  await answers(place.service, `/api/messages?channel=${channel.rkey}`, 200, (messages) => messages.length === 2)
  const { body } = await place.service.fetchJson('/api/health')
  assert.equal(body.ingest.gaps.length, 1)
  const [gap] = body.ingest.gaps
  assert.deepEqual([gap.reason, gap.state], ['cursor_too_old', 'open'])
  assert(gap.from < gap.to)
})
