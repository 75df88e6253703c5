// Many repositories on two hosts, some of which fail in each possible way: each ends as it should, and delays no other
// (K03, K05, K07, B-31, B-33).

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { chatter, gather, listedMessages, shownMessages } from '../network/crowd.js'
import { eventually } from './harness.js'
import { answers, connected, openPlace } from './place.js'

const PEOPLE = 30
/** `npm run bench:backfill` does the same with 12,000. */
const RECORDS = 1_500

const FAULTS = [
  ['400', /status 400/],
  ['truncated', /^repo_truncated/],
  ['flipped', /^repo_(wrong_hash|not_an_archive|block_too_long|truncated)/],
  ['other-key', /^repo_wrong_signature/],
]

test('an outage of many repositories on two hosts, with faults', async (t) => {
  const { network, service, settings } = await openPlace({ two: true, env: { INVITE_API_KEY: 'key' } })
  const { alice, channel, people } = await gather(network, PEOPLE)
  const repo = async (person) => (await service.fetchJson(`/api/sync?did=${person.did}`)).body
  const counts = async () => (await service.fetchJson('/api/health')).body.ingest
  const idle = (what) =>
    eventually(
      async () => {
        const { repos, gaps } = await counts()
        if (repos.due === 0 && gaps.length === 0) return repos
        throw new Error(JSON.stringify({ repos, gaps }))
      },
      { what, timeout: 90_000 },
    )
  const first = await alice.message(channel.rkey, 'before')
  await answers(service, `/api/message?author=${alice.did}&rkey=${first.rkey}`)
  assert.equal((await idle('everybody to be read')).known, PEOPLE + 1)
  assert.equal(settings.env.PLC_URL, network.plc)

  await service.stop()
  const written = await chatter(people, channel.rkey, RECORDS)
  const gone = people[0]
  const [removed] = await gone.list('social.colibri.message')
  await gone.delete('social.colibri.message', removed.rkey)
  const spoiled = new Map(FAULTS.map(([fault], n) => [fault, people[2 * n]])) // all of the first PDS
  for (const [fault, person] of spoiled) await network.fault({ pds: 0, did: person.did, fault })
  await network.fault({ pds: 0, did: people[10].did, fault: 'no-export' })
  await network.fault({ pds: 1, fault: 'down' })
  const frames = written + 1
  await eventually(async () => (await network.stats()).frames > frames, { what: 'the stream to have them' })
  await network.lookback((await network.stats()).lastTimeUs + 1)
  await Promise.all([network.asked(0), network.asked(1)])

  await service.start()
  await connected(service)
  await alice.message(channel.rkey, 'after')
  const onFirst = people.filter((_, n) => n % 2 === 0)
  const sound = onFirst.filter((person) => ![...spoiled.values()].includes(person))

  await t.test('the others are read while some fail, and each says why', async () => {
    // Until then, all of them keep their previous state.
    await eventually(async () => (await counts()).gaps.length > 0, { what: 'the gap to be noticed' })
    await eventually(
      async () => {
        const found = await Promise.all(sound.map(repo))
        return found.every(({ status, next_attempt_at }) => status === 'synced' && next_attempt_at === null)
      },
      { what: 'the sound ones of the first host', timeout: 60_000 },
    )
    for (const [fault, expected] of FAULTS) {
      const failing = await eventually(
        async () => {
          const found = await repo(spoiled.get(fault))
          return found.failures > 0 && found
        },
        { what: `${fault} to be found out`, timeout: 60_000 },
      )
      assert.deepEqual([failing.status, expected.test(failing.error)], ['failing', true], `${fault}: ${failing.error}`)
      assert(failing.next_attempt_at > failing.checked_at, 'K03: it is tried again')
    }
    // A failing host rests (K07), so not all its repositories are tried.
    const onSecond = people.filter((_, n) => n % 2 === 1)
    const down = await eventually(async () => (await Promise.all(onSecond.map(repo))).find(({ failures }) => failures > 0), {
      what: 'the second host to be found out',
    })
    assert.equal(down.status, 'failing')
    const listed = await listedMessages(sound)
    const shown = await shownMessages(service, channel.uri)
    for (const uri of listed.keys()) assert(shown.has(uri), `${uri} is missing`)
    for (const [fault, { did }] of spoiled) {
      assert(![...shown.keys()].some((uri) => uri.includes(did)), `nothing of ${fault} is believed`)
    }
    assert.equal((await counts()).gaps[0].state, 'open', 'the gap is not closed')
  })

  await t.test('K07 no host is asked more than twice at a time, and who fails is not asked over and over (B-31)', async () => {
    const asked = await network.asked(0)
    assert(asked.mostAtOnce <= 2, `${asked.mostAtOnce} at once`)
    for (const [fault, { did }] of spoiled) assert(asked.byDid[did] <= 24, `${fault}: ${asked.byDid[did]} requests`)
    for (const { did } of sound.slice(1)) {
      if (did !== people[10].did) assert(asked.byDid[did] <= 4, `${asked.byDid[did]} requests for one that was well`)
    }
    t.diagnostic(`first host: ${asked.total} requests, at most ${asked.mostPerSecond} in a second`)
  })

  await t.test('when the faults are over, everything is there, and nothing else (K05)', async () => {
    await network.fault({ pds: 1 })
    for (const { did } of [...spoiled.values(), people[10]]) await network.fault({ pds: 0, did })
    await idle('everything to be read')
    const listed = await listedMessages([alice, ...people])
    const shown = await shownMessages(service, channel.uri)
    assert.equal(shown.size, written + 2 - 1)
    assert.deepEqual([...shown.keys()].sort(), [...listed.keys()].sort())
    for (const [uri, { text }] of listed) assert.equal(shown.get(uri).text, text)
    const asked = await network.asked(1)
    assert(asked.mostAtOnce <= 2, `${asked.mostAtOnce} at once`)
    t.diagnostic(`second host: ${asked.total} requests, at most ${asked.mostPerSecond} in a second`)
  })
})
