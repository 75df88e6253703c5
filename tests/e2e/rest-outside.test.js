// The reads that ask other hosts: profiles (R04) and blobs (R21). A host on 127.0.0.1 plays the profile API, the PLC
// directory and every PDS, and records the requests.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { before, test } from 'node:test'
import { gzipSync } from 'node:zlib'

import { cidOf, inBase32 } from '../network/cid.js'
import { atEnd, eventually } from './harness.js'
import { openHost, openStage } from './stage.js'

/** Large enough for a short video, small enough to test what is beyond. */
const VERIFY_MAX = 4_000_000

let stage
let service
let host
/** A host that the service must not contact. */
let stranger
/** Allowed hosts that fail. */
let broken
let busy
/** A person's old and current host. */
let old
let current
before(async () => {
  ;[broken, busy, old, current] = [await openHost(), await openHost(), await openHost(), await openHost()]
  const insecure = [broken, busy, old, current].map(({ name }) => name)
  stage = await openStage({ env: { BLOB_VERIFY_MAX: String(VERIFY_MAX) }, insecure })
  ;({ service, host } = stage)
  stranger = await openHost()
})

/**
 * The requests since the last call, except those about the people of this world, whom the service looks up itself
 * (K12).
 */
const news = () => host.news().filter((url) => !/did(:|%3A)plc(:|%3A)(alice|x|stranger)$/.test(url) || url.startsWith(`${GET_PROFILE}?actor=did%3Aplc%3Astranger`))
const GET_PROFILE = '/bsky/xrpc/app.bsky.actor.getProfile'
const author = (did) => service.fetchJson(`/api/authors?did=${did}`)
const profileOf = (did, answer) => host.routes.set(`${GET_PROFILE}?actor=${encodeURIComponent(did)}`, answer)

test('R04, I37: a stranger is looked up once and cached', async () => {
  const did = 'did:plc:stranger'
  profileOf(did, {
    did,
    handle: 'stranger.test',
    displayName: 'Strange',
    description: '',
    avatar: `https://cdn.test/img/avatar/plain/${did}/bafkreiavatar@jpeg`,
  })
  for (let n = 0; n < 3; n++) {
    const { status, body } = await author(did)
    assert.equal(status, 200)
    assert.match(body.updated_at, /^\d{4}-.*\.\d{3}Z$/, 'H10')
    assert.deepEqual(
      { ...body, updated_at: '' },
      {
        did,
        display_name: 'Strange',
        avatar_url: `https://cdn.bsky.app/img/avatar/plain/${did}/bafkreiavatar@jpeg`,
        banner_url: null,
        description: null,
        handle: 'stranger.test',
        status: null,
        status_text: null,
        emoji: null,
        state: null,
        updated_at: '',
      },
    )
  }
  assert.deepEqual(news(), [`${GET_PROFILE}?actor=did%3Aplc%3Astranger`], 'one request, and K06: no other')
  // Known from here on: a record of their own is applied (I36).
  await stage.say(
    ['stranger', 'create', 'app.bsky.actor.profile/self', { displayName: 'Less strange' }],
    ['x', 'create', 'actor.data/self', {}],
  )
  assert.deepEqual([(await author(did)).body.display_name, news()], ['Less strange', []])
})

test('R04: 404 if nothing is found, 502 if the lookup failed', async () => {
  for (const [name, answer, status, code] of [
    ['unknown', [400, { error: 'InvalidRequest', message: 'Profile not found' }, {}], 404, 'NotFound'],
    ['suspended', [400, { error: 'AccountTakedown' }, {}], 404, 'NotFound'],
    ['nothing', [404, 'nothing', {}], 404, 'NotFound'],
    ['broken', [500, 'stack trace', {}], 502, 'UpstreamFailure'],
    ['busy', [429, {}, {}], 502, 'UpstreamFailure'],
    ['nonsense', [200, '<html>', {}], 502, 'UpstreamFailure'],
    ['other', { did: 'did:plc:somebody', handle: 'else.test' }, 502, 'UpstreamFailure'],
    ['long', [200, `{"did":"did:plc:long","handle":"${'x'.repeat(100_000)}"}`, {}], 502, 'UpstreamFailure'],
    ['moved', [302, '', { location: `${stranger.url}/` }], 502, 'UpstreamFailure'],
    ['circle', [302, '', { location: `${GET_PROFILE}?actor=did%3Aplc%3Acircle` }], 502, 'UpstreamFailure'],
    ['cut', (_, response) => response.destroy(), 502, 'UpstreamFailure'],
  ]) {
    profileOf(`did:plc:${name}`, answer)
    const { status: got, body, headers } = await author(`did:plc:${name}`)
    assert.deepEqual([got, body.error], [status, code], name)
    assert.equal(headers.get('cache-control'), 'no-store', name)
    assert.doesNotMatch(JSON.stringify(body), /stack|html|127\.0/, 'no internals')
  }
  assert.deepEqual(stranger.news(), [], 'nobody else was asked')
})

test('R04, I37: who is cached without a profile is answered, whatever comes of the lookup', async () => {
  await stage.say(['alice', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }])
  for (const answer of [
    [500, 'no', {}],
    [400, {}, {}],
  ]) {
    profileOf('did:plc:alice', answer)
    const { status, body } = await author('did:plc:alice')
    assert.deepEqual([status, body.did, body.display_name], [200, 'did:plc:alice', null])
  }
  profileOf('did:plc:alice', { did: 'did:plc:alice', handle: 'alice.test', displayName: 'Alice' })
  assert.equal((await author('did:plc:alice')).body.display_name, 'Alice')
})

// --- R21

let people = 0
/** A person with a PDS, by default the host itself. */
function person({ pds = host.url, did = `did:plc:blob${people++}` } = {}) {
  const service = [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: pds }]
  host.routes.set(`/plc/${did}`, { id: did, service })
  return did
}
const blobPath = (did, cid) => `/xrpc/com.atproto.sync.getBlob?did=${encodeURIComponent(did)}&cid=${cid}`
const blob = (did, cid, init) => service.fetch(`/api/blob?did=${did}&cid=${cid}`, init)

/** Waits until a blob is answered without any request. It is cached after the first answer. */
const isCached = (did, cid) =>
  eventually(
    async () => {
      news()
      await (await blob(did, cid)).arrayBuffer()
      return news().length === 0
    },
    { what: `${cid} to be cached` },
  )

const PIXELS = randomBytes(3000)
const CID = cidOf(PIXELS)

test('R21.1, R21.4: a blob passes through, with headers of ours', async () => {
  const did = person()
  host.routes.set(blobPath(did, CID), [
    200,
    PIXELS,
    { 'content-type': 'image/png', 'set-cookie': 'a=b', 'x-pds': 'y', 'content-length': '3000' },
  ])
  news()
  const answer = await blob(did, CID)
  assert.equal(answer.status, 200)
  assert.deepEqual(Buffer.from(await answer.arrayBuffer()), PIXELS)
  for (const [name, value] of [
    ['etag', `"${CID}"`],
    ['cache-control', 'public, max-age=31536000, immutable'],
    ['accept-ranges', 'bytes'],
    ['x-content-type-options', 'nosniff'],
    ['content-security-policy', "sandbox; default-src 'none'"],
    ['content-length', '3000'],
    ['content-type', 'image/png'],
    ['content-disposition', null],
    ['set-cookie', null],
    ['x-pds', null],
    ['access-control-allow-origin', '*'],
  ]) {
    assert.equal(answer.headers.get(name), value, name)
  }
  assert.deepEqual(news(), [`/plc/${did}`, blobPath(did, CID)])

  const head = await blob(did, CID, { method: 'HEAD' })
  assert.deepEqual([head.status, await head.text(), head.headers.get('etag')], [200, '', `"${CID}"`], 'H09')
  await isCached(did, CID)

  for (const tag of [`"${CID}"`, `W/"${CID}"`, `"x", "${CID}"`]) {
    const known = await blob(did, CID, { headers: { 'if-none-match': tag } })
    assert.deepEqual([known.status, await known.text(), known.headers.get('etag')], [304, '', `"${CID}"`], tag)
  }
  assert.deepEqual(news(), [], 'what a CID names never changes')
  const other = await blob(did, CID, { headers: { 'if-none-match': '"x"' } })
  assert.equal(other.status, 200)
  assert.deepEqual(Buffer.from(await other.arrayBuffer()), PIXELS)
  assert.equal((await blob(did, CID, { headers: { 'if-none-match': '*' } })).status, 304)
  // The web client does not encode the DID, others do (W21).
  assert.equal((await service.fetch(`/api/blob?did=${encodeURIComponent(did)}&cid=${CID}`)).status, 200)
})

test('R21.3: ranges are cut from bytes that were compared, whatever the PDS makes of ranges', async () => {
  const did = person()
  // A PDS that does not support ranges, and sends everything instead.
  host.routes.set(blobPath(did, CID), [200, PIXELS, { 'content-type': 'image/png' }])
  const ranges = [
    ['bytes=10-19', 206, 'bytes 10-19/3000', PIXELS.subarray(10, 20)],
    ['bytes=2990-', 206, 'bytes 2990-2999/3000', PIXELS.subarray(2990)],
    ['bytes=2990-9999', 206, 'bytes 2990-2999/3000', PIXELS.subarray(2990)],
    ['bytes=-5', 206, 'bytes 2995-2999/3000', PIXELS.subarray(2995)],
    ['bytes=-5000', 206, 'bytes 0-2999/3000', PIXELS],
    ['bytes=0-0', 206, 'bytes 0-0/3000', PIXELS.subarray(0, 1)],
    ['bytes=0-1,4-5', 200, null, PIXELS],
    ['nonsense', 200, null, PIXELS],
  ]
  const look = async (owner) => {
    for (const [range, status, contentRange, expected] of ranges) {
      const answer = await blob(owner(), CID, { headers: { range } })
      assert.deepEqual([answer.status, answer.headers.get('content-range')], [status, contentRange], range)
      assert.deepEqual(Buffer.from(await answer.arrayBuffer()), expected, range)
      assert.equal(answer.headers.get('etag'), `"${CID}"`, range)
      assert.equal(answer.headers.get('content-type'), 'image/png', range)
      assert.equal(answer.headers.get('content-length'), String(expected.length), range)
    }
    for (const range of ['bytes=3000-', 'bytes=5000-6000', 'bytes=-0']) {
      const beyond = await blob(owner(), CID, { headers: { range } })
      assert.deepEqual([beyond.status, beyond.headers.get('content-range')], [416, 'bytes */3000'], range)
      assert.deepEqual([(await beyond.json()).error, beyond.headers.get('cache-control')], ['InvalidRange', 'no-store'])
    }
  }
  // A new person each time, so that nothing is cached.
  await look(() => {
    const other = person()
    host.routes.set(blobPath(other, CID), [200, PIXELS, { 'content-type': 'image/png' }])
    return other
  })
  await isCached(did, CID)
  await look(() => did)
  assert.deepEqual(news(), [], 'cut from the cache')
  const whole = await blob(did, CID, { headers: { range: 'bytes=0-1', 'if-range': '"another"' } })
  assert.equal(whole.status, 200, 'a range of something else is none')
  const part = await blob(did, CID, { headers: { range: 'bytes=0-1', 'if-range': `"${CID}"` } })
  assert.equal(part.status, 206)
})

test('R21.2, B-20: bytes that do not fit the CID are a 502, no byte of them is sent, and nothing is cached', async () => {
  const large = randomBytes(3_000_000)
  const wrong = Buffer.from(large)
  wrong[wrong.length - 1] ^= 1
  const chunked = (bytes) => (_, response) => {
    response.writeHead(200, { 'content-type': 'image/png' })
    response.write(bytes.subarray(0, 1000))
    response.end(bytes.subarray(1000))
  }
  for (const [what, answer] of [
    ['another picture', [200, randomBytes(3_000_000), { 'content-type': 'image/png' }]],
    ['its last bit', [200, wrong, { 'content-type': 'image/png' }]],
    ['without a length', chunked(wrong)],
    ['a byte too few', [200, large.subarray(1), {}]],
    ['a byte too many', [200, Buffer.concat([large, Buffer.alloc(1)]), {}]],
    ['nothing', [200, Buffer.alloc(0), {}]],
    ['a part of it', [206, large.subarray(0, 10), { 'content-range': 'bytes 0-9/3000000' }]],
    ['broken off', (_, response) => response.writeHead(200, { 'content-length': '3000000' }).write(large.subarray(0, 5), () => response.destroy())],
    ['broken off without a length', (_, response) => response.writeHead(200).write(large.subarray(0, 5), () => response.destroy())],
  ]) {
    const did = person()
    for (const range of [undefined, 'bytes=0-9']) {
      host.routes.set(blobPath(did, cidOf(large)), answer)
      const answered = await blob(did, cidOf(large), { headers: { ...(range && { range }) } })
      assert.equal(answered.status, 502, what)
      assert.equal(answered.headers.get('cache-control'), 'no-store', what)
      assert.equal((await answered.json()).error, 'UpstreamFailure', what)
    }
    host.routes.set(blobPath(did, cidOf(large)), chunked(large))
    const mended = await blob(did, cidOf(large))
    assert.equal(cidOf(Buffer.from(await mended.arrayBuffer())), cidOf(large), `${what}, mended`)
  }
  // A CID with another hash (here BLAKE3) does not name a blob of the AT Protocol.
  const unknown = inBase32(Buffer.concat([Buffer.from([1, 0x55, 0x1e, 0x20]), randomBytes(32)]))
  news()
  assert.equal((await blob(person(), unknown)).status, 404)
  assert.deepEqual(news(), [])
})

test('R21.2: a host that trickles a larger blob, and a caller that hardly takes it, end the connection; others get theirs', async () => {
  const size = 64 * 1024 * 1024
  const cid = cidOf(randomBytes(8))
  /** Resolves with whether all of it was sent, when the connection is closed. */
  const serving = (did, send) =>
    new Promise((closed) =>
      host.routes.set(blobPath(did, cid), (_, response) => {
        response.writeHead(200, { 'content-length': String(size), 'content-type': 'video/mp4' })
        response.once('close', () => closed(response.writableFinished))
        send(response)
      }),
    )
  const [trickled, ignored, fine] = [person(), person(), person()]
  const everything = (response) => response.end(Buffer.alloc(size, 'x'))
  const slowHost = serving(trickled, (response) => {
    response.write(Buffer.alloc(1024 * 1024, 'x'))
    const drop = setInterval(() => response.write('x'), 200)
    response.once('close', () => clearInterval(drop))
  })
  const slowCaller = serving(ignored, everything)
  const fast = serving(fine, everything)

  const begun = await blob(trickled, cid)
  assert.deepEqual([begun.status, begun.headers.get('content-length')], [200, String(size)])
  const broken = assert.rejects(begun.arrayBuffer(), 'what ends early is not taken for the whole')
  const caller = connect(service.port, '127.0.0.1', () => caller.write(`GET /api/blob?did=${ignored}&cid=${cid} HTTP/1.1\r\nHost: a\r\n\r\n`))
  atEnd(() => caller.destroy())
  caller.on('error', () => {})
  // It reads the beginning, and then nothing more.
  const [head] = await once(caller, 'data')
  caller.pause()
  assert.match(String(head), /^HTTP\/1\.1 200 /)

  const whole = await (await blob(fine, cid)).arrayBuffer()
  assert.equal(whole.byteLength, size, 'who takes it gets all of it')
  assert.equal(await fast, true)
  await broken
  assert.equal(await slowHost, false, 'the host that trickles is left')
  assert.equal(await slowCaller, false, 'and so is the one whose caller takes nothing')
})

test('R21.2: a body that is compressed on the way is compared as what it is', async () => {
  const did = person()
  const text = Buffer.from('colibri '.repeat(10_000))
  host.routes.set(blobPath(did, cidOf(text)), [200, gzipSync(text), { 'content-type': 'text/plain', 'content-encoding': 'gzip' }])
  const answer = await blob(did, cidOf(text))
  assert.deepEqual([answer.status, answer.headers.get('content-length')], [200, String(text.length)])
  assert.deepEqual(Buffer.from(await answer.arrayBuffer()), text)
  // A compressed body that unpacks beyond the limit passes through without being buffered.
  const bomb = Buffer.alloc(50_000_000)
  host.routes.set(blobPath(did, cidOf(bomb)), [200, gzipSync(bomb), { 'content-type': 'text/plain', 'content-encoding': 'gzip' }])
  assert.equal((await (await blob(did, cidOf(bomb))).arrayBuffer()).byteLength, bomb.length)
})

test('R21.2, R21.3: a larger blob is relayed as it is, with the ranges of its PDS', async () => {
  const large = randomBytes(VERIFY_MAX + 1)
  const cid = cidOf(large)
  for (const [what, head] of [
    ['with a length', { 'content-length': String(large.length) }],
    ['without a length', {}],
  ]) {
    const did = person()
    host.routes.set(blobPath(did, cid), (request, response) => {
      const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
      if (first === undefined) return response.writeHead(200, { 'content-type': 'video/mp4', ...head }).end(large)
      if (Number(first) >= large.length) return response.writeHead(416, { 'content-range': `bytes */${large.length}` }).end()
      const part = large.subarray(Number(first), last ? Number(last) + 1 : undefined)
      const range = `bytes ${first}-${Number(first) + part.length - 1}/${large.length}`
      response.writeHead(206, { 'content-type': 'video/mp4', 'content-range': range }).end(part)
    })
    const whole = await blob(did, cid)
    assert.deepEqual([whole.status, cidOf(Buffer.from(await whole.arrayBuffer()))], [200, cid], what)
    const part = await blob(did, cid, { headers: { range: 'bytes=10-19' } })
    assert.deepEqual([part.status, part.headers.get('content-range')], [206, `bytes 10-19/${large.length}`], what)
    assert.deepEqual(Buffer.from(await part.arrayBuffer()), large.subarray(10, 20), what)
    const beyond = await blob(did, cid, { headers: { range: `bytes=${large.length}-` } })
    assert.deepEqual([beyond.status, beyond.headers.get('content-range')], [416, `bytes */${large.length}`], what)
  }
})

test('R21.5, B-20: what could run as a page is a download', async () => {
  for (const [type, download] of [
    ['image/png', false],
    ['video/mp4', false],
    ['text/plain; charset=utf-8', false],
    ['application/pdf', false],
    ['text/html', true],
    ['image/svg+xml', true],
    ['application/xml', true],
    ['text/javascript', true],
    ['application/octet-stream', true],
    [undefined, true],
  ]) {
    const did = person()
    host.routes.set(blobPath(did, CID), [200, PIXELS, type ? { 'content-type': type } : {}])
    const answer = await blob(did, CID)
    assert.equal(answer.status, 200, type)
    assert.equal(answer.headers.get('content-disposition'), download ? 'attachment' : null, type)
    assert.equal(answer.headers.get('content-type'), type ?? 'application/octet-stream')
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff', type)
    await answer.arrayBuffer()
  }
})

test('R21.1: 404 where there is nothing, 502 where somebody failed, never stored', async () => {
  const with_ = (answer) => {
    const did = person()
    host.routes.set(blobPath(did, CID), answer)
    return did
  }
  const documented = (did, answer) => {
    host.routes.set(`/plc/${did}`, answer)
    return did
  }
  for (const [what, did, status] of [
    ['the PDS does not know the blob', with_([400, { error: 'BlobNotFound' }, {}]), 404],
    ['the PDS says so otherwise', with_([404, 'no', {}]), 404],
    ['the PDS fails', with_([500, 'stack trace', {}]), 502],
    ['the PDS is busy', with_([429, {}, {}]), 502],
    ['the PDS wants a password', with_([401, {}, {}]), 502],
    ['the PDS hangs up', with_((_, response) => response.destroy()), 502],
    ['there is no such DID', 'did:plc:nobody', 404],
    ['the DID was deleted', documented('did:plc:tombstone', [410, {}, {}]), 404],
    ['a method without documents', 'did:key:zabc', 404],
    ['the document names no PDS', documented('did:plc:nopds', { id: 'did:plc:nopds', service: [] }), 404],
    ['the directory fails', documented('did:plc:down', [500, {}, {}]), 502],
    ['the directory answers nonsense', documented('did:plc:nonsense', [200, '<html>', {}]), 502],
    ['the document is of somebody else', documented('did:plc:else', { id: 'did:plc:blob0', service: [] }), 502],
    ['the document is huge', documented('did:plc:huge', [200, `{"id":"did:plc:huge","x":"${'x'.repeat(200_000)}"}`, {}]), 502],
    ['nobody listens at the PDS', person({ pds: 'http://127.0.0.1:9' }), 404],
  ]) {
    const answer = await blob(did, CID)
    const body = await answer.json()
    assert.deepEqual([answer.status, body.error], [status, status === 404 ? 'NotFound' : 'UpstreamFailure'], what)
    assert.equal(answer.headers.get('cache-control'), 'no-store', `R21.4: ${what}`)
    assert.equal(answer.headers.get('etag'), null, what)
  }
})

test('R21.6, B-19: nobody is asked whom a DID may not name', async () => {
  const port = new URL(stranger.url).port
  stranger.routes.set(blobPath('did:plc:x', CID), [200, PIXELS, {}])
  for (const pds of [
    stranger.url,
    stranger.url.replace('http', 'https'),
    `http://localhost:${port}`,
    `https://localhost:${port}`,
    `http://[::1]:${port}`,
    `https://127.1:${port}`,
    `https://2130706433:${port}`,
    `http://user@${host.name}`,
    'https://printer',
    'https://metadata.google.internal',
    'file:///etc/passwd',
    'http://pds.example.com',
  ]) {
    const did = person({ pds })
    const answer = await blob(did, CID)
    assert.deepEqual([answer.status, (await answer.json()).error], [404, 'NotFound'], pds)
  }
  for (const did of [
    `did:web:127.0.0.1%3A${port}`,
    `did:web:localhost%3A${port}`,
    'did:web:127.1',
    'did:web:printer',
    'did:web:a.internal',
  ]) {
    assert.equal((await blob(did, CID)).status, 404, did)
  }
  // A redirect to another host, of a PDS and of an allowed did:web.
  const led = person()
  host.routes.set(blobPath(led, CID), [302, '', { location: `${stranger.url}${blobPath('did:plc:x', CID)}` }])
  assert.equal((await blob(led, CID)).status, 404)
  host.routes.set('/.well-known/did.json', [302, '', { location: `${stranger.url}/did.json` }])
  assert.equal((await blob(`did:web:${host.name.replace(':', '%3A')}`, CID)).status, 404)
  assert.deepEqual(stranger.news(), [], 'no request reached it')

  // A redirect on the same host is followed; a did:web of an allowed host is resolved.
  const web = `did:web:${host.name.replace(':', '%3A')}`
  const services = [{ id: `${web}#atproto_pds`, type: 'AtprotoPersonalDataServer', serviceEndpoint: host.url }]
  host.routes.set('/.well-known/did.json', { id: web, service: services })
  host.routes.set(blobPath(web, CID), [307, '', { location: '/elsewhere' }])
  host.routes.set('/elsewhere', [200, PIXELS, { 'content-type': 'image/png' }])
  const answer = await service.fetch(`/api/blob?did=${encodeURIComponent(web)}&cid=${CID}`)
  assert.equal(answer.status, 200)
  assert.deepEqual(Buffer.from(await answer.arrayBuffer()), PIXELS)
})

test('R21.1: an account that moved is found at its new PDS', async () => {
  // The path is not a part of an endpoint.
  const did = person({ pds: `${old.url}/path?x=y#z` })
  old.routes.set(blobPath(did, CID), [200, PIXELS, { 'content-type': 'image/png' }])
  assert.equal((await blob(did, CID)).status, 200)
  person({ did, pds: current.url })
  const other = randomBytes(10)
  old.routes.set(blobPath(did, cidOf(other)), [400, { error: 'RepoDeactivated' }, {}])
  current.routes.set(blobPath(did, cidOf(other)), [200, other, { 'content-type': 'image/png' }])
  assert.equal((await blob(did, cidOf(other))).status, 200)
})

test('who keeps us waiting is given up (R04, R21.1)', async () => {
  const never = () => {}
  const slow = person()
  host.routes.set(blobPath(slow, CID), never)
  profileOf('did:plc:slow', never)
  host.routes.set('/plc/did:plc:slow', never)
  const answers = await Promise.all([blob(slow, CID), blob('did:plc:slow', CID), service.fetch('/api/authors?did=did:plc:slow')])
  for (const answer of answers) assert.deepEqual([answer.status, (await answer.json()).error], [502, 'UpstreamFailure'])
})

test('K07: a host that fails again and again rests, and one that asks for it is left alone', async () => {
  const failing = person({ pds: broken.url })
  broken.routes.set(blobPath(failing, CID), [500, 'no', {}])
  for (let n = 0; n < 30; n++) assert.equal((await blob(failing, CID)).status, 502)
  assert.equal(broken.news().length, 8, 'thirty times wanted, eight times asked')
  broken.routes.set(blobPath(failing, CID), [200, PIXELS, { 'content-type': 'image/png' }])
  await eventually(async () => (await blob(failing, CID)).status === 200, { what: 'the host to have rested' })

  const limited = person({ pds: busy.url })
  busy.routes.set(blobPath(limited, CID), [429, {}, { 'retry-after': '3600' }])
  for (let n = 0; n < 3; n++) assert.equal((await blob(limited, CID)).status, 502)
  assert.equal(busy.news().length, 1)
})
