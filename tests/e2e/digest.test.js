// Digests of what is quiet (contract U27): one after five notifications or a while, and none again before they are seen,
// also across restarts. On the real runtime, with a real PDS.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { eventually, startService } from './harness.js'
import { answers, connected, garden, openPlace } from './place.js'
import { bearer, vouch } from './tokens.js'

const KEY = 'the key of the tests'

let place, alice, bob, channel
before(async () => {
  place = await openPlace({ env: { INVITE_API_KEY: KEY, TOKEN_SECRET: 'what signs the tokens' } })
  let community
  ;({ alice, bob, community, channel } = await garden(place))
  await answers(place.service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
})

/** A socket of bob. */
const here = async () => place.service.connect(`/api/subscribe?auth=${await vouch(place.service, KEY, bob.did)}`)

/** alice mentions bob. */
function say() {
  const features = [{ $type: 'app.bsky.richtext.facet#mention', did: bob.did }]
  return alice.message(channel.rkey, '@bob, hello', { facets: [{ index: { byteStart: 0, byteEnd: 4 }, features }] })
}

/** alice mentions bob so many times, and his socket gets each. */
async function mention(socket, times) {
  for (let n = 0; n < times; n += 1) {
    const { rkey } = await say()
    const told = await socket.next((frame) => frame.type === 'notification' && frame.message.rkey === rkey)
    assert.equal(told.urgency, 'quiet')
  }
}

const seeAll = async () => {
  const headers = bearer(await vouch(place.service, KEY, bob.did))
  const answer = await place.service.fetch(`/api/notifications/seen?did=${bob.did}`, { method: 'POST', headers })
  assert(answer.ok)
}

async function restart(env = {}) {
  await place.service.stop()
  place.service = await startService({ ...place.settings, env: { ...place.settings.env, ...env } })
  await connected(place.service)
}

test('U27: five quiet notifications make one digest, and a restart neither loses nor repeats it', async () => {
  let socket = await here()
  await mention(socket, 3)
  assert.equal(socket.all({ type: 'digest' }).length, 0)
  await restart()
  socket = await here()
  await mention(socket, 2)
  const { kind, urgency, count, since } = await socket.next({ type: 'digest' })
  assert.deepEqual([kind, urgency, count], ['digest', 'quiet', 5])
  assert(Date.parse(since) <= Date.now())
  await mention(socket, 2)
  await restart()
  socket = await here()
  await mention(socket, 1)
  await seeAll()
  await socket.next({ type: 'notifications_seen' })
  await mention(socket, 5)
  assert.equal((await socket.next({ type: 'digest' })).count, 5)
  assert.equal(socket.all({ type: 'digest' }).length, 1, 'none for the eight that the first one was not opened for')
  await seeAll()
})

test('U27: a person who has no browser and was away for all of it gets the digest when they come', async () => {
  await restart()
  await seeAll()
  for (let n = 0; n < 5; n += 1) await say()
  const headers = bearer(await vouch(place.service, KEY, bob.did))
  await eventually(async () => {
    const { body } = await place.service.fetchJson(`/api/notifications?did=${bob.did}`, { headers })
    return body.notifications.filter((notification) => notification.seen_at === null).length === 5
  })
  const socket = await here()
  assert.equal((await socket.next({ type: 'digest' })).count, 5)
  await seeAll()
  await socket.close()
})

test('C45: the first quiet notification does not wait for longer than that', async () => {
  await restart({ DIGEST_AFTER_MS: '1' })
  const socket = await here()
  await mention(socket, 1)
  assert.equal((await socket.next({ type: 'digest' })).count, 1)
  await socket.close()
})
