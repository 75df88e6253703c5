// The mistakes of the original about membership, the gate, moderation and proofs (contract, appendix), in every mode of
// AUTH_MODE: whom a socket or a moderator may be differs, and what comes of a record does not. In each mode the owner
// moderates with a proof of hers.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'

import { cidOf } from '../network/cid.js'
import { eventually } from './harness.js'
import { connected } from './place.js'
import { openStage } from './stage.js'
import { bearer, vouch } from './tokens.js'

const KEY = 'the key of the tests'
const SECRET = 'what signs the tokens of these tests'

let stage, service
before(async () => {
  stage = await openStage({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: SECRET, OFFLINE_GRACE_MS: '500' } })
  service = stage.service
})

for (const mode of ['open', 'mixed', 'verified']) describe(mode, () => inMode(mode))

/** @param {string} mode */
function inMode(mode) {
  /** Names are of one mode: it is the same service. */
  const called = (name) => `${name}-${mode}`
  const did = (name) => `did:plc:${called(name)}`
  const uriOf = (owner, kind, rkey) => `at://${did(owner)}/social.colibri.${kind}/${rkey}`
  const closed = uriOf('owner', 'community', 'closed')
  const open = uriOf('rival', 'community', 'open')
  const [hall, lobby] = [called('hall'), called('lobby')]
  const at = () => new Date().toISOString()
  const say = (...writes) => stage.say(...writes.map(([who, ...rest]) => [called(who), ...rest]))
  const message = (who, rkey, text, channel = hall) => [who, 'create', `message/${rkey}`, { text, channel, createdAt: at() }]
  const join = (who, community, rkey = 'm') => [who, 'create', `membership/${rkey}`, { community, createdAt: at() }]
  const approve = (by, who, rkey = who, membership = 'm') => [
    by, 'create', `approval/${rkey}`, { membership: uriOf(who, 'membership', membership), community: closed },
  ]
  /** A member of the closed community. */
  const admit = (who) => say(join(who, closed), approve('owner', who))

  const members = async (community = closed) => (await service.fetchJson(`/api/members?community=${community}`)).body
  const statusOf = async (who, community) => (await members(community)).find(({ member_did }) => member_did === did(who))?.status
  const texts = async (channel = hall) =>
    (await service.fetchJson(`/api/messages?channel=${channel}&all=`)).body.map(({ text }) => text)
  const reactionsOf = async (rkey) => (await service.fetchJson(`/api/reactions?message=${rkey}`)).body
  const proofs = {}
  const ask = async (who, method, path, body) => {
    proofs[who] ??= await vouch(service, KEY, did(who))
    return service.fetchJson(path, { method, headers: bearer(proofs[who]), body: body && JSON.stringify(body) })
  }
  const ban = (by, who, community = closed, method = 'POST') => {
    const named = `?community=${community}&member_did=${did(who)}`
    return method === 'POST'
      ? ask(by, 'POST', '/api/community/ban', { community_uri: community, member_did: did(who) })
      : ask(by, method, `/api/community/ban${named}`)
  }
  const block = (by, author, rkey, method = 'POST') =>
    ask(by, method, `/api/message/block?author_did=${did(author)}&rkey=${rkey}`)
  const invite = (by, fields = {}, community = closed, owner = 'owner') =>
    ask(by, 'POST', '/api/invite', { community_uri: community, owner_did: did(owner), ...fields })
  const use = (code) => service.fetchJson(`/api/invite/${code}/use`, { method: 'POST', headers: bearer(KEY) })

  const blobOf = (who, cid) => service.fetch(`/api/blob?did=${who}&cid=${cid}`)

  /** A socket that proves who it is. */
  const come = async (who) => service.connect(`/api/subscribe?auth=${encodeURIComponent(await vouch(service, KEY, did(who)))}`)
  /** What everybody receives of a community. */
  async function listen(community = closed, channel = uriOf('owner', 'channel', hall), socket = undefined) {
    const listener = socket ?? (await service.connect('/api/subscribe'))
    await listener.subscribe({ event_type: 'community', community_uri: community })
    await listener.subscribe({ event_type: 'message', channel })
    return listener
  }
  let marks = 0
  /** What was received until now: a later message has come. @returns {Promise<any[]>} */
  async function received(socket) {
    marks += 1
    const rkey = `mark${marks}`
    await say(message('owner', rkey, 'mark'))
    await socket.next({ type: 'message', rkey })
    return socket.events.filter((event) => !String(event.rkey ?? '').startsWith('mark'))
  }
  const about = (events, who) => events.filter(({ member_did }) => member_did === did(who)).map(({ type }) => type)

  before(async () => {
    await service.restart({ env: { AUTH_MODE: mode } })
    await connected(service)
    await say(
      ['owner', 'create', 'community/closed', { name: 'Closed', requiresApprovalToJoin: true }],
      ['owner', 'create', `channel/${hall}`, { name: 'hall', type: 'text', community: 'closed' }],
      ['owner', 'create', 'channel/notices', { name: 'notices', type: 'text', community: 'closed', ownerOnly: true }],
      ['owner', 'create', 'channel/voice', { name: 'voice', type: 'voice', community: 'closed' }],
      ['rival', 'create', 'community/open', { name: 'Open', requiresApprovalToJoin: false }],
      ['rival', 'create', `channel/${lobby}`, { name: 'lobby', type: 'text', community: 'open' }],
    )
    await admit('member')
  })

  test('B-01: who approves themselves stays pending, and says nothing', async () => {
    const socket = await listen()
    await say(join('selfmade', closed), approve('selfmade', 'selfmade'), message('selfmade', 'b01', 'let me in'))
    assert.equal(await statusOf('selfmade'), 'pending')
    assert(!(await texts()).includes('let me in'))
    assert.deepEqual(about(await received(socket), 'selfmade'), ['member_pending'])
  })

  test('B-02: a stranger’s approval, written and deleted, changes nothing', async () => {
    const socket = await listen()
    await say(approve('stranger', 'member', 'x'), ['stranger', 'delete', 'approval/x'])
    assert.equal(await statusOf('member'), 'approved')
    assert.deepEqual(about(await received(socket), 'member'), [])
  })

  test('B-08: a community that begins to ask for approval notifies each of its members once', async () => {
    const flips = uriOf('flipper', 'community', 'flips')
    const channel = called('flips')
    const fields = (requiresApprovalToJoin) => ({ name: 'Flips', requiresApprovalToJoin })
    await say(
      ['flipper', 'create', 'community/flips', fields(false)],
      ['flipper', 'create', `channel/${channel}`, { name: 'k', type: 'text', community: 'flips' }],
      join('early', flips),
      message('early', 'before', 'before', channel),
    )
    const socket = await listen(flips, uriOf('flipper', 'channel', channel))
    await say(['flipper', 'update', 'community/flips', fields(true)], message('early', 'after', 'after', channel))
    await say(message('flipper', 'end', 'end', channel))
    await socket.next({ type: 'message', rkey: 'end' })
    assert.deepEqual(about(socket.events, 'early'), ['member_pending'])
    assert.deepEqual(await texts(channel), ['end', 'before'])
    const { body } = await ask('early', 'GET', `/api/communities?did=${did('early')}`)
    assert.deepEqual(body, { owned: [], joined: [] })
  })

  test('B-09, B-10, B-37: approval and membership, in whatever order they come and go', async () => {
    const socket = await listen()
    await say(approve('owner', 'nine'), join('nine', closed))
    assert.equal(await statusOf('nine'), 'approved')
    await say(approve('owner', 'ten'), ['owner', 'delete', 'approval/ten'], join('ten', closed))
    assert.equal(await statusOf('ten'), 'pending')
    await say(['nine', 'delete', 'membership/m'])
    assert.equal(await statusOf('nine'), undefined)
    await say(join('nine', closed))
    assert.equal(await statusOf('nine'), 'approved', 'the approval remains')
    const events = await received(socket)
    assert.deepEqual(about(events, 'nine'), ['member_joined', 'member_left', 'member_joined'])
    assert.deepEqual(about(events, 'ten'), ['member_pending'])
  })

  test('B-39: what was posted while pending stays out; what is posted after the approval appears', async () => {
    await say(join('waiting', closed), message('waiting', 'b39', 'too early'))
    await say(approve('owner', 'waiting'), ['waiting', 'update', 'message/b39', { text: 'edited', channel: hall, createdAt: at() }])
    await say(message('waiting', 'b39b', 'in time'))
    const shown = await texts()
    assert.deepEqual(['too early', 'edited', 'in time'].filter((text) => shown.includes(text)), ['in time'])
  })

  test('B-04, B-07: a stolen key of a channel, an unknown one, and a deleted community let nobody in', async () => {
    await say(
      ['thief', 'create', 'community/open', { name: 'Mine', requiresApprovalToJoin: false }],
      ['thief', 'create', `channel/${hall}`, { name: 'mine', type: 'text', community: 'open' }],
      join('sneak', uriOf('thief', 'community', 'open')),
      message('sneak', 'b04', 'sneaked in'),
      message('member', 'b07', 'for later', called('later')),
    )
    assert(!(await texts(uriOf('owner', 'channel', hall))).includes('sneaked in'))
    assert.deepEqual(await texts(called('later')), [], 'held')
    await say(['owner', 'create', `channel/${called('later')}`, { name: 'later', type: 'text', community: 'closed', ownerOnly: true }])
    assert.deepEqual(await texts(called('later')), [], 'and gated when the channel is there')
    await say(['thief', 'delete', 'community/open'], message('sneak', 'b07b', 'nobody is here', uriOf('thief', 'channel', hall)))
    assert.deepEqual(await texts(uriOf('thief', 'channel', hall)), [])
  })

  test('B-14: who may not write does not react, and nobody reacts to what is blocked', async () => {
    await admit('badly')
    await say(message('member', called('b14'), 'react to me'))
    assert.equal((await ban('owner', 'badly')).status, 204)
    const react = (who, rkey) => [who, 'create', `reaction/${rkey}`, { emoji: '👍', parent: called('b14') }]
    await say(react('stranger', 'r1'), react('badly', 'r2'))
    assert.deepEqual(await reactionsOf(called('b14')), [])
    await say(react('owner', 'r3'))
    assert.equal((await reactionsOf(called('b14'))).length, 1)
    assert.equal((await block('owner', 'member', called('b14'))).status, 204)
    assert.deepEqual(await reactionsOf(called('b14')), [])
  })

  test('B-15: an edit moves a message only where its author may write, and its readers are notified', async () => {
    const [second, socket] = [called('second'), await listen()]
    await say(['owner', 'create', `channel/${second}`, { name: 'second', type: 'text', community: 'closed' }], message('member', 'b15', 'here'))
    await socket.subscribe({ event_type: 'message', channel: uriOf('owner', 'channel', second) })
    const move = (channel) => ['member', 'update', 'message/b15', { text: 'moved', channel, createdAt: at() }]
    await say(move(uriOf('owner', 'channel', 'notices')))
    assert((await texts()).includes('here'), 'not allowed: unchanged')
    await say(move(second))
    const of = (events) => events.filter(({ rkey }) => rkey === 'b15').map(({ type, channel }) => [type, channel])
    assert.deepEqual(of(await received(socket)), [['message', hall], ['message_deleted', hall], ['message', second]])
    assert.deepEqual(await texts(second), ['moved'])
  })

  test('B-11, B-12: a block outlives edits and a second writing', async () => {
    const socket = await listen()
    const rkey = called('b11')
    await say(message('member', rkey, 'blocked'))
    assert.equal((await block('owner', 'member', rkey)).status, 204)
    await say(['member', 'update', `message/${rkey}`, { text: 'edited', channel: hall, createdAt: at() }])
    await say(['member', 'delete', `message/${rkey}`], message('member', rkey, 'again'))
    const shown = await texts()
    assert(!['blocked', 'edited', 'again'].some((text) => shown.includes(text)))
    assert.equal((await service.fetch(`/api/message?author=${did('member')}&rkey=${rkey}`)).status, 404)
    const types = (await received(socket)).filter((event) => event.rkey === rkey).map(({ type }) => type)
    assert.deepEqual(types, ['message', 'message_deleted'])
    const resumed = await service.connect('/api/subscribe')
    await resumed.subscribe({ event_type: 'message', channel: uriOf('owner', 'channel', hall) })
    await resumed.subscribe({ event_type: 'community', community_uri: closed, cursor: 0 })
    await resumed.next({ type: 'resumed' })
    assert.deepEqual(resumed.all({ type: 'message', rkey }), [], 'nor in a replay')
  })

  test('B-16: one leaves: the others receive member_left, only the leaver that the community is gone', async () => {
    await admit('leaver')
    const [own, other] = [await listen(closed, undefined, await come('leaver')), await listen()]
    await say(['leaver', 'delete', 'membership/m'])
    await own.next({ type: 'community_deleted', community_uri: closed })
    const events = await received(other)
    assert.deepEqual(about(events, 'leaver'), ['member_left'])
    assert.deepEqual(events.filter(({ type }) => type === 'community_deleted'), [])
  })

  test('B-17: a ban ends voice and watching, a new membership is not published, and nobody bans the owner', async () => {
    await admit('loud')
    const [socket, calling] = [await listen(), await come('loud')]
    const voice = { action: 'voice_event', community_uri: closed, voice_channel_rkey: 'voice', voice_action: 'join' }
    assert.deepEqual(await calling.request(voice), { type: 'ack', message: '' })
    const list = (dids) => (event) => event.type === 'voice_channel_updated' && event.member_dids.join() === dids.join()
    await socket.next(list([did('loud')]))
    assert.equal((await ban('owner', 'loud')).status, 204)
    await socket.next(list([]))
    assert.deepEqual(await calling.request(voice), { type: 'error', message: 'Not allowed in this voice channel' })
    const before = (await received(socket)).length
    assert.equal((await calling.request({ action: 'set_state', state: 'dnd' })).type, 'ack')
    await say(['loud', 'delete', 'membership/m'], join('loud', closed, 'again'))
    const since = (await received(socket)).slice(before)
    assert.deepEqual(since.filter((event) => [event.did, event.member_did].includes(did('loud'))), [])
    assert.equal((await ban('owner', 'owner')).status, 422)
  })

  test('B-18: an owner moderates what is hers, and nothing else', async () => {
    await say(join('guest', open), message('guest', called('b18'), 'in the lobby', lobby))
    for (const refused of [
      await block('owner', 'guest', called('b18')),
      await ban('owner', 'guest', open),
      await ban('owner', 'guest', open, 'DELETE'),
      await ask('owner', 'POST', '/api/community/kick', { community_uri: open, member_did: did('guest') }),
      await invite('owner', {}, open, 'rival'),
      await ask('owner', 'GET', `/api/community/bans?community=${open}`),
      await ask('owner', 'GET', `/api/audit?community=${open}`),
    ]) {
      assert.equal(refused.status, 403, JSON.stringify(refused.body))
    }
    assert.deepEqual(await texts(lobby), ['in the lobby'])
    assert(await statusOf('guest', open), 'still a member')
    assert.equal((await block('rival', 'guest', called('b18'))).status, 204)
    for (const wrong of [undefined, `${KEY}x`, KEY.slice(1)]) {
      const headers = wrong === undefined ? {} : bearer(wrong)
      const { status } = await service.fetchJson(`/api/community/bans?community=${open}`, { headers })
      assert.equal(status, 401)
    }
  })

  test('B-22, B-23: an invite counts exactly, and ends with its community', async () => {
    const { code } = (await invite('owner', { max_uses: 1 })).body
    const used = await Promise.all(Array.from({ length: 20 }, () => use(code)))
    assert.deepEqual(used.map(({ status }) => status).sort(), [204, ...Array(19).fill(410)])
    assert.equal((await service.fetchJson(`/api/invite/${code}`, { headers: bearer(KEY) })).body.use_count, 1)
    assert.equal((await invite('owner', { max_uses: 0 })).status, 422)
    const brief = uriOf('owner', 'community', 'brief')
    await say(['owner', 'create', 'community/brief', { name: 'Brief', requiresApprovalToJoin: false }])
    const last = (await invite('owner', {}, brief)).body.code
    await say(['owner', 'delete', 'community/brief'])
    assert.equal((await use(last)).status, 410)
  })

  test('B-19, B-21: a document that leads inside leads nowhere, and a CID is no part of an address', async () => {
    const cid = cidOf(Buffer.from('anything'))
    for (const [n, pds] of ['https://10.0.0.1', 'http://pds.example.com', 'https://localhost', 'https://[::1]'].entries()) {
      const who = did(`inside${n}`)
      const service = [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: pds }]
      stage.host.routes.set(`/plc/${who}`, { id: who, service })
      assert.equal((await blobOf(who, cid)).status, 404, pds)
    }
    stage.host.news()
    assert.equal((await blobOf(did('inside0'), 'x%26did%3Ddid:plc:other')).status, 422)
    assert.deepEqual(stage.host.news().filter((url) => url.includes('other') || url.includes('getBlob')), [])
  })

  test('B-03: nobody acts for whom they only name', async () => {
    const victim = await come('member')
    assert.equal((await victim.request({ action: 'set_state', state: 'away' })).type, 'ack')
    await victim.request({ action: 'activity' })
    const socket = await listen()
    const claims = await service.connect(`/api/subscribe?did=${did('member')}`)
    const voice = { action: 'voice_event', community_uri: closed, voice_channel_rkey: 'voice', voice_action: 'join' }
    const replies = [await claims.request({ action: 'set_state', state: 'dnd' }), await claims.request(voice)]
    const expected = mode === 'open' ? ['ack', 'ack'] : ['error', 'error']
    assert.deepEqual(replies.map(({ type }) => type), expected, 'X05: in open mode a claim is believed, as documented')
    const events = await received(socket)
    const victims = events.filter((event) => event.did === did('member') || event.member_dids?.includes(did('member')))
    if (mode === 'open') await eventually(() => socket.all({ type: 'voice_channel_updated' }).length > 0)
    else assert.deepEqual(victims, [])
  })
}
