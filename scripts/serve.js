// @ts-check
// Runs the built Worker with its objects and its D1 on this machine: `npm run serve -- --port P --state DIR`. This is
// how to self-host, and how tests and benchmarks start the service. No watcher, no request log.
//
// Promises:
//   1. migrations are applied before the first request or alarm can see the database;
//   2. `ready http://…` is printed, alone on standard output, when the Worker answers;
//   3. the cron fires each minute, which local runtimes do not do by themselves; a failure is logged and is not fatal;
//   4. kill -9 loses nothing that was committed (SQLite in WAL mode, one fsync per commit) and leaves no process
//      behind;
//   5. SIGTERM ends it with code 0; there is one service per state folder; a workerd that dies is restarted, with
//      growing pauses if it dies again and again;
//   6. connections are bounded (guard/) where the system allows it, and descriptors remain for everything else;
//   7. `npm run backup` copies the state while it runs (backup-request.js).
//
// Options: --port (8787), --host (127.0.0.1), --state (.local/serve), --config (wrangler.toml). Variables: see
// local-worker.js; MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS.

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { copyOnRequest } from './backup-request.js'
import { build, buildIsCurrent } from './build.js'
import { readArguments, typedPath } from './commands.js'
import { ServiceLog } from './log.js'
import { continueUnderNode24, END_SIGNALS, endWithParent } from './node24.js'
import { BUILD_DIR, GUARD, VERSION, WRANGLER_CONFIG } from './paths.js'
import { stateFolder } from './folder.js'
import { freePort } from './port.js'
import { exitWith, Refusal } from './progress.js'
import { Restarts } from './restarts.js'
import { checkMode, modeIn, MODES } from './choose-mode.js'
import { checkSecrets } from './secrets.js'
import { mistakes, VARIABLES } from './variables.js'

const log = new ServiceLog((text) => process.stderr.write(text))
const say = log.say
const MINUTE_MILLIS = 60_000
/** How long a dead runtime may take to release its resources. */
const DISPOSE_WITHIN_MILLIS = 3_000
/** How long a runtime may take to start, besides the pause before it (restarts.js). */
const LAUNCH_WITHIN_MILLIS = 10_000
/** How much later a workerd that miniflare restarted counts as dead: one that is merely slow should not be ended. */
const OVERDUE_AFTER_MILLIS = 20_000
/** SIGTERM must end the service within three seconds, whatever still hangs. */
const STOP_WITHIN_MILLIS = 2_500

function readOptions() {
  const { values } = readArguments('serve')
  const config = typedPath(values.config, 'serve')
  if (!existsSync(config)) throw new Refusal(`There is no file ${config}, which --config names.`)
  return { port: Number(values.port), host: values.host, state: typedPath(values.state, 'serve'), config }
}

/** What is about to run, in one line. @param {any} worker @param {string} mode @param {(database: any) => string[]} filesOf */
function startLine({ bindings, databases }, mode, filesOf) {
  const given = bindings.JETSTREAM_URL || VARIABLES.find(({ name }) => name === 'JETSTREAM_URL').default
  const stream = URL.canParse(given) ? new URL(given).origin + new URL(given).pathname : given
  const schema = databases.flatMap((database) => filesOf(database).slice(-1)).join(', ').replace(/\.sql$/, '')
  const key = bindings.INVITE_API_KEY ? 'yes' : 'no'
  return `colibri-edge ${VERSION}, schema ${schema || 'none'}, AUTH_MODE ${mode}, INVITE_API_KEY ${key}, stream ${stream}`
}

/**
 * Fires every cron at each full minute, and once at the start: the cron wakes the reader of the network, which should
 * not wait up to a minute. All crons of this service are `* * * * *`; this function would ignore any other schedule.
 */
function startCron(runtime, { crons, atGate }) {
  const unsupported = crons.filter((cron) => cron !== '* * * * *')
  if (unsupported.length > 0)
    throw new Refusal(`serve can fire "* * * * *" only, but wrangler.toml has: ${unsupported.join(', ')}`)
  let failing = false
  const fire = async () => {
    scheduleNext()
    for (const cron of crons) {
      try {
        // Not `getWorker().scheduled()`: that blocks this process until the Worker is done, and the Worker may wait for
        // this process to read its log.
        const answer = await runtime().dispatchFetch(...atGate(`/cron?${new URLSearchParams({ cron })}`))
        const outcome = await answer.text()
        if (outcome !== 'ok') throw new Error(`outcome ${outcome}`)
        failing = false
      } catch (error) {
        // Once per streak: the handler logs its own reasons, and a cron that fails each minute must not drown them.
        if (!failing) say(`cron "${cron}" failed: ${error.message}`)
        failing = true
      }
    }
  }
  const scheduleNext = () => setTimeout(fire, MINUTE_MILLIS - (Date.now() % MINUTE_MILLIS)).unref()
  if (crons.length > 0) fire()
}

async function serve() {
  const startedAt = performance.now()
  const options = readOptions()
  const [{ localWorker }, { filesOf, migrate }, { StateFolder }] = await Promise.all([
    import('./local-worker.js'),
    import('./migrate.js'),
    import('./state.js'),
  ])
  if (options.config === WRANGLER_CONFIG && !buildIsCurrent()) {
    // A first start builds; later a person may run an older build on purpose, but should know it.
    say('note: build/ is older than the sources; `npm run build` brings it up to date')
  }
  const state = new StateFolder(options.state)
  await state.take('Stop that one first, or give --state another folder.')
  copyOnRequest(state, say)

  const require = createRequire(import.meta.url)
  const { Log, LogLevel, Miniflare } = require('miniflare')
  process.env.COLIBRI_WORKERD = require('workerd').default
  process.env.COLIBRI_PID_FILE = state.workerdPidFile
  process.env.COLIBRI_CACHE = join(state.storage, 'cache')
  // A killed miniflare leaves its temporary folder behind; the next start removes it here.
  process.env.COLIBRI_GUARD = existsSync(GUARD) ? GUARD : ''
  if (!process.env.COLIBRI_GUARD) say('note: connections are not bounded here, only by descriptors (docs/configuration.md)')
  process.env.TMPDIR = state.freshTemporaryFolder()
  process.env.MINIFLARE_WORKERD_PATH = fileURLToPath(new URL('./with-parent.sh', import.meta.url))

  const port = await freePort(options.host, options.port)
  process.env.COLIBRI_PORT = String(port)
  const worker = localWorker(options.config, {
    storage: state.storage,
    host: options.host,
    port,
    environment: process.env,
    tokenSecret: () => state.secret('token-secret'),
  })
  checkSecrets(worker.bindings, say)
  for (const mistake of mistakes({ ...process.env, ...worker.bindings })) say(`note: ${mistake}`)
  checkMode(worker.bindings.AUTH_MODE)
  const { mode, isChosen } = modeIn(worker.bindings)
  if (!isChosen) say(`note: AUTH_MODE is not set, which means ${mode}: ${MODES[mode]}`)

  let runtime
  let stopCode
  /** Ends workerd at once: everything committed is on disk, and clients need nothing more than the close. */
  const stop = (code) => {
    if (stopCode !== undefined) return
    stopCode = code
    setTimeout(() => process.exit(code), STOP_WITHIN_MILLIS).unref()
    Promise.resolve(runtime?.dispose())
      .catch(() => {})
      .finally(() => process.exit(code))
  }
  for (const signal of END_SIGNALS) process.on(signal, () => stop(0))
  // miniflare's own listener behind this one also ends workerd, but exits with 143, as if nothing had handled the
  // signal.
  process.on('exit', () => {
    process.exitCode = stopCode ?? process.exitCode
  })
  // If the reader of the log disappears (a closed terminal, a dead test run), the service must keep running.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  endWithParent(() => stop(1))

  const restarts = new Restarts()
  /** The pause of with-parent.sh before the next workerd starts. */
  const pauseAfterDeath = () => {
    const pause = restarts.died(Date.now())
    process.env.COLIBRI_PAUSE_SECS = String(pause)
    return pause === 0 ? 'starting it again' : `starting it again in ${pause} s`
  }
  /** How long a workerd may take to start. */
  const launchWithin = () => LAUNCH_WITHIN_MILLIS + 1_000 * Number(process.env.COLIBRI_PAUSE_SECS ?? 0)
  /** If workerd dies very early in its start, miniflare waits for ever and reports nothing. */
  let overdue
  const giveUp = () => {
    if (relaunching || stopCode !== undefined) return
    say(`workerd did not start in time; ${pauseAfterDeath()}`)
    relaunch()
  }
  class RuntimeLog extends Log {
    constructor() {
      super(LogLevel.WARN)
    }
    /** miniflare warns when workerd died, before it starts a new one. */
    warn(message) {
      if (!/crashed unexpectedly/.test(message)) return say(message)
      say(`workerd ended unexpectedly; ${pauseAfterDeath()}`)
      clearTimeout(overdue)
      overdue = setTimeout(giveUp, OVERDUE_AFTER_MILLIS + launchWithin()).unref()
    }
    /** miniflare reports only here that it could not restart workerd and has given up. */
    error(error) {
      if (error.code !== 'ERR_RUNTIME_FAILURE' || !started) return say(String(error.stack ?? error))
      if (relaunching) return
      say(`workerd did not start: ${error.cause?.message ?? error.message}; ${pauseAfterDeath()}`)
      relaunch()
    }
  }
  let started = false
  const launch = () => {
    runtime = new Miniflare({
      ...worker.options,
      log: new RuntimeLog(),
      handleStructuredLogs: ({ message }) => log.onLog(message),
      handleUncaughtError: (error) => say(String(error.stack ?? error)),
      unsafeHandleRuntimeRestart: () => {
        clearTimeout(overdue)
        say(`workerd runs again (process ${state.workerdPid()})`)
      },
    })
    return runtime.ready
  }
  let relaunching = false
  /** Replaces a runtime that miniflare gave up. */
  const relaunch = async () => {
    if (relaunching) return
    relaunching = true
    clearTimeout(overdue)
    while (stopCode === undefined) {
      // `dispose` of a runtime that never started may not settle; neither may `ready`.
      await Promise.race([runtime.dispose().catch(() => {}), sleep(DISPOSE_WITHIN_MILLIS)])
      if (stopCode !== undefined) return
      try {
        const late = sleep(launchWithin()).then(() => Promise.reject(new Error('it did not come up in time')))
        await Promise.race([launch(), late])
        clearTimeout(overdue)
        relaunching = false
        return say(`workerd runs again (process ${state.workerdPid()})`)
      } catch (error) {
        if (stopCode === undefined) say(`workerd did not start: ${error.message}; ${pauseAfterDeath()}`)
      }
    }
  }

  await migrate(state, worker, say)
  say(startLine(worker, mode, filesOf))
  if (stopCode !== undefined) return
  await launch()
  started = true
  if (stopCode !== undefined) return
  const url = `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`
  // Only the process that started this one with a channel can send this: tests evict objects from memory as the
  // platform does, while sockets stay open.
  process.on('message', ({ evict: { className, name } }) => {
    runtime
      .unsafeEvictDurableObject(worker.name, className, { name, webSockets: 'hibernate' })
      .then(() => process.send({ evicted: name }), (error) => process.send({ evicted: name, error: String(error) }))
  })
  state.announce(url, { copies: true })
  startCron(() => runtime, worker)
  // Not through the public socket, where it would count against the rate limit of this machine. The answer does not
  // matter.
  await (await runtime.dispatchFetch(...worker.atGate('/'))).arrayBuffer()
  process.stdout.write(`ready ${url}\n`)
  say(`state ${options.state}, workerd process ${state.workerdPid()}, started in ${Math.round(performance.now() - startedAt)} ms`)
}

try {
  // What a person must mend first is said before a build, which takes minutes.
  const { config, state, host, port } = readOptions()
  stateFolder(state)
  await freePort(host, port)
  checkMode(process.env.AUTH_MODE)
  if (config === WRANGLER_CONFIG && !existsSync(join(BUILD_DIR, 'index.js'))) await build()
  await continueUnderNode24(fileURLToPath(import.meta.url), serve)
} catch (error) {
  exitWith(error)
}
