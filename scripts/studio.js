// @ts-check
// `npm run studio -- --state DIR`: the runtime's own explorer on the database of a state folder, in a browser.
//
// Promises: it takes the folder as a service would, so it runs only while no service does; it starts no code of the
// service, and applies no migration; what is changed there is changed for good. It listens on this machine only.

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'

import { readArguments, typedPath } from './commands.js'
import { localWorker } from './local-worker.js'
import { END_SIGNALS, endWithParent } from './node24.js'
import { WRANGLER_CONFIG } from './paths.js'
import { freePort } from './port.js'
import { exitWith, Refusal, say } from './progress.js'
import { StateFolder } from './state.js'

const HOST = '127.0.0.1'
const EXPLORER = '/cdn-cgi/local/explorer'

async function studio() {
  const { values } = readArguments('studio')
  const folder = typedPath(values.state, 'studio')
  const state = new StateFolder(folder)
  if (!existsSync(state.storage)) throw new Refusal(`There is no database in ${folder}. Name the folder of a service: --state DIR`)
  await state.take('Stop that service first: two programs must not write one database.')
  const port = await freePort(HOST, Number(values.port))
  state.announce(`http://${HOST}:${port}`)
  const { Miniflare } = createRequire(import.meta.url)('miniflare')
  const { databasesOnly } = localWorker(WRANGLER_CONFIG, {
    storage: state.storage,
    host: HOST,
    port,
    environment: {},
    tokenSecret: () => '',
  })
  /** @type {number | undefined} */
  let code
  /** @type {any} */
  let runtime
  const end = (/** @type {number} */ ending) => {
    code = ending
    Promise.resolve(runtime?.dispose()).finally(() => process.exit(ending))
  }
  for (const signal of END_SIGNALS) process.once(signal, () => end(0))
  // miniflare's own listener, behind these, would exit with 143, as if nothing had handled the signal.
  process.on('exit', () => {
    process.exitCode = code ?? process.exitCode
  })
  endWithParent(() => end(1))
  runtime = new Miniflare({ ...databasesOnly, unsafeLocalExplorer: true, port })
  await runtime.ready
  process.stdout.write(`ready http://${HOST}:${port}${EXPLORER}\n`)
  say(`the database of ${folder}; the views of docs/operating.md are there too. Changes are real. Ctrl-C ends this.`)
}

studio().catch(exitWith)
