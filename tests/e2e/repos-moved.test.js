// A repository that cannot be found, one that cannot be exported, and one that moves to another host (K03, K11, B-32).

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { eventually, revision } from './harness.js'
import { answers } from './place.js'
import { openHost, openStage } from './stage.js'

const KEY = 'zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme'
const DID = 'did:plc:alice'

const documentAt = (host) => ({
  id: DID,
  verificationMethod: [{ id: `${DID}#atproto`, type: 'Multikey', controller: DID, publicKeyMultibase: KEY }],
  service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: host.url }],
})

/** Makes a host serve alice's repository: records by collection and key, in pages of two, and no export. */
function hosts(host, rev, records) {
  host.routes.set('/xrpc/com.atproto.sync.getLatestCommit', { cid: 'bafyreia', rev })
  host.routes.set('/xrpc/com.atproto.repo.listRecords', (request, response) => {
    const params = new URL(request.url, host.url).searchParams
    const all = Object.entries(records[params.get('collection')] ?? {})
    const rest = all.filter(([rkey]) => rkey > (params.get('cursor') ?? ''))
    const page = rest.slice(0, 2).map(([rkey, value]) => ({ uri: `at://${DID}/${params.get('collection')}/${rkey}`, cid: 'bafyreia', value }))
    const cursor = rest.length > 2 ? rest[1][0] : undefined
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ records: page, cursor }))
  })
}

test('a directory that is down, a host without exports, another host', async (t) => {
  const [old, other] = [await openHost(), await openHost()]
  const directory = await openHost()
  const stage = await openStage({
    env: {
      PLC_URL: directory.url,
      INSECURE_HOSTS: [directory.name, old.name, other.name].join(','),
      INVITE_API_KEY: 'key',
    },
  })
  const { service } = stage
  const repo = async () => (await service.fetchJson(`/api/sync?did=${DID}`)).body
  const becomes = (fits, what) =>
    eventually(
      async () => {
        const found = await repo()
        if (fits(found)) return found
        throw new Error(JSON.stringify(found))
      },
      { what, timeout: 60_000 },
    )
  const community = { name: 'Garden', requiresApprovalToJoin: false }
  const channel = { name: 'hall', type: 'text', community: 'c' }
  const message = (n) => ({ text: `message ${n}`, channel: 'k', createdAt: '2026-03-01T12:00:00Z' })
  const records = {
    'social.colibri.community': { c: community },
    'social.colibri.channel': { k: channel },
    'social.colibri.message': Object.fromEntries(Array.from({ length: 7 }, (_, n) => [`m${n}`, message(n)])),
  }
  const socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'message', channel: `at://${DID}/social.colibri.channel/k` })

  await t.test('a directory that does not answer marks nothing as complete (K03, B-32)', async () => {
    directory.routes.set(`/${DID}`, [503, { message: 'later' }, {}])
    await stage.say(['alice', 'create', 'community/c', community], ['alice', 'create', 'channel/k', channel])
    const failing = await becomes(({ failures }) => failures > 0, 'the failure to be noted')
    assert.deepEqual([failing.status, failing.pds, failing.synced_at], ['failing', null, null])
    assert(failing.next_attempt_at)
  })

  await t.test('a host that serves no export is asked for records, page by page', async () => {
    hosts(old, revision(1_001), records)
    directory.routes.set(`/${DID}`, documentAt(old))
    const synced = await becomes(({ status, next_attempt_at }) => status === 'synced' && !next_attempt_at, 'it to be read')
    assert.deepEqual([synced.pds, synced.rev, synced.failures, synced.error], [`${old.url}/`, revision(1_001), 0, null])
    const messages = await answers(service, '/api/messages?channel=k', 200, (found) => found.length === 7)
    assert.equal(messages.filter(({ text }) => text === 'message 3').length, 1)
    const asked = old.news().filter((url) => url.includes('listRecords'))
    assert.equal(asked.filter((url) => url.includes('collection=social.colibri.message')).length, 4, 'pages of two')
    assert(asked.every((url) => url.includes('limit=100')))
  })

  await t.test('a move to another host shows nothing twice, and finds what changed (K11)', async () => {
    const { m2, ...left } = records['social.colibri.message']
    assert(m2)
    const moved = { ...records, 'social.colibri.message': { ...left, m7: { ...message(7), createdAt: new Date().toISOString() } } }
    hosts(other, revision(1_002), moved)
    directory.routes.set(`/${DID}`, documentAt(other))
    stage.jetstream.injectFrame({ did: DID, kind: 'identity', identity: { did: DID, handle: 'alice.test', seq: 1 } })
    const synced = await becomes(({ rev }) => rev === revision(1_002), 'it to be read at the other host')
    assert.equal(synced.pds, `${other.url}/`)
    await socket.next({ type: 'message', rkey: 'm7', live: false })
    await socket.next({ type: 'message_deleted', rkey: 'm2', live: false })
    assert.equal(socket.events.length, 2, 'and nothing else')
    assert.deepEqual(old.news().filter((url) => url.includes('listRecords')), [], 'the old host is left alone')
  })

  await t.test('a host that shows less than is known is not believed (K09)', async () => {
    hosts(other, revision(0), {})
    await service.fetchJson('/api/sync', {
      method: 'POST',
      headers: { authorization: 'Bearer key' },
      body: JSON.stringify({ did: DID }),
    })
    const failing = await becomes(({ failures }) => failures > 0, 'it to be refused')
    assert.match(failing.error, /older than what is known/)
    await answers(service, '/api/messages?channel=k', 200, (found) => found.length === 7)
  })
})
