// What the newest client asks for beyond messages (contract section 13), through a real PDS as its proxy: writes into a
// community's repository, which this service makes for nobody; invitations, applications, bans, and deleting one's account.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { request } from 'undici'

import { lexiconsFolder, openLexicons } from '../network/lexicons.js'
import { COLLECTION, community, member, moderation, role } from '../network/records.js'
import { eventually, freePort, startService } from './harness.js'
import { answers, connected, garden, openPlace } from './place.js'
import { bearer } from './tokens.js'

const KEY = 'the key of the tests'
const folder = lexiconsFolder()
const lexicons = folder && openLexicons(folder)
const HUB = 'did:web:api.colibri.social'

let place, service, did, nest, own, olga, moe, ned, lea, old, home, ours, hall
const roles = {}

/** A call as the client makes it: to the person's PDS, which forwards it. */
async function through(person, method, nsid, query = {}) {
  const url = `${place.network.pds}/xrpc/social.colibri.${nsid}?${new URLSearchParams(query)}`
  const response = await fetch(url, {
    method,
    headers: { ...bearer(person.session.accessJwt), 'atproto-proxy': `${did}#colibri_appview` },
  })
  const body = JSON.parse(await response.text())
  if (response.ok && lexicons) lexicons.validate(`social.colibri.${nsid}`, body)
  return { status: response.status, body }
}
const post = (person, nsid, query) => through(person, 'POST', nsid, query)
const get = (person, nsid, query) => through(person, 'GET', nsid, query)
/** The body of an answer that must be a success. */
const good = async (asked) => {
  const { status, body } = await asked
  assert.equal(status, 200, JSON.stringify(body))
  return body
}

/** Asks to be in a community, and is admitted there. */
async function admit(person, nest, ...given) {
  const { uri } = await person.membership(`at://${nest.did}/${COLLECTION.community}/self`)
  await nest.create(COLLECTION.member, member(person.did, { roles: given, fromMembership: uri }))
}

before(async () => {
  place = await openPlace({ serve: false })
  const port = await freePort()
  did = `did:web:localhost%3A${port}`
  const env = { ...place.settings.env, INVITE_API_KEY: KEY, TOKEN_SECRET: 'what signs the tokens', SERVICE_DID: did }
  service = await startService({ ...place.settings, env, port })
  await connected(service)
  old = await garden(place)
  const accounts = ['nest', 'own', 'olga', 'moe', 'ned', 'lea'].map((name) => place.network.createAccount(name))
  ;[nest, own, olga, moe, ned, lea] = await Promise.all(accounts)
  ;[home, ours] = [nest, own].map((account) => `at://${account.did}/${COLLECTION.community}/self`)
  await nest.create(COLLECTION.community, community({ name: 'Nest', requiresApprovalToJoin: true }), 'self')
  await own.create(COLLECTION.community, { ...community({ name: 'Own', requiresApprovalToJoin: true }), appview: did }, 'self')
  const permissions = ['message.hide', 'member.ban', 'invitation.create', 'approval.manage', 'category.update']
  const kinds = { owner: { name: 'Owner', position: 100, protected: true }, mod: { name: 'Moderator', position: 50, permissions } }
  for (const [name, fields] of Object.entries(kinds)) roles[name] = await nest.create(COLLECTION.role, role(fields))
  const category = await nest.category({ name: 'General', community: 'self' })
  hall = await nest.channel({ name: 'hall', type: 'social.colibri.channel.text', community: 'self', category: category.rkey })
  await admit(olga, nest, roles.owner.rkey)
  await admit(moe, nest, roles.mod.rkey)
  await admit(ned, nest)
  await nest.create(COLLECTION.member, member(lea.did, {}))
  await answers(service, `/api/members?community=${home}`, 200, (members) => members.length === 4)
  await answers(service, `/api/channels?community=${home}`, 200, (channels) => channels.length === 1)
  await answers(service, `/api/community?community=${ours}`)
})

test('N173, N174: a write is refused by permission, then with the service that makes it', async () => {
  const hub = [421, 'NotCommunityHub']
  const forbidden = [403, 'Forbidden']
  const notEnabled = [403, 'NotEnabled']
  const garden = old.community.uri
  for (const [person, nsid, query, expected, why] of [
    [moe, 'community.banUser', { community: home, identifier: ned.did }, hub, 'his role permits it'],
    [moe, 'community.kickUser', { community: home, identifier: ned.did }, forbidden, 'it does not'],
    [ned, 'community.banUser', { community: home, identifier: moe.did }, forbidden, 'no role'],
    [olga, 'community.kick', { community: home, member: `at://${nest.did}/${COLLECTION.member}/x` }, hub, 'a protected role'],
    [nest, 'community.update', { community: home, name: 'N' }, hub, 'the account itself'],
    [olga, 'channel.delete', { channel: hall.uri }, hub, 'a channel that is known'],
    [olga, 'channel.delete', { channel: `at://${nest.did}/${COLLECTION.channel}/none` }, hub, 'the community of the repository'],
    [moe, 'channel.delete', { channel: hall.uri }, forbidden, 'a channel, without the permission'],
    [moe, 'category.update', { category: `at://${nest.did}/${COLLECTION.category}/none` }, hub, 'a category'],
    [olga, 'role.delete', { role: roles.mod.uri }, hub, 'a role'],
    [moe, 'community.approveMembership', { membership: old.membership.uri }, forbidden, 'a membership elsewhere'],
    [olga, 'community.approveMembership', { membership: `at://${ned.did}/${COLLECTION.membership}/none` }, forbidden, 'unknown'],
    [own, 'community.update', { community: ours }, notEnabled, 'N174: it names this service'],
    [olga, 'community.update', { community: ours }, forbidden, 'no role there'],
    [old.alice, 'community.update', { community: garden }, notEnabled, 'N174: the old form'],
    [olga, 'community.update', { community: garden }, forbidden, 'of somebody else'],
    [olga, 'community.update', { community: 'at://nonsense' }, forbidden, 'no community'],
    [olga, 'community.update', { community: 'nonsense' }, [400, 'InvalidRequest'], 'no AT-URI'],
    [olga, 'community.create', { name: 'N' }, notEnabled, 'N174'],
    [olga, 'voice.moderate', { community: home, channel: hall.uri, target: ned.did, action: 'mute' }, notEnabled, 'N178'],
    [olga, 'notification.registerPush', {}, notEnabled, 'N171e'],
  ]) {
    const { status, body } = await post(person, nsid, query)
    assert.deepEqual([status, body.error], expected, `${nsid}: ${why}: ${body.message}`)
  }
  const ban = 'social.colibri.community.banUser'
  const where = `${service.url}/xrpc/${ban}?community=${home}`
  // After a 421 `fetch` asks again by itself, with a token that is used by then.
  const direct = async (token) => {
    const { statusCode, body } = await request(where, { method: 'POST', headers: bearer(token) })
    return [statusCode, await body.json()]
  }
  assert.equal((await direct(KEY))[0], 401, 'N150: the key is no person')
  // A PDS passes on the code and the message of an error.
  const [status, { error, hub: named }] = await direct(await moe.serviceToken(did, ban))
  assert.deepEqual([status, error, named], [421, 'NotCommunityHub', HUB])
})

test('N178, N179, N171f: what this service does not have is refused, without an upgrade', async () => {
  for (const nsid of ['voice.signal', 'sync.subscribeHums', 'embed.getMetadata', 'embed.searchGifs']) {
    const { status, body } = await get(ned, nsid, { uri: 'https://example.com/', channel: hall.uri, q: 'x' })
    assert.deepEqual([status, body.error], [403, 'NotEnabled'], nsid)
  }
  await assert.rejects(service.connect(`/xrpc/social.colibri.voice.signal?channel=${hall.uri}`), { status: 403 })
})

test('N175: a person who takes back their membership is out; an admission without one is the community’s', async () => {
  const leave = (person, uri) => post(person, 'community.leave', { community: uri })
  const [membership] = await ned.list(COLLECTION.membership)
  await ned.delete(COLLECTION.membership, membership.uri.split('/').at(-1))
  assert.deepEqual(await leave(ned, home), { status: 200, body: {} })
  await answers(service, `/api/members?community=${home}`, 200, (all) => !all.some((one) => one.member_did === ned.did))
  assert.deepEqual(await leave(ned, home), { status: 200, body: {} }, 'again')
  assert.deepEqual((await leave(old.bob, old.community.uri)).status, 200, 'the old form')
  assert.deepEqual((await leave(ned, `at://${ned.did}/${COLLECTION.community}/self`)).status, 200, 'unknown')
  const { status, body } = await leave(lea, home)
  assert.deepEqual([status, body.error], [421, 'NotCommunityHub'])
})

test('N170a, N170b, N170d, N170f, N170g: parts of a community, reactions, and notifications', async () => {
  const members = await good(get(moe, 'community.listMembers', { community: home }))
  assert.deepEqual(members.members.map((one) => one.did).sort(), [lea, moe, olga].map((one) => one.did).sort())
  const of = async (name) => (await good(get(moe, `community.list${name}`, { community: home })))[name.toLowerCase()].length
  assert.deepEqual([await of('Roles'), await of('Channels'), await of('Categories')], [2, 1, 1])
  const nowhere = `at://${moe.did}/${COLLECTION.community}/self`
  for (const name of ['Members', 'Roles', 'Channels', 'Categories'])
    assert.deepEqual(await good(get(moe, `community.list${name}`, { community: nowhere })), { [name.toLowerCase()]: [] })
  const said = await moe.message(hall.uri, 'hello')
  await moe.create(COLLECTION.reaction, { parent: said.uri, emoji: '🌿' })
  const reactions = () => good(get(moe, 'channel.listReactions', { message: said.uri }))
  await eventually(async () => (await reactions()).reactions.length === 1)
  assert.deepEqual((await reactions()).reactions, [{ emoji: '🌿', count: 1, reactorDIDs: [moe.did] }])
  assert.deepEqual(await good(get(moe, 'actor.getNotificationPreference')), { level: 'all' })
  assert.deepEqual(await good(get(moe, 'notification.listNotifications', { limit: 50 })), { notifications: [] })
  assert.deepEqual(await good(get(moe, 'notification.getUnreadCount')), { count: 0 })
  assert.deepEqual(await good(get(moe, 'notification.getUnseen', { channel: hall.uri })), { notifications: [] })
  const feature = { $type: 'social.colibri.richtext.facet#mention', did: moe.did }
  const facets = [{ index: { byteStart: 0, byteEnd: 3 }, features: [feature] }]
  const mention = await olga.message(hall.uri, 'moe', { facets })
  const answer = await olga.message(hall.uri, 'yes', { parent: said.uri })
  const list = (query) => good(get(moe, 'notification.listNotifications', query))
  const both = await eventually(async () => {
    const { notifications } = await list({})
    return notifications.length === 2 ? notifications : undefined
  })
  assert.deepEqual(both.map((one) => [one.kind, one.messageUri]), [['reply', answer.uri], ['mention', mention.uri]])
  assert.deepEqual(both[1].message.facets, facets)
  assert.equal(both[0].message.parent, said.uri)
  const page = await list({ limit: 1 })
  assert.deepEqual((await list({ limit: 1, cursor: page.cursor })).notifications, both.slice(1))
  assert.deepEqual((await get(moe, 'notification.listNotifications', { cursor: 'x' })).status, 400)
  const count = async () => (await good(get(moe, 'notification.getUnreadCount'))).count
  const pings = async () => {
    const { channels } = await good(get(moe, 'channel.listUnreadStatus', { community: home }))
    return channels.map((one) => [one.hasUnreadMessages, one.unreadPingCount])
  }
  assert.deepEqual([await count(), await pings()], [2, [[true, 2]]])
  const unseen = await good(get(moe, 'notification.getUnseen', { channel: hall.uri }))
  assert.deepEqual(unseen.notifications.map((one) => one.id), both.map((one) => one.id))
  assert.deepEqual((await good(get(moe, 'channel.getChannelView', { channel: hall.uri }))).unseen, unseen.notifications)
  const seen = { updated: 1, clearedPings: 1 }
  assert.deepEqual(await good(post(moe, 'notification.updateSeenForMessage', { message: answer.uri })), seen)
  assert.deepEqual([await count(), await pings()], [1, [[true, 1]]])
  assert.deepEqual(await good(post(moe, 'notification.updateSeen', { seenAt: '2026-01-01T00:00:00.000Z' })), { updated: 0 })
  assert.deepEqual(await good(post(moe, 'notification.updateSeen')), { updated: 1 })
  assert.equal(await count(), 0)
  assert((await list({})).notifications.every((one) => one.seenAt))
  await olga.delete(COLLECTION.message, mention.rkey)
  await eventually(async () => (await list({})).notifications.length === 1)
  assert.deepEqual(await list({}).then(({ notifications }) => notifications[0].messageUri), answer.uri)
  assert.deepEqual(await good(get(ned, 'notification.listNotifications')), { notifications: [] }, 'of nobody else')
  await olga.delete(COLLECTION.message, answer.rkey)
  await eventually(async () => (await list({})).notifications.length === 0)
})

test('N171a, N170c: invitations by role', async () => {
  assert.equal((await post(ned, 'community.createInvitation', { community: home })).status, 403, 'no role')
  const made = await good(post(moe, 'community.createInvitation', { community: home }))
  assert.deepEqual([made.community, made.createdBy, made.active], [home, nest.did, true])
  const listed = await good(post(moe, 'community.listInvitations', { uri: home }))
  assert.deepEqual(listed.codes.map((one) => [one.code, one.createdBy.did]), [[made.code, nest.did]])
  assert.equal((await post(ned, 'community.listInvitations', { uri: home })).status, 403)
  const one = () => good(get(ned, 'community.getInvitation', { code: made.code }))
  const { name, memberCount, onlineCount, requiresApprovalToJoin } = await one()
  assert.deepEqual([name, memberCount, onlineCount, requiresApprovalToJoin], ['Nest', 3, 0, true])
  const rest = await service.fetchJson(`/api/invite/${made.code}`)
  assert.deepEqual([rest.status, rest.body.max_uses], [200, null], 'the same as R16')
  const remove = (person, uri) => post(person, 'community.deleteInvitation', { uri, code: made.code })
  assert.equal((await remove(moe, home)).status, 403, 'not in his role')
  assert.equal((await remove(own, ours)).status, 404, 'of another community')
  assert.deepEqual(await good(remove(olga, home)), { code: made.code })
  assert.equal((await one()).active, false)
  assert.equal((await get(ned, 'community.getInvitation', { code: 'nothing' })).status, 404)
  assert.equal((await service.fetchJson(`/xrpc/social.colibri.community.getInvitation?code=${made.code}`)).status, 200)
})

test('N171b, N171c: applications are dismissed and taken back; bans of both kinds are listed', async () => {
  const [ann, ben] = await Promise.all(['ann', 'ben'].map((name) => place.network.createAccount(name)))
  const wish = await ann.membership(home)
  await ben.membership(home)
  const list = async () => {
    const { applications, dismissedApplications } = await good(get(moe, 'community.listApplications', { community: home }))
    return [applications, dismissedApplications].map((all) => all.map((one) => one.did).sort())
  }
  await eventually(async () => (await list())[0].length === 2)
  const { applications } = await good(get(moe, 'community.listApplications', { community: home }))
  assert.equal(applications.find((one) => one.did === ann.did).membership, wish.uri)
  assert.equal((await get(ann, 'community.listApplications', { community: home })).status, 403)
  const about = { community: home, did: ann.did }
  assert.equal((await post(ann, 'community.dismissApplication', about)).status, 403)
  const [mods, asker] = await Promise.all([moe, ann].map(async (person) => {
    const proof = await person.serviceToken(did, 'social.colibri.sync.subscribeEvents')
    return service.connect('/xrpc/social.colibri.sync.subscribeEvents', { protocols: ['colibri.auth.bearer', proof] })
  }))
  await mods.request({ type: 'heartbeat' })
  for (let n = 0; n < 2; n += 1) assert.deepEqual(await good(post(moe, 'community.dismissApplication', about)), about)
  assert.deepEqual(await list(), [[ben.did], [ann.did]])
  assert.deepEqual(await good(post(moe, 'community.undismissApplication', about)), about)
  await mods.next((frame) => frame.data?.event === 'undismiss')
  const moved = mods.all((frame) => frame.type === 'application_event')
  const named = { ...about, membership: wish.uri }
  assert.deepEqual(moved, ['dismiss', 'undismiss'].map((event) => ({ type: 'application_event', data: { event, ...named } })), 'N168: what changed something')
  await asker.request({ type: 'heartbeat' })
  assert.deepEqual(asker.all((frame) => frame.type === 'application_event'), [], 'to those who may admit people')
  await Promise.all([mods, asker].map((socket) => socket.close()))
  assert.deepEqual(await list(), [[ann.did, ben.did].sort(), []])
  await good(post(moe, 'community.dismissApplication', about))
  await nest.create(COLLECTION.member, member(ann.did, { fromMembership: wish.uri }))
  await eventually(async () => (await list())[1].length === 0)
  await nest.create(COLLECTION.moderation, moderation('ban', { did: ben.did }))
  const body = JSON.stringify({ community_uri: home, member_did: 'did:plc:x' })
  await service.fetch('/api/community/ban', { method: 'POST', headers: bearer(KEY), body })
  const users = async () => (await good(get(moe, 'community.listBannedUsers', { community: home }))).users.map((one) => one.did)
  await eventually(async () => (await users()).length === 2)
  assert.deepEqual(await users(), [ben.did, 'did:plc:x'].sort())
  assert.deepEqual(await list(), [[], []])
  assert.equal((await get(ned, 'community.listBannedUsers', { community: home })).status, 403)
})

test('N171d: an account is deleted, unless it is the only owner of a community', async () => {
  const status = async (person) => good(get(person, 'actor.getDeletionStatus'))
  assert.deepEqual((await status(olga)).soleOwnedCommunities.map((one) => one.uri), [home])
  const refused = await post(olga, 'actor.deleteAccount')
  assert.deepEqual([refused.status, refused.body.error], [400, 'InvalidState'])
  const { soleOwnedCommunities, counts } = await status(moe)
  assert.deepEqual(soleOwnedCommunities, [])
  assert(counts.records >= 3, 'a membership, a message, a reaction')
  const { deleted } = await good(post(moe, 'actor.deleteAccount'))
  assert.equal(deleted.recordData, counts.records)
  const again = await post(moe, 'actor.deleteAccount')
  assert.deepEqual([again.status, again.body.error], [400, 'InvalidState'])
  const messages = await service.fetchJson(`/api/messages?channel=${hall.rkey}`)
  assert.deepEqual(messages.body, [], 'I55')
})
