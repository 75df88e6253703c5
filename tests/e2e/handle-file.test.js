// Handles that are proven by the file on their host, `https://<handle>/.well-known/atproto-did`, and not by DNS (I50,
// O10, R21.6).
//
// The hosts are played: a request of the Worker to `https://alice.example.com` goes to a port of 127.0.0.1. Everything
// except TLS is as in production.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { eventually } from './harness.js'
import { openHost, openStage } from './stage.js'

const FILE = '/.well-known/atproto-did'

let stage
let service
let host
/** The hosts of some handles, by handle. */
const hosts = new Map()
before(async () => {
  const handles = ['alice', 'other', 'page', 'broken', 'away', 'late'].map((name) => `${name}.example.com`)
  for (const handle of [...handles, 'elsewhere.example.org']) hosts.set(handle, await openHost())
  const played = [...hosts].map(([handle, { name }]) => `https://${handle}=${name}`).join()
  stage = await openStage({ env: { COLIBRI_PLAYED_HOSTS: played } })
  ;({ service, host } = stage)
})

const identity = async (id) => (await service.fetchJson(`/api/identity?id=${encodeURIComponent(id)}`)).body

/** A person whose document claims a handle without a DNS record. */
function person(name, handle) {
  const did = `did:plc:${name}`
  host.routes.set(`/plc/${did}`, {
    id: did,
    alsoKnownAs: [`at://${handle}`],
    service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: host.url }],
  })
  host.routes.set(`/dns?name=_atproto.${handle}&type=TXT`, { Status: 3 })
  return did
}

test('a handle whose file names the DID is proven', async () => {
  const did = person('alice', 'alice.example.com')
  const own = hosts.get('alice.example.com')
  own.routes.set(FILE, [200, ` ${did}\n`, { 'content-type': 'text/plain' }])
  const found = await identity(did)
  assert.deepEqual([found.handle, found.handle_status], ['alice.example.com', 'valid'])
  assert.deepEqual(own.news(), [FILE])
  assert.equal((await identity('alice.example.com')).did, did, 'in the other direction')
})

test('the handle is shown with what a person writes, and no more when the file is gone', async () => {
  const did = person('late', 'late.example.com')
  const own = hosts.get('late.example.com')
  const author = async () => (await service.fetchJson(`/api/authors?did=${did}`)).body
  own.routes.set(FILE, [200, did, {}])
  await stage.say(['late', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }])
  await eventually(async () => (await author()).handle === 'late.example.com', { what: 'the handle to be shown' })
  own.routes.delete(FILE)
  await stage.identity('late', 'late.example.com')
  await eventually(async () => (await author()).handle === null, { what: 'the handle to be hidden' })
})

test('R21.6: any other file proves nothing', async () => {
  const elsewhere = hosts.get('elsewhere.example.org')
  elsewhere.routes.set(FILE, [200, 'did:plc:away', {}])
  for (const [name, answer, status] of [
    ['other', [200, 'did:plc:alice', {}], 'invalid'],
    ['page', [200, '<html>did:plc:page</html>', { 'content-type': 'text/html' }], 'invalid'],
    ['broken', [500, 'did:plc:broken', {}], 'unresolved'],
    ['away', [302, '', { location: `https://elsewhere.example.org${FILE}` }], 'invalid'],
  ]) {
    const did = person(name, `${name}.example.com`)
    const own = hosts.get(`${name}.example.com`)
    own.routes.set(FILE, answer)
    const found = await identity(did)
    assert.deepEqual([found.handle, found.handle_status], [null, status], name)
    assert.deepEqual(own.news(), [FILE], name)
  }
  assert.deepEqual(elsewhere.news(), [], 'no redirect to another host is followed')
})
