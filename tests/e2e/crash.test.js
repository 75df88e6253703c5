// Kill -9 of the runtime in the middle of a stream: nothing is lost or duplicated, neither in the database nor on a
// socket that resumes (J03, Q02, B-25).

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Follower } from './follower.js'
import { eventually } from './harness.js'
import { answers, connected, garden, openPlace } from './place.js'

const RECORDS = 2_000
/** The number of portions of records; the runtime is killed while it reads each portion but the last. */
const PORTIONS = 4

test('b25 2,000 records and three kills: each record once in D1, each event once on a resumed socket', async () => {
  const place = await openPlace()
  const { bob, community, channel } = await garden(place)
  const { service } = place
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
  const client = new Follower(service, [{ uri: community.uri, channels: [channel.uri] }])
  const messages = () => client.events().filter((event) => event.type === 'message')
  const seen = (count) => eventually(() => messages().length >= count, { what: `${count} messages`, timeout: 60_000 })
  await client.connect()

  const records = Array.from({ length: RECORDS }, (_, n) => ({
    $type: 'social.colibri.message',
    text: `record ${n}`,
    channel: channel.rkey,
    createdAt: new Date().toISOString(),
  }))
  const size = RECORDS / PORTIONS
  const written = []
  for (let portion = 0; portion < PORTIONS; portion++) {
    const writing = bob.createMany('social.colibri.message', records.slice(portion * size, (portion + 1) * size))
    if (portion < PORTIONS - 1) {
      await seen(portion * size + size / 10)
      await service.kill9()
      client.leave()
      assert(messages().length < RECORDS, 'the kill came in the middle of the stream')
      const cursor = client.cursor(community.uri)
      await service.restart()
      const [resumed] = await client.connect()
      assert.equal(resumed.from, cursor, 'Q04')
    }
    written.push(...(await writing))
  }
  await seen(RECORDS)

  const stored = await answers(service, `/api/messages?channel=${channel.rkey}&all=`, 200, (all) => all.length >= RECORDS)
  assert.deepEqual(
    stored.map((message) => message.rkey).sort(),
    written.map((record) => record.rkey).sort(),
    'every record is in D1 once',
  )
  client.leave()
  assert.deepEqual(
    messages()
      .map((message) => message.rkey)
      .sort(),
    written.map((record) => record.rkey).sort(),
    'the client has seen each message once',
  )
  assert.deepEqual(
    client.events().map((event) => event.seq),
    client.events().map((_, n) => n + 1),
    'every event of the community, in order, none missing, none twice',
  )
})

test('what happens while the service is down is there when it is back', async () => {
  const place = await openPlace()
  const { bob, community, channel } = await garden(place)
  const { service } = place
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
  const first = await bob.message(channel.rkey, 'before')
  await answers(service, `/api/messages?channel=${channel.rkey}`, 200, (messages) => messages.length === 1)
  await service.kill9()
  await bob.delete('social.colibri.message', first.rkey)
  await bob.message(channel.rkey, 'meanwhile')
  await service.restart()
  await connected(service)
  const [message] = await answers(service, `/api/messages?channel=${channel.rkey}`, 200, (messages) =>
    messages.some(({ text }) => text === 'meanwhile'),
  )
  assert.equal(message.text, 'meanwhile')
  await answers(service, `/api/message?author=${bob.did}&rkey=${first.rkey}`, 404)
})
