// The newest client from its start to an open channel with a live message, and what its person does there (N149):
// the same calls in the same order, in Node and from a page in Chromium, through a real PDS as proxy.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, describe, test } from 'node:test'

import { lexiconsFolder, openLexicons } from '../network/lexicons.js'
import { COLLECTION, channel, community, member, moderation, role } from '../network/records.js'
import { missing, openBrowser } from './browser.js'
import { atEnd, eventually, freePort, startService } from './harness.js'
import { NewestClient } from './newest-client.js'
import { answers, connected, openPlace } from './place.js'
import { openHost } from './stage.js'

const NSID = 'social.colibri.'
const folder = lexiconsFolder()
if (!folder) assert(process.env.CI !== 'true', 'there are no lexicons')
const lexicons = folder && openLexicons(folder)
/** The smallest picture that a browser shows. */
const PICTURE = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64')

let place, service, appview, nest, olga, home, hall, voice, picture, owner

before(async () => {
  place = await openPlace({ serve: false })
  const port = await freePort()
  appview = `did:web:localhost%3A${port}`
  const env = { ...place.settings.env, DOH_URL: place.network.dns, SERVICE_DID: appview, AUTH_MODE: 'verified' }
  service = await startService({ ...place.settings, env, port })
  await connected(service)
  ;[nest, olga] = await Promise.all(['nest', 'olga'].map((name) => place.network.createAccount(name)))
  home = `at://${nest.did}/${COLLECTION.community}/self`
  picture = await nest.uploadBlob(PICTURE, 'image/png')
  await nest.create(COLLECTION.community, community({ name: 'Nest', requiresApprovalToJoin: true, picture }), 'self')
  const top = await nest.create(COLLECTION.role, role({ name: 'Owner', position: 100, protected: true }))
  const category = await nest.category({ name: 'General', community: 'self' })
  const at = { category: category.rkey, community: 'self' }
  hall = await nest.create(COLLECTION.channel, channel({ name: 'hall', type: `${NSID}channel.text`, ...at }))
  voice = await nest.create(COLLECTION.channel, channel({ name: 'voice', type: `${NSID}channel.voice`, ...at }))
  await admit(olga, top.rkey)
  owner = new NewestClient(appview)
  await owner.signIn(olga.handle, olga.password)
  await owner.start()
  await owner.open(home, hall.uri)
  atEnd(() => owner.close())
})

/** Somebody asks to join, and is admitted with these roles. */
async function admit(person, ...roles) {
  const wish = await person.membership(home)
  await nest.create(COLLECTION.member, member(person.did, { roles, fromMembership: wish.uri }))
  await answers(service, `/api/members?community=${home}`, 200, (list) => list.some((one) => one.member_did === person.did && one.status === 'approved'))
}

/** The client in Node: its methods, and what it keeps. */
async function inNode() {
  const client = new NewestClient(appview)
  atEnd(() => client.close())
  return { run: (method, ...given) => client[method](...given), kept: (what) => client[what] }
}

/** The same client in a page of another origin, as that of its makers is. */
async function inPage() {
  const host = await openHost()
  const source = readFileSync(new URL('newest-client.js', import.meta.url), 'utf8')
  host.routes.set('/newest-client.js', [200, source, { 'content-type': 'text/javascript' }])
  host.routes.set('/', [200, '<!doctype html><html lang="en"><title>client</title><link rel="icon" href="data:,">', { 'content-type': 'text/html' }])
  const page = await (await openBrowser()).page()
  await page.goto(host.url)
  await page.evaluate(async (did) => {
    const { NewestClient: Client } = await import('/newest-client.js')
    window.client = new Client(did)
  }, appview)
  return {
    page,
    run: (method, ...given) => page.evaluate(([name, args]) => window.client[name](...args), [method, given]),
    kept: (what) => page.evaluate((name) => window.client[name], what),
  }
}

/** Waits for a frame that fits, after those that were taken before. */
function frames({ kept }) {
  const taken = new Set()
  return (type, data) =>
    eventually(
      async () => {
        const all = await kept('frames')
        const fits = (frame) => frame.type === type && Object.entries(data ?? {}).every(([key, value]) => frame.data[key] === value)
        const at = all.findIndex((frame, n) => !taken.has(n) && fits(frame))
        if (at < 0) throw new Error(`among ${JSON.stringify(all.slice(-8))}`)
        taken.add(at)
        return all[at]
      },
      { what: `${type} ${JSON.stringify(data)}` },
    )
}

/** What every client does, and what it must see of it. */
async function lives(person, client) {
  const { run, kept } = client
  const next = frames(client)
  const call = (...asked) => run('call', ...asked)

  const { body: described } = await run('describe')
  assert.deepEqual([described.software, described.flavor], ['colibri-appview', 'colibri-edge'], 'N160b')
  assert.equal(await run('signIn', person.handle, person.password), person.did, 'N160a')
  const { protocol, person: me, communities, unread } = await run('start')
  assert.equal(protocol, 'colibri.auth.bearer', 'N161: the first sub-protocol alone')
  assert.deepEqual([me.did, me.handle], [person.did, person.handle])
  assert.deepEqual(communities.map(({ uri, isOwner, isLegacy }) => [uri, isOwner, isLegacy]), [[home, false, false]])
  assert.deepEqual(unread.map(({ status, body }) => [status, body.channels.map((one) => one.channelUri).sort()]), [[200, [hall.uri, voice.uri].sort()]])
  const { view, data } = await run('open', home, hall.uri)
  assert(Array.isArray(view.messages) && Array.isArray(view.unseen))
  assert.deepEqual(data.channels.map(({ uri }) => uri), [hall.uri, voice.uri], 'N160g: the first is opened')
  assert(data.members.some(({ did }) => did === person.did), 'N160g: the composer is enabled')
  await run('send', { type: 'heartbeat' })
  assert.deepEqual(await next('ack'), { type: 'ack' }, 'N163')

  const said = await olga.message(hall.uri, `welcome, ${person.handle}`)
  const live = await next('message_event', { event: 'upsert', uri: said.uri })
  assert.deepEqual([live.data.live, live.data.channel, live.data.author.did], [true, hall.uri, olga.did], 'N168')
  await owner.send({ type: 'typing', data: { channel: hall.uri } })
  await next('typing_event', { event: 'start', did: olga.did, channel: hall.uri })
  await run('send', { type: 'typing', data: { channel: hall.uri } })
  const seen = () => owner.frames.some((frame) => frame.type === 'typing_event' && frame.data.did === person.did)
  await eventually(seen, { what: 'the other one to learn who is writing' })

  const reply = await run('say', hall.uri, 'hello yourself', { parent: said.uri })
  assert.equal((await next('message_event', { event: 'upsert', uri: reply })).data.parent, said.uri)
  await run('edit', reply, { text: 'hello to you' })
  assert.equal((await next('message_event', { event: 'upsert', uri: reply, text: 'hello to you' })).data.edited, true)
  await run('react', said.uri, '🌿')
  await next('reaction_event', { event: 'added', target: said.uri, emoji: '🌿', channel: hall.uri })
  await run('read', hall.uri, said.uri)
  await next('seen_event', { event: 'channel_read', channelUri: hall.uri })
  assert.equal((await call('channel.getReadCursor', { channel: hall.uri })).body.cursor, said.uri, 'N52')
  const page = await call('channel.listMessages', { channel: hall.uri, limit: 50 })
  assert.deepEqual(page.body.messages.slice(0, 2).map(({ uri, text }) => [uri, text]), [[reply, 'hello to you'], [said.uri, `welcome, ${person.handle}`]])
  const older = await call('channel.listMessages', { channel: hall.uri, limit: 50, cursor: said.rkey })
  assert(!older.body.messages.some(({ uri }) => [said.uri, reply].includes(uri)), 'N160i')
  await nest.create(COLLECTION.moderation, moderation('hideMessage', { uri: reply }))
  await next('message_event', { event: 'delete', uri: reply })

  assert.deepEqual((await call('actor.listMutes')).body, { mutes: [] })
  assert.deepEqual((await call('actor.setState', { state: 'dnd' }, 'POST')).body, { onlineState: 'dnd' }, 'N160p: with a socket')
  assert.equal((await call('actor.setState', { state: 'sleepy' }, 'POST')).body.error, 'InvalidState')
  assert.equal((await call('community.banUser', { community: home, did: olga.did }, 'POST')).status, 403, 'N173')
  assert.equal((await call('nothing.here')).status, 404, 'N157')
  return { next, call }
}

/** Leaving, coming back, and a ban: each time the socket says the end, and the list agrees. */
async function ends(person, { run }, { next, call }) {
  const listed = async () => (await call('actor.listCommunities')).body.communities.map(({ uri }) => uri)
  const left = await run('leave', home)
  assert.deepEqual([left.status, left.body], [200, {}], 'N175')
  await next('community_event', { event: 'delete', uri: home })
  assert.deepEqual(await listed(), [])
  await admit(person)
  const join = await next('member_event', { event: 'join', community: home })
  assert.equal(join.data.member.did, person.did)
  assert.deepEqual(await listed(), [home])
  await nest.create(COLLECTION.moderation, moderation('ban', { did: person.did }))
  await next('community_event', { event: 'delete', uri: home })
  assert.deepEqual(await listed(), [])
  assert.equal((await call('channel.listUnreadStatus', { community: home })).status, 403, 'N160h')
  assert.equal(await run('connect'), 'colibri.auth.bearer', 'they may be nowhere')
}

/** N160, N168: every answer and every frame that a client got. */
async function conforms({ kept }) {
  if (!lexicons) return
  const [all, got] = [await kept('answers'), await kept('frames')]
  for (const answer of all) lexicons.conforms(answer.name, answer, `${answer.name} ${JSON.stringify(answer.query)}`)
  for (const frame of got) lexicons.validateFrame(frame)
  assert(all.length > 20 && got.length > 10, `${all.length} answers, ${got.length} frames`)
}

test('N149: in Node', async () => {
  const bob = await place.network.createAccount('bob')
  await admit(bob)
  const client = await inNode()
  await ends(bob, client, await lives(bob, client))
  await conforms(client)
})

describe('in Chromium', { skip: missing('chromium') }, () => {
  test('N149, N156: the same from a page of another origin', async () => {
    const carol = await place.network.createAccount('carol')
    await admit(carol)
    const client = await inPage()
    const seen = await lives(carol, client)
    await shows(client)
    await ends(carol, client, seen)
    await conforms(client)
    // The browser itself notes every answer that is an error, and the upgrade that is refused; the page has no fault.
    const own = client.page.problems.filter((text) => !/^Failed to load resource: the server responded|^WebSocket connection to .* failed/.test(text))
    assert.deepEqual(own, [])
  })

  /** N156, H30, N160k: what only a browser can tell: pictures, headers that it lets a page read, and refusals. */
  async function shows({ page, run }) {
    const query = new URLSearchParams({ did: nest.did, cid: picture.ref.$link, variant: 'small' })
    const url = `http://localhost:${service.port}/xrpc/com.atproto.sync.getBlob?${query}`
    const loaded = await page.evaluate(async (source) => {
      const image = Object.assign(new Image(), { src: source })
      await image.decode()
      const fetched = await fetch(source)
      const part = await fetch(source, { headers: { range: 'bytes=1-3' } })
      return {
        width: image.naturalWidth,
        size: (await fetched.arrayBuffer()).byteLength,
        headers: ['content-length', 'accept-ranges'].map((name) => fetched.headers.get(name)),
        part: [part.status, await part.text()],
      }
    }, url)
    assert.deepEqual(loaded, { width: 1, size: PICTURE.length, headers: [String(PICTURE.length), 'bytes'], part: [206, 'PNG'] })
    const headers = { authorization: 'Bearer nonsense', 'atproto-proxy': `${appview}#colibri_appview`, 'atproto-accept-labelers': 'did:web:a.test' }
    const refused = await run('direct', `${NSID}actor.listCommunities`, {}, { headers })
    assert.deepEqual([refused.status, refused.body.error], [401, 'AuthRequired'], 'N152: read by a page of another origin')
    assert.equal((await run('direct', `${NSID}nothing`)).status, 404)
    const posted = await run('direct', `${NSID}actor.setState`, { state: 'dnd' }, { method: 'POST', headers })
    assert.equal(posted.status, 401)
    await assert.rejects(run('connect', { token: 'nonsense' }), /closed with 1006/, 'N161: what a browser tells of a refused upgrade')
  }
})
