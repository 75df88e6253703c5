// The pages of the service in a real browser: the reference is searched by its text and tried with values that exist,
// and a call shows names where it had DIDs and AT-URIs.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'

import { isTooWide, missing, obstacles, openBrowser, screenshot } from './browser.js'
import { eventually } from './harness.js'
import { answers, garden, openPlace } from './place.js'

const SOON = { timeout: 45_000 }

describe('pages', { skip: missing('chromium') }, () => {
  let service, browser, world, voice
  before(async () => {
    const place = await openPlace({ serve: false })
    const { startService } = await import('./harness.js')
    service = await startService({
      ...place.settings,
      env: { ...place.settings.env, DOH_URL: place.network.dns, AUTH_MODE: 'open', ICE_SERVERS: 'none' },
    })
    world = await garden(place)
    voice = await world.alice.channel({ name: 'lounge', type: 'voice', community: world.community.rkey })
    await world.bob.message(world.channel.rkey, 'hello')
    const channels = `/api/channels?community=${world.community.uri}`
    await answers(service, channels, 200, (body) => body.length === 2)
    await answers(service, `/api/messages?channel=${world.channel.uri}`, 200, (body) => body.length === 1)
    for (const { did } of [world.alice, world.bob])
      await answers(service, `/api/identity?id=${did}`, 200, (body) => body.handle !== null)
    browser = await openBrowser()
  })

  async function open(path, { size, origin = service.url } = {}) {
    const page = await browser.page(size)
    await page.goto(origin + path)
    return page
  }

  test('the reference finds the words of its text, and says if it has none', async () => {
    const page = await open('/docs', { size: { width: 390, height: 800 } })
    await page.locator('section').first().waitFor()
    const search = page.getByRole('searchbox')
    const shown = () => page.locator('section:not([hidden]), main > dl > div:not([hidden])').count()
    const all = await shown()
    for (const words of ['voice', 'token', 'heartbeat', 'join', 'rate limit']) {
      await search.fill(words)
      const found = await shown()
      assert(found > 0 && found < all, `${words}: ${found} of ${all}`)
    }
    await search.fill('heartbeat')
    assert(await page.locator('#subscribe, [id*=ubscribe]').first().isVisible(), 'the events socket')
    await search.fill('xyzzy')
    assert.equal(await shown(), 0)
    assert.equal(await page.locator('#nothing').textContent(), 'Nothing here says “xyzzy”.')
    await search.fill('')
    assert.equal(await shown(), all)
    const paths = await page.locator('section h3 code').allTextContents()
    assert(paths.includes('/demo/call') && !paths.some((path) => path.startsWith('/demo/call.')), 'files of a page are no endpoints')
    const wide = await page.evaluate(() => document.documentElement.scrollWidth)
    assert(wide <= 390, `${wide} pixels at 390`)
    await screenshot(page, 'docs-390px')
    assert.deepEqual(page.problems, [])
  })

  test('the page of the sockets has every frame, fits a phone, and is read by everybody', async () => {
    const { body: document } = await service.fetchJson('/asyncapi.json')
    for (const [width, dark] of [[390, false], [1600, true]]) {
      const page = await browser.page({ width, height: 800, dark })
      await page.goto(`${service.url}/docs/sockets#resumed`)
      await page.locator('h2').first().waitFor()
      const ids = await page.locator('section section').evaluateAll((all) => all.map(({ id }) => id))
      assert.deepEqual(ids.sort(), Object.keys(document.components.messages).sort())
      assert(await page.locator('#resumed').isVisible())
      assert.deepEqual(await obstacles(page), [], `${width}`)
      assert(!(await isTooWide(page)), `${width}`)
      await screenshot(page, `sockets-${width}`)
      assert.deepEqual(page.problems, [])
    }
  })

  test('Try asks with values that exist here', async () => {
    const page = await open('/docs')
    const tryIt = async (path) => {
      const section = page.locator('section').filter({ has: page.locator('h3 code', { hasText: new RegExp(`^${path}$`) }) }).first()
      await section.getByRole('button', { name: 'Try' }).click()
      await section.locator('.tried p').waitFor()
      return section.locator('.tried').textContent()
    }
    await page.locator('section').first().waitFor()
    assert.match(await tryIt('/api/messages'), /^This takes channel\. Name a person or a community/)
    await page.locator('#who').fill(world.bob.handle)
    await page.getByRole('button', { name: 'Use' }).click()
    await page.getByText('Try uses the channel hall and its newest message.').waitFor()
    await eventually(async () => /^200 .*"text": "hello"/s.test(await tryIt('/api/messages')), SOON)
    for (const [path, expected] of [
      ['/api/community', /"name": "Garden"/],
      ['/api/message', /"text": "hello"/],
      ['/api/server', /^200 /],
    ])
      await eventually(async () => expected.test(await tryIt(path)), SOON)
    await screenshot(page, 'docs-try')
    assert.deepEqual(page.problems, [])
  })

  test('who leaves the page of calls before a call leaves no error behind', async () => {
    const page = await open('/demo/call')
    assert.equal(await page.evaluate(() => window.call), undefined)
    await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide')))
    await page.evaluate(() => document.getElementById('leave').click())
    assert.deepEqual(page.problems, [])
  })

  test('over plain http from elsewhere the page says why there is no camera, and the test picture works', async () => {
    const page = await open('/demo/call?room=lan&name=ann', { origin: `http://lan.test:${service.port}` })
    assert.equal(await page.evaluate(() => isSecureContext), false)
    await page.getByRole('button', { name: 'Join' }).click()
    await page.getByText('gives camera and microphone only to pages over https').waitFor()
    await page.getByLabel('A test picture').check()
    await page.getByRole('button', { name: 'Join' }).click()
    await page.locator('#call').waitFor({ state: 'visible' })
    assert.deepEqual(page.problems, [])
  })

  test('a voice channel is joined by handle, called by its name, and its list is filled', async () => {
    const listed = async (...people) => {
      const fits = (body) => JSON.stringify(body.find(({ rkey }) => rkey === voice.rkey).voice_members) === JSON.stringify(people)
      await answers(service, `/api/channels?community=${world.community.uri}`, 200, fits)
    }
    const join = async ({ handle }, name, size) => {
      const query = new URLSearchParams({ room: voice.uri, name, did: handle, source: 'test' })
      const page = await open(`/demo/call?${query}`, { size })
      await eventually(async () => (await page.locator('#rooms option').count()) > 0, SOON)
      assert.equal(await page.locator('#rooms option').first().getAttribute('value'), voice.uri)
      await page.getByRole('button', { name: 'Join' }).click()
      await page.locator('#call').waitFor({ state: 'visible' })
      return page
    }
    const alice = await join(world.alice, 'ann', { width: 1200, height: 700 })
    await listed(world.alice.did)
    const bob = await join(world.bob, 'ben')
    await listed(...[world.alice.did, world.bob.did].sort())
    await alice.getByText(`ben (${world.bob.handle})`).waitFor()
    await alice.getByText('In “lounge, Garden” with one other.').waitFor()
    for (const page of [alice, bob]) assert.doesNotMatch(await page.locator('body').innerText(), /did:plc|at:\/\//)
    const [tiles, window] = await alice.evaluate(() => {
      const { bottom, width } = document.getElementById('tiles').getBoundingClientRect()
      return [{ bottom, width }, { height: innerHeight, width: innerWidth }]
    })
    assert(tiles.width > window.width - 60 && tiles.bottom > window.height - 120, JSON.stringify({ tiles, window }))
    assert(await alice.evaluate(() => document.documentElement.scrollHeight <= innerHeight), 'nothing to scroll')
    await screenshot(alice, 'call-voice-channel')
    await bob.getByRole('button', { name: 'Leave' }).click()
    await listed(world.alice.did)
    assert.deepEqual([...alice.problems, ...bob.problems], [])
  })
})
