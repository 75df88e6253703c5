// A hostile flood (B-30, J06, J08): profiles of unknown people, records of 1 MiB, thousands of reactions to one
// message, all at full speed. Memory stays bounded, nothing is dropped, and people's messages are published in order.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { didOf, Repositories, writeFrames } from '../bench/frames.js'
import { memory, peakMemory } from '../bench/process.js'
import { records } from '../network/client.js'
import { eventually, freshFolder } from './harness.js'
import { answers, garden, openPlace } from './place.js'

const { COLLECTION } = records
const ROUNDS = 10
const PROFILES = 50_000
const REACTORS = 2_000
const EMOJI = ['👍', '❤️', '😂', '🎉', '🌿']
const REACTIONS = REACTORS * EMOJI.length
const HUGE = 100
const MEBIBYTE = 1024 * 1024

/**
 * How much memory the runtime may use in addition to what it used at rest, in MiB. The queue (16 MiB of text), a batch
 * (1 MiB, and its derived data) and the databases' pages are bounded by design; most of the rest is garbage that V8 has
 * not collected yet: 180 to 260 MiB in all, more on a busy machine. An intake without bounds would hold the flood
 * itself as well, which is more than 180 MiB of text in the runtime's memory and as much again in the Worker's.
 */
const GROWTH_MIB = 400

/** The flood, interleaved so that each part of it comes before and after every other. */
function* flood({ community, channel, message, known }) {
  const repos = new Repositories({ from: Date.now() * 1000, step: 10 })
  const members = Array.from({ length: REACTORS }, (_, n) => didOf(`flood member ${n}`))
  for (const did of members) yield repos.create(did, COLLECTION.membership, { community: community.uri, createdAt: repos.now })
  const description = 'An unknown person with much to say about themselves. '.repeat(30)
  const huge = 'x'.repeat(MEBIBYTE)
  for (let round = 0; round < ROUNDS; round++) {
    const part = (count) => Array.from({ length: count / ROUNDS }, (_, n) => (round * count) / ROUNDS + n)
    for (const n of part(PROFILES)) {
      yield repos.update(didOf(`stranger ${n}`), COLLECTION.profile, 'self', { displayName: `Stranger ${n}`, description })
    }
    if (round === ROUNDS / 2) yield repos.update(known, COLLECTION.profile, 'self', { displayName: 'Known' })
    for (const n of part(REACTIONS)) {
      const emoji = EMOJI[Math.floor(n / REACTORS)]
      yield repos.create(members[n % REACTORS], COLLECTION.reaction, { emoji, targetMessage: message.uri })
    }
    for (const n of part(HUGE)) {
      const text = { text: huge, channel: channel.rkey, createdAt: repos.now }
      yield n % 2 ? repos.create(members[n], COLLECTION.message, text) : repos.update(members[n], COLLECTION.profile, 'self', { description: huge })
    }
    yield repos.create(members[0], COLLECTION.message, { text: `round ${round}`, channel: channel.rkey, createdAt: repos.now })
  }
}

test('b30 a flood of profiles, huge records and reactions: bounded memory, and everything in its turn', async () => {
  const place = await openPlace()
  const { network, service } = place
  const { bob, community, channel } = await garden(place)
  const message = await bob.message(channel.rkey, 'hello')
  await answers(service, `/api/messages?channel=${channel.rkey}`, 200, (messages) => messages.length === 1)
  const socket = await service.connect('/api/subscribe')
  await socket.subscribe({ event_type: 'message', channel: channel.uri })

  const file = join(freshFolder(), 'flood.jsonl')
  const { bytes, count } = writeFrames(file, flood({ community, channel, message, known: bob.did }))
  assert(bytes > 180 * MEBIBYTE, `the flood is ${Math.round(bytes / MEBIBYTE)} MiB`)
  const [workerd] = readFileSync(join(service.state, 'serve', 'workerd.pid'), 'utf8').split(' ').map(Number)
  const atRest = memory(workerd)

  await network.load(file)
  await bob.message(channel.rkey, 'is anybody there?')
  const patient = { timeout: 120_000 }
  for (let round = 0; round < ROUNDS; round++) await socket.next({ type: 'message', text: `round ${round}` }, patient)
  await socket.next({ type: 'message', text: 'is anybody there?' }, patient)
  const peak = peakMemory(workerd)
  assert(!peak || peak - atRest < GROWTH_MIB, `workerd grew from ${atRest} to ${peak} MiB for ${count} events`)

  const added = socket.all({ type: 'reaction_added' })
  assert.equal(new Set(added.map(({ author_did, emoji }) => `${author_did} ${emoji}`)).size, REACTIONS, 'every reaction is published')
  assert.equal(added.length, REACTIONS, 'and none twice')
  const seqs = socket.events.map(({ seq }) => seq)
  assert.deepEqual(seqs, [...seqs].sort((a, b) => a - b), 'A39: in order')
  const { body } = await service.fetchJson('/api/health')
  // A cursor is inclusive: an event that the stream repeats after a pause is counted again.
  assert(body.ingest.refused >= HUGE, `each record of 1 MiB is refused (I03), not ${body.ingest.refused} of ${HUGE}`)
  const members = (await service.fetchJson(`/api/members?community=${community.uri}`)).body
  assert.equal(members.find(({ member_did }) => member_did === bob.did).display_name, 'Known', 'the one known profile is applied')

  // The message with all these reactions can still be read and edited.
  const { body: shown } = await service.fetchJson(`/api/message?author=${bob.did}&rkey=${message.rkey}`)
  assert.deepEqual(shown.reactions.map(({ emoji, count }) => [emoji, count]).sort(), EMOJI.map((emoji) => [emoji, REACTORS]).sort())
  await bob.put(COLLECTION.message, message.rkey, records.message(channel.rkey, 'hello, all of you'))
  const edited = await socket.next({ type: 'message', text: 'hello, all of you' }, patient)
  assert.equal(edited.reactions.reduce((sum, { count }) => sum + count, 0), REACTIONS)
  await eventually(async () => (await service.fetchJson('/api/health')).body.ingest.untold === 0, { what: 'everything to be published' })
})
