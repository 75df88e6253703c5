// Communities of the newest form (contract section 12) on a real PDS: a community that is an account of its own, people whom
// it admits, and a community of the old form beside it.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'

import { COLLECTION, channel, community, member, moderation, role } from '../network/records.js'
import { freshFolder, startService } from './harness.js'
import { answers, connected, garden, openPlace } from './place.js'

const KEY = 'the key of the tests'
const TEXT = 'social.colibri.channel.text'
const VOICE = 'social.colibri.channel.voice'
const ACK = { type: 'ack', message: '' }

let place, service, nest, owner, bob, old, home, hall, notices, voice, socket, gone, moe
const roles = {}

before(async () => {
  place = await openPlace({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: 'what signs the tokens of these tests' } })
  service = place.service
  const { network } = place
  old = await garden(place)
  bob = old.bob
  ;[nest, owner] = await Promise.all([network.createAccount('nest'), network.createAccount('olga')])
  home = `at://${nest.did}/${COLLECTION.community}/self`
  await nest.create(COLLECTION.community, community({ name: 'Nest', requiresApprovalToJoin: true }), 'self')
  const kinds = { owner: { name: 'Owner', position: 100, protected: true }, mod: { name: 'Moderator', position: 50, permissions: ['message.hide', 'member.ban', 'member.unban'] } }
  for (const [name, fields] of Object.entries(kinds)) {
    roles[name] = (await nest.create(COLLECTION.role, role(fields))).rkey
  }
  const category = await nest.category({ name: 'General', community: 'self' })
  const at = { category: category.rkey, community: 'self' }
  hall = await nest.create(COLLECTION.channel, channel({ name: 'hall', type: TEXT, ...at }))
  notices = await nest.create(COLLECTION.channel, channel({ name: 'notices', type: TEXT, allowedRoles: [roles.mod], ...at }))
  voice = await nest.create(COLLECTION.channel, channel({ name: 'voice', type: VOICE, ...at }))
  await answers(service, `/api/channels?community=${home}`, 200, (list) => list.length === 3)
  socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'community', community_uri: home })
  for (const { uri } of [hall, notices]) await socket.subscribe({ event_type: 'message', channel: uri })
})

/** Somebody asks to join, and is admitted with these roles. */
async function belongs(person, ...given) {
  const request = await person.membership(home)
  const admission = await nest.create(COLLECTION.member, member(person.did, { roles: given, fromMembership: request.uri }))
  await socket.next({ type: 'member_joined', member_did: person.did, membership_uri: request.uri })
  return { request, admission }
}
const ask = (method, path, body) =>
  service.fetchJson(path, { method, headers: { authorization: `Bearer ${KEY}` }, body: body && JSON.stringify(body) })

test('N04: the community is its account, and everybody can read it', async () => {
  const { body } = await service.fetchJson(`/api/community?community=${home}`)
  assert.deepEqual([body.owner_did, body.rkey, body.name], [nest.did, 'self', 'Nest'])
  const sidebar = await service.fetchJson(`/api/sidebar?community=${home}`)
  assert.deepEqual(
    sidebar.body.categories[0].channels.map(({ name, channel_type }) => [name, channel_type]),
    [
      ['hall', TEXT],
      ['notices', TEXT],
      ['voice', VOICE],
    ],
  )
  assert.deepEqual((await service.fetchJson(`/api/members?community=${home}`)).body, [], 'nobody was admitted')
})

test('N12, N16: what is said before the admission is shown with it', async () => {
  const request = await bob.membership(home)
  await socket.next({ type: 'member_pending', member_did: bob.did, membership_uri: request.uri })
  const early = await bob.message(hall.uri, 'am I in')
  const stranger = await old.alice.message(hall.uri, 'a stranger')
  await nest.create(COLLECTION.member, member(bob.did, { fromMembership: request.uri }))
  await socket.next({ type: 'member_joined', member_did: bob.did })
  const shown = await socket.next({ type: 'message', rkey: early.rkey })
  assert.deepEqual([shown.channel, shown.channel_uri, shown.community_uri], [hall.rkey, hall.uri, home], 'N06')
  await belongs(owner, roles.owner)
  const answer = await owner.message(hall.uri, 'welcome', { parent: early.uri })
  const received = await socket.next({ type: 'message', rkey: answer.rkey })
  assert.deepEqual([received.parent, received.parent_message.text], [early.uri, 'am I in'])
  const reaction = await bob.create(COLLECTION.reaction, { parent: answer.uri, emoji: '🌿' })
  await socket.next({ type: 'reaction_added', rkey: reaction.rkey, channel: hall.rkey })
  const { body } = await service.fetchJson(`/api/messages?channel=${hall.rkey}`)
  assert.deepEqual(
    body.map(({ text, channel }) => [text, channel]),
    [
      ['welcome', hall.rkey],
      ['am I in', hall.rkey],
    ],
  )
  assert.equal(socket.all({ type: 'message', rkey: stranger.rkey }).length, 0)
  const members = await service.fetchJson(`/api/members?community=${home}`)
  const expected = [bob, owner].map(({ did }) => [did, 'approved']).sort()
  assert.deepEqual(members.body.map((one) => [one.member_did, one.status]).sort(), expected)
  const of = await service.fetchJson(`/api/communities?did=${bob.did}`)
  assert.deepEqual(of.body.joined.map(({ owner_did }) => owner_did).sort(), [old.alice.did, nest.did].sort(), 'both forms')
})

test('N13, N14: a channel that names roles is for those who hold them', async () => {
  moe = await place.network.createAccount('moe')
  await belongs(moe, roles.mod)
  const refused = await bob.message(notices.uri, 'may I')
  const notice = await moe.message(notices.uri, 'only we may')
  await socket.next({ type: 'message', rkey: notice.rkey })
  const other = await owner.message(notices.uri, 'and I')
  await socket.next({ type: 'message', rkey: other.rkey })
  assert.equal(socket.all({ type: 'message', rkey: refused.rkey }).length, 0)
})

test('N05, N15: a voice channel of the newest type is joined by who is admitted', async () => {
  const join = { action: 'voice_event', community_uri: home, voice_channel_rkey: voice.rkey, voice_action: 'join' }
  const his = await service.connect(`/api/subscribe?did=${bob.did}`)
  assert.deepEqual(await his.request(join), ACK)
  await socket.next({ type: 'voice_channel_updated', channel_rkey: voice.rkey, member_dids: [bob.did] })
  const { body } = await service.fetchJson(`/api/channels?community=${home}`)
  assert.deepEqual(body.find(({ rkey }) => rkey === voice.rkey).voice_members, [bob.did], 'V10')
  const hers = await service.connect(`/api/subscribe?did=${old.alice.did}`)
  assert.deepEqual(await hers.request(join), { type: 'error', message: 'Not allowed in this voice channel' })
  await his.close()
})

test('N17, N30: leaving, being put out, and a kick', async () => {
  const { network } = place
  const [kim, lee, max] = await Promise.all(['kim', 'lee', 'max'].map((name) => network.createAccount(name)))
  const [left, out] = [await belongs(kim), await belongs(lee)]
  await belongs(max)
  gone = kim
  await kim.delete(COLLECTION.membership, left.request.rkey)
  await socket.next({ type: 'member_left', member_did: kim.did })
  await nest.delete(COLLECTION.member, out.admission.rkey)
  await socket.next({ type: 'member_left', member_did: lee.did })
  await socket.next({ type: 'member_pending', member_did: lee.did })
  const kicked = await ask('POST', '/api/community/kick', { community_uri: home, member_did: max.did })
  assert.equal(kicked.status, 204)
  await socket.next({ type: 'member_left', member_did: max.did })
  const { body } = await service.fetchJson(`/api/members?community=${home}`)
  const listed = (person) => body.find(({ member_did }) => member_did === person.did)?.status
  assert.deepEqual([listed(kim), listed(lee), listed(max)], [undefined, 'pending', undefined])
})

test('N21: a hide and a ban by record, and their ends', async () => {
  const decide = (action, subject) => nest.create(COLLECTION.moderation, moderation(action, subject, { createdBy: moe.did }))
  const pam = await place.network.createAccount('pam')
  await belongs(pam)
  const [first, second] = [await pam.message(hall.uri, 'one'), await pam.message(hall.uri, 'two')]
  await socket.next({ type: 'message', rkey: second.rkey })
  await decide('hideMessage', { uri: first.uri })
  await socket.next({ type: 'message_deleted', rkey: first.rkey, channel: hall.rkey })
  await decide('unhideMessage', { uri: first.uri })
  await socket.next({ type: 'message', rkey: first.rkey, text: 'one' })
  const ban = await decide('ban', { did: pam.did })
  for (const { rkey } of [first, second]) await socket.next({ type: 'message_deleted', rkey })
  await socket.next({ type: 'member_left', member_did: pam.did })
  const refused = await pam.message(hall.uri, 'from outside')
  const bans = await ask('GET', `/api/community/bans?community=${home}`)
  assert.deepEqual(bans.body.map(({ member_did, source }) => [member_did, source]), [[pam.did, 'record']])
  const lifted = await ask('DELETE', `/api/community/ban?community=${home}&member_did=${pam.did}`)
  assert.equal(lifted.status, 404, 'N42')
  await nest.delete(COLLECTION.moderation, ban.rkey)
  await socket.next({ type: 'member_joined', member_did: pam.did })
  await answers(service, `/api/message?author=${pam.did}&rkey=${second.rkey}`)
  assert.equal(socket.all({ type: 'message', rkey: refused.rkey }).length, 0)
})

test('N23: who holds a role moderates by their own proof', async () => {
  const [ned, tokens] = [await place.network.createAccount('ned'), {}]
  await belongs(ned)
  const said = await ned.message(hall.uri, 'to be judged')
  await socket.next({ type: 'message', rkey: said.rkey })
  for (const [name, { did }] of Object.entries({ moe, ned, owner })) {
    tokens[name] = (await ask('POST', '/api/authentication', { did })).body.token
  }
  const by = async (name, method, path, body) => {
    const headers = { authorization: `Bearer ${tokens[name]}` }
    return (await service.fetchJson(path, { method, headers, body: body && JSON.stringify(body) })).status
  }
  const block = `/api/message/block?author_did=${ned.did}&rkey=${said.rkey}`
  const person = ({ did }) => ({ community_uri: home, member_did: did })
  assert.equal(await by('ned', 'POST', block), 403, 'no role')
  assert.equal(await by('moe', 'POST', block), 204)
  await socket.next({ type: 'message_deleted', rkey: said.rkey })
  assert.equal(await by('moe', 'POST', '/api/community/kick', person(ned)), 403, 'not in his role')
  assert.equal(await by('moe', 'POST', '/api/community/ban', person(owner)), 403, 'a protected role is above his')
  assert.equal(await by('moe', 'GET', `/api/audit?community=${home}`), 403)
  assert.equal(await by('owner', 'GET', `/api/audit?community=${home}`), 200)
  assert.equal(await by('moe', 'POST', '/api/community/ban', person(ned)), 204)
  await socket.next({ type: 'member_left', member_did: ned.did })
  assert.equal(await by('owner', 'POST', '/api/community/kick', person(ned)), 204)
})

test('N01, N02: the old form beside it goes by its own rules', async () => {
  const watch = await service.connect('/api/subscribe')
  await watch.subscribe({ event_type: 'message', channel: old.channel.uri })
  const said = await bob.message(old.channel.rkey, 'as ever')
  const shown = await watch.next({ type: 'message', rkey: said.rkey })
  assert.equal(shown.channel, old.channel.rkey)
  const members = await service.fetchJson(`/api/members?community=${old.community.uri}`)
  assert.deepEqual(members.body.map(({ status }) => status), ['owner', 'pending'])
})

test('N50, N52: what the newest client writes about a person', async () => {
  const said = await owner.message(hall.uri, 'the last word')
  const shown = await socket.next({ type: 'message', rkey: said.rkey })
  await bob.put(COLLECTION.read, hall.rkey, { $type: COLLECTION.read, channel: hall.uri, cursor: said.uri })
  const mark = [{ channel_uri: hall.uri, cursor_at: shown.created_at }]
  await answers(service, `/api/channel-reads?did=${bob.did}`, 200, (list) => isDeepStrictEqual(list, mark))
  const profile = (fields) => ({ $type: COLLECTION.actorProfile, displayName: 'Bob of the nest', ...fields })
  const named = (name) => answers(service, `/api/authors?did=${bob.did}`, 200, ({ display_name }) => display_name === name)
  await bob.put(COLLECTION.profile, 'self', { $type: COLLECTION.profile, displayName: 'Bob' })
  await named('Bob')
  await bob.put(COLLECTION.actorProfile, 'self', profile())
  await named('Bob of the nest')
  await bob.put(COLLECTION.actorProfile, 'self', profile({ syncBluesky: true }))
  await named('Bob')
})

test('I36: a person whose Bluesky profile says so is shown as a bot, whatever profile is shown', async () => {
  const isBot = (expected) =>
    answers(service, `/xrpc/social.colibri.actor.getData?identifier=${bob.did}`, 200, ({ data }) => data.isBot === expected)
  await isBot(false)
  const labels = { $type: 'com.atproto.label.defs#selfLabels', values: [{ val: 'bot' }] }
  await bob.put(COLLECTION.profile, 'self', { $type: COLLECTION.profile, displayName: 'Bob', labels })
  await socket.next({ type: 'user_profile_updated', did: bob.did, is_bot: true })
  await isBot(true)
  await bob.put(COLLECTION.actorProfile, 'self', { $type: COLLECTION.actorProfile, displayName: 'No bot' })
  await answers(service, `/api/authors?did=${bob.did}`, 200, (author) => author.display_name === 'No bot' && author.is_bot)
  await isBot(true)
  await bob.delete(COLLECTION.profile, 'self')
  await answers(service, `/api/authors?did=${bob.did}`, 200, (author) => !('is_bot' in author))
  await isBot(false)
})

test('K01: a service that knows nothing finds it all once somebody names the community', async () => {
  const fresh = await startService({ ...place.settings, state: join(freshFolder(), 'service') })
  await connected(fresh)
  await answers(fresh, `/api/community?community=${home}`)
  // Whether the farewell of the one who left is seen depends on how far back the stream begins (N17).
  const others = (dids) => dids.filter((did) => did !== gone.did).sort()
  const admitted = others((await nest.list(COLLECTION.member)).map(({ value }) => value.subject))
  await answers(fresh, `/api/members?community=${home}`, 200, (list) => {
    const approved = list.filter(({ status }) => status === 'approved')
    return isDeepStrictEqual(others(approved.map(({ member_did }) => member_did)), admitted)
  })
  const { body: sidebar } = await service.fetchJson(`/api/sidebar?community=${home}`)
  const bare = ({ categories }) => categories[0].channels.map(({ uri, channel_type }) => [uri, channel_type])
  await answers(fresh, `/api/sidebar?community=${home}`, 200, (found) => isDeepStrictEqual(bare(found), bare(sidebar)))
  const texts = (list) => list.map(({ text }) => text)
  await answers(fresh, `/api/messages?channel=${hall.uri}`, 200, (list) =>
    ['welcome', 'am I in'].every((text) => texts(list).includes(text)),
  )
})
