// @ts-check
// Builds the Worker: `npm run build`. wrangler.toml calls it too, so `wrangler dev` and `wrangler deploy` build the same way.
//
// Promises: does nothing when no input changed; prints the size of the wasm, because a Worker is limited by it (10 MB gzipped);
// fails when a Durable Object that wrangler.toml names is not exported, which would otherwise show only at deploy
// (a class nobody refers to is not linked: wasm-bindgen#649, workers-rs#204).

import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gzipSync } from 'node:zlib'

import { BUILD_DIR, GUARD, packaged, ROOT, WRANGLER_CONFIG } from './paths.js'
import { exitWith, Refusal, runQuietly, say } from './progress.js'
import { setUp, wasmBindgen, workerBuild } from './toolchain.js'

/** Everything a build reads. migrations/ is among them because code may embed it. */
const INPUTS = ['Cargo.toml', 'Cargo.lock', 'package-lock.json', 'src', 'durable', 'guard', 'migrations', '.cargo']
/** Where connections can be bounded: the loader of Linux lets a library stand before the C library. */
const GUARDS = process.platform === 'linux'
const STAMP = join(BUILD_DIR, '.inputs')
const WASM = join(BUILD_DIR, 'index_bg.wasm')

function* filesUnder(path) {
  if (!existsSync(path)) return
  const entries = readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))
  for (const entry of entries) {
    const child = join(path, entry.name)
    if (entry.isDirectory()) yield* filesUnder(child)
    else yield child
  }
}

function inputsDigest() {
  const digest = createHash('sha256')
  for (const input of INPUTS) {
    const path = join(ROOT, input)
    const files = /\.(toml|lock|json)$/.test(input) ? [path] : filesUnder(path)
    for (const file of files) digest.update(relative(ROOT, file)).update('\0').update(readFileSync(file)).update('\0')
  }
  return digest.digest('hex')
}

/** Whether build/ was made from the sources as they are now. */
export function buildIsCurrent() {
  return existsSync(STAMP) && existsSync(WASM) && (existsSync(GUARD) || !GUARDS) && readFileSync(STAMP, 'utf8') === inputsDigest()
}

function checkObjectsAreExported() {
  const named = [...readFileSync(WRANGLER_CONFIG, 'utf8').matchAll(/class_name\s*=\s*"(\w+)"/g)].map(([, name]) => name)
  const exported =
    readFileSync(join(BUILD_DIR, 'index.js'), 'utf8')
      .match(/export\s*\{[^}]*\}/g)
      ?.join() ?? ''
  const absent = named.filter((name) => !new RegExp(`\\b${name}\\s*[,}]`).test(exported))
  if (absent.length > 0) {
    throw new Refusal(
      `The built Worker does not export ${absent.join(', ')}, which wrangler.toml names as Durable Object.\n` +
        'The class must carry #[durable_object] and be reachable from src/lib.rs by name (`pub use`), or it is not linked.',
    )
  }
}

const kilobytes = (bytes) => `${Math.ceil(bytes / 1000).toLocaleString('en')} kB`

function sizeLine() {
  const wasm = readFileSync(WASM)
  return `wasm: ${kilobytes(wasm.length)}, gzipped ${kilobytes(gzipSync(wasm, { level: 9 }).length)}`
}

/** Builds what bounds the connections of `npm run serve`: code of this machine, not of the Worker. */
async function buildGuard() {
  const folder = join('target', 'guard')
  await runQuietly('cargo', ['build', '--release', '--package', 'colibri-guard', '--target-dir', folder], {
    cwd: ROOT,
    instead: 'npm run build',
  })
  copyFileSync(join(ROOT, folder, 'release', 'libcolibri_guard.so'), GUARD)
}

/** Builds when needed. Resolves with the line that tells the size of the wasm. */
export async function build() {
  await setUp()
  // Taken before the compiler reads the files: an edit during the build then makes the next call build again.
  const inputs = inputsDigest()
  if (!buildIsCurrent()) {
    say('building the Worker (seconds when warm, about 2 minutes the first time)')
    rmSync(STAMP, { force: true })
    await runQuietly(workerBuild().path, ['--release'], {
      cwd: ROOT,
      env: {
        // worker-build would fetch these from the internet; here they come from the lock files. It only warns when one is
        // missing, hence realpath, which throws.
        WASM_BINDGEN_BIN: realpathSync(wasmBindgen().path),
        ESBUILD_BIN: realpathSync(packaged('esbuild')),
        WASM_OPT_BIN: realpathSync(packaged('wasm-opt')),
        CARGO_TERM_PROGRESS_WHEN: 'always',
        CARGO_TERM_PROGRESS_WIDTH: '100',
        CARGO_TERM_COLOR: 'never',
      },
      progress: (line) => {
        const [, done, all] = line.match(/(\d+)\/(\d+)[:\s]/) ?? []
        return done ? `${done} of ${all} crates compiled` : undefined
      },
      instead: 'npm run build',
    })
    checkObjectsAreExported()
    if (GUARDS) await buildGuard()
    writeFileSync(STAMP, inputs)
  }
  return sizeLine()
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  build().then((size) => console.log(size), exitWith)
}
