// The console in a real browser: its numbers are the API's, its acts happen when they are confirmed and not before, and
// the audit log beside them names each.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'

import { isTooWide, missing, obstacles, openBrowser, screenshot } from './browser.js'
import { eventually, freshFolder, startService } from './harness.js'
import { answers, garden, openPlace } from './place.js'

const KEY = 'the-key-of-the-operator'
const SIZES = [
  { width: 390, height: 800 },
  { width: 1600, height: 1000 },
]

describe('the console', { skip: missing('chromium') }, () => {
  let service, browser, alice, bob, community, channel, message, voice
  before(async () => {
    const place = await openPlace({ serve: false })
    const env = { DOH_URL: place.network.dns, INVITE_API_KEY: KEY, AUTH_MODE: 'open' }
    service = await startService({ ...place.settings, env: { ...place.settings.env, ...env } })
    ;({ alice, bob, community, channel } = await garden(place))
    voice = await alice.channel({ name: 'lounge', type: 'voice', community: community.rkey })
    message = await bob.message(channel.rkey, 'hello')
    const stranger = await place.network.createAccount('stranger')
    await answers(service, `/api/messages?channel=${channel.uri}`, 200, (rows) => rows.length === 1)
    await stranger.message(channel.rkey, 'not a member')
    await eventually(async () => (await asOperator('/api/operator')).refusals.length === 1, { what: 'a refusal' })
    for (const { did } of [alice, bob]) {
      await answers(service, `/api/identity?id=${did}`, 200, ({ handle }) => handle !== null)
      await answers(service, `/api/authors?did=${did}`, 200, ({ handle }) => handle !== null)
    }
    browser = await openBrowser()
  })

  const asOperator = async (path, init) =>
    (await service.fetchJson(path, { ...init, headers: { authorization: `Bearer ${KEY}` } })).body

  async function open(options = SIZES[1]) {
    const page = await browser.page(options)
    await page.goto(`${service.url}/console`)
    return page
  }

  async function enter(options) {
    const page = await open(options)
    await page.locator('#key').fill(KEY)
    await page.locator('form button').click()
    await page.locator('.works').waitFor()
    return page
  }

  const card = (page, name) => page.getByRole('region', { name }).first()
  const cells = (page, name) =>
    card(page, name)
      .locator('tbody tr')
      .evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)))

  async function look(page, what) {
    await page.getByLabel('Handle, DID, or AT-URI').fill(what)
    await page.getByRole('button', { name: 'Find' }).click()
  }

  /** Clicks an act, reads what it says, confirms it, and waits until it is done. */
  async function act(page, name, says, reason) {
    await card(page, 'Look up').getByRole('button', { name, exact: true }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByText(says).waitFor()
    assert.deepEqual(await obstacles(page), [])
    if (reason) await dialog.getByLabel('Reason').fill(reason)
    await dialog.getByRole('button', { name, exact: true }).click()
    await dialog.waitFor({ state: 'detached' })
  }

  const done = (page, words) => card(page, 'Look up').getByRole('status').filter({ hasText: words }).waitFor()

  test('a wrong key opens nothing', async () => {
    const page = await open()
    assert.deepEqual(await obstacles(page), [])
    await page.locator('#key').fill('another-key-than-the-one')
    await page.getByRole('button', { name: 'Open' }).click()
    await page.getByRole('status').filter({ hasText: 'The service refuses this key.' }).waitFor()
    for (const path of ['/api/operator', '/api/operator/communities'])
      assert.equal((await service.fetchJson(path)).status, 401)
    await browser.clear()
  })

  test('every number is the number of the API', async () => {
    const socket = new WebSocket(`${service.wsUrl}/api/subscribe?did=${bob.did}`)
    await new Promise((opened) => socket.addEventListener('open', opened))
    const join = { action: 'voice_event', community_uri: community.uri, voice_channel_rkey: voice.rkey }
    socket.send(JSON.stringify({ ...join, voice_action: 'join' }))
    const members = await answers(service, `/api/members?community=${community.uri}`, 200, (rows) =>
      rows.some(({ state }) => state === 'online'),
    )
    await answers(service, `/api/channels?community=${community.uri}`, 200, (rows) =>
      rows.some(({ voice_members: inside }) => inside.includes(bob.did)),
    )
    const page = await enter()
    await eventually(async () => {
      const online = members.filter(({ state }) => state === 'online').length
      const row = ['Garden', alice.handle, String(members.length), String(online), `lounge: ${bob.handle}`, 'chosen']
      assert.deepEqual(await cells(page, 'Communities'), [row])
      return true
    })
    const [{ reason, count, example }] = (await asOperator('/api/operator')).refusals
    const [[shownReason, shownCount, , shownExample]] = await cells(page, 'Refusals')
    assert.deepEqual([shownReason, shownCount, shownExample], [reason, String(count), example])
    const { ingest } = (await service.fetchJson('/api/health')).body
    const { known, due, failing } = ingest.repos
    await page.getByText(`${known} known, ${due} to be read, ${failing} of these failing`).waitFor()
    await card(page, 'Stream').getByText(ingest.host).waitFor()
    await eventually(async () => {
      const parts = (await asOperator('/api/health')).parts
      assert.deepEqual(await cells(page, 'Parts').then((rows) => rows.map(([part]) => part)), parts.map(({ part }) => part))
      const gateways = (rows) => rows.find(([part]) => part === 'gateways')
      const { verdict, message } = parts.find(({ part }) => part === 'gateways')
      assert.deepEqual(gateways(await cells(page, 'Parts')), ['gateways', verdict, message, ''])
      return true
    })
    // More frames than a socket may send: the gateway of bob refuses some, and the console counts them (O26).
    for (let n = 0; n < 300; n++) socket.send('{"action":"nothing of this name"}')
    await eventually(async () => {
      const { gateways } = await asOperator('/api/health')
      assert(gateways.some(({ sockets, refused_frames: refused }) => sockets > 0 && refused > 0))
      const { name: _, ...first } = gateways[0]
      assert.deepEqual(
        await cells(page, 'Gateways'),
        gateways.map(({ name, ...counts }) => [name, ...Object.keys(first).map((key) => String(counts[key]))]),
      )
      const metrics = await (await service.fetch('/metrics', { headers: { authorization: `Bearer ${KEY}` } })).text()
      for (const { name, refused_frames: refused } of gateways)
        assert(metrics.includes(`colibri_frames_refused_total{gateway="${name}"} ${refused}\n`), metrics)
      return true
    })
    assert.equal((await service.fetchJson('/api/health')).body.gateways, undefined, 'only for the key')
    socket.close()
    assert.deepEqual(page.problems, [])
    await browser.clear()
  })

  test('events are shown as they are published, filtered and paused', async () => {
    const page = await enter()
    const tail = page.getByRole('list', { name: 'Events' })
    await tail.getByText('No event yet.').waitFor()
    await bob.message(channel.rkey, 'to the tail')
    await tail.getByText('to the tail').waitFor()
    await page.getByPlaceholder('Filter').fill('nothing like this')
    await tail.getByText('to the tail').waitFor({ state: 'detached' })
    await page.getByPlaceholder('Filter').fill('')
    await page.getByRole('button', { name: 'Pause' }).click()
    const paused = await bob.message(channel.rkey, 'while paused')
    await answers(service, `/api/message?author=${bob.did}&rkey=${paused.rkey}`)
    await page.getByRole('button', { name: 'Go on' }).click()
    await bob.message(channel.rkey, 'after the pause')
    await tail.getByText('after the pause').waitFor()
    assert.equal(await tail.getByText('while paused').count(), 0)
    assert.deepEqual(page.problems, [])
    await browser.clear()
  })

  test('acts say what will happen, happen when confirmed, and stand in the audit log', async () => {
    const page = await enter()
    await look(page, bob.handle)
    await card(page, 'Look up').getByText(bob.did).waitFor()

    await card(page, 'Look up').getByRole('button', { name: 'Ban', exact: true }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click()
    assert.deepEqual(await asOperator(`/api/community/bans?community=${community.uri}`), [])

    await act(page, 'Ban', `${bob.handle} leaves Garden at once`, 'a test')
    await done(page, 'Done: Ban.')
    const bans = await asOperator(`/api/community/bans?community=${community.uri}`)
    assert.deepEqual(
      bans.map(({ member_did: did }) => did),
      [bob.did],
    )
    await act(page, 'Unban', 'may belong to Garden again')
    await done(page, 'Done: Unban.')
    assert.deepEqual(await asOperator(`/api/community/bans?community=${community.uri}`), [])
    await act(page, 'Read repository', 'reads the repository')
    await done(page, 'Done: Read repository.')

    const download = page.waitForEvent('download')
    await act(page, 'Export', 'Nothing changes.')
    const file = join(freshFolder(), 'export.jsonl')
    await (await download).saveAs(file)
    const lines = readFileSync(file, 'utf8')
    assert.match(lines, /"hello"/)

    await look(page, message.uri)
    await card(page, 'Look up').getByText('hello', { exact: true }).waitFor()
    await act(page, 'Block', 'disappears for everybody', 'rude')
    await done(page, 'Done: Block.')
    await answers(service, `/api/message?author=${bob.did}&rkey=${message.rkey}`, 404)
    await act(page, 'Unblock', 'appears again')
    await done(page, 'Done: Unblock.')
    await answers(service, `/api/message?author=${bob.did}&rkey=${message.rkey}`)

    await look(page, community.uri)
    await act(page, 'Invite', 'A new code is made')
    await done(page, 'The code of the invite: ')
    const [{ code }] = await asOperator(`/api/invites?community=${community.uri}`)
    await done(page, code)

    await look(page, bob.did)
    await card(page, 'Look up').getByRole('button', { name: 'Kick', exact: true }).waitFor()
    await act(page, 'Kick', 'may join again at once')
    await done(page, 'Done: Kick.')

    const audit = await asOperator(`/api/audit?community=${community.uri}`)
    assert.deepEqual(
      audit.map(({ action }) => action),
      ['kick', 'invite', 'unblock', 'block', 'unban', 'ban'],
    )
    await eventually(async () => {
      const shown = await cells(page, 'Acts in Garden')
      assert.deepEqual(
        shown.map(([, who, what, reason]) => [who, what, reason]),
        audit.map(({ actor, action, reason }) => [actor, action, reason ?? '']),
      )
      return true
    })
    await screenshot(page, 'console-acts')

    await act(page, 'Erase', 'is erased')
    await done(page, 'Done: Erase.')
    const state = await asOperator(`/api/user/erasure?did=${bob.did}`)
    assert.match(state.state, /^eras/)
    await card(page, 'Look up').getByText(/^eras/).waitFor()
    // What is not there is a 404, which browsers report.
    assert.deepEqual(
      page.problems.filter((problem) => !/status of 404/.test(problem)),
      [],
    )
    await browser.clear()
  })

  test('every size, both colours, two languages: readable, reachable by keyboard', async () => {
    for (const [size, dark, locale] of [
      [SIZES[0], false, 'en-US'],
      [SIZES[0], true, 'de-DE'],
      [SIZES[1], false, 'en-US'],
      [SIZES[1], true, 'de-DE'],
    ]) {
      const page = await enter({ ...size, dark, locale })
      await page.locator('tbody tr').first().waitFor()
      assert.deepEqual(await obstacles(page), [], `${size.width} ${locale}`)
      assert(!(await isTooWide(page)), `${size.width}`)
      await screenshot(page, `console-${size.width}-${dark ? 'dark' : 'light'}`)
      assert.deepEqual(page.problems, [])
      await browser.clear()
    }
  })
})
