// Kill -9 at many random points of a recorded stream of 10,000 events: the index ends as in an undisturbed run, and
// clients that resume receive each event once (J03, Q02).
//
// The stream arrives in as many parts as there are kills, and each kill comes a random moment after its part was sent.
// The test then reads the dead service's database, to check that kills did come in the middle.
//
// `KILLS=50 node --test tests/e2e/crash-many.test.js`, after a build and under Node 24, is the long run: `npm test`
// gives a file three minutes, and kills eight times. The seed is printed, and `SEED` repeats it.

import assert from 'node:assert/strict'
import { copyFileSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { Dice } from '../bench/frames.js'
import { databaseFile } from '../bench/databases.js'
import { startNetwork } from '../network/client.js'
import { Follower } from './follower.js'
import { atEnd, eventually, freshFolder, revision, startService } from './harness.js'
import { connected } from './place.js'

const EVENTS = 10_000
const COMMUNITIES = 5
const KILLS = Number(process.env.KILLS ?? 8)
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000)

/**
 * Kills come within the time that a part takes, or a little later. The time per event depends on the machine: the test
 * starts with this value, and kills earlier after a kill that came too late.
 */
const MILLIS_PER_EVENT = 0.15
const MILLIS_PER_PART = 30

const communityUri = (n) => `at://did:plc:owner${n}/social.colibri.community/c`

/**
 * A stream of five communities: structure and members first, then messages, edits, deletions and reactions,
 * interleaved.
 */
function recorded(roll) {
  const frames = []
  const start = Date.now() * 1000
  const commit = (did, operation, collection, rkey, record) => {
    const n = frames.length
    const body = { rev: revision(n), operation, collection: `social.colibri.${collection}`, rkey }
    frames.push({ did, time_us: start + n * 100, kind: 'commit', commit: record ? { ...body, record, cid: 'bafyreia' } : body })
  }
  const createdAt = new Date().toISOString()
  for (let c = 0; c < COMMUNITIES; c++) {
    commit(`did:plc:owner${c}`, 'create', 'community', 'c', { name: `Community ${c}`, requiresApprovalToJoin: false, createdAt })
    commit(`did:plc:owner${c}`, 'create', 'channel', `k${c}`, { name: 'hall', type: 'text', community: 'c', createdAt })
    for (let m = 0; m < 8; m++) {
      commit(`did:plc:member${c}x${m}`, 'create', 'membership', 'm', { community: communityUri(c), createdAt })
    }
  }
  const standing = []
  while (frames.length < EVENTS) {
    const c = roll(COMMUNITIES)
    const did = `did:plc:member${c}x${roll(8)}`
    const rkey = `r${frames.length}`
    const target = standing.length > 0 ? standing[roll(standing.length)] : undefined
    const kind = roll(10)
    if (target && kind === 0) {
      commit(target.did, 'update', 'message', target.rkey, { text: `edited ${frames.length}`, channel: `k${target.c}`, createdAt })
    } else if (target && kind === 1) {
      commit(target.did, 'delete', 'message', target.rkey)
      standing.splice(standing.indexOf(target), 1)
    } else if (target && kind <= 3) {
      const by = `did:plc:member${target.c}x${roll(8)}`
      commit(by, 'create', 'reaction', rkey, { emoji: '🌿', parent: target.rkey, createdAt })
    } else {
      commit(did, 'create', 'message', rkey, { text: `said ${frames.length}`, channel: `k${c}`, createdAt })
      standing.push({ c, did, rkey })
    }
  }
  return frames
}

/** What REST shows of the index, without what depends on the receive time. */
async function shown(service) {
  const all = []
  for (let n = 0; n < COMMUNITIES; n++) {
    const messages = (await service.fetchJson(`/api/messages?channel=k${n}&all=`)).body
    all.push(messages.map(({ indexed_at, parent_message, ...message }) => message).sort((a, b) => (a.id < b.id ? -1 : 1)))
    all.push((await service.fetchJson(`/api/members?community=${communityUri(n)}`)).body)
  }
  return all
}

const stored = (service, lastTime) =>
  eventually(
    async () => {
      const { ingest } = (await service.fetchJson('/api/health')).body
      return ingest.cursor_us === lastTime && ingest.untold === 0
    },
    { what: 'the whole stream to be stored and delivered', timeout: 120_000 },
  )

/**
 * The position stored in the database of a dead service. It opens a copy, because opening repairs what a kill leaves.
 */
function standsAt(service, copy) {
  const file = databaseFile(service.state)
  for (const end of ['', '-wal']) if (existsSync(file + end)) copyFileSync(file + end, copy + end)
  const db = new DatabaseSync(copy)
  try {
    return db.prepare('SELECT ifnull((SELECT cursor_us FROM stream), 0) AS cursor_us, (SELECT count(*) FROM outbox) AS outbox').get()
  } finally {
    db.close()
  }
}

test(`10,000 events and ${KILLS} kills at random points (seed ${SEED})`, { timeout: 900_000 }, async (context) => {
  const dice = new Dice(SEED)
  const roll = (sides) => dice.below(sides)
  const folder = freshFolder()
  const network = await startNetwork({ state: join(folder, 'network') })
  atEnd(() => network.stop())
  const followed = Array.from({ length: COMMUNITIES }, (_, n) => ({
    uri: communityUri(n),
    channels: [`at://did:plc:owner${n}/social.colibri.channel/k${n}`],
  }))
  const env = { JETSTREAM_URL: network.jetstream, INSECURE_HOSTS: new URL(network.jetstream).host }

  // Both services read from the start: one undisturbed, one killed again and again.
  const undisturbed = await startService({ state: join(folder, 'undisturbed'), env })
  const disturbed = await startService({ state: join(folder, 'disturbed'), env })
  await Promise.all([connected(undisturbed), connected(disturbed)])
  const frames = recorded(roll)
  const cuts = Array.from({ length: KILLS }, () => 1 + roll(EVENTS - 1)).sort((a, b) => a - b)
  const parts = [...cuts, EVENTS].map((end, n) => frames.slice(cuts[n - 1] ?? 0, end))
  const [witness, client] = [undisturbed, disturbed].map((service) => new Follower(service, followed))
  await Promise.all([witness.connect(), client.connect()])
  const load = async (part) => {
    const file = join(folder, 'part.jsonl')
    writeFileSync(file, part.map((frame) => `${JSON.stringify(frame)}\n`).join(''))
    await network.load(file)
  }

  let [unstored, untold, millisPerEvent] = [0, 0, MILLIS_PER_EVENT]
  for (const part of parts.slice(0, KILLS)) {
    await load(part)
    await pause(roll(MILLIS_PER_PART + part.length * millisPerEvent))
    await disturbed.kill9()
    const left = standsAt(disturbed, join(folder, 'after-kill.sqlite'))
    const { lastTimeUs } = await network.stats()
    const isCut = left.cursor_us < lastTimeUs
    unstored += isCut ? 1 : 0
    millisPerEvent *= isCut ? 1.2 : 0.5
    untold += left.outbox > 0 ? 1 : 0
    client.leave()
    await disturbed.restart()
    await client.connect()
  }
  await load(parts[KILLS])
  const { lastTimeUs } = await network.stats()
  context.diagnostic(`${unstored} of ${KILLS} kills left a part unstored, ${untold} left something stored and not forgotten`)
  assert(unstored >= KILLS / 4, 'kills came in the middle of the stream')
  await Promise.all([stored(undisturbed, lastTimeUs), stored(disturbed, lastTimeUs)])
  const last = (follower) => [...follower.seen.keys()].map((uri) => follower.events().findLast((event) => event.community_uri === uri)?.seq)
  const upToDate = () => assert.deepEqual(last(client), last(witness))
  await eventually(() => (upToDate(), true), { what: 'both clients to be up to date', timeout: 60_000 })
  client.leave()
  witness.leave()
  assert.deepEqual(await shown(disturbed), await shown(undisturbed), 'the same index')

  for (const [uri, all] of witness.seen) {
    assert.deepEqual(
      all.map((event) => event.seq),
      all.map((_, n) => n + 1),
      `${uri}: undisturbed, every event once, in order`,
    )
    const deleted = new Set(all.filter((event) => event.type === 'message_deleted').map((event) => event.rkey))
    const received = new Set(client.seen.get(uri).map((event) => event.seq))
    // A replay omits messages that are gone by then (Q07); nothing else may be missing.
    const expected = all.filter((event) => received.has(event.seq) || !(event.type === 'message' && deleted.has(event.rkey)))
    assert.deepEqual(client.seen.get(uri).map(story), expected.map(story), `${uri}: each event published once, in order`)
  }
})

/** The contents of an event, without its time of arrival. */
const story = ({ seq, type, rkey, text, author_did, emoji }) => ({ seq, type, rkey, text, author_did, emoji })
