// @ts-check
// How fast the service reads a large repository: `npm run bench:repository`. A host of its own sends one account's
// archive of 50 MB, once with hardly any Colibri records, which shows the cost of reading and verifying, and once with
// a tenth, which shows the cost of indexing. With --megabytes 120 the archive is over the limits, and its records are
// listed instead.
//
// Promises: everything is on 127.0.0.1; the final index is compared with the contents of the archive; ends all it
// started. Options: --megabytes N (50), --shares 0.001,0.1, --root DIR (this clone; another clone to compare with).

import { createReadStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { readArguments } from '../../scripts/commands.js'
import { COLLECTION } from '../network/records.js'
import { makeArchive } from './archive.js'
import { databaseFile, inDatabase } from './databases.js'
import { cpuSeconds, memory, peakMemory } from './process.js'
import { serve } from './service.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const ofNetwork = createRequire(new URL('../network/package.json', import.meta.url))
const LOOK_EVERY_MILLIS = 100
const GIVE_UP_AFTER_MILLIS = 10 * 60_000

const { values: options } = readArguments('bench:repository')

/**
 * A directory and a PDS of one account.
 * @param {{did: string, key: string, rev: string, file: string, bytes: number, colibri: import('./archive.js').Listed}} account
 */
async function host({ did, key, rev, file, bytes, colibri }) {
  let asked = 0
  /** @param {URLSearchParams} params */
  const page = (params) => {
    const all = colibri.filter(({ value }) => value.$type === params.get('collection'))
    const from = Number(params.get('cursor') ?? 0)
    const records = all.slice(from, from + Number(params.get('limit')))
    return { records, ...(from + records.length < all.length && { cursor: String(from + records.length) }) }
  }
  const server = createServer((request, response) => {
    asked += 1
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://host')
    const json = (/** @type {object} */ body, status = 200) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    switch (decodeURIComponent(pathname)) {
      case `/${did}`:
        return json({
          id: did,
          alsoKnownAs: [],
          verificationMethod: [{ id: `${did}#atproto`, type: 'Multikey', controller: did, publicKeyMultibase: key }],
          service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: address() }],
        })
      case '/xrpc/com.atproto.sync.getLatestCommit':
        return json({ cid: 'bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua', rev })
      case '/xrpc/com.atproto.sync.getRepoStatus':
        return json({ did, active: true, rev })
      case '/xrpc/com.atproto.sync.getRepo':
        response.writeHead(200, { 'content-type': 'application/vnd.ipld.car', 'content-length': bytes })
        return createReadStream(file).pipe(response)
      case '/xrpc/com.atproto.repo.listRecords':
        return json(page(searchParams))
      default:
        return json({ error: 'NotFound', message: pathname }, 404)
    }
  })
  await new Promise((listening) => server.listen(0, '127.0.0.1', () => listening(undefined)))
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  const address = () => `http://127.0.0.1:${port}`
  return { address: address(), hostPort: `127.0.0.1:${port}`, asked: () => asked, stop: () => server.close() }
}

/** @param {string} folder @param {number} share */
async function measure(folder, share) {
  const { Secp256k1Keypair } = ofNetwork('@atproto/crypto')
  const keypair = await Secp256k1Keypair.create()
  const did = 'did:plc:largerepositoryofnobody2'
  const { archive, rev, records, colibri } = await makeArchive({ did, keypair, bytes: Number(options.megabytes) * 2 ** 20, share })
  const messages = colibri.filter(({ value }) => value.$type === COLLECTION.message).length
  const file = join(folder, `${share}.car`)
  writeFileSync(file, archive)
  const pds = await host({ did, key: keypair.did().replace('did:key:', ''), rev, file, bytes: archive.length, colibri })
  const state = join(folder, `state-${share}`)
  const service = await serve(resolve(options.root), state, {
    PLC_URL: pds.address,
    INSECURE_HOSTS: pds.hostPort,
    INVITE_API_KEY: 'key',
  })
  try {
    const headers = { authorization: 'Bearer key', 'content-type': 'application/json' }
    const before = { memory: memory(service.workerd), cpu: cpuSeconds(service.workerd) }
    const startedAt = performance.now()
    const asked = await fetch(`${service.url}/api/sync`, { method: 'POST', headers, body: JSON.stringify({ did }) })
    if (asked.status !== 202) throw new Error(`POST /api/sync answers ${asked.status}: ${await asked.text()}`)
    let shown
    do {
      if (performance.now() - startedAt > GIVE_UP_AFTER_MILLIS) throw new Error(`not read in time: ${JSON.stringify(shown)}`)
      await pause(LOOK_EVERY_MILLIS)
      shown = await (await fetch(`${service.url}/api/sync?did=${did}`, { headers })).json()
      if (shown.error) throw new Error(`not read: ${JSON.stringify(shown)}`)
    } while (shown.status !== 'synced')
    const seconds = (performance.now() - startedAt) / 1000
    const after = { memory: peakMemory(service.workerd), cpu: cpuSeconds(service.workerd) }
    const requests = pds.asked()
    await service.stop()
    const stored = inDatabase(databaseFile(state), (db) => Number(db.prepare('SELECT count(*) AS n FROM messages').get()?.n))
    if (stored !== messages) throw new Error(`${messages} messages in the archive, ${stored} in the index`)
    const rounded = (/** @type {number | undefined} */ number) => number?.toFixed(number < 10 ? 1 : 0)
    const megabytes = archive.length / 2 ** 20
    console.log(
      `${rounded(megabytes)} MB, ${records} records, ${messages} messages of Colibri: ${rounded(seconds)} s` +
        ` (${rounded(megabytes / seconds)} MB/s, ${rounded(messages / seconds)} messages/s), ${requests} requests` +
        (before.memory && after.memory ? `, workerd ${rounded(before.memory)} MiB before, at most ${rounded(after.memory)} MiB` : '') +
        (before.cpu && after.cpu ? `, ${rounded(after.cpu - before.cpu)} s of CPU` : ''),
    )
  } finally {
    await service.stop()
    pds.stop()
  }
}

const folder = mkdtempSync(join(tmpdir(), 'colibri-bench-'))
try {
  for (const share of options.shares.split(',')) await measure(folder, Number(share))
} finally {
  rmSync(folder, { recursive: true, force: true })
}
