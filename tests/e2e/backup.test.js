// @ts-check
// `npm run backup` and `npm run restore`: a backup that is made while records come in, and restored after everything was
// wiped, answers every read as before, with the same numbers and the same log.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { eventually, freshFolder, startService } from './harness.js'
import { openStage } from './stage.js'

const SCRIPTS = fileURLToPath(new URL('../../scripts/', import.meta.url))
const KEY = 'the key of the backup tests'
const COMMUNITY = 'at://did:plc:owner/social.colibri.community/c'
const CHANNELS = ['hall', 'yard']

/** @type {Awaited<ReturnType<typeof openStage>>} */
let stage

/** Runs a script to its end. @param {'backup' | 'restore'} name @param {string[]} args */
const run = (name, ...args) =>
  /** @type {Promise<{ code: number, said: string }>} */ (
    new Promise((resolve) =>
      execFile(process.execPath, [join(SCRIPTS, `${name}.js`), ...args], { timeout: 60_000 }, (error, _, said) =>
        resolve({ code: error ? Number(error.code ?? -1) : 0, said: said.trim() }),
      ),
    )
  )

/** @param {'backup' | 'restore'} name @param {string[]} args */
async function succeeds(name, ...args) {
  const { code, said } = await run(name, ...args)
  assert.equal(code, 0, said)
  return said
}

/** @param {'backup' | 'restore'} name @param {string[]} args @param {RegExp} expected */
async function refuses(name, args, expected) {
  const { code, said } = await run(name, ...args)
  assert.deepEqual([code, /^\s+at /m.test(said)], [1, false], said)
  assert.match(said, expected)
}

/** @param {string} text @param {string} key @param {string} channel @returns {[string, string, string, object]} */
const message = (text, key, channel) => [
  'member',
  'create',
  `message/${key}`,
  { text, createdAt: '2026-03-01T12:00:00.000Z', channel },
]

/** Every read of the community, without times of receipt. @param {import('./harness.js').Service} service */
async function reads(service) {
  const auth = { headers: { authorization: `Bearer ${KEY}` } }
  const paths = [
    ...['community', 'channels', 'sidebar', 'members', 'community/bans', 'invites', 'audit'].map((what) => `/api/${what}?community=${COMMUNITY}`),
    ...CHANNELS.flatMap((channel) => [`/api/messages?channel=${channel}&all=`, `/api/reactions/channel?channel=${channel}`]),
    ...['owner', 'member', 'guest'].flatMap((who) => ['authors', 'communities', 'channel-reads', 'sync'].map((what) => `/api/${what}?did=did:plc:${who}`)),
  ]
  /** @type {Record<string, unknown>} */
  const answers = {}
  for (const path of paths) {
    const { status, body } = await service.fetchJson(path, auth)
    assert(status === 200 || status === 404, `${path}: ${status}`)
    // When this service received something differs for what it received again; a repository waits for its next attempt.
    const left = ['indexed_at', 'updated_at', 'next_attempt_at', 'failures', 'error', 'status']
    answers[path] = JSON.parse(JSON.stringify([status, body ?? null], (name, value) => (left.includes(name) ? undefined : value)))
  }
  return answers
}

/** The log of the community: every event with its number. @param {import('./harness.js').Service} service */
async function logOf(service) {
  const socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'message' })
  await socket.request({ action: 'subscribe', event_type: 'community', community_uri: COMMUNITY, cursor: 0 })
  const end = await socket.next({ type: 'resumed' })
  const events = socket.events.filter(({ seq }) => seq !== undefined)
  await socket.close()
  const plain = JSON.parse(JSON.stringify(events, (name, value) => (name === 'indexed_at' ? undefined : value)))
  return { to: end.to, events: plain }
}

/** The stream's position. @param {import('./harness.js').Service} service */
const positionOf = async (service) => (await service.fetchJson('/api/health')).body.ingest.cursor_us

before(async () => {
  stage = await openStage({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: undefined } })
  await stage.say(
    ['owner', 'create', 'community/c', { name: 'Garden', description: '', requiresApprovalToJoin: false, categoryOrder: ['k'] }],
    ['owner', 'create', 'category/k', { name: 'All', channelOrder: CHANNELS, community: 'c' }],
    ...CHANNELS.map((name) => /** @type {[string, string, string, object]} */ (['owner', 'create', `channel/${name}`, { name, type: 'text', community: 'c', category: 'k' }])),
    ['member', 'create', 'membership/m', { community: COMMUNITY }],
    ['guest', 'create', 'membership/m', { community: COMMUNITY }],
    message('first', 'first', 'hall'),
    ['owner', 'create', 'reaction/r', { emoji: '👍', targetMessage: 'first' }],
  )
  const headers = { authorization: `Bearer ${KEY}` }
  const ban = JSON.stringify({ community_uri: COMMUNITY, member_did: 'did:plc:guest', reason: 'spam' })
  assert.equal((await stage.service.fetch('/api/community/ban', { method: 'POST', headers, body: ban })).status, 204)
  const invite = JSON.stringify({ community_uri: COMMUNITY, owner_did: 'did:plc:owner' })
  assert.equal((await stage.service.fetch('/api/invite', { method: 'POST', headers, body: invite })).status, 200)
})

test('a backup of a running service, restored after everything is gone, answers as before', async () => {
  const { service } = stage
  const folder = join(freshFolder(), 'copy')
  let writing = true
  let written = 0
  const writer = (async () => {
    while (writing) {
      await stage.say(message(`text ${written}`, `busy${written}`, CHANNELS[written % 2]))
      written += 1
    }
  })()
  await eventually(() => written >= 5, { what: 'the first records' })
  const said = await succeeds('backup', folder, '--state', service.state)
  const during = written
  assert.match(said, /^\S+: \d+ files, [\d.]+ MB, checked; requests waited for \d+ ms$/)
  await eventually(() => written >= during + 5, { what: 'records after the backup' })
  writing = false
  await writer
  const [answers, log, position] = [await reads(service), await logOf(service), await positionOf(service)]
  assert(log.events.length > written && log.to === log.events.at(-1).seq, 'the log has every event')
  await service.stop()
  rmSync(service.state, { recursive: true })
  mkdirSync(service.state)
  await succeeds('restore', folder, '--state', service.state)
  // Without a stream first, so that nothing can come from anywhere but the backup.
  const alone = await startService({ state: service.state, env: { INVITE_API_KEY: KEY } })
  const before = await logOf(alone)
  assert(before.events.length > 5 && before.to < log.to, 'the backup is of a moment in between')
  assert.deepEqual(before.events, log.events.slice(0, before.events.length), 'up to there the log is the same')
  await alone.stop()
  await service.start()
  await eventually(async () => (await positionOf(service)) >= position, { what: 'the rest of the stream' })
  assert.deepEqual(await reads(service), answers)
  assert.deepEqual(await logOf(service), log)
})

test('a backup of a stopped service is complete without a stream, tokens included', async () => {
  const { service } = stage
  const vouch = { method: 'POST', headers: { authorization: `Bearer ${KEY}` }, body: '{"did":"did:plc:member"}' }
  const { token } = (await service.fetchJson('/api/authentication', vouch)).body
  const [answers, log] = [await reads(service), await logOf(service)]
  await service.stop()
  const folder = join(freshFolder(), 'copy')
  assert.match(await succeeds('backup', folder, '--state', service.state), /MB, checked$/)
  assert.equal(statSync(folder).mode & 0o77, 0, 'for its owner alone')
  const state = freshFolder()
  await succeeds('restore', folder, '--state', state)
  assert.equal(statSync(join(state, 'serve', 'token-secret')).mode & 0o777, 0o600)
  const moved = await startService({ state, env: { INVITE_API_KEY: KEY } })
  assert.deepEqual(await reads(moved), answers)
  assert.deepEqual(await logOf(moved), log)
  await (await moved.connect(`/api/subscribe?auth=${encodeURIComponent(token)}`)).close()
  // The old state is kept beside a new one.
  await refuses('restore', [folder, '--state', moved.state], /in use by another service/)
  await moved.stop()
  await refuses('restore', [folder, '--state', moved.state], /^There is a state in \S+ already\. --replace puts the backup/)
  assert.match(await succeeds('restore', folder, '--state', moved.state, '--replace'), /what was there is in \S+replaced-/)
  assert.equal(readdirSync(moved.state).filter((name) => name.startsWith('replaced-')).length, 1)
  await service.start()
})

test('what is no backup, is damaged or newer is refused in one sentence, and changes nothing', async () => {
  const { service } = stage
  const folder = join(freshFolder(), 'copy')
  const state = freshFolder()
  await refuses('backup', [folder, '--state', freshFolder()], /^There is no database in /)
  await refuses('backup', [], /^Name one folder\. /)
  await refuses('backup', ['/proc/none', '--state', service.state], /^\/proc\/none\.incomplete cannot be written or read: /)
  await refuses('restore', [freshFolder(), '--state', state], /is no complete backup: it has no backup\.json/)
  await succeeds('backup', folder, '--state', service.state)
  await refuses('backup', [folder, '--state', service.state], /^There is \S+ already\./)
  const note = join(folder, 'backup.json')
  const made = JSON.parse(readFileSync(note, 'utf8'))
  writeFileSync(note, JSON.stringify({ ...made, migrations: [...made.migrations, '9999_later.sql'] }))
  await refuses('restore', [folder, '--state', state], /was made by a newer version: it has the migration 9999_later\.sql/)
  writeFileSync(note, JSON.stringify(made))
  truncateSync(join(folder, 'storage', made.files[0].path), 100)
  await refuses('restore', [folder, '--state', state], /^The backup is damaged: /)
  assert(!existsSync(join(state, 'v3')))
})

test('a service whose backup is interrupted goes on', async () => {
  const { service } = stage
  const wanted = join(service.state, 'serve', 'backup-wanted.json')
  writeFileSync(wanted, JSON.stringify({ id: 'x', to: '/proc/none' }))
  process.kill(service.pid, 'SIGUSR2')
  await eventually(() => /the state could not be copied: /.test(service.logs()), { what: 'the refusal in the log' })
  writeFileSync(wanted, 'no JSON')
  process.kill(service.pid, 'SIGUSR2')
  await eventually(() => service.logs().match(/the state could not be copied: /g).length === 2, { what: 'the second' })
  assert.equal((await service.fetchJson('/api/health')).status, 200)
  const folder = join(freshFolder(), 'copy')
  await succeeds('backup', folder, '--state', service.state)
})
