// Requests to other hosts that strangers name: endless listings, documents that lead in circles, slow hosts, an
// overloaded directory (K04, K07, K14, K15, R21). Every host here is played on 127.0.0.1.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { cidOf } from '../network/cid.js'
import { eventually, freePort, startService } from './harness.js'
import { openHost, openStage } from './stage.js'

const MB = 1 << 20
const KEY = 'k'.repeat(24)
const asOperator = { headers: { authorization: `Bearer ${KEY}` } }
const ROOT = 'bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'

const documentOf = (did, pds) => ({
  id: did,
  verificationMethod: [
    {
      id: `${did}#atproto`,
      type: 'Multikey',
      controller: did,
      publicKeyMultibase: 'zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc',
    },
  ],
  service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: pds }],
})
/** The parameters of a request. */
const asked = (request) => new URL(request.url, 'http://host').searchParams
const json = (response, body, status = 200) => {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}

test('K04: nothing is deleted after a listing that does not end properly, and it is bounded', async (t) => {
  const pds = await openHost()
  const stage = await openStage({ env: { INVITE_API_KEY: KEY }, insecure: [pds.name] })
  const { service, host } = stage
  for (const who of ['owner', 'bob']) host.routes.set(`/plc/did:plc:${who}`, documentOf(`did:plc:${who}`, pds.url))
  const BOB = 'did:plc:bob'
  const community = 'at://did:plc:owner/social.colibri.community/c'
  const channel = 'at://did:plc:owner/social.colibri.channel/k'
  const of = (did, kind, rkey, value) => ({
    uri: `at://${did}/social.colibri.${kind}/${rkey}`,
    cid: ROOT,
    value: { $type: `social.colibri.${kind}`, ...value },
  })
  const messages = Array.from({ length: 10 }, (_, n) =>
    of(BOB, 'message', `m${n}`, { text: `${n}`, channel, createdAt: '2026-03-01T12:00:00.000Z' }),
  )
  const kept = {
    [`did:plc:owner social.colibri.community`]: [of('did:plc:owner', 'community', 'c', { name: 'Garden', requiresApprovalToJoin: false })],
    [`did:plc:owner social.colibri.channel`]: [of('did:plc:owner', 'channel', 'k', { name: 'hall', type: 'text', community: 'c' })],
    [`${BOB} social.colibri.membership`]: [of(BOB, 'membership', 'm', { community, createdAt: '2026-03-01T12:00:00.000Z' })],
    [`${BOB} social.colibri.message`]: messages,
  }
  let rev = 1
  /** How bob's messages are listed; unchanged by default. */
  let odd
  pds.routes.set('/xrpc/com.atproto.sync.getLatestCommit', (_, response) =>
    json(response, { cid: ROOT, rev: `3l2222222222${'234567abcdefghijklmnop'[rev]}` }),
  )
  pds.routes.set('/xrpc/com.atproto.sync.getRepo', (_, response) => json(response, { error: 'MethodNotImplemented' }, 501))
  pds.routes.set('/xrpc/com.atproto.repo.listRecords', (request, response) => {
    const params = asked(request)
    const [did, collection, cursor] = ['repo', 'collection', 'cursor'].map((name) => params.get(name))
    const isOdd = odd && did === BOB && collection === 'social.colibri.message'
    json(response, isOdd ? odd(cursor) : { records: kept[`${did} ${collection}`] ?? [] })
  })
  await stage.say(
    ['owner', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ['owner', 'create', 'channel/k', { name: 'hall', type: 'text', community: 'c' }],
    ['bob', 'create', 'membership/m', { community, createdAt: '2026-03-01T12:00:00.000Z' }],
  )
  const shown = async () => (await service.fetchJson(`/api/messages?channel=${channel}&limit=100`)).body.length
  await eventually(async () => (await shown()) === 10, { what: 'what is listed to be accepted', timeout: 30_000 })
  const sync = async () => (await service.fetchJson(`/api/sync?did=${BOB}`, asOperator)).body
  const ask = () =>
    service.fetchJson(`/api/sync?did=${BOB}`, { method: 'POST', ...asOperator, body: JSON.stringify({ did: BOB }) })

  let page = 0
  const three = messages.slice(0, 3)
  for (const [what, listing] of [
    ['a cursor that comes again', () => ({ records: three, cursor: 'same' })],
    ['the same records for ever', () => ({ records: three, cursor: `c${page++}` })],
    ['empty pages for ever', () => ({ records: [], cursor: `c${page++}` })],
    ['a new record on each page, for ever', () => ({ records: [of(BOB, 'message', `x${page}`, {})], cursor: `c${page++}` })],
    ['an empty cursor', () => ({ records: three, cursor: '' })],
    ['a page of nonsense', (cursor) => (cursor ? '<html>' : { records: three, cursor: 'a' })],
    ['records named by a handle', () => ({ records: three.map((one) => ({ ...one, uri: one.uri.replace(BOB, 'bob.test') })) })],
    ['records of somebody else', () => ({ records: three.map((one) => ({ ...one, uri: one.uri.replace(BOB, 'did:plc:x') })) })],
  ]) {
    await t.test(what, async () => {
      odd = listing
      rev += 1
      pds.news()
      await ask()
      const failed = await eventually(async () => ((await sync()).failures > 0 ? await sync() : undefined), { what: 'it to fail' })
      const { length } = pds.asked
      assert.equal(await shown(), 10)
      assert.match(failed.error, /listing/)
      assert(length <= 700, `${length} requests for ${failed.failures} attempts`)
    })
  }
  await t.test('an empty page that leads on, and a missing cursor', async () => {
    odd = (cursor) =>
      cursor === null
        ? { records: three, cursor: 'a' }
        : cursor === 'a'
          ? { records: [], cursor: 'b' }
          : { records: messages.slice(3, 9), cursor: null }
    rev += 1
    await ask()
    await eventually(async () => (await shown()) === 9, { what: 'the one that is not listed to be gone' })
    assert.equal((await sync()).error, null)
  })
})

test('R21.7, R21.8: a document leads to an origin, and never to the service itself', async () => {
  const [port, directory, honest] = [await freePort(), await openHost(), await openHost()]
  const PIXELS = Buffer.from('pixels')
  const CID = cidOf(PIXELS)
  const own = `127.0.0.1:${port}`
  const service = await startService({
    port,
    env: { PLC_URL: directory.url, INSECURE_HOSTS: [own, `localhost:${port}`, honest.name].join() },
  })
  const blob = (name, pds, init) => {
    directory.routes.set(`/did:plc:${name}`, documentOf(`did:plc:${name}`, pds))
    return service.fetch(`/api/blob?did=did:plc:${name}&cid=${CID}`, init)
  }
  for (const [name, pds] of [
    ['self', service.url],
    ['path', `${service.url}/api/blob?did=did:plc:path&cid=${CID}&x=`],
    ['alias', `http://localhost:${port}`],
  ]) {
    const answer = await blob(name, pds)
    assert.deepEqual([answer.status, (await answer.json()).error], [404, 'NotFound'], pds)
  }
  // Ten documents that lead to a broken page of an honest host, and ten people about whom it fails.
  honest.routes.set('/xrpc/com.atproto.sync.getBlob', (request, response) => {
    if (!asked(request).get('did').endsWith('friend')) return json(response, { error: 'InternalServerError' }, 500)
    response.writeHead(200, { 'content-type': 'image/png', 'content-length': PIXELS.length })
    response.end(PIXELS)
  })
  for (let n = 0; n < 10; n++) {
    assert.equal((await blob(`broken${n}`, `${honest.url}/broken?x=`)).status, 502)
    assert.equal((await blob(`failing${n}`, honest.url)).status, 502)
  }
  assert(honest.news().every((url) => url.startsWith('/xrpc/com.atproto.sync.getBlob?did=')), 'one address for a method')
  assert.equal((await blob('friend', honest.url)).status, 200, 'who lives there is not kept from anybody')
  // Another service of this kind sends the request, so that this one would send it back.
  const loop = { headers: { 'user-agent': 'colibri-edge/9.9' } }
  for (const path of ['/api/identity?id=did:plc:friend', '/api/authors?did=did:plc:friend', `/api/blob?did=did:plc:else&cid=${CID}`]) {
    const { status, body } = await service.fetchJson(path, loop)
    assert.deepEqual([status, body.error], [403, 'Forbidden'], path)
  }
})

test('K14: what strangers have asked costs the directory little, and does not cost others the directory', async (t) => {
  const directory = await openHost()
  const stage = await openStage({ env: { PLC_URL: directory.url } })
  const { service, host } = stage
  const identity = async (did) => (await service.fetchJson(`/api/identity?id=${did}`)).status
  directory.routes.set('/did:plc:owner', documentOf('did:plc:owner', host.url))
  await stage.say(['owner', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }])
  await eventually(async () => (await identity('did:plc:owner')) === 200, { what: 'the owner to be known' })
  const questions = () => directory.news().filter((url) => !url.endsWith('owner')).length
  const atOnce = (count, did) => Promise.all(Array.from({ length: count }, (_, n) => identity(did(n))))

  await t.test('the same unknown DID', async () => {
    questions()
    for (let round = 0; round < 4; round++) {
      assert((await atOnce(50, () => 'did:plc:nobody')).every((status) => status === 404))
    }
    assert.equal(questions(), 1, 'two hundred times wanted, once asked')
  })
  await t.test('people who exist, all at once', async () => {
    for (let n = 0; n < 40; n++) directory.routes.set(`/did:plc:real${n}`, documentOf(`did:plc:real${n}`, host.url))
    assert.deepEqual(new Set(await atOnce(40, (n) => `did:plc:real${n}`)), new Set([200]))
    assert.equal(questions(), 40)
  })
  await t.test('many unknown DIDs', async () => {
    const began = Date.now()
    const statuses = await atOnce(300, (n) => `did:plc:none${n}`)
    const seconds = (Date.now() - began) / 1000
    const { length } = statuses.filter((status) => status === 404)
    assert.equal(statuses.filter((status) => status === 429).length, 300 - length, 'others are asked to come back')
    const count = questions()
    assert(count <= 21 + 8 * seconds, `${count} questions in ${seconds} s`)
    // The next one waits for its turn, and gets it.
    directory.routes.set('/did:plc:newbie', documentOf('did:plc:newbie', host.url))
    await eventually(async () => (await identity('did:plc:newbie')) === 200, { what: 'a newcomer to be found', timeout: 3_000 })
  })
  await t.test('the directory has had enough of strangers', async () => {
    directory.routes.set('/did:plc:flood', [429, { message: 'slow down' }, { 'retry-after': '3600' }])
    await eventually(async () => (await identity('did:plc:flood')) === 502, { what: 'a 429' })
    directory.routes.set('/did:plc:late', documentOf('did:plc:late', host.url))
    assert.equal(await identity('did:plc:late'), 502, 'it is left alone by strangers')
    directory.routes.set('/did:plc:owner', { ...documentOf('did:plc:owner', host.url), alsoKnownAs: ['at://new.test'] })
    host.routes.set('/dns?name=_atproto.new.test&type=TXT', {
      Status: 0,
      Answer: [{ name: 'x', type: 16, TTL: 60, data: '"did=did:plc:owner"' }],
    })
    await stage.identity('owner', 'new.test')
    await eventually(async () => (await service.fetchJson('/api/identity?id=did:plc:owner')).body.handle === 'new.test', {
      what: 'somebody whom the index knows to be asked about all the same',
    })
  })
})

test('R21.9: a slow host keeps nobody from other blobs, and is given up', async () => {
  const [directory, evil, honest] = [await openHost(), await openHost(), await openHost()]
  const service = await startService({ env: { PLC_URL: directory.url, INSECURE_HOSTS: [evil.name, honest.name].join() } })
  const film = Buffer.alloc(5 * MB, 9)
  const FILM = cidOf(film)
  const person = (name, { url }) => directory.routes.set(`/did:plc:${name}`, documentOf(`did:plc:${name}`, url))
  let waiting = 0
  evil.routes.set('/xrpc/com.atproto.sync.getBlob', (_, response) => {
    waiting += 1
    response.writeHead(200, { 'content-type': 'video/mp4', 'content-length': 32 * MB })
    response.write('x')
  })
  honest.routes.set('/xrpc/com.atproto.sync.getBlob', [200, film, { 'content-type': 'video/mp4', 'content-length': film.length }])
  person('evil', evil)
  const get = (name, cid, init) => service.fetch(`/api/blob?did=did:plc:${name}&cid=${cid}`, init)
  const hangUp = new AbortController()
  const held = Array.from({ length: 12 }, (_, n) =>
    get('evil', cidOf(Buffer.from(`never sent ${n}`)), { signal: n < 8 ? hangUp.signal : undefined }).catch(() => ({ status: 0 })),
  )
  await eventually(() => waiting === 12, { what: 'the slow answers to begin' })
  const began = Date.now()
  for (let n = 0; n < 3; n++) {
    person(`friend${n}`, honest)
    const answer = await get(`friend${n}`, FILM)
    assert.equal(answer.status, 200)
    assert.deepEqual(Buffer.from(await answer.arrayBuffer()), film)
    hangUp.abort()
  }
  assert(Date.now() - began < 8_000, `${Date.now() - began} ms for three films`)
  const statuses = (await Promise.all(held)).map(({ status }) => status)
  assert.deepEqual(statuses, [...Array(8).fill(0), ...Array(4).fill(502)])
  const took = Date.now() - began
  assert(took < 25_000, `given up after ${took} ms`)
})

test('K15: memory does not grow with the number of hosts that are read', async (t) => {
  const FEW = 30
  const MANY = 60
  // Each repository is 8 MB of records that would all be kept until the end, which comes late.
  const varint = (number) => {
    const bytes = []
    for (; number > 127; number >>>= 7) bytes.push((number & 127) | 128)
    return Buffer.from([...bytes, number])
  }
  const text = (value) => Buffer.concat([value.length < 24 ? Buffer.from([0x60 + value.length]) : lengthOf(value), Buffer.from(value)])
  const lengthOf = (value) => Buffer.from([0x79, value.length >> 8, value.length & 255])
  const section = (bytes) => Buffer.concat([varint(bytes.length), bytes])
  const cidBytes = (bytes) => Buffer.concat([Buffer.from([1, 0x71, 0x12, 0x20]), createHash('sha256').update(bytes).digest()])
  const record = (n) => {
    const fields = [Buffer.from([0xa2]), text('text'), text(`${n} `.padEnd(8000, 'x')), text('$type'), text('social.colibri.message')]
    const bytes = Buffer.concat(fields)
    return section(Buffer.concat([cidBytes(bytes), bytes]))
  }
  const records = Buffer.concat(Array.from({ length: 1000 }, (_, n) => record(n)))
  const link = Buffer.concat([Buffer.from([0xd8, 0x2a, 0x58, 37, 0]), cidBytes(Buffer.from('no commit'))])
  const header = Buffer.concat([Buffer.from([0xa2]), text('roots'), Buffer.from([0x81]), link, text('version'), Buffer.from([1])])
  const archive = Buffer.concat([section(header), records])
  let reading = 0
  let most = 0
  let read = 0
  const hosts = await Promise.all(Array.from({ length: FEW + MANY }, () => openHost()))
  for (const host of hosts) {
    host.routes.set('/xrpc/com.atproto.sync.getLatestCommit', { cid: ROOT, rev: '3l22222222222' })
    host.routes.set('/xrpc/com.atproto.sync.getRepo', (_, response) => {
      most = Math.max(most, ++reading)
      response.on('close', () => {
        reading -= 1
        read += 1
      })
      response.writeHead(200, { 'content-type': 'application/vnd.ipld.car' })
      response.write(archive)
      setTimeout(() => response.end(), 2_000)
    })
  }
  const directory = await openHost()
  const stage = await openStage({ env: { PLC_URL: directory.url }, insecure: hosts.map(({ name }) => name) })
  hosts.forEach(({ url }, n) => directory.routes.set(`/did:plc:h${n}`, documentOf(`did:plc:h${n}`, url)))
  /** All hosts from one to another are read. @param {number} from @param {number} to */
  const readAll = async (from, to) => {
    const events = Array.from({ length: to - from }, (_, n) => [`h${from + n}`, 'create', 'community/c', { name: 'x', requiresApprovalToJoin: false }])
    await stage.say(...events)
    await eventually(() => read >= to, { what: `${to} repositories to be read`, timeout: 90_000 })
    return peakMemory(stage.service)
  }
  // With few hosts already, as many are read at a time as may be. If anything of a repository were kept, more hosts would
  // add 8 MB each; what they do add is the objects of their communities.
  const few = await readAll(0, FEW)
  const many = await readAll(FEW, FEW + MANY)
  t.diagnostic(`${few} MB with ${FEW} repositories of 8 MB, ${many} MB with ${MANY} more, ${most} at a time`)
  assert(most > 12 && most <= 24, `${most} at a time`)
  assert(many - few < MANY * 6, `${many - few} MB more`)
})

/** The peak memory of the runtime so far, in MB. @param {import('./harness.js').Service} service */
function peakMemory({ state }) {
  const [pid] = readFileSync(join(state, 'serve', 'workerd.pid'), 'utf8').split(' ')
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) >> 10
}
