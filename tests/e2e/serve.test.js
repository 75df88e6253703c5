// @ts-check
// `npm run serve` keeps the promises of scripts/serve.js, with a Worker that only shows its inputs.

import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { ServiceLog } from '../../scripts/log.js'
import { birthOf } from '../../scripts/state.js'
import { atEnd, eventually, freePort, freshFolder, startService } from './harness.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PROBE = fileURLToPath(new URL('./fixtures/probe', import.meta.url))
const config = join(PROBE, 'wrangler.toml')

const workerdOf = (service) => Number(readFileSync(join(service.state, 'serve', 'workerd.pid'), 'utf8').split(' ')[0])
const lives = (pid) => birthOf(pid) !== undefined
const body = async (service, path) => (await service.fetchJson(path)).body

/** A service that runs the fixture, for one test. */
async function probe(t, options = {}) {
  const service = await startService({ config, ...options })
  t.after(() => service.kill9())
  return service
}

/** Runs serve to its end: for starts that are refused. */
const refused = (args, env = {}) =>
  promisify(execFile)(process.execPath, [join(ROOT, 'scripts', 'serve.js'), ...args], {
    timeout: 20_000,
    env: { ...process.env, ...env },
  }).then(
    () => assert.fail('serve ended without a failure'),
    ({ code, stderr }) => ({ code, stderr }),
  )

/** The TCP ports on 127.0.0.1 that a process listens on (Linux). */
function listeningPorts(pid) {
  const folder = `/proc/${pid}/fd`
  const sockets = new Set()
  for (const fd of readdirSync(folder)) {
    try {
      sockets.add(readlinkSync(`${folder}/${fd}`).match(/^socket:\[(\d+)\]$/)?.[1])
    } catch {} // closed meanwhile
  }
  const rows = readFileSync(`/proc/${pid}/net/tcp`, 'utf8').trim().split('\n').slice(1)
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, , , status, , , , , , inode]) => status === '0A' && sockets.has(inode))
    .map(([, local]) => parseInt(local.split(':')[1], 16))
}

/** The Worker of the fixture in its own folder, to whose migrations a test may add. */
function copyOfProbe() {
  const folder = freshFolder()
  cpSync(PROBE, folder, { recursive: true })
  return {
    config: join(folder, 'wrangler.toml'),
    addMigration: (name, sql) => writeFileSync(join(folder, 'migrations', name), sql),
  }
}

/** wrangler's own view of a state folder. */
async function wrangler(configPath, state, ...args) {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      join(ROOT, 'node_modules/wrangler/bin/wrangler.js'),
      'd1',
      ...args,
      '--local',
      '--persist-to',
      state,
      '--config',
      configPath,
    ],
    { env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: 'true', NO_COLOR: '1' } },
  )
  return stdout
}

/** For what the system must have: a loader that can preload a library, and /proc. */
const onLinux = { skip: process.platform !== 'linux' && 'Linux only' }

/** Started first and checked last: the minute that the cron needs passes while the other tests run. */
const cronService = startService({ config })

test('variables and secrets come from the environment, which wins over wrangler.toml', async (t) => {
  const service = await probe(t, { env: { LOG_LEVEL: 'debug', INVITE_API_KEY: 'key', LEASE_MS: '1' } })
  const env = await body(service, '/env')
  assert.equal(env.GREETING, 'from wrangler.toml')
  assert.equal(env.LOG_LEVEL, 'debug', 'the environment wins')
  assert.equal(env.INVITE_API_KEY, 'key', 'secrets are taken')
  assert.equal(env.LEASE_MS, '1', 'a variable of the service that wrangler.toml does not name')
  assert.equal(env.PATH, undefined, 'nothing else leaks in')
})

test('.dev.vars, which belongs to wrangler dev, changes nothing', async (t) => {
  const copy = copyOfProbe()
  writeFileSync(join(dirname(copy.config), '.dev.vars'), 'GREETING=from .dev.vars\nINVITE_API_KEY=key\n')
  const env = await body(await probe(t, { config: copy.config }), '/env')
  assert.equal(env.GREETING, 'from wrangler.toml')
  assert.equal(env.INVITE_API_KEY, undefined)
})

test('requests reach the Worker as they were sent', async (t) => {
  const service = await probe(t)
  const { body: plain } = await service.fetchJson('/peer', { headers: { 'MF-CF-Blob': '{"clientIp":"6.6.6.6:1"}' } })
  assert.match(plain.clientIp, /^127\.0\.0\.1:\d+$/, "the peer's address, not what a header claims")
  assert.equal(plain.headers['mf-cf-blob'], '{"clientIp":"6.6.6.6:1"}')
  const head = await service.fetch('/peer', { method: 'HEAD' })
  assert.equal(head.status, 200)
  assert.equal(await head.text(), '')
  const socket = await service.connect('/echo')
  socket.send({ hello: 'world' })
  assert.deepEqual(await socket.next(), { hello: 'world' })
  await socket.close()
})

test('the Worker may fetch from this machine, and its log is plain text on stderr', async (t) => {
  const server = createServer((_, response) => response.end('neighbour')).listen(0, '127.0.0.1')
  atEnd(() => server.close())
  await once(server, 'listening')
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  const service = await probe(t)
  const answer = await service.fetch(`/fetch?url=${encodeURIComponent(`http://127.0.0.1:${port}/`)}`)
  assert.equal(await answer.text(), 'neighbour')
  await service.fetch('/log')
  await eventually(() => /^\S+Z \{"level":"info","message":"a line of the Worker"\}$/m.test(service.logs()), {
    what: 'the logged line',
  })
})

test('SIGTERM ends it with code 0 and leaves nothing behind', async (t) => {
  const service = await probe(t)
  const workerd = workerdOf(service)
  const socket = await service.connect('/echo')
  const askedAt = Date.now()
  assert.equal(await service.stop(), 0)
  assert(Date.now() - askedAt < 3_000, 'within three seconds, with a socket open')
  await socket.closed
  await eventually(() => !lives(workerd), { what: 'the end of workerd' })
})

test('kill -9 of the whole group loses nothing that was committed, in D1 and in objects', async (t) => {
  const service = await probe(t)
  // The cron of each start writes to the same store, sooner or later.
  const kept = async (path) => (await body(service, path)).filter((entry) => entry.startsWith('kept'))
  for (let round = 1; round <= 3; round++) {
    assert.equal((await body(service, `/notes?add=note-${round}`)).length, round)
    assert.equal((await kept(`/box?keep=kept-${round}`)).length, round)
    await service.kill9()
    await service.start()
  }
  assert.deepEqual(await body(service, '/notes'), ['note-1', 'note-2', 'note-3'])
  assert.deepEqual(await kept('/box'), ['kept-1', 'kept-2', 'kept-3'])
})

test('kill -9 of serve alone takes workerd along, and the same folder and port serve again', async (t) => {
  const service = await probe(t)
  await body(service, '/notes?add=before')
  const workerd = workerdOf(service)
  process.kill(service.pid, 'SIGKILL')
  await service.exited
  await eventually(() => !lives(workerd), { timeout: 3_000, what: 'the end of workerd' })
  await service.start()
  assert.deepEqual(await body(service, '/notes'), ['before'])
})

test('a workerd left behind by an earlier serve is ended; a stranger with a recycled number is not', async (t) => {
  const service = await probe(t)
  await service.stop()
  const stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
  atEnd(() => stranger.kill('SIGKILL'))
  const birth = birthOf(stranger.pid)
  writeFileSync(join(service.state, 'serve', 'workerd.pid'), `${stranger.pid} another${birth}\n`)
  await service.start()
  assert(lives(stranger.pid), 'same number, other birth')
  await service.stop()
  writeFileSync(join(service.state, 'serve', 'workerd.pid'), `${stranger.pid} ${birth}\n`)
  await service.start()
  await eventually(() => !lives(stranger.pid), { what: 'the end of the recorded process' })
})

test('a workerd that dies is started again, with an empty cache', async (t) => {
  const service = await probe(t)
  await body(service, '/notes?add=before')
  assert.equal(await body(service, '/cached?put='), true)
  process.kill(workerdOf(service), 'SIGKILL')
  await eventually(async () => (await body(service, '/notes')).length === 1, { what: 'the new workerd' })
  await eventually(() => service.logs().includes('workerd runs again'), { what: 'the notice' })
  assert.equal(await body(service, '/cached'), false, 'R21.10')
  assert.equal(await body(service, '/cached?put='), true, 'and it is kept as before')
  assert(service.alive)
})

test('a workerd that dies again and again is started again, later each time, also one that dies before it runs', async (t) => {
  const service = await probe(t)
  await body(service, '/notes?add=before')
  for (let death = 1; death <= 6; death++) {
    const workerd = workerdOf(service)
    process.kill(workerd, 'SIGKILL')
    // Not until it answers: the later ones die while they wait for their start.
    await eventually(() => workerdOf(service) !== workerd && lives(workerdOf(service)), { what: 'the next one', timeout: 100_000 })
  }
  assert(service.alive)
  for (const pause of [1, 2, 4]) assert.match(service.logs(), new RegExp(`starting it again in ${pause} s`))
  assert.deepEqual(await eventually(() => body(service, '/notes'), { what: 'the service' }), ['before'])
  assert.equal(await service.stop(), 0)
})

test('the secret of tokens is made at the first start, for its owner alone, and stays', async (t) => {
  const service = await probe(t)
  const { TOKEN_SECRET: secret } = await body(service, '/env')
  assert.match(secret, /^[\w-]{43}$/, '32 bytes')
  assert.equal(statSync(join(service.state, 'serve', 'token-secret')).mode & 0o777, 0o600)
  await service.restart()
  assert.equal((await body(service, '/env')).TOKEN_SECRET, secret)
  const other = await probe(t)
  assert.notEqual((await body(other, '/env')).TOKEN_SECRET, secret, 'each folder has its own')
  const given = await probe(t, { env: { TOKEN_SECRET: 'given by the operator' } })
  assert.equal((await body(given, '/env')).TOKEN_SECRET, 'given by the operator')
})

test('C25: a short key is refused in one sentence, unless the stream is on this machine', async (t) => {
  for (const [name, key] of [['INVITE_API_KEY', 'hunter2'], ['TOKEN_SECRET', '123456789012345']]) {
    const env = { JETSTREAM_URL: 'wss://jetstream.example.com/subscribe', [name]: key }
    const { code, stderr } = await refused(['--config', config, '--state', freshFolder(), '--port', '0'], env)
    assert.equal(code, 1)
    assert.match(stderr, new RegExp(`${name} has ${key.length} characters, which is found by trying`))
    assert(!stderr.includes(key) && !/^\s+at /m.test(stderr), 'neither the key nor a stack')
  }
  const service = await probe(t, { env: { INVITE_API_KEY: 'k' } })
  assert.match(service.logs(), /note: INVITE_API_KEY is shorter/)
})

test("miniflare's own port serves nobody who does not know the secret of this start", onLinux, async (t) => {
  const service = await probe(t)
  const crons = async () => (await body(service, '/box')).filter((entry) => entry === 'cron * * * * *').length
  await eventually(async () => (await crons()) === 1, { what: 'the cron of the start' })
  const ports = listeningPorts(workerdOf(service)).filter((port) => port !== service.port)
  assert(ports.length > 0, 'there is such a port')
  for (const port of ports)
    for (const path of ['/cdn-cgi/local/scheduled?cron=*+*+*+*+*', '/cdn-cgi/handler/scheduled', '/cron?cron=*+*+*+*+*', '/env'])
      for (const headers of [{}, { 'gate-secret': 'guessed' }]) {
        const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers })
        assert.notEqual(answer.status, 200, `${port} ${path}`)
        await answer.arrayBuffer()
      }
  assert.equal(await crons(), 1, 'nothing fired')
})

/** A connection that sends `text`, and what it received until it was closed. */
function raw(service, text) {
  const socket = connect(service.port, '127.0.0.1', () => socket.write(text))
  let received = ''
  socket.setEncoding('utf8').on('data', (piece) => (received += piece))
  socket.on('error', () => {})
  const closed = new Promise((resolve) => socket.once('close', () => resolve(received)))
  return { socket, closed, received: () => received }
}

const HEAD = 'GET / HTTP/1.1\r\nHost: a\r\n'

test('C26: silent connections are closed after ten seconds; who asks meanwhile is answered', onLinux, async (t) => {
  const service = await probe(t)
  const openedAt = Date.now()
  const silent = Array.from({ length: 500 }, (_, n) => raw(service, n % 2 ? '' : HEAD))
  const socket = await service.connect('/echo')
  const slow = raw(service, HEAD)
  assert.equal((await service.fetch('/')).status, 200)
  await Promise.all(silent.map(({ closed }) => closed))
  const took = Date.now() - openedAt
  assert(took > 9_000 && took < 14_500, `${took} ms; without the rule it would be the runtime's 15 s`)
  await slow.closed
  socket.send({ still: 'here' })
  assert.deepEqual(await socket.next(), { still: 'here' }, 'who has asked may be silent')
  await socket.close()
})

test('C26: more connections than there may be take the place of silent ones, and end nothing else', onLinux, async (t) => {
  const service = await probe(t, { env: { MAX_CONNECTIONS: '40' } })
  const workerd = workerdOf(service)
  const socket = await service.connect('/echo')
  for (let round = 0; round < 3; round++) {
    const flood = Array.from({ length: 400 }, () => raw(service, HEAD))
    await Promise.all(flood.slice(0, 350).map(({ closed }) => closed))
    assert.equal((await service.fetch('/', { headers: { connection: 'close' } })).status, 200, 'an honest one comes in')
    assert(readdirSync(`/proc/${workerd}/fd`).length < 250, 'descriptors are bounded')
    for (const one of flood) one.socket.destroy()
  }
  socket.send({ still: 'here' })
  assert.deepEqual(await socket.next(), { still: 'here' })
  assert.equal(workerdOf(service), workerd, 'it never ended')
  // All of them sent a request: then new connections are closed, until some close.
  const held = []
  while (held.length < 39) held.push(await service.connect('/echo'))
  await assert.rejects(service.connect('/echo'))
  await held.pop().close()
  await eventually(() => service.connect('/echo'), { what: 'the place that became free' })
})

test('odd methods, hosts and addresses get an answer, and the log no exception', onLinux, async (t) => {
  const service = await probe(t)
  const end = 'Host: a\r\nConnection: close\r\n\r\n'
  for (const [request, expected] of [
    [`CONNECT example.com:443 HTTP/1.1\r\n${end}`, 405],
    [`CONNECT / HTTP/1.1\r\n${end}`, 405],
    [`FOO / HTTP/1.1\r\n${end}`, 405],
    [`get / HTTP/1.1\r\n${end}`, 405],
    [`TRACE / HTTP/1.1\r\n${end}`, 200],
    [`GET http://elsewhere.example/ HTTP/1.1\r\n${end}`, 200],
    ['GET / HTTP/1.0\r\n\r\n', 400],
    ['GET / HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
    [`GET /?${'a'.repeat(600_000)} HTTP/1.1\r\n${end}`, 431],
    [`GET / HTTP/1.1\r\n${'X: y\r\n'.repeat(50_000)}${end}`, 431],
    ['\u0001\u0002\r\n\r\n', 400],
  ]) {
    const answer = await raw(service, request).closed
    assert.equal(Number(answer.split(' ')[1]), expected, `${String(request).slice(0, 60)}: ${answer.slice(0, 200)}`)
    if (expected === 405) assert.equal(JSON.parse(answer.split('\r\n\r\n')[1]).error, 'MethodNotAllowed')
  }
  const second = raw(service, `${HEAD}\r\n`)
  await eventually(() => second.received().includes('200 OK'), { what: 'the first answer' })
  second.socket.write(`CONNECT example.com:443 HTTP/1.1\r\n${end}`)
  assert.match(await second.closed, /HTTP\/1\.1 405 /, 'also on a connection that has asked before')
  const tunnel = `CONNECT example.com:443 HTTP/1.1\r\n${end}`
  for (const before of [1, 3]) {
    const answers = (await raw(service, `${`${HEAD}\r\n`.repeat(before)}${tunnel}`).closed).match(/HTTP\/1\.1 \d+/g)
    assert.deepEqual(answers, [...Array(before).fill('HTTP/1.1 200'), 'HTTP/1.1 405'], 'in the packet of others, after their answers')
  }
  assert.deepEqual(
    service.logs().split('\n').filter((line) => /exception|connect event/i.test(line)).map((line) => line.slice(0, 300)),
    [],
  )
})

test('a second serve on the same folder is refused, with the name of the first', async (t) => {
  const service = await probe(t)
  const { code, stderr } = await refused(['--config', config, '--state', service.state, '--port', String(await freePort())])
  assert.equal(code, 1)
  assert.match(stderr, new RegExp(`in use by another service \\(process ${service.pid}, ${service.url}\\)`))
  assert.equal((await service.fetch('/')).status, 200, 'the first is not disturbed')
})

test('a port that is taken is refused in plain words', async (t) => {
  const service = await probe(t)
  const { code, stderr } = await refused(['--config', config, '--state', freshFolder(), '--port', String(service.port)])
  assert.equal(code, 1)
  assert.match(stderr, new RegExp(`Port ${service.port} of 127\\.0\\.0\\.1 is taken`))
  assert.doesNotMatch(stderr, /^\s+at /m, 'no stack trace')
})

test('migrations are applied once, new ones at the next start, and wrangler agrees about it', async (t) => {
  const copy = copyOfProbe()
  const service = await probe(t, { config: copy.config })
  assert.match(service.logs(), /applied migration 0001_notes\.sql/)
  await body(service, '/notes?add=kept')
  copy.addMigration('0002_notes_by_text.sql', 'CREATE INDEX notes_by_text ON notes (text);\n')
  await service.restart()
  assert.equal(service.logs().match(/applied migration 0001/g).length, 1)
  assert.equal(service.logs().match(/applied migration 0002/g).length, 1)
  assert.deepEqual(await body(service, '/notes'), ['kept'])

  const rows = await wrangler(copy.config, service.state, 'execute', 'DB', '--json', '--command', 'SELECT text FROM notes')
  assert.deepEqual(JSON.parse(rows)[0].results, [{ text: 'kept' }], 'the same database, read while the service runs')
  assert.match(await wrangler(copy.config, service.state, 'migrations', 'list', 'DB'), /No migrations to apply/)
})

test('npm run studio shows the database of a folder, while no service has it', async (t) => {
  const service = await startService()
  t.after(() => service.kill9())
  const script = join(ROOT, 'scripts', 'studio.js')
  const run = (/** @type {string} */ state) => promisify(execFile)(process.execPath, [script, '--state', state], { timeout: 20_000 })
  const stopped = (/** @type {any} */ { code, stderr }) => ({ code, stderr })
  const taken = await run(service.state).then(() => assert.fail('it started'), stopped)
  assert.match(taken.stderr, /in use by another service.*\n.*two programs must not write one database/)
  const empty = await run(freshFolder()).then(() => assert.fail('it started'), stopped)
  assert.match(empty.stderr, /^\nThere is no database in \S+\. Name the folder of a service: --state DIR\n$/)
  await service.stop()
  const child = spawn(process.execPath, [script, '--state', service.state], { stdio: ['ignore', 'pipe', 'ignore'] })
  atEnd(() => child.kill('SIGKILL'))
  let printed = ''
  child.stdout.setEncoding('utf8').on('data', (text) => (printed += text))
  const url = await eventually(() => printed.match(/^ready (\S+)$/m)?.[1], { what: 'the explorer' })
  const page = await fetch(url)
  assert.deepEqual([page.status, /<title>[^<]*Explorer/.test(await page.text())], [200, true])
  const { result } = await (await fetch(`${url}/api/d1/database`)).json()
  const query = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"sql":"SELECT name, owner FROM community_overview"}' }
  const answer = await fetch(`${url}/api/d1/database/${result[0].uuid}/raw`, query)
  assert.equal((await answer.json()).success, true)
  child.kill('SIGTERM')
  const [code] = await once(child, 'exit')
  assert.equal(code, 0)
  await service.start()
})

test('a database that a newer version made is refused, and is not touched', async (t) => {
  const copy = copyOfProbe()
  copy.addMigration('0009_later.sql', 'CREATE TABLE later (id INTEGER);\n')
  const service = await probe(t, { config: copy.config })
  await service.stop()
  const { code, stderr } = await refused(['--config', config, '--state', service.state, '--port', '0'])
  assert.equal(code, 1)
  assert.match(stderr, /was made by a newer version: it has the migration 0009_later\.sql, and this program knows none after 0001_notes\.sql/)
  assert.doesNotMatch(stderr, /^\s+at /m)
  await service.start()
})

test('every line of the log begins with its time; a stack that comes again is not shown again', async (t) => {
  let now = Date.parse('2026-03-01T12:00:00Z')
  let said = ''
  const log = new ServiceLog((text) => (said += text), () => now)
  const stack = (/** @type {number} */ n) => `e = failed: no such host\nstack: workerd@3fdf${n} workerd@3fde${n}; wdErrId = a${n}b`
  for (let n = 0; n < 3; n++) log.onLog(stack(n))
  log.say('{"time":"2026-03-01T11:59:59.000Z","level":"warn"}')
  now += 61_000
  log.onLog(stack(4))
  assert.deepEqual(said.split('\n'), [
    `2026-03-01T12:00:00.000Z ${stack(0).split('\n')[0]}`,
    stack(0).split('\n')[1],
    '{"time":"2026-03-01T11:59:59.000Z","level":"warn"}',
    '2026-03-01T12:01:01.000Z e = failed: no such host (and 2 times more in the last minute)',
    '',
  ])
  const service = await probe(t)
  await service.fetch('/log')
  await eventually(() => service.logs().includes('a line of the Worker'), { what: 'the logged line' })
  const untimed = service.logs().trim().split('\n').filter((line) => !/^(\d{4}-\d\d-\d\dT[\d:.]+Z |\{"time":")/.test(line))
  assert.deepEqual(untimed, [])
})

test('a migration that fails changes nothing and stops the start', async (t) => {
  const copy = copyOfProbe()
  const service = await probe(t, { config: copy.config })
  await service.stop()
  copy.addMigration('0002_broken.sql', 'CREATE TABLE half (id INTEGER);\nINSERT INTO nowhere VALUES (1);\n')
  await assert.rejects(service.start(), /Migration 0002_broken\.sql failed and changed nothing: .*no such table: nowhere/)
  copy.addMigration('0002_broken.sql', 'CREATE TABLE half (id INTEGER);\n')
  await service.start()
})

test('kill -9 of npm ends what it started', async (t) => {
  const state = freshFolder()
  const port = await freePort()
  const npm = spawn('npm', ['run', 'serve', '--', '--config', config, '--state', state, '--port', String(port)], {
    cwd: ROOT,
    detached: true,
    stdio: 'ignore',
  })
  t.after(() => npm.kill('SIGKILL'))
  await eventually(() => fetch(`http://127.0.0.1:${port}/`), { timeout: 20_000, what: 'the service under npm' })
  // The runtime may answer a moment before serve has written its file.
  const service = () => JSON.parse(readFileSync(join(state, 'serve', 'service.json'), 'utf8'))
  const { pid: serve } = await eventually(service, { what: 'the name of the service' })
  npm.kill('SIGKILL')
  await eventually(() => !lives(serve), { what: 'the end of serve' })
  // The same folder and port are free again: no process was left behind that holds either.
  await eventually(
    () =>
      fetch(`http://127.0.0.1:${port}/`).then(
        () => false,
        () => true,
      ),
    { what: 'the end of the service' },
  )
  await probe(t, { state, port })
})

test('the cron fires at the start and at the full minute, and may log more than a pipe holds', { timeout: 90_000 }, async () => {
  const fired = async () => (await body(await cronService, '/box')).filter((entry) => entry === 'cron * * * * *').length
  await eventually(async () => (await fired()) >= 2, { timeout: 70_000, what: 'the second cron' })
})
