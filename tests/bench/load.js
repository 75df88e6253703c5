// @ts-check
// `npm run load`: realistic clients at a service, and a report: how long deliveries took, what was lost or came twice,
// the memory of the service.
//
// Without --url it starts a service of its own, with a stream in which people who do not exist post. With --url it uses
// a running one: `--as HANDLE`, whose app password is in LOAD_PASSWORD, posts in the first text channel of --community;
// without it, the clients only listen. Every minute one client in a hundred loses its connection for two seconds.
//
// Promises: bounded (BOUNDS); talks to another machine only with --elsewhere, and then more politely; ends all it
// started. Exit code 1 if anything was lost or came twice.

import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

import { Account, Service } from '../../packages/client/src/index.ts'
import { readArguments } from '../../scripts/commands.js'
import { ROOT } from '../../scripts/paths.js'
import { exitWith, Refusal, say } from '../../scripts/progress.js'
import { COLLECTION } from '../network/records.js'
import { didOf, Repositories, writeFrames } from './frames.js'
import { Clients } from './load-clients.js'
import { memory } from './process.js'
import { serve } from './service.js'
import { serveFrames } from './stream.js'

/** The most of each here, and at a service on another machine; sockets opened a second. */
const BOUNDS = {
  here: { sockets: 10_000, rate: 50, minutes: 60, opening: 200 },
  elsewhere: { sockets: 500, rate: 2, minutes: 15, opening: 10 },
}
const LOOPBACK = ['127.0.0.1', '[::1]', 'localhost']
const SETTLE_MILLIS = 15_000
const SAMPLE_EVERY_MILLIS = 5_000
const CUTS_PER_MINUTE = 0.01
const STEP_MILLIS = 100

/**
 * What is loaded: where, which community, who posts (nobody: the clients only listen), and the process if it is known.
 * @typedef {{ service: Service, community: string, post?: (text: string) => Promise<unknown>, pid?: number, close(): Promise<void> }} Stage
 */

/** A service of its own. @returns {Promise<Stage>} */
async function ownStage() {
  const folder = mkdtempSync(join(tmpdir(), 'colibri-load-'))
  const repos = new Repositories({ from: Date.now() * 1_000 })
  const [owner, member] = [didOf('owner'), didOf('member')]
  const community = `at://${owner}/${COLLECTION.community}/c`
  const createdAt = repos.now
  const file = join(folder, 'frames.jsonl')
  writeFrames(file, [
    repos.create(owner, COLLECTION.community, { name: 'Hall', requiresApprovalToJoin: false, createdAt }, 'c'),
    repos.create(owner, COLLECTION.channel, { name: 'hall', type: 'text', community: 'c', createdAt }, 'hall'),
    repos.create(member, COLLECTION.membership, { community, createdAt }, 'm'),
  ])
  const { network } = await serveFrames(file)
  const started = await serve(ROOT, join(folder, 'service'), { JETSTREAM_URL: network.jetstream })
  const service = new Service(started.url)
  for (const until = Date.now() + 60_000; ; await pause(STEP_MILLIS)) {
    if (await service.get('/api/channels', { community }).then((rows) => rows.length > 0, () => false)) break
    if (Date.now() > until) throw new Refusal(`the channel is not there after a minute:\n${started.log.join('\n')}`)
  }
  return {
    service,
    community,
    pid: started.workerd,
    async post(text) {
      writeFrames(file, [repos.create(member, COLLECTION.message, { text, channel: 'hall', createdAt: repos.now })])
      await network.load(file)
    },
    async close() {
      await started.stop()
      await network.stop()
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/** A running service. @param {{ url: string, community?: string, as?: string, pid?: string }} values @returns {Promise<Stage>} */
async function runningStage({ url, community, as, pid }) {
  if (!community) throw new Refusal('Name the community that the clients follow: --community AT-URI')
  const service = new Service(url)
  const stage = { service, community, pid: pid === undefined ? undefined : Number(pid), close: async () => {} }
  if (!as) return stage
  const password = process.env.LOAD_PASSWORD
  if (!password) throw new Refusal('Put the app password of --as into the variable LOAD_PASSWORD.')
  const channels = await service.get('/api/channels', { community })
  const channel = channels.find(({ channel_type: type }) => /(^|\.)text$/.test(type))
  if (!channel) throw new Refusal(`${community} has no text channel.`)
  const account = await Account.signIn(service, as, password)
  const post = (/** @type {string} */ text) =>
    account.create(COLLECTION.message, { channel: channel.rkey, text, createdAt: new Date().toISOString() })
  return { ...stage, post }
}

/** Refuses what is more than polite. @param {Record<string, any>} values */
function boundsOf({ url, elsewhere, sockets, rate, minutes }) {
  const isHere = !url || LOOPBACK.includes(new URL(url).hostname)
  if (!isHere && !elsewhere) {
    throw new Refusal(`${url} is another machine. Load only what is yours; if it is, add --elsewhere.`)
  }
  const bounds = isHere ? BOUNDS.here : BOUNDS.elsewhere
  for (const [name, given] of Object.entries({ sockets, rate, minutes })) {
    const most = bounds[/** @type {'sockets'} */ (name)]
    if (Number(given) > most) throw new Refusal(`--${name} is at most ${most} ${isHere ? 'here' : 'at another machine'}, not ${given}.`)
  }
  return bounds
}

/** Posts at a steady rate, cuts connections, samples the memory. @param {Stage} stage @param {Clients} clients @param {string} mark @param {{ sockets: number, rate: number, minutes: number }} wanted */
async function run({ post, pid }, clients, mark, { sockets, rate, minutes }) {
  const [began, millis] = [Date.now(), minutes * 60_000]
  /** @type {(number | undefined)[]} */
  const samples = []
  /** @type {Promise<unknown>[]} */
  const pending = []
  const cutEvery = 60_000 / (sockets * CUTS_PER_MINUTE)
  let [sent, failed, cut] = [0, 0, 0]
  for (let now = 0; now < millis; now = Date.now() - began) {
    if (samples.length <= now / SAMPLE_EVERY_MILLIS) samples.push(pid && memory(pid))
    for (; now > (cut + 1) * cutEvery; cut++) pending.push(clients.cutOne())
    if (post && sent < (now * rate) / 1_000 && sent < rate * minutes * 60) {
      clients.sending(sent)
      await post(`${mark}${sent} has anybody seen the small green watering can?`).then(
        () => (sent += 1),
        (error) => {
          failed += 1
          if (failed > 5) throw new Refusal(`posting fails: ${error.message}`)
        },
      )
    } else await pause(Math.min(STEP_MILLIS, 1_000 / rate / 4))
  }
  await Promise.all(pending)
  for (const until = Date.now() + SETTLE_MILLIS; Date.now() < until && clients.account(sent).lost > 0; ) await pause(STEP_MILLIS)
  samples.push(pid && memory(pid))
  const known = samples.filter((sample) => sample !== undefined)
  return { sent, failed, memory: known.length > 0 ? { first: known[0], most: Math.max(...known), last: known.at(-1) } : undefined }
}

async function load() {
  const { values } = readArguments('load')
  const bounds = boundsOf(values)
  const wanted = { sockets: Math.ceil(Number(values.sockets)), rate: Number(values.rate), minutes: Number(values.minutes) }
  const stage = values.url ? await runningStage(/** @type {any} */ (values)) : await ownStage()
  const mark = `load ${randomBytes(4).toString('hex')} `
  const clients = new Clients(stage.service, stage.community, mark, Math.ceil(wanted.rate * wanted.minutes * 60) + 1)
  try {
    say(`opening ${wanted.sockets} sockets at ${stage.service.url}, ${bounds.opening} a second`)
    const ready = await clients.open(wanted.sockets, bounds.opening)
    say(`${ready} are ready; ${stage.post ? `${wanted.rate} messages a second` : 'listening'} for ${wanted.minutes} min`)
    const ran = await run(stage, clients, mark, wanted)
    const { latencies, events, resyncs, cuts, errors } = clients
    const [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1].map((share) => latencies.quantile(share))
    const result = { ...wanted, ready, ...ran, ...clients.account(ran.sent), events, resyncs, cuts, errors, millis: { p50, p95, p99, max } }
    report(result, values.json)
    process.exitCode = result.lost + result.doubled > 0 || ready < wanted.sockets ? 1 : 0
  } finally {
    clients.close()
    await stage.close()
  }
}

/** @param {any} result @param {boolean} isJson */
function report(result, isJson) {
  if (isJson) return console.log(JSON.stringify(result))
  const { sockets, ready, sent, failed, received, lost, doubled, resyncs, cuts, events, millis, memory: held, errors } = result
  const mib = (/** @type {number} */ number) => `${Math.round(number)} MiB`
  console.log(
    [
      `sockets     ${ready} of ${sockets} ready, ${cuts} cut and mended, ${resyncs} had to read again`,
      `messages    ${sent} sent, ${failed} failed to send; ${events} events of all kinds received`,
      `deliveries  ${received}, ${lost} lost, ${doubled} twice`,
      `time, ms    p50 ${millis.p50}, p95 ${millis.p95}, p99 ${millis.p99}, most ${millis.max}`,
      `memory      ${held ? `${mib(held.first)} at first, ${mib(held.most)} at most, ${mib(held.last)} at last` : 'unknown (--pid)'}`,
      ...errors.map((/** @type {string} */ error) => `refused     ${error}`),
    ].join('\n'),
  )
}

load().then(() => process.exit(), exitWith)
