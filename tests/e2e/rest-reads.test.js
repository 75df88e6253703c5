// The reads (contract sections 2 and 3), on the real runtime: exact bodies, errors, tags, pages, hostile input, faults.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { before, test } from 'node:test'

import WebSocket from 'ws'

import { GOLDEN, RECEIVED, WORLD } from './golden/reads.js'
import { eventually, startService } from './harness.js'
import { openStage } from './stage.js'

let stage
let service
before(async () => {
  stage = await openStage()
  service = stage.service
  await stage.say(...WORLD)
})

const COMMUNITY = 'at://did:plc:owner/social.colibri.community/3kcom'
const UNKNOWN = 'at://did:plc:x/social.colibri.community/x'

/** A body in which receive times, which must have the form of H10, are replaced. */
function comparable(body) {
  return JSON.parse(JSON.stringify(body), (key, value) => {
    if (key !== 'indexed_at' && key !== 'updated_at') return value
    assert.match(value, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, 'H10')
    return RECEIVED
  })
}

for (const [id, { path, breaks, body }] of Object.entries(GOLDEN)) {
  test(`golden ${id}; a change breaks ${breaks}`, async () => {
    const answer = await service.fetchJson(path)
    assert.equal(answer.status, 200)
    assert.match(answer.headers.get('content-type'), /^application\/json/, 'H01')
    assert.deepEqual(comparable(answer.body), body)
    assert.equal(answer.headers.get('colibri-cursor'), null, 'H40: the list is complete')
    const head = await service.fetch(path, { method: 'HEAD' })
    assert.deepEqual([head.status, await head.text()], [200, ''], 'H09')
    assert.equal(head.headers.get('etag'), answer.headers.get('etag'), 'H09')
  })
}

test('unknown things are empty (R01, R05, R06, R11–R14, R22) or 404 (R02, R07)', async () => {
  for (const [path, status, body] of [
    ['/api/messages?channel=nowhere', 200, []],
    ['/api/messages?channel=nowhere&all', 200, []],
    ['/api/message?author=did:plc:a&rkey=x', 404],
    ['/api/reactions?message=nothing', 200, []],
    ['/api/reactions?message=at://nonsense', 200, []],
    ['/api/reactions/channel?channel=nowhere', 200, {}],
    [`/api/community?community=${UNKNOWN}`, 404],
    ['/api/community?community=nowhere', 404],
    ['/api/communities?did=did:plc:nobody', 200, { owned: [], joined: [] }],
    [`/api/channels?community=${UNKNOWN}`, 200, []],
    [`/api/sidebar?community=${UNKNOWN}`, 200, { categories: [], uncategorized: [] }],
    [`/api/members?community=${UNKNOWN}`, 200, []],
    ['/api/channel-reads?did=did:plc:nobody', 200, []],
  ]) {
    const answer = await service.fetchJson(path)
    assert.equal(answer.status, status, path)
    if (body) assert.deepEqual(answer.body, body, path)
    else assert.equal(answer.body.error, 'NotFound', path)
  }
})

test('/api/server says what this is', async () => {
  const { status, body } = await service.fetchJson('/api/server')
  assert.equal(status, 200)
  assert.deepEqual(Object.keys(body), ['auth_meaning', 'auth_mode', 'did', 'limits', 'name', 'version'])
  assert.deepEqual([body.name, body.auth_mode, body.limits.messages_per_page], ['colibri-edge', 'open', 100])
  assert.match(body.version, /^\d+\.\d+\.\d+$/)
})

/** The table of routes, from the code. */
const routes = [
  ...readFileSync(new URL('../../src/api/mod.rs', import.meta.url), 'utf8').matchAll(
    /^ {4}(GET|POST|PUT|DELETE) +"([^"]+)" +(\w+) /gm,
  ),
].map(([, method, path, id]) => ({ method, path: path.replace(/\{.*?\}/g, 'x'), id }))

/** fetch() refuses some methods itself. */
const raw = (method, path) =>
  new Promise((resolve, reject) => {
    const asked = request(service.url + path, { method }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk))
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }))
    })
    asked.on('error', reject).end()
  })

test('H03, H09: every path takes its methods and no other', async () => {
  assert(routes.length >= 15, 'the table of routes was found')
  for (const path of new Set(routes.map((route) => route.path))) {
    const methods = routes.filter((route) => route.path === path).map((route) => route.method)
    const allowed = methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method])).concat('OPTIONS')
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND', 'TRACE', 'REPORT'].filter(
      (method) => !allowed.includes(method),
    )) {
      const { status, headers, text } = await raw(method, path)
      assert.equal(status, 405, `${method} ${path}`)
      assert.deepEqual(headers.allow.split(', ').sort(), [...allowed].sort(), `${method} ${path}`)
      if (method !== 'HEAD') assert.equal(JSON.parse(text).error, 'MethodNotAllowed', 'H02')
    }
    const options = await raw('OPTIONS', path)
    assert.deepEqual([options.status, options.text], [204, ''], path)
    for (const other of [`${path}/`, `${path}//`, path.toUpperCase(), `/${path}`].filter((other) => other !== path)) {
      const { status, body } = await service.fetchJson(other)
      assert.deepEqual([status, body.error], [404, 'NotFound'], other)
    }
  }
})

const LISTS = [
  `/api/channels?community=${COMMUNITY}`,
  `/api/members?community=${COMMUNITY}`,
  '/api/reactions/channel?channel=3kchan',
  '/api/channel-reads?did=did:plc:member',
  '/api/messages?channel=3kchan',
]

test('H12: a tag brings a 304 until anything shown changes', async () => {
  const tags = new Map()
  for (const { path } of Object.values(GOLDEN)) {
    const tag = (await service.fetchJson(path)).headers.get('etag')
    assert.match(tag, /^"[^"]+"$/, path)
    tags.set(path, tag)
    for (const [header, status] of [
      [tag, 304],
      [`W/${tag}`, 304],
      [`"x", ${tag}`, 304],
      ['*', 304],
      ['"x"', 200],
      ['nonsense', 200],
    ]) {
      const answer = await service.fetch(path, { headers: { 'if-none-match': header } })
      assert.equal(answer.status, status, `${path} ${header}`)
      assert.equal(answer.headers.get('etag'), tag, `${path} ${header}`)
      assert.equal((await answer.text()) === '', status === 304, `${path} ${header}`)
      assert.equal(answer.headers.get('access-control-allow-origin'), '*', 'H30')
    }
  }
  // None of these moves the community's seq.
  await stage.say(
    ['member', 'update', 'app.bsky.actor.profile/self', { displayName: 'Member Two' }],
    ['member', 'create', 'actor.data/self', { status: 'Reading', emoji: '📚' }],
  )
  for (const id of ['R01', 'R02', 'R04', 'R14']) {
    const { path } = GOLDEN[id]
    const answer = await service.fetch(path, { headers: { 'if-none-match': tags.get(path) } })
    assert.equal(answer.status, 200, `${path}: a name changed`)
    assert.match(await answer.text(), /Member Two/)
  }
  stage.behindItsBack((db) => db.exec("UPDATE people SET state = 'online' WHERE did = 'did:plc:member'"))
  await stage.forgetAnswers()
  for (const id of ['R01', 'R04', 'R14']) {
    const { path } = GOLDEN[id]
    assert.match(await (await service.fetch(path)).text(), /"state":"online"/, 'O01, O02, O07: presence')
  }
  for (const id of ['R07', 'R12', 'R13', 'R22']) {
    const { path } = GOLDEN[id]
    const answer = await service.fetch(path, { headers: { 'if-none-match': tags.get(path) } })
    assert.equal(answer.status, 304, `${path}: nothing it shows has changed`)
  }
})

test('H40: pages by cursor are the whole list, and cursors belong to one list', async () => {
  const cursors = []
  for (const path of LISTS) {
    const whole = (await service.fetchJson(path)).body
    const rows = Array.isArray(whole) ? whole : Object.entries(whole)
    for (const limit of [1, 2, 1000]) assert.deepEqual((await stage.walk(path, limit)).rows, rows, `${path} by ${limit}`)
    const clamped = await service.fetchJson(`${path}&limit=0`)
    assert.equal(Object.keys(clamped.body).length, 1, 'H05')
    const cursor = clamped.headers.get('colibri-cursor')
    if (cursor) {
      cursors.push([path, cursor])
      const tagged = await service.fetch(`${path}&limit=1`, { headers: { 'if-none-match': clamped.headers.get('etag') } })
      assert.deepEqual([tagged.status, tagged.headers.get('colibri-cursor')], [304, cursor], 'a 304 leads on as well')
    }
  }
  assert(cursors.length >= 3)
  for (const [from, cursor] of cursors) {
    for (const path of LISTS) {
      const { status } = await service.fetchJson(`${path}&cursor=${cursor}`)
      assert.equal(status, path === from ? 200 : 422, `a cursor of ${from} for ${path}`)
    }
  }
  const [, members] = cursors.find(([path]) => path.startsWith('/api/members'))
  const elsewhere = await service.fetchJson(`/api/members?community=${UNKNOWN}&cursor=${members}`)
  assert.equal(elsewhere.status, 422, 'another community is another list')
})

const LONG = 'x'.repeat(10_240)
/** Invalid values for each kind of value. */
const HOSTILE = {
  did: [
    '',
    'alice',
    '%00',
    'did:plc:%00',
    '%ff%fe',
    'did:plc:%ff',
    'at://did:plc:a',
    `did:plc:${LONG}`,
    'did:',
    'did:plc:',
    '-1',
    "did:plc:a'--",
    'did:plc:a%20b',
    '%F0%9F%92%A9',
  ],
  rkey: ['', '%00', '%ff', '.', '..', 'a/b', LONG, 'at://did:plc:a/b/c', 'a%20b', "'", '%E2%80%AE', 'a%00b'],
  uri: ['', '3kcom', '%00', '%ff', LONG, 'https://example.com', 'AT://did:plc:a/b/c', 'at:/did', '-1', '%20at://x'],
  name: ['', '%00', '%ff', LONG, 'https://example.com', 'a/b', 'a%20b', '..', "'%20OR%201=1"],
  cid: [
    '',
    'x',
    '%00',
    '%ff',
    LONG,
    'x%26did%3Ddid:plc:other',
    'bafkreia',
    '../../etc',
    'BAFKREIHDWDCEFGH4DQKJV67UZCMW7OJEE6XEDZDETOJUZJEVTENXQUVYKU',
  ],
  limit: ['', 'x', '1.5', '1e3', '%00', '%ff', '0x10', '+1', '-', '--1', LONG, 'NaN', '١'],
  time: ['', 'x', '%00', '%ff', '2026-03-01', '2026-13-01T00:00:00Z', '1772366400', '-1', LONG, '99999999999999999999'],
  cursor: ['', 'x', '%00', '%ff', LONG, 'bm9uc2Vuc2U', 'WyJSMDEiXQ', '../', '-1', '999999999999999999999999'],
}
const A_CID = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
/** Every parameter of every read: its path, its other parameters, its name, its kind. */
const PARAMETERS = [
  ['/api/messages', '', 'channel', 'name'],
  ['/api/messages', 'channel=3kchan', 'limit', 'limit'],
  ['/api/messages', 'channel=3kchan', 'before', 'time'],
  ['/api/messages', 'channel=3kchan', 'cursor', 'cursor'],
  ['/api/message', 'rkey=x', 'author', 'did'],
  ['/api/message', 'author=did:plc:a', 'rkey', 'rkey'],
  ['/api/authors', '', 'did', 'did'],
  ['/api/identity', '', 'id', 'did'],
  ['/api/reactions', '', 'message', 'name'],
  ['/api/reactions/channel', '', 'channel', 'name'],
  ['/api/reactions/channel', 'channel=3kchan', 'limit', 'limit'],
  ['/api/reactions/channel', 'channel=3kchan', 'cursor', 'cursor'],
  ['/api/community', '', 'community', 'name'],
  ['/api/communities', '', 'did', 'did'],
  ['/api/channels', '', 'community', 'uri'],
  ['/api/channels', `community=${COMMUNITY}`, 'limit', 'limit'],
  ['/api/channels', `community=${COMMUNITY}`, 'cursor', 'cursor'],
  ['/api/sidebar', '', 'community', 'uri'],
  ['/api/members', '', 'community', 'uri'],
  ['/api/members', `community=${COMMUNITY}`, 'limit', 'limit'],
  ['/api/members', `community=${COMMUNITY}`, 'cursor', 'cursor'],
  ['/api/blob', `cid=${A_CID}`, 'did', 'did'],
  ['/api/blob', 'did=did:plc:member', 'cid', 'cid'],
  ['/api/channel-reads', '', 'did', 'did'],
  ['/api/channel-reads', 'did=did:plc:member', 'limit', 'limit'],
  ['/api/channel-reads', 'did=did:plc:member', 'cursor', 'cursor'],
]

test('H02, H04, H05, H06, B-21: hostile values are refused by name, and change nothing', async () => {
  const index = async () =>
    JSON.stringify(await Promise.all(Object.values(GOLDEN).map(async ({ path }) => (await service.fetchJson(path)).body)))
  const before = await index()
  stage.host.news()
  let cases = 0
  const refused = async (path, name, what) => {
    const answer = await service.fetchJson(path)
    assert.equal(answer.status, 422, what)
    assert.deepEqual(Object.keys(answer.body).sort(), ['error', 'message'], what)
    assert.equal(answer.body.error, 'InvalidRequest', what)
    assert(answer.body.message.includes(name), `${what}: "${answer.body.message}" names it`)
    assert.match(answer.headers.get('content-type'), /^application\/json/, what)
    cases += 1
  }
  for (const [path, others, name, kind] of PARAMETERS) {
    for (const value of HOSTILE[kind]) {
      const what = `${path} ${name}=${value.slice(0, 40)}`
      await refused(`${path}?${others}&${name}=${value}`, name, what)
      // Of a repeated parameter the first counts (H07).
      await refused(`${path}?${others}&${name}=${value}&${name}=3kchan`, name, `${what}, repeated`)
    }
    if (!['limit', 'before', 'cursor'].includes(name)) await refused(`${path}?${others}`, name, `${path} without ${name}`)
  }
  assert(cases > 400, `${cases} cases`)
  assert.equal(await index(), before, 'nothing changed')
  // The service looks for the repositories of the people on this stage all the while; they have none.
  const asked = stage.host.news().filter((url) => !/^\/plc\/did:plc:(owner|member|guest|x)$/.test(url))
  assert.deepEqual(asked, [], 'nobody was asked')
})

test('T03: what begins with at:// and names nothing is unknown, never a fault', async () => {
  for (const value of [
    'at://',
    'at://%00',
    'at://%ff',
    'at://x/y',
    `at://${LONG}`,
    "at://'--",
    'at://did:plc:a/b/c/d',
    'at://%25',
    'at://%E2%80%AE',
  ]) {
    for (const [path, , name, kind] of PARAMETERS) {
      if (kind !== 'name' && kind !== 'uri') continue
      const { status } = await service.fetchJson(`${path}?${name}=${value}`)
      assert(path === '/api/community' ? status === 404 : status === 200, `${path} ${value.slice(0, 40)}: ${status}`)
    }
  }
})

test('H05, H07: limits are clamped, unknown parameters ignored, and `all` ignores the rest', async () => {
  const count = async (query) => (await service.fetchJson(`/api/messages?channel=3kchan${query}`)).body.length
  for (const [query, expected] of [
    ['&limit=0', 1],
    ['&limit=-5', 1],
    ['&limit=99999999999999999999999999', 2],
    ['&limit=1&limit=2', 1],
    ['&nonsense=%00&limit=1', 1],
    ['&all=false&limit=1&before=1990-01-01T00:00:00Z', 2],
    ['&all&limit=x&before=x&cursor=x', 2],
    ['&before=2026-03-01T12:00:00Z', 1],
    ['&before=2026-03-01T13:00:00+01:00', 1],
    ['&before=2026-03-01T13:00:00.000000001%2B01:00', 1],
    ['&before=1990-01-01T00:00:00Z', 0],
  ]) {
    assert.equal(await count(query), expected, query)
  }
})

test('B-46, H15: a long list comes whole and in order, and one that breaks is no JSON', async () => {
  const PEOPLE = 2500
  const name = (n) => `p${String(n).padStart(5, '0')}`
  await stage.say(
    ['crowd', 'create', 'community/big', { name: 'Crowd', requiresApprovalToJoin: false }],
    ...Array.from({ length: PEOPLE }, (_, n) => [
      name(PEOPLE - 1 - n),
      'create',
      'membership/m',
      { community: 'at://did:plc:crowd/social.colibri.community/big' },
    ]),
  )
  const path = '/api/members?community=at://did:plc:crowd/social.colibri.community/big'
  const { status, headers, body } = await service.fetchJson(path)
  assert.equal(status, 200)
  assert.deepEqual(
    body.map((row) => row.member_did),
    ['did:plc:crowd', ...Array.from({ length: PEOPLE }, (_, n) => `did:plc:${name(n)}`)],
  )
  assert.equal(headers.get('colibri-cursor'), null, 'complete')
  const { rows, pages } = await stage.walk(path, 1000)
  assert.deepEqual([pages, rows], [3, body])

  // The last person's row can no longer be read: the third page fails after two have been sent.
  const spoil = (value) =>
    stage.behindItsBack((db) =>
      db.prepare('UPDATE people SET account_at = ? WHERE did = ?').run(value, `did:plc:${name(PEOPLE - 1)}`),
    )
  spoil('nonsense')
  await assert.rejects(async () => JSON.parse(await (await service.fetch(path)).text()), 'the connection breaks off')
  const page = await service.fetchJson('/api/members?community=at://did:plc:crowd/social.colibri.community/big&limit=10')
  assert.equal(page.status, 200, 'other pages are there')
  spoil(null)
  assert.equal((await service.fetchJson(path)).body.length, PEOPLE + 1)
})

test('H13: a fault is a 503 with Retry-After, never an empty list, a 404 or a 403', async () => {
  stage.behindItsBack((db) =>
    db.exec(
      'ALTER TABLE communities RENAME TO away; ALTER TABLE people RENAME TO away2; ALTER TABLE channel_reads RENAME TO away3',
    ),
  )
  await stage.forgetAnswers()
  try {
    for (const { path } of Object.values(GOLDEN)) {
      const answer = await service.fetchJson(path)
      assert.equal(answer.status, 503, path)
      assert.equal(answer.body.error, 'Unavailable', path)
      assert.match(answer.headers.get('retry-after'), /^\d+$/, path)
      assert.doesNotMatch(JSON.stringify(answer.body), /table|SQL|D1/i, 'no internals')
    }
  } finally {
    stage.behindItsBack((db) =>
      db.exec(
        'ALTER TABLE away RENAME TO communities; ALTER TABLE away2 RENAME TO people; ALTER TABLE away3 RENAME TO channel_reads',
      ),
    )
  }
  await eventually(async () => (await service.fetch(GOLDEN.R01.path)).status === 200, { what: 'the service to recover' })
})

test('T16, I51, I70: what people do not see', async () => {
  const count = async (path) => Object.keys((await service.fetchJson(path)).body).length
  await stage.account('member', false, 'deactivated')
  assert.equal(await count('/api/messages?channel=3kchan'), 1, 'his message is hidden')
  assert.equal(await count('/api/reactions/channel?channel=3kchan'), 0)
  assert.equal((await service.fetch(GOLDEN.R02.path)).status, 404)
  assert.equal(await count(GOLDEN.R14.path), 2, 'R14: owner and guest')
  assert.deepEqual((await service.fetchJson(GOLDEN.R11.path)).body, { owned: [], joined: [] })
  await stage.account('member', true)
  assert.equal(await count('/api/messages?channel=3kchan'), 2, 'I53')
  await stage.say(['owner', 'delete', 'channel/3kchan'])
  assert.equal(await count('/api/messages?channel=3kchan'), 0, 'I70b, B-42')
  assert.equal((await service.fetch(GOLDEN.R02.path)).status, 404, 'I70b')
  await stage.say(['owner', 'delete', 'community/3kcom'])
  for (const id of ['R12', 'R13', 'R14'])
    assert.equal(JSON.stringify((await service.fetchJson(GOLDEN[id].path)).body).includes('did:plc'), false, `${id}: B-42`)
  assert.equal((await service.fetch(GOLDEN.R07.path)).status, 404, 'B-42')
})

test('H30, X25: ALLOWED_ORIGINS says whose pages read answers, open sockets and show proofs', async () => {
  const KEY = 'secret-key-of-sixteen'
  const other = await startService({ env: { ALLOWED_ORIGINS: 'https://a.test, https://b.test', INVITE_API_KEY: KEY } })
  for (const [origin, allowed] of [
    ['https://b.test', 'https://b.test'],
    ['https://c.test', null],
    [undefined, null],
  ]) {
    for (const path of ['/api/messages?channel=k', '/nothing', '/api/server']) {
      const answer = await other.fetch(path, { headers: origin ? { origin } : {} })
      assert.equal(answer.headers.get('access-control-allow-origin'), allowed, `${path} ${origin}`)
      assert.equal(answer.headers.get('vary')?.includes('Origin') ?? false, allowed !== null, `${path} ${origin}`)
      assert.match(answer.headers.get('access-control-expose-headers'), /Colibri-Cursor, ETag/)
      assert.notEqual(answer.status, 403)
    }
  }
  const own = new URL(other.url)
  for (const [origin, status] of [
    ['https://b.test', 101],
    ['https://c.test', 403],
    ['null', 403],
    [undefined, 101],
    [own.origin, 101],
    [`https://${own.host}`, 101],
  ]) {
    for (const path of ['/api/subscribe', '/api/subscribe?community=at://did:plc:o/social.colibri.community/c', '/api/webrtc/signal?room=r']) {
      const ws = new WebSocket(`${other.url.replace('http', 'ws')}${path}`, origin ? { headers: { origin } } : {})
      const got = await new Promise((resolve, reject) => {
        ws.on('open', () => resolve(101))
        ws.on('unexpected-response', (_, response) => resolve(response.statusCode))
        ws.on('error', reject)
      })
      ws.terminate()
      assert.equal(got, status, `${path} of ${origin}`)
    }
    const headers = { authorization: `Bearer ${KEY}`, ...(origin && { origin }) }
    const bans = await other.fetchJson('/api/community/bans?community=at://did:plc:o/social.colibri.community/c', { headers })
    assert.equal(bans.status, status === 101 ? 200 : 403, `a key from ${origin}`)
    if (status === 403) assert.deepEqual([bans.body.error, bans.headers.get('access-control-allow-origin')], ['Forbidden', null])
  }
})

test('C14, H14: a client over its limit must wait, others need not', async () => {
  const limited = await startService({ env: { RATE_LIMIT_PER_MIN: '5', INVITE_API_KEY: 'secret-key', TRUSTED_PROXIES: '10.0.0.0/8, 127.0.0.1' } })
  const ask = (address, headers = {}) =>
    limited.fetchJson('/api/server', { headers: { 'x-forwarded-for': `203.0.113.77, ${address}`, ...headers } })
  // A minute may end in between; then the test starts over, once.
  const statuses = async (address) => {
    const answers = []
    for (let n = 0; n < 7; n++) answers.push(await ask(address))
    return answers
  }
  const full = (answers) => answers.map(({ status }) => status).join() === '200,200,200,200,200,429,429'
  let answers = await statuses('198.51.100.1')
  if (!full(answers)) answers = await statuses('198.51.100.2')
  assert(full(answers), answers.map(({ status }) => status).join())
  assert.deepEqual(
    answers.map(({ headers }) => [headers.get('ratelimit-limit'), headers.get('ratelimit-remaining')]),
    ['4', '3', '2', '1', '0', '0', '0'].map((left) => ['5', left]),
  )
  const over = answers.at(-1)
  assert.equal(over.body.error, 'RateLimited')
  for (const name of ['retry-after', 'ratelimit-reset']) {
    const seconds = Number(over.headers.get(name))
    assert(Number.isInteger(seconds) && seconds >= 1 && seconds <= 60, `${name}: ${seconds}`)
  }
  assert.equal((await ask('203.0.113.9')).status, 200, 'somebody else')
  const free = await ask('198.51.100.2', { authorization: 'Bearer secret-key' })
  assert.deepEqual([free.status, free.headers.get('ratelimit-limit')], [200, null], 'H14: the API key is exempt')
  const error = await limited.fetchJson('/nothing', { headers: { 'x-forwarded-for': '203.0.113.9' } })
  assert.match(error.headers.get('ratelimit-remaining'), /^[34]$/, 'errors count and say so')
})

test('C14: an address opens sockets at a tenth of the rate; a person has one budget at all addresses', async () => {
  const KEY = 'secret-key-of-sixteen'
  const env = { RATE_LIMIT_PER_MIN: '60', INVITE_API_KEY: KEY, TOKEN_SECRET: 't'.repeat(32), TRUSTED_PROXIES: '127.0.0.1' }
  const limited = await startService({ env })
  const open = async (address) => {
    const ws = new WebSocket(`${limited.url.replace('http', 'ws')}/api/subscribe`, { headers: { 'x-forwarded-for': address } })
    const status = await new Promise((resolve, reject) => {
      ws.on('open', () => resolve(101))
      ws.on('unexpected-response', (_, response) => {
        assert.match(response.headers['retry-after'], /^[1-6]$/)
        resolve(response.statusCode)
      })
      ws.on('error', reject)
    })
    ws.terminate()
    return status
  }
  const statuses = []
  for (let n = 0; n < 20; n++) statuses.push(await open('198.51.100.1'))
  const opened = statuses.filter((status) => status === 101).length
  // Six tokens come back in a minute.
  assert(opened >= 10 && opened <= 13 && statuses.every((status) => status === 101 || status === 429), statuses.join())
  assert.equal(await open('198.51.100.2'), 101, 'another address')
  assert.equal((await limited.fetch('/api/server', { headers: { 'x-forwarded-for': '198.51.100.1' } })).status, 200, 'reads have their own')

  const vouched = await limited.fetchJson('/api/authentication', {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ did: 'did:plc:o' }),
  })
  const bans = (n) =>
    limited.fetchJson('/api/community/bans?community=at://did:plc:o/social.colibri.community/c', {
      headers: { authorization: `Bearer ${vouched.body.token}`, 'x-forwarded-for': `203.0.113.${n}` },
    })
  const answers = []
  for (let n = 0; n < 80; n++) answers.push((await bans(n)).status)
  const allowed = answers.filter((status) => status === 200).length
  assert(allowed >= 60 && allowed < 80 && answers.every((status) => status === 200 || status === 429), answers.join())
})

const square = async () => {
  const community = 'at://did:plc:square/social.colibri.community/c'
  await stage.say(
    ['square', 'create', 'community/c', { name: 'Square', requiresApprovalToJoin: false }],
    ['square', 'create', 'channel/s', { name: 'square', type: 'text', community: 'c' }],
    ['ann', 'create', 'membership/m', { community }],
    ['ben', 'create', 'membership/m', { community }],
  )
  const socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'message', channel: 's' })
  return socket
}
const say = (who, rkey, more = {}) => [
  who,
  'create',
  `message/${rkey}`,
  { text: `${who} ${rkey}`, channel: 's', createdAt: new Date().toISOString(), ...more },
]
const refused = async () => (await service.fetchJson('/api/health')).body.ingest.refused

test('I03, 8.3: what would break every client in the room is refused and counted; what is good comes back as written', async () => {
  const socket = await square()
  const before = await refused()
  const blob = { $type: 'blob', ref: { $link: 'bafkreib' }, mimeType: 'image/png', size: 1 }
  const index = { byteStart: 0, byteEnd: 1 }
  const bad = [
    { facets: [null] },
    { facets: [{ features: [] }] },
    { facets: [{ index }] },
    { facets: [{ index, features: [null] }] },
    { attachments: [{}] },
    { attachments: [{ blob, name: 7 }] },
  ]
  await stage.say(...bad.map((more, n) => say('ann', `bad${n}`, more)))
  const facets = [{ index, features: [{ $type: 'social.colibri.richtext.facet#bold' }, { $type: 'of.another#time', x: [null] }], more: 1 }]
  const attachments = [{ blob, name: 'ж'.repeat(256), alt: 'x' }, { blob }]
  await stage.say(say('ann', 'good', { facets, attachments }))
  const received = await socket.next({ type: 'message', author_did: 'did:plc:ann' })
  assert.equal(received.rkey, 'good', 'the first that was accepted')
  assert.equal(await refused(), before + bad.length)
  const { body } = await service.fetchJson('/api/message?author=did:plc:ann&rkey=good')
  for (const message of [received, received.message, body]) assert.deepEqual([message.facets, message.attachments], [facets, attachments], 'W08')

  await stage.say(['ann', 'create', 'community/bad', { name: 'Bad', picture: { $type: 'blob' } }])
  assert.equal((await service.fetchJson('/api/community?community=at://did:plc:ann/social.colibri.community/bad')).status, 404, 'W13')
  await socket.close()
})

test('T21: a key keeps its meaning on the socket and in REST', async () => {
  const socket = await square()
  await stage.say(say('ann', 'key'), say('square', 'answer', { parent: 'key' }))
  await stage.say(['ann', 'delete', 'message/key'], say('ben', 'key'), say('square', 'later', { parent: 'key' }))
  await stage.say(['square', 'create', 'reaction/r', { emoji: '👍', parent: 'key' }])
  const received = await socket.next({ type: 'message', rkey: 'later' })
  assert.equal(received.parent_message, null)
  const { body } = await service.fetchJson('/api/messages?channel=s&all')
  const shown = new Map(body.map((message) => [message.rkey, message]))
  for (const rkey of ['answer', 'later']) assert.equal(shown.get(rkey).parent_message, null, rkey)
  assert.deepEqual(shown.get('key').reactions, [], "a reaction to ann's message is none to ben's")
  assert.deepEqual((await service.fetchJson('/api/reactions?message=key')).body, [])
  await socket.close()
})

test('8.4: emoji that look the same count together, as the first was written', async () => {
  const socket = await square()
  const react = (who, rkey, emoji) => [who, 'create', `reaction/${rkey}`, { emoji, parent: 'e' }]
  await stage.say(say('ann', 'e'))
  await stage.say(react('ann', 'e1', '🔥\uFE0F'), react('ben', 'e2', '🔥'), react('square', 'e3', '👍🏽'), react('ann', 'e4', '👍'))
  const groups = async () => (await service.fetchJson('/api/reactions?message=e')).body.map(({ emoji, count }) => [emoji, count])
  assert.deepEqual(await groups(), [['🔥\uFE0F', 2], ['👍🏽', 1], ['👍', 1]])
  await stage.say(['ann', 'delete', 'reaction/e1'])
  assert.deepEqual(await groups(), [['🔥\uFE0F', 1], ['👍🏽', 1], ['👍', 1]], 'the spelling stays with the group')
  await stage.say(['ben', 'delete', 'reaction/e2'], react('ben', 'e5', '🔥'))
  const flames = async () => socket.all(({ type, emoji }) => type?.startsWith('reaction') && emoji.startsWith('🔥'))
  const events = await eventually(async () => (await flames()).length === 5 && flames())
  assert.deepEqual(
    events.map(({ type, emoji }) => [type, emoji]),
    [
      ['reaction_added', '🔥\uFE0F'],
      ['reaction_added', '🔥\uFE0F'],
      ['reaction_removed', '🔥\uFE0F'],
      ['reaction_removed', '🔥\uFE0F'],
      ['reaction_added', '🔥'],
    ],
    'E03, E04: by the name that the client knows the group by',
  )
  await socket.close()
})

test('C24: without trusted proxies no header changes whose budget it is', async () => {
  const limited = await startService({ env: { RATE_LIMIT_PER_MIN: '50' } })
  let over = 0
  for (let n = 0; n < 120; n++) {
    const address = `198.51.100.${n}`
    const headers = { 'cf-connecting-ip': address, 'x-forwarded-for': address, forwarded: `for=${address}` }
    over += Number((await limited.fetch('/api/server', { headers })).status === 429)
  }
  // A minute may end in between; then the test starts over, once.
  assert(over >= 20, `${over} of 120 were over a limit of 50`)
})
