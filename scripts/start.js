// @ts-check
// `npm start`: from a clone to a running service with a demo community.
//
// Promises: sets up what is missing, builds, starts a local atproto network and the service, creates the demo once,
// waits until the service shows it, and prints what to try; the number of steps in `[1/5]` is the number that follow. A
// second start takes seconds. Ctrl-C, and even kill -9, ends all of it. It opens no window and no page.

import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createWriteStream, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { build, BUILD_TITLE, buildIsCurrent } from './build.js'
import { readArguments } from './commands.js'
import { createDemo, DEMO_DIR } from './demo.js'
import { continueUnderNode24, END_SIGNALS, endWithParent } from './node24.js'
import { LOCAL_DIR, ROOT } from './paths.js'
import { stateFolder } from './folder.js'
import { freePort } from './port.js'
import { checkMode } from './choose-mode.js'
import { exitWith, Refusal, say } from './progress.js'
import { missingSteps } from './toolchain.js'

const SHOWN_WITHIN_MILLIS = 60_000
const LOG_LINES_SHOWN = 20
/** The folder in which state.js keeps its lock. */
const LOCK_FOLDER = 'serve'

const options = optionsOrEnd()
/** The default AUTH_MODE, which works for the shipped web client. */
const AUTH_MODE = 'mixed'
const folder = options.live ? join(LOCAL_DIR, 'live') : DEMO_DIR
const NETWORK = 'starting the local atproto network'
const SERVICE = 'starting the service'
const DEMO = 'waiting until the service shows the demo community'
/** What a start always does, after what is missing. */
const ALWAYS = options.live ? [SERVICE] : [NETWORK, SERVICE, DEMO]
/** How many steps were announced, and of how many; a process that continues under Node 24 goes on counting. */
const steps = { done: 0, all: ALWAYS.length, ...JSON.parse(process.env.COLIBRI_STEPS ?? '{}') }

function optionsOrEnd() {
  try {
    return readArguments('start').values
  } catch (error) {
    return exitWith(error)
  }
}

/** @param {string} title */
function announce(title) {
  steps.done += 1
  say(`[${steps.done}/${steps.all}] ${title}`)
}

/** Installs and builds what is missing. */
async function prepare() {
  checkMode(process.env.AUTH_MODE)
  await freePort('127.0.0.1', Number(options.port))
  stateFolder(folder)
  const missing = await missingSteps({ rust: true, network: !options.live })
  const builds = !buildIsCurrent()
  steps.all += missing.length + Number(builds)
  for (const step of missing) {
    announce(step.title)
    await step.install()
  }
  if (builds) announce(BUILD_TITLE)
  say(await build(() => {}))
  process.env.COLIBRI_STEPS = JSON.stringify(steps)
}

/** The key of the guarded endpoints: generated once per folder, so that a copied key stays valid. */
function apiKey() {
  const file = join(folder, 'invite-api-key')
  if (!existsSync(file)) writeFileSync(file, randomBytes(16).toString('hex'), { mode: 0o600 })
  return readFileSync(file, 'utf8')
}

/**
 * The audience of service-auth tokens: this service on this machine. The PDS reads its document at http://localhost.
 * @param {number} port
 */
const serviceDid = (port) => `did:web:localhost%3A${port}`

/** Defaults for what the environment does not set: AUTH_MODE and SERVICE_DID. @param {number} port */
const identity = (port) => ({
  AUTH_MODE: process.env.AUTH_MODE || AUTH_MODE,
  SERVICE_DID: process.env.SERVICE_DID || serviceDid(port),
})

/** The chosen mode, as the service reports it. @param {string} service */
async function chosen(service) {
  const { auth_mode, auth_meaning, did } = await (await fetch(`${service}/api/server`)).json()
  return `AUTH_MODE       ${auth_mode}: ${auth_meaning}\nSERVICE_DID     ${did}`
}

/** Removes everything except the lock, which this process holds. */
function forgetDemo() {
  for (const entry of readdirSync(folder)) if (entry !== LOCK_FOLDER) rmSync(join(folder, entry), { recursive: true })
}

/** Starts serve.js; its log goes to a file, so that the output of this script stays visible. */
async function startService(port, env) {
  const logFile = join(folder, 'service.log')
  const log = createWriteStream(logFile)
  const child = spawn(
    process.execPath,
    [join(ROOT, 'scripts', 'serve.js'), '--port', String(port), '--state', join(folder, 'service')],
    { env: { ...process.env, ...env, COLIBRI_END_WITH_PARENT: '1' }, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const lastLines = []
  createInterface(child.stderr).on('line', (line) => {
    log.write(`${line}\n`)
    lastLines.push(line)
    if (lastLines.length > LOG_LINES_SHOWN) lastLines.shift()
  })
  const output = createInterface(child.stdout)
  const ended = once(child, 'close').then(([code, signal]) => {
    throw new Refusal(`${lastLines.join('\n')}\n\nThe service ended (${signal ?? `exit code ${code}`}). Its log: ${logFile}`)
  })
  // The first caller who awaits it gets the error; until then an early end must not count as an unhandled rejection.
  ended.catch(() => {})
  const [line] = await Promise.race([once(output, 'line'), ended])
  return { url: line.replace('ready ', ''), logFile, ended, stop: () => child.kill('SIGTERM') }
}

/** Waits until the service shows the community and its first message. */
async function shown({ service, communityUri, textChannel }) {
  const giveUpAt = Date.now() + SHOWN_WITHIN_MILLIS
  let last = 'nothing'
  while (Date.now() < giveUpAt) {
    const answers = await Promise.all([
      fetch(`${service}/api/community?community=${encodeURIComponent(communityUri)}`),
      fetch(`${service}/api/messages?channel=${textChannel}`),
    ])
    const [community, messages] = await Promise.all(answers.map((answer) => answer.text()))
    // A list that is not empty; anything else is shown below.
    if (answers.every(({ ok }) => ok) && /^\[\s*[^\]\s]/.test(messages)) return
    last = `${answers[0].status} ${community.slice(0, 200)}, ${answers[1].status} ${messages.slice(0, 200)}`
    await pause(200)
  }
  throw new Refusal(
    `The service did not show the demo community within ${SHOWN_WITHIN_MILLIS / 1000} seconds. It answered: ${last}`,
  )
}

/**
 * The addresses that exist for people. Accounts behind the `#` are offered for one click; browsers do not send that part.
 * @param {string} service @param {{ handle: string, password: string }[]} [accounts]
 */
const pages = (service, accounts = []) => `colibri-edge    ${service}/
  chat          ${service}/demo/chat${accounts.length > 0 ? `#${accounts.map(({ handle, password }) => `${handle}:${password}`)}` : ''}
  calls         ${service}/demo/call
  console       ${service}/console, with the API key
  reference     ${service}/docs
  health        ${service}/api/health`

function printDemo({ pds, plc, jetstream, service, textChannel, people }, key, logFile, choice) {
  const accounts = Object.values(people).map(({ handle, password }) => `  account       ${handle}, password ${password}`)
  console.log(`
${pages(service, Object.values(people))}
PDS             ${pds}
${accounts.join('\n')}
PLC directory   ${plc}
Jetstream       ${jetstream}
API key         ${key}
${choice}
log             ${relative(ROOT, logFile)}

Open the chat in two windows, as alice and as bob. Three things to try in another terminal:

  read what was said       curl '${service}/api/messages?channel=${textChannel}'
  listen to what is said   npm run listen
  say something            npm run post -- "hello"

Ctrl-C stops everything. \`npm start -- --reset\` begins with an empty demo.`)
}

function printLive(service, key, logFile, choice) {
  console.log(`
${pages(service)}
reads           ${process.env.JETSTREAM_URL ?? 'the public network, from the JETSTREAM_URL of wrangler.toml'}
API key         ${key}
${choice}
log             ${relative(ROOT, logFile)}

Three things to try in another terminal:

  your communities         curl '${service}/api/communities?did=<your DID>'
  read a channel           curl '${service}/api/messages?channel=<rkey or AT-URI of a channel>'
  listen to a community    npm run listen -- --service ${service} --community <AT-URI>

Ctrl-C stops everything.`)
}

async function start() {
  const { StateFolder } = await import('./state.js')
  const state = new StateFolder(folder)
  await state.take('It was started by `npm start` and is still running; Ctrl-C there ends it.')
  const port = await freePort('127.0.0.1', Number(options.port))
  state.announce(`http://127.0.0.1:${port}`)
  if (options.reset) forgetDemo()
  let network
  let service
  let stopping = false
  const stop = async (code) => {
    stopping = true
    service?.stop()
    await Promise.allSettled([service?.ended, network?.stop()])
    process.exit(code)
  }
  for (const signal of END_SIGNALS) process.once(signal, () => stop(0))
  endWithParent(() => stop(1))
  try {
    const key = apiKey()
    if (options.live) {
      announce(SERVICE)
      service = await startService(port, { ...identity(port), INVITE_API_KEY: process.env.INVITE_API_KEY ?? key })
      printLive(service.url, key, service.logFile, await chosen(service.url))
    } else {
      const { startNetwork, records } = await import('../tests/network/client.js')
      announce(NETWORK)
      network = await startNetwork({ state: join(folder, 'network'), node: process.execPath })
      announce(SERVICE)
      service = await startService(port, {
        JETSTREAM_URL: network.jetstream,
        PLC_URL: network.plc,
        // The PDS answers for unknown profiles: the public API is not part of this demo.
        BSKY_API_URL: network.pds,
        // Handles end in .test, for which only this network answers.
        DOH_URL: network.dns,
        INSECURE_HOSTS: [network.pds, network.plc, network.jetstream].map((url) => new URL(url).host).join(),
        INVITE_API_KEY: key,
        ...identity(port),
      })
      const demo = await createDemo(network, records, service.url)
      announce(DEMO)
      await Promise.race([shown(demo), service.ended])
      printDemo(demo, key, service.logFile, await chosen(service.url))
    }
    await service.ended
  } catch (error) {
    if (stopping) return
    say(error instanceof Refusal ? `\n${error.message}` : `\n${error?.stack ?? error}`)
    await stop(1)
  }
}

try {
  // A process that continues under Node 24 has done this already.
  if (!process.env.COLIBRI_END_WITH_PARENT) {
    await prepare()
  }
  await continueUnderNode24(fileURLToPath(import.meta.url), start)
} catch (error) {
  exitWith(error)
}
