// Disorder of the stream itself: clocks that are set, gaps behind odd frames, binary frames, and a frame that the
// runtime refuses.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { PlayedJetstream } from '../network/played-jetstream.js'
import { atEnd, eventually, startService } from './harness.js'
import { connected } from './place.js'

const HOUR = 3_600_000_000
const COMMUNITY = 'at://did:plc:alice/social.colibri.community/c'

/** A played Jetstream with a service that has indexed a community with bob in it. */
async function open(query = '') {
  const jetstream = await PlayedJetstream.start()
  atEnd(() => jetstream.close())
  const service = await startService({ env: { JETSTREAM_URL: jetstream.url + query } })
  await connected(service)
  const name = { name: 'Garden', requiresApprovalToJoin: false }
  jetstream.say(jetstream.commit('alice', 'community/c', name))
  jetstream.say(jetstream.commit('alice', 'channel/k', { name: 'hall', type: 'text', community: 'c' }))
  jetstream.say(jetstream.commit('bob', 'membership/m', { community: COMMUNITY, createdAt: '2026-03-01T12:00:00Z' }))
  const say = (rkey, options) => jetstream.commit('bob', `message/${rkey}`, { text: rkey, channel: 'k', createdAt: '2026-03-01T12:00:00Z' }, options)
  const ingest = async () => (await service.fetchJson('/api/health')).body.ingest
  const shown = (rkey, options) =>
    eventually(async () => (await service.fetchJson(`/api/message?author=did:plc:bob&rkey=${rkey}`)).status === 200, {
      what: `${rkey} to be shown`,
      ...options,
    })
  const tell = async (rkey, options) => {
    jetstream.say(say(rkey, options))
    await shown(rkey)
  }
  /** Cuts the connection, and returns the cursor of the next one. */
  const again = async () => {
    const before = jetstream.asked.length
    jetstream.drop()
    await eventually(() => jetstream.asked.length > before, { what: 'a new connection' })
    return jetstream.asked.at(-1)
  }
  await tell('first')
  return { jetstream, service, say, ingest, shown, tell, again }
}

test('j04 an event with a time far behind or far ahead moves no cursor, and is accepted', async () => {
  const { jetstream, service, say, ingest, shown, tell, again } = await open()
  await tell('now')
  const now = jetstream.frames.at(-1).time
  for (const [rkey, time] of [
    ['hourback', Date.now() * 1000 - HOUR],
    ['zero', 0],
    ['monthahead', Date.now() * 1000 + 30 * 24 * HOUR],
  ]) {
    jetstream.send(say(rkey, { time }).text)
    await shown(rkey)
    assert.equal((await again()).cursor, now, rkey)
  }
  assert.equal((await ingest()).ahead, 1)
  assert.deepEqual((await ingest()).gaps, [], 'a false gap is none')
  // A cursor in the future, stored by an earlier build, is dropped.
  await tell('later')
  await service.restart()
  await eventually(() => jetstream.asked.at(-1).cursor >= now)
  assert(jetstream.asked.at(-1).cursor <= Date.now() * 1000)
})

test('j07 a gap is found behind frames that do not show it', async () => {
  for (const odd of ['{"type":"info"}', '{"did":"did:plc:z","time_us":0,"kind":"sync"}', undefined]) {
    const { jetstream, say, ingest, shown, again } = await open()
    const late = say('late', { time: Date.now() * 1000 + 60_000_000 })
    jetstream.answer = (send) => {
      if (odd) send(odd)
      send(late.text)
    }
    await again()
    await shown('late')
    const [gap, ...more] = (await ingest()).gaps
    assert.deepEqual([gap?.reason, more.length], ['cursor_too_old', 0], `behind ${odd}`)
    await jetstream.close()
  }
})

test('j02 j09 what would make the stream unreadable is left out of its URL; binary frames are counted', async () => {
  const { jetstream, service, ingest, tell } = await open('?compress=true&requireHello=true&maxMessageSizeBytes=10&wantedDids=did:plc:bob')
  const { searchParams } = jetstream.asked[0].url
  assert.deepEqual(
    ['compress', 'requireHello', 'maxMessageSizeBytes', 'wantedDids'].map((name) => searchParams.get(name)),
    [null, null, null, 'did:plc:bob'],
  )
  assert.match(service.logTail(), /parameters of JETSTREAM_URL that make the stream unreadable are left out/)
  for (let n = 0; n < 20; n += 1) jetstream.send(Buffer.from([0x28, 0xb5, 0x2f, 0xfd, n]))
  await tell('text')
  await eventually(async () => (await ingest()).binary === 20, { what: 'the binary frames to be counted' })
  assert.equal((await ingest()).refused, 20)
})

test('j10 a frame that is larger than the runtime takes is stepped over, and recorded as a gap', async () => {
  const { jetstream, say, ingest, shown } = await open()
  const text = JSON.stringify({ did: 'did:plc:z', time_us: 0, kind: 'commit', padding: 'x'.repeat(33 * 1024 * 1024) })
  const time = Date.now() * 1000
  jetstream.say({ time, text })
  jetstream.say(say('behind', { time: time + 20_000 }))
  await shown('behind', { timeout: 90_000 })
  const seen = await ingest()
  assert.equal(seen.stepped_over, 1)
  assert.deepEqual(
    seen.gaps.map(({ reason }) => reason),
    ['frame_too_large'],
  )
})
