// Moderation by people (X03, X20, X22, X23, R30–R34), on the real runtime: an owner, a moderator, and everybody else,
// each with a proof of their own.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { eventually } from './harness.js'
import { answers, garden, openPlace } from './place.js'

const KEY = 'the key of the tests'
const SECRET = 'what signs the tokens of these tests'

let place, service, people, community, channel, other, zoe
const tokens = {}

before(async () => {
  place = await openPlace({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: SECRET } })
  service = place.service
  people = await garden(place)
  ;({ community, channel } = people)
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
  zoe = await place.network.createAccount('zoe')
  other = await zoe.community({ name: 'Elsewhere', requiresApprovalToJoin: false })
  await answers(service, `/api/community?community=${other.uri}`)
  for (const [name, { did }] of Object.entries({ alice: people.alice, bob: people.bob, zoe, mod: { did: 'did:plc:mod' } })) {
    const vouched = await ask(KEY, 'POST', '/api/authentication', { did })
    assert.equal(vouched.status, 200)
    tokens[name] = vouched.body.token
  }
})

/** A call with a proof. */
const ask = (proof, method, path, body, headers = {}) =>
  service.fetchJson(path, {
    method,
    headers: { ...(proof === undefined ? {} : { authorization: `Bearer ${proof}` }), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  })
const status = async (answer, expected, why) => {
  const { status, body } = await answer
  assert.equal(status, expected, `${why}: ${JSON.stringify(body)}`)
}
const person = (did, extra = {}) => ({ community_uri: community.uri, member_did: did, ...extra })
const ofMessage = (did, rkey) => `/api/message/block?author_did=${did}&rkey=${rkey}`

async function listen() {
  const socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'message', channel: channel.uri })
  await socket.subscribe({ event_type: 'community', community_uri: community.uri })
  return socket
}

test('X03, X20, B-18: owner, moderator, and nobody else', async () => {
  const { alice, bob } = people
  const { rkey } = await bob.message(channel.rkey, 'to be judged')
  await answers(service, `/api/message?author=${bob.did}&rkey=${rkey}`)
  const moderators = (proof, list) =>
    ask(proof, 'PUT', '/api/community/moderators', { community_uri: community.uri, moderators: list })
  for (const proof of [tokens.zoe, tokens.bob, tokens.mod]) {
    await status(ask(proof, 'POST', ofMessage(bob.did, rkey)), 403, 'block')
    await status(ask(proof, 'POST', '/api/community/ban', person('did:plc:x')), 403, 'ban')
    await status(ask(proof, 'POST', '/api/community/kick', person(bob.did)), 403, 'kick')
    await status(ask(proof, 'GET', `/api/community/bans?community=${community.uri}`), 403, 'bans')
    await status(ask(proof, 'GET', `/api/audit?community=${community.uri}`), 403, 'audit')
    await status(moderators(proof, ['did:plc:mod']), 403, 'moderators')
    await status(ask(proof, 'POST', '/api/invite', { community_uri: community.uri, owner_did: alice.did }), 403, 'invite')
  }
  await status(moderators(undefined, []), 401, 'nobody')
  await status(moderators(`${tokens.alice}x`, []), 401, 'no proof')
  await status(moderators(tokens.alice, ['bob']), 422, 'no DID')
  await status(moderators(tokens.alice, Array.from({ length: 101 }, (_, n) => `did:plc:m${n}`)), 422, 'too many')
  await status(moderators(tokens.alice, ['did:plc:mod', 'did:plc:mod']), 204, 'the owner')
  const listed = await ask(tokens.mod, 'GET', `/api/community/moderators?community=${community.uri}`)
  assert.deepEqual([listed.status, listed.body], [200, ['did:plc:mod']])

  const socket = await listen()
  await status(ask(tokens.mod, 'POST', `${ofMessage(bob.did, rkey)}&reason=rude`), 204, 'a moderator blocks')
  await socket.next({ type: 'message_deleted', rkey })
  await status(ask(tokens.mod, 'DELETE', ofMessage(bob.did, rkey)), 204, 'and unblocks')
  const shown = await socket.next({ type: 'message', rkey })
  assert.equal(shown.text, 'to be judged')
  await status(ask(tokens.mod, 'DELETE', ofMessage(bob.did, rkey)), 404, 'it is not blocked')
  await answers(service, `/api/message?author=${bob.did}&rkey=${rkey}`)
  await status(ask(tokens.mod, 'GET', `/api/community/bans?community=${community.uri}`), 200, 'lists bans')
  const invited = await ask(tokens.mod, 'POST', '/api/invite', { community_uri: community.uri, owner_did: alice.did })
  assert.equal(invited.status, 200)
  await status(ask(tokens.mod, 'DELETE', `/api/invite/${invited.body.code}?owner_did=${alice.did}`), 204, 'revokes')
  await status(ask(tokens.mod, 'GET', `/api/audit?community=${community.uri}`), 403, 'the log is the owner’s')
  await status(moderators(tokens.mod, []), 403, 'who moderates is the owner’s to say')
  await status(ask(tokens.mod, 'POST', '/api/community/ban', { community_uri: other.uri, member_did: bob.did }), 403, 'elsewhere')
  await status(ask(tokens.zoe, 'POST', '/api/community/ban', { community_uri: other.uri, member_did: bob.did }), 204, 'at home')
  const nowhere = `at://${people.bob.did}/social.colibri.community/none`
  await status(ask(tokens.bob, 'POST', '/api/community/ban', { community_uri: nowhere, member_did: 'did:plc:x' }), 404, 'R08')

  const log = await ask(tokens.alice, 'GET', `/api/audit?community=${community.uri}`)
  assert.deepEqual(
    log.body.map(({ actor, action, proof, reason }) => [actor, action, proof, reason]),
    [
      ['did:plc:mod', 'revoke_invite', 'socket_token', null],
      ['did:plc:mod', 'invite', 'socket_token', null],
      ['did:plc:mod', 'unblock', 'socket_token', null],
      ['did:plc:mod', 'block', 'socket_token', 'rude'],
      [alice.did, 'moderators', 'socket_token', null],
    ],
    'X22: what was made, newest first, and nothing else',
  )
  const filtered = await ask(KEY, 'GET', `/api/audit?community=${community.uri}&action=block&limit=1`)
  assert.deepEqual([filtered.body.length, filtered.body[0].subject.endsWith(rkey)], [1, true])
  await socket.close()
})

test('R31: a kick is published, ends voice presence, and a new membership counts', async () => {
  const kim = await place.network.createAccount('kim')
  const socket = await listen()
  await kim.membership(community.uri)
  await socket.next({ type: 'member_pending', member_did: kim.did })
  await status(ask(tokens.alice, 'POST', '/api/community/kick', person(people.alice.did)), 422, 'the owner')
  await status(ask(tokens.alice, 'POST', '/api/community/kick', person(kim.did, { reason: 'x'.repeat(301) })), 422, 'too long')
  await status(ask(tokens.alice, 'POST', '/api/community/kick', person(kim.did, { reason: 'a lesson' })), 204, 'kick')
  await socket.next({ type: 'member_left', member_did: kim.did })
  await status(ask(tokens.alice, 'POST', '/api/community/kick', person(kim.did)), 404, 'no member any more')
  const members = await service.fetchJson(`/api/members?community=${community.uri}`)
  assert(!members.body.some(({ member_did }) => member_did === kim.did), 'H11')
  await kim.membership(community.uri)
  await eventually(() => socket.all({ type: 'member_pending', member_did: kim.did }).length === 2)
  await socket.close()
})

test('T10: a ban with an end expires by itself, and that is published', async () => {
  const kai = await place.network.createAccount('kai')
  const socket = await listen()
  await kai.membership(community.uri)
  await socket.next({ type: 'member_pending', member_did: kai.did })
  const ban = (until) => ask(tokens.alice, 'POST', '/api/community/ban', person(kai.did, { until }))
  for (const until of ['2020-01-01T00:00:00Z', 'tomorrow', 7]) await status(ban(until), 422, until)
  const until = new Date(Date.now() + 3_000).toISOString()
  await status(ban(until), 204, 'for three seconds')
  await socket.next({ type: 'member_left', member_did: kai.did })
  await eventually(() => socket.all({ type: 'member_joined', member_did: kai.did }).length === 1, {
    timeout: 40_000,
    what: 'the end of the ban to be published',
  })
  assert(Date.now() >= Date.parse(until), 'not before its end')
  const log = await ask(KEY, 'GET', `/api/audit?community=${community.uri}&subject=${kai.did}`)
  assert.deepEqual(
    log.body.map(({ actor, action, until }) => [actor, action, until]),
    [
      ['service', 'ban_ended', null],
      [people.alice.did, 'ban', until],
    ],
  )
  await socket.close()
})

test('X23: a request with an Idempotency-Key acts once', async () => {
  const { alice, bob } = people
  const { rkey } = await bob.message(channel.rkey, 'once')
  await answers(service, `/api/message?author=${bob.did}&rkey=${rkey}`)
  const key = (value) => ({ 'idempotency-key': value })
  const block = (value) => ask(tokens.alice, 'POST', ofMessage(bob.did, rkey), undefined, key(value))
  const answersOf = await Promise.all(Array.from({ length: 8 }, () => block('one')))
  assert.deepEqual(
    answersOf.map(({ status }) => status),
    Array(8).fill(204),
    'eight at once are one act',
  )
  await status(block('two'), 404, 'another key: it is blocked already')
  await status(ask(tokens.alice, 'DELETE', ofMessage(bob.did, rkey), undefined, key('one')), 422, 'another request')
  await status(block('x'.repeat(256)), 400, 'too long')
  const invite = (proof, fields) =>
    ask(proof, 'POST', '/api/invite', { community_uri: community.uri, owner_did: alice.did, ...fields }, key('invite'))
  const made = await Promise.all(Array.from({ length: 8 }, () => invite(tokens.alice, {})))
  assert.equal(new Set(made.map(({ body }) => body.code)).size, 1, 'eight at once are one invite')
  await status(invite(tokens.alice, { max_uses: 3 }), 422, 'another request')
  assert.notEqual((await invite(KEY, {})).body.code, made[0].body.code, 'the key of another caller')
  const log = await ask(KEY, 'GET', `/api/audit?community=${community.uri}&action=block&subject=at://${bob.did}/social.colibri.message/${rkey}`)
  assert.equal(log.body.length, 1)
})
