// @ts-check
// Health says why the service does not work: a wrong address, an unknown host, a silent port, a database that does not
// answer and a full disk are different sentences.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { Jetstream } from '../network/jetstream.js'
import { FrameLog } from '../network/log.js'
import { atEnd, eventually, freePort, freshFolder, revision, startService } from './harness.js'

/** Waits until health has failed for this reason. @param {import('./harness.js').Service} service @param {RegExp} expected */
async function because(service, expected) {
  const answer = await eventually(
    async () => {
      const health = await service.fetchJson('/api/health')
      if (!expected.test(health.body.message)) throw new Error(JSON.stringify(health.body))
      return health
    },
    { what: String(expected) },
  )
  assert.equal(answer.status, 503)
  assert.deepEqual([answer.body.ok, answer.body.error], [false, 'Unavailable'])
}

for (const [what, JETSTREAM_URL, expected] of /** @type {[string, string, RegExp][]} */ ([
  ['an address that is none', 'jetstream', /^JETSTREAM_URL is not an address \(jetstream\); it must be like wss:\/\/host\/subscribe$/],
  ['an unknown host', 'ws://nobody.invalid/subscribe', /^no connection to nobody\.invalid can be opened: there is probably no such host/],
  ['a port where nobody listens', 'ws://127.0.0.1:9/subscribe', /^nothing answers at 127\.0\.0\.1:9 \(JETSTREAM_URL\)/],
]))
  test(`health names ${what}`, async (t) => {
    const service = await startService({ env: { JETSTREAM_URL } })
    t.after(() => service.kill9())
    await because(service, expected)
    const { body } = await service.fetchJson('/api/health')
    assert.match(body.ingest.because, expected, 'and it is the stream')
    assert.equal(body.database, true)
  })

test('a scraper with the token reads the numbers of health (R47)', async (t) => {
  const METRICS_TOKEN = 'what a scraper shows, in a test'
  const service = await startService({ env: { METRICS_TOKEN, JETSTREAM_URL: 'ws://127.0.0.1:9/subscribe' } })
  t.after(() => service.kill9())
  const scrape = (/** @type {string} */ token) =>
    fetch(`${service.url}/metrics`, { headers: token ? { authorization: `Bearer ${token}` } : {} })
  for (const wrong of ['', 'nothing', `${METRICS_TOKEN}s`]) assert.equal((await scrape(wrong)).status, 401, wrong)
  await because(service, /^nothing answers/)
  const answer = await scrape(METRICS_TOKEN)
  assert.equal(answer.status, 200, 'though health is not')
  assert.equal(answer.headers.get('content-type'), 'application/openmetrics-text; version=1.0.0; charset=utf-8')
  const lines = (await answer.text()).split('\n')
  for (const line of ['colibri_healthy 0', 'colibri_database_up 1', 'colibri_stream_connected 0', 'colibri_refused_total 0'])
    assert(lines.includes(line), line)
  assert.deepEqual(lines.slice(-2), ['# EOF', ''])
})

test('health names a database that does not answer', async (t) => {
  const service = await startService()
  t.after(() => service.kill9())
  const folder = join(service.state, 'v3', 'd1')
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => /\.sqlite(-wal)?$/.test(file))
  assert(files.length > 0, 'the database is a file')
  for (const file of files) truncateSync(join(folder, file))
  await because(service, /^the database does not answer: /)
  assert.equal((await service.fetchJson('/api/health')).body.database, false)
})

/** A disk of a few megabytes, or undefined where this user may not make one. */
function smallDisk() {
  const folder = freshFolder()
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'none', folder]).status !== 0) return undefined
  atEnd(() => void spawnSync('umount', [folder]))
  return folder
}

test('health names a full disk, and all is well when there is room again', async (t) => {
  const disk = smallDisk()
  if (!disk) return t.skip('this user may not mount a disk')
  const jetstream = new Jetstream({ port: await freePort(), log: new FrameLog(freshFolder()) })
  await jetstream.resume()
  atEnd(() => jetstream.close())
  const service = await startService({ state: join(disk, 'state'), env: { JETSTREAM_URL: jetstream.url } })
  t.after(() => service.kill9())
  const works = async () => (await service.fetchJson('/api/health')).status === 200
  await eventually(works, { what: 'the service' })
  const filler = join(disk, 'filler')
  assert.throws(() => writeFileSync(filler, Buffer.alloc(32 * 2 ** 20)), { code: 'ENOSPC' })
  const record = { name: 'Garden', requiresApprovalToJoin: false }
  const commit = { rev: revision(1), operation: 'create', collection: 'social.colibri.community', rkey: 'c', cid: 'bafyreia', record }
  jetstream.injectFrame({ did: 'did:plc:alice', kind: 'commit', commit })
  await because(service, /^the disk is full, so nothing can be stored; make room for the service$/)
  rmSync(filler)
  await eventually(works, { what: 'room for the service' })
  const community = encodeURIComponent('at://did:plc:alice/social.colibri.community/c')
  await eventually(async () => (await service.fetch(`/api/community?community=${community}`)).status === 200, { what: 'the record' })
})
