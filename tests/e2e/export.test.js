// `GET /api/export` and `npm run import` (R43): who gets what, in every mode; and a service that an export was brought into answers
// as the one it came from.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { DEFAULT_ENV, eventually, freePort, freshFolder, startService } from './harness.js'
import { connected } from './place.js'
import { openStage } from './stage.js'

const IMPORT = fileURLToPath(new URL('../../scripts/import.js', import.meta.url))
const KEY = 'the key of the export tests'
const SECRETS = { INVITE_API_KEY: KEY, TOKEN_SECRET: 'what signs the tokens of the export tests' }
const CLOSED = 'at://did:plc:owner/social.colibri.community/closed'
const OPEN = 'at://did:plc:other/social.colibri.community/open'
const HALL = 'at://did:plc:owner/social.colibri.channel/hall'
const MANY = 2_500

let stage, service, env
const tokens = {}

const withProof = (proof) => ({ headers: proof === undefined ? {} : { authorization: `Bearer ${proof}` } })

/** The lines of an export. */
async function exported(query, proof = KEY, from = service) {
  const response = await from.fetch(`/api/export?${query}`, withProof(proof))
  assert.equal(response.status, 200, await response.clone().text())
  assert.equal(response.headers.get('content-type'), 'application/x-ndjson')
  const text = await response.text()
  assert(text.endsWith('\n'))
  return text.trimEnd().split('\n')
}

/** As objects, without the last. */
function records(lines) {
  const all = lines.map((line) => JSON.parse(line))
  const end = all.pop()
  assert.deepEqual({ ...end, at: undefined }, { end: true, records: all.length, at: undefined })
  assert(Math.abs(Date.parse(end.at) - Date.now()) < 600_000, end.at)
  return all
}

const paths = (lines) => records(lines).map(({ uri }) => uri.replace(/^at:\/\/did:plc:/, '').replace('social.colibri.', ''))

function fileOf(lines) {
  const file = join(freshFolder(), 'export.ndjson')
  writeFileSync(file, lines.map((line) => `${line}\n`).join(''))
  return file
}

/** Runs the command and resolves with its exit code and what it said. */
async function runImport(...args) {
  const child = spawn(process.execPath, [IMPORT, ...args], { env: { ...process.env, ...env, COLIBRI_END_WITH_PARENT: '1' } })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text))
  const [code] = await once(child, 'close')
  return { code, said }
}

async function imported(...args) {
  const { code, said } = await runImport(...args)
  assert.equal(code, 0, said)
  return said
}

const ban = (where, method = 'POST') => {
  const body = { community_uri: CLOSED, member_did: 'did:plc:banned' }
  return where.fetchJson('/api/community/ban', { method, ...withProof(KEY), body: JSON.stringify(body) })
}

/** Everything that REST shows of it, without times of receipt. */
async function shown(from) {
  const people = ['owner', 'other', 'member', 'pending', 'banned']
  const paths = [
    ...[CLOSED, OPEN].flatMap((uri) =>
      ['community', 'channels', 'sidebar', 'members'].map((what) => `/api/${what}?community=${uri}`),
    ),
    ...['hall', 'notices', 'lobby'].flatMap((channel) => [
      `/api/messages?channel=${channel}&all=`,
      `/api/reactions/channel?channel=${channel}`,
    ]),
    ...people.flatMap((who) =>
      ['authors', 'communities', 'channel-reads'].map((what) => `/api/${what}?did=did:plc:${who}`),
    ),
    '/api/message?author=did:plc:owner&rkey=answer',
    '/api/message?author=did:plc:member&rkey=blocked',
  ]
  const answers = {}
  for (const path of paths) {
    const { status, body } = await from.fetchJson(path)
    const text = JSON.stringify(body, (name, value) => (['indexed_at', 'updated_at'].includes(name) ? undefined : value))
    answers[path] = [status, JSON.parse(text)]
  }
  return answers
}

before(async () => {
  stage = await openStage({ env: SECRETS })
  service = stage.service
  const { url, name } = stage.host
  const hosts = { PLC_URL: `${url}/plc`, BSKY_API_URL: `${url}/bsky`, DOH_URL: `${url}/dns`, INSECURE_HOSTS: name }
  env = { ...DEFAULT_ENV, CDN_URL: 'https://cdn.bsky.app', ...hosts, ...SECRETS }
  const at = (n) => new Date(Date.UTC(2026, 2, 1, 12, 0, n)).toISOString()
  const blob = { $type: 'blob', ref: { $link: 'bafkreib' }, mimeType: 'image/png', size: 12345 }
  const message = (n, text, more = {}) => ({ text, channel: 'hall', createdAt: at(n), ...more })
  const facets = [{ index: { byteStart: 0, byteEnd: 4 }, features: [{ $type: 'social.colibri.richtext.facet#bold' }] }]
  await stage.say(
    ['owner', 'create', 'community/closed', { name: 'Closed', picture: blob, categoryOrder: ['news'], createdAt: at(0) }],
    ['owner', 'create', 'category/news', { name: 'News', community: 'closed', channelOrder: ['notices'] }],
    ['owner', 'create', 'channel/hall', { name: 'hall', type: 'text', community: 'closed', description: 'for all' }],
    ['owner', 'create', 'channel/notices', { name: 'notices', type: 'text', community: 'closed', category: 'news', ownerOnly: true }],
    ['other', 'create', 'community/open', { name: 'Open', requiresApprovalToJoin: false }],
    ['other', 'create', 'channel/lobby', { name: 'lobby', type: 'text', community: CLOSED.replace('owner', 'other').replace('closed', 'open') }],
    ...['member', 'pending', 'banned'].map((who) => [who, 'create', 'membership/closed', { community: CLOSED, createdAt: at(1) }]),
    ...['member', 'banned'].map((who) => [
      'owner', 'create', `approval/${who}`, { membership: `at://did:plc:${who}/social.colibri.membership/closed`, community: CLOSED },
    ]),
    ['member', 'create', 'membership/open', { community: OPEN, createdAt: at(1) }],
    ['member', 'create', 'actor.data/self', { status: 'Reading', emoji: '📚', communities: ['closed'] }],
    ['member', 'create', 'app.bsky.actor.profile/self', { displayName: 'Member', avatar: blob }],
    ['member', 'create', 'message/first', message(2, 'with a picture', { attachments: [{ blob, name: 'picture.png' }] })],
    ['banned', 'create', 'message/bad', message(3, 'before the ban')],
    ['member', 'create', 'message/blocked', message(4, 'blocked')],
    ['member', 'create', 'message/typo', message(5, 'bodl')],
    ['member', 'update', 'message/typo', message(5, 'bold', { facets })],
    ['owner', 'create', 'message/answer', message(6, 'an answer', { parent: 'first' })],
    ['owner', 'create', 'message/notice', message(7, 'only the owner', { channel: 'notices' })],
    ['member', 'create', 'message/there', message(8, 'elsewhere', { channel: 'lobby' })],
    ['owner', 'create', 'reaction/r1', { emoji: '❤️', parent: 'first', createdAt: at(9) }],
    ['banned', 'create', 'reaction/r2', { emoji: '👍', parent: 'first' }],
    ['member', 'create', 'reaction/r3', { emoji: '❤', targetMessage: 'at://did:plc:member/social.colibri.message/first' }],
    ['member', 'create', 'channel.read/hall', { channel: HALL, cursor: at(8) }],
  )
  assert.equal((await ban(service)).status, 204)
  const block = await service.fetchJson('/api/message/block?author_did=did:plc:member&rkey=blocked', { method: 'POST', ...withProof(KEY) })
  assert.equal(block.status, 204)
  const moderators = { community_uri: CLOSED, moderators: ['did:plc:moderator'] }
  const named = await service.fetchJson('/api/community/moderators', { method: 'PUT', ...withProof(KEY), body: JSON.stringify(moderators) })
  assert.equal(named.status, 204)
  for (const who of ['owner', 'other', 'member', 'pending', 'banned', 'moderator', 'stranger']) {
    const body = JSON.stringify({ did: `did:plc:${who}` })
    tokens[who] = (await service.fetchJson('/api/authentication', { method: 'POST', ...withProof(KEY), body })).body.token
  }
})

test('R43: an owner gets what is shown of a community and who is in it, and so does the key', async () => {
  const lines = await exported(`community=${CLOSED}`, tokens.owner)
  assert.deepEqual(paths(lines), [
    'owner/community/closed',
    'owner/category/news',
    'owner/channel/hall',
    'owner/channel/notices',
    'banned/membership/closed',
    'member/membership/closed',
    'pending/membership/closed',
    'owner/approval/banned',
    'owner/approval/member',
    'member/actor.data/self',
    'member/app.bsky.actor.profile/self',
    'member/message/first',
    'banned/message/bad',
    'member/message/typo',
    'owner/message/answer',
    'owner/message/notice',
    'owner/reaction/r1',
    'banned/reaction/r2',
    'member/reaction/r3',
  ])
  const { cid, rev, value } = records(lines).find(({ uri }) => uri.endsWith('/typo'))
  assert.equal(cid, 'bafyreia')
  assert.match(rev, /^3[2-7a-z]{12}$/)
  assert.deepEqual(Object.keys(value), ['$type', 'text', 'channel', 'createdAt', 'facets', 'edited'])
  assert.deepEqual(records(await exported(`community=${CLOSED}`)), records(lines))
})

test('R43: a person gets everything of theirs, also what is blocked and what their absence hides', async () => {
  const expected = [
    'member/membership/closed',
    'member/membership/open',
    'member/actor.data/self',
    'member/app.bsky.actor.profile/self',
    'member/message/blocked',
    'member/message/first',
    'member/message/there',
    'member/message/typo',
    'member/reaction/r3',
    'member/channel.read/hall',
  ]
  assert.deepEqual(paths(await exported('did=did:plc:member', tokens.member)), expected)
  await stage.account('member', false, 'deactivated')
  await eventually(async () => !paths(await exported(`community=${CLOSED}`)).includes('member/message/first'), {
    what: 'the absent member to be out of what the owner sees',
  })
  assert.deepEqual(paths(await exported('did=did:plc:member')), expected, 'by the key')
  await stage.account('member', true)
  await eventually(async () => paths(await exported(`community=${CLOSED}`)).includes('member/message/first'), { what: 'the member to be back' })
  assert.deepEqual(paths(await exported('did=did:plc:nobody')), [])
})

test('R43: nobody else gets anything, in any mode; what is asked for wrongly is refused', async () => {
  for (const mode of ['open', 'mixed', 'verified']) {
    await service.restart({ env: { AUTH_MODE: mode } })
    await connected(service)
    const others = ['other', 'member', 'pending', 'banned', 'moderator', 'stranger']
    const both = `community=${CLOSED}&did=did:plc:owner`
    for (const [query, proof, expected] of [
      [`community=${CLOSED}`, undefined, 401],
      [`community=${CLOSED}&did=`, 'nonsense', 401],
      ['did=did:plc:member', undefined, 401],
      ['', undefined, 401],
      ...others.map((who) => [`community=${CLOSED}`, tokens[who], 403]),
      [`community=${OPEN}`, tokens.owner, 403],
      ...['owner', 'moderator', 'stranger'].map((who) => ['did=did:plc:member', tokens[who], 403]),
      ['community=at://did:plc:owner/social.colibri.community/none', tokens.owner, 404],
      ['community=at://did:plc:owner/social.colibri.community/none', KEY, 404],
      ['community=at://x', KEY, 404],
      ['', KEY, 422],
      [both, KEY, 422],
      ['community=closed', KEY, 422],
      ['did=member', KEY, 422],
      [`community=${CLOSED}&cursor=`, KEY, 422],
      [`community=${CLOSED}&cursor=x`, KEY, 422],
      [`community=${CLOSED}&cursor=x`, tokens.member, 403],
    ]) {
      const response = await service.fetchJson(`/api/export?${query}`, withProof(proof))
      assert.equal(response.status, expected, `${mode}: ${query} with ${proof}: ${JSON.stringify(response.body)}`)
    }
    assert(paths(await exported(`community=${CLOSED}`, tokens.owner)).length > 10, mode)
    assert(paths(await exported('did=did:plc:member', tokens.member)).length > 5, mode)
  }
})

test('R43.5: a service that exports were brought into answers as the one they came from', async () => {
  const [closed, open, member] = await Promise.all([
    exported(`community=${CLOSED}`),
    exported(`community=${OPEN}`),
    exported('did=did:plc:member'),
  ])
  const state = join(freshFolder(), 'service')
  const said = await imported(fileOf(closed), '--state', state)
  assert.match(said, /19 records \(1 social\.colibri\.community, /)
  assert.match(said, /decided: 19 records, of these 0 refused by the gate, 0 waiting for others/)
  const second = await runImport(fileOf(open), '--state', state)
  assert.deepEqual([second.code, /is not empty: it knows \d+ repositories.*--merge/s.test(second.said)], [1, true], second.said)
  await imported(fileOf(open), '--state', state, '--merge')
  // What nobody else sees of the member: a message that is blocked here, and how far they read.
  await imported(fileOf(member), '--state', state, '--merge')

  const start = () => startService({ state, env: { ...env, JETSTREAM_URL: stage.jetstream.url } })
  let again = await start()
  assert.equal((await ban(again)).status, 204)
  const block = await again.fetchJson('/api/message/block?author_did=did:plc:member&rkey=blocked', { method: 'POST', ...withProof(KEY) })
  assert.equal(block.status, 204)
  assert.deepEqual(await shown(again), await shown(service))
  for (const [query, lines] of [[`community=${CLOSED}`, closed], [`community=${OPEN}`, open], ['did=did:plc:member', member]]) {
    assert.deepEqual(records(await exported(query, KEY, again)), records(lines), 'and its exports are the same')
  }
  await connected(again)
  assert.deepEqual((await again.fetchJson('/api/health')).body.ingest.gaps, [])
  const answers = await shown(again)
  await again.stop()

  assert.match(await imported(fileOf(closed), '--state', state, '--merge'), /of these 0 refused by the gate, 0 waiting/)
  again = await start()
  assert.deepEqual(await shown(again), answers, 'a second time changes nothing')
  await again.stop()
})

test('R43.5: a service that runs already is played to', async () => {
  const port = await freePort()
  const stream = `ws://127.0.0.1:${port}/subscribe?cursor=1`
  const running = await startService({ env: { ...env, JETSTREAM_URL: stream } })
  const lines = await exported(`community=${CLOSED}`)
  // In two parts, as of an export that takes two answers.
  const part = { ...JSON.parse(lines.at(-1)), end: false, records: 9, cursor: 'x' }
  const file = fileOf(lines.toSpliced(9, 0, JSON.stringify(part)))
  const other = await runImport(file, '--url', service.url, '--port', String(port))
  assert.deepEqual([other.code, /Start it with JETSTREAM_URL='ws:/.test(other.said)], [1, true], other.said)
  await imported(file, '--url', running.url, '--port', String(port))
  const { body } = await running.fetchJson('/api/messages?channel=hall&all=')
  assert.deepEqual(body.map(({ text }) => text), ['an answer', 'bold', 'before the ban', 'with a picture'])
  await imported(file, '--url', running.url, '--port', String(port), '--merge')
  assert.deepEqual((await running.fetchJson('/api/health')).body.ingest.gaps, [], 'the stream went on where it was')
})

test('R43.1: a file that was cut off or is malformed is refused, with the line', async () => {
  const lines = await exported(`community=${CLOSED}`)
  const state = join(freshFolder(), 'service')
  const part = (records) => JSON.stringify({ end: false, records, at: '2026-03-01T12:00:00.000Z', cursor: 'x' })
  const changed = (n, line) => lines.map((old, at) => (at === n - 1 ? line : old))
  const fields = (n, more) => JSON.stringify({ ...JSON.parse(lines[n - 1]), ...more })
  for (const [file, why] of [
    [fileOf([]), /it is empty/],
    [fileOf(lines.slice(0, -1)), /was cut off: line 19, its last/],
    [fileOf([...lines.slice(0, 4), part(4)]), /is not complete: line 5, its last, says that the export goes on/],
    [fileOf([...lines.slice(0, 4), part(3)]), /line 5: it says that there are 3 records, but 4 came before it/],
    [fileOf([...lines.slice(0, 4), part(4), ...lines.slice(5)]), /line 20: it says that there are 19 records, but 18/],
    [fileOf([...lines.slice(0, 5), lines[5].slice(0, 40)]), /line 6: not JSON; the file may have been cut off/],
    [fileOf(lines.toSpliced(3, 1)), /line 19: it says that there are 19 records, but 18 came before it/],
    [fileOf([...lines, lines[0]]), /line 21: there is a line after the last one/],
    [fileOf(changed(2, '[]')), /line 2: not a JSON object/],
    [fileOf(changed(2, fields(2, { uri: 'at://alice/x/y' }))), /line 2: "uri" is not the AT-URI of a record/],
    [fileOf(changed(3, fields(3, { cid: 7 }))), /line 3: "cid" is neither a CID nor null/],
    [fileOf(changed(4, fields(4, { rev: 'x' }))), /line 4: "rev" is neither a revision nor null/],
    [fileOf(changed(5, fields(5, { value: [] }))), /line 5: "value" is not a JSON object/],
    [join(freshFolder(), 'absent'), /There is no file/],
  ]) {
    const { code, said } = await runImport(file, '--state', state)
    assert.equal(code, 1, said)
    assert.match(said, why)
    assert.doesNotMatch(said, /\n\s+at /, 'no stack trace')
  }
  for (const [args, why] of [
    [[], /Usage: npm run import/],
    [['x'], /Say where to/],
    [['x', '--state', 'a', '--url', 'b'], /Say where to/],
    [['x', '--url', 'b'], /belong together/],
    [['x', '--url', 'b', '--port', 'c'], /--port must be a number/],
  ]) {
    const { code, said } = await runImport(...args)
    assert.deepEqual([code, why.test(said)], [1, true], said)
  }
})

test('R43.4: many pages come once each; a reader that leaves ends its export, and the next one is served', async () => {
  const messages = Array.from({ length: MANY }, (_, n) => [
    'member', 'create', `message/m${String(n).padStart(4, '0')}`, { text: `number ${n}`, channel: 'lobby', createdAt: '2026-03-01T13:00:00Z' },
  ])
  await stage.say(...messages)
  for (let n = 0; n < 6; n++) {
    const leaving = new AbortController()
    const response = await service.fetch(`/api/export?community=${OPEN}`, { ...withProof(tokens.other), signal: leaving.signal })
    await response.body.getReader().read()
    leaving.abort()
  }
  for (const [query, proof] of [[`community=${OPEN}`, tokens.other], ['did=did:plc:member', tokens.member]]) {
    const found = paths(await exported(query, proof)).filter((path) => path.includes('/message/m'))
    assert.equal(found.length, MANY)
    assert.equal(new Set(found).size, MANY)
  }
})
