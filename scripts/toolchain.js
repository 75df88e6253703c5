// @ts-check
// Takes a machine from "rustup, Node and a C compiler" to "everything here runs".
//
// Promises: each step is skipped if its result exists, so a second call takes well under a second; an interrupted
// install never counts as a finished one; for each program that set-up cannot install itself, it names the command that
// does. Versions come from Cargo.lock and package-lock.json and are written nowhere else. Uses only Node's own modules
// (Node 20 or later), because it installs the packages.

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

import { node24 } from './node24.js'
import { readArguments } from './commands.js'
import { isProgram, packaged, ROOT, TOOLS_DIR } from './paths.js'
import { exitWith, Refusal, runQuietly, say } from './progress.js'

const WASM_TARGET = 'wasm32-unknown-unknown'
const stampIn = (/** @type {string} */ folder) => join(folder, 'node_modules', '.installed-for-lock')

const execute = promisify(execFile)
const versionOf = async (command, args = ['--version']) =>
  execute(command, args).then(
    ({ stdout }) => stdout.trim(),
    () => undefined,
  )

/** The exact version of a crate in Cargo.lock. */
function lockedCrate(name) {
  const lock = readFileSync(join(ROOT, 'Cargo.lock'), 'utf8')
  const found = lock.match(new RegExp(`name = "${name}"\\nversion = "([^"]+)"`))
  if (!found) throw new Refusal(`Cargo.lock names no version of ${name}. Restore it with: git checkout Cargo.lock`)
  return found[1]
}

/** Whether version `have` (1.95.0) is at least `need` (1.91). */
function atLeast(have, need) {
  const [a, b] = [have, need].map((version) => version.split('.').map(Number))
  for (let i = 0; i < b.length; i++) if (a[i] !== b[i]) return a[i] > b[i]
  return true
}

/** Debian packages that set-up names instead of installing them, because that requires root: one row each. */
const DEBIAN_PROGRAMS = [{ program: 'cc', what: 'a C compiler', install: 'sudo apt-get install -y build-essential' }]

const RUSTUP = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh   (then open a new shell)"

/** Names everything that set-up cannot install itself, all at once, each with the command that installs it. */
async function requireCompilers() {
  const [rustc, cargo, ...programs] = await Promise.all([
    versionOf('rustc'),
    versionOf('cargo'),
    ...DEBIAN_PROGRAMS.map(({ program }) => versionOf(program)),
  ])
  const missing = DEBIAN_PROGRAMS.filter((_, index) => programs[index] === undefined)
  const needed = readFileSync(join(ROOT, 'Cargo.toml'), 'utf8').match(/^rust-version = "([^"]+)"/m)?.[1] ?? '1.91'
  const have = rustc?.split(' ')[1]
  if (!rustc || !cargo) missing.push({ program: 'rustc', what: 'a Rust toolchain', install: RUSTUP })
  else if (!atLeast(have, needed))
    missing.push({ program: 'rustc', what: `Rust ${needed} or later (this is ${have})`, install: 'rustup update stable' })
  if (missing.length === 0) return
  const lines = missing.map(({ what, install }) => `  missing: ${what}\n  install: ${install}`)
  throw new Refusal(`Set-up needs what it cannot install itself.\n\n${lines.join('\n\n')}\n\nThen run the same command again.`)
}

/** Optional Debian packages for the tests of calls: a browser and a TURN server. */
const CALL_PROGRAMS = [
  { program: 'chromium', name: 'chromium' },
  { program: 'turnserver', name: 'coturn' },
]

const onPath = (program) =>
  [...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/usr/sbin'].some((folder) => existsSync(join(folder, program)))

/** Installs them if that needs no password. Otherwise the tests of calls are skipped, with the reason. */
function callPrograms() {
  const missing = CALL_PROGRAMS.filter(({ program }) => !onPath(program)).map(({ name }) => name)
  const possible = process.getuid?.() === 0 && onPath('apt-get')
  return {
    ready: missing.length === 0 || !possible,
    title: `installing ${missing.join(' and ')} for the tests of calls (Debian packages, under a minute)`,
    async install() {
      const env = { DEBIAN_FRONTEND: 'noninteractive' }
      try {
        await runQuietly('apt-get', ['update', '-q'], { env })
        await runQuietly('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], { env })
      } catch (error) {
        // Nothing else needs them; in CI the tests themselves require them.
        say(`could not install ${missing.join(' and ')}; tests of calls will say so. ${error.message}`)
      }
    },
  }
}

async function wasmTargetIsInstalled() {
  const libraries = await versionOf('rustc', ['--print', 'target-libdir', '--target', WASM_TARGET])
  return libraries !== undefined && existsSync(libraries)
}

/** rustup adds components to the current toolchain; a Rust from elsewhere only its owner can extend. */
async function rustup(...args) {
  if (!(await versionOf('rustup')))
    throw new Refusal(`There is no rustup to run \`rustup ${args.join(' ')}\`. Install it: ${RUSTUP}`)
  await runQuietly('rustup', args)
}

/** The Rust components that `npm test` needs besides the compiler. */
async function lintSteps() {
  const [clippy, rustfmt] = await Promise.all([
    versionOf('cargo', ['clippy', '--version']),
    versionOf('cargo', ['fmt', '--version']),
  ])
  return [
    { ready: clippy !== undefined, title: 'adding clippy', install: () => rustup('component', 'add', 'clippy') },
    { ready: rustfmt !== undefined, title: 'adding rustfmt', install: () => rustup('component', 'add', 'rustfmt') },
  ]
}

/**
 * A program compiled by cargo, kept per version in the shared tools folder. `locked`: wasm-bindgen-cli must be
 * installed without its lock file, which names a crate version that may not be available.
 */
function cargoTool(crate, program, version, { locked, about }) {
  const home = join(TOOLS_DIR, `${crate}-${version}`)
  return {
    path: join(home, 'bin', program),
    title: `compiling ${crate} ${version} (about ${about}, once per machine)`,
    async install() {
      mkdirSync(TOOLS_DIR, { recursive: true })
      const unfinished = join(TOOLS_DIR, `.unfinished-${crate}-${version}-${process.pid}`)
      try {
        const args = ['install', crate, '--version', version, '--root', unfinished, ...(locked ? ['--locked'] : [])]
        await runQuietly('cargo', args, {
          env: { CARGO_TERM_PROGRESS_WHEN: 'always', CARGO_TERM_PROGRESS_WIDTH: '100', CARGO_TERM_COLOR: 'never' },
          progress: (line) => {
            const [, done, all] = line.match(/(\d+)\/(\d+)[:\s]/) ?? []
            return done ? `${done} of ${all} crates compiled` : undefined
          },
        })
        try {
          renameSync(unfinished, home)
        } catch (error) {
          // Another clone finished the same install first; its result is equally good.
          if (!existsSync(join(home, 'bin', program))) throw error
        }
      } finally {
        rmSync(unfinished, { recursive: true, force: true })
      }
    },
  }
}

export const workerBuild = () =>
  cargoTool('worker-build', 'worker-build', lockedCrate('worker'), { locked: true, about: '4 minutes' })
export const wasmBindgen = () =>
  cargoTool('wasm-bindgen-cli', 'wasm-bindgen', lockedCrate('wasm-bindgen'), { locked: false, about: '2 minutes' })

const packagesWanted = (/** @type {string} */ folder) =>
  createHash('sha256')
    .update(readFileSync(join(folder, 'package.json')))
    .update(readFileSync(join(folder, 'package-lock.json')))
    .digest('hex')

function packagesAreInstalled() {
  const stamp = stampIn(ROOT)
  return existsSync(stamp) && existsSync(packaged('node')) && readFileSync(stamp, 'utf8') === packagesWanted(ROOT)
}

/** Says in a folder like this one that its packages are installed. @param {string} folder */
export const packagesArrived = (folder) => writeFileSync(stampIn(folder), packagesWanted(folder))

/** Runs npm with the Node that runs npm now, whatever `node` is first on the PATH. */
export function npm(args, options) {
  const { npm_execpath: script, npm_node_execpath: node } = process.env
  return script?.endsWith('.js') && node ? runQuietly(node, [script, ...args], options) : runQuietly('npm', args, options)
}

async function installPackages() {
  // Not `npm ci`: it refuses a lock file without an optional package of *another* platform, and registries may lag
  // behind with those. `install --no-save` also takes versions and checksums from the lock file, and never writes to
  // it.
  await npm(['install', '--no-save', '--no-audit', '--no-fund'], { cwd: ROOT, instead: 'npm install --no-save' })
  if (!existsSync(packaged('node'))) {
    throw new Refusal(
      'npm did not run the install scripts of the package `node` (is ignore-scripts set?).\nRun: npm rebuild node workerd esbuild',
    )
  }
  packagesArrived(ROOT)
}

/** The local atproto network is a separate npm package with its own set-up; undefined in a clone without it. */
async function localNetwork() {
  const folder = join(ROOT, 'tests', 'network')
  const script = join(folder, 'setup.js')
  if (!existsSync(script)) return undefined
  const { lockDigest, readStamp } = await import(pathToFileURL(join(folder, 'installation.js')).href)
  return {
    ready: readStamp()?.lock === lockDigest(),
    title: 'installing the local atproto network: PLC directory, PDS, Jetstream (under a minute)',
    install: () =>
      // Under Node 24, whatever Node runs npm: from Node 22 on none of its packages needs compiling.
      runQuietly(node24(), [script, '--node', node24()], {
        progress: (line) => line.match(/^tests\/network: (.*)/)?.[1],
        instead: `npm run setup`,
      }),
  }
}

/**
 * What a command needs besides the npm packages.
 * @typedef {object} Needs
 * @property {boolean} [rust] all that builds the Worker
 * @property {boolean} [lints] clippy and rustfmt
 * @property {boolean} [network] the local atproto network
 * @property {boolean} [calls] a browser and a TURN server, if possible
 *
 * @typedef {{ title: string, install: () => Promise<unknown> }} Step
 */

/**
 * What is not installed yet, in the order in which it must be.
 * @param {Needs} [needs] @returns {Promise<Step[]>}
 */
export async function missingSteps({ rust = false, lints = false, network = false, calls = false } = {}) {
  if (!atLeast(process.versions.node, '20')) {
    throw new Refusal(`Node 20 or later is needed; this is ${process.versions.node}. Install a newer one from https://nodejs.org`)
  }
  const [, targetReady, lintParts, networkPackages] = await Promise.all([
    rust || lints ? requireCompilers() : undefined,
    rust ? wasmTargetIsInstalled() : undefined,
    lints ? lintSteps() : [],
    network ? localNetwork() : undefined,
  ])
  const [builder, bindgen] = [workerBuild(), wasmBindgen()]
  // Rust components are added explicitly, not through rust-toolchain.toml: with RUSTUP_AUTO_INSTALL=0 rustup ignores
  // that list. The network's packages come after ours, whose Node installs them.
  return [
    { ready: !rust || targetReady, title: `adding the Rust target ${WASM_TARGET}`, install: () => rustup('target', 'add', WASM_TARGET) },
    ...lintParts,
    { ready: packagesAreInstalled(), title: 'installing the npm packages (under a minute)', install: installPackages },
    ...(networkPackages ? [networkPackages] : []),
    ...(calls ? [callPrograms()] : []),
    { ready: !rust || existsSync(bindgen.path), title: bindgen.title, install: bindgen.install },
    { ready: !rust || existsSync(builder.path), title: builder.title, install: builder.install },
  ].filter((step) => !step.ready)
}

/** Installs what is missing. Prints nothing if nothing is. @param {Needs} [needs] */
export async function setUp(needs) {
  const steps = await missingSteps(needs)
  for (const [index, step] of steps.entries()) {
    say(`[${index + 1}/${steps.length}] ${step.title}`)
    await step.install()
  }
}

async function setUpAll() {
  const { 'to-serve': toServe } = readArguments('setup').values
  await setUp(toServe ? {} : { rust: true, lints: true, network: true, calls: true })
  say('Everything is installed.')
}

if (isProgram(import.meta.url)) setUpAll().catch(exitWith)
