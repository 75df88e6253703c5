// @ts-check
// Every npm script: explains itself, refuses in one sentence, and sets up what it needs in a bare clone.
//
// The clone has the files of this one and the built Worker, and no packages. Its npm is played: it "installs" links to
// the packages of this clone, and writes down that it was asked.

import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, relative } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

import { COMMANDS } from '../../scripts/commands.js'
import { atEnd, eventually, freshFolder } from './harness.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
const NOT_CLONED = ['.git', '.local', '.wrangler', 'node_modules', 'target']

/** What npm would run, in a clone. @param {string} name @param {string[]} args @param {{ root?: string, env?: Record<string, string>, options?: string[] }} [more] */
function run(name, args, { root = ROOT, env = {}, options = [] } = {}) {
  const all = [...options, join(root, 'scripts', 'run.js'), name, ...args]
  return /** @type {Promise<{ code: number, stdout: string, stderr: string }>} */ (
    new Promise((resolve) =>
      execFile(process.execPath, all, { cwd: root, timeout: 60_000, env: { ...process.env, ...env } }, (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
      ).stdin?.end(),
    )
  )
}

const lines = (/** @type {string} */ text) => text.trim().split('\n')

/** A clone without packages, and the npm that it is given. */
function bareClone() {
  const root = freshFolder()
  const inside = (/** @type {string} */ path) => !relative(ROOT, path).split('/').some((part) => NOT_CLONED.includes(part))
  cpSync(ROOT, root, { recursive: true, filter: inside })
  const npm = join(root, 'played-npm.js')
  const asked = join(root, 'asked.txt')
  writeFileSync(
    npm,
    `import fs from 'node:fs'
    const from = ${JSON.stringify(ROOT)} + process.cwd().slice(${root.length}) + '/node_modules'
    fs.appendFileSync(${JSON.stringify(asked)}, process.argv.slice(2).join(' ') + '\\n')
    fs.mkdirSync('node_modules', { recursive: true })
    for (const entry of fs.readdirSync(from))
      if (!['.stamp', '.installed-for-lock', '.cache'].includes(entry)) fs.symlinkSync(from + '/' + entry, 'node_modules/' + entry)`,
  )
  const env = { npm_execpath: npm, npm_node_execpath: process.execPath, CI: 'true' }
  return { root, env, asked: () => (existsSync(asked) ? lines(readFileSync(asked, 'utf8')) : []) }
}

test('every npm script is in the table of commands, and the other way round', () => {
  assert.deepEqual(Object.keys(scripts).sort(), Object.keys(COMMANDS).sort())
  for (const [name, line] of Object.entries(scripts)) assert.equal(line, `exec node scripts/run.js ${name}`)
})

test('every command explains itself, and refuses an option that it does not have in one sentence', async () => {
  for (const name of Object.keys(COMMANDS)) {
    const [help, unknown] = await Promise.all([run(name, ['--help']), run(name, ['--no-such-option'])])
    assert.equal(help.code, 0, `${name} --help: ${help.stderr}`)
    assert.match(help.stdout, /^Usage: npm /m, name)
    for (const option of Object.keys(COMMANDS[name].options ?? {})) assert.match(help.stdout, new RegExp(`--${option}\\b`), name)
    assert.equal(unknown.code, 1, name)
    assert.match(unknown.stderr.trim(), /^npm (run )?\S+ has no option --no-such-option\. See: npm (run )?\S+ -- --help$/)
  }
})

/** @param {{ code: number, stderr: string }} outcome @param {RegExp} expected */
function refused({ code, stderr }, expected) {
  assert.deepEqual([code, lines(stderr).length], [1, 1], stderr)
  assert.match(stderr.trim(), expected)
}

test('what a person must mend is one sentence, and comes before anything is set up or built', async (t) => {
  const file = join(freshFolder(), 'file')
  writeFileSync(file, '')
  const taken = createServer().listen(0, '127.0.0.1')
  t.after(() => taken.close())
  await eventually(() => taken.listening)
  const { port } = /** @type {import('node:net').AddressInfo} */ (taken.address())
  const isTaken = new RegExp(`^Port ${port} of 127\\.0\\.0\\.1 is taken by another program\\.`)
  const noMode = /^AUTH_MODE is verifed, which is none of mixed, verified, open\.$/
  const noFolder = /^The folder \S+ cannot keep the state: it, or a folder of its path, is a file\. Give --state a folder/
  const state = ['--state', freshFolder()]
  refused(await run('serve', ['--port', 'http']), /^--port must be a number from 0 to 65535, not http\./)
  refused(await run('serve', ['--port']), /^Option '--port <value>' argument missing\. See: /)
  refused(await run('serve', ['--config', '/none.toml']), /^There is no file \/none\.toml, which --config names\.$/)
  refused(await run('serve', ['words']), /^npm run serve takes no words\./)
  refused(await run('serve', ['--state', file]), noFolder)
  refused(await run('serve', ['--state', join(file, 'below')]), noFolder)
  refused(await run('serve', ['--state', '/proc/none']), /^The folder \/proc\/none cannot keep the state: .*may write\.$/)
  refused(await run('serve', [...state, '--port', String(port)]), isTaken)
  refused(await run('serve', state, { env: { AUTH_MODE: 'verifed' } }), noMode)
  refused(await run('soak', ['--minutes', 'ten']), /^--minutes must be a number above 0, not ten\./)
  const old = 'data:text/javascript,Object.defineProperty(process.versions,"node",{value:"16.20.0"})'
  refused(await run('listen', [], { options: ['--import', old] }), /^Node 20 or later is needed; this is 16\.20\.0\. Install/)
  const { root, env, asked } = bareClone()
  refused(await run('start', ['--port', String(port)], { root, env }), isTaken)
  refused(await run('start', [], { root, env: { ...env, AUTH_MODE: 'verifed' } }), noMode)
  assert.deepEqual(asked(), [])
})

test('in a bare clone, commands install their packages and then do their work', async () => {
  for (const [name, args, expected] of /** @type {[string, string[], RegExp][]} */ ([
    ['listen', [], /There is no demo yet\. Start it in another terminal: npm start$/],
    ['post', ['hello'], /There is no demo yet\. Start it in another terminal: npm start$/],
    ['replay', ['none.jsonl'], /There is no file \S+none\.jsonl\./],
    ['deploy', [], /Set it under \[vars\] in wrangler\.toml, for example: AUTH_MODE = "mixed"$/],
  ])) {
    const { root, env, asked } = bareClone()
    const { code, stderr } = await run(name, args, { root, env })
    assert.equal(code, 1, stderr)
    assert.match(stderr.trim(), expected)
    assert.match(stderr, /^\[1\/[12]\] installing the npm packages/m)
    assert(asked()[0].startsWith('install --no-save'), name)
  }
  const { root, env } = bareClone()
  const built = await run('build', [], { root, env })
  assert.equal(built.code, 0, built.stderr)
  assert.match(built.stdout, /^wasm: [\d,]+ kB, gzipped [\d,]+ kB$/m)
})

test('the packages that a command imports are those that its set-up installs', async () => {
  for (const [name, { script, needs }] of Object.entries(COMMANDS)) {
    if (!needs) continue
    const { metafile } = await build({
      entryPoints: [join(ROOT, script)],
      absWorkingDir: ROOT,
      bundle: true,
      packages: 'external',
      platform: 'node',
      format: 'esm',
      metafile: true,
      write: false,
      logLevel: 'silent',
    })
    const wanted = Object.entries(metafile.inputs).flatMap(([file, { imports }]) =>
      imports.filter(({ path, external }) => external && !path.startsWith('node:')).map(({ path }) => [file, path]),
    )
    for (const [file, wants] of wanted) {
      const ofNetwork = file.startsWith('tests/network/')
      assert(!ofNetwork || needs.network, `${name}: ${file} imports ${wants}, which belongs to the local network`)
      const folder = join(ROOT, ofNetwork ? 'tests/network' : '', 'node_modules', wants)
      assert(existsSync(folder), `${name}: ${file} imports ${wants}, which nothing installs`)
    }
  }
})

/** A command that stays, in a clone; its output and its end. @param {string} name @param {string[]} args @param {{ root: string, env: Record<string, string> }} clone */
function stays(name, args, { root, env }) {
  const child = spawn(process.execPath, [join(root, 'scripts', 'run.js'), name, ...args], {
    cwd: root,
    detached: true,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  const ended = new Promise((resolve) => child.once('exit', resolve))
  atEnd(async () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid, 'SIGKILL')
    await ended
  })
  return { output: () => output, ended, end: () => child.kill('SIGINT'), alive: () => child.exitCode === null }
}

test('npm start counts its steps truly, and every address and password that it prints is right', async () => {
  const demo = stays('start', ['--port', '0'], bareClone())
  await eventually(() => demo.output().includes('Ctrl-C stops everything') || !demo.alive(), { timeout: 60_000, what: 'the demo' })
  const printed = demo.output()
  const counted = [...printed.matchAll(/^\[(\d+)\/(\d+)\] /gm)].map(([, n, of]) => [Number(n), Number(of)])
  assert(counted.length >= 5, printed)
  assert.deepEqual(counted, counted.map((_, n) => [n + 1, counted.length]))
  const urls = [...printed.matchAll(/^ *(?:colibri-edge|reference|calls|health) +(http\S+)$/gm)].map(([, url]) => url)
  assert.equal(urls.length, 4, printed)
  for (const url of urls.slice(1)) assert.equal((await fetch(url)).status, 200, url)
  const [, pds] = printed.match(/^PDS +(http\S+)$/m)
  const accounts = [...printed.matchAll(/^ *account +(\S+), password (\S+)$/gm)]
  assert.deepEqual(accounts.map(([, handle]) => handle), ['alice.test', 'bob.test'])
  for (const [, identifier, password] of accounts) {
    const body = JSON.stringify({ identifier, password })
    const headers = { 'content-type': 'application/json' }
    assert.equal((await fetch(`${pds}/xrpc/com.atproto.server.createSession`, { method: 'POST', headers, body })).status, 200)
  }
  demo.end()
  assert.equal(await demo.ended, 0)
})

test('npm run dev serves a bare clone at the first try', async () => {
  const dev = stays('dev', ['--port', '0'], bareClone())
  const url = () => dev.output().match(/Ready on (http\S+)/)?.[1]
  await eventually(() => url() || !dev.alive(), { timeout: 60_000, what: 'wrangler' })
  assert.equal((await fetch(`${url()}/api/server`)).status, 200, dev.output())
})
