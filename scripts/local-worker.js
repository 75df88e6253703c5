// @ts-check
// Converts wrangler.toml and the environment into options for miniflare, which runs the Worker on this machine.
//
// Promises: bindings, objects, compatibility date and crons come from wrangler.toml through wrangler's own reader, and
// are repeated nowhere; the environment overrides each variable in wrangler.toml, and sets each variable and secret in
// the table of variables.

import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { PAGES_DIR, ROOT } from './paths.js'
import { Refusal } from './progress.js'
import { NAMES } from './variables.js'

const require = createRequire(import.meta.url)
/** Change this when the cached data below changes its shape. */
const CACHE_FORMAT = '2'
const CACHE = join(ROOT, 'node_modules', '.cache', 'colibri-edge')
export const PUBLIC_SOCKET_PLUGIN = fileURLToPath(new URL('./public-socket.js', import.meta.url))

/** The configuration as wrangler reads it. Cached on disk, because loading wrangler takes half a second. */
function readWranglerConfig(configPath) {
  const version = require('wrangler/package.json').version
  const digest = createHash('sha256')
    .update(CACHE_FORMAT)
    .update(version)
    .update(configPath)
    .update(readFileSync(configPath))
    .digest('hex')
  const kept = join(CACHE, `wrangler-${digest.slice(0, 32)}.json`)
  if (existsSync(kept)) return JSON.parse(readFileSync(kept, 'utf8'))
  // Standard output is reserved for serve's `ready` line; wrangler would write remarks to it.
  process.env.WRANGLER_LOG = 'error'
  const wrangler = require('wrangler')
  const config = wrangler.unstable_readConfig({ config: configPath })
  const { workerOptions, main } = wrangler.unstable_getMiniflareWorkerOptions(config)
  // wrangler adds .dev.vars to the bindings. That file is for `npm run dev`; here secrets come only from the
  // environment, and none may be written to the cache file.
  // Miniflare's own assets would put two more Workers in front of every request; see ASSETS below.
  const { modulesRules: _, bindings: __, assets: ___, ...options } = workerOptions
  const databases = config.d1_databases.map(({ binding, migrations_dir, migrations_table }) => ({
    binding,
    migrationsDir: join(dirname(configPath), migrations_dir ?? 'migrations'),
    migrationsTable: migrations_table ?? 'd1_migrations',
  }))
  const read = { name: config.name, main, options, vars: config.vars, databases, assets: config.assets?.binding }
  mkdirSync(CACHE, { recursive: true })
  // Renamed into place, because several services may start at once.
  writeFileSync(`${kept}.${process.pid}`, JSON.stringify(read))
  renameSync(`${kept}.${process.pid}`, kept)
  return read
}

/** The variables of the Worker: those in wrangler.toml, overridden by the environment for every known name. */
function variables(ofConfig, environment) {
  const values = { ...ofConfig }
  for (const name of [...Object.keys(ofConfig), ...NAMES]) {
    if (environment[name] !== undefined) values[name] = environment[name]
  }
  return values
}

/**
 * Hosts that tests play: `https://alice.example.com=127.0.0.1:8080,…`, in the form of `curl --connect-to`, without TLS.
 * A Worker in front of the network redirects requests to these origins and passes on all others; without the variable
 * there is no such Worker.
 * @param {Record<string, any>} worker @param {string | undefined} list
 * @returns {any[]}
 */
function withPlayedHosts(worker, list) {
  if (!list) return [worker]
  const hosts = Object.fromEntries(list.split(',').map((entry) => entry.split('=')))
  const script = `
    const hosts = ${JSON.stringify(hosts)}
    export default {
      fetch(request) {
        const { origin, pathname, search } = new URL(request.url)
        const host = Object.hasOwn(hosts, origin) && hosts[origin]
        return host ? fetch('http://' + host + pathname + search, { headers: request.headers, redirect: 'manual' }) : fetch(request)
      },
    }`
  const front = { name: 'played-hosts', modules: true, script, compatibilityDate: worker.compatibilityDate }
  return [{ ...worker, outboundService: front.name }, front]
}

/**
 * The Worker behind miniflare's own port, which any program on this machine can reach: for callers who know the secret
 * of this start it fires crons and sends the service a request, and does nothing else.
 * @param {string} service the Worker @param {string} secret @param {string} compatibilityDate
 */
function gate(service, secret, compatibilityDate) {
  const script = `
    export default {
      async fetch(request, { SERVICE, SECRET }) {
        const { pathname, searchParams } = new URL(request.url)
        if (request.headers.get('gate-secret') !== SECRET) return new Response(null, { status: 404 })
        if (pathname !== '/cron') return SERVICE.fetch(new Request('http://localhost/'))
        const { outcome } = await SERVICE.scheduled({ cron: searchParams.get('cron'), scheduledTime: new Date() })
        return new Response(outcome)
      },
    }`
  const compatibilityFlags = ['service_binding_extra_handlers']
  const bindings = { SECRET: secret }
  return { name: 'gate', modules: true, script, compatibilityDate, compatibilityFlags, bindings, serviceBindings: { SERVICE: service } }
}

/** The modules that worker-build wrote: the entry point and the wasm next to it. */
function builtModules(main) {
  if (!existsSync(main)) throw new Refusal(`There is no built Worker at ${main}. Build it with: npm run build`)
  const folder = dirname(main)
  const wasm = readdirSync(folder)
    .filter((file) => file.endsWith('.wasm'))
    .map((file) => join(folder, file))
  return {
    modulesRoot: folder,
    modules: [{ type: 'ESModule', path: main }, ...wasm.map((path) => ({ type: 'CompiledWasm', path }))],
  }
}

/**
 * @param {string} configPath a wrangler.toml
 * @param {object} where
 * @param {string} where.storage the folder that keeps D1 and the objects
 * @param {string} where.host @param {number} where.port where clients reach the Worker
 * @param {NodeJS.ProcessEnv} where.environment
 * @param {() => string} where.tokenSecret what TOKEN_SECRET is unless the environment has one (C08)
 */
export function localWorker(configPath, { storage, host, port, environment, tokenSecret }) {
  const { name, main, options, vars, databases, assets } = readWranglerConfig(configPath)
  const { convertV4MiniflareOptions } = require('miniflare')
  const address = `${host.includes(':') ? `[${host}]` : host}:${port}`
  // The service knows the address on which it listens, and refuses to send requests to it.
  const bindings = { ...variables(vars, environment), COLIBRI_LISTENS_ON: address }
  bindings.TOKEN_SECRET ||= tokenSecret()
  const described = { ...options, ...builtModules(main), name, bindings }
  const secret = randomBytes(32).toString('base64url')
  // The first Worker is the one behind miniflare's own port.
  const workers = [gate(name, secret, options.compatibilityDate), ...withPlayedHosts(described, environment.COLIBRI_PLAYED_HOSTS)]
  const converted = convertV4MiniflareOptions({ workers })
  const shared = {
    // Miniflare's own port leads to the gate; clients use the public socket.
    host: '127.0.0.1',
    cf: false,
    enableDevRegistry: false,
    logRequests: false,
    resourcePersistencePath: storage,
  }
  const worker = converted.workers[1]
  const d1 = Object.fromEntries(databases.map(({ binding }) => [binding, worker.config.env[binding]]))
  // The runtime's own service of a folder, which answers a path with its file.
  if (assets) worker.config.env[assets] = { type: 'disk', path: PAGES_DIR, writable: false }
  worker.config.env.PUBLIC_SOCKET = {
    type: 'unsafe:public-socket',
    address,
    dev: { plugin: { package: PUBLIC_SOCKET_PLUGIN, name: 'public-socket' } },
  }
  return {
    name,
    bindings,
    /** @param {string} path of the gate @returns {[string, RequestInit]} */
    atGate: (path) => [`http://127.0.0.1${path}`, { headers: { 'gate-secret': secret } }],
    options: { ...converted, ...shared },
    crons: options.cronTriggers ?? [],
    databases,
    /** A Worker that only holds the databases: migrations run before any code of the service can see them. */
    databasesOnly: {
      ...shared,
      workers: [
        {
          config: {
            name,
            compatibilityDate: worker.config.compatibilityDate,
            manifest: { mainModule: 'none.js', modules: { 'none.js': { type: 'esm', contents: 'export default {}' } } },
            env: d1,
          },
        },
      ],
    },
  }
}
