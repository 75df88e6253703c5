// A device takes pushes through the chat page, in a real browser: only the way from the push service to the browser, which
// would lead through the internet, is the test's.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'

import { missing, obstacles, openBrowser } from './browser.js'
import { eventually, freePort, startService } from './harness.js'
import { answers, garden, openPlace } from './place.js'
import { SUBJECT, keyPair, pushService } from './push-service.js'

const vapid = keyPair()

describe('pushes to the chat page', { skip: missing('chromium') }, () => {
  let service, push, browser, alice, bob, channel, start
  before(async () => {
    push = await pushService()
    const place = await openPlace({ serve: false })
    const { settings } = place
    start = async (env) => {
      const port = await freePort()
      const all = {
        ...settings.env,
        DOH_URL: place.network.dns,
        AUTH_MODE: 'mixed',
        TOKEN_SECRET: 'what signs the tokens',
        SERVICE_DID: `did:web:localhost%3A${port}`,
        INSECURE_HOSTS: `${settings.env.INSECURE_HOSTS},${push.host}`,
      }
      return startService({ ...settings, port, env: { ...all, ...env } })
    }
    service = await start({ VAPID_PRIVATE_KEY: vapid.secret, VAPID_SUBJECT: SUBJECT })
    const world = await garden(place)
    ;({ alice, bob, channel } = world)
    await answers(service, `/api/members?community=${world.community.uri}`, 200, (members) => members.length === 2)
    for (const { did } of [alice, bob]) await answers(service, `/api/identity?id=${did}`, 200, ({ handle }) => handle !== null)
    browser = await openBrowser()
  })

  /** bob's chat, with the inbox open. */
  async function inbox({ permissions = [] } = {}) {
    const page = await browser.page()
    await page.context().grantPermissions(permissions, { origin: service.url })
    // The push service of the browser's maker is in the internet: the test's takes its place.
    const subscription = push.browser('/device')
    await page.addInitScript(({ subscription }) => {
      globalThis.PushManager.prototype.subscribe = async function (options) {
        globalThis.subscribedWith = options
        return { toJSON: () => subscription }
      }
    }, { subscription })
    await page.goto(`${service.url}/demo/chat#${bob.handle}:${bob.password}`)
    await page.getByRole('button', { name: `Sign in as ${bob.handle}` }).click()
    await page.locator('.line[data-state=open]').waitFor()
    await page.getByRole('button', { name: 'Inbox' }).click()
    return page
  }
  const notify = (page) => page.getByRole('button', { name: 'Notify me on this device' }).click()
  const answer = (page) => page.locator('dialog [role=status]')

  test('U28: a ping reaches the device, whose service worker shows it', async () => {
    const page = await inbox({ permissions: ['notifications'] })
    const devtools = await page.context().newCDPSession(page)
    const registered = new Promise((resolve) =>
      devtools.on('ServiceWorker.workerRegistrationUpdated', ({ registrations: [one] }) => one && resolve(one.registrationId)),
    )
    await devtools.send('ServiceWorker.enable')
    await notify(page)
    await answer(page).filter({ hasText: 'You are notified on this device.' }).waitFor()
    const options = await page.evaluate(() => globalThis.subscribedWith)
    assert.deepEqual(options, { userVisibleOnly: true, applicationServerKey: vapid.shown })
    assert.deepEqual(await obstacles(page), [])

    const features = [{ $type: 'app.bsky.richtext.facet#mention', did: bob.did }]
    const facets = [{ index: { byteStart: 0, byteEnd: 5 }, features }]
    await page.getByRole('button', { name: 'Close' }).click()
    await page.goto('about:blank')
    const { rkey } = await alice.message(channel.rkey, '@@bob, come', { facets })
    const { said } = await push.got('/device', 1)
    assert(said.message_uri.endsWith(rkey))

    await page.goto(`${service.url}/demo/chat`)
    const deliver = { origin: service.url, registrationId: await registered, data: JSON.stringify(said) }
    await devtools.send('ServiceWorker.deliverPushMessage', deliver)
    const shown = () =>
      page.evaluate(async () => {
        const registration = await navigator.serviceWorker.getRegistration('/pages/')
        const notifications = await registration.getNotifications()
        return notifications.map(({ title, body, tag }) => ({ title, body, tag }))
      })
    await eventually(async () => (await shown()).length === 1, { what: 'the notification' })
    const [{ title, body, tag }] = await shown()
    assert.match(title, / mentions you$/)
    assert.deepEqual([body, tag], ['@@bob, come', String(said.id)])
    assert.deepEqual(page.problems, [])
  })

  test('U28: the page says why a device is not notified', async () => {
    const forbidden = await inbox()
    await notify(forbidden)
    await answer(forbidden).filter({ hasText: 'Your browser forbids notifications from this page.' }).waitFor()
    await service.stop()
    service = await start({})
    const without = await inbox({ permissions: ['notifications'] })
    await notify(without)
    await answer(without).filter({ hasText: 'This service notifies no devices.' }).waitFor()
  })
})
