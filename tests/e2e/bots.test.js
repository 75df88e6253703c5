// The bot of docs/bots.md, as it is printed there, at a real PDS: cut connections lose and double nothing (Q02).

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { before, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { node24 } from '../../scripts/node24.js'
import { openCable } from './cable.js'
import { atEnd, eventually, freePort, freshFolder, startService } from './harness.js'
import { answers, connected, garden, openPlace } from './place.js'

const BOT = fileURLToPath(new URL('../../docs/bot.js', import.meta.url))

const POST_EVERY_MILLIS = 100

let place, service, cable, alice, bob, community, channel
/** The environment of the bot: bob, behind a cable. */
let env
before(async () => {
  place = await openPlace({ serve: false })
  const port = await freePort()
  const own = { SERVICE_DID: `did:web:localhost%3A${port}`, AUTH_MODE: 'verified', EVENT_LOG_MAX: '100' }
  service = await startService({ ...place.settings, env: { ...place.settings.env, ...own }, port })
  await connected(service)
  ;({ alice, bob, community, channel } = await garden(place))
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
  // So slow that messages come between two frames of the bot.
  cable = await openCable(port, { frameEvery: 400 })
  const account = { PDS: place.network.pds, HANDLE: 'bob.test', PASSWORD: 'bob-password' }
  env = { ...process.env, ...account, SERVICE: cable.url, COMMUNITY: community.uri, CURSOR_FILE: join(freshFolder(), 'cursor') }
})

/** Runs the bot. `received` grows with what it handles. */
function startBot() {
  const child = spawn(node24(), [BOT], { env, stdio: ['ignore', 'pipe', 'ignore'] })
  atEnd(() => child.kill('SIGKILL'))
  const received = []
  createInterface(child.stdout).on('line', (line) => received.push(JSON.parse(line)))
  /** Ends it once what it handled is noted. */
  const stop = async () => {
    const last = () => String(received.findLast(({ seq }) => seq)?.seq)
    await eventually(() => readFileSync(env.CURSOR_FILE, 'utf8') === last(), { what: 'the bot to note its cursor' })
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
  }
  return { received, stop }
}

const post = (text, to = channel) => bob.message(to.rkey, text)
const texts = (received) => received.filter(({ type }) => type === 'message').map(({ text }) => text)
const isStored = (message) => answers(service, `/api/message?author=${bob.did}&rkey=${message.rkey}`)
/** Posts until `bot` receives it: then the bot follows the stream. */
const follows = (bot) =>
  eventually(async () => {
    const { rkey } = await post('are you there?')
    return eventually(() => bot.received.some((event) => event.rkey === rkey), { timeout: 2_000 })
  })

test('Q02: whatever is posted while connections are cut, the bot handles each event once and in order', async () => {
  const bot = startBot()
  await follows(bot)
  const first = bot.received.length
  let [n, isPosting] = [0, true]
  // Somebody posts all the time, so events also come between the subscription to messages and the ack of the resume. Not as
  // fast as this machine can: while the bot is away the log, which is short here, keeps everything.
  const posting = (async () => {
    while (isPosting) {
      await post(`n ${n++}`)
      await pause(POST_EVERY_MILLIS)
    }
  })()
  let added
  for (let cut = 0; cut < 3; cut++) {
    const before = n
    await eventually(() => texts(bot.received).includes(`n ${before}`), { what: 'the bot to follow' })
    cable.cut()
    // A channel is created, and used, while the bot is away.
    added = await alice.channel({ name: `room ${cut}`, type: 'text', community: community.rkey })
    await answers(service, `/api/channels?community=${community.uri}`, 200, (all) => all.some(({ uri }) => uri === added.uri))
    await isStored(await post(`in room ${cut}`, added))
    const away = n
    await eventually(() => n > away + 3)
    assert(!texts(bot.received).includes(`in room ${cut}`), 'the bot is away')
    cable.mend()
    await eventually(() => texts(bot.received).includes(`in room ${cut}`), { what: 'the bot to come back' })
  }
  isPosting = false
  await posting
  await post('the last')
  await eventually(() => texts(bot.received).includes('the last'))
  const posted = texts(bot.received.slice(first)).filter((text) => text.startsWith('n '))
  assert.deepEqual(posted, Array.from({ length: n }, (_, at) => `n ${at}`), 'each once, in order')
  const seqs = bot.received.map(({ seq }) => seq)
  assert.deepEqual(seqs, Array.from(seqs, (_, at) => seqs[0] + at), 'every event of the community, without a gap')
  assert.equal(bot.received.filter(({ type }) => type === 'channel_created').length, 3)
  await bot.stop()
})

test('a bot that was stopped continues where it was; one that was away for too long reads anew and goes on', async () => {
  await isStored(await post('while it was stopped'))
  const again = startBot()
  await eventually(() => texts(again.received).includes('while it was stopped'))
  assert(!texts(again.received).includes('the last'), 'nothing twice')
  await again.stop()
  // More than the log keeps.
  await bob.createMany(
    'social.colibri.message',
    Array.from({ length: 150 }, (_, n) => ({
      $type: 'social.colibri.message',
      text: `lost ${n}`,
      channel: channel.rkey,
      createdAt: new Date().toISOString(),
    })),
  )
  await isStored(await post('after them'))
  const late = startBot()
  await eventually(() => late.received.some(({ type }) => type === 'read_anew'), { what: 'the bot to read anew' })
  await follows(late)
  assert(!texts(late.received).some((text) => text.startsWith('lost')), 'Q05')
  const seqs = late.received.flatMap(({ seq }) => seq ?? [])
  assert.deepEqual(seqs, Array.from(seqs, (_, at) => seqs[0] + at), 'from there on without a gap')
  await late.stop()
})
