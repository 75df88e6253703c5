// `npm run load`: it counts what its clients receive, keeps to its bounds, and talks to no other machine unasked.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { node24 } from '../../scripts/node24.js'
import { answers, garden, openPlace } from './place.js'

const LOAD = fileURLToPath(new URL('../bench/load.js', import.meta.url))

/** Runs the command. @param {string[]} args @param {Record<string, string>} [env] */
async function load(args, env = {}) {
  const child = spawn(node24(), [LOAD, ...args], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const said = { stdout: '', stderr: '' }
  for (const stream of /** @type {const} */ (['stdout', 'stderr'])) child[stream].setEncoding('utf8').on('data', (text) => (said[stream] += text))
  const [code] = await once(child, 'close')
  return { code, ...said }
}

let place, world
before(async () => {
  place = await openPlace()
  world = await garden(place)
  await answers(place.service, `/api/members?community=${world.community.uri}`, 200, (rows) => rows.length === 2)
  await answers(place.service, `/api/identity?id=${world.bob.did}`, 200, ({ pds }) => pds !== null)
})

test('it refuses another machine, and more than its bounds, in a sentence', async () => {
  for (const [args, expected] of [
    [['--url', 'https://chat.invalid'], /chat\.invalid is another machine\. Load only what is yours; if it is, add --elsewhere\./],
    [['--url', 'https://chat.invalid', '--elsewhere', '--sockets', '501'], /--sockets is at most 500 at another machine, not 501\./],
    [['--sockets', '10001'], /--sockets is at most 10000 here/],
    [['--minutes', '61'], /--minutes is at most 60 here/],
    [['--url', 'http://127.0.0.1:9'], /Name the community/],
  ]) {
    const { code, stdout, stderr } = await load(args)
    assert.equal(code, 1, args.join(' '))
    assert.match(stderr, expected)
    assert.equal(stdout, '')
  }
})

test('at a service of its own: everything is received once, also by clients that were cut', async () => {
  const { code, stdout, stderr } = await load(['--sockets', '300', '--rate', '5', '--minutes', '0.4', '--json'])
  assert.equal(code, 0, stderr)
  const result = JSON.parse(stdout)
  assert(result.sent > 60, `${result.sent} sent`)
  assert.deepEqual([result.ready, result.lost, result.doubled, result.resyncs, result.errors], [300, 0, 0, 0, []])
  assert.equal(result.received, result.sent * 300)
  assert(result.cuts >= 1, 'somebody was cut')
  assert(result.millis.p99 > 0 && result.memory.most > 0)
})

test('at a running service an account posts, and its clients count', async () => {
  const args = ['--url', place.service.url, '--community', world.community.uri, '--as', world.bob.did]
  const wrong = await load([...args, '--minutes', '0.05'], { LOAD_PASSWORD: '' })
  assert.match(wrong.stderr, /LOAD_PASSWORD/)
  const { code, stdout, stderr } = await load([...args, '--sockets', '10', '--rate', '3', '--minutes', '0.1', '--json'], { LOAD_PASSWORD: world.bob.password })
  assert.equal(code, 0, stderr)
  const { sent, received, lost, memory } = JSON.parse(stdout)
  assert(sent > 5)
  assert.deepEqual([received, lost, memory], [sent * 10, 0, undefined])
})
