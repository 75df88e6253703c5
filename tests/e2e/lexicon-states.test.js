// Every method of the lexicons that the service answers, and every frame of its events socket (contract sections 13 and 14),
// against the lexicons, in the states that communities and people get into: empty, banned, pending, deleted, inactive,
// moved, closed to others, hostile, large.
//
// The methods are those of the service's own table, and the frames those of its own document: one without a case fails.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'

import Ajv2020 from 'ajv/dist/2020.js'
import { request } from 'undici'

import { cidOf } from '../network/cid.js'
import { lexiconsFolder, openLexicons } from '../network/lexicons.js'
import { eventually } from './harness.js'
import { openStage } from './stage.js'
import { bearer, documentOf, newKey } from './tokens.js'

const KEY = 'the key of the tests'
const SERVICE = 'did:web:api.example.com'
const NSID = 'social.colibri.'
const EVENTS = `${NSID}sync.subscribeEvents`
const TIME = '2026-03-01T12:00:00.000Z'
const AT_ONCE = 6
const folder = lexiconsFolder()
const skip = folder ? false : 'there are no lexicons beside this checkout, and none in LEXICONS_DIR'
if (!folder) assert(process.env.CI !== 'true', skip)

const PEOPLE = ['olga', 'moe', 'bob', 'carol', 'dave', 'eve', 'gone', 'alice', 'stranger']
const COMMUNITIES = ['nest', 'void', 'ruin', 'cold', 'big']
const PICTURE = Buffer.from('not really a picture')
const BLOB = { $type: 'blob', ref: { $link: cidOf(PICTURE) }, mimeType: 'image/png', size: PICTURE.length }
const at = (who, collection, rkey) => `at://did:plc:${who}/${NSID}${collection}/${rkey}`
const HOME = at('nest', 'community', 'self')
const HALL = at('nest', 'channel', 'k')
const FIRST = at('bob', 'message', '3mbob1')

/** The rows of the table of methods. */
const METHODS = [...readFileSync(new URL('../../src/api/xrpc.rs', import.meta.url), 'utf8').matchAll(/(GET|POST)\s+"([^"]+)"\s+(\w+)\s+([\w:]+)/g)].map(
  ([, verb, name, rule, handler]) => ({ verb, name, rule, handler }),
)
/** What it makes is asked for by others. */
const FIRST_OF_ALL = `${NSID}community.createInvitation`
/** These change what others show, so they come last, in this order. */
const LAST = ['notification.updateSeenForMessage', 'notification.updateSeen', 'community.deleteInvitation', 'actor.deleteAccount'].map((name) => NSID + name)

/** The values of parameters, by name; the first is a usual one. */
const VALUES = {
  community: [
    ...COMMUNITIES.map((name) => at(name, 'community', 'self')),
    ...['c', 'e', 's', 'm', 'never'].map((rkey) => at('alice', 'community', rkey)),
    at('nobody', 'community', 'self'),
    HALL,
  ],
  channel: [HALL, ...['v', 'n', 'd', 'never'].map((rkey) => at('nest', 'channel', rkey)), at('big', 'channel', 'k000'), at('ruin', 'channel', 'k'), at('cold', 'channel', 'k'), at('alice', 'channel', 'o'), at('alice', 'channel', 's')],
  message: [FIRST, at('bob', 'message', '3mbob2'), at('dave', 'message', '3mdave1'), at('gone', 'message', '3mgone1'), at('bob', 'message', 'never'), at('big', 'message', '3mbig000'), HOME],
  category: [at('nest', 'category', 'g'), at('nest', 'category', 'never'), HALL],
  role: [at('nest', 'role', 'mod'), at('nest', 'role', 'never'), HALL],
  membership: [at('carol', 'membership', 'n'), at('carol', 'membership', 'm'), at('bob', 'membership', 'never'), at('bob', 'membership', 'o')],
  identifier: [...PEOPLE, ...COMMUNITIES, 'nobody'].map((name) => `did:plc:${name}`).concat('bob.test'),
  did: ['did:plc:carol', 'did:plc:bob', 'did:plc:nest', 'did:plc:nobody'],
  state: ['online', 'away', 'dnd', 'offline', 'sleepy'],
  limit: ['1', '100', '0', '-1', '101', '9999999999999999999999'],
  cursor: ['3mbob1', '3aaaaaaaaaaaa', '1', '-1'],
  all: ['true', 'false', 'maybe'],
  seenAt: [TIME, '9999-12-31T23:59:59Z', 'yesterday'],
  handle: ['bob.test'],
  cid: [BLOB.ref.$link, 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'],
  filename: ['a"b.png', '../../x'],
  /** The codes of invitations, as they are made. */
  code: [],
}
VALUES.uri = VALUES.community
/** What methods of AT Protocol take; Colibri's own lexicons say it themselves. */
const OF_ATPROTO = {
  'com.atproto.identity.resolveDid': ['did'],
  'com.atproto.identity.resolveHandle': ['handle'],
  'com.atproto.sync.getBlob': ['did', 'cid', 'filename'],
}

/** @param {any} stage @param {(who: string) => any} follow */
async function story(stage, follow) {
  const say = (...writes) => stage.say(...writes)
  const wish = (who, rkey = 'm', to = HOME) => [who, 'create', `membership/${rkey}`, { community: to, createdAt: TIME }]
  const admitted = (who, ...roles) => ['nest', 'create', `member/${who}`, { subject: `did:plc:${who}`, roles, joinedAt: TIME }]
  const text = (who, rkey, more, to = HALL) => [who, 'create', `message/${rkey}`, { text: `of ${who}`, channel: to, createdAt: TIME, ...more }]
  const room = (who, rkey, more) => [who, 'create', `channel/${rkey}`, { name: rkey, type: `${NSID}channel.text`, community: 'self', category: 'g', ...more }]
  const house = (who, more) => [who, 'create', 'community/self', { name: who, description: '', categoryOrder: [], requiresApprovalToJoin: true, ...more }]
  const decision = (rkey, action, subject, more) => ['nest', 'create', `moderation/${rkey}`, { action, subject, createdBy: 'did:plc:moe', createdAt: TIME, ...more }]
  const facet = (...features) => ({ index: { byteStart: 0, byteEnd: 1 }, features })
  const feature = (name, more) => ({ $type: `${NSID}richtext.facet#${name}`, ...more })

  await say(
    house('nest', { picture: BLOB, banner: { ...BLOB, x: 1 }, linkEmbeds: true, categoryOrder: ['g', 'none'] }),
    ['nest', 'create', 'category/g', { name: 'General', community: 'self', channelOrder: ['v', 'nothing'] }],
    ['nest', 'create', 'role/owner', { name: 'Owner', permissions: [], position: 100, protected: true }],
    ['nest', 'create', 'role/mod', { name: '<script>', permissions: ['message.hide', 'member.ban', 'approval.manage', 'invitation.create', 'nonsense'], position: 50, color: '#fff', channelOverrides: [{ channel: 'n', deny: ['message.hide'] }, { channel: 'gone' }] }],
    room('nest', 'k', { name: 'hall' }), room('nest', 'v', { type: 'voice' }), room('nest', 'd'),
    ...['olga', 'moe', 'bob', 'dave', 'eve', 'gone'].map((who) => wish(who)),
    admitted('olga', 'owner'), admitted('moe', 'mod', 'nothing'), ...['bob', 'dave', 'eve', 'gone'].map((who) => admitted(who)),
    ['alice', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ['alice', 'create', 'channel/o', { name: 'old', type: 'text', community: 'c' }],
    wish('bob', 'o', at('alice', 'community', 'c')),
  )
  for (const who of ['nest', 'olga', 'moe', 'bob', 'alice']) await follow(who)

  // Hostile and odd.
  await say(
    wish('carol'), wish('finn'), admitted('finn', 'mod'),
    ['bob', 'create', 'actor.profile/self', { displayName: 'Bob\u202e', avatar: BLOB, banner: { ref: { $link: 'nonsense' }, mimeType: 'a/b' }, theme: { accentColor: 7, gradient: { primary: '#000', secondary: {} } }, preferredBadge: 'b' }],
    ['bob', 'create', 'actor.data/self', { status: '"}{', emoji: '🌿', communities: ['did:plc:nest', 'c', 'two words'] }],
    ['olga', 'create', 'actor.profile/self', { syncBluesky: true }],
    ['gone', 'create', 'app.bsky.actor.profile/self', { displayName: 'Gone', avatar: BLOB }],
    text('bob', '3mbob1', { facets: [facet(feature('link', { uri: 'no link' }), feature('bold'), feature('channel', { channel: 'k' }), feature('heading', { level: 9 }), { $type: 'a.b.c#d', e: { $link: 'junk' } }, { $type: 'blob' })], attachments: [{ blob: BLOB, name: 'a.png' }, { blob: { ref: { $link: 'nonsense' }, mimeType: 'a/b' } }], suppressedEmbeds: ['https://a.test/', 'no link'] }),
    text('olga', '3molga1', { parent: '3mdave1', createdAt: 'yesterday', facets: [facet(feature('mention', { did: 'did:plc:bob' }))] }),
    text('dave', '3mdave1', { facets: [facet(feature('mention', { did: 'did:plc:bob' }), feature('time', { datetime: 'then' }))] }),
    text('gone', '3mgone1', { parent: FIRST }), text('bob', '3mbob2', { text: '\u0000 {"$link":"junk"}' }),
    text('bob', '3mbob3', {}, at('nest', 'channel', 'd')), text('bob', '3mbob4', {}, 'o'),
    ...['bob', 'dave', 'gone'].map((who) => [who, 'create', 'reaction/r', { parent: at('olga', 'message', '3molga1'), emoji: '🌿' }]),
    ['olga', 'create', 'reaction/s', { parent: FIRST, emoji: '👍' }], ['olga', 'delete', 'reaction/s'],
    ['bob', 'create', 'channel.read/k', { channel: HALL, cursor: FIRST }], ['olga', 'create', 'channel.read/k', { channel: HALL, cursor: TIME }],
    ['bob', 'create', 'actor.mute/m', { subject: HALL }], ['bob', 'create', 'actor.mute/n', { subject: HOME }], ['bob', 'delete', 'actor.mute/n'], ['bob', 'delete', 'actor.mute/m'],
    room('nest', 'n', { name: '💥'.repeat(16), type: '💥 and blanks', category: 'nowhere', allowedRoles: ['mod'], allowedMembers: ['did:plc:bob'], linkEmbeds: false }),
    ['nest', 'create', 'category/x', { name: 'X', community: 'self' }], ['nest', 'delete', 'category/x'],
    ['nest', 'create', 'role/x', { name: 'X', permissions: ['mention.roles'], position: -7, hoisted: true }],
    ['nest', 'update', 'member/bob', { subject: 'did:plc:bob', roles: ['x'], joinedAt: TIME, nickname: 'Bobby' }], ['nest', 'delete', 'role/x'],
    house('nest', { picture: BLOB, description: 'changed' }).with(1, 'update'),
  )
  // Banned, hidden, deleted, inactive.
  await say(
    decision('1', 'ban', { did: 'did:plc:dave' }), decision('2', 'hideMessage', { uri: at('bob', 'message', '3mbob2') }),
    decision('3', 'suppressEmbeds', { uri: FIRST }, { embeds: ['https://b.test/', 'no link'] }),
    ['nest', 'delete', 'channel/d'], ['carol', 'delete', 'membership/m'], wish('carol', 'n'),
    house('ruin'), room('ruin', 'k'), ['ruin', 'create', 'member/bob', { subject: 'did:plc:bob', roles: [], joinedAt: TIME }],
    text('bob', '3mruin1', {}, at('ruin', 'channel', 'k')), ['ruin', 'delete', 'community/self'],
    house('cold'), room('cold', 'k'), ['cold', 'create', 'member/bob', { subject: 'did:plc:bob', roles: [], joinedAt: TIME }],
    text('bob', '3mcold1', {}, at('cold', 'channel', 'k')),
    house('void'),
    ['alice', 'create', 'community/e', { name: 'Empty' }],
    ['alice', 'create', 'community/m', { name: 'Moved', migratedTo: HOME, requiresApprovalToJoin: false }],
    ['alice', 'create', 'community/s', { name: 'Closed', requiresApprovalToJoin: false }], ['alice', 'create', 'channel/s', { name: 'closed', type: 'text', community: 's' }],
    text('alice', '3malice1', {}, at('alice', 'channel', 's')),
  )
  await stage.account('gone', false, 'deactivated')
  await stage.account('cold', false, 'deactivated')
  const operator = (method, path, body) => stage.service.fetchJson(path, { method, headers: bearer(KEY), body: JSON.stringify(body) })
  assert.equal((await operator('POST', '/api/community/ban', { community_uri: HOME, member_did: 'did:plc:eve' })).status, 204)
  assert.equal((await operator('PUT', '/api/community/members-only', { community_uri: at('alice', 'community', 's'), members_only: true })).status, 200)
  // Large.
  const many = (count, make) => Array.from({ length: count }, (_, n) => make(String(n).padStart(3, '0')))
  await say(
    house('big'),
    ...many(60, (n) => ['big', 'create', `role/r${n}`, { name: 'r'.repeat(32), permissions: ['message.hide'], position: Number(n), channelOverrides: many(20, (k) => ({ channel: `k${k}`, allow: ['message.hide'], deny: ['member.kick'] })) }]),
    ...many(40, (n) => ['big', 'create', `category/c${n}`, { name: 'c'.repeat(32), community: 'self', channelOrder: many(120, (k) => `k${k}`) }]),
    ...many(120, (n) => room('big', `k${n}`, { category: `c${String(Number(n) % 40).padStart(3, '0')}`, description: 'd'.repeat(256) })),
    ...many(300, (n) => ['big', 'create', `member/m${n}`, { subject: n === '000' ? 'did:plc:bob' : `did:plc:big${n}`, roles: ['r000', 'r001'], joinedAt: TIME }]),
    ...many(110, (n) => text('big', `3mbig${n}`, { text: '🌿'.repeat(2048), facets: Array(100).fill(facet(feature('bold'))) }, at('big', 'channel', 'k000'))),
    ...many(80, (n) => [`big${n}`, 'create', 'reaction/r', { parent: at('big', 'message', '3mbig109'), emoji: '🌿' }]),
  )
}

describe('states', { skip }, () => {
  let stage, service, lexicons
  const keys = new Map()
  const sockets = []
  const token = (who, name) => keys.get(who).token({ iss: `did:plc:${who}`, aud: SERVICE, lxm: name })

  async function follow(who, query = '') {
    // The client asks its PDS for a token with this audience (N150).
    const proof = keys.get(who).token({ iss: `did:plc:${who}`, aud: `${SERVICE}#colibri_appview`, lxm: EVENTS })
    const socket = await service.connect(`/xrpc/${EVENTS}${query}`, { protocols: ['colibri.auth.bearer', proof] })
    sockets.push(Object.assign(socket, { who }))
    return socket
  }
  const socketOf = (who) => sockets.find((socket) => socket.who === who)

  before(async () => {
    lexicons = openLexicons(folder)
    stage = await openStage({ env: { INVITE_API_KEY: KEY, SERVICE_DID: SERVICE, RATE_LIMIT_PER_MIN: '0' } })
    service = stage.service
    const { routes, url } = stage.host
    for (const name of [...PEOPLE, ...COMMUNITIES]) {
      const key = newKey()
      keys.set(name, key)
      routes.set(`/plc/did:plc:${name}`, { ...documentOf(`did:plc:${name}`, key.multikey, url), alsoKnownAs: [`at://${name}.test`] })
    }
    const said = { Status: 0, Answer: [{ name: 'x', type: 16, TTL: 60, data: '"did=did:plc:bob"' }] }
    routes.set('/dns?name=_atproto.bob.test&type=TXT', said)
    routes.set('/xrpc/com.atproto.sync.getBlob', (asked, answer) => {
      const found = asked.url.includes(BLOB.ref.$link)
      answer.writeHead(found ? 200 : 404, { 'content-type': found ? 'image/png' : 'application/json' }).end(found ? PICTURE : '{}')
    })
    await story(stage, follow)
  })

  /** An answer. After a 421 `fetch` would ask again by itself, with a token that is used by then. */
  async function ask(who, { verb, name }, query) {
    const url = `${service.url}/xrpc/${name}?${new URLSearchParams(query)}`
    const { statusCode: status, headers, body } = await request(url, { method: verb, headers: who ? bearer(token(who, name)) : {} })
    const text = await body.text()
    const isJson = String(headers['content-type']).startsWith('application/json')
    return { status, body: isJson ? JSON.parse(text) : { bytes: text } }
  }

  /**
   * The queries of a method: a usual one, nothing, and each value of each parameter in a usual one; of what every person is
   * refused alike only a few, for a person has 1,000 proofs in a minute.
   */
  function queriesOf({ name, handler }) {
    const most = handler.startsWith('writes::') ? 3 : Infinity
    const schema = OF_ATPROTO[name] ? undefined : (JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')).defs.main.parameters ?? {})
    const names = OF_ATPROTO[name] ?? Object.keys(schema.properties ?? {})
    const required = OF_ATPROTO[name]?.slice(0, 2) ?? schema.required ?? []
    const usual = Object.fromEntries(required.map((key) => [key, VALUES[key]?.[0] ?? 'x']))
    if (name === 'com.atproto.sync.getBlob') usual.did = 'did:plc:nest'
    const odd = names.flatMap((key) => [...(VALUES[key] ?? []).slice(0, most), 'nonsense', 'at://', '', 'x'.repeat(3_000)].map((value) => ({ ...usual, [key]: value })))
    return [usual, {}, ...odd]
  }

  /** Who asks: everybody what shows something, and a few what every person is refused alike. */
  const callersOf = ({ name, handler }) => {
    if (name === `${NSID}actor.deleteAccount`) return [undefined, 'nest', 'carol']
    return handler.startsWith('writes::') ? [undefined, 'olga', 'bob', 'alice'] : [undefined, 'nest', ...PEOPLE]
  }

  test('N160, N157: every method of the table, in every state', async (t) => {
    assert(METHODS.length > 60, `${METHODS.length} methods in the table`)
    const apart = [FIRST_OF_ALL, ...LAST, EVENTS]
    const rest = METHODS.map(({ name }) => name).filter((name) => !apart.includes(name))
    const ordered = [FIRST_OF_ALL, ...rest, ...LAST].map((name) => METHODS.find((method) => method.name === name))
    assert(ordered.every((method) => method) && ordered.length === METHODS.length - 1, 'the socket has its own test')
    const figures = { answers: 0, validated: 0 }
    for (const method of ordered) {
      const asked = callersOf(method).flatMap((who) => queriesOf(method).map((query) => ({ who, query })))
      const found = new Map()
      while (asked.length > 0) {
        await Promise.all(
          asked.splice(0, AT_ONCE).map(async ({ who, query }) => {
            const answer = await ask(who, method, query)
            const why = `${method.name} ${JSON.stringify(query).slice(0, 200)} as ${who}`
            lexicons.conforms(method.name, answer, why)
            // N158: what nobody has read yet, and what may be there again.
            const unknown = ['nobody', 'cold', 'ruin'].some((who) => JSON.stringify(query).includes(`did:plc:${who}`)) || query.community?.endsWith('/never')
            assert(answer.status < 500 || unknown || method.name.startsWith('com.atproto.'), `${why}: ${JSON.stringify(answer.body)}`)
            if (method.handler === 'writes::not_enabled') assert.deepEqual([answer.status, answer.body.error], [403, 'NotEnabled'], why)
            if (answer.status === 200 && answer.body.code) VALUES.code.push(answer.body.code)
            const outcome = answer.status === 200 ? 200 : answer.body.error
            found.set(outcome, (found.get(outcome) ?? 0) + 1)
            figures.answers += 1
            figures.validated += answer.status === 200 && lexicons.has(method.name) ? 1 : 0
          }),
        )
      }
      // A method whose every case is refused shows nothing.
      const must = method.handler === 'writes::not_enabled' ? 'NotEnabled' : method.handler === 'writes::leave' || !method.handler.startsWith('writes::') ? 200 : 'NotCommunityHub'
      assert(found.has(must), `${method.name} has no case that ends with ${must}: ${JSON.stringify([...found])}`)
    }
    assert(figures.validated > 1_000, `${figures.validated} answers to validate`)
    t.diagnostic(`${ordered.length} methods, ${figures.answers} answers, ${figures.validated} of them validated against a lexicon`)
  })

  test('N168: every frame of the document, in the words of the lexicon', async (t) => {
    const bob = socketOf('bob')
    const voice = await service.connect('/api/subscribe?did=did:plc:bob')
    const joining = { action: 'voice_event', community_uri: HOME, voice_channel_rkey: 'v' }
    for (const voice_action of ['join', 'leave']) assert.equal((await voice.request({ ...joining, voice_action })).type, 'ack')
    const room = at('nest', 'channel', 'v')
    const call = await service.connect(`/api/webrtc/signal?${new URLSearchParams({ did: 'did:plc:bob', room })}`)
    call.send({ type: 'join', room, peer_id: 'did:plc:bob' })
    await call.next({ type: 'joined' })
    call.send({ type: 'voice_state', room, muted: true })
    await bob.next({ type: 'voice_state_event' })
    await call.close()
    for (const who of ['olga', 'bob']) {
      socketOf(who).ws.send(JSON.stringify({ type: 'view', data: { channel: HALL } }))
      await socketOf(who).request({ type: 'heartbeat' })
    }
    socketOf('olga').ws.send(JSON.stringify({ type: 'typing', data: { channel: HALL } }))
    await bob.next({ type: 'typing_event' })
    // U23: of what is on his screen he is not notified.
    bob.ws.send(JSON.stringify({ type: 'view', data: { channel: at('nest', 'channel', 'n') } }))
    await bob.request({ type: 'heartbeat' })
    await (await follow('moe', '?cursor=now')).next({ type: 'resumed' })
    const facets = [{ index: { byteStart: 0, byteEnd: 1 }, features: [{ $type: `${NSID}richtext.facet#mention`, did: 'did:plc:bob' }] }]
    await stage.say(['olga', 'create', 'message/3molga2', { text: 'bob', channel: HALL, createdAt: TIME, facets }])
    const called = at('olga', 'message', '3molga2')
    const cleared = await ask('bob', { verb: 'POST', name: `${NSID}notification.updateSeenForMessage` }, { message: called })
    assert.equal(cleared.body.updated, 1, JSON.stringify(cleared.body))
    await bob.next((frame) => frame.type === 'seen_event' && frame.data.messageUri === called)
    await stage.say(['nest', 'delete', 'member/bob'], ['bob', 'delete', 'message/3mbob1'])
    await bob.next((frame) => frame.type === 'community_event' && frame.data.event === 'delete' && frame.data.uri === HOME)
    await socketOf('moe').next((frame) => frame.type === 'member_event' && frame.data.memberDid === 'did:plc:bob')

    const document = (await service.fetchJson('/asyncapi.json')).body
    const ajv = new Ajv2020({ strict: false, validateFormats: false })
    ajv.addSchema(document, 'https://documents.invalid/asyncapi.json')
    ajv.addSchema((await service.fetchJson('/openapi.json')).body, 'https://documents.invalid/openapi.json')
    const { messages, reply } = { reply: document.operations.actNewest.reply, ...document.operations.publishNewest }
    const names = [...messages, ...(reply?.messages ?? [])].map(({ $ref }) => $ref.split('/').at(-1))
    const described = new Map(names.map((key) => [document.components.messages[key].name, key]))
    const expected = names.flatMap((key) => {
      const { name, payload } = document.components.messages[key]
      return (payload.properties.data?.properties?.event?.enum ?? ['']).map((event) => `${name} ${event}`.trim())
    })
    const seen = new Map()
    const wrong = new Set()
    for (const { frames, who } of sockets) {
      for (const frame of frames) {
        try {
          lexicons.validateFrame(frame)
        } catch (error) {
          wrong.add(error.message)
        }
        const kind = `${frame.type} ${frame.data?.event ?? ''}`.trim()
        seen.set(kind, (seen.get(kind) ?? 0) + 1)
        const fits = ajv.getSchema(`https://documents.invalid/asyncapi.json#/components/messages/${described.get(frame.type)}/payload`)
        assert(fits(frame), `${who}: ${JSON.stringify(frame)}: ${ajv.errorsText(fits.errors)}`)
        assert(!JSON.stringify(frame.data ?? {}).includes(':null'), JSON.stringify(frame))
      }
    }
    // A reader that is too slow gets it, and nothing after it: tests/native/gateway shows that.
    const missing = expected.filter((kind) => !seen.has(kind) && kind !== 'resync_required')
    assert.deepEqual([...wrong], [], 'as the lexicon says')
    assert.deepEqual(missing, [], `only ${JSON.stringify([...seen])}`)
    t.diagnostic(`${[...seen.values()].reduce((sum, n) => sum + n, 0)} frames of ${seen.size} kinds`)
  })

  test('N160: what the states look like', async () => {
    const get = (who, name, query) => ask(who, { verb: 'GET', name: NSID + name }, query)
    const data = async (community, who) => (await get(who, 'community.getData', { community })).body
    const shape = ({ channels, categories, roles, members }) => [channels, categories, roles, members].map((list) => list.length)
    assert.deepEqual(shape(await data(at('void', 'community', 'self'))), [0, 0, 0, 0], 'empty')
    assert.deepEqual(shape(await data(at('alice', 'community', 'e'))), [0, 0, 1, 1], 'empty, of the old form: its owner')
    const big = await eventually(() => data(at('big', 'community', 'self')))
    assert.deepEqual(shape(big), [120, 40, 60, 300], 'large')
    const ruin = await get('olga', 'community.getData', { community: at('ruin', 'community', 'self') })
    assert([404, 503].includes(ruin.status), 'N158: deleted; its repository may still wait to be read')
    const cold = await get('olga', 'community.getData', { community: at('cold', 'community', 'self') })
    assert.equal(cold.status, 503, 'N158: its account may become active again')
    assert.equal((await get('stranger', 'channel.listMessages', { channel: at('alice', 'channel', 's') })).status, 403, 'closed')
    assert.equal((await get('alice', 'channel.listMessages', { channel: at('alice', 'channel', 's') })).body.messages.length, 1)
    const banned = (await get('olga', 'community.listBannedUsers', { community: HOME })).body.users.map(({ did }) => did)
    assert.deepEqual(banned, ['did:plc:dave', 'did:plc:eve'], 'by record, and by this service')
  })
})
