// The identity behind a DID or a handle (GET /api/identity, O10), and hosts that a DID must not lead to (R21.6). A host
// on 127.0.0.1 plays the PLC directory, DNS over HTTPS and every PDS; a second one must never receive a request.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { eventually } from './harness.js'
import { openHost, openStage } from './stage.js'

let stage
let service
let host
/** A host that the service must not contact. */
let stranger
before(async () => {
  stage = await openStage()
  ;({ service, host } = stage)
  stranger = await openHost()
})

const identity = (id, init) => service.fetchJson(`/api/identity?id=${encodeURIComponent(id)}`, init)
const dns = (handle) => `/dns?name=_atproto.${handle}&type=TXT`
const txt = (...texts) => ({ Status: 0, Answer: texts.map((text) => ({ name: 'x', type: 16, TTL: 60, data: `"${text}"` })) })
const NO_SUCH_NAME = { Status: 3 }

const K256 = 'zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc'
/** The same key without the code of its curve, as documents of 2019 write it. */
const K256_OF_2019 = { type: 'EcdsaSecp256k1VerificationKey2019', publicKeyMultibase: bare(K256) }

function bare(multikey) {
  const DIGITS = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
  let number = 0n
  for (const digit of multikey.slice(1)) number = number * 58n + BigInt(DIGITS.indexOf(digit))
  number &= (1n << 264n) - 1n
  let text = ''
  for (; number > 0n; number /= 58n) text = DIGITS[Number(number % 58n)] + text
  return `z${text}`
}

function documentOf(did, { handle, key = { type: 'Multikey', publicKeyMultibase: K256 }, pds = host.url } = {}) {
  return {
    id: did,
    ...(handle && { alsoKnownAs: [`at://${handle}`] }),
    verificationMethod: [{ id: `${did}#atproto`, controller: did, ...key }],
    service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: pds }],
  }
}
/** A person with this document. */
function person(name, options) {
  const did = `did:plc:${name}`
  host.routes.set(`/plc/${did}`, documentOf(did, options))
  return did
}

test('a DID and its handle, proven in both directions', async () => {
  const did = person('ann', { handle: 'ann.test' })
  host.routes.set(dns('ann.test'), txt('v=spf1 -all', `did=${did}`))
  host.news()
  const { status, body, headers } = await identity(did)
  assert.equal(status, 200)
  assert.match(body.resolved_at, /^\d{4}-.*\.\d{3}Z$/, 'H10')
  const expected = { did, handle: 'ann.test', handle_status: 'valid', pds: host.url, signing_key: K256 }
  assert.deepEqual({ ...body, resolved_at: '' }, { ...expected, resolved_at: '' })
  assert.deepEqual(host.news(), [`/plc/${did}`, dns('ann.test')])

  // A second request contacts nobody; nor does one for the handle, which was resolved a moment ago (K14). Another
  // spelling is the same handle.
  assert.deepEqual((await identity(did)).body, body)
  assert.deepEqual(host.news(), [])
  assert.deepEqual((await identity('Ann.Test')).body, body)
  assert.deepEqual(host.news(), [])
  const known = await identity(did, { headers: { 'if-none-match': headers.get('etag') } })
  assert.equal(known.status, 304, 'H12')
})

test('both key formats are one key', async () => {
  for (const [name, key, expected] of [
    ['multikey', { type: 'Multikey', publicKeyMultibase: K256 }, K256],
    ['of2019', K256_OF_2019, K256],
    ['jwk', { type: 'JsonWebKey2020', publicKeyJwk: {} }, null],
    ['ed25519', { type: 'Multikey', publicKeyMultibase: 'z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK' }, null],
  ]) {
    const { status, body } = await identity(person(name, { key }))
    assert.deepEqual([status, body.signing_key], [200, expected], name)
  }
})

test('O10: an unproven handle is shown nowhere', async () => {
  for (const [name, answer, status] of [
    ['else', txt('did=did:plc:ann'), 'invalid'],
    ['several', txt('did=did:plc:several', 'did=did:plc:ann'), 'invalid'],
    ['gone', NO_SUCH_NAME, 'invalid'],
    ['servfail', { Status: 2 }, 'unresolved'],
    ['down', [503, 'no', {}], 'unresolved'],
    ['page', [200, '<html>', {}], 'unresolved'],
    ['led', [302, '', { location: 'http://127.0.0.1:9/' }], 'unresolved'],
  ]) {
    // `.test` has no hosts, so only DNS counts.
    const did = person(name, { handle: `${name}.test` })
    host.routes.set(dns(`${name}.test`), answer)
    const { status: got, body } = await identity(did)
    assert.deepEqual([got, body.handle, body.handle_status], [200, null, status], name)
  }
  const none = person('nameless')
  assert.deepEqual((await identity(none)).body.handle_status, 'invalid', 'no claim at all')
})

test('a handle that leads to somebody who claims another one', async () => {
  const did = person('renamed', { handle: 'new.test' })
  host.routes.set(dns('old.test'), txt(`did=${did}`))
  host.routes.set(dns('new.test'), txt(`did=${did}`))
  const { status, body } = await identity('old.test')
  assert.deepEqual([status, body.did, body.handle], [200, did, 'new.test'])
})

test('404, 422 and 502', async () => {
  host.routes.set('/plc/did:plc:broken', [500, 'stack trace', {}])
  host.routes.set('/plc/did:plc:tombstone', [410, {}, {}])
  host.routes.set('/plc/did:plc:liar', documentOf('did:plc:ann'))
  host.routes.set(dns('nobody.test'), NO_SUCH_NAME)
  host.routes.set(dns('dark.test'), [500, '', {}])
  for (const [id, status, error] of [
    ['did:plc:unknown', 404, 'NotFound'],
    ['did:plc:tombstone', 404, 'NotFound'],
    ['did:key:zabc', 404, 'NotFound'],
    ['nobody.test', 404, 'NotFound'],
    ['did:plc:broken', 502, 'UpstreamFailure'],
    ['did:plc:liar', 502, 'UpstreamFailure'],
    ['dark.test', 502, 'UpstreamFailure'],
    ['alice', 422, 'InvalidRequest'],
    ['did:plc:', 422, 'InvalidRequest'],
    ['127.0.0.1', 422, 'InvalidRequest'],
    ['a.test/x', 422, 'InvalidRequest'],
    ['user@a.test', 422, 'InvalidRequest'],
    ['', 422, 'InvalidRequest'],
  ]) {
    const answer = await identity(id)
    assert.deepEqual([answer.status, answer.body.error], [status, error], id)
    assert.equal(answer.headers.get('cache-control'), 'no-store', id)
  }
})

test('K12: what is known of people the index knows survives a restart, of strangers nothing is kept', async () => {
  const [bob, stray] = [person('bob', { handle: 'bob.test' }), person('stray', { handle: 'stray.test' })]
  for (const name of ['bob', 'stray']) host.routes.set(dns(`${name}.test`), txt(`did=did:plc:${name}`))
  await stage.say(['bob', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }])
  // No repository is available here, and each attempt to read one requests the document again. Reading takes no lock; a
  // change takes one, and the service's own commit fails while it is held, so there is one change, when it will
  // succeed.
  const behind = (use) => {
    let result
    stage.behindItsBack((db) => (result = use(db)))
    return result
  }
  const soon = () => new Date(Date.now() + 500).toISOString()
  const waiting = 'FROM repos WHERE did = ? AND failures > 0 AND next_attempt_at > ?'
  await eventually(() => behind((db) => db.prepare(`SELECT count(*) AS n ${waiting}`).get(bob, soon()).n) === 1 &&
    behind((db) => db.prepare(`DELETE ${waiting}`).run(bob, soon()).changes) === 1, {
    what: 'nobody to be about to read it',
    timeout: 90_000,
  })
  await eventually(() => behind((db) => db.prepare('SELECT count(*) AS n FROM identities WHERE did = ? AND check_at IS NULL').get(bob).n) === 1, {
    what: 'bob to have been resolved',
    timeout: 90_000,
  })
  const before = (await identity(bob)).body
  await identity(stray)
  await service.restart()
  host.news()
  assert.deepEqual((await identity(bob)).body, before)
  assert.deepEqual(host.news(), [])
  assert.equal((await identity(stray)).body.handle, 'stray.test')
  assert.deepEqual(host.news(), [`/plc/${stray}`, dns('stray.test')])
})

test('I50, B-28: a changed handle is shown and published when it is verified, and not before', async () => {
  const GARDEN = 'at://did:plc:carol/social.colibri.community/c'
  const did = person('carol', { handle: 'carol.test' })
  host.routes.set(dns('carol.test'), txt(`did=${did}`))
  const author = async () => (await service.fetchJson(`/api/authors?did=${did}`)).body
  await stage.say(['carol', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }])
  await eventually(async () => (await author()).handle === 'carol.test', { what: 'the handle to be proven (K12)' })
  assert.deepEqual((await identity(did)).body.handle, 'carol.test')

  const watcher = await service.connect('/api/subscribe?did=did:plc:carol')
  await watcher.subscribe({ event_type: 'community', community_uri: GARDEN })
  const received = (handle) => watcher.next({ type: 'user_profile_updated', did, handle })
  // The new handle resolves to her, so it is valid; until that is verified, none is shown.
  person('carol', { handle: 'caroline.test', pds: `${host.url}/new?x=y` }) // R21.8: the path is not a part of the endpoint
  host.routes.set(dns('caroline.test'), txt(`did=${did}`))
  await stage.identity('carol', 'caroline.test')
  await received(null)
  await received('caroline.test')
  assert.equal((await author()).handle, 'caroline.test')
  const { body } = await identity(did)
  assert.deepEqual([body.handle, body.handle_status, body.pds], ['caroline.test', 'valid', host.url])

  // A handle that resolves to somebody else is shown nowhere.
  person('carol', { handle: 'stolen.test' })
  host.routes.set(dns('stolen.test'), txt('did=did:plc:ann'))
  await stage.identity('carol', 'stolen.test')
  await received(null)
  await eventually(async () => (await identity(did)).body.handle_status === 'invalid', { what: 'the claim to be refused' })
  assert.equal((await author()).handle, null)
  // It was hers after all.
  host.routes.set(dns('stolen.test'), txt(`did=${did}`))
  await stage.identity('carol', 'stolen.test')
  await received('stolen.test')
  const shown = watcher.all({ type: 'user_profile_updated', did }).map(({ handle }) => handle)
  assert.deepEqual(shown, [null, 'caroline.test', null, 'stolen.test'], 'each change once')
})

test('K12: missing profiles are found, and those that cannot be keep nobody waiting', async () => {
  const profile = (name) => `/bsky/xrpc/app.bsky.actor.getProfile?actor=did%3Aplc%3A${name}`
  const names = Array.from({ length: 40 }, (_, n) => `k12-${n}`)
  for (const [n, name] of names.entries()) {
    person(name)
    // Every second lookup meets a failure.
    const failure = [[500, 'no', {}], [400, {}, {}], [200, '<html>', {}]][n % 3]
    host.routes.set(profile(name), n % 2 ? { did: `did:plc:${name}`, handle: 'handle.invalid', displayName: `Name ${n}` } : failure)
  }
  await stage.say(...names.map((name) => [name, 'create', 'community/c', { name: 'Mine', requiresApprovalToJoin: false }]))
  const members = async (name) =>
    (await service.fetchJson(`/api/members?community=at://did:plc:${name}/social.colibri.community/c`)).body[0].display_name
  for (const [n, name] of names.entries()) {
    if (n % 2 === 0) continue
    await eventually(async () => (await members(name)) === `Name ${n}`, { what: `the profile of ${name}` })
  }
  // Then the service is silent (K06): it does not ask again about people whom it found or who do not exist.
  await eventually(
    () => {
      let due
      stage.behindItsBack((db) => {
        due = db.prepare("SELECT did, failures FROM identities WHERE check_at IS NOT NULL AND did LIKE 'did:plc:k12-%'").all()
      })
      return due.length > 0 && due.every(({ did, failures }) => failures > 0 && Number(did.split('-')[1]) % 2 === 0)
    },
    { what: 'nobody to be due but those who failed' },
  )
})

test('R21.6, B-19: hostile DIDs, documents and redirects lead nowhere, and no request goes out', async () => {
  const port = new URL(stranger.url).port
  const CID = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
  const blob = (did) => service.fetchJson(`/api/blob?did=${encodeURIComponent(did)}&cid=${CID}`)
  const literals = [
    '127.0.0.1', '127.1', '127.0.1', '0', '0.0.0.0', '2130706433', '0x7f000001', '0x7f.1', '0177.0.0.1', '017700000001',
    '10.0.0.1', '172.16.0.1', '192.168.0.1', '169.254.169.254', '100.64.0.1', '224.0.0.1', '255.255.255.255',
    '[::1]', '[::]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[fe80::1]', '[fd00::1]', '[64:ff9b::7f00:1]', '[2001:db8::1]',
  ]
  const names = [
    'localhost', 'localhost.', 'LOCALHOST', 'a.localhost', 'localhost.localdomain.local', 'printer', 'printer.', 'printer.local',
    'metadata.google.internal', 'a.internal.', 'abc.onion', '.', '..', '.example.com',
    '127。0。0。1', '①②⑦.0.0.1', 'ⓛocalhost', 'localhost%2e', '%6cocalhost',
  ]
  const documents = [
    ...[...literals, ...names].map((name) => `https://${name}:${port}`),
    stranger.url,
    stranger.url.replace('http:', 'https:'),
    `http://${host.name}@127.0.0.1:${port}`,
    `http://${host.name}:80@127.0.0.1:${port}/`,
    `http://user:password@${host.name}`,
    `http:\\\\127.0.0.1:${port}`,
    `//127.0.0.1:${port}`,
    `http://127.0.0.1:${port}#@${host.name}`,
    `http://127.0.0.1:${port}?${host.name}`,
    `ws://${host.name}`,
    `ftp://${host.name}`,
    'http://pds.example.com',
    'file:///etc/passwd',
    'data:application/json,{}',
    'javascript:alert(1)',
    'gopher://127.0.0.1:70/_x',
    'nonsense',
    '',
    7,
    ['https://pds.example.com'],
    { url: 'https://pds.example.com' },
    null,
  ]
  let tried = 0
  for (const [n, pds] of documents.entries()) {
    const did = person(`hostile${n}`, { pds })
    const answer = await blob(did)
    assert.deepEqual([answer.status, answer.body.error], [404, 'NotFound'], `document with ${JSON.stringify(pds)}`)
    assert.equal((await identity(did)).body.pds, null, `document with ${JSON.stringify(pds)}`)
    tried += 1
  }
  const webs = [
    ...[...literals, ...names].filter((name) => /^[A-Za-z0-9.-]+$/.test(name)).flatMap((name) => [`did:web:${name}`, `did:web:${name}%3A${port}`]),
    `did:web:127.0.0.1:${port}`,
    'did:web:example.com:user:alice',
    'did:web:example.com%2F..%2Fsecret',
    'did:web:user%40example.com',
    'did:web:example.com%3Fx',
    'did:web:example.com%23x',
    'did:web:example.com%5Cx',
    'did:web:%00',
    'did:web:%5B%3A%3A1%5D',
    `did:web:${host.name.replace(':', '%3A')}%2F@127.0.0.1`,
    'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK',
  ]
  for (const did of webs) {
    const answer = await blob(did)
    const isDid = /^did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]$/.test(did)
    assert.equal(answer.status, isDid ? 404 : 422, did)
    tried += 1
  }
  // Redirects away from allowed hosts: of a directory, of a PDS, of a did:web.
  const web = `did:web:${host.name.replace(':', '%3A')}`
  const away = [
    `${stranger.url}/did.json`, `//127.0.0.1:${port}/`, `http://localhost:${port}/`, `http://127.1:${port}/`, 'https://pds.example.com/',
    `http://user@${host.name}/`, 'file:///etc/passwd', 'data:application/json,{}', `https://${host.name}/`, 'http://',
  ]
  for (const [n, location] of away.entries()) {
    for (const status of [301, 302, 303, 307, 308]) {
      const led = person(`led${n}-${status}`)
      const path = `/xrpc/com.atproto.sync.getBlob?did=${encodeURIComponent(led)}&cid=${CID}`
      host.routes.set(path, [status, '', { location }])
      assert.equal((await blob(led)).status, 404, `${status} of a PDS to ${location}`)
      host.routes.set('/.well-known/did.json', [status, '', { location }])
      assert.equal((await blob(web)).status, 404, `${status} of a did:web to ${location}`)
      tried += 2
    }
  }
  assert(tried >= 60, `${tried} of them`)
  assert.deepEqual(stranger.news(), [], 'no request reached it')
})
