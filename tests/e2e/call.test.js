// Calls between real browsers, through the service's own page: video plays, lost peers are noticed, relays hide
// addresses.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { afterEach, before, describe, test } from 'node:test'

import { missing, openBrowser, program, screenshot } from './browser.js'
import { atEnd, eventually, freePort, freshFolder, startService } from './harness.js'
import { roomsOf } from './rooms.js'

/** The video of four browsers on two cores takes its time. */
const SOON = { timeout: 45_000 }

let rooms = 0
const newRoom = () => `call-${++rooms}`

/** Opens the demo in a page, fills in the form and joins. */
async function joinFrom(page, service, { room, name, source = 'test', inFrame = false }) {
  const query = new URLSearchParams({ room, name, source, ...(inFrame && { 'in-frame': '' }) })
  await page.goto(`${service.url}/demo/call?${query}`)
  await page.getByRole('button', { name: 'Join' }).click()
  await page.locator('#call').waitFor({ state: 'visible' })
  return page
}

/**
 * For each other peer: its name, the state of the connection, decoded frames, the brightness of its video, its notes.
 */
const look = (page) =>
  page.evaluate(async () => {
    const seen = []
    for (const [id, { connection, tile }] of window.call.peers) {
      const stats = connection ? [...(await connection.getStats()).values()] : []
      const canvas = new OffscreenCanvas(8, 8)
      const paint = canvas.getContext('2d')
      paint.drawImage(tile.video, 0, 0, 8, 8)
      const bytes = paint.getImageData(0, 0, 8, 8).data
      seen.push({
        id,
        name: tile.who.textContent,
        state: connection?.connectionState,
        frames: stats.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video')?.framesDecoded ?? 0,
        received: stats.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'audio')?.packetsReceived ?? 0,
        light: bytes.filter((_, n) => n % 4 !== 3).reduce((sum, byte) => sum + byte, 0) / 192,
        note: tile.note.textContent,
        own: stats.filter(({ type }) => type === 'local-candidate').map(({ candidateType }) => candidateType),
        used: stats
          .filter(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded')
          .map(({ remoteCandidateId }) => stats.find(({ id }) => id === remoteCandidateId)?.candidateType),
      })
    }
    return seen
  })

/** Waits until a page shows moving, bright video of exactly these others, and receives their audio. */
async function sees(page, names) {
  const before = new Map((await look(page)).map(({ id, frames }) => [id, frames]))
  return eventually(async () => {
    const seen = await look(page)
    const fine = seen.filter(
      ({ id, state, frames, received, light }) => state === 'connected' && frames > (before.get(id) ?? 0) && received > 0 && light > 20,
    )
    assert.deepEqual(fine.map(({ name }) => name).sort(), [...names].sort(), JSON.stringify(seen))
    assert.equal(seen.length, names.length)
    return seen
  }, SOON)
}

describe('calls', { skip: missing('chromium') }, () => {
  let service, browser
  before(async () => {
    service = await startService({ env: { ICE_SERVERS: 'none' } })
    browser = await openBrowser()
  })
  afterEach(() => browser.clear())

  test('three pages see and hear each other; a killed one is missed within 5 s; the room sleeps, and a fourth joins', async () => {
    const room = newRoom()
    const mortal = await openBrowser()
    const ann = await joinFrom(await browser.page(), service, { room, name: 'ann' })
    const ben = await joinFrom(await browser.page({ width: 400, height: 800 }), service, { room, name: 'ben', inFrame: true })
    const cleo = await joinFrom(await mortal.page(), service, { room, name: 'cleo', source: 'camera' })
    await sees(ann, ['ben', 'cleo'])
    await sees(ben, ['ann', 'cleo'])
    await sees(cleo, ['ann', 'ben'])

    await ann.getByRole('button', { name: 'Mute' }).click()
    await eventually(async () => (await look(ben)).find(({ name }) => name === 'ann').note === 'muted', SOON)
    await ann.getByRole('button', { name: 'Hide picture' }).click()
    await eventually(async () => (await look(cleo)).find(({ name }) => name === 'ann').note === 'muted, picture hidden', SOON)
    await screenshot(cleo, 'call-three')
    await screenshot(ben, 'call-three-400px')
    await ann.getByRole('button', { name: 'Hide picture' }).click()

    await mortal.kill()
    const killedAt = Date.now()
    await eventually(async () => (await Promise.all([ann, ben].map(look))).every((seen) => seen.length === 1), { timeout: 5_000 })
    assert(Date.now() - killedAt < 5_000)

    await service.evict('VoiceRoom', roomsOf(room))
    await sees(ann, ['ben'])
    await sees(ben, ['ann'])
    const dora = await joinFrom(await browser.page(), service, { room, name: 'dora' })
    await sees(dora, ['ann', 'ben'])
    await sees(ann, ['ben', 'dora'])
    assert.match((await look(dora)).find(({ name }) => name === 'ann').note, /muted/, 'what she said before')
    await dora.getByRole('button', { name: 'Leave' }).click()
    await sees(ann, ['ben'])
    for (const page of [ann, ben, dora]) assert.deepEqual(page.problems, [], 'no complaint of the browser, not of the policy')
  })

  test('the service is started again mid-call: the call goes on, and a newcomer finds everybody', async () => {
    const room = newRoom()
    const ann = await joinFrom(await browser.page(), service, { room, name: 'ann' })
    const ben = await joinFrom(await browser.page(), service, { room, name: 'ben', inFrame: true })
    await sees(ann, ['ben'])
    await ann.evaluate(() => {
      window.before = [...window.call.peers.values()].map(({ connection }) => connection)
    })
    await service.stop()
    await sees(ann, ['ben'])
    await service.start()
    for (const page of [ann, ben]) {
      await eventually(async () => /In “call-\d+” with one other/.test(await page.locator('#status').textContent()), SOON)
    }
    const same = await ann.evaluate(() => window.before.every((old) => [...window.call.peers.values()].some(({ connection }) => connection === old)))
    assert(same, 'the old connection is kept')
    const cleo = await joinFrom(await browser.page(), service, { room, name: 'cleo' })
    await sees(cleo, ['ann', 'ben'])
    await sees(ben, ['ann', 'cleo'])
    await sees(ann, ['ben', 'cleo'])
  })

  test('the page says what is wrong in words', async () => {
    const page = await browser.page({ width: 400, height: 760 })
    await page.goto(`${service.url}/demo/call`)
    await page.getByLabel('Room', { exact: true }).fill('x'.repeat(256))
    await page.getByLabel('Your name').fill('ann')
    await page.getByLabel(/test picture/).check()
    await page.route('**/api/webrtc/ice-servers*', (route) =>
      route.fulfill({ status: 403, json: { error: 'Forbidden', message: 'did may not be in this voice channel' } }),
    )
    await page.getByRole('button', { name: 'Join' }).click()
    await page.getByRole('alert').getByText('did may not be in this voice channel').waitFor()
    await screenshot(page, 'call-refused-400px')
    const policy = (await service.fetch('/demo/call')).headers.get('content-security-policy')
    assert.match(policy, /default-src 'none'/)
  })
})

describe('calls through a relay', { skip: missing('chromium', 'turnserver') }, () => {
  test('ICE_POLICY=relay: only relays are used, with credentials that coturn takes', async () => {
    const port = await freePort()
    const folder = freshFolder()
    const turn = spawn(
      program('turnserver'),
      [
        ...['-n', '--no-cli', '--no-tls', '--no-dtls', '--no-tcp-relay', '--allow-loopback-peers', '--log-file=stdout', '--simple-log', '-v'],
        ...['--listening-ip=127.0.0.1', '--relay-ip=127.0.0.1', `--listening-port=${port}`],
        ...['--use-auth-secret', '--static-auth-secret=north', '--realm=colibri.test'],
        ...[`--pidfile=${join(folder, 'turn.pid')}`, `--userdb=${join(folder, 'turn.db')}`],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    )
    atEnd(() => turn.kill('SIGKILL'))
    let log = ''
    for (const stream of [turn.stdout, turn.stderr]) stream.setEncoding('utf8').on('data', (text) => (log += text))
    const service = await startService({
      env: { ICE_SERVERS: 'none', ICE_POLICY: 'relay', TURN_URLS: `turn:127.0.0.1:${port}?transport=udp`, TURN_SECRET: 'north' },
    })
    await eventually(() => log.includes('DB connection success') || log.includes('turn server id=0 created'), { what: 'coturn', ...SOON })
    const browser = await openBrowser()
    const room = newRoom()
    const ann = await joinFrom(await browser.page(), service, { room, name: 'ann' })
    const ben = await joinFrom(await browser.page(), service, { room, name: 'ben' })
    for (const [page, other] of [
      [ann, 'ben'],
      [ben, 'ann'],
    ]) {
      await sees(page, [other])
      await eventually(async () => {
        const [{ own, used }] = await look(page)
        assert.deepEqual([...new Set(used)], ['relay'], 'what the call goes through')
        assert.deepEqual([...new Set(own)], ['relay'], 'no other address of ours is even looked for')
        return true
      }, SOON)
    }
    assert.match(log, /ALLOCATE processed, success/, log.slice(-2_000))
    await screenshot(ann, 'call-relayed')
  })
})
