// @ts-check
// The network itself, with real processes: a PLC directory, a PDS, the bridge, their control.
//
// Tests of the stream share one network and keep apart by their own accounts; those that end a network have
// their own. Nothing sleeps: a test waits for what it expects, and fails after ten seconds.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { XrpcError, records, startNetwork } from './client.js'
import { Listener } from './listener.js'
import { startRelay } from './relay.js'
import { xrpc } from './xrpc.js'

const { COLLECTION } = records

/** @type {string} */
let folder
/** @type {import('./client.js').Network} */
let network
/** @type {Listener[]} */
const listeners = []

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'network-'))
  network = await startNetwork({ state: join(folder, 'shared') })
})

after(async () => {
  for (const listener of listeners) listener.close()
  await network?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** @param {Parameters<typeof Listener.open>[1]} [query] @param {string} [url] */
async function listen(query, url = network.jetstream) {
  const listener = await Listener.open(url, query)
  listeners.push(listener)
  return listener
}

/** Waits until the bridge has this record. @param {import('./client.js').Account} account @param {{rkey: string}} record */
async function streamed(account, record) {
  const listener = await listen({ cursor: 1, wantedDids: account.did })
  await listener.commit('create', record)
}

/** Replays what is in the stream from `cursor` to a mark put behind it. @param {Parameters<typeof Listener.open>[1]} query */
async function replay(query) {
  const mark = await network.injectFrame({ did: 'did:test:mark', kind: 'identity', identity: {} })
  const listener = await listen(query)
  await listener.frame('the mark', ({ time_us }) => time_us === mark)
  return listener.frames.filter(({ did }) => did !== 'did:test:mark')
}

/** @param {string} name @param {number} count @param {(index: number) => object} [more] */
function frameFile(name, count, more = () => ({})) {
  const path = join(folder, name)
  const frame = (/** @type {number} */ index) => ({
    did: `did:plc:${name}`,
    kind: 'commit',
    commit: {
      rev: String(index).padStart(13, '2'),
      operation: 'create',
      collection: COLLECTION.message,
      rkey: String(index),
      record: records.message('general', `message ${index} of many, about as long as what people say`),
      cid: 'bafyreiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    },
    ...more(index),
  })
  writeFileSync(path, Array.from({ length: count }, (_, index) => JSON.stringify(frame(index)) + '\n').join(''))
  return path
}

describe('what happens on the PDS appears in the stream', () => {
  test('create, update and delete of a record', async () => {
    const ann = await network.createAccount('ann-writes')
    const live = await listen({ wantedDids: ann.did })
    const blob = await ann.uploadBlob(Buffer.from('not really a picture'), 'image/png')

    const made = await ann.message('general', 'hello', { attachments: [{ blob, name: 'x.png' }] })
    const create = await live.commit('create', made)
    assert.deepEqual(Object.keys(create), ['did', 'time_us', 'kind', 'commit'])
    assert.equal(create.did, ann.did)
    assert.equal(create.kind, 'commit')
    const { record, ...commit } = create.commit
    assert.deepEqual(commit, { rev: made.rev, operation: 'create', collection: COLLECTION.message, rkey: made.rkey, cid: made.cid })
    assert.equal(record.text, 'hello')
    assert.deepEqual(record.attachments, [{ blob, name: 'x.png' }])
    assert.deepEqual(record, (await ann.list(COLLECTION.message))[0].value)

    const changed = await ann.put(COLLECTION.message, made.rkey, { ...record, text: 'bye' })
    const update = await live.commit('update', made)
    assert.equal(update.commit.record.text, 'bye')
    assert.equal(update.commit.rev, changed.rev)

    const gone = await ann.delete(COLLECTION.message, made.rkey)
    const removal = await live.commit('delete', made)
    assert.deepEqual(removal.commit, { rev: gone.rev, operation: 'delete', collection: COLLECTION.message, rkey: made.rkey })
    assert.deepEqual(await ann.list(COLLECTION.message), [])
  })

  test('bytes and links have their JSON forms', async () => {
    const ann = await network.createAccount('bytes')
    const link = 'bafyreibjo4xmgaevkgud7mbifn3dzp4v4lyaui4yvqp3f2bqwtxcjrdqg4'
    const live = await listen({ wantedDids: ann.did })
    const made = await ann.create('test.colibri.bytes', { raw: { $bytes: 'AQID' }, link: { $link: link }, deep: [{ n: 1 }] })
    const { commit } = await live.commit('create', made)
    assert.deepEqual(commit.record, { $type: 'test.colibri.bytes', raw: { $bytes: 'AQID' }, link: { $link: link }, deep: [{ n: 1 }] })
  })

  test('a commit of many records is many frames of one rev, in order', async () => {
    const ann = await network.createAccount('bulk')
    const live = await listen({ wantedDids: ann.did, wantedCollections: COLLECTION.message })
    const made = await ann.createMany(COLLECTION.message, Array.from({ length: 250 }, (_, n) => records.message('general', `${n}`)))
    await live.commit('create', made[249])
    const commits = live.frames.filter(({ kind }) => kind === 'commit')
    assert.equal(commits.length, 250)
    assert.equal(new Set(commits.map(({ commit }) => commit.rev)).size, 2)
    assert.deepEqual(new Set(commits.map(({ commit }) => commit.rkey)), new Set(made.map(({ rkey }) => rkey)))
    for (let n = 1; n < live.frames.length; n++) assert.ok(live.frames[n].time_us > live.frames[n - 1].time_us)
  })

  test('identity and account events, whatever collections are wanted', async () => {
    const live = await listen({ wantedCollections: COLLECTION.message })
    const ann = await network.createAccount('ann-moves')
    const by = (/** @type {string} */ kind) => (/** @type {any} */ frame) => frame.kind === kind && frame.did === ann.did
    const identity = await live.frame('identity', by('identity'))
    assert.equal(identity.identity.did, ann.did)
    assert.equal(identity.identity.handle, 'ann-moves.test')
    assert.ok(Number.isInteger(identity.identity.seq) && Date.parse(identity.identity.time))
    const { account } = await live.frame('account', by('account'))
    assert.deepEqual(Object.keys(account), ['active', 'did', 'seq', 'time'])
    assert.equal(account.active, true)

    await ann.deactivate()
    const left = await live.frame('deactivation', (frame) => by('account')(frame) && !frame.account.active)
    assert.equal(left.account.status, 'deactivated')
    await ann.activate()
    await live.frame('activation', (frame) => by('account')(frame) && frame.time_us > left.time_us && frame.account.active)
    await ann.updateHandle('ann-moved.test')
    await live.frame('the new handle', (frame) => by('identity')(frame) && frame.identity.handle === 'ann-moved.test')
    assert.deepEqual((await network.resolveDid(ann.did)).alsoKnownAs, ['at://ann-moved.test'])
  })

  test('a refusal of the PDS names the call, the status and the body', async () => {
    const ann = await network.createAccount('refused')
    await assert.rejects(ann.create('not a collection', {}), (error) => {
      assert.ok(error instanceof XrpcError)
      assert.equal(error.status, 400)
      assert.match(error.message, /^com\.atproto\.repo\.createRecord answered 400: .*InvalidRequest/)
      return true
    })
  })

  test('a session that was refreshed goes on', async () => {
    const ann = await network.createAccount('refreshes')
    await ann.refresh()
    assert.equal((await ann.message('general', 'still here')).uri.startsWith(`at://${ann.did}/`), true)
    assert.equal((await network.signIn('refreshes')).did, ann.did)
  })
})

describe('a client chooses', () => {
  test('collections by name and by prefix', async () => {
    const ann = await network.createAccount('chooses')
    await ann.message('general', 'one')
    const { uri } = await ann.community({ name: 'Birds' })
    await streamed(ann, await ann.profile({ displayName: 'Ann' }))
    const seen = async (/** @type {string[]} */ wantedCollections) =>
      (await replay({ cursor: 0, wantedCollections })).flatMap(({ did, commit }) => (commit && did === ann.did ? [commit.collection] : []))
    assert.deepEqual(await seen([COLLECTION.message]), [COLLECTION.message])
    assert.deepEqual(await seen(['social.colibri.*']), [COLLECTION.message, COLLECTION.community])
    assert.deepEqual(await seen(['social.colibri.mess.*']), [])
    assert.deepEqual(await seen([COLLECTION.community, 'app.bsky.*']), [COLLECTION.community, COLLECTION.profile])
    assert.ok(uri.endsWith((await ann.list(COLLECTION.community))[0].rkey))
  })

  test('the largest message', async () => {
    const ann = await network.createAccount('large')
    await ann.message('general', 'x'.repeat(2000))
    const small = await ann.message('general', 'x')
    await streamed(ann, small)
    const frames = await replay({ cursor: 0, wantedDids: [ann.did, 'did:test:mark'], maxMessageSizeBytes: 1000 })
    assert.deepEqual(frames.flatMap(({ commit }) => commit?.rkey ?? []), [small.rkey])
  })

  test('from where: a cursor is inclusive, one in the future is live, none is live', async () => {
    const ann = await network.createAccount('from-where')
    const live = await listen({ wantedDids: ann.did })
    const made = [await ann.message('general', '1'), await ann.message('general', '2'), await ann.message('general', '3')]
    const second = await live.commit('create', made[1])
    const third = await live.commit('create', made[2])
    const inclusive = await replay({ cursor: second.time_us, wantedDids: [ann.did, 'did:test:mark'] })
    assert.deepEqual(inclusive, [second, third])
    assert.deepEqual(await replay({ cursor: second.time_us + 1, wantedDids: [ann.did, 'did:test:mark'] }), [third])

    const future = await listen({ cursor: (Date.now() + 3_600_000) * 1000, wantedDids: ann.did })
    const fourth = await ann.message('general', '4')
    await future.commit('create', fourth)
    assert.equal(future.frames.length, 1)
  })

  test('later, by options_update after requireHello', async () => {
    const ann = await network.createAccount('hello')
    const made = await ann.message('general', 'before the hello')
    const shy = await listen({ cursor: 0, requireHello: 'true' })
    const waiting = (await network.stats()).subscribers.find(({ url }) => url.includes('requireHello'))
    assert.equal(waiting?.sent, 0)
    shy.ws.send(JSON.stringify({ type: 'options_update', payload: { wantedDids: [ann.did], wantedCollections: ['social.colibri.*'] } }))
    await shy.commit('create', made)
    assert.ok(shy.frames.every(({ did }) => did === ann.did))
    shy.ws.send(JSON.stringify({ type: 'options_update', payload: { wantedDids: ['carol'] } }))
    await shy.closed()
  })

  test('only what makes sense', async () => {
    /** @type {Record<string, string>[]} */
    const senseless = [{ cursor: 'soon' }, { wantedCollections: 'not*a name' }, { wantedDids: 'carol' }, { compress: 'true' }]
    for (const query of senseless) {
      await assert.rejects(listen(query), /closed/, JSON.stringify(query))
    }
  })
})

describe('faults', () => {
  test('stop refuses connects, resume brings what was missed', async () => {
    const ann = await network.createAccount('stopped')
    const before = await listen({ wantedDids: ann.did })
    await network.stopJetstream()
    await before.closed()
    await assert.rejects(listen(), /closed/)
    const made = await ann.message('general', 'nobody receives this')
    await assert.rejects(network.injectText('x'), /stopped: resume it first/)
    await network.resumeJetstream()
    await (await listen({ cursor: 1, wantedDids: ann.did })).commit('create', made)
  })

  test('freeze keeps connections silent, thaw brings everything', async () => {
    const ann = await network.createAccount('frozen')
    const live = await listen({ wantedDids: ann.did })
    await network.freezeJetstream()
    const ponged = new Promise((resolve) => live.ws.once('pong', () => resolve('pong')))
    live.ws.ping()
    const { seq } = await network.stats()
    const made = await ann.message('general', 'later')
    const late = new Listener(network.jetstream, { cursor: 1, wantedDids: ann.did })
    listeners.push(late)
    await eventually('the message reaches the log', async () => (await network.stats()).seq > seq)
    await eventually('the late handshake', async () => (await network.stats()).lastRequestUrl?.includes('cursor=1') ?? false)
    assert.equal(await Promise.race([ponged, network.stats().then(() => 'silence')]), 'silence')
    assert.deepEqual([live.frames.length, live.ws.readyState, late.ws.readyState], [0, live.ws.OPEN, late.ws.CONNECTING])
    await network.thawJetstream()
    await live.commit('create', made)
    await late.commit('create', made)
    assert.equal(await ponged, 'pong')
  })

  test('drop cuts connections, also frozen ones, and nothing else', async () => {
    const live = await listen()
    assert.ok((await network.dropJetstream()) >= 1)
    await live.closed()
    const next = await listen()
    await network.freezeJetstream()
    await network.dropJetstream()
    await next.closed()
    await network.thawJetstream()
    await eventually('no connections', async () => (await network.stats()).connectionsNow === 0)
    await listen()
    assert.equal((await network.stats()).connectionsNow, 1)
  })

  test('an injected text arrives as it is and is not replayed; an injected frame is', async () => {
    const live = await listen()
    await network.injectText('{"kind": broken')
    await live.received(1)
    assert.deepEqual(live.texts, ['{"kind": broken'])
    const time = await network.injectFrame({ did: 'did:plc:invented', kind: 'commit', time_us: 5, commit: { collection: 'a.b.c' } })
    const frame = { did: 'did:plc:invented', time_us: time, kind: 'commit', commit: { collection: 'a.b.c' } }
    assert.deepEqual(await live.frame('the frame', ({ did }) => did === 'did:plc:invented'), frame)
    assert.deepEqual(await replay({ cursor: time }), [frame])
  })

  test('lookback clamps older cursors to the floor', async () => {
    const ann = await network.createAccount('floor')
    const live = await listen({ wantedDids: ann.did })
    const old = await ann.message('general', 'old')
    const young = await ann.message('general', 'young')
    const { time_us } = await live.commit('create', young)
    await network.lookback(time_us)
    const rkeys = (await replay({ cursor: 1, wantedDids: [ann.did, 'did:test:mark'] })).flatMap(({ commit }) => commit?.rkey ?? [])
    assert.deepEqual(rkeys, [young.rkey])
    await network.lookback(0)
    const all = (await replay({ cursor: 1, wantedDids: [ann.did, 'did:test:mark'] })).flatMap(({ commit }) => commit?.rkey ?? [])
    assert.deepEqual(all, [old.rkey, young.rkey])
  })
})

describe('many frames', () => {
  test('20,000 loaded frames are replayed fast, to a slow reader too', async (t) => {
    const { lastTimeUs } = await network.stats()
    const path = frameFile('many', 20_000, (index) => ({ time_us: lastTimeUs + 10 * (index + 1) }))
    assert.equal(await network.load(path), 20_000)
    const slow = await listen({ cursor: lastTimeUs + 1 })
    slow.ws.pause()

    const start = performance.now()
    const fast = await listen({ cursor: lastTimeUs + 1 })
    await fast.received(20_000)
    const perSecond = Math.round(20_000 / ((performance.now() - start) / 1000))
    t.diagnostic(`${perSecond} frames/s, parsed by the reader`)
    assert.ok(perSecond > 10_000, `only ${perSecond} frames/s`)
    assert.equal(fast.texts.slice(0, 20_000).join('\n') + '\n', readFileSync(path, 'utf8'))
    const { subscribers } = await network.stats()
    assert.ok(subscribers.every(({ bufferedBytes }) => bufferedBytes < 2 * 1024 * 1024), JSON.stringify(subscribers))
    slow.ws.resume()
    await slow.received(20_000)
    assert.deepEqual(slow.texts, fast.texts)
  })

  test('loaded frames keep increasing times and get new ones otherwise', async () => {
    const { lastTimeUs, frames } = await network.stats()
    await network.load(frameFile('times', 3, (index) => ({ time_us: [lastTimeUs + 100, 7, lastTimeUs + 300][index] })))
    const loaded = await replay({ cursor: lastTimeUs + 1 })
    assert.deepEqual(loaded.map(({ time_us }) => time_us - lastTimeUs), [100, 101, 300])
    writeFileSync(join(folder, 'broken'), '{}\nno\n')
    await assert.rejects(network.load(join(folder, 'broken')), /line 2 of .*broken is not JSON/)
    assert.equal((await network.stats()).frames, frames + 4)
  })
})

describe('a network that ends', () => {
  for (const signal of /** @type {const} */ (['SIGTERM', 'SIGKILL'])) {
    test(`by ${signal} comes back the same`, async () => {
      const state = join(folder, signal)
      const first = await startNetwork({ state })
      const ann = await first.createAccount('returns')
      const made = await ann.message('general', 'before')
      await first.injectFrame({ did: 'did:test:mark', kind: 'identity', identity: {} })
      const live = await listen({ cursor: 0 }, first.jetstream)
      await live.commit('create', made)
      await live.frame('the mark', ({ did }) => did === 'did:test:mark')
      await first.stop(signal)
      await live.closed()

      const second = await startNetwork({ state })
      try {
        assert.deepEqual([second.plc, second.pds, second.jetstream, second.control], [first.plc, first.pds, first.jetstream, first.control])
        assert.equal((await second.resolveDid(ann.did)).service[0].serviceEndpoint, second.pds)
        const later = await ann.message('general', 'after')
        const again = await listen({ cursor: 0 }, second.jetstream)
        await again.commit('create', later)
        assert.deepEqual(again.texts.slice(0, live.texts.length), live.texts)
        assert.equal(again.texts.length, live.texts.length + 1)
        await assert.rejects(startNetwork({ state }), /is taken, and this network has used it before/)
      } finally {
        await second.stop()
      }
    })
  }

  test('a relay lists who has records of a collection, and fails on demand', async () => {
    const relay = await startRelay([network.pds])
    const list = async (/** @type {object} */ params) => {
      const { repos, cursor } = await xrpc(relay.url, 'com.atproto.sync.listReposByCollection', { params: { collection: COLLECTION.read, ...params } })
      return { dids: repos.map((/** @type {any} */ { did }) => did), cursor }
    }
    try {
      const [rita, ron] = await Promise.all([network.createAccount('rita'), network.createAccount('ron')])
      assert.deepEqual((await list({})).dids, [])
      for (const account of [rita, ron]) await account.read('at://did:plc:x/social.colibri.channel/y')
      assert.deepEqual(new Set((await list({})).dids), new Set([rita.did, ron.did]))
      const first = await list({ limit: 1 })
      const second = await list({ limit: 1, cursor: first.cursor })
      assert.deepEqual(new Set([...first.dids, ...second.dids]), new Set([rita.did, ron.did]))
      assert.equal(second.cursor, undefined)
      assert.equal(relay.news().length, 4)
      relay.fault = 'error'
      await assert.rejects(list({}), /500/)
      relay.fault = 'down'
      await assert.rejects(list({}), /fetch failed/)
      relay.fault = 'stuck'
      assert.equal((await list({ cursor: 'x' })).cursor, 'x')
      relay.fault = 'flood'
      assert.equal((await list({})).dids.length, 500)
    } finally {
      await relay.stop()
    }
  })

  test('does not disturb the one beside it', async () => {
    const beside = await startNetwork({ state: join(folder, 'beside') })
    try {
      const [here, there] = await Promise.all([network.createAccount('twin'), beside.createAccount('twin')])
      assert.notEqual(here.did, there.did)
      await assert.rejects(network.resolveDid(there.did), /404/)
      const live = await listen({ cursor: 0 }, beside.jetstream)
      await live.commit('create', await there.message('general', 'there'))
      assert.ok(live.frames.every(({ did }) => did === there.did))
    } finally {
      await beside.stop()
    }
    assert.equal((await network.stats()).state, 'running')
  })

  test('ends with its parent, and says one line in its life', async () => {
    const main = fileURLToPath(new URL('main.js', import.meta.url))
    const child = spawn(process.execPath, [main, '--state', join(folder, 'orphan'), '--exit-with-parent'])
    let output = ''
    child.stdout.on('data', (text) => (output += text))
    await once(child.stdout, 'data')
    const start = performance.now()
    child.stdin.end()
    assert.deepEqual(await once(child, 'exit'), [0, null])
    assert.ok(performance.now() - start < 3000)
    assert.deepEqual(Object.keys(JSON.parse(output)), ['plc', 'pds', 'jetstream', 'control'])
  })
})

/** @param {string} what @param {() => Promise<boolean>} holds */
async function eventually(what, holds) {
  const deadline = Date.now() + 10_000
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited 10 s: ${what}`)
  }
}
