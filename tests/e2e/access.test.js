// Access (X24): every route and every socket, as each kind of caller, in each mode, against docs/access.json. A route
// without a row there fails. It also checks the log of a run: it contains no secret, no proof, and no text of a record
// (X24).

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, test } from 'node:test'

import { eventually, UpgradeRefused } from './harness.js'
import { answers, connected, openPlace } from './place.js'

const KEY = 'the key of the access tests'
const SECRET = 'what signs the tokens of the access tests'
const TEXT = 'words that stand in no log'
const REASON = 'a reason that is in no log'
const TABLE = JSON.parse(readFileSync(new URL('../../docs/access.json', import.meta.url), 'utf8'))

let place, service
/** The values for braces. */
const made = { target: 'did:plc:target', file: 'home.js' }
/** The proof of each caller; `nobody` has none. */
const proofs = { nobody: undefined, bad: 'nonsense', key: KEY }

const ask = (proof, method, path, body) =>
  service.fetchJson(path, {
    method,
    headers: proof === undefined ? {} : { authorization: `Bearer ${proof}` },
    body: body === undefined ? undefined : JSON.stringify(body),
  })

before(async () => {
  place = await openPlace({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: SECRET } })
  service = place.service
  const [owner, member, shy, pending, banned, other] = await Promise.all(
    ['owner', 'member', 'shy', 'pending', 'banned', 'other'].map((name) => place.network.createAccount(`the-${name}`)),
  )
  const community = await owner.community({ name: 'Closed', requiresApprovalToJoin: true })
  const channel = await owner.channel({ name: 'hall', type: 'text', community: community.rkey })
  const voice = await owner.channel({ name: 'stage', type: 'voice', community: community.rkey })
  await other.community({ name: 'Elsewhere', requiresApprovalToJoin: false })
  for (const one of [member, shy]) await owner.approval((await one.membership(community.uri)).uri, community.uri)
  await pending.membership(community.uri)
  await banned.membership(community.uri)
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 5)
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) =>
    [member, shy].every(({ did }) => members.some(({ member_did, status }) => member_did === did && status === 'approved')),
  )
  const message = await member.message(channel.rkey, TEXT)
  await answers(service, `/api/message?author=${member.did}&rkey=${message.rkey}`)
  const moderator = 'did:plc:moderator'
  const moderators = { community_uri: community.uri, moderators: [moderator] }
  assert.equal((await ask(KEY, 'PUT', '/api/community/moderators', moderators)).status, 204)
  const ban = { community_uri: community.uri, member_did: banned.did, reason: REASON }
  assert.equal((await ask(KEY, 'POST', '/api/community/ban', ban)).status, 204)
  const { body } = await ask(KEY, 'POST', '/api/invite', { community_uri: community.uri, owner_did: owner.did })
  Object.assign(made, { community: community.uri, channel: channel.uri, message: message.rkey, code: body.code })
  Object.assign(made, { community_rkey: community.rkey, channel_rkey: channel.rkey })
  Object.assign(made, { moderator, owner: owner.did, member: member.did, shy: shy.did, voice })
  const dids = { stranger: 'did:plc:stranger', member, pending, banned, moderator, owner, other_owner: other }
  for (const [caller, who] of Object.entries(dids)) {
    const vouched = await ask(KEY, 'POST', '/api/authentication', { did: who.did ?? who, ttl: 86_400 })
    proofs[caller] = vouched.body.token
  }
})

const filled = (text) => text.replace(/\{(\w+)\}/g, (_, name) => made[name])
const outcome = (status) => (status === 401 || status === 403 ? status : 'in')
/** The kind of a route: one for all modes, or one for each. */
const kindIn = (kind, mode) => (typeof kind === 'string' ? kind : kind[mode])
/** The table of a kind, by caller. */
const byCaller = (outcomes) => Object.fromEntries(TABLE.callers.map((caller, n) => [caller, outcomes[n]]))

test('X24: every row of docs/access.json is of a kind that is listed there', () => {
  for (const [route, [kind]] of Object.entries(TABLE.routes)) {
    for (const mode of TABLE.modes) assert(TABLE.kinds[kindIn(kind, mode)], `${route}: ${kindIn(kind, mode)}`)
  }
})

test('X24: every route, as every caller, in every mode, is as docs/access.json says', async () => {
  const { body: reference } = await service.fetchJson('/openapi.json')
  const routes = Object.entries(reference.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  )
  const without = routes.filter((route) => !TABLE.routes[route])
  assert.deepEqual(without, [], 'routes without a row in docs/access.json')
  assert.deepEqual(Object.keys(TABLE.routes).filter((route) => !routes.includes(route)), [], 'rows without a route')
  for (const mode of TABLE.modes) {
    await service.restart({ env: { AUTH_MODE: mode } })
    await connected(service)
    for (const [route, [kind, query, body]] of Object.entries(TABLE.routes)) {
      const [method, path] = route.split(' ')
      const got = {}
      for (const caller of TABLE.callers) {
        const proof = proofs[caller]
        const response = await service.fetch(filled(path + query), {
          method,
          headers: proof === undefined ? {} : { authorization: `Bearer ${proof}` },
          body: body && filled(JSON.stringify(body)),
        })
        const text = await response.text()
        assert(response.status !== 500 && response.status !== 503, `${mode}: ${route} as ${caller}: ${response.status} ${text}`)
        got[caller] = outcome(response.status)
        for (const name of ['x-content-type-options', 'content-security-policy', 'referrer-policy', 'x-frame-options']) {
          assert(response.headers.get(name), `H16: ${route} as ${caller} has no ${name}`)
        }
      }
      assert.deepEqual(got, byCaller(TABLE.kinds[kindIn(kind, mode)]), `${mode}: ${route}`)
    }
  }
})

test('X24: every socket, as every caller', async () => {
  for (const mode of TABLE.modes) {
    await service.restart({ env: { AUTH_MODE: mode } })
    await connected(service)
    for (const [path, modes] of Object.entries(TABLE.sockets)) {
      const got = {}
      for (const caller of TABLE.callers) {
        const proof = proofs[caller]
        try {
          const socket = await service.connect(path + (proof === undefined ? '' : `?auth=${encodeURIComponent(proof)}`))
          got[caller] = 'in'
          await socket.close()
        } catch (error) {
          if (!(error instanceof UpgradeRefused)) throw error
          got[caller] = error.status
        }
      }
      assert.deepEqual(got, byCaller(modes[mode]), `${mode}: ${path}`)
    }
  }
})

/** What a socket shows. `shy` never showed a proof, and here never does. */
const shown = () => ({
  nothing: '',
  claim: `did=${made.shy}`,
  claim_of_proven: `did=${made.member}`,
  proof: `auth=${encodeURIComponent(proofs.member)}`,
})
const person = (shows) => (shows === 'claim' ? made.shy : made.member)

/** Every action of the events socket (4.2). */
const ACTIONS = {
  subscribe: { action: 'subscribe', event_type: 'message', channel: 'k' },
  unsubscribe: { action: 'unsubscribe', event_type: 'message', channel: 'k' },
  heartbeat: { action: 'heartbeat' },
  activity: { action: 'activity' },
  set_state: { action: 'set_state', state: 'away' },
  session: { action: 'session' },
  voice_join: () => ({ action: 'voice_event', community_uri: made.community, voice_channel_rkey: made.voice.rkey, voice_action: 'join' }),
  voice_leave: { action: 'voice_event', voice_action: 'leave' },
  presence: () => ({ action: 'presence', community_uri: made.community }),
  typing: () => ({ action: 'typing', channel: made.channel }),
  view: () => ({ action: 'view', channel: made.channel }),
  anything_else: { action: 'dance' },
}
const JOINS = {
  join_as_anybody: (_, n) => ({ room: 'free', peer_id: `peer ${n}` }),
  join_as_the_person: (shows, n) => ({ room: 'free', peer_id: `${person(shows)}#${n}` }),
  join_the_voice_channel: (shows, n) => ({ room: made.voice.uri, peer_id: `${person(shows)}#${n}` }),
}

/** What an answer is called in the table. */
function named({ type, message }) {
  if (type !== 'error') return type
  const names = { 'DID required for ': 'did', 'Authentication required for ': 'proof', 'Unknown action: ': 'unknown', 'Invalid signal: peer_id ': 'name', 'Not allowed in this ': 'right' }
  return Object.entries(names).find(([begin]) => message.startsWith(begin))?.[1] ?? message
}

test('X05 X13 X24: every frame, by what its socket shows, in every mode, is as docs/access.json says', async () => {
  const { shows: kinds, '/api/subscribe': events, '/api/webrtc/signal': signals } = TABLE.frames
  assert.deepEqual([Object.keys(events), Object.keys(signals)], [Object.keys(ACTIONS), Object.keys(JOINS)], 'every action has a row')
  // Whatever ran before: the member has shown a proof here.
  await (await service.connect(`/api/subscribe?${shown().proof}`)).close()
  for (const mode of TABLE.modes) {
    await service.restart({ env: { AUTH_MODE: mode } })
    await connected(service)
    for (const [at, shows] of kinds.entries()) {
      const socket = await service.connect(`/api/subscribe?${shown()[shows]}`)
      for (const [action, frame] of Object.entries(ACTIONS)) {
        const reply = named(await socket.request(typeof frame === 'function' ? frame() : frame))
        assert.equal(reply, events[action][mode][at], `${mode}: ${action} showing ${shows}`)
      }
      await socket.close()
      for (const [n, [action, frame]] of Object.entries(JOINS).entries()) {
        const expected = signals[action][mode][at]
        try {
          const peer = await service.connect(`/api/webrtc/signal?${shown()[shows]}`)
          peer.send({ type: 'join', ...frame(shows, `${at} ${n}`) })
          assert.equal(named(await eventually(() => peer.frames[0])), expected, `${mode}: ${action} showing ${shows}`)
          await peer.close()
        } catch (error) {
          if (!(error instanceof UpgradeRefused)) throw error
          assert.equal(error.status, expected, `${mode}: ${action} showing ${shows}`)
        }
      }
    }
  }
})

test('X24: the log of all that holds no secret, no proof, no text and no reason', () => {
  const log = service.logs()
  assert(log.length > 0, 'the service has logged something')
  const secrets = { key: KEY, secret: SECRET, text: TEXT, reason: REASON }
  for (const [caller, proof] of Object.entries(proofs)) if (proof && caller !== 'bad') secrets[`proof of ${caller}`] = proof
  for (const [what, text] of Object.entries(secrets)) assert(!log.includes(text), `the log holds the ${what}`)
})
