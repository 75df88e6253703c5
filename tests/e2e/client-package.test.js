// packages/client against a running service and a real PDS: its types are those of the documents, it builds into a
// package that needs nothing, and its sockets lose and double nothing while their connections are cut.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'

import { Account, Call, Line, Refused, Service } from '../../packages/client/src/index.ts'
import { node24 } from '../../scripts/node24.js'
import { packaged } from '../../scripts/paths.js'
import { openCable } from './cable.js'
import { atEnd, eventually, freePort, freshFolder, startService } from './harness.js'
import { answers, connected, garden, openPlace } from './place.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PACKAGE = join(ROOT, 'packages', 'client')
const KEY = 'the key of the tests'
const SUBSCRIBE = 'social.colibri.sync.subscribeEvents'

let place, running, service, cable, alice, bob, community, channel, account
before(async () => {
  place = await openPlace({ serve: false })
  const port = await freePort()
  const own = { INVITE_API_KEY: KEY, SERVICE_DID: `did:web:localhost%3A${port}`, AUTH_MODE: 'mixed' }
  running = await startService({ ...place.settings, env: { ...place.settings.env, ...own }, port })
  await connected(running)
  ;({ alice, bob, community, channel } = await garden(place))
  await answers(running, `/api/members?community=${community.uri}`, 200, (rows) => rows.length === 2)
  cable = await openCable(port)
  service = new Service(`${running.url}/`)
  account = await Account.signIn(service, bob.did, bob.password)
})

/** A line through the cable, and what it handed over. */
function openLine({ proven = false, position = undefined } = {}) {
  const seen = { events: [], resumed: [], anew: 0 }
  const behind = new Service(cable.url)
  const line = new Line(
    async () => {
      const { did } = await service.get('/api/server', {})
      const address = behind.socketAddress('/api/subscribe', proven ? { did: account.did } : {})
      return [address, proven ? ['colibri.auth.bearer', await account.proof(did, SUBSCRIBE)] : []]
    },
    {
      event: (frame, isMissed) => seen.events.push({ ...frame, isMissed }),
      readAnew: () => (seen.anew += 1),
      resumed: (_, missed) => seen.resumed.push(missed),
      state: () => {},
    },
  )
  atEnd(() => line.cut())
  line.followMessages()
  line.follow(community.uri, position)
  return { line, seen }
}

const post = (text) => account.create('social.colibri.message', { channel: channel.rkey, text, createdAt: new Date().toISOString() })
const texts = ({ events }) => events.filter(({ type }) => type === 'message').map(({ text }) => text)

test('the types are those of the documents, and the package builds and needs nothing', async () => {
  const check = spawnSync(node24(), [join(ROOT, 'scripts', 'client-types.js'), '--check'], { encoding: 'utf8' })
  assert.equal(check.status, 0, check.stderr)
  const { dependencies, version } = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8'))
  assert.equal(dependencies, undefined)
  assert.equal(version, JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version)
  const out = freshFolder()
  const built = spawnSync(node24(), [packaged('tsc'), '-p', PACKAGE, '--outDir', out], { encoding: 'utf8' })
  assert.equal(built.status, 0, built.stdout)
  assert.match(readFileSync(join(out, 'index.d.ts'), 'utf8'), /Service/)
  const { Service: Built } = await import(pathToFileURL(join(out, 'index.js')).href)
  assert.equal((await new Built(running.url).get('/api/server', {})).auth_mode, 'mixed')
})

test('reads come typed and in pages, acts act once, refusals have a code', async () => {
  for (let n = 0; n < 5; n++) await post(`page ${n}`)
  await answers(running, `/api/messages?channel=${channel.uri}`, 200, (rows) => rows.length === 5)
  const page = await service.page('/api/messages', { channel: channel.uri, limit: 2 })
  assert.equal(page.rows.length, 2)
  assert(page.next)
  const all = await Array.fromAsync(service.rows('/api/messages', { channel: channel.uri, limit: 2 }))
  assert.deepEqual(all.map(({ text }) => text), ['page 4', 'page 3', 'page 2', 'page 1', 'page 0'])
  const query = { author_did: bob.did, rkey: all[0].rkey }
  await assert.rejects(service.act('POST /api/message/block', { query }), (error) => {
    assert(error instanceof Refused)
    assert.deepEqual([error.status, error.code], [401, 'AuthRequired'])
    return true
  })
  const operator = new Service(running.url, KEY)
  assert.equal(await operator.act('POST /api/message/block', { query, key: 'once' }), undefined)
  assert.equal((await service.page('/api/messages', { channel: channel.uri })).rows.length, 4)
  assert.equal((await service.health()).ok, true)
})

test('a line that is cut loses and doubles nothing, and a later one continues where it was', async () => {
  const { line, seen } = openLine({ proven: true })
  await eventually(() => seen.anew === 1, { what: 'the line to say that everything must be read' })
  await post('before')
  await eventually(() => texts(seen).includes('before'))
  cable.cut()
  await post('while it was cut')
  await answers(running, `/api/messages?channel=${channel.uri}&limit=1`, 200, ([{ text }]) => text === 'while it was cut')
  cable.mend()
  await eventually(() => texts(seen).includes('while it was cut'), { what: 'what was missed' })
  assert.equal(seen.events.find(({ text }) => text === 'while it was cut').isMissed, true)
  await eventually(() => seen.resumed.length > 0)
  await post('after')
  await eventually(() => texts(seen).includes('after'))
  assert.deepEqual(texts(seen), ['before', 'while it was cut', 'after'])
  const position = line.positionOf(community.uri)
  assert.equal(position, seen.events.findLast(({ seq }) => seq).seq)
  line.cut()
  await post('while nobody listened')
  const later = openLine({ position })
  await eventually(() => texts(later.seen).includes('while nobody listened'))
  assert.deepEqual(texts(later.seen), ['while nobody listened'])
  assert.equal(later.seen.anew, 0)
})

test('a person chooses a state, and others see it', async () => {
  const { line: nobody, seen } = openLine()
  await eventually(() => seen.anew === 1)
  // What is refused beside subscriptions does not end them.
  nobody.setState('dnd')
  await eventually(() => seen.events.some(({ type, message }) => type === 'error' && message === 'DID required for set_state'))
  const { line, seen: own } = openLine({ proven: true })
  await eventually(() => own.anew === 1)
  line.setState('dnd')
  const isDnd = ({ type, did, state }) => type === 'user_status_changed' && did === bob.did && state === 'dnd'
  await eventually(() => seen.events.some(isDnd), { what: 'the new state' })
})

test('a call survives a cut, under the same names', async () => {
  const open = async () => [new Service(cable.url).socketAddress('/api/webrtc/signal', { room: 'kitchen' }), []]
  const peer = (name) => {
    const seen = { joined: [], frames: [], ended: [] }
    const call = new Call('kitchen', name, open, {
      joined: (peers) => seen.joined.push(peers),
      frame: (frame) => seen.frames.push(frame),
      ended: (code) => seen.ended.push(code),
    })
    atEnd(() => call.leave())
    return { call, seen }
  }
  const one = peer('one')
  await eventually(() => one.seen.joined.length === 1)
  const two = peer('two')
  await eventually(() => one.seen.frames.some(({ type }) => type === 'peer_joined'))
  one.call.signal('two', { type: 'offer', sdp: 'v=0' })
  const offer = await eventually(() => two.seen.frames.find(({ type }) => type === 'offer'))
  assert.deepEqual([offer.from_peer_id, offer.sdp], ['one', 'v=0'])
  cable.cut()
  cable.mend()
  await eventually(() => one.seen.joined.length > 1 && two.seen.joined.length > 1, { what: 'both to join again' })
  await eventually(() => {
    two.call.signal('one', { type: 'answer', sdp: 'v=1' })
    return one.seen.frames.some(({ type, from_peer_id: from }) => type === 'answer' && from === 'two')
  })
  two.call.leave()
  await eventually(() => one.seen.frames.some(({ type, peer_id: id }) => type === 'peer_left' && id === 'two'))
  assert.deepEqual(one.seen.ended, [])
})
