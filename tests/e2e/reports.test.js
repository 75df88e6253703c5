// Reports (R86 to R88), on the real runtime with a real PDS.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { answers, garden, openPlace } from './place.js'
import { bearer, vouch } from './tokens.js'

const KEY = 'the key of the tests of reports'

let place, service, alice, bob, community, message
/** The proof of each person. */
const proofs = {}
before(async () => {
  place = await openPlace({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: 'what signs the tokens of reports' } })
  service = place.service
  let channel
  ;({ alice, bob, community, channel } = await garden(place))
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
  message = await bob.message(channel.rkey, 'rude')
  await answers(service, `/api/message?author=${bob.did}&rkey=${message.rkey}`)
  const people = { alice: alice.did, bob: bob.did, mod: 'did:plc:mod', guest: 'did:plc:guest' }
  for (const [name, did] of Object.entries(people)) proofs[name] = bearer(await vouch(service, KEY, did))
  proofs.key = bearer(KEY)
  const moderators = { community_uri: community.uri, moderators: [people.mod] }
  assert.equal((await ask('key', 'PUT', '/api/community/moderators', moderators)).status, 204)
})

const ask = (who, method, path, body) =>
  service.fetchJson(path, { method, headers: proofs[who] ?? {}, body: body && JSON.stringify(body) })
const report = (who, body) => ask(who, 'POST', '/api/report', { reason: 'rude', ...body })
const list = (who, query = '') => ask(who, 'GET', `/api/reports?community=${community.uri}${query}`)

test('R86 to R88: reported by anybody with a proof, seen and resolved by those who moderate', async () => {
  const { status, body } = await report('guest', { uri: message.uri, comment: 'not nice' })
  assert.equal(status, 200, JSON.stringify(body))
  assert.deepEqual((await report('guest', { uri: message.uri })).body, body, 'the same one')
  assert.equal((await report('bob', { did: alice.did, community_uri: community.uri })).status, 200)
  for (const who of ['alice', 'mod', 'key']) {
    const { body: reports } = await list(who)
    assert.deepEqual(
      reports.map((one) => [one.reporter_did, one.subject, one.about_did, one.reason, one.comment, one.resolved_at]),
      [[bob.did, alice.did, alice.did, 'rude', null, null], ['did:plc:guest', message.uri, bob.did, 'rude', null, null]],
      who,
    )
  }
  const first = await list('mod', '&limit=1')
  const rest = await list('mod', `&limit=1&cursor=${first.headers.get('colibri-cursor')}`)
  assert.deepEqual([...first.body, ...rest.body], (await list('mod')).body, 'H40')
  for (const who of ['bob', 'guest']) assert.equal((await list(who)).status, 403, who)
  const resolve = (who) => ask(who, 'POST', '/api/report/resolve', { community_uri: community.uri, id: body.id, reason: 'blocked' })
  assert.equal((await resolve('guest')).status, 403)
  assert.equal((await resolve('mod')).status, 204)
  assert.equal((await resolve('mod')).status, 404, 'once')
  const [resolved] = (await list('alice', '&state=resolved')).body
  assert.deepEqual([resolved.id, resolved.resolved_by, resolved.resolution], [body.id, 'did:plc:mod', 'blocked'])
  assert.deepEqual((await list('alice', '&state=open')).body.map((one) => one.subject), [alice.did])
  const { body: log } = await ask('alice', 'GET', `/api/audit?community=${community.uri}&action=resolve_report`)
  assert.deepEqual(log.map((one) => [one.actor, one.subject, one.reason]), [['did:plc:mod', String(body.id), 'blocked']])
})

test('R86: what is refused', async () => {
  for (const [who, body, status] of [
    ['nobody', { uri: message.uri }, 401],
    ['key', { uri: message.uri }, 403],
    ['guest', {}, 422],
    ['guest', { uri: message.uri, did: bob.did }, 422],
    ['guest', { did: bob.did }, 422],
    ['guest', { uri: message.uri, reason: 'boring' }, 422],
    ['guest', { uri: message.uri, comment: 'x'.repeat(1_001) }, 422],
    ['guest', { uri: community.uri }, 404],
    ['guest', { uri: `at://${bob.did}/social.colibri.message/none` }, 404],
    ['guest', { did: bob.did, community_uri: `at://${bob.did}/social.colibri.community/none` }, 404],
  ]) {
    const answer = await report(who, body)
    assert.equal(answer.status, status, `${who} ${JSON.stringify(body)}: ${JSON.stringify(answer.body)}`)
  }
  const members = (members_only) => ask('key', 'PUT', '/api/community/members-only', { community_uri: community.uri, members_only })
  assert.equal((await members(true)).status, 200)
  assert.equal((await report('guest', { uri: message.uri })).status, 404, 'nothing tells an outsider that it is there')
  assert.equal((await report('mod', { uri: message.uri })).status, 200)
  assert.equal((await members(false)).status, 200)
})

test('R40: an erasure takes the reports by and about a person', async () => {
  assert.equal((await report('guest', { did: bob.did, community_uri: community.uri })).status, 200)
  assert.equal((await ask('key', 'DELETE', `/api/user?did=${bob.did}`)).status, 202)
  await answers(service, '/api/health')
  const gone = async () => (await list('key')).body.every((one) => ![one.about_did, one.reporter_did].includes(bob.did))
  const { eventually } = await import('./harness.js')
  await eventually(gone, { what: 'the reports to be gone' })
})
