// Proofs of a DID, and what works without one (X04-X13, R25-R27), on the real runtime: tokens that a real PDS signs,
// requests that it forwards, and tokens that no PDS would make.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { MODES, modeIn, modeOf, withMode } from '../../scripts/choose-mode.js'
import { cidOf } from '../network/cid.js'
import { eventually, freePort, startService, UpgradeRefused } from './harness.js'
import { answers, connected, garden, openPlace } from './place.js'
import { openHost, openStage } from './stage.js'
import { bearer, documentOf, newKey } from './tokens.js'

const KEY = 'the key of the tests'
const SECRET = 'what signs the tokens of these tests'
const SUBSCRIBE = 'social.colibri.sync.subscribeEvents'
const MODERATE = 'social.colibri.community.moderate'
const ACK = { type: 'ack', message: '' }
const error = (message) => ({ type: 'error', message })

/** Fails unless an upgrade is refused with this status. */
async function refusedUpgrade(opening, status, sentence, why) {
  await assert.rejects(opening, (refused) => {
    assert(refused instanceof UpgradeRefused, `${why}: ${refused}`)
    assert.equal(refused.status, status, `${why}: ${refused.text}`)
    assert.match(refused.body.message, sentence, why)
    return true
  })
}

describe('with a real PDS', () => {
  let place, service, alice, bob, community, channel, did
  before(async () => {
    place = await openPlace({ serve: false })
    const port = await freePort()
    did = `did:web:localhost%3A${port}`
    const env = { ...place.settings.env, INVITE_API_KEY: KEY, TOKEN_SECRET: SECRET, SERVICE_DID: did, AUTH_MODE: 'verified' }
    service = await startService({ ...place.settings, env, port })
    await connected(service)
    ;({ alice, bob, community, channel } = await garden(place))
    await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
  })

  const ban = (token, member_did, init = {}) =>
    service.fetchJson('/api/community/ban', {
      method: 'POST',
      headers: bearer(token),
      body: JSON.stringify({ community_uri: community.uri, member_did }),
      ...init,
    })
  const bans = async () =>
    (await service.fetchJson(`/api/community/bans?community=${community.uri}`, { headers: bearer(KEY) })).body.map(
      ({ member_did }) => member_did,
    )

  test('X11: the service says who it is, and health what the mode means', async () => {
    const { status, body } = await service.fetchJson('/.well-known/did.json')
    assert.equal(status, 200)
    assert.equal(body.id, did)
    const serviceEndpoint = `http://localhost:${service.port}`
    assert.deepEqual(body.service, [
      { id: '#colibri_appview', type: 'ColibriAppView', serviceEndpoint },
      { id: '#colibri_notif', type: 'ColibriNotificationService', serviceEndpoint },
    ])
    const server = (await service.fetchJson('/api/server')).body
    assert.deepEqual([server.did, server.auth_mode], [did, 'verified'])
    const health = (await service.fetchJson('/api/health')).body
    assert.match(service.logs(), /^.*colibri-edge .*, AUTH_MODE verified, INVITE_API_KEY yes, /m, 'and so does the console')
    assert.deepEqual([health.auth_mode, health.auth_meaning], ['verified', server.auth_meaning])
    assert.match(health.auth_meaning, /nobody acts as somebody without a proof/)
  })

  test('B-18 X03 X04: the owner moderates with a token of her PDS, once; nobody else does', async () => {
    const token = await alice.serviceToken(did, MODERATE)
    assert.equal((await ban(token, bob.did)).status, 204)
    assert.deepEqual(await bans(), [bob.did])
    const again = await ban(token, bob.did)
    assert.deepEqual([again.status, again.body.error], [401, 'AuthRequired'])
    assert.match(again.body.message, /used before/)
    const own = await alice.serviceToken(did, 'social.colibri.community.unban')
    const unban = `/api/community/ban?community=${community.uri}&member_did=${bob.did}`
    assert.equal((await service.fetch(unban, { method: 'DELETE', headers: bearer(own) })).status, 204, 'X09: its own method')
    for (const [made, status, sentence, why] of [
      [await bob.serviceToken(did, MODERATE), 403, /may act/, 'the token of somebody else'],
      [await alice.serviceToken(did, SUBSCRIBE), 401, /lxm/, 'a token for sockets'],
      [await alice.serviceToken(did, 'social.colibri.community.unban'), 401, /lxm/, 'a token for another endpoint'],
      [await alice.serviceToken(did), 401, /lxm/, 'a token without a method'],
      [await alice.serviceToken('did:web:other.example.com', MODERATE), 401, /aud/, 'a token for another service'],
    ]) {
      const { status: got, body, headers } = await ban(made, bob.did)
      assert.equal(got, status, `${why}: ${JSON.stringify(body)}`)
      assert.match(body.message, sentence, why)
      assert.equal(headers.get('www-authenticate'), status === 401 ? 'Bearer' : null)
    }
    const long = await alice.call('com.atproto.server.getServiceAuth', {
      params: { aud: did, lxm: MODERATE, exp: Math.floor(Date.now() / 1000) + 900 },
    })
    assert.match((await ban(long.token, bob.did)).body.message, /300 seconds/)
    const forged = (await alice.serviceToken(did, MODERATE)).replace(/\.([^.]+)$/, (_, signature) => `.${signature.split('').reverse().join('')}`)
    assert.equal((await ban(forged, bob.did)).status, 401)
    assert.equal((await ban(await alice.serviceToken(did, MODERATE), bob.did, { body: 'no JSON' })).status, 400, 'H03: 401 comes first')
    assert.deepEqual(await bans(), [])
  })

  test('X02 X03: on a server without a key, the owner still moderates with a token, and nobody else does', async () => {
    await service.restart({ env: { INVITE_API_KEY: undefined } })
    await connected(service)
    try {
      assert.equal((await ban(await alice.serviceToken(did, MODERATE), bob.did)).status, 204)
      const unban = `/api/community/ban?community=${community.uri}&member_did=${bob.did}`
      const lift = async () => service.fetch(unban, { method: 'DELETE', headers: bearer(await alice.serviceToken(did, MODERATE)) })
      assert.equal((await lift()).status, 204)
      assert.equal((await ban(await bob.serviceToken(did, MODERATE), bob.did)).status, 403, 'a proof of somebody else')
      for (const [token, why] of [
        [KEY, 'a key that no longer is one'],
        ['a.b.c', 'no token'],
        [await alice.serviceToken(did, SUBSCRIBE), 'a token for something else'],
      ]) {
        const { status, body } = await ban(token, bob.did)
        assert.deepEqual([status, body.error], [500, 'NotConfigured'], why)
      }
      const vouching = { method: 'POST', headers: bearer(await alice.serviceToken(did, MODERATE)), body: JSON.stringify({ did: alice.did }) }
      assert.equal((await service.fetch('/api/authentication', vouching)).status, 500, 'X02: for the holder of a key alone')
    } finally {
      await service.restart({ env: { INVITE_API_KEY: KEY } })
      await connected(service)
    }
    assert.deepEqual(await bans(), [])
  })

  test('X06 X07: sockets act for the person of the token, by sub-protocol and by address', async () => {
    const token = await alice.serviceToken(did, SUBSCRIBE)
    const socket = await service.connect('/api/subscribe', { protocols: ['colibri.auth.bearer', token] })
    assert.equal(socket.ws.protocol, 'colibri.auth.bearer', 'and nothing else of what was offered')
    assert.deepEqual(await socket.request({ action: 'set_state', state: 'dnd' }), ACK)
    await refusedUpgrade(service.connect('/api/subscribe', { protocols: ['colibri.auth.bearer', token] }), 401, /used before/, 'again')
    const address = async (query = '', person = alice, lxm = SUBSCRIBE) =>
      `/api/subscribe?auth=${await person.serviceToken(did, lxm)}${query}`
    const other = await service.connect(await address(`&did=${alice.did}`))
    assert.deepEqual(await other.request({ action: 'set_state', state: 'away' }), ACK)
    await refusedUpgrade(service.connect(await address(`&did=${bob.did}`)), 403, /another did/, 'X07')
    await refusedUpgrade(service.connect(await address('', alice, MODERATE)), 401, /lxm/, 'a token for moderation')
    await refusedUpgrade(service.connect('/api/subscribe?auth=a.b.c'), 401, /base64url/, 'no token')
    await Promise.all([socket.close(), other.close()])
  })

  test('X08: signaling takes a proof', async () => {
    await refusedUpgrade(service.connect(`/api/webrtc/signal?did=${alice.did}`), 401, /proof/, 'a DID is none')
    const socket = await service.connect(`/api/webrtc/signal?auth=${await alice.serviceToken(did, SUBSCRIBE)}`)
    socket.send({ type: 'join', room: 'r', peer_id: bob.did })
    assert.equal((await eventually(() => socket.frames[0])).type, 'error', 'S12: not as somebody else')
    socket.send({ type: 'join', room: 'r', peer_id: alice.did })
    assert.deepEqual(await eventually(() => socket.frames[1]), { type: 'joined', room: 'r', peer_id: alice.did, peers: [] })
    await socket.close()
  })

  test('X12 R27: a ticket is good for one socket', async () => {
    const ask = async (token) => service.fetchJson('/api/ticket', { method: 'POST', headers: bearer(token) })
    const { status, body } = await ask(await bob.serviceToken(did, SUBSCRIBE))
    assert.equal(status, 200, JSON.stringify(body))
    assert(Date.parse(body.expires_at) - Date.now() <= 60_000)
    const socket = await service.connect(`/api/subscribe?auth=${body.ticket}`)
    assert.deepEqual(await socket.request({ action: 'set_state', state: 'online' }), ACK)
    await refusedUpgrade(service.connect(`/api/subscribe?auth=${body.ticket}`), 401, /used before/, 'X12')
    assert.equal((await ask(KEY)).status, 401, 'the key is nobody')
    assert.equal((await ask(await bob.serviceToken(did, MODERATE))).status, 401)
    assert.equal((await service.fetchJson('/api/ticket', { method: 'POST' })).status, 401)
    await socket.close()
  })

  test('R25 R26: socket tokens are revoked, by the key or by their person', async () => {
    const vouch = async () => {
      const body = JSON.stringify({ did: bob.did })
      return (await service.fetchJson('/api/authentication', { method: 'POST', headers: bearer(KEY), body })).body.token
    }
    const revoke = (proof, person = bob) =>
      service.fetchJson(`/api/authentication?did=${person.did}`, { method: 'DELETE', headers: bearer(proof) })
    const open = async (token) => (await service.connect(`/api/subscribe?auth=${token}`)).close()
    for (const proof of [KEY, await bob.serviceToken(did, 'social.colibri.sync.revokeTokens')]) {
      const [token, { body }] = await Promise.all([
        vouch(),
        service.fetchJson('/api/ticket', { method: 'POST', headers: bearer(await bob.serviceToken(did, SUBSCRIBE)) }),
      ])
      await open(token)
      assert.equal((await revoke(proof)).status, 204)
      for (const gone of [token, body.ticket]) await refusedUpgrade(service.connect(`/api/subscribe?auth=${gone}`), 401, /not valid/, 'R26')
      // A token from the same millisecond as the revocation counts as earlier.
      await eventually(async () => {
        await open(await vouch())
        return true
      })
    }
    assert.equal((await revoke(await alice.serviceToken(did, MODERATE))).status, 403, 'not somebody else')
    assert.equal((await revoke(bob.session.accessJwt)).status, 401, 'a session of the PDS is no proof')
  })

  test('X10: requests that the PDS forwards', async () => {
    const proxied = async (person, path, { method = 'GET', body } = {}) => {
      const response = await fetch(`${place.network.pds}/xrpc/${path}`, {
        method,
        headers: {
          ...bearer(person.session.accessJwt),
          'atproto-proxy': `${did}#colibri_appview`,
          ...(body && { 'content-type': 'application/json' }),
        },
        body: body && JSON.stringify(body),
      })
      const text = await response.text()
      return { status: response.status, body: text === '' ? undefined : JSON.parse(text) }
    }
    const post = (person, path, body) => proxied(person, path, { method: 'POST', body })
    const whom = { community_uri: community.uri, member_did: bob.did }
    const banned = await post(alice, 'social.colibri.community.ban', whom)
    assert.equal(banned.status, 204, JSON.stringify(banned))
    const listed = await proxied(alice, `social.colibri.community.listBans?community=${encodeURIComponent(community.uri)}`)
    assert.deepEqual([listed.status, listed.body.map(({ member_did }) => member_did)], [200, [bob.did]])
    const refused = await post(bob, 'social.colibri.community.ban', { ...whom, member_did: 'did:plc:x' })
    assert.deepEqual([refused.status, refused.body.error], [403, 'Forbidden'])
    const query = new URLSearchParams({ community: community.uri, member_did: bob.did })
    assert.equal((await post(alice, `social.colibri.community.unban?${query}`)).status, 204)
    const messages = await proxied(bob, `social.colibri.message.list?channel=${channel.rkey}`)
    assert.deepEqual([messages.status, messages.body], [200, []], 'reads')
    const { status, body } = await post(bob, 'social.colibri.sync.createTicket')
    assert.equal(status, 200)
    const socket = await service.connect(`/api/subscribe?auth=${body.ticket}`)
    assert.deepEqual(await socket.request({ action: 'set_state', state: 'online' }), ACK)
    await socket.close()
    const direct = (path, method = 'GET', token = KEY) => service.fetchJson(`/xrpc/${path}`, { method, headers: bearer(token) })
    assert.equal((await direct('social.colibri.nothing')).status, 404)
    assert.equal((await direct('')).status, 404)
    const described = await proxied(bob, 'social.colibri.server.describeServer')
    assert.deepEqual([described.status, described.body.software], [200, 'colibri-appview'], 'N150: a method of the lexicons')
    const posted = await direct('social.colibri.server.describeServer', 'POST')
    assert.deepEqual([posted.status, posted.body.error, posted.headers.get('allow')], [405, 'InvalidRequest', 'GET, HEAD, OPTIONS'], 'N157')
    const nameless = await direct('com.atproto.identity.resolveHandle')
    assert.deepEqual([nameless.status, nameless.body.error], [400, 'InvalidRequest'], 'N157')
    assert.equal((await direct(MODERATE, 'POST')).status, 404, 'a method of several endpoints is none of one')
    const wrong = await direct('social.colibri.community.ban')
    assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'POST, OPTIONS'])
    const shared = await direct('social.colibri.community.ban', 'POST', await alice.serviceToken(did, MODERATE))
    assert.equal(shared.status, 401, 'a forwarded call takes tokens for its own method only')
    assert.deepEqual(await bans(), [])
  })
})

describe('with keys of our own', () => {
  const DID = 'did:web:api.example.com'
  const COMMUNITY = 'at://did:plc:alice/social.colibri.community/c'
  let stage
  before(async () => {
    stage = await openStage({ env: { AUTH_MODE: 'mixed', INVITE_API_KEY: KEY, TOKEN_SECRET: SECRET, SERVICE_DID: DID } })
    await stage.say(
      ['alice', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
      ['alice', 'create', 'channel/v', { name: 'voice', type: 'voice', community: 'c' }],
      ['bob', 'create', 'membership/m', { community: COMMUNITY, createdAt: '2026-03-01T12:00:00Z' }],
    )
  })

  /** A person with a document in the directory. */
  function person(name, curve) {
    const did = `did:plc:${name}`
    const someone = { did, key: newKey(curve) }
    const publish = () => stage.host.routes.set(`/plc/${did}`, documentOf(did, someone.key.multikey, stage.host.url))
    publish()
    return Object.assign(someone, {
      token: (claims, options) => someone.key.token({ iss: did, aud: DID, lxm: SUBSCRIBE, ...claims }, options),
      rotate: () => {
        someone.key = newKey(curve)
        publish()
      },
      asked: () => stage.host.asked.filter(({ url }) => url === `/plc/${did}`).length,
    })
  }
  const open = (proof) => stage.service.connect(`/api/subscribe?auth=${proof}`)
  const refuse = (proof, sentence, why, status = 401) => refusedUpgrade(open(proof), status, sentence, why)

  test('X04: both curves, and what no PDS would sign', async () => {
    const [kay, pia] = [person('kay', 'k256'), person('pia', 'p256')]
    for (const { token } of [kay, pia]) await (await open(token())).close()
    await (await open(kay.token({ aud: `${DID}#colibri_appview` }))).close()
    const now = Math.floor(Date.now() / 1000)
    for (const [token, sentence, why] of [
      [kay.token({}, { high: true }), /signature/, 'the higher S'],
      [pia.token({}, { high: true }), /signature/, 'the higher S of the other curve'],
      [kay.token({}, { header: { alg: 'none' } }), /alg/, 'alg: none'],
      [kay.token({}, { header: { alg: 'ES256' } }), /signature/, 'the wrong curve'],
      [kay.token({}, { header: { crit: ['exp'] } }), /crit/, 'crit'],
      [kay.token({}, { header: { kid: `${pia.did}#atproto` } }), /kid/, 'N151: the key of somebody else'],
      [kay.token({ act: { sub: pia.did } }), /act/, 'N151: in the name of somebody else'],
      [kay.token({ iss: pia.did }), /signature/, 'the wrong key'],
      [kay.token({ iss: 'did:plc:nobody' }), /no signing key/, 'nobody'],
      [kay.token({ iss: `${kay.did}#atproto_labeler` }), /iss/, 'another key of the account'],
      [kay.token({ exp: now - 60 }), /exp/, 'expired'],
      [kay.token({ exp: now + 600 }), /300 seconds/, 'too far ahead'],
      [kay.token({ iat: now + 120 }), /future/, 'of the future'],
      [kay.token({ sub: 'x'.repeat(4_096) }), /4,096/, 'oversized'],
    ]) {
      await refuse(token, sentence, why)
    }
    const [one, two] = [kay.token({ jti: 'x' }), kay.token({ jti: 'x' })]
    const outcomes = await Promise.allSettled([open(one), open(two), open(one), open(two)])
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1, 'of many at once one')
  })

  test('X04: a key that changed, and forged tokens, ask the directory once', async () => {
    const rot = person('rot', 'k256')
    // A ban request does not make its caller known, so only the token causes a request to the directory.
    const ban = (token) =>
      stage.service.fetchJson('/api/community/ban', {
        method: 'POST',
        headers: bearer(token),
        body: JSON.stringify({ community_uri: COMMUNITY, member_did: 'did:plc:x' }),
      })
    const proves = async () => assert.equal((await ban(rot.token({ lxm: MODERATE }))).status, 403, 'proven, and not the owner')
    await proves()
    assert.equal(rot.asked(), 1)
    await proves()
    assert.equal(rot.asked(), 1, 'a key is remembered')
    rot.rotate()
    await proves()
    assert.equal(rot.asked(), 2, 'a signature that does not fit has it asked for anew')
    const forger = newKey('k256')
    for (let n = 0; n < 10; n += 1) {
      const { status, body } = await ban(forger.token({ iss: rot.did, aud: DID, lxm: MODERATE }))
      assert.equal(status, 401)
      assert.match(body.message, /signature/)
    }
    assert.equal(rot.asked(), 2, 'and then not again for a minute')
    await proves()
  })

  test('X04: while the directory fails, no valid token is called invalid', async () => {
    const did = 'did:plc:away'
    stage.host.routes.set(`/plc/${did}`, [500, { error: 'down' }, {}])
    const key = newKey('p256')
    await refuse(key.token({ iss: did, aud: DID, lxm: SUBSCRIBE }), /try again/, 'H13', 503)
  })

  test('B-03 X13: in mixed mode a claim is presence only, until its owner has shown a proof', async () => {
    const max = person('max', 'k256')
    const claim = () => stage.service.connect(`/api/subscribe?did=${max.did}`)
    const watcher = await stage.service.connect('/api/subscribe')
    await watcher.subscribe({ event_type: 'user_status', did: max.did })
    await watcher.subscribe({ event_type: 'community', community_uri: COMMUNITY })
    const claimed = await claim()
    await watcher.next({ type: 'user_status_changed', did: max.did, state: 'online' })
    assert.deepEqual(await claimed.request({ action: 'set_state', state: 'dnd' }), ACK, 'as the shipped client')
    await watcher.next({ type: 'user_status_changed', did: max.did, state: 'dnd' })
    const join = { action: 'voice_event', community_uri: COMMUNITY, voice_channel_rkey: 'v', voice_action: 'join' }
    assert.deepEqual(await claimed.request(join), error('Authentication required for voice_event'))

    const signal = await stage.service.connect(`/api/webrtc/signal?did=${max.did}`)
    signal.send({ type: 'join', room: 'r', peer_id: max.did })
    assert.equal((await eventually(() => signal.frames[0])).type, 'error', 'S12: not as somebody')
    signal.send({ type: 'join', room: 'r', peer_id: 'anybody' })
    assert.equal((await eventually(() => signal.frames[1])).type, 'joined', 'but as nobody')

    const proven = await open(max.token())
    assert.equal((await claimed.closed).code, 1008, 'who only claimed it is closed')
    assert.deepEqual(await proven.request({ action: 'set_state', state: 'away' }), ACK)
    const late = await claim()
    assert.deepEqual(await late.request({ action: 'set_state', state: 'dnd' }), error('Authentication required for set_state'))
    assert.deepEqual(await late.request(join), error('Authentication required for voice_event'))
    await watcher.next({ type: 'user_status_changed', did: max.did, state: 'away' })
    await stage.service.restart()
    await connected(stage.service)
    const after = await claim()
    assert.deepEqual(await after.request({ action: 'set_state', state: 'dnd' }), error('Authentication required for set_state'), 'stored')
    assert.deepEqual(watcher.all({ type: 'voice_channel_updated' }), [])
    await Promise.all([late.close(), after.close(), signal.close()])
  })

  test('C28: the secret before the present one counts until it is gone', async () => {
    const vouch = async () => {
      const body = JSON.stringify({ did: 'did:plc:bob' })
      return (await stage.service.fetchJson('/api/authentication', { method: 'POST', headers: bearer(KEY), body })).body.token
    }
    const before = await vouch()
    await stage.service.restart({ env: { TOKEN_SECRET: 'a secret that is new here', TOKEN_SECRET_PREVIOUS: SECRET } })
    const after = await vouch()
    for (const token of [before, after]) await (await open(token)).close()
    await stage.service.restart({ env: { TOKEN_SECRET_PREVIOUS: undefined } })
    await refuse(before, /not valid/, 'gone')
    await (await open(after)).close()
  })
})

for (const mode of ['open', 'mixed', 'verified']) {
  describe(`AUTH_MODE=${mode}`, () => {
    const DID = 'did:web:api.example.com'
    const COMMUNITY = 'at://did:plc:alice/social.colibri.community/c'
    let stage, owner
    before(async () => {
      const limits = { SIGNAL_MAX_PEERS: '4', WS_RATE: '1', WS_BURST: '10' }
      const env = { AUTH_MODE: mode, INVITE_API_KEY: KEY, TOKEN_SECRET: SECRET, SERVICE_DID: DID, ...limits }
      stage = await openStage({ env })
      await stage.say(
        ['alice', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
        ['alice', 'create', 'channel/k', { name: 'hall', type: 'text', community: 'c' }],
        ['alice', 'create', 'channel/v', { name: 'voice', type: 'voice', community: 'c' }],
        ['bob', 'create', 'membership/m', { community: COMMUNITY, createdAt: '2026-03-01T12:00:00Z' }],
        ['bob', 'create', 'message/m', { text: 'hello', channel: 'k', createdAt: '2026-03-01T12:00:00Z' }],
      )
      owner = account('alice')
    })

    /** A person with a document in the directory, and tokens for this service. */
    function account(name) {
      const did = `did:plc:${name}`
      const key = newKey('p256')
      stage.host.routes.set(`/plc/${did}`, documentOf(did, key.multikey, stage.host.url))
      return { did, token: (lxm, claims) => key.token({ iss: did, aud: DID, lxm, ...claims }) }
    }
    const guarded = (method, path, proof, body) =>
      stage.service.fetchJson(path, { method, headers: bearer(proof), body: body && JSON.stringify(body) })
    const status = async (...call) => (await guarded(...call)).status

    test('B-03: what a DID without a proof may do', async () => {
      const watcher = await stage.service.connect('/api/subscribe')
      await watcher.subscribe({ event_type: 'community', community_uri: COMMUNITY })
      await watcher.subscribe({ event_type: 'user_status', did: 'did:plc:bob' })
      const socket = await stage.service.connect('/api/subscribe?did=did:plc:bob')
      const join = { action: 'voice_event', community_uri: COMMUNITY, voice_channel_rkey: 'v', voice_action: 'join' }
      const may = { open: ['set_state', 'voice_event'], mixed: ['set_state'], verified: [] }[mode]
      for (const [action, frame] of [
        ['set_state', { action: 'set_state', state: 'dnd' }],
        ['voice_event', join],
      ]) {
        const expected = may.includes(action) ? ACK : error(`Authentication required for ${action}`)
        assert.deepEqual(await socket.request(frame), expected, action)
      }
      // A later event arrives, so the effects that must not happen were not published.
      await stage.say(['bob', 'create', 'actor.data/self', { status: 'Reading' }])
      const last = await watcher.next({ type: 'user_status_changed', did: 'did:plc:bob', status: 'Reading' })
      assert.equal(last.state, may.includes('set_state') ? 'dnd' : 'offline')
      if (may.includes('voice_event')) await watcher.next({ type: 'voice_channel_updated' })
      else assert.deepEqual(watcher.all({ type: 'voice_channel_updated' }), [])
      await Promise.all([watcher.close(), socket.close()])
    })

    test('B-18: the token of an owner moderates what is theirs', async () => {
      const eve = account('eve')
      const block = '/api/message/block?author_did=did:plc:bob&rkey=m'
      assert.equal(await status('POST', block, eve.token(MODERATE)), 403)
      const ban = { community_uri: COMMUNITY, member_did: 'did:plc:x' }
      assert.equal(await status('POST', '/api/community/ban', eve.token(MODERATE), ban), 403)
      assert.equal(await status('GET', `/api/invites?community=${COMMUNITY}`, eve.token(MODERATE)), 403)
      assert.equal(await status('POST', block, owner.token(MODERATE)), 204)
      assert.equal(await status('POST', '/api/community/ban', owner.token(MODERATE), ban), 204)
      assert.equal(await status('POST', '/api/community/ban', 'did:plc:alice', ban), 401, 'a name is no proof')
    })

    test('B-19 B-21: the issuer of a token leads nowhere but to the directory', async () => {
      const trap = await openHost()
      const key = newKey('k256')
      const { port } = new URL(trap.url)
      stage.host.news()
      for (const iss of [
        `did:web:127.0.0.1%3A${port}`,
        `did:web:localhost%3A${port}`,
        `did:web:[::1]%3A${port}`,
        'did:web:printer',
        `did:web:${trap.name}`,
        DID,
        `did:key:${key.multikey}`,
        'did:plc:x%26did%3Ddid:plc:other',
        'did:plc:x/../alice',
        'did:plc:x?y=z',
      ]) {
        const token = key.token({ iss, aud: DID, lxm: MODERATE })
        assert.equal(await status('GET', `/api/invites?community=${COMMUNITY}`, token), 401, iss)
      }
      assert.deepEqual(trap.asked, [])
      // The service also asks about people of the index.
      const asked = stage.host.news().filter((url) => /did:(?!plc:(alice|bob|eve|mallory)\b)/.test(url))
      assert.deepEqual(asked, ['/plc/did:plc:x%26did%3Ddid:plc:other'], 'asked about unchanged')
    })

    test('B-20: a blob is its bytes and nothing that runs, whatever its host says of it', async () => {
      const path = (bytes) => {
        const cid = cidOf(bytes)
        return { ours: `/api/blob?did=${owner.did}&cid=${cid}`, theirs: `/xrpc/com.atproto.sync.getBlob?did=${encodeURIComponent(owner.did)}&cid=${cid}` }
      }
      for (const type of ['text/html', 'image/svg+xml', 'application/xhtml+xml', 'text/javascript', undefined]) {
        const bytes = Buffer.from(`<script>alert(${JSON.stringify(type ?? mode)})</script>`)
        const { ours, theirs } = path(bytes)
        stage.host.routes.set(theirs, [200, bytes, type ? { 'content-type': type } : {}])
        for (const proof of [undefined, owner.token(MODERATE)]) {
          const answer = await stage.service.fetch(ours, { headers: proof ? bearer(proof) : {} })
          assert.equal(answer.status, 200, type)
          assert.deepEqual(Buffer.from(await answer.arrayBuffer()), bytes)
          const said = (name) => answer.headers.get(name)
          assert.deepEqual([said('x-content-type-options'), said('content-disposition')], ['nosniff', 'attachment'], type)
          assert.match(said('content-security-policy'), /sandbox/, type)
        }
      }
      const picture = Buffer.from(`a picture in ${mode}`)
      stage.host.routes.set(path(picture).theirs, [200, picture, { 'content-type': 'image/png' }])
      for (const [filename, expected] of [
        ['', null],
        ['a"b\r\nX: y/ä.png', `attachment; filename="a_b__X: y__.png"; filename*=UTF-8''a%22b%0D%0AX%3A%20y%2F%C3%A4.png`],
      ]) {
        const named = new URLSearchParams({ did: owner.did, cid: cidOf(picture), ...(filename && { filename }) })
        const answer = await stage.service.fetch(`/xrpc/com.atproto.sync.getBlob?${named}`)
        assert.deepEqual([answer.status, answer.headers.get('content-disposition'), answer.headers.get('x')], [200, expected, null], 'N160k')
      }
      const { ours, theirs } = path(Buffer.from('what the CID names'))
      stage.host.routes.set(theirs, [200, Buffer.from('something else'), { 'content-type': 'image/png' }])
      assert.equal((await stage.service.fetch(ours)).status, 502, 'R21.2')
    })

    test('B-22 B-23: an invite made with a token counts like any other', async () => {
      const invite = { community_uri: COMMUNITY, owner_did: owner.did }
      assert.equal(await status('POST', '/api/invite', owner.token(MODERATE), { ...invite, max_uses: 0 }), 422)
      const { body } = await guarded('POST', '/api/invite', owner.token(MODERATE), { ...invite, max_uses: 1 })
      const used = await Promise.all(Array.from({ length: 20 }, () => status('POST', `/api/invite/${body.code}/use`, KEY)))
      assert.equal(used.filter((one) => one === 204).length, 1)
      assert.equal(used.filter((one) => one === 410).length, 19)
      assert.equal(await status('POST', `/api/invite/${body.code}/use`, owner.token(MODERATE)), 401, 'R19 takes the key only')
      const revoke = `/api/invite/${body.code}?owner_did=${owner.did}`
      assert.equal(await status('DELETE', revoke, account('mallory').token(MODERATE)), 403)
      assert.equal(await status('DELETE', revoke, owner.token(MODERATE)), 204)
    })

    test('B-66: a proof lifts no limit', async () => {
      const { body } = await guarded('POST', '/api/authentication', KEY, { did: owner.did })
      const [loud, calm] = await Promise.all([1, 2].map(() => stage.service.connect(`/api/subscribe?auth=${body.token}`)))
      const replies = await Promise.all(Array.from({ length: 40 }, () => loud.request({ action: 'activity' })))
      assert(replies.some(({ message }) => message === 'Rate limit exceeded'), 'A18')
      assert.deepEqual(await calm.request({ action: 'activity' }), ACK)
      const peers = []
      for (let n = 0; n < 5; n += 1) {
        const peer = await stage.service.connect(`/api/webrtc/signal?room=full&auth=${body.token}`)
        peer.send({ type: 'join', room: 'full', peer_id: `${owner.did}#${n}` })
        peers.push(await eventually(() => peer.frames[0]))
      }
      assert.deepEqual(peers.map(({ type }) => type), ['joined', 'joined', 'joined', 'joined', 'error'])
      assert.equal(peers[4].message, 'Room is full')
    })
  })
}

test('C06: a deployment is asked who is believed, once', () => {
  const script = fileURLToPath(new URL('../../scripts/deploy.js', import.meta.url))
  const { status, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8', input: '' })
  assert.equal(status, 1, 'nobody can be asked here')
  for (const mode of Object.keys(MODES)) assert.match(stderr, new RegExp(`^  ${mode} `, 'm'))
  assert.match(stderr, /wrangler\.toml.*AUTH_MODE = "mixed"/)
  assert.deepEqual(modeIn({}), { mode: 'open', isChosen: false }, 'as the Worker has it')
  assert.deepEqual(modeIn({ AUTH_MODE: 'Open' }), { mode: 'verified', isChosen: true })
  for (const [config, mode] of [
    ['name = "x"\n', undefined],
    ['# [vars]\n# AUTH_MODE = "open"\n', undefined],
    ['AUTH_MODE = "open"\n[vars]\n', undefined],
    ['[vars]\nX = "1"\n[triggers]\nAUTH_MODE = "open"\n', undefined],
    ['[vars]\nX = "1"\nAUTH_MODE = "verified" # why\n[triggers]\n', 'verified'],
  ]) {
    assert.equal(modeOf(config), mode, config)
    if (!mode) assert.equal(modeOf(withMode(config, 'mixed')), 'mixed', config)
  }
})
