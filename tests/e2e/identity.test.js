// Who is behind a DID or a handle (GET /api/identity, O10), and whom nobody is led to by a DID (R21.6), with a host on
// 127.0.0.1 that plays the PLC directory, DNS over HTTPS and every PDS, and a stranger that must never hear anything.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { openHost, openStage } from './stage.js'

let stage
let service
let host
/** A host that may not be asked. */
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
/** Somebody whose document says so. */
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

  // Asked again, nobody is; by the handle, DNS alone is.
  assert.deepEqual((await identity(did)).body, body)
  assert.deepEqual(host.news(), [])
  assert.deepEqual((await identity('Ann.Test')).body, body)
  assert.deepEqual(host.news(), [dns('ann.test')])
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
    // `.test` has no hosts, so DNS decides alone.
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
  const before = (await identity(bob)).body
  await identity(stray)
  await service.restart()
  host.news()
  assert.deepEqual((await identity(bob)).body, before)
  assert.deepEqual(host.news(), [])
  assert.equal((await identity(stray)).body.handle, 'stray.test')
  assert.deepEqual(host.news(), [`/plc/${stray}`, dns('stray.test')])
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
  // Redirects away from hosts that may be asked: of a directory, of a PDS, of a did:web.
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
