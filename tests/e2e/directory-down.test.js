// The PLC directory is down while thousands of identities are due: the service keeps working, leaves the directory
// alone, and resolves everybody when it is back (K03, K06, K07, B-32).

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { eventually } from './harness.js'
import { openHost, openStage } from './stage.js'

const PEOPLE = 3_000

test('a dead directory with thousands due', async (t) => {
  const [directory, pds] = [await openHost(), await openHost()]
  const { service, say, ...stage } = await staged({ PLC_URL: directory.url }, [directory, pds])
  const everybody = ['owner', ...Array.from({ length: PEOPLE }, (_, n) => `p${n}`)].map((name) => `did:plc:${name}`)
  for (const did of everybody) directory.routes.set(`/${did}`, (request) => request.socket.destroy())
  /** The number of rows of a table. */
  const count = (sql) => {
    let found
    stage.behindItsBack((db) => (found = db.prepare(`SELECT count(*) AS n FROM ${sql}`).get().n))
    return found
  }
  const channel = 'at://did:plc:owner/social.colibri.channel/k'
  await say(
    ['owner', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ['owner', 'create', 'channel/k', { name: 'hall', type: 'text', community: 'c' }],
  )
  const socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'message', channel })
  const membership = { community: 'at://did:plc:owner/social.colibri.community/c', createdAt: '2026-03-01T12:00:00Z' }
  await say(...everybody.slice(1).map((did) => [did.slice('did:plc:'.length), 'create', 'membership/m', membership]))

  await t.test('the service goes on', async () => {
    assert.equal(count('repos WHERE next_attempt_at IS NOT NULL'), PEOPLE + 1)
    // Eight consecutive failures are enough; some requests were in progress, and the first rest is five seconds.
    await eventually(() => directory.asked.length > 14, { what: 'the directory to be given up' })
    for (let n = 0; n < 20; n++) {
      await say([`p${n}`, 'create', `message/m${n}`, { text: `here ${n}`, channel, createdAt: '2026-03-01T12:00:00Z' }])
      await socket.next({ type: 'message', rkey: `m${n}`, live: true })
      const { status, body } = await service.fetchJson('/api/health')
      assert.deepEqual([status, body.ok, body.ingest.repos.due], [200, true, PEOPLE + 1])
    }
    const { body } = await service.fetchJson('/api/members?community=at://did:plc:owner/social.colibri.community/c&limit=50')
    assert.equal(body.length, 50)
  })

  await t.test('K07: the directory is left alone', async () => {
    const { length } = directory.asked
    t.diagnostic(`${length} requests for ${PEOPLE + 1} people`)
    assert(length <= 150, `${length} requests`)
    assert.equal(count("identities WHERE resolved_at IS NOT NULL AND did LIKE 'did:plc:%'"), 0)
    assert(count('repos WHERE failures > 0') <= 50, 'who was not tried did not fail')
  })

  await t.test('when it is back, everybody is found', async () => {
    directory.news()
    pds.routes.set('/xrpc/com.atproto.sync.getLatestCommit', [429, { error: 'RateLimitExceeded' }, { 'retry-after': '3600' }])
    for (const did of everybody) {
      directory.routes.set(`/${did}`, {
        id: did,
        service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: pds.url }],
      })
    }
    await eventually(() => count('repos WHERE pds IS NULL') === 0 && count('identities WHERE check_at IS NOT NULL') === 0, {
      what: 'everybody to be found',
      timeout: 120_000,
    })
    assert.equal(count('identities WHERE pds IS NOT NULL'), everybody.length)
    const { length } = directory.news()
    assert(length <= 2 * everybody.length + 50, `${length} requests: twice at most for each`)
    assert(pds.asked.length <= 10, `K07: ${pds.asked.length} requests to a host that wants to be left alone`)
  })
})

/** A stage whose directory and PDS are separate hosts. */
async function staged(env, hosts) {
  const stage = await openStage({ env, insecure: hosts.map(({ name }) => name) })
  return { service: stage.service, say: stage.say.bind(stage), behindItsBack: stage.behindItsBack.bind(stage) }
}
