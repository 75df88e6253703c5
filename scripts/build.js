// @ts-check
// Builds the Worker: `npm run build`. wrangler.toml calls it too, so `wrangler dev` and `wrangler deploy` build the
// same way.
//
// Promises: does nothing if no input changed; prints the size of the wasm, which Cloudflare limits to 10 MB gzipped;
// fails if a Durable Object in wrangler.toml is not exported, which would otherwise show only at deployment (the linker
// drops a class that nothing refers to: wasm-bindgen#649, workers-rs#204).

import { copyFileSync, existsSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

import { digestOf, filesBelow } from './inputs.js'
import { BUILD_DIR, GUARD, isProgram, packaged, PREBUILT, ROOT, WRANGLER_CONFIG } from './paths.js'
import { buildPages, PAGES_SOURCES, pagesAreCurrent } from './pages.js'
import { exitWith, Refusal, runQuietly, say } from './progress.js'
import { setUp, wasmBindgen, workerBuild } from './toolchain.js'

/** Everything that a build reads. migrations/ is included because code may embed it. */
const INPUTS = ['Cargo.toml', 'Cargo.lock', 'package-lock.json', 'src', 'durable', 'guard', 'migrations', '.cargo']
/** Whether connections can be bounded: the Linux loader can preload a library before the C library. */
const GUARDS = process.platform === 'linux'
const STAMP = join(BUILD_DIR, '.inputs')
const WASM = join(BUILD_DIR, 'index_bg.wasm')

function inputsDigest() {
  const files = INPUTS.map((input) => join(ROOT, input)).flatMap((path) =>
    // The pages have their own inputs (pages.js): a change of theirs compiles no Rust.
    /\.(toml|lock|json)$/.test(path) ? [path] : [...filesBelow(path, PAGES_SOURCES)],
  )
  return digestOf(files)
}

/** Whether build/ was made from the current sources. */
export const buildIsCurrent = () => isPrebuilt() || (workerIsCurrent() && pagesAreCurrent())

/** Whether this is a release, which was built elsewhere. */
const isPrebuilt = () => existsSync(join(BUILD_DIR, PREBUILT))

function workerIsCurrent() {
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

/** Builds the library that bounds the connections of `npm run serve`; it runs on this machine, not in the Worker. */
async function buildGuard() {
  const folder = join('target', 'guard')
  await runQuietly('cargo', ['build', '--release', '--package', 'colibri-guard', '--target-dir', folder], {
    cwd: ROOT,
    instead: 'npm run build',
  })
  copyFileSync(join(ROOT, folder, 'release', 'libcolibri_guard.so'), GUARD)
}

/** What takes so long: the title of the step. */
export const BUILD_TITLE = 'building the Worker (seconds when warm, about 2 minutes the first time)'

/**
 * Builds if necessary. Resolves with the line that names the size of the wasm.
 * @param {(title: string) => void} [announce] called before a build that is necessary
 */
export async function build(announce = say) {
  if (isPrebuilt()) throw new Refusal('This is a release: it is built, and its sources are elsewhere. Clone the repository to build it.')
  await setUp({ rust: true })
  // Computed before the compiler reads the files, so that an edit during the build causes another build.
  const inputs = inputsDigest()
  if (!workerIsCurrent()) {
    announce(BUILD_TITLE)
    rmSync(STAMP, { force: true })
    await runQuietly(workerBuild().path, ['--release'], {
      cwd: ROOT,
      env: {
        // worker-build would download these; here they come from the lock files. It only warns if one is missing, hence
        // realpath, which throws.
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
  await buildPages()
  return sizeLine()
}

if (isProgram(import.meta.url)) {
  build().then((size) => console.log(size), exitWith)
}
