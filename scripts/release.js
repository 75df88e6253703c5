// @ts-check
// `npm run release`: an archive of the built Worker, its pages and migrations, and the scripts that serve it. It compiles
// nothing: with npm, the first `npm run serve` in it installs the packages. `--with-packages` makes an archive for
// machines like this one that has them: it needs neither npm nor a network, and brings its own Node.
//
// Promises: the versions in package.json and Cargo.toml agree, and CHANGELOG.md has a section of that version; every
// migration says what it is for, and UPGRADING.md in the archive lists that; only files of git are in it, besides what
// was built. `--draft` makes one of an unfinished version, with "Unreleased" as its section.

import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, sep } from 'node:path'

import { build } from './build.js'
import { readArguments, typedPath } from './commands.js'
import { BUILD_DIR, isProgram, MIGRATIONS_DIR, PREBUILT, ROOT, VERSION } from './paths.js'
import { exitWith, Refusal, say } from './progress.js'
import { packagesArrived } from './toolchain.js'

/** What goes into the archive, of git's files. Cargo.lock: set-up takes versions of tools from it. */
const PARTS = [
  'scripts/',
  'migrations/',
  'docs/',
  'packages/client/',
  'src/domain/variables.json',
  'wrangler.toml',
  'package.json',
  'package-lock.json',
]
const DOCUMENTS = ['Cargo.lock', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'LICENSE', '.dev.vars.example']
/** The npm scripts that work without the sources. */
const SCRIPTS = ['serve', 'admin', 'backup', 'restore', 'import', 'studio', 'listen', 'setup']

/** The packages that run the service; those that they need come with them. */
const RUN_BY = ['miniflare', 'wrangler', 'node']

/** The section of a version. @param {string} changelog @param {string} heading */
function sectionOf(changelog, heading) {
  const section = changelog.split(/^## /m).find((part) => part.split('\n')[0].trim() === heading)
  if (!section?.split('\n').slice(1).join('').trim())
    throw new Refusal(`CHANGELOG.md has no section "## ${heading}" with any text. Say there what changes for people who run the service.`)
}

/** What each migration is for: the comment with which it begins. @returns {string} */
export function upgradeNotes() {
  const notes = readdirSync(MIGRATIONS_DIR).sort().map((file) => {
    const lines = readFileSync(join(MIGRATIONS_DIR, file), 'utf8').split('\n')
    const end = lines.findIndex((line) => !line.startsWith('--'))
    if (end === 0) throw new Refusal(`migrations/${file} does not begin with a comment that says what it is for.`)
    return `## ${file}\n\n${lines.slice(0, end).map((line) => line.replace(/^-- ?/, '')).join('\n')}\n`
  })
  return `# Upgrading\n\nWhat each migration is for. A start applies those that a database lacks.\n\n${notes.join('\n')}`
}

/** @param {boolean} isDraft */
function check(isDraft) {
  const cargo = readFileSync(join(ROOT, 'Cargo.toml'), 'utf8').match(/^version = "([^"]+)"/m)?.[1]
  if (cargo !== VERSION) throw new Refusal(`package.json has the version ${VERSION}, and Cargo.toml ${cargo}.`)
  sectionOf(readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8'), isDraft ? 'Unreleased' : VERSION)
  if (isDraft) return
  const changed = execFileSync('git', ['status', '--porcelain'], { cwd: ROOT, encoding: 'utf8' }).trim()
  if (changed) throw new Refusal(`There are changes that are not committed:\n${changed}`)
}

/** @param {string} folder to fill */
function fill(folder) {
  const all = execFileSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' }).split('\0').filter(Boolean)
  const wanted = all.filter((path) => DOCUMENTS.includes(path) || PARTS.some((part) => path === part || (part.endsWith('/') && path.startsWith(part))))
  for (const path of wanted) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    cpSync(join(ROOT, path), join(folder, path))
  }
  cpSync(BUILD_DIR, join(folder, 'build'), { recursive: true })
  writeFileSync(join(folder, 'build', PREBUILT), `${VERSION}\n`)
  writeFileSync(join(folder, 'UPGRADING.md'), upgradeNotes())
  const described = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  described.scripts = Object.fromEntries(Object.entries(described.scripts).filter(([name]) => SCRIPTS.includes(name)))
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(described, undefined, 2)}\n`)
}

/** The folders of the packages that run the service on this machine, as package-lock.json has them. @returns {Set<string>} */
function packagesToRun() {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'))
  // Node's way of finding a package: in the folder of who needs it, then in those around that.
  const found = (/** @type {string} */ from, /** @type {string} */ name) => {
    for (let around = from; ; around = around.slice(0, Math.max(0, around.lastIndexOf('/node_modules/')))) {
      const path = `${around && `${around}/`}node_modules/${name}`
      if (packages[path]) return path
      if (!around) return undefined
    }
  }
  const wanted = new Set()
  const next = RUN_BY.map((name) => `node_modules/${name}`)
  for (let path = next.pop(); path; path = next.pop()) {
    // Packages of other platforms are not installed.
    if (wanted.has(path) || !existsSync(join(ROOT, path))) continue
    wanted.add(path)
    const { dependencies, optionalDependencies } = packages[path]
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) next.push(found(path, name) ?? '')
  }
  return wanted
}

/** @param {string} folder whose other files are there */
function addPackages(folder) {
  const wanted = packagesToRun()
  const isNested = (/** @type {string} */ from, /** @type {string} */ root) => relative(root, from).split(sep).includes('node_modules')
  for (const path of wanted) {
    const root = join(ROOT, path)
    cpSync(root, join(folder, path), { recursive: true, verbatimSymlinks: true, filter: (from) => !isNested(from, root) })
  }
  const programs = join('node_modules', '.bin')
  for (const name of readdirSync(join(ROOT, programs))) {
    const target = relative(ROOT, realpathSync(join(ROOT, programs, name))).split(sep).join('/')
    if ([...wanted].some((path) => target.startsWith(`${path}/`)))
      cpSync(join(ROOT, programs, name), join(folder, programs, name), { verbatimSymlinks: true })
  }
  packagesArrived(folder)
}

async function release() {
  const { values } = readArguments('release')
  const out = typedPath(values.out, 'release')
  check(values.draft)
  await build()
  const platform = values['with-packages'] ? `-${process.platform}-${process.arch}` : ''
  const name = `colibri-edge-${VERSION}${values.draft ? '-draft' : ''}${platform}`
  const archive = join(out, `${name}.tar.gz`)
  if (existsSync(archive) && !values.draft) throw new Refusal(`There is ${archive} already. A version is released once.`)
  mkdirSync(out, { recursive: true })
  const staged = mkdtempSync(join(tmpdir(), 'colibri-release-'))
  try {
    fill(join(staged, name))
    if (values['with-packages']) addPackages(join(staged, name))
    execFileSync('tar', ['-czf', archive, '-C', staged, name])
  } finally {
    rmSync(staged, { recursive: true, force: true })
  }
  say(`${archive}: ${(statSync(archive).size / 1_000_000).toFixed(1)} MB`)
}

if (isProgram(import.meta.url)) release().catch(exitWith)
