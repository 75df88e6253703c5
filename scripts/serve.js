// @ts-check
// Runs the built Worker with its objects and its D1 on this machine: `npm run serve -- --port P --state DIR`.
// The way to self-host, and the way tests and benchmarks start the service. No watcher, no request log.
//
// Promises:
//   1. migrations are applied before the first request or alarm can see the database;
//   2. `ready http://…` is printed, alone on standard output, when the Worker answers;
//   3. the cron fires each minute, which local runtimes do not do by themselves; a failure is logged and is not fatal;
//   4. kill -9 loses nothing that was committed (SQLite in WAL mode, one fsync per commit) and leaves no process behind;
//   5. SIGTERM ends it with code 0; one service per state folder; a workerd that dies is started again.
// Options: --port (8787), --host (127.0.0.1), --state (.local/serve), --config (wrangler.toml). Variables: see local-worker.js.

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

import { build, buildIsCurrent } from './build.js'
import { continueUnderNode24, END_SIGNALS, endWithParent } from './node24.js'
import { BUILD_DIR, LOCAL_DIR, WRANGLER_CONFIG } from './paths.js'
import { freePort } from './port.js'
import { exitWith, Refusal, say } from './progress.js'

const MINUTE_MILLIS = 60_000
/** A Worker that dies at once each time it starts would only fill the log: more deaths than this in a minute end the service. */
const DEATHS_PER_MINUTE = 3
/** SIGTERM has to end the service within three seconds, whatever still hangs. */
const STOP_WITHIN_MILLIS = 2_500

function readOptions() {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '8787' },
      host: { type: 'string', default: '127.0.0.1' },
      state: { type: 'string', default: join(LOCAL_DIR, 'serve') },
      config: { type: 'string', default: WRANGLER_CONFIG },
    },
  })
  const port = Number(values.port)
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new Refusal(`--port must be a number from 0 to 65535, not ${values.port}`)
  // npm runs scripts in the package folder; a relative path means the folder the person typed it in.
  const typedIn = process.env.npm_lifecycle_event === 'serve' ? process.env.INIT_CWD : undefined
  const full = (path) => (isAbsolute(path) ? path : resolve(typedIn ?? process.cwd(), path))
  return { port, host: values.host, state: full(values.state), config: full(values.config) }
}

/**
 * Fires every cron at each full minute, and once at the start: the cron is what wakes the reader of the network, which should
 * not wait up to a minute for it. All crons of this service are `* * * * *`; another schedule would be a silent lie.
 */
function startCron(runtime, crons) {
  const unsupported = crons.filter((cron) => cron !== '* * * * *')
  if (unsupported.length > 0)
    throw new Refusal(`serve can fire "* * * * *" only, but wrangler.toml has: ${unsupported.join(', ')}`)
  let failing = false
  const fire = async () => {
    scheduleNext()
    for (const cron of crons) {
      try {
        // Not `getWorker().scheduled()`: that stops this process until the Worker is done, and the Worker may wait for
        // this process to read its log.
        const query = new URLSearchParams({ cron, time: String(Date.now()) })
        const answer = await runtime().dispatchFetch(`http://127.0.0.1/cdn-cgi/local/scheduled?${query}`)
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
  const [{ localWorker }, { migrate }, { StateFolder }] = await Promise.all([
    import('./local-worker.js'),
    import('./migrate.js'),
    import('./state.js'),
  ])
  if (options.config === WRANGLER_CONFIG && !buildIsCurrent()) {
    // A first start builds; later a person may serve an older build on purpose, but should know it.
    say('note: build/ is older than the sources; `npm run build` brings it up to date')
  }
  const state = new StateFolder(options.state)
  await state.take('Stop that one first, or give --state another folder.')

  const require = createRequire(import.meta.url)
  const { Log, LogLevel, Miniflare } = require('miniflare')
  process.env.COLIBRI_WORKERD = require('workerd').default
  process.env.COLIBRI_PID_FILE = state.workerdPidFile
  // miniflare leaves its temporary folder behind when it is killed; here the next start removes it.
  process.env.TMPDIR = state.freshTemporaryFolder()
  process.env.MINIFLARE_WORKERD_PATH = fileURLToPath(new URL('./with-parent.sh', import.meta.url))

  const port = await freePort(options.host, options.port)
  const worker = localWorker(options.config, { storage: state.storage, host: options.host, port, environment: process.env })

  let runtime
  let stopCode
  /** Ends workerd at once: everything committed is on disk, and there is no more to be said to the clients than the close. */
  const stop = (code) => {
    if (stopCode !== undefined) return
    stopCode = code
    setTimeout(() => process.exit(code), STOP_WITHIN_MILLIS).unref()
    Promise.resolve(runtime?.dispose())
      .catch(() => {})
      .finally(() => process.exit(code))
  }
  for (const signal of END_SIGNALS) process.on(signal, () => stop(0))
  // miniflare has a listener of its own behind ours, which ends workerd as well, but exits with 143 as if nobody had listened.
  process.on('exit', () => {
    process.exitCode = stopCode ?? process.exitCode
  })
  // A reader that went away (a closed terminal, a dead test run) must not take the service down through its log.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  endWithParent(() => stop(1))

  const deaths = []
  class RuntimeLog extends Log {
    constructor() {
      super(LogLevel.WARN)
    }
    /** miniflare warns when workerd died, before it starts a new one. */
    warn(message) {
      if (!/crashed unexpectedly/.test(message)) return say(message)
      deaths.push(Date.now())
      const lately = deaths.filter((at) => at > Date.now() - MINUTE_MILLIS).length
      if (lately <= DEATHS_PER_MINUTE) return say('workerd ended unexpectedly; starting it again')
      say(`workerd ended ${lately} times within a minute; giving up`)
      stop(1)
    }
    /** miniflare reports here, and nowhere else, that workerd could not be started again. */
    error(error) {
      say(String(error.stack ?? error))
      if (error.code === 'ERR_RUNTIME_FAILURE') stop(1)
    }
  }

  await migrate(state, worker, say)
  if (stopCode !== undefined) return
  runtime = new Miniflare({
    ...worker.options,
    log: new RuntimeLog(),
    handleStructuredLogs: ({ message }) => say(message),
    handleUncaughtError: (error) => say(String(error.stack ?? error)),
    unsafeHandleRuntimeRestart: () => say(`workerd runs again (process ${state.workerdPid()})`),
  })
  await runtime.ready
  if (stopCode !== undefined) return
  const url = `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`
  // Only the process that started this one, and only if it asked for a channel, can say this: tests take objects out of memory
  // as the platform does, sockets staying open.
  process.on('message', ({ evict: { className, name } }) => {
    runtime
      .unsafeEvictDurableObject(worker.name, className, { name, webSockets: 'hibernate' })
      .then(() => process.send({ evicted: name }), (error) => process.send({ evicted: name, error: String(error) }))
  })
  state.announce(url)
  startCron(() => runtime, worker.crons)
  await answers(url)
  process.stdout.write(`ready ${url}\n`)
  say(`state ${options.state}, workerd process ${state.workerdPid()}, started in ${Math.round(performance.now() - startedAt)} ms`)
}

/** Resolves when the Worker has answered a request, whatever it answered. */
async function answers(url) {
  const local = url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
  // An address that belongs to nobody, so that this request does not count against a real client's rate limit.
  const response = await fetch(local, { headers: { 'CF-Connecting-IP': '192.0.2.1' }, redirect: 'manual' })
  await response.arrayBuffer()
}

try {
  if (readOptions().config === WRANGLER_CONFIG && !existsSync(join(BUILD_DIR, 'index.js'))) await build()
  await continueUnderNode24(fileURLToPath(import.meta.url), serve)
} catch (error) {
  exitWith(error)
}
