// @ts-check
// `npm run admin`: every command does through the API what it says, and refuses in one sentence. `doctor` names what is
// wrong.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { ADMIN } from '../../scripts/admin-commands.js'
import { freshFolder } from './harness.js'
import { openStage } from './stage.js'

const RUN = fileURLToPath(new URL('../../scripts/run.js', import.meta.url))
const KEY = 'the key of the admin tests'
const COMMUNITY = 'at://did:plc:owner/social.colibri.community/c'
const MESSAGE = 'at://did:plc:member/social.colibri.message/first'

/** @type {Awaited<ReturnType<typeof openStage>>} */
let stage
/** What the commands find in their environment. @type {Record<string, string>} */
let env

/** @param {string[]} args @param {Record<string, string>} [more] */
const run = (args, more = {}) =>
  /** @type {Promise<{ code: number, stdout: string, stderr: string }>} */ (
    new Promise((resolve) =>
      execFile(process.execPath, [RUN, 'admin', ...args], { timeout: 60_000, env: { ...process.env, ...env, ...more } }, (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code ?? -1) : 0, stdout: stdout.trim(), stderr: stderr.trim() }),
      ).stdin?.end(),
    )
  )

/** What a command prints. @param {string[]} args */
async function prints(...args) {
  const { code, stdout, stderr } = await run([...args, '--url', stage.service.url])
  assert.equal(code, 0, stderr)
  return stdout
}

/** @param {string[]} args @param {RegExp} expected @param {Record<string, string>} [more] */
async function refuses(args, expected, more) {
  const { code, stderr } = await run([...args, '--url', stage.service.url], more)
  assert.deepEqual([code, /^\s+at /m.test(stderr)], [1, false], stderr)
  assert.match(stderr, expected)
}

const json = async (/** @type {string[]} */ ...args) => JSON.parse(await prints(...args, '--json'))

before(async () => {
  stage = await openStage({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: 'what signs tokens in the admin tests' } })
  await stage.say(
    ['owner', 'create', 'community/c', { name: 'Garden', requiresApprovalToJoin: false }],
    ['owner', 'create', 'channel/hall', { name: 'hall', type: 'text', community: 'c' }],
    ['other', 'create', 'community/d', { name: 'Twin' }],
    ['other', 'create', 'community/e', { name: 'Twin' }],
    ['member', 'create', 'membership/m', { community: COMMUNITY }],
    ['member', 'create', 'message/first', { text: 'hello', createdAt: '2026-03-01T12:00:00.000Z', channel: 'hall' }],
  )
  env = {
    INVITE_API_KEY: KEY,
    JETSTREAM_URL: stage.jetstream.url,
    PLC_URL: stage.host.url,
    BSKY_API_URL: stage.host.url,
    DOH_URL: stage.host.url,
    RELAY_URL: '',
  }
})

test('moderation: bans, kicks, blocks, invites and moderators are those of the API, and in the audit log', async () => {
  assert.match(await prints('community', 'list'), /^uri +owner_did .*\nat:\/\/did:plc:other\S+\/d .* Twin/)
  assert.equal((await json('community', 'list')).length, 3)
  assert.equal(await prints('ban', 'Garden', 'did:plc:member', '--reason', 'spam'), 'done')
  assert.deepEqual((await json('bans', 'c')).map((/** @type {any} */ { member_did: did }) => did), ['did:plc:member'])
  assert.equal(await prints('unban', COMMUNITY, 'did:plc:member'), 'done')
  assert.equal(await prints('bans', COMMUNITY), 'none')
  assert.equal(await prints('block', MESSAGE, '--reason', 'rude'), 'done')
  const shown = () => stage.service.fetchJson('/api/message?author=did:plc:member&rkey=first')
  assert.equal((await shown()).status, 404)
  assert.equal(await prints('unblock', MESSAGE), 'done')
  assert.equal((await shown()).status, 200)
  const { code } = await json('invite', 'Garden', '--max-uses', '3')
  assert.deepEqual((await json('invites', 'Garden')).map((/** @type {any} */ invite) => [invite.code, invite.max_uses, invite.active]), [[code, 3, true]])
  assert.equal(await prints('invite', 'revoke', 'Garden', code), 'done')
  assert.equal((await json('invites', 'Garden'))[0].active, false)
  assert.equal(await prints('community', 'moderators', 'Garden', 'did:plc:mod', 'did:plc:other'), 'done')
  assert.deepEqual(await json('community', 'moderators', 'Garden'), ['did:plc:mod', 'did:plc:other'])
  assert.equal((await json('community', 'members-only', 'Garden', 'on')).members_only, true)
  assert.equal((await json('community', 'members-only', 'Garden', 'off')).members_only, false)
  assert.equal(await prints('kick', 'Garden', 'did:plc:member'), 'done')
  assert.deepEqual((await json('community', 'members', 'Garden')).map((/** @type {any} */ { status }) => status), ['owner'])
  const acts = (await json('audit', 'Garden')).map((/** @type {any} */ { action }) => action)
  const done = ['ban', 'unban', 'block', 'unblock', 'invite', 'revoke_invite', 'moderators', 'members_only', 'members_only', 'kick']
  assert.deepEqual(acts.reverse(), done)
})

test('an export is written whole, and an erasure needs a consent', async () => {
  const file = join(freshFolder(), 'export.ndjson')
  assert.equal(await prints('export', file, '--community', 'Garden'), '')
  assert.equal(JSON.parse(readFileSync(file, 'utf8').trim().split('\n').at(-1)).end, true)
  await refuses(['export', file, '--community', 'Garden'], /^There is \S+ already\./)
  await refuses(['export', `${file}2`], /^Usage: npm run admin -- export FILE/)
  assert(!existsSync(`${file}2`))
  assert.equal((await json('sync', 'did:plc:member')).did, 'did:plc:member')
  await refuses(['erase', 'did:plc:member'], /This cannot be undone\. If you mean it, add --yes\.$/)
  assert.match(await prints('erase', 'did:plc:member', '--yes'), /^state: eras/)
  assert.match(await prints('erase', 'status', 'did:plc:member'), /^state: eras/)
})

test('what is wrong is one sentence', async () => {
  await refuses(['ban', 'Nowhere', 'did:plc:member'], /^No community is called Nowhere\. See: npm run admin -- community list$/)
  await refuses(['ban', 'Twin', 'did:plc:member'], /^Several communities are called Twin:\n {2}at:\S+\n {2}at:\S+$/)
  await refuses(['ban', 'Garden'], /^Usage: npm run admin -- ban COMMUNITY PERSON$/)
  await refuses(['ban', 'Garden', 'did:plc:owner'], /^The service refuses: .* \(InvalidRequest\)\.$/)
  await refuses(['block', 'hello'], /^hello is not the AT-URI of a message/)
  await refuses(['community', 'members-only', 'Garden', 'maybe'], /^maybe is none of on, off\.$/)
  await refuses(['bans', COMMUNITY], /AuthRequired\)\. Is INVITE_API_KEY, or --key-file, the key of that service\?$/, { INVITE_API_KEY: 'another key than that' })
  await refuses(['bans', COMMUNITY, '--key-file', '/none'], /^There is no file \/none, which --key-file names\.$/)
  await refuses(['nothing'], /^npm run admin has no command nothing\. See: npm run admin -- --help$/)
  const nobody = await run(['status', '--url', 'http://127.0.0.1:9'])
  assert.match(nobody.stderr, /^Nothing answers at http:\/\/127\.0\.0\.1:9 \(bad port\)\. Is the service running\?/)
  const key = join(freshFolder(), 'key.txt')
  writeFileSync(key, `${KEY}\n`)
  const { code } = await run(['bans', COMMUNITY, '--url', stage.service.url, '--key-file', key], { INVITE_API_KEY: '' })
  assert.equal(code, 0, 'a key from a file')
})

test('every command explains itself', async () => {
  const help = (await run(['--help'])).stdout
  for (const name of Object.keys(ADMIN)) {
    assert(help.includes(`\n  ${name}`), name)
    const own = await run([...name.split(' '), '--help'])
    assert.match(own.stdout, new RegExp(`^Usage: npm run admin -- ${name}`, 'm'))
    const unknown = await run([...name.split(' '), '--no-such-option'])
    assert.match(unknown.stderr, new RegExp(`^npm run admin -- ${name} has no option --no-such-option\\. See: npm run admin -- ${name} --help$`))
  }
})

test('backup and restore are the scripts of that name', async () => {
  const { code, stderr } = await run(['backup', join(freshFolder(), 'copy'), '--state', freshFolder()])
  assert.deepEqual([code, /^There is no database in /.test(stderr)], [1, true], stderr)
  assert.match((await run(['restore', freshFolder(), '--state', freshFolder()])).stderr, /is no complete backup/)
})

test('doctor and status: well, and what is wrong in words', async () => {
  const status = await prints('status')
  assert.match(status, /^works\n/)
  const well = await run(['doctor', '--url', stage.service.url, '--state', stage.service.state])
  assert.equal(well.code, 0, well.stdout + well.stderr)
  for (const line of [/^ok +the key is the one of the service$/m, /^ok +the service at \S+ works$/m, /^ok +the schema is \d{4}_/m, /^ok +[\d.]+ GB are free/m])
    assert.match(well.stdout, line)
  const bad = await run(['doctor', '--url', stage.service.url, '--state', '/none'], {
    AUTH_MODE: 'verifed',
    INVITE_API_KEY: 'short',
    JETSTREAM_URL: 'ws://nobody.invalid/subscribe',
    PLC_URL: 'http://127.0.0.1:9',
    LEASE_M: '5',
    SERVICE_DID: 'did:web:localhost%3A9',
  })
  assert.equal(bad.code, 1)
  for (const line of [
    /^wrong +AUTH_MODE is verifed, which is none of /m,
    /^wrong +INVITE_API_KEY has 5 characters/m,
    /^wrong +LEASE_M is not a variable of this service; LEASE_MS is/m,
    /^wrong +the stream \(JETSTREAM_URL\): there is no address for nobody\.invalid/m,
    /^wrong +the directory of did:plc \(PLC_URL\): 127\.0\.0\.1:9 cannot be reached/m,
    /^wrong +there is no folder \/none/m,
    /^wrong +the service has another key than this one$/m,
    /^wrong +http:\/\/localhost:9\/\.well-known\/did\.json cannot be read/m,
  ])
    assert.match(bad.stdout, line)
  assert(!bad.stdout.includes(KEY))
})
