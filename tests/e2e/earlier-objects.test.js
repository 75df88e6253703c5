// A state directory of an earlier build: the objects' own databases lack the tables that came later, and sessions have
// the form of then. The build of today goes on from them: nobody misses an event, and numbers go on.
//
// An object makes the tables that it lacks whenever it wakes, and brings rows of an earlier form over; it has no number
// of a schema. So a database of today, taken back to a form that the history of `src/storage` shows, is one of then.

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { before, test } from 'node:test'

import { eventually } from './harness.js'
import { openStage } from './stage.js'

const COMMUNITY = 'at://did:plc:owner/social.colibri.community/c'
const KEY = 'the key of the operator, in a test'

/** What sessions listened to, as a session's own row said it. */
const kinds = ['message', 'community', 'user_status'].map((kind) => {
  const of = `FROM subscribed WHERE subscribed.session = sessions.id AND kind`
  const all = `json(iif(EXISTS (SELECT 1 ${of} = 'all' AND key = '${kind}'), 'true', 'false'))`
  return `'${kind}', json_object('all', ${all}, 'keys', (SELECT json_group_array(key) ${of} = '${kind}'))`
})

/** The forms of the objects' databases, the newest first: what each was before, beside what the earlier entries say. */
const FORMS = [
  { what: 'members only', community: 'DROP TABLE members_only', gateway: '' },
  {
    what: 'used tokens, and traces of closed sockets for days',
    community: '',
    gateway: `DROP TABLE IF EXISTS used_tokens;
      DROP TABLE chosen;
      UPDATE sessions SET session =
        json_object('did', json_extract(session, '$.did'), 'subscriptions', json_object(${kinds}), 'replayed', json('{}'));
      DROP TABLE subscribed;
      INSERT INTO departed (id, did, at, last, departed) SELECT id, did, at, 1, json_object(
        'subscriptions', json_extract(trace, '$.subscriptions'), 'heard', json_extract(trace, '$.heard')) FROM traces;
      DROP TABLE traces`,
  },
  { what: 'signaling rooms of voice channels', community: 'DROP TABLE rooms', gateway: '' },
  {
    what: 'presence and voice',
    community: 'DROP TABLE voice',
    gateway: ['persons', 'signs', 'unsaid', 'sayings', 'hearers', 'speakers', 'changed', 'departed', 'run', 'observed']
      .map((table) => `DROP TABLE ${table}`)
      .join(';'),
  },
  { what: 'events about people', community: '', gateway: 'DROP TABLE people' },
]

/** @type {Awaited<ReturnType<typeof openStage>>} */
let stage
before(async () => {
  stage = await openStage({ env: { INVITE_API_KEY: KEY, AUTH_MODE: 'open' } })
  await stage.say(
    ['owner', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ['owner', 'create', 'channel/hall', { name: 'hall', type: 'text', community: 'c' }],
    ['owner', 'create', 'channel/stage', { name: 'stage', type: 'voice', community: 'c' }],
    ['bob', 'create', 'membership/m', { community: COMMUNITY }],
  )
})

/**
 * Takes the databases of the objects back to an earlier form; returns of how many gateways and communities.
 * @param {typeof FORMS} forms
 */
function takeBack(forms) {
  const folder = join(stage.service.state, 'v3', 'do')
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  const taken = { gateway: 0, community: 0 }
  for (const file of files.filter((name) => name.endsWith('.sqlite') && !name.endsWith('metadata.sqlite'))) {
    const db = new DatabaseSync(join(folder, file))
    try {
      const has = (/** @type {string} */ table) =>
        db.prepare(`SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?`).get(table) !== undefined
      const object = has('subscribed') ? 'gateway' : has('counters') ? 'community' : undefined
      if (!object) continue
      taken[object] += 1
      for (const form of forms) db.exec(form[object])
    } finally {
      db.close()
    }
  }
  return taken
}

let written = 0
/** Messages of bob; resolves with their rkeys. @param {number} count */
async function write(count) {
  const rkeys = Array.from({ length: count }, () => `m${(written += 1)}`)
  const record = (/** @type {string} */ text) => ({ text, channel: 'hall', createdAt: '2026-03-01T12:00:00.000Z' })
  await stage.say(...rkeys.map((rkey) => /** @type {any} */ (['bob', 'create', `message/${rkey}`, record(rkey)])))
  return rkeys
}

const health = async () => (await stage.service.fetchJson('/api/health')).body

for (const [at, { what }] of FORMS.entries())
  test(`objects from before: ${what}`, async () => {
    const { service } = stage
    // Of an earlier form it is not known which of somebody's closed sockets went on from which: a person for each test.
    const alice = `/api/subscribe?did=did:plc:alice${at}`
    const [listening, gone] = [await service.connect(alice), await service.connect('/api/subscribe?did=did:plc:owner')]
    for (const socket of [listening, gone]) {
      await socket.subscribe({ event_type: 'message', channel: 'hall' })
      await socket.subscribe({ event_type: 'community', community_uri: COMMUNITY })
    }
    const bob = await service.connect('/api/subscribe?did=did:plc:bob')
    const voice = { action: 'voice_event', community_uri: COMMUNITY, voice_channel_rkey: 'stage' }
    await bob.request({ ...voice, voice_action: 'join' })
    const [known] = await write(1)
    const { seq } = await listening.next({ type: 'message', rkey: known })
    await gone.next({ type: 'message', rkey: known })
    await gone.close()
    await service.kill9()
    const taken = takeBack(FORMS.slice(0, at + 1))
    assert(taken.gateway > 0 && taken.community > 0, JSON.stringify(taken))
    await service.start()
    await eventually(async () => (await health()).ingest.connected, { timeout: 20_000, what: 'the stream' })

    const missed = await write(3)
    // Alice's client says nothing and gets what she missed (Q10); another one has a cursor (Q02).
    const [silent, resumed] = [
      await service.connect(alice),
      await service.connect(`/api/subscribe?community=${COMMUNITY}&cursor=${seq}`),
    ]
    const texts = (/** @type {typeof silent} */ socket) => socket.all({ type: 'message' }).map(({ rkey }) => rkey)
    for (const socket of [silent, resumed]) await socket.next({ type: 'message', rkey: missed[2] }, { timeout: 20_000 })
    const [live] = await write(1)
    for (const socket of [silent, resumed]) {
      await socket.next({ type: 'message', rkey: live })
      assert.deepEqual(texts(socket), [...missed, live], 'each once, in order')
    }
    const numbers = resumed.events.flatMap((event) => event.seq ?? [])
    assert.deepEqual(numbers, numbers.map((_, n) => seq + 1 + n), 'the numbers go on')

    // What came later works: voice, and members only.
    const again = await service.connect('/api/subscribe?did=did:plc:bob')
    await again.request({ ...voice, voice_action: 'join' })
    const channels = (await service.fetchJson(`/api/channels?community=${COMMUNITY}`)).body
    assert(channels.some((/** @type {any} */ { voice_members: inside }) => inside.includes('did:plc:bob')), 'in voice')
    const only = async (/** @type {boolean} */ on) => {
      const body = JSON.stringify({ community_uri: COMMUNITY, members_only: on })
      const headers = { authorization: `Bearer ${KEY}` }
      assert.equal((await service.fetch('/api/community/members-only', { method: 'PUT', headers, body })).status, 200)
    }
    await only(true)
    await resumed.closed
    await only(false)
    const { ingest } = await health()
    assert.deepEqual([ingest.set_aside, ingest.restarts], [0, 0])
    for (const socket of [silent, again]) await socket.close()
  })
