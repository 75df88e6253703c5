// JSON that is nested too deeply, rows that cannot be delivered or read back, and every stored field at its limit (T23,
// Q21, I80).
//
// Invalid input from outside is refused on arrival. A row that was invalid before, or was broken in the database, is
// lost, and nothing else is: not its community, not the others, not a resume, not a restart.

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'

import { eventually } from './harness.js'
import { answers } from './place.js'
import { openStage } from './stage.js'

const COMMUNITY = 'at://did:plc:alice/social.colibri.community/c'
const ELSEWHERE = 'at://did:plc:zoe/social.colibri.community/z'
const CHANNEL = 'at://did:plc:alice/social.colibri.channel/k'
const RECORD_MAX = 64 * 1024

/** Nested lists. @param {number} depth */
const nested = (depth) => Array.from({ length: depth }).reduce((inside) => [inside], /** @type {unknown[]} */ ([]))
const message = (text, more = {}) => ({ text, channel: 'k', createdAt: new Date().toISOString(), ...more })

/** Two communities with a member each, and a socket in each that receives everything. */
async function village() {
  const stage = await openStage({ env: { INVITE_API_KEY: 'key' } })
  await stage.say(
    ['alice', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ['alice', 'create', 'channel/k', { name: 'hall', type: 'text', community: 'c' }],
    ['bob', 'create', 'membership/m', { community: COMMUNITY }],
    ['zoe', 'create', 'community/z', { name: 'Elsewhere', requiresApprovalToJoin: false }],
    ['zoe', 'create', 'channel/y', { name: 'hall', type: 'text', community: 'z' }],
  )
  return stage
}

/** A socket that subscribes to a community and its channel, from a cursor on if one is given. */
async function listen(service, community, channel, cursor) {
  const socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'message', channel })
  await socket.subscribe({ event_type: 'community', community_uri: community, ...(cursor !== undefined && { cursor }) })
  return socket
}

const ingest = async (service) => (await service.fetchJson('/api/health')).body.ingest

/** Checks that both communities receive new messages from now on, on old and new sockets, and that a resume ends. */
async function goesOn(stage, word, sockets) {
  await stage.say(
    ['bob', 'create', `message/${word}`, message(word)],
    ['zoe', 'create', `message/${word}`, { ...message(word), channel: 'y' }],
  )
  const fresh = [await listen(stage.service, COMMUNITY, 'k', 0), await listen(stage.service, ELSEWHERE, 'y', 0)]
  for (const socket of fresh) {
    await socket.next({ type: 'message', rkey: word })
    await socket.next({ type: 'resumed' })
  }
  for (const socket of sockets) await socket.next({ type: 'message', rkey: word, live: true })
  const { untold } = await eventually(async () => {
    const now = await ingest(stage.service)
    return now.untold === 0 && now
  })
  assert.equal(untold, 0)
  return fresh
}

test('t23 what is nested too deeply is refused, counted, and costs nobody anything', async () => {
  const stage = await village()
  await stage.say(['bob', 'create', 'message/old', message('to be edited')])
  const sockets = [await listen(stage.service, COMMUNITY, 'k'), await listen(stage.service, ELSEWHERE, 'y')]
  let { refused } = await ingest(stage.service)
  for (const depth of [63, 130, 999, 1100, 2000]) {
    const deep = nested(depth)
    /** @type {[string, string, string, object][]} */
    const writes = [
      ['bob', 'create', `message/f${depth}`, message('facets', { facets: deep })],
      ['bob', 'create', `message/a${depth}`, message('attachments', { attachments: deep })],
      ['bob', 'create', `message/u${depth}`, message('a field of nobody', { whatever: { pinned: deep } })],
      ['bob', 'update', 'message/old', message('edited', { facets: deep })],
      ['bob', 'create', `message/h${depth}`, { ...message('held', { facets: deep }), channel: 'nowhere' }],
      ['alice', 'update', 'community/c', { name: 'Garden', requiresApprovalToJoin: false, picture: { $type: 'blob', x: deep } }],
      ['alice', 'create', `category/g${depth}`, { name: 'g', community: 'c', channelOrder: deep }],
      ['bob', 'create', 'actor.data/self', { status: 'x', communities: deep }],
    ]
    await stage.say(...writes)
    const now = await ingest(stage.service)
    assert.equal(now.refused - refused, writes.length, `${depth} deep`)
    refused = now.refused
  }
  await stage.say(['bob', 'create', 'message/reply', message('what?', { parent: `at://did:plc:bob/social.colibri.message/f130` })])
  const reply = await sockets[0].next({ type: 'message', rkey: 'reply' })
  assert.equal(reply.parent_message, null, 'nobody sees what was refused')
  const shown = (await stage.service.fetchJson('/api/message?author=did:plc:bob&rkey=old')).body
  assert.deepEqual([shown.text, shown.edited], ['to be edited', false], 'I03: the earlier version stays')
  await goesOn(stage, 'after', sockets)
  await stage.service.restart()
  await goesOn(stage, 'restarted', [])
  assert.deepEqual([(await ingest(stage.service)).set_aside, (await ingest(stage.service)).restarts], [0, 0])
  const body = `{"community_uri":"${COMMUNITY}","member_did":"did:plc:x","more":${'['.repeat(100)}${']'.repeat(100)}}`
  const ban = { method: 'POST', headers: { authorization: 'Bearer key' }, body }
  assert.equal((await stage.service.fetchJson('/api/community/ban', ban)).status, 422)
})

/** The database of a community's object, found by its contents. Only while the service does not run. */
function communityLog(stage, change) {
  const folder = join(stage.service.state, 'v3', 'do')
  const files = readdirSync(folder, { recursive: true }).map(String)
  for (const file of files.filter((name) => name.endsWith('.sqlite') && !name.endsWith('metadata.sqlite'))) {
    const db = new DatabaseSync(join(folder, file))
    try {
      const has = db.prepare(`SELECT count(*) AS n FROM sqlite_schema WHERE name IN ('log', 'counters')`).get()
      if (Number(has?.n) === 2 && db.prepare('SELECT 1 FROM log WHERE event LIKE ?').get(`%${COMMUNITY}%`)) return change(db)
    } finally {
      db.close()
    }
  }
  throw new Error('no community has a log that names this one')
}

test('q21 rows of an earlier build, broken or deep, are delivered or set aside, and delay nobody', async () => {
  const stage = await village()
  await stage.say(
    ['bob', 'create', 'message/deep', message('an ordinary message')],
    ['bob', 'create', 'message/second', message('another')],
    ['bob', 'create', 'message/third', message('and another')],
  )
  const log = await listen(stage.service, COMMUNITY, 'k', 0)
  const { to } = await log.next({ type: 'resumed' })
  const seq = log.all({ type: 'message', rkey: 'second' })[0].seq
  await stage.service.stop()

  const deep = `${'['.repeat(5000)}${']'.repeat(5000)}`
  const announced = (scope, event) =>
    `{"scope":{"community":"${scope}"},"audience":"community","topic":"other","live":true,"event":${event}}`
  stage.behindItsBack((db) => {
    db.prepare("UPDATE messages SET facets = ? WHERE rkey = 'deep'").run(deep)
    const insert = db.prepare('INSERT INTO outbox (id, announcements, committed_at) VALUES (?, ?, ?)')
    const rows = [
      `[${announced(COMMUNITY, `{"type":"of_an_earlier_build","facets":${deep}}`)}]`,
      'nonsense',
      `[{"scope":{"community":"${COMMUNITY}"},"audience":"everybody"},${announced(ELSEWHERE, '{"type":"behind_it"}')}]`,
      `[${announced(COMMUNITY, '{"type":"at_the_end"}')}]`,
    ]
    let id = Number(db.prepare('SELECT version FROM ledger').get()?.version)
    for (const row of rows) insert.run((id += 1), row, '')
    db.prepare('UPDATE ledger SET version = ?').run(id)
  })
  communityLog(stage, (db) => db.prepare(`UPDATE log SET event = '{"type":' WHERE seq = ?`).run(seq))
  await stage.service.start()

  const set_aside = await eventually(async () => {
    const now = await ingest(stage.service)
    return now.untold === 0 && now.set_aside >= 2 && now.set_aside
  }, { what: 'the outbox to be published' })
  assert.equal(set_aside, 2, 'a row, and an event')
  const [here, there] = await goesOn(stage, 'after', [])
  assert(here.all({ type: 'of_an_earlier_build' }).length === 1, 'published, however deep')
  assert.equal(here.all({ type: 'at_the_end' }).length, 1)
  assert.equal(there.all({ type: 'behind_it' }).length, 1)
  const missing = here.all({ type: 'resync_required' })
  assert.deepEqual(
    missing.map(({ community_uri, oldest }) => [community_uri, oldest]),
    [[COMMUNITY, seq + 1], [COMMUNITY, to + 3]],
    'one that broke in the log, one that broke in the outbox',
  )
  assert(here.all({ type: 'message', rkey: 'third' }).length === 1, 'what follows it is published')
  assert(here.all({ type: 'message', rkey: 'deep' }).length === 1)
  await eventually(async () => (await ingest(stage.service)).set_aside >= 3, { what: 'the event of the log to be counted' })

  await stage.say(['bob', 'create', 'message/reply', message('to the deep one', { parent: 'deep' })])
  const reply = await here.next({ type: 'message', rkey: 'reply' })
  assert.equal(reply.parent_message.text, 'an ordinary message')
  assert.equal(reply.parent_message.facets, null, 'T23: an innocent reply does not carry it on')
  await stage.forgetAnswers()
  const listed = await answers(stage.service, '/api/messages?channel=k', 200, (found) => found.length >= 4)
  assert.equal(listed.find(({ rkey }) => rkey === 'deep').facets, null)
  await stage.say(['bob', 'update', 'message/deep', message('without it')])
  assert.equal((await here.next({ type: 'message', rkey: 'deep', edited: true })).text, 'without it')
})

test('i80 every stored field at its limit is stored, published and shown', async () => {
  const stage = await village()
  const socket = await listen(stage.service, COMMUNITY, 'k')
  await socket.subscribe({ event_type: 'user_status', did: 'did:plc:bob' })
  const long = 'r'.repeat(512)
  /** A record whose JSON has exactly the maximum size in bytes. @param {(filling: string) => object} record */
  const full = (record, letter = 'x') => {
    const room = RECORD_MAX - Buffer.byteLength(JSON.stringify(record('')))
    const each = Buffer.byteLength(JSON.stringify(letter)) - 2
    return record(letter.repeat(Math.floor(room / each)) + 'x'.repeat(room % each))
  }
  const blob = (filling) => ({ $type: 'blob', ref: { $link: 'bafkreia' }, mimeType: filling, size: 1 })
  const at = '2026-01-01T00:00:00Z'
  const facet = (uri) => ({ index: { byteStart: 0, byteEnd: 1 }, features: [{ $type: 'social.colibri.richtext.facet#link', uri }] })
  const text = '界'.repeat(2048)
  const { refused } = await ingest(stage.service)
  await stage.say(
    ['alice', 'update', 'community/c', full((x) => ({ name: '🌿'.repeat(32), description: '界'.repeat(256), requiresApprovalToJoin: false, picture: blob(x) }), '界')],
    ['alice', 'create', `category/${long}`, full((x) => ({ name: '界'.repeat(32), community: 'c', channelOrder: [x] }), '界')],
    ['alice', 'create', `channel/${long}`, { name: '界'.repeat(32), description: '界'.repeat(256), type: '界'.repeat(32), community: 'c', category: long }],
    ['bob', 'create', `message/${long}`, full((x) => ({ text, channel: CHANNEL, createdAt: at, facets: [facet(x)] }), '界')],
    ['bob', 'create', 'message/reply', full((x) => ({ text, channel: 'k', createdAt: at, parent: `at://did:plc:bob/social.colibri.message/${long}`, attachments: [{ blob: blob(x), name: 'n' }] }), '"')],
    ['bob', 'create', `reaction/${long}`, { emoji: '🏴󠁧󠁢󠁥󠁮󠁧󠁿', parent: `at://did:plc:bob/social.colibri.message/${long}` }],
    ['bob', 'create', `channel.read/${long}`, { channel: CHANNEL, cursor: at }],
    ['bob', 'create', 'actor.data/self', full((x) => ({ status: '界'.repeat(32), emoji: '界'.repeat(64), communities: [x] }))],
    ['bob', 'update', 'app.bsky.actor.profile/self', { displayName: '界'.repeat(640), description: '界'.repeat(2560), avatar: { ...blob('image/png'), ref: { $link: 'b'.repeat(256) } }, banner: { ...blob('image/png'), ref: { $link: 'b'.repeat(256) } } }],
    ['bob', 'create', `message/${'h'.repeat(512)}`, full((x) => ({ text, channel: `at://did:plc:alice/social.colibri.channel/${'n'.repeat(512)}`, createdAt: at, facets: [facet(x)] }), '"')],
  )
  const now = await ingest(stage.service)
  assert.equal(now.refused, refused, 'none is refused')
  assert.equal(now.held_records, 1)
  const first = await socket.next({ type: 'message', rkey: long })
  assert.equal(first.text, text)
  const reply = await socket.next({ type: 'message', rkey: 'reply' })
  assert.deepEqual(reply.parent_message.facets, first.facets)
  await socket.next({ type: 'reaction_added', rkey: long })
  await socket.next({ type: 'community_upserted' })
  await socket.next({ type: 'category_created' })
  await socket.next({ type: 'channel_created', rkey: long })
  await socket.next({ type: 'user_profile_updated', did: 'did:plc:bob' })
  const [newest] = await answers(stage.service, '/api/messages?channel=k', 200, (found) => found.length === 2)
  assert.equal(newest.display_name, '界'.repeat(64), 'cut as the lexicon has it (8.6)')
  const one = (await stage.service.fetchJson(`/api/message?author=did:plc:bob&rkey=${long}`)).body
  assert.deepEqual([one.facets, one.reactions.length], [first.facets, 1])
  const sidebar = (await stage.service.fetchJson(`/api/sidebar?community=${COMMUNITY}`)).body
  assert.equal(sidebar.categories[0].channels[0].rkey, long)
  await goesOn(stage, 'after', [socket])
  // One byte more, and each is refused.
  await stage.say(['bob', 'create', 'message/over', { ...full((x) => ({ text, channel: 'k', createdAt: at, facets: [facet(x)] })), more: 1 }])
  assert.equal((await ingest(stage.service)).refused, refused + 1)
  // Each account event is followed by a record that is refused.
  await stage.account('bob', true, 's'.repeat(65))
  assert.equal((await ingest(stage.service)).refused, refused + 3, 'J20')
  await stage.account('bob', false, 's'.repeat(64))
  assert.equal((await ingest(stage.service)).refused, refused + 4)
  await answers(stage.service, '/api/messages?channel=k', 200, (found) => found.length === 0)
})
