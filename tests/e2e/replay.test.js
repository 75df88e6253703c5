// `npm run replay`: recorded frames fed to a running service (tests/fixtures/network.jsonl, from a real PDS).

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { serveFrames } from '../bench/stream.js'
import { recording } from '../fixtures/recording.js'
import { atEnd, eventually, freePort, freshFolder, startService } from './harness.js'
import { answers, connected, openPlace } from './place.js'

const REPLAY = fileURLToPath(new URL('../../scripts/replay.js', import.meta.url))
const recorded = recording()
const RECORDING = fileOf(recorded)

/** What people see in the end; tests/native/recorded.rs checks the rest. */
const SAID = ['Hello 🌿 Garden, see #hall', 'Welcome, bob', 'Watering can found!', 'Back in a minute', 'Good night']

/** Runs the command and resolves with its exit code and output. */
async function replay(...args) {
  const child = spawn(process.execPath, [REPLAY, ...args], { env: { ...process.env, COLIBRI_END_WITH_PARENT: '1' } })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text))
  const [code] = await once(child, 'close')
  return { code, said }
}

function fileOf(lines) {
  const file = join(freshFolder(), 'frames.jsonl')
  writeFileSync(file, lines.map((line) => `${line}\n`).join(''))
  return file
}

/** Everything REST shows of the recorded community. */
async function shown(service) {
  const owner = recorded.map((line) => JSON.parse(line)).find(({ commit }) => commit?.collection === 'social.colibri.community').did
  const community = `at://${owner}/social.colibri.community/garden`
  const bodies = await Promise.all(
    [
      '/api/messages?channel=hall&all=',
      '/api/messages?channel=notices&all=',
      `/api/members?community=${community}`,
      `/api/channels?community=${community}`,
      `/api/community?community=${community}`,
    ].map(async (path) => (await service.fetchJson(path)).body),
  )
  return { said: bodies[0].map(({ text }) => text).reverse(), community, bodies }
}

let place
before(async () => {
  place = await openPlace()
})

test('a recording is fed into a running network, and a second time it changes nothing', async () => {
  const { network, service } = place
  const first = await replay(RECORDING, '--control', network.control)
  assert.equal(first.code, 0, first.said)
  assert.match(first.said, new RegExp(`appended ${recorded.length} frames .* sent to 1 reader\\b`))
  await answers(service, '/api/messages?channel=hall&all=', 200, (messages) => messages.length === SAID.length)
  const before = await shown(service)
  assert.deepEqual(before.said, SAID)
  const socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'message', channel: 'hall' })
  await socket.subscribe({ event_type: 'community', community_uri: before.community })

  const second = await replay(RECORDING, '--control', network.control)
  assert.equal(second.code, 0, second.said)
  assert.match(second.said, new RegExp(`${recorded.length} got a later time_us`))
  // A live message: when it is visible, everything before it has been decided.
  const { did, commit } = JSON.parse(recorded.at(-1))
  const rev = `${commit.rev.slice(0, -1)}z`
  const news = { did, kind: 'commit', commit: { ...commit, rev, rkey: 'news', record: { ...commit.record, text: 'news' } } }
  await network.injectFrame(news)
  await socket.next({ type: 'message', text: 'news' })
  assert.deepEqual(
    socket.events.map(({ type }) => type),
    // dave's account became inactive and active again; such an event has no revision, only its time.
    ['message_deleted', 'member_left', 'member_pending', 'message'],
    'no record was published twice',
  )
  const after = await shown(service)
  assert.deepEqual(after.said, [...SAID, 'news'])
  assert.deepEqual(after.bodies.slice(1), before.bodies.slice(1))
})

test('lines that are no frames are skipped and named; the others are fed in', async () => {
  const time = Date.now() * 1000
  const good = (n) => JSON.stringify({ did: 'did:plc:somebody', time_us: time + n, kind: 'identity', identity: { did: 'did:plc:somebody' } })
  const file = fileOf([
    good(1),
    '{ this is not JSON',
    '[]',
    '',
    '{"kind":"commit"}',
    '{"did":"did:plc:a","kind":"commit","commit":{"rev":"3","operation":"create","rkey":"x"}}',
    '{"did":"did:plc:a","time_us":"soon","kind":"identity"}',
    good(2),
  ])
  const { frames } = await place.network.stats()
  const { code, said } = await replay(file, '--control', place.network.control)
  assert.equal(code, 0, said)
  for (const complaint of [
    'skipped 5 lines that are no frames',
    'line 2: not JSON',
    'line 3: not a JSON object',
    'line 5: no "did"',
    'line 6: a commit without "collection"',
    'line 7: "time_us" is not a whole number',
    'appended 2 frames',
  ]) {
    assert(said.includes(complaint), `${complaint}:\n${said}`)
  }
  assert.equal((await place.network.stats()).frames, frames + 2)
})

test('what cannot be done ends with exit code 1 and says why', async () => {
  const nobody = `http://127.0.0.1:${await freePort()}`
  for (const [args, why] of [
    [[RECORDING, '--control', nobody], /Nothing answers at .*ECONNREFUSED.*Is `npm start` running\?/],
    [[join(freshFolder(), 'absent.jsonl')], /There is no file .*absent\.jsonl/],
    [[freshFolder()], /is not a file/],
    [[fileOf([]), '--control', nobody], /There is no frame in .*: it is empty/],
    [[fileOf(['not a frame']), '--control', nobody], /line 1: not JSON[^]*There is no frame in/],
    [[], /Usage: npm run replay/],
    [[RECORDING, '--port', 'x'], /--port must be a number/],
    [[RECORDING, '--port', '0', '--control', nobody], /choose one/],
  ]) {
    const { code, said } = await replay(...args)
    assert.equal(code, 1, said)
    assert.match(said, why)
    assert.doesNotMatch(said, /\n\s+at /, 'no stack trace')
  }
})

test('--port serves the file itself, from its first frame', async () => {
  const { network: stream } = await serveFrames(RECORDING)
  atEnd(() => stream.stop())
  const { host } = new URL(stream.jetstream)
  const service = await startService({ env: { JETSTREAM_URL: stream.jetstream, INSECURE_HOSTS: host } })
  await connected(service)
  await eventually(async () => (await shown(service)).said.length === SAID.length, { what: 'the recording to be shown', timeout: 20_000 })
  assert.deepEqual((await shown(service)).said, SAID)
})
