// @ts-check
// The paths of this project. Every other script takes its paths from here, so moving a folder is one edit.

import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))

/** The built Worker. worker-build writes it here, and wrangler.toml's `main` points here. */
export const BUILD_DIR = join(ROOT, 'build')

/** The built pages, the folder of the binding ASSETS. */
export const PAGES_DIR = join(BUILD_DIR, 'pages')

/** A file in BUILD_DIR that says that this is a release, which has no sources (release.js). */
export const PREBUILT = '.prebuilt'

/** The library that bounds workerd's connections (guard/), on Linux; `npm run build` builds it. */
export const GUARD = join(BUILD_DIR, 'guard.so')

/** Programs compiled once per machine and shared by all clones: `<name>-<version>/bin/<program>`. */
export const TOOLS_DIR = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'colibri-edge', 'tools')

/** State of `npm start` (demo, live) and of `npm run serve` without `--state`. Not in git. */
export const LOCAL_DIR = join(ROOT, '.local')

/** wrangler's program. Run it with Node 24 and WRANGLER_SEND_METRICS=false. */
export const WRANGLER = join(ROOT, 'node_modules', 'wrangler', 'bin', 'wrangler.js')

export const WRANGLER_CONFIG = join(ROOT, 'wrangler.toml')

/** The schema of the index. wrangler.toml names the same folder. */
export const MIGRATIONS_DIR = join(ROOT, 'migrations')

/** The version of this project. @type {string} */
export const VERSION = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version

/** A program from an npm package of this project. */
export const packaged = (program) => join(ROOT, 'node_modules', '.bin', program)

/** Whether a module is the program that runs, and not one that another imports. @param {string} url its `import.meta.url` */
export const isProgram = (url) => url === pathToFileURL(process.argv[1] ?? ROOT).href
