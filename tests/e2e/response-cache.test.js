// The response cache (src/api/response_cache.rs) on the real runtime: it caches answers, and none is older than what
// its caller may know (H11), whatever changed.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { GOLDEN, WORLD } from './golden/reads.js'
import { eventually } from './harness.js'
import { openStage } from './stage.js'

const KEY = 'the key of the tests'
const COMMUNITY = 'at://did:plc:owner/social.colibri.community/3kcom'
/** A read is cached when it is requested again; this is once more. */
const TIMES = 3

let stage
let service
before(async () => {
  stage = await openStage({ env: { INVITE_API_KEY: KEY } })
  service = stage.service
  await stage.say(...WORLD)
  // Lookups of unknown names in the meantime would be changes of their own.
  await eventually(
    () => {
      let due = 1
      stage.behindItsBack((db) => (due = db.prepare("SELECT count(*) AS n FROM identities WHERE check_at < '2027' AND failures = 0").get().n))
      return due === 0
    },
    { what: 'everybody to have been resolved' },
  )
})

/** A guarded call that must succeed. */
async function post(path, body, method = 'POST') {
  const headers = { authorization: `Bearer ${KEY}` }
  const answer = await service.fetch(path, { method, headers, ...(body && { body: JSON.stringify(body) }) })
  assert.equal(answer.status, 204, await answer.text())
}
const ban = (did) => post('/api/community/ban', { community_uri: COMMUNITY, member_did: did })
const unban = (did) => post(`/api/community/ban?community=${COMMUNITY}&member_did=${did}`, undefined, 'DELETE')

/** Requests until the answer is cached, if ever; returns the last answer. */
async function hot(path) {
  let answer
  for (let n = 0; n < TIMES; n++) answer = await service.fetchJson(path)
  assert.equal(answer.status, 200, path)
  return answer
}
const text = async (path) => (await service.fetch(path)).text()
/** Hides the tables of the index, so that only cached answers work. */
async function withoutIndex(work) {
  const tables = ['communities', 'people', 'channel_reads', 'messages', 'reactions', 'channels']
  const rename = (from, to) => stage.behindItsBack((db) => tables.forEach((name) => db.exec(`ALTER TABLE ${from(name)} RENAME TO ${to(name)}`)))
  const away = (name) => `away_${name}`
  rename((name) => name, away)
  try {
    await work()
  } finally {
    rename(away, (name) => name)
  }
}

/** Every read except the streamed one, which is one page here. */
const PATHS = Object.values(GOLDEN).map(({ path }) => path)

test('what is asked for again is answered without the index, and with its tag', async () => {
  const page = '/api/messages?channel=3kchan&limit=1'
  const before = new Map()
  for (const path of [...PATHS, page]) before.set(path, await hot(path))
  const fresh = (path) => `${path}&unasked`
  await withoutIndex(async () => {
    for (const [path, { headers, body }] of before) {
      const kept = await service.fetchJson(path)
      assert.deepEqual([kept.status, kept.body], [200, body], path)
      for (const name of ['etag', 'cache-control', 'content-type', 'colibri-cursor', 'access-control-allow-origin'])
        assert.equal(kept.headers.get(name), headers.get(name), `${path} ${name}`)
      const known = await service.fetch(path, { headers: { 'if-none-match': String(headers.get('etag')) } })
      assert.deepEqual([known.status, await known.text()], [304, ''], `${path}: H12`)
      const head = await service.fetch(path, { method: 'HEAD' })
      assert.deepEqual([head.status, await head.text()], [200, ''], `${path}: H09`)
      assert.equal((await service.fetch(fresh(path))).status, 503, `${path}: the index was away`)
    }
    await stage.forgetAnswers()
    for (const path of before.keys()) assert.equal((await service.fetch(path)).status, 503, `${path}: of another run`)
  })
  assert(before.get(page).headers.get('colibri-cursor'), 'H40: there was another page')
  for (const [path, { body }] of before) assert.deepEqual((await service.fetchJson(path)).body, body, path)
})

test('H11: whatever changes what a kept answer shows is shown by the next', async () => {
  const message = (rkey, text) => ['member', 'create', `message/${rkey}`, { text, channel: '3kchan', createdAt: '2026-03-02T12:00:00Z' }]
  /** @type {[string, () => Promise<void>, string[], RegExp | ((text: string) => boolean)][]} */
  const changes = [
    ['a message', () => stage.say(message('3kept1', 'Kept one')), ['R01'], /Kept one/],
    ['an edit', () => stage.say(['member', 'update', 'message/3kept1', { text: 'Kept two', channel: '3kchan', createdAt: '2026-03-02T12:00:00Z' }]), ['R01'], /Kept two/],
    ['a reaction', () => stage.say(['owner', 'create', 'reaction/3kept2', { emoji: '🐝', parent: '3kmsg2' }]), ['R01', 'R02', 'R05', 'R06'], /🐝/],
    ['no reaction', () => stage.say(['owner', 'delete', 'reaction/3kept2']), ['R01', 'R02', 'R05', 'R06'], (text) => !text.includes('🐝')],
    ['a block', () => post('/api/message/block?author_did=did:plc:member&rkey=3kept1'), ['R01'], (text) => !text.includes('Kept two')],
    ['a profile', () => stage.say(['member', 'update', 'app.bsky.actor.profile/self', { displayName: 'Member Kept' }]), ['R01', 'R02', 'R04', 'R14'], /Member Kept/],
    ['a status', () => stage.say(['member', 'create', 'actor.data/self', { status: 'Kept', emoji: '🐝' }]), ['R01', 'R02', 'R04', 'R14'], /🐝/],
    ['a state', () => post('/api/user/state?did=did:plc:member&state=dnd'), ['R01', 'R02', 'R04', 'R14'], /"state":"dnd"/],
    ['a channel', () => stage.say(['owner', 'create', 'channel/3kept3', { name: 'kept hall', type: 'text', community: '3kcom' }]), ['R12', 'R13'], /kept hall/],
    ['no channel', () => stage.say(['owner', 'delete', 'channel/3kept3']), ['R12', 'R13'], (text) => !text.includes('kept hall')],
    ['a community', () => stage.say(['owner', 'update', 'community/3kcom', { name: 'Kept garden', categoryOrder: ['3kcat'], requiresApprovalToJoin: true }]), ['R07', 'R11'], /Kept garden/],
    ['a member', () => stage.say(['late', 'create', 'membership/m', { community: COMMUNITY }]), ['R14'], /did:plc:late/],
    ['a ban', () => ban('did:plc:late'), ['R14'], (text) => !text.includes('did:plc:late')],
    ['its end', () => unban('did:plc:late'), ['R14'], /did:plc:late/],
    ['a mark', () => stage.say(['member', 'create', 'channel.read/3kept4', { channel: 'at://did:plc:owner/social.colibri.channel/3kept', cursor: '2026-03-02T12:00:00Z' }]), ['R22'], /3kept"/],
    ['an account that goes', () => stage.account('member', false, 'deactivated'), ['R01', 'R14'], (text) => !text.includes('"did:plc:member"')],
    ['and comes back', () => stage.account('member', true), ['R01', 'R14'], /"did:plc:member"/],
  ]
  for (const [what, change, ids, shows] of changes) {
    const fits = typeof shows === 'function' ? shows : (/** @type {string} */ text) => shows.test(text)
    const paths = ids.map((id) => GOLDEN[id].path)
    for (const path of paths) {
      await hot(path)
      assert(!fits(await text(path)), `${what}: it is news to ${path}`)
    }
    await change()
    for (const path of paths) assert(fits(await text(path)), `${what}: ${path} answers ${await text(path)}`)
  }
})

test('H11: a looked-up handle, and presence through a socket, are visible once they are published', async () => {
  const { path } = GOLDEN.R04
  const socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'user_status', did: 'did:plc:member' })
  await hot(path)
  const own = await service.connect('/api/subscribe?did=did:plc:member')
  await own.request({ action: 'heartbeat', event_type: 'heartbeat' })
  const { state } = await socket.next({ type: 'user_status_changed', did: 'did:plc:member' })
  assert((await text(path)).includes(`"state":"${state}"`), 'a socket')

  const handle = 'kept.test'
  stage.host.routes.set('/plc/did:plc:member', { id: 'did:plc:member', alsoKnownAs: [`at://${handle}`], service: [] })
  stage.host.routes.set('/dns', (request, response) => {
    response.setHeader('content-type', 'application/dns-json')
    response.end(JSON.stringify({ Status: 0, Answer: [{ name: `_atproto.${handle}`, type: 16, TTL: 60, data: '"did=did:plc:member"' }] }))
  })
  await hot(path)
  await stage.identity('member', handle)
  const received = await socket.next({ type: 'user_profile_updated', did: 'did:plc:member', handle })
  assert.equal(received.handle, handle)
  assert((await text(path)).includes(`"${handle}"`), 'E16 and R04 agree')
})

test('V10: voice members are asked for each time', async () => {
  const socket = await service.connect('/api/subscribe?did=did:plc:owner')
  const watcher = await service.connect('/api/subscribe')
  await watcher.subscribe({ event_type: 'community', community_uri: COMMUNITY })
  for (const [voice_action, members] of /** @type {[string, string[]][]} */ ([['join', ['did:plc:owner']], ['leave', []]])) {
    for (const id of ['R12', 'R13']) await hot(GOLDEN[id].path)
    await socket.request({ action: 'voice_event', community_uri: COMMUNITY, voice_channel_rkey: '3kvoice', voice_action })
    await watcher.next({ type: 'voice_channel_updated', channel_rkey: '3kvoice', member_dids: members })
    const { body: channels } = await service.fetchJson(GOLDEN.R12.path)
    assert.deepEqual(channels.find(({ rkey }) => rkey === '3kvoice').voice_members, members, 'R12')
    const { body: sidebar } = await service.fetchJson(GOLDEN.R13.path)
    const all = [...sidebar.uncategorized, ...sidebar.categories.flatMap(({ channels }) => channels)]
    assert.deepEqual(all.find(({ rkey }) => rkey === '3kvoice').voice_members, members, 'R13')
  }
})

test('H11: under load, what was answered is seen by every read that begins after it', async () => {
  const COUNT = 40
  const { path } = GOLDEN.R14
  const name = (n) => `did:plc:load${n}`
  await stage.say(...Array.from({ length: COUNT }, (_, n) => [`load${n}`, 'create', 'membership/m', { community: COMMUNITY }]))
  /** The number of bans that certainly took effect. */
  let banned = 0
  let reads = 0
  let done = false
  const reader = async () => {
    while (!done) {
      const certainly = banned
      const { status, body } = await service.fetchJson(path)
      assert.equal(status, 200)
      const there = new Set(body.map(({ member_did }) => member_did))
      for (let n = 0; n < certainly; n++) assert(!there.has(name(n)), `${name(n)} was banned before this was asked`)
      reads += 1
    }
  }
  const readers = Array.from({ length: 4 }, reader)
  try {
    for (let n = 0; n < COUNT; n++) {
      if (n % 10 === 5) await stage.forgetAnswers() // whatever was begun in that run
      await ban(name(n))
      banned = n + 1
      const seen = reads
      await eventually(() => reads > seen + 8, { what: 'reads between two bans' })
    }
  } finally {
    done = true
    await Promise.all(readers)
  }
  assert(reads > COUNT * 8)
})

test('a ban that an admin writes into the database counts for reads and for the gate within a minute', async () => {
  const bans = '/api/community/bans?community=' + COMMUNITY
  const isListed = async () => {
    const { body } = await service.fetchJson(bans, { headers: { authorization: `Bearer ${KEY}` } })
    return body.some(({ member_did }) => member_did === 'did:plc:member')
  }
  let written = 0
  /** Whether another message of the member is accepted. */
  const mayPost = async () => {
    const rkey = `by-hand-${++written}`
    await stage.say(['member', 'create', `message/${rkey}`, { text: 'hello', channel: '3kchan', createdAt: '2026-03-01T12:00:00Z' }])
    return (await service.fetch(`/api/message?author=did:plc:member&rkey=${rkey}`)).status === 200
  }
  assert.deepEqual([await mayPost(), await isListed()], [true, false])
  stage.behindItsBack((db) => db.exec(`INSERT INTO bans (community_uri, member_did, banned_at) VALUES ('${COMMUNITY}', 'did:plc:member', '')`))
  try {
    const written = Date.now()
    await eventually(async () => !(await mayPost()), { timeout: 70_000, what: 'the gate to refuse the member' })
    assert(Date.now() - written < 65_000, 'within a minute')
    assert(await isListed())
  } finally {
    stage.behindItsBack((db) => db.exec(`DELETE FROM bans WHERE member_did = 'did:plc:member'`))
  }
})
