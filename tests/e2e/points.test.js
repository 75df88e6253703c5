// A repository that exceeds its points is read later; nobody else waits, and nothing of it is lost (K17).

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { COLLECTION } from '../network/records.js'
import { records } from '../network/client.js'
import { eventually } from './harness.js'
import { answers, garden, openPlace } from './place.js'

const KEY = 'secret-key-of-sixteen'
const MESSAGES = 100

test('k17 a repository that floods is deferred, others are not, and all of it is in the index later', async () => {
  // 40 creates, and a membership.
  const place = await openPlace({ env: { INGEST_POINTS_HOUR: '123', INGEST_POINTS_DAY: '0', INVITE_API_KEY: KEY } })
  const { network, service } = place
  const { bob, community, channel } = await garden(place)
  const carol = await network.createAccount('carol')
  await carol.membership(community.uri)
  const path = `/api/messages?channel=${encodeURIComponent(channel.uri)}&all=1`
  const shown = async (did) => (await service.fetchJson(path)).body.filter((message) => message.author_did === did)
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length >= 2)
  const readOnce = (did) =>
    answers(service, `/api/sync?did=${did}`, 200, ({ status, next_attempt_at }) => status === 'synced' && next_attempt_at === null)
  await readOnce(carol.did)

  const texts = Array.from({ length: MESSAGES }, (_, n) => records.message(channel.rkey, `flood ${n}`))
  for (let n = 0; n < MESSAGES; n += 10) await carol.createMany(COLLECTION.message, texts.slice(n, n + 10))
  await bob.message(channel.rkey, 'is anybody there?')
  await answers(service, path, 200, (messages) => messages.some(({ text }) => text === 'is anybody there?'))

  const { ingest } = (await service.fetchJson('/api/health')).body
  assert.deepEqual(ingest.deferred.map(({ did }) => did), [carol.did])
  assert.equal(ingest.repos.deferred, 1)
  assert.equal(ingest.left_out, MESSAGES - 40)
  assert(Date.parse(ingest.deferred[0].until) > Date.now() + 5 * 60_000, 'it waits for a fifth of an hour’s points')
  assert.equal((await shown(carol.did)).length, 40)
  const due = (await service.fetchJson(`/api/sync?did=${carol.did}`)).body
  assert.deepEqual([due.status, due.reason, due.next_attempt_at], ['waiting', 'points', ingest.deferred[0].until])

  // An operator's request does not wait. The repository stays due: more events may be left out until then.
  const headers = { authorization: `Bearer ${KEY}` }
  await service.fetchJson('/api/sync', { method: 'POST', headers, body: JSON.stringify({ did: carol.did }) })
  await eventually(async () => (await shown(carol.did)).length === MESSAGES, { what: 'everything to be in the index', timeout: 30_000 })
  const after = await answers(service, `/api/sync?did=${carol.did}`, 200, (repo) => repo.reason === 'asked' && repo.status === 'waiting' && repo.synced_at !== due.synced_at)
  assert.equal(after.next_attempt_at, ingest.deferred[0].until)
})
