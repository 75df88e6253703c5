// The methods of the lexicons (contract section 13): every answer against the lexicon itself, in states that honest people
// and others bring about; and the calls of the newest client, in its order, through a real PDS.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'

import { lexiconsFolder, openLexicons } from '../network/lexicons.js'
import { COLLECTION, channel, community, member, moderation, role } from '../network/records.js'
import { eventually, freePort, startService } from './harness.js'
import { answers, connected, openPlace } from './place.js'
import { openStage } from './stage.js'
import { bearer, documentOf, newKey } from './tokens.js'

const KEY = 'the key of the tests'
const folder = lexiconsFolder()
const skip = folder ? false : 'there are no lexicons beside this checkout, and none in LEXICONS_DIR'
if (!folder) assert(process.env.CI !== 'true', skip)
const lexicons = folder && openLexicons(folder)

const CID = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
const BLOB = { $type: 'blob', ref: { $link: CID }, mimeType: 'image/png', size: 7 }
const NSID = 'social.colibri.'
const TIME = '2026-03-01T12:00:00.000Z'

describe('whatever people write', { skip }, () => {
  const SERVICE = 'did:web:api.example.com'
  const HOME = `at://did:plc:nest/${NSID}community/self`
  const OLD = `at://did:plc:alice/${NSID}community/c`
  const HALL = `at://did:plc:nest/${NSID}channel/k`
  let stage
  const keys = new Map()

  before(async () => {
    stage = await openStage({ env: { INVITE_API_KEY: KEY, SERVICE_DID: SERVICE } })
    for (const name of ['nest', 'olga', 'bob', 'carol', 'dave', 'gone', 'alice', 'stranger']) {
      const key = newKey()
      keys.set(name, key)
      stage.host.routes.set(`/plc/did:plc:${name}`, documentOf(`did:plc:${name}`, key.multikey, stage.host.url))
    }
    const admitted = (who, ...roles) => ['nest', 'create', `member/${who}`, { subject: `did:plc:${who}`, roles, joinedAt: TIME, nickname: 'N' }]
    const wish = (who, rkey = 'm', to = HOME) => [who, 'create', `membership/${rkey}`, { community: to, createdAt: TIME }]
    const text = (who, rkey, more, to = HALL) => [who, 'create', `message/${rkey}`, { text: `of ${who}`, channel: to, createdAt: TIME, ...more }]
    const at = { community: 'self', category: 'g' }
    const feature = (name, more) => ({ $type: `${NSID}richtext.facet#${name}`, ...more })
    const facet = (...features) => ({ index: { byteStart: 0, byteEnd: 1 }, features })
    await stage.say(
      ['nest', 'create', 'community/self', { name: 'Nest', description: 'd', categoryOrder: ['g', 'none'], requiresApprovalToJoin: true, picture: BLOB, banner: { ...BLOB, x: 1 }, linkEmbeds: true }],
      ['nest', 'create', 'category/g', { name: 'General', community: 'self', channelOrder: ['v', 'nothing'] }],
      ['nest', 'create', 'role/owner', { name: 'Owner', permissions: [], position: 100, protected: true }],
      ['nest', 'create', 'role/mod', { name: '<script>', permissions: ['message.hide', 'nonsense'], position: 50, color: '#fff', channelOverrides: [{ channel: 'k', deny: ['message.hide'] }, { channel: 'gone' }] }],
      ['nest', 'create', 'channel/k', { name: 'hall', type: `${NSID}channel.text`, ...at }],
      ['nest', 'create', 'channel/v', { name: 'voice', type: 'voice', ...at }],
      ['nest', 'create', 'channel/n', { name: '💥'.repeat(16), type: '💥 and blanks', community: 'self', category: 'nowhere', allowedRoles: ['mod'], allowedMembers: ['did:plc:bob'], linkEmbeds: false }],
      ['nest', 'create', 'channel/d', { name: 'deleted', type: 'text', ...at }],
      ...['bob', 'carol', 'dave', 'gone', 'olga'].map((who) => wish(who)),
      admitted('olga', 'owner'), admitted('bob', 'mod', 'nothing'), admitted('dave'), admitted('gone'),
      ['bob', 'create', 'actor.profile/self', { displayName: 'Bob\u202e', avatar: BLOB, banner: { ref: { $link: 'nonsense' }, mimeType: 'a/b' }, theme: { accentColor: 7, gradient: { primary: '#000', secondary: {} } }, preferredBadge: 'b' }],
      ['bob', 'create', 'actor.data/self', { status: '"}{', emoji: '🌿', communities: ['did:plc:nest'] }],
      ['olga', 'create', 'actor.profile/self', { syncBluesky: true }],
      ['gone', 'create', 'app.bsky.actor.profile/self', { displayName: 'Gone', avatar: BLOB }],
      text('bob', '3mbob1', { facets: [facet(feature('link', { uri: 'no link' }), feature('bold'), feature('channel', { channel: 'k' }), { $type: 'a.b.c#d', e: { $link: 'junk' } }, { $type: 'blob' })], attachments: [{ blob: BLOB, name: 'a.png' }, { blob: { ref: { $link: 'nonsense' }, mimeType: 'a/b' } }], suppressedEmbeds: ['https://a.test/', 'no link'] }),
      text('dave', '3mdave1'), text('gone', '3mgone1', { parent: `at://did:plc:bob/${NSID}message/3mbob1` }), text('olga', '3molga1', { parent: '3mdave1', createdAt: 'yesterday' }),
      text('bob', '3mbob2', { text: '\u0000 {"$link":"junk"}' }), text('bob', '3mbob3', {}, `at://did:plc:nest/${NSID}channel/d`),
      ...['bob', 'dave', 'gone'].map((who) => [who, 'create', 'reaction/r', { parent: `at://did:plc:olga/${NSID}message/3molga1`, emoji: '🌿' }]),
      ['bob', 'create', 'channel.read/k', { channel: HALL, cursor: `at://did:plc:olga/${NSID}message/3molga1` }],
      ['olga', 'create', 'channel.read/k', { channel: HALL, cursor: TIME }],
      ['bob', 'create', 'actor.mute/m', { subject: HALL }],
      ['alice', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
      ['alice', 'create', 'channel/o', { name: 'old', type: 'text', community: 'c' }],
      wish('bob', 'o', OLD), text('bob', '3mbob4', {}, 'o'),
      ['nest', 'create', 'moderation/1', { action: 'ban', subject: { did: 'did:plc:dave' }, createdAt: TIME }],
      ['nest', 'create', 'moderation/2', { action: 'hideMessage', subject: { uri: `at://did:plc:bob/${NSID}message/3mbob2` }, createdAt: TIME }],
      ['nest', 'create', 'moderation/3', { action: 'suppressEmbeds', subject: { uri: `at://did:plc:bob/${NSID}message/3mbob1` }, embeds: ['https://b.test/', 'no link'], createdAt: TIME }],
      ['nest', 'delete', 'channel/d'],
    )
    await stage.account('gone', false, 'deactivated')
  })

  const token = (who, nsid) => keys.get(who).token({ iss: `did:plc:${who}`, aud: SERVICE, lxm: nsid })
  const ask = (who, nsid, query = {}, method = 'GET') =>
    stage.service.fetchJson(`/xrpc/${nsid}?${new URLSearchParams(query)}`, { method, headers: who ? bearer(token(who, nsid)) : {} })

  test('N160: every answer is that of its lexicon, or an error that the client knows', async () => {
    const channels = ['k', 'v', 'n', 'd', 'never'].map((rkey) => `at://did:plc:nest/${NSID}channel/${rkey}`)
    channels.push(`at://did:plc:alice/${NSID}channel/o`)
    const communities = [HOME, OLD, `at://did:plc:alice/${NSID}community/never`, 'nonsense', 'at://']
    const people = [...keys.keys()].map((name) => `did:plc:${name}`)
    const calls = [
      ...[...people, 'did:plc:nobody', 'nobody.test', 'nonsense', ''].map((identifier) => ['actor.getData', { identifier }]),
      ['actor.listCommunities', {}],
      ['actor.listMutes', {}],
      ...communities.flatMap((one) => ['community.getData', 'channel.listUnreadStatus'].map((name) => [name, { community: one }])),
      ...[...channels, 'nonsense'].flatMap((one) => [
        ['channel.getChannelView', { channel: one, limit: 50 }],
        ['channel.getReadCursor', { channel: one }],
        ...[{}, { limit: 1 }, { limit: 'x' }, { cursor: '3mbob1' }, { cursor: 'nonsense' }, { all: true }, { all: 'maybe' }].map((more) => ['channel.listMessages', { channel: one, ...more }]),
      ]),
      ['server.describeServer', {}],
    ]
    let good = 0
    for (const who of [undefined, ...keys.keys()]) {
      for (const [name, query] of calls) {
        const answer = await ask(who, NSID + name, query)
        // N158: the repository of an unknown community is waited for, and here it never comes.
        assert(answer.status !== 503 || query.community === communities[2], `${name}: ${JSON.stringify(answer.body)}`)
        lexicons.conforms(NSID + name, answer, `${name} ${JSON.stringify(query)} as ${who}`)
        good += answer.status === 200 ? 1 : 0
      }
    }
    assert(good > 200, `${good} answers to validate`)
    for (const state of ['online', 'away', 'dnd', 'offline', 'sleepy', '']) {
      const answer = await ask('bob', `${NSID}actor.setState`, { state }, 'POST')
      lexicons.conforms(`${NSID}actor.setState`, answer, state)
      if (state === 'sleepy') assert.deepEqual([answer.status, answer.body.error], [400, 'InvalidState'], 'N160p')
      else if (state) assert.deepEqual([answer.status, answer.body.onlineState], [200, 'offline'], 'N160p: without a socket')
    }
  })

  test('N160: what is shown of it', async () => {
    const { body } = await ask('bob', `${NSID}channel.getChannelView`, { channel: HALL, limit: 50 })
    const shown = Object.fromEntries(body.messages.map((message) => [message.uri.split('/').at(-1), message]))
    assert.deepEqual(Object.keys(shown).sort(), ['3mbob1', '3molga1'], 'nobody banned, nobody who is gone, nothing hidden')
    const [features] = shown['3mbob1'].facets.map((facet) => facet.features)
    assert.deepEqual(features.map(({ $type, channel }) => channel ?? $type), [`${NSID}richtext.facet#bold`, HALL, 'a.b.c#d'])
    assert.deepEqual(shown['3mbob1'].attachments, [{ blob: BLOB, name: 'a.png' }])
    assert.deepEqual(shown['3mbob1'].suppressedEmbeds, ['https://a.test/'])
    assert.deepEqual(shown['3mbob1'].modSuppressedEmbeds, ['https://b.test/'], 'N54')
    assert.deepEqual(shown['3mbob1'].author.data.avatar, BLOB)
    assert.deepEqual(shown['3molga1'].reactions, [{ emoji: '🌿', count: 1, reactorDIDs: ['did:plc:bob'] }], 'N160j')
    assert.equal(shown['3molga1'].parent, undefined, 'of somebody banned')
    assert.equal(body.readCursor.cursor, `at://did:plc:olga/${NSID}message/3molga1`, 'N160l')
    const { body: nest } = await ask(undefined, `${NSID}community.getData`, { community: HOME })
    assert.deepEqual(nest.members.map(({ did }) => did), ['did:plc:bob', 'did:plc:olga'])
    assert.deepEqual(nest.channels.map((one) => [one.uri.split('/').at(-1), one.type.split('.').at(-1)]), [['v', 'voice'], ['k', 'text'], ['n', 'unknown']])
    const legacy = (await ask('bob', `${NSID}actor.listCommunities`)).body.communities
    assert.deepEqual(legacy.map(({ name, isLegacy }) => [name, isLegacy]), [['Nest', false], ['Garden', false]], 'N160e, N55')
    const all = await ask('olga', `${NSID}channel.listMessages`, { channel: HALL, all: true })
    assert(all.body.messages.some(({ uri }) => uri.endsWith('3mbob2')), 'whoever may hide messages sees them')
    assert.equal((await ask('stranger', `${NSID}channel.listMessages`, { channel: HALL, all: true })).status, 403)
    const again = token('bob', `${NSID}actor.listMutes`)
    const mutes = () => stage.service.fetchJson(`/xrpc/${NSID}actor.listMutes`, { headers: bearer(again) })
    assert.deepEqual([(await mutes()).status, (await mutes()).status], [200, 401], 'N150: once')
    const other = await stage.service.fetchJson(`/xrpc/${NSID}actor.listMutes`, { headers: bearer(token('bob', `${NSID}actor.listCommunities`)) })
    assert.deepEqual([other.status, other.body.error], [401, 'AuthRequired'], 'N150, N152')
    const fragment = keys.get('bob').token({ iss: 'did:plc:bob', aud: `${SERVICE}#colibri_appview`, lxm: `${NSID}actor.listMutes` })
    assert.equal((await stage.service.fetch(`/xrpc/${NSID}actor.listMutes`, { headers: bearer(fragment) })).status, 200, 'N150: either form of aud')
  })

  test('N160g H15: a community of more members than fit on a page arrives whole', async () => {
    const MEMBERS = 2_100
    const dids = Array.from({ length: MEMBERS }, (_, n) => `did:plc:crowd${String(n).padStart(5, '0')}`)
    stage.behindItsBack((db) => {
      const insert = db.prepare(
        "INSERT INTO members (uri, rkey, member_did, community_uri, roles, withdrawn, hidden, rev, indexed_at) VALUES (?, ?, ?, ?, '[\"mod\"]', 0, 0, 'r', ?)",
      )
      db.exec('BEGIN')
      for (const [n, did] of dids.entries()) insert.run(`at://did:plc:nest/${NSID}member/c${n}`, `c${n}`, did, HOME, TIME)
      db.exec('COMMIT')
    })
    await stage.forgetAnswers()
    const answer = await ask('bob', `${NSID}community.getData`, { community: HOME })
    lexicons.conforms(`${NSID}community.getData`, answer, 'streamed')
    const listed = answer.body.members.map(({ did }) => did)
    assert.deepEqual(listed, [...dids, 'did:plc:bob', 'did:plc:olga'].sort())
    assert(answer.body.members.every(({ roles }) => roles.length === 1), 'N16: with their roles')
  })
})

describe('the client, through a real PDS', () => {
  let place, service, nest, olga, bob, did, home, hall, voice
  before(async () => {
    place = await openPlace({ serve: false })
    const port = await freePort()
    did = `did:web:localhost%3A${port}`
    const env = { ...place.settings.env, INVITE_API_KEY: KEY, SERVICE_DID: did, AUTH_MODE: 'verified' }
    service = await startService({ ...place.settings, env, port })
    await connected(service)
    ;[nest, olga, bob] = await Promise.all(['nest', 'olga', 'bob'].map((name) => place.network.createAccount(name)))
    home = `at://${nest.did}/${COLLECTION.community}/self`
    await nest.create(COLLECTION.community, community({ name: 'Nest', requiresApprovalToJoin: true }), 'self')
    const owner = await nest.create(COLLECTION.role, role({ name: 'Owner', position: 100, protected: true }))
    const category = await nest.category({ name: 'General', community: 'self' })
    const at = { category: category.rkey, community: 'self' }
    hall = await nest.create(COLLECTION.channel, channel({ name: 'hall', type: `${NSID}channel.text`, ...at }))
    voice = await nest.create(COLLECTION.channel, channel({ name: 'voice', type: `${NSID}channel.voice`, ...at }))
    for (const [person, roles] of [[olga, [owner.rkey]], [bob, []]]) {
      const wish = await person.membership(home)
      await nest.create(COLLECTION.member, member(person.did, { roles, fromMembership: wish.uri }))
    }
    await answers(service, `/api/members?community=${home}`, 200, (members) => members.length === 2)
  })

  /** A call as the client makes it: to its PDS, which forwards it. */
  async function call(person, name, query = {}, { method = 'GET' } = {}) {
    const response = await fetch(`${place.network.pds}/xrpc/${name}?${new URLSearchParams(query)}`, {
      method,
      headers: { ...bearer(person.session.accessJwt), 'atproto-proxy': `${did}#colibri_appview` },
    })
    const answer = { status: response.status, body: JSON.parse(await response.text()) }
    if (lexicons) lexicons.conforms(name, answer, `${name} ${JSON.stringify(query)}`)
    return answer
  }
  const got = async (...asked) => {
    const { status, body } = await call(...asked)
    assert.equal(status, 200, `${asked[1]}: ${JSON.stringify(body)}`)
    return body
  }

  test('N149: from the start to an open channel with a new message, in the order of the client', async () => {
    const direct = async (path) => (await service.fetchJson(`/xrpc/${path}`)).body
    const described = await direct(`${NSID}server.describeServer`)
    assert.deepEqual([described.software, described.flavor, described.version.split('+')[0]], ['colibri-appview', 'colibri-edge', '0.2.10'])
    const document = await direct(`com.atproto.identity.resolveDid?did=${bob.did}`)
    assert.equal(document.service.find(({ id }) => id === '#atproto_pds').serviceEndpoint, new URL(place.network.pds).origin)
    const me = await got(bob, `${NSID}actor.getData`, { identifier: bob.did })
    assert.deepEqual([me.did, me.data.onlineState, me.data.status.text], [bob.did, 'offline', ''])
    const { communities } = await got(bob, `${NSID}actor.listCommunities`)
    assert.deepEqual(communities.map(({ uri, isOwner, isLegacy }) => [uri, isOwner, isLegacy]), [[home, false, false]])
    assert.equal((await got(olga, `${NSID}actor.listCommunities`)).communities[0].isOwner, true)
    const empty = await got(bob, `${NSID}channel.getChannelView`, { channel: hall.uri, limit: 50 })
    assert.deepEqual(empty, { messages: [], unseen: [] })
    const data = await got(bob, `${NSID}community.getData`, { community: home })
    assert.equal(data.did, nest.did)
    assert.deepEqual(data.channels.map(({ uri }) => uri), [hall.uri, voice.uri])
    assert(data.members.some((one) => one.did === bob.did), 'the composer is enabled')
    const owners = data.roles.filter((one) => one.protected).map(({ uri }) => uri)
    assert.deepEqual(data.members.filter((one) => one.roles.some((uri) => owners.includes(uri))).map((one) => one.did), [olga.did])
    const unread = () => got(bob, `${NSID}channel.listUnreadStatus`, { community: home })
    assert.deepEqual((await unread()).channels.map((one) => one.hasUnreadMessages), [false, false])
    const said = await olga.message(hall.uri, 'hello')
    await eventually(async () => (await unread()).channels.some((one) => one.channelUri === hall.uri && one.hasUnreadMessages))
    const page = await got(bob, `${NSID}channel.listMessages`, { channel: hall.uri, limit: 50 })
    assert.deepEqual(page.messages.map(({ uri, text, channel: of, community: its }) => [uri, text, of, its]), [[said.uri, 'hello', hall.uri, home]])
    assert.deepEqual((await got(bob, `${NSID}channel.listMessages`, { channel: hall.uri, limit: 50, cursor: said.rkey })).messages, [])
    assert.equal((await call(bob, `${NSID}channel.getReadCursor`, { channel: hall.uri })).status, 404)
    await bob.create(COLLECTION.read, { channel: hall.uri, cursor: said.uri }, hall.rkey)
    await eventually(async () => !(await unread()).channels.some((one) => one.hasUnreadMessages))
    assert.equal((await got(bob, `${NSID}channel.getReadCursor`, { channel: hall.uri })).cursor, said.uri)
    assert.deepEqual((await got(bob, `${NSID}actor.listMutes`)).mutes, [])
    const { onlineState } = await got(bob, `${NSID}actor.setState`, { state: 'dnd' }, { method: 'POST' })
    assert.equal(onlineState, 'offline')
  })

  test('N149: reply, edit, reaction, hide, ban and leave, as the client asks again', async () => {
    const messages = async () => (await got(bob, `${NSID}channel.listMessages`, { channel: hall.uri, limit: 50 })).messages
    const first = await olga.message(hall.uri, 'first')
    const reply = await bob.message(hall.uri, 'second', { parent: first.uri })
    await bob.create(COLLECTION.reaction, { parent: first.uri, emoji: '🌿' })
    await eventually(async () => (await messages()).find(({ uri }) => uri === first.uri)?.reactions.length === 1)
    assert.equal((await messages()).find(({ uri }) => uri === reply.uri).parent.uri, first.uri)
    const createdAt = '2026-03-01T12:00:00.000Z'
    await olga.put(COLLECTION.message, first.rkey, { channel: hall.uri, text: 'changed', createdAt })
    await eventually(async () => (await messages()).some((one) => one.uri === first.uri && one.text === 'changed' && one.edited))
    await nest.create(COLLECTION.moderation, moderation('hideMessage', { uri: reply.uri }))
    await eventually(async () => !(await messages()).some(({ uri }) => uri === reply.uri))
    const all = await got(olga, `${NSID}channel.listMessages`, { channel: hall.uri, limit: 50, all: true })
    assert(all.messages.some(({ uri }) => uri === reply.uri))
    await nest.create(COLLECTION.moderation, moderation('ban', { did: bob.did }))
    await eventually(async () => (await got(bob, `${NSID}actor.listCommunities`)).communities.length === 0)
    assert.equal((await call(bob, `${NSID}channel.listUnreadStatus`, { community: home })).status, 403)
    const data = await got(bob, `${NSID}community.getData`, { community: home })
    assert.deepEqual(data.members.map((one) => one.did), [olga.did])
    const unknown = await call(bob, `${NSID}community.getData`, { community: `at://${olga.did}/${COLLECTION.community}/self` })
    assert([404, 503].includes(unknown.status), 'N158')
  })
})
