// Erasing a person (R40 to R42, I55 to I59), on the real runtime: by key and by proof, what is left of them in the database, in
// the logs and in the sockets of others, that no replay brings them back, and that lifting does.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'

import { databaseFiles, inDatabase } from '../bench/databases.js'
import { cidOf } from '../network/cid.js'
import { eventually } from './harness.js'
import { answers, connected, garden, openPlace } from './place.js'
import { openStage } from './stage.js'
import { bearer, vouch } from './tokens.js'

const KEY = 'the key of the tests'
const SECRET = 'what signs the tokens of these tests'
const SAID = 'words that are to be forgotten'

const ask = (service, proof, method, path) =>
  service.fetchJson(path, { method, headers: proof === undefined ? {} : bearer(proof) })
const erasure = (service, proof, did) => ask(service, proof, 'GET', `/api/user/erasure?did=${did}`)

/** Waits until an erasure has come to its end. */
const erased = (service, did) =>
  eventually(async () => (await erasure(service, KEY, did)).body.state === 'erased', { what: 'the erasure to be done' })

/** Every value of every table in every database of a service, of D1 and of its objects, that contains a text. */
function whereStands(service, text) {
  const found = []
  for (const file of databaseFiles(join(service.state, 'v3'))) {
    inDatabase(file, (db) => {
      const tables = db.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`).all()
      for (const { name } of tables) {
        const columns = db.prepare(`SELECT name FROM pragma_table_info('${name}')`).all()
        for (const column of columns) {
          const rows = db.prepare(`SELECT "${column.name}" AS value FROM "${name}" WHERE instr("${column.name}", ?) > 0`).all(text)
          found.push(...rows.map(({ value }) => [`${name}.${column.name}`, String(value)]))
        }
      }
    })
  }
  return found
}
const columns = (found) => [...new Set(found.map(([column]) => column))].sort()

describe('of people on a real PDS', () => {
  let place, service, alice, bob, community, channel, message, answer
  before(async () => {
    place = await openPlace({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: SECRET, OFFLINE_GRACE_MS: '500' } })
    service = place.service
    ;({ alice, bob, community, channel } = await garden(place))
    message = await bob.message(channel.rkey, SAID)
    await answers(service, `/api/message?author=${bob.did}&rkey=${message.rkey}`)
    answer = await alice.message(channel.rkey, 'I heard you', { parent: message.rkey })
    await answers(service, `/api/message?author=${alice.did}&rkey=${answer.rkey}`)
    await answers(service, `/api/sync?did=${bob.did}`, 200, ({ status }) => status === 'synced')
  })

  test('R40: another person and nobody are refused', async () => {
    for (const [proof, status] of [[undefined, 401], ['nonsense', 401], [await vouch(service, KEY, alice.did), 403]]) {
      assert.equal((await ask(service, proof, 'DELETE', `/api/user?did=${bob.did}`)).status, status)
      assert.equal((await ask(service, proof, 'DELETE', `/api/user/erasure?did=${bob.did}`)).status, status)
      assert.equal((await erasure(service, proof, bob.did)).status, status)
    }
    assert.equal((await ask(service, KEY, 'DELETE', '/api/user?did=bob')).status, 422)
    assert.equal((await erasure(service, KEY, bob.did)).status, 404, 'nobody is erased')
    assert.equal((await ask(service, KEY, 'DELETE', `/api/user/erasure?did=${bob.did}`)).status, 404)
  })

  test('I55 to I58: by the person’s own proof, at once out of sight, then out of every table and log', async () => {
    const proof = await vouch(service, KEY, bob.did)
    const own = await service.connect(`/api/subscribe?auth=${encodeURIComponent(proof)}`)
    await own.subscribe({ event_type: 'message', channel: channel.uri })
    const claimed = await service.connect(`/api/subscribe?did=${bob.did}`)
    const signal = await service.connect(`/api/webrtc/signal?did=${bob.did}&room=somewhere`)
    const observer = await service.connect('/api/subscribe')
    await observer.subscribe({ event_type: 'message', channel: channel.uri })
    await observer.subscribe({ event_type: 'community', community_uri: community.uri })
    const { body: resumed } = { body: await resume(service, 0) }
    assert(resumed.some(({ text }) => text === SAID), 'the log holds it')

    const asked = await ask(service, proof, 'DELETE', `/api/user?did=${bob.did}`)
    assert.equal(asked.status, 202, JSON.stringify(asked.body))
    assert(['erasing', 'erased'].includes(asked.body.state))
    // With the answer: nothing is shown.
    assert.equal((await service.fetchJson(`/api/message?author=${bob.did}&rkey=${message.rkey}`)).status, 404)
    assert.equal((await service.fetchJson(`/api/authors?did=${bob.did}`)).status, 404)
    const members = (await service.fetchJson(`/api/members?community=${community.uri}`)).body
    assert.deepEqual(members.map(({ member_did }) => member_did), [alice.did])
    const shown = (await service.fetchJson(`/api/messages?channel=${channel.rkey}`)).body
    assert.deepEqual(shown.map(({ text, parent_message }) => [text, parent_message]), [['I heard you', null]])
    // Others are notified.
    await observer.next({ type: 'message_deleted', rkey: message.rkey })
    const left = await observer.next({ type: 'member_left', member_did: bob.did })
    assert.equal(left.display_name, undefined)
    // Their sockets are closed.
    for (const socket of [own, claimed, signal]) {
      const { code, reason } = await socket.closed
      assert.deepEqual([code, String(reason)], [1008, 'Erased'])
    }
    await erased(service, bob.did)

    assert.deepEqual(whereStands(service, SAID), [], 'no table and no log holds the text')
    const still = whereStands(service, bob.did)
    const events = still.filter(([column]) => column === 'log.event').map(([, event]) => JSON.parse(event).type)
    assert.deepEqual(new Set(events), new Set(['message_deleted', 'member_left']), 'only that they are gone')
    const may = ['log.event', 'used_tokens.did']
    assert.deepEqual(columns(still).filter((column) => !may.includes(column)), [])

    // A client that comes back sees no hole and nothing of them, and the answer of somebody else.
    const replayed = await resume(service, 0)
    assert(replayed.every((event) => event.type !== 'resync_required'))
    assert(!JSON.stringify(replayed).includes(SAID))
    const received = replayed.find((event) => event.type === 'message')
    assert.deepEqual([received.text, received.parent_message], ['I heard you', null])
    await observer.close()
  })

  /** What a client gets that resumes the community. */
  async function resume(of, cursor) {
    const socket = await of.connect('/api/subscribe')
    await socket.subscribe({ event_type: 'message', channel: channel.uri })
    await socket.subscribe({ event_type: 'community', community_uri: community.uri, cursor })
    await socket.next({ type: 'resumed' })
    const frames = socket.frames.filter(({ type }) => !['ack', 'resumed'].includes(type))
    await socket.close()
    return frames
  }

  test('I57: nothing brings them back', async () => {
    const before = await eventually(async () => (await service.fetchJson('/api/health')).body.ingest)
    assert(before.connected)
    await bob.message(channel.rkey, `${SAID}, again`)
    const { rkey } = await alice.message(channel.rkey, 'after that')
    await answers(service, `/api/message?author=${alice.did}&rkey=${rkey}`)
    assert.equal((await ask(service, KEY, 'POST', `/api/user/state?did=${bob.did}&state=dnd`)).status, 410)
    const sync = await service.fetchJson('/api/sync', {
      method: 'POST',
      headers: bearer(KEY),
      body: JSON.stringify({ did: bob.did }),
    })
    assert.deepEqual([sync.status, sync.body.error], [410, 'Gone'])
    const socket = await service.connect(`/api/subscribe?auth=${encodeURIComponent(await vouch(service, KEY, bob.did))}`)
    const refused = await socket.request({ action: 'set_state', state: 'away' })
    assert.equal(refused.type, 'error', 'a socket of theirs is anonymous')
    await socket.close()
    // The whole stream once more, from its beginning.
    await service.restart({ env: { JETSTREAM_URL: `${place.network.jetstream}?cursor=0` } })
    await connected(service)
    await alice.message(channel.rkey, 'and after the restart')
    await eventually(async () => (await service.fetchJson(`/api/messages?channel=${channel.rkey}`)).body.length === 3)
    const { body } = await service.fetchJson(`/api/messages?channel=${channel.rkey}`)
    assert.deepEqual(new Set(body.map(({ author_did }) => author_did)), new Set([alice.did]))
    assert.deepEqual(whereStands(service, SAID), [])
    const may = ['log.event', 'used_tokens.did']
    assert.deepEqual(columns(whereStands(service, bob.did)).filter((column) => !may.includes(column)), [])
    assert.equal((await erasure(service, KEY, bob.did)).body.state, 'erased')
  })

  test('R42, I59: lifted, their repository brings back what it holds', async () => {
    const lifted = await ask(service, KEY, 'DELETE', `/api/user/erasure?did=${bob.did}`)
    assert.deepEqual([lifted.status, lifted.body.state], [202, 'lifting'])
    await answers(service, `/api/user/erasure?did=${bob.did}`, 401)
    await eventually(async () => (await erasure(service, KEY, bob.did)).status === 404, { what: 'the erasure to be lifted' })
    await answers(service, `/api/message?author=${bob.did}&rkey=${message.rkey}`, 200, ({ text }) => text === SAID)
    await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
    await answers(service, `/api/message?author=${alice.did}&rkey=${answer.rkey}`, 200, (shown) => shown.parent_message?.text === SAID)
    const { rkey } = await bob.message(channel.rkey, 'I am back')
    await answers(service, `/api/message?author=${bob.did}&rkey=${rkey}`)
  })
})

test('I55, I56: by key; an owner, whom others followed, a crash in the middle, and a replay of exact frames', async () => {
  const stage = await openStage({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: SECRET } })
  const { service } = stage
  const community = 'at://did:plc:alice/social.colibri.community/c'
  const message = (text) => ({ text, channel: 'k', createdAt: '2026-03-01T12:00:00.000Z' })
  const writes = [
    ['alice', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ['alice', 'create', 'channel/k', { name: 'hall', type: 'text', community: 'c' }],
    ['bob', 'create', 'membership/m', { community }],
    ['alice', 'create', 'message/a', message(SAID)],
    ['bob', 'create', 'message/b', message('at alice’s')],
    ['alice', 'create', 'channel.read/r', { channel: 'at://did:plc:alice/social.colibri.channel/k', cursor: '2026-03-01T12:00:00Z' }],
  ]
  await stage.say(...writes)
  assert.equal((await service.fetchJson(`/api/messages?channel=k`)).body.length, 2)
  const listener = await service.connect('/api/subscribe')
  await listener.subscribe({ event_type: 'community', community_uri: community })
  const did = 'did:plc:alice'
  assert.equal((await ask(service, KEY, 'DELETE', `/api/user?did=${did}`)).status, 202)
  await listener.next({ type: 'community_deleted', community_uri: community })
  await service.kill9()
  await service.start()
  assert.equal((await ask(service, KEY, 'DELETE', `/api/user?did=${did}`)).status, 202, 'asked again it goes on')
  await erased(service, did)
  for (const path of [`/api/messages?channel=k`, `/api/channel-reads?did=${did}`, `/api/channels?community=${community}`]) {
    assert.deepEqual((await service.fetchJson(path)).body, [], path)
  }
  assert.equal((await service.fetchJson(`/api/community?community=${community}`)).status, 404)
  assert.deepEqual(whereStands(service, SAID), [])
  await connected(service)
  await stage.say(...writes.filter(([who]) => who === 'alice'), ['carol', 'create', 'actor.data/self', { status: '' }])
  assert.equal((await service.fetchJson(`/api/community?community=${community}`)).status, 404)
  const may = ['channels.community', 'communities.uri', 'log.event', 'memberships.community_uri', 'messages.channel_uri']
  const others = columns(whereStands(service, did)).filter((column) => !may.includes(column))
  assert.deepEqual(others, [], 'what is bob’s, what clients listen to, and that it is gone')
})

test('R21, I55, I56: an erased person has no blobs, and what was cached of them is gone, also what was under way', async () => {
  const stage = await openStage({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: SECRET } })
  const { service, host } = stage
  const did = 'did:plc:bob'
  host.routes.set(`/plc/${did}`, { id: did, service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: host.url }] })
  await stage.say(['bob', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }])
  const path = (cid) => `/xrpc/com.atproto.sync.getBlob?did=${encodeURIComponent(did)}&cid=${cid}`
  const get = (cid, headers = {}) => service.fetch(`/api/blob?did=${did}&cid=${cid}`, { headers })
  const asked = () => host.news().filter((url) => url.includes('getBlob'))
  const [picture, slow] = ['a picture', 'a slow one'].map((text) => Buffer.from(text.padEnd(100_000, '.')))
  host.routes.set(path(cidOf(picture)), [200, picture, { 'content-type': 'image/png' }])
  /** @type {() => void} */
  let goOn
  host.routes.set(path(cidOf(slow)), (_, response) => {
    response.writeHead(200, { 'content-type': 'image/png', 'content-length': slow.length })
    response.write(slow.subarray(0, 10))
    goOn = () => response.end(slow.subarray(10))
  })
  // A range is asked for again, so the whole blob is cached.
  const cached = () => get(cidOf(picture), { range: 'bytes=0-9' })
  await eventually(async () => (await cached()).status === 206 && asked().length === 0, { what: 'the picture to be cached' })
  const underWay = get(cidOf(slow), { range: 'bytes=0-9' })
  await eventually(() => goOn, { what: 'the slow one to begin' })
  asked()

  assert.equal((await ask(service, KEY, 'DELETE', `/api/user?did=${did}`)).status, 202)
  goOn()
  assert.equal((await underWay).status, 206, 'it was asked for before')
  for (const cid of [cidOf(picture), cidOf(slow)]) {
    const gone = async () => {
      const answers = await Promise.all([get(cid), get(cid, { range: 'bytes=0-9' }), get(cid, { 'if-none-match': '*' })])
      return answers.map(({ status }) => status).join()
    }
    await eventually(async () => (await gone()) === '404,404,404', { what: 'the blob to be gone' })
    const answer = await get(cid)
    assert.deepEqual([answer.status, (await answer.json()).error], [404, 'NotFound'])
  }
  assert.deepEqual(asked(), [], 'nor is their PDS asked')
  await erased(service, did)
  for (const cid of [cidOf(picture), cidOf(slow)]) assert.equal((await get(cid)).status, 404)

  assert.equal((await ask(service, KEY, 'DELETE', `/api/user/erasure?did=${did}`)).status, 202)
  await eventually(async () => (await erasure(service, KEY, did)).status === 404, { what: 'the erasure to be lifted' })
  const again = await get(cidOf(picture))
  assert.equal(again.status, 200)
  assert.deepEqual(Buffer.from(await again.arrayBuffer()), picture)
})
