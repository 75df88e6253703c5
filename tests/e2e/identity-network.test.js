// Identities with a real PLC directory and a real PDS: documents, keys and handles as that software writes them.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { eventually, startService } from './harness.js'
import { answers, openPlace } from './place.js'

test('O10, I50: the handle of a real account, also when it changes, and a blob of theirs', async () => {
  const { network, settings } = await openPlace({ serve: false })
  const service = await startService({ ...settings, env: { ...settings.env, DOH_URL: network.dns } })
  const alice = await network.createAccount('alice')
  const identity = async (id) => (await service.fetchJson(`/api/identity?id=${id}`)).body
  const found = await identity('alice.test')
  assert.deepEqual(
    { did: found.did, handle: found.handle, handle_status: found.handle_status, pds: found.pds },
    { did: alice.did, handle: 'alice.test', handle_status: 'valid', pds: network.pds },
  )
  assert.match(found.signing_key, /^z[1-9A-HJ-NP-Za-km-z]{48}$/)
  // The document has the key in the form of 2019, uncompressed; the directory stores the key itself.
  const { verificationMethods } = await (await fetch(`${network.plc}/${alice.did}/data`)).json()
  assert.equal(`did:key:${found.signing_key}`, verificationMethods.atproto)
  assert.equal((await service.fetchJson('/api/identity?id=nobody.test')).status, 404)

  // A record makes her known, so she is looked up; her new handle is shown once it is verified.
  const community = await alice.community({ name: 'Garden', requiresApprovalToJoin: false })
  await answers(service, `/api/authors?did=${alice.did}`, 200, ({ handle }) => handle === 'alice.test')
  await alice.updateHandle('alice-moves.test')
  await answers(service, `/api/authors?did=${alice.did}`, 200, ({ handle }) => handle === 'alice-moves.test')
  await eventually(async () => (await identity(alice.did)).handle === 'alice-moves.test', { what: 'the new handle' })
  assert.equal((await service.fetchJson('/api/identity?id=alice.test')).status, 404, 'the old one leads nowhere')

  const picture = Buffer.from('not really a picture')
  const blob = await alice.uploadBlob(picture, 'image/png')
  await alice.message('general', 'look', { attachments: [{ blob, name: 'x.png' }] })
  const path = `/api/blob?did=${alice.did}&cid=${blob.ref.$link}`
  for (let n = 0; n < 3; n++) {
    const answer = await service.fetch(path)
    assert.equal(answer.headers.get('content-type'), 'image/png')
    assert.deepEqual(Buffer.from(await answer.arrayBuffer()), picture)
  }
  assert(community.uri)
})
