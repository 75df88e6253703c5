// @ts-check
// `npm run release`: the archive starts with Node alone, in a folder where there are neither sources nor a compiler.

import assert from 'node:assert/strict'
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { atEnd, DEFAULT_ENV, eventually, freshFolder } from './harness.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** The archive, unpacked beside nothing, and an npm that "installs" links to the packages of this clone. @param {string[]} options */
async function unpacked(...options) {
  const out = freshFolder()
  await promisify(execFile)(process.execPath, [join(ROOT, 'scripts', 'release.js'), '--draft', '--out', out, ...options], { timeout: 240_000 })
  const [archive] = readdirSync(out)
  assert.match(archive, /^colibri-edge-\d+\.\d+\.\d+-draft(-\w+-\w+)?\.tar\.gz$/)
  execFileSync('tar', ['-xzf', join(out, archive), '-C', out])
  const root = join(out, archive.replace('.tar.gz', ''))
  const npm = join(out, 'npm.js')
  writeFileSync(
    npm,
    `const fs = require('node:fs')
    const from = ${JSON.stringify(join(ROOT, 'node_modules'))}
    fs.mkdirSync('node_modules', { recursive: true })
    for (const entry of fs.readdirSync(from))
      if (!['.stamp', '.installed-for-lock', '.cache'].includes(entry)) fs.symlinkSync(from + '/' + entry, 'node_modules/' + entry)`,
  )
  // Programs that a compiler would need are not on this PATH.
  const bin = join(out, 'bin')
  mkdirSync(bin)
  for (const program of ['sh', 'sleep', 'find', 'setpriv', 'ps']) {
    const path = ['/usr/bin', '/bin'].map((folder) => join(folder, program)).find((full) => existsIn(full))
    if (path) symlinkSync(path, join(bin, program))
  }
  return { root, env: { PATH: bin, npm_execpath: npm, npm_node_execpath: process.execPath, ...DEFAULT_ENV, AUTH_MODE: 'mixed' } }
}

function existsIn(/** @type {string} */ path) {
  try {
    return readFileSync(path).length > 0
  } catch {
    return false
  }
}

/** A network of its own, in which there is only the loopback: a program, and what comes before its name. */
const ALONE = ['unshare', '-rn', 'sh', '-c', 'ip link set lo up && exec "$0" "$@"']
const [UNSHARE, ...IN_ALONE] = ALONE
/** Whether this kernel lets this user have one, and its tools are here. */
const canBeAlone = spawnSync(UNSHARE, [...IN_ALONE, 'nsenter', '--version']).status === 0

/** Asks a service from inside its network: its interfaces, and the status of each address. */
const ASK = `const [url, ...paths] = process.argv.slice(1)
  const statuses = await Promise.all(paths.map(async (path) => (await fetch(url + path)).status))
  console.log(JSON.stringify({ interfaces: Object.keys(os.networkInterfaces()), statuses }))`

/**
 * Starts what was unpacked, asks it, and ends it.
 * @param {string} root @param {string} node @param {Record<string, string>} env @param {boolean} [isAlone] without any network
 */
async function serves(root, node, env, isAlone = false) {
  const command = [node, join(root, 'scripts', 'run.js'), 'serve', '--port', '0', '--state', join(root, 'state')]
  const [program, ...args] = isAlone ? [...ALONE, 'env', `PATH=${env.PATH}`, ...command] : command
  const child = spawn(program, args, {
    cwd: root,
    detached: true,
    env: { ...env, COLIBRI_END_WITH_PARENT: '1', ...(isAlone && { PATH: process.env.PATH }) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [printed, log] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => (printed += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (log += text))
  const ended = new Promise((resolve) => child.once('exit', resolve))
  atEnd(async () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid, 'SIGKILL')
    await ended
  })
  await eventually(() => printed.includes('ready') || child.exitCode !== null, { timeout: 60_000, what: 'the service' })
  const url = printed.match(/^ready (\S+)$/m)?.[1]
  assert(url, log)
  assert(!/older than the sources/.test(log), log)
  const ask = [process.execPath, '--input-type=module', '-e', `import os from 'node:os'\n${ASK}`, url, '/api/server', '/console']
  const inside = ['nsenter', '--preserve-credentials', '-U', '-n', '-t', String(child.pid)]
  const [asking, ...asked] = isAlone ? [...inside, ...ask] : ask
  const { stdout } = await promisify(execFile)(asking, asked)
  const { interfaces, statuses } = JSON.parse(stdout)
  assert.deepEqual(statuses, [200, 200])
  if (isAlone) assert.deepEqual(interfaces, ['lo'])
  child.kill('SIGTERM')
  assert.equal(await ended, 0)
}

test('the archive serves, with its pages and all migrations, and says what each migration is for', async () => {
  const { root, env } = await unpacked()
  assert(!readdirSync(root).includes('durable') && !readdirSync(join(root, 'src')).includes('api'), 'no sources')
  const notes = readFileSync(join(root, 'UPGRADING.md'), 'utf8')
  for (const file of readdirSync(join(root, 'migrations'))) assert(notes.includes(`## ${file}\n`), file)
  await serves(root, process.execPath, env)
})

test('the archive with packages serves with its own Node, without npm, without any other program and without a network', async (t) => {
  const { root, env } = await unpacked('--with-packages')
  const { npm_execpath: _, npm_node_execpath: __, ...rest } = env
  const folders = readdirSync(join(root, 'node_modules'))
  for (const name of ['typescript', 'playwright-core', 'axe-core']) assert(!folders.includes(name), `${name} serves nobody`)
  t.diagnostic(canBeAlone ? 'it runs where there is only the loopback' : 'this user may have no network of their own: the network is there, unused or not')
  await serves(root, join(root, 'node_modules', 'node', 'bin', 'node'), rest, canBeAlone)
})

test('a version that CHANGELOG.md does not name is not released', async (t) => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const changelog = readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8')
  const args = [join(ROOT, 'scripts', 'release.js'), '--out', freshFolder()]
  if (changelog.includes(`\n## ${version}\n`)) return t.skip('this version is ready to be released')
  await assert.rejects(promisify(execFile)(process.execPath, args), (/** @type {any} */ { code, stderr }) => {
    assert.deepEqual([code, stderr.trim().split('\n').length], [1, 1], stderr)
    return stderr.includes(`CHANGELOG.md has no section "## ${version}"`)
  })
})
