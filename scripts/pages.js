// @ts-check
// Builds the pages: src/pages, in TypeScript, to build/pages, which the Worker serves through its binding ASSETS. They
// are no part of the wasm.
//
// Promises: what a page loads is in that folder, one script and one style per page, so that nothing comes from the
// internet at run time; does nothing if no input changed.

import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { digestOf, filesBelow } from './inputs.js'
import { BUILD_DIR, PAGES_DIR, ROOT } from './paths.js'

export const PAGES_SOURCES = join(ROOT, 'src', 'pages')
const CLIENT = join(ROOT, 'packages', 'client', 'src')
/** Beside the folder, because every file in it is uploaded. */
const STAMP = join(BUILD_DIR, '.pages-inputs')
/** A page each: NAME.tsx and NAME.css become NAME.js, NAME.css and NAME.html. */
const PAGES = ['home', 'chat', 'console', 'sockets']
/** What `/asyncapi.json` serves: it is read as a whole and rarely, so it is no part of the wasm. */
const SOCKETS = join(ROOT, 'src', 'api', 'reference', 'asyncapi.json')

const inputsDigest = () =>
  digestOf([...filesBelow(PAGES_SOURCES), ...filesBelow(CLIENT), SOCKETS, join(ROOT, 'package-lock.json'), fileURLToPath(import.meta.url)])

/** Whether build/pages was made from the current sources. */
export const pagesAreCurrent = () =>
  existsSync(STAMP) && existsSync(join(PAGES_DIR, `${PAGES[0]}.html`)) && readFileSync(STAMP, 'utf8') === inputsDigest()

export async function buildPages() {
  if (pagesAreCurrent()) return
  const inputs = inputsDigest()
  rmSync(STAMP, { force: true })
  rmSync(PAGES_DIR, { recursive: true, force: true })
  mkdirSync(PAGES_DIR, { recursive: true })
  const esbuild = createRequire(import.meta.url)('esbuild')
  await esbuild.build({
    absWorkingDir: PAGES_SOURCES,
    entryPoints: [
      ...PAGES.flatMap((name) => ['tsx', 'css'].map((kind) => ({ in: `${name}.${kind}`, out: name }))),
      // The service worker of the chat.
      { in: 'push.ts', out: 'push' },
      // For /demo/call, whose script is served as it is written.
      { in: join(CLIENT, 'index.ts'), out: 'client' },
    ],
    outdir: PAGES_DIR,
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    // The license comments of packages stay at the end of each file.
    legalComments: 'eof',
    logLevel: 'warning',
  })
  const template = readFileSync(join(PAGES_SOURCES, 'page.html'), 'utf8')
  for (const name of PAGES) writeFileSync(join(PAGES_DIR, `${name}.html`), template.replaceAll('NAME', name))
  copyFileSync(SOCKETS, join(PAGES_DIR, 'asyncapi.json'))
  writeFileSync(STAMP, inputs)
}
