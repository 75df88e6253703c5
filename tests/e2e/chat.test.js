// The first page and the chat page in a real browser: alice and bob talk in two windows, each through their own PDS; a
// line that is cut and mended loses nothing; what the pages show is what the API answers.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'

import { COLLECTION } from '../network/records.js'
import * as records from '../network/records.js'
import { isTooWide, missing, obstacles, openBrowser, screenshot } from './browser.js'
import { eventually, freePort, startService } from './harness.js'
import { answers, openPlace } from './place.js'
import { vouch } from './tokens.js'

const SIZES = [
  { width: 390, height: 800 },
  { width: 1600, height: 900 },
]
const KEY = 'the-key-of-the-operator'
const PIXEL = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
)

describe('the first page and the chat', { skip: missing('chromium') }, () => {
  let place, service, browser, alice, bob, community, hall, pond, lounge
  before(async () => {
    place = await openPlace({ serve: false })
    const port = await freePort()
    const env = {
      DOH_URL: place.network.dns,
      AUTH_MODE: 'mixed',
      INVITE_API_KEY: KEY,
      TOKEN_SECRET: 'what signs the tokens',
      SERVICE_DID: `did:web:localhost%3A${port}`,
    }
    service = await startService({ ...place.settings, port, env: { ...place.settings.env, ...env } })
    ;[alice, bob] = await Promise.all(['alice', 'bob'].map((name) => place.network.createAccount(name)))
    community = await alice.community({ name: 'Garden', requiresApprovalToJoin: false, categoryOrder: ['paths'] })
    const inGarden = { community: community.rkey, category: 'paths' }
    await alice.put(COLLECTION.category, 'paths', records.category({ name: 'Paths', community: community.rkey }))
    hall = await alice.channel({ name: 'hall', ...inGarden })
    pond = await alice.channel({ name: 'pond', ...inGarden })
    lounge = await alice.channel({ name: 'lounge', type: 'voice', ...inGarden })
    await bob.membership(community.uri)
    await alice.message(hall.rkey, 'Welcome to the garden!')
    await answers(service, `/api/messages?channel=${hall.uri}`, 200, (rows) => rows.length === 1)
    await answers(service, `/api/members?community=${community.uri}`, 200, (rows) => rows.length === 2)
    for (const { did } of [alice, bob])
      await answers(service, `/api/identity?id=${did}`, 200, ({ handle }) => handle !== null)
    browser = await openBrowser()
  })

  async function open(path, options) {
    const page = await browser.page(options)
    await page.goto(service.url + path)
    return page
  }

  /** The chat, signed in with one click. */
  async function enter(person, options = SIZES[1]) {
    const page = await open(
      `/demo/chat#${[alice, bob].map(({ handle, password }) => `${handle}:${password}`)}`,
      options,
    )
    await page.getByRole('button', { name: `Sign in as ${person.handle}` }).click()
    await page.locator('.line[data-state=open]').waitFor()
    return page
  }

  const log = (page) => page.getByRole('log')
  const said = (page, text) => log(page).locator('.message').filter({ hasText: text })
  const texts = (page) => log(page).locator('.message:not(.waiting) .text').allTextContents()
  const inApi = async (channel) =>
    (await service.fetchJson(`/api/messages?channel=${channel.uri}&all`)).body.map(({ text }) => text).reverse()

  /** Waits until a window shows exactly what the API answers. */
  const agrees = (page, channel) =>
    eventually(async () => {
      const [shown, stored] = [await texts(page), await inApi(channel)]
      assert.deepEqual(shown, stored)
      return true
    })

  async function write(page, text) {
    await page.locator('textarea').fill(text)
    await page.keyboard.press('Enter')
    await said(page, text).first().waitFor()
    await said(page, text).locator('time').first().waitFor()
  }

  test('the first page says what this is, in two languages, and all it names exists', async () => {
    for (const [locale, words] of [
      ['en-US', /It reads the network from/],
      ['de-AT', /Er liest das Netz von/],
    ])
      for (const dark of [false, true])
        for (const size of SIZES) {
          const page = await open('/', { ...size, locale, dark })
          await page.getByRole('status').filter({ hasText: words }).waitFor()
          assert.equal(await page.locator('html').getAttribute('lang'), locale.slice(0, 2))
          assert.deepEqual(await obstacles(page), [], `${locale} ${size.width}`)
          assert(!(await isTooWide(page)))
          await screenshot(page, `home-${locale.slice(0, 2)}-${size.width}-${dark ? 'dark' : 'light'}`)
          const links = await page.getByRole('link').evaluateAll((all) => all.map((link) => link.href))
          assert(links.length >= 5)
          for (const link of links) assert.equal((await fetch(link)).status, 200, link)
          assert.deepEqual(page.problems, [])
        }
    await browser.clear()
  })

  test('pages have their headers, missing ones are JSON', async () => {
    for (const path of ['/', '/docs/sockets', '/demo/chat']) {
      const { headers } = await service.fetch(path)
      assert.match(headers.get('content-type'), /^text\/html/)
      assert.match(headers.get('content-security-policy'), /^default-src 'none'; script-src 'self'; style-src 'self';/)
      assert.doesNotMatch(headers.get('content-security-policy'), /unsafe/)
      const again = await service.fetch(path, { headers: { 'if-none-match': headers.get('etag') } })
      assert.equal(again.status, 304)
    }
    for (const path of [
      '/nothing',
      '/api/nothing',
      '/xrpc/nothing',
      '/pages/home.html',
      '/pages/..%2Findex.js',
      '/pages/.inputs',
      '/pages/nothing.js',
    ]) {
      const { status, body } = await service.fetchJson(path)
      assert.deepEqual([status, body.error], [404, 'NotFound'], path)
    }
  })

  test('a wrong password and an unknown handle are said in words', async () => {
    const page = await open('/demo/chat', { locale: 'de-DE' })
    assert.deepEqual(await obstacles(page), [])
    for (const [handle, words] of [
      [alice.handle, 'Der PDS lehnt dieses Passwort ab.'],
      ['nobody.example.com', 'Es gibt kein Konto nobody.example.com'],
    ]) {
      await page.getByLabel('Handle').fill(handle)
      await page.getByLabel('App-Passwort').fill('wrong-wrong')
      await page.getByRole('button', { name: 'Anmelden' }).click()
      await page.getByRole('status').filter({ hasText: words }).waitFor()
    }
    await browser.clear()
  })

  test('alice and bob talk: posts, replies, reactions, changes, attachments, presence, unread', async () => {
    const [a, b] = [await enter(alice), await enter(bob)]
    await said(b, 'Welcome to the garden!').waitFor()
    await a.locator('.members [data-state=online]').nth(1).waitFor()

    const text = `hello @${bob.handle}, see https://example.com/garden.`
    await write(a, text)
    await said(b, text)
      .locator('.mention', { hasText: `@${bob.handle}` })
      .waitFor()
    assert.equal(await said(b, text).getByRole('link').getAttribute('href'), 'https://example.com/garden')
    await said(b, text).getByRole('button', { name: 'Reply' }).click()
    await write(b, 'hello too')
    await said(a, 'hello too').locator('blockquote', { hasText: 'hello @' }).waitFor()

    await said(a, 'hello too').locator('summary').click()
    await said(a, 'hello too').getByRole('button', { name: 'React with ❤️' }).click()
    await said(b, 'hello too').locator('.reaction[aria-pressed=false]', { hasText: '❤️ 1' }).click()
    await said(a, 'hello too').locator('.reaction[aria-pressed=true]', { hasText: '❤️ 2' }).click()
    await said(b, 'hello too').locator('.reaction', { hasText: '❤️ 1' }).waitFor()

    await said(b, 'hello too').getByRole('button', { name: 'Edit' }).click()
    await b.locator('textarea').fill('hello, also')
    await b.getByRole('button', { name: 'Save' }).click()
    await said(a, 'hello, also').getByText('edited').waitFor()
    await write(b, 'a slip')
    await said(a, 'a slip').waitFor()
    await said(b, 'a slip').getByRole('button', { name: 'Delete' }).click()
    await said(a, 'a slip').waitFor({ state: 'detached' })

    await a.locator('input[type=file]').setInputFiles({ name: 'leaf.png', mimeType: 'image/png', buffer: PIXEL })
    await write(a, 'a leaf')
    const picture = said(b, 'a leaf').getByRole('img', { name: 'leaf.png' })
    await eventually(() => picture.evaluate((image) => image.naturalWidth === 1), { what: 'the picture' })
    await agrees(a, hall)
    await agrees(b, hall)

    await b.setViewportSize({ width: 1100, height: 560 })
    await screenshot(b, 'chat')
    await b.setViewportSize(SIZES[1])

    await b.getByRole('button', { name: /# pond/ }).click()
    await write(b, 'is it quiet here?')
    await a.getByRole('button', { name: '# pond 1 unread' }).click()
    await agrees(a, pond)
    await answers(service, `/api/channel-reads?did=${alice.did}`, 200, (reads) =>
      reads.some(({ channel_uri: uri }) => uri === pond.uri),
    )

    await b.getByLabel('Your state').selectOption('dnd')
    await a.locator('.members [data-state=dnd]').waitFor()
    const auth = await vouch(service, KEY, bob.did)
    const [events, call] = [
      await service.connect(`/api/subscribe?auth=${auth}`),
      await service.connect(`/api/webrtc/signal?${new URLSearchParams({ auth, room: lounge.uri })}`),
    ]
    await events.request({ action: 'voice_event', community_uri: community.uri, voice_channel_rkey: lounge.rkey })
    call.send({ type: 'join', room: lounge.uri, peer_id: bob.did })
    await call.next({ type: 'joined' })
    call.send({ type: 'voice_state', room: lounge.uri, deafened: true })
    await a.locator('.voice', { hasText: '(deafened)' }).waitFor()
    await Promise.all([events, call].map((socket) => socket.close()))
    assert.match(await a.locator('.voice a').getAttribute('href'), new RegExp(encodeURIComponent(lounge.uri)))
    assert.deepEqual([...a.problems, ...b.problems], [])
    await browser.clear()
  })

  const asOperator = async (path) =>
    (await service.fetchJson(path, { headers: { authorization: `Bearer ${KEY}` } })).body

  test('typing shows and disappears, a mention raises counts that go when it is read, a thread opens', async () => {
    const [a, b] = [await enter(alice), await enter(bob)]
    await said(b, 'Welcome to the garden!').waitFor()
    const writing = b.locator('.composer').getByRole('status').filter({ hasText: alice.handle })
    await a.locator('textarea').pressSequentially('he')
    await writing.waitFor()
    // She stops: it ends by itself.
    await writing.waitFor({ state: 'detached' })
    await a.locator('textarea').pressSequentially('llo')
    await writing.waitFor()
    await write(a, 'hello again')
    await writing.waitFor({ state: 'detached' })

    await b.getByRole('button', { name: /# pond/ }).click()
    const text = `@${bob.handle}, come over`
    await write(a, text)
    await b.getByRole('button', { name: /# hall\s+1 unread\s+1 mention/ }).waitFor()
    await b.getByRole('button', { name: /Inbox\s+1 new/ }).click()
    const inHall = async () =>
      (await asOperator(`/api/unread?did=${bob.did}`)).find(({ channel_uri: uri }) => uri === hall.uri)
    const { unread, mentions } = await inHall()
    assert.deepEqual([unread, mentions], [1, 1])
    const inbox = b.getByRole('dialog', { name: 'Inbox' })
    assert.equal(await inbox.locator('[data-seen=false]').count(), 1)
    assert.deepEqual(await obstacles(b), [])
    await screenshot(b, 'chat-inbox')
    await inbox.locator('[data-seen=false]').getByRole('button', { name: `${alice.handle} mentions you` }).click()
    await said(b, 'come over').first().waitFor()
    await b.getByRole('button', { name: 'Inbox', exact: true }).waitFor()
    await b.getByRole('button', { name: '# hall', exact: true }).waitFor()
    assert.deepEqual([(await inHall()).mentions, (await asOperator(`/api/notifications?did=${bob.did}`)).unseen], [0, 0])

    await said(b, 'come over').first().getByRole('button', { name: 'Reply' }).click()
    await write(b, 'on my way')
    await said(a, 'come over').first().getByRole('button', { name: '1 answer' }).click()
    const thread = a.getByRole('dialog', { name: 'Thread' })
    await thread.waitFor()
    assert.deepEqual(await thread.locator('.text').allTextContents(), [text, 'on my way'])
    assert.deepEqual(await obstacles(a), [])
    await thread.getByRole('button', { name: 'Close' }).click()
    await thread.waitFor({ state: 'detached' })
    // Its words are found.
    await a.getByRole('searchbox').fill('on way')
    await a.getByRole('button', { name: 'Search' }).click()
    const results = a.getByRole('dialog', { name: 'Found: on way' })
    await results.waitFor()
    assert.deepEqual(await results.locator('mark').allTextContents(), ['on', 'way'])
    assert.deepEqual(await obstacles(a), [])
    await results.getByRole('button', { name: 'Close' }).click()
    await results.waitFor({ state: 'detached' })
    // An answer that stands on the screen is seen.
    await a.getByRole('button', { name: 'Inbox', exact: true }).waitFor()
    assert.deepEqual([...a.problems, ...b.problems], [])
    await browser.clear()
  })

  test('a cut line is mended without loss, and the page says what came back', async () => {
    const [a, b] = [await enter(alice), await enter(bob)]
    await said(b, 'Welcome to the garden!').waitFor()
    await write(a, 'before the cut')
    await said(b, 'before the cut').waitFor()
    await b.getByRole('button', { name: 'Cut the line' }).click()
    for (const text of ['one', 'two', 'three']) await write(a, text)
    await said(a, 'two').getByRole('button', { name: 'Delete' }).click()
    await said(a, 'two').waitFor({ state: 'detached' })
    const nook = await alice.channel({ name: 'nook', community: community.rkey, category: 'paths' })
    await a.getByRole('button', { name: '# nook' }).click()
    await write(a, 'in the new channel')
    assert.equal(await said(b, 'three').count(), 0)
    await screenshot(b, 'chat-cut')
    await b.getByRole('button', { name: 'Mend the line' }).click()
    // The replay leaves out a message that is gone, and sends its deletion (Q07).
    await b.getByText('Came back: 2 messages, 1 deletion, 1 other event.').waitFor()
    await agrees(b, hall)
    await b.getByRole('button', { name: '# nook 1 unread' }).click()
    await agrees(b, nook)

    // Without the button: the service restarts, and nobody clicks.
    await service.restart()
    await Promise.all([a, b].map((page) => page.locator('.line[data-state=open]').waitFor({ timeout: 45_000 })))
    await bob.message(nook.rkey, 'after the restart')
    await said(a, 'after the restart').waitFor({ timeout: 45_000 })
    await agrees(a, nook)
    // The browser itself reports the broken sockets.
    assert.deepEqual(
      [...a.problems, ...b.problems].filter((problem) => !/WebSocket|Failed to load resource/.test(problem)),
      [],
    )
    await browser.clear()
  })

  test('a community for members only is read with a proof', async () => {
    const grove = await bob.community({ name: 'Grove', requiresApprovalToJoin: true })
    const glade = await bob.channel({ name: 'glade', community: grove.rkey })
    const membership = await alice.membership(grove.uri)
    await bob.approval(membership.uri, grove.uri)
    await bob.message(glade.rkey, 'only for us')
    await answers(service, `/api/members?community=${grove.uri}`, 200, (rows) =>
      rows.some(({ status }) => status === 'approved'),
    )
    await answers(service, `/api/messages?channel=${glade.uri}`, 200, (rows) => rows.length === 1)
    const headers = { authorization: `Bearer ${KEY}` }
    const body = JSON.stringify({ community_uri: grove.uri, members_only: true })
    const set = await service.fetch('/api/community/members-only', { method: 'PUT', headers, body })
    assert.equal(set.status, 200)
    await answers(service, `/api/messages?channel=${glade.uri}`, 401)
    const page = await enter(alice)
    await page.getByRole('button', { name: 'Grove' }).click()
    await said(page, 'only for us').waitFor()
    await bob.message(glade.rkey, 'and live')
    await said(page, 'and live').waitFor()
    assert.deepEqual(page.problems, [])
    await browser.clear()
  })

  test('every size and both colours: readable, reachable by keyboard, nothing to scroll sideways', async () => {
    for (const dark of [false, true])
      for (const size of SIZES) {
        const page = await enter(alice, { ...size, dark })
        await said(page, 'Welcome to the garden!').waitFor()
        const look = async (what) => {
          assert.deepEqual(await obstacles(page), [], `${what} ${size.width}`)
          assert(!(await isTooWide(page)), `${what} ${size.width}`)
          await screenshot(page, `chat-${what}-${size.width}-${dark ? 'dark' : 'light'}`)
        }
        await look('messages')
        await page.getByRole('button', { name: /^Inbox/ }).click()
        await look('inbox')
        await page.keyboard.press('Escape')
        await page.getByRole('dialog').waitFor({ state: 'detached' })
        await page
          .getByRole('button', { name: /answers?$/ })
          .first()
          .click()
        await page.getByRole('dialog', { name: 'Thread' }).waitFor()
        await look('thread')
        await page.keyboard.press('Escape')
        await page.getByRole('dialog').waitFor({ state: 'detached' })
        if (size.width < 900)
          for (const pane of ['Channels', 'Members']) {
            await page.getByRole('button', { name: pane, exact: true }).click()
            await look(pane.toLowerCase())
          }
        assert.deepEqual(page.problems, [])
        await browser.clear()
      }
  })
})
