// The programs of docs/clients.md, as they are printed there, against a running service and a real PDS.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { before, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'

import { node24 } from '../../scripts/node24.js'
import { atEnd, eventually, freePort, freshFolder, startService } from './harness.js'
import { answers, connected, garden, openPlace } from './place.js'

const DOCUMENT = fileURLToPath(new URL('../../docs/clients.md', import.meta.url))
const CLIENT = fileURLToPath(new URL('../../packages/client/src/index.ts', import.meta.url))

let place, service, alice, bob, community, channel
before(async () => {
  place = await openPlace({ serve: false })
  const port = await freePort()
  const own = { SERVICE_DID: `did:web:localhost%3A${port}`, AUTH_MODE: 'mixed' }
  service = await startService({ ...place.settings, env: { ...place.settings.env, ...own }, port })
  await connected(service)
  ;({ alice, bob, community, channel } = await garden(place))
  await answers(service, `/api/members?community=${community.uri}`, 200, (rows) => rows.length === 2)
})

/** The program below a heading of the document, where the package is that of this repository. @param {string} heading */
function programOf(heading) {
  const [, section] = readFileSync(DOCUMENT, 'utf8').split(`## ${heading}\n`)
  const [, program] = section.match(/```js\n(.*?)```/s)
  return program.replace("'@colibri/edge-client'", JSON.stringify(pathToFileURL(CLIENT).href))
}

/** Runs a program as a person; `lines` grows with what it prints. @param {string} heading @param {any} person @param {Record<string, string>} [more] */
function start(heading, person, more = {}) {
  const file = join(freshFolder(), 'program.mjs')
  writeFileSync(file, programOf(heading))
  // A DID in place of a handle: the test network's names are known to nobody's DNS.
  const env = { ...process.env, SERVICE: service.url, HANDLE: person.did, PASSWORD: person.password, COMMUNITY: community.uri, ...more }
  const child = spawn(node24(), [file], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  atEnd(() => child.kill('SIGKILL'))
  const lines = []
  createInterface(child.stdout).on('line', (line) => lines.push(line.startsWith('{') ? JSON.parse(line) : line))
  const stop = async (/** @type {NodeJS.Signals} */ signal = 'SIGKILL') => {
    const exit = once(child, 'exit')
    child.kill(signal)
    await exit
  }
  return { lines, stop }
}

const listens = ({ lines }) => eventually(() => lines.includes('listening'), { what: 'the program to listen' })

test('the first bot says hello to people who join', async () => {
  const bot = start('Say hello to people who join', alice)
  await listens(bot)
  const carol = await place.network.createAccount('carol')
  await carol.membership(community.uri)
  await answers(service, `/api/messages?channel=${channel.uri}`, 200, (rows) => rows.some(({ text }) => text === `Welcome, ${carol.did}!`))
  await bot.stop()
})

test('a program that is stopped and started again misses nothing', async () => {
  const FILE = join(freshFolder(), 'position')
  const texts = ({ lines }) => lines.filter(({ type }) => type === 'message').map(({ text }) => text)
  const position = () => Number(readFileSync(FILE, 'utf8'))
  const first = start('Miss nothing', bob, { FILE })
  await eventually(() => first.lines.some(({ type }) => type === 'read_anew'))
  await bob.message(channel.rkey, 'one')
  await eventually(() => texts(first).includes('one') && position() === first.lines.at(-1).seq)
  await first.stop()
  const missed = await bob.message(channel.rkey, 'two')
  await answers(service, `/api/message?author=${bob.did}&rkey=${missed.rkey}`)
  const second = start('Miss nothing', bob, { FILE })
  await eventually(() => second.lines.some(({ type }) => type === 'came_back'))
  await bob.message(channel.rkey, 'three')
  await eventually(() => texts(second).includes('three'))
  assert.deepEqual(texts(second), ['two', 'three'])
  assert(!second.lines.some(({ type }) => type === 'read_anew'))
  await second.stop()
})

test('a program enters a voice channel and its call, and leaves both', async () => {
  const voice = await alice.channel({ name: 'lounge', type: 'voice', community: community.rkey })
  await answers(service, `/api/channels?community=${community.uri}`, 200, (rows) => rows.some(({ uri }) => uri === voice.uri))
  const one = start('Enter a voice channel', bob, { CHANNEL: voice.uri })
  const inList = (...people) =>
    answers(service, `/api/channels?community=${community.uri}`, 200, (rows) => {
      const { voice_members: members } = rows.find(({ uri }) => uri === voice.uri)
      return JSON.stringify(members) === JSON.stringify(people.map(({ did }) => did).sort())
    })
  await inList(bob)
  await eventually(() => one.lines.some(({ type }) => type === 'joined'))
  const two = start('Enter a voice channel', alice, { CHANNEL: voice.uri })
  await inList(alice, bob)
  await eventually(() => one.lines.some(({ type, peer_id: id }) => type === 'peer_joined' && id === `${alice.did}#desk`))
  await two.stop('SIGTERM')
  await inList(bob)
  await eventually(() => one.lines.some(({ type }) => type === 'peer_left'))
  await one.stop('SIGTERM')
  await inList()
})

test('a moderating program hides a message, and the audit log says so', async () => {
  const program = start('Moderate', alice, { WORD: 'marmalade' })
  await listens(program)
  const { rkey } = await bob.message(channel.rkey, 'no marmalade here')
  const entry = await eventually(() => program.lines.find(({ action }) => action), { what: 'the entry' })
  assert.deepEqual([entry.actor, entry.reason], [alice.did, 'a bad word'])
  assert(entry.subject.endsWith(rkey), entry.subject)
  await answers(service, `/api/messages?channel=${channel.uri}`, 200, (rows) => rows.every((row) => row.rkey !== rkey))
  await program.stop()
})
