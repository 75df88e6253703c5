// @ts-check
// schemathesis against /openapi.json of a running service, with all its checks: the service does what the document
// says, whatever it is sent. It accepts well-formed requests, refuses others with a status and body from the document,
// and sequences of requests are consistent.
//
// SCHEMATHESIS_EXAMPLES (20): test cases per operation and phase. SCHEMATHESIS_SEED (1): other cases. Skipped where it
// cannot be installed; with CI=true that is a failure, unless there is no Python at all.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { freshFolder } from '../e2e/harness.js'
import { schemathesis } from './install.js'
import { KEY, openWorld } from './world.js'

const here = (name) => fileURLToPath(new URL(name, import.meta.url))
const EXAMPLES = process.env.SCHEMATHESIS_EXAMPLES ?? '20'
const SEED = process.env.SCHEMATHESIS_SEED ?? '1'

test('the service does what its document says', { timeout: 1_800_000 }, async (t) => {
  const tool = await schemathesis()
  if ('missing' in tool) {
    assert(!(process.env.CI === 'true' && tool.python), tool.missing)
    return t.skip(tool.missing)
  }
  const { service, host } = await openWorld()
  const folder = freshFolder()
  const counted = join(folder, 'answers.json')
  const run = spawn(
    tool.program,
    // prettier-ignore
    [
      '--config-file', here('schemathesis.toml'), 'run', `${service.url}/openapi.json`,
      '--header', `Authorization: Bearer ${KEY}`, '--max-examples', EXAMPLES, '--seed', SEED, '--checks', 'all',
    ],
    {
      cwd: folder,
      env: { ...process.env, HOST_URL: host, SCHEMATHESIS_HOOKS: here('hooks.py'), ANSWERS_FILE: counted, NO_COLOR: '1', PYTHONDONTWRITEBYTECODE: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  t.after(() => run.kill())
  let said = ''
  for (const stream of [run.stdout, run.stderr])
    stream.setEncoding('utf8').on('data', (text) => {
      said += text
    })
  const [code] = await once(run, 'close')
  const [, cases] = said.match(/^\s+(\d+) generated/m) ?? []
  const ended = said.slice(said.lastIndexOf(' SUMMARY '))
  t.diagnostic(`${cases} cases, seed ${SEED}`)
  assert.equal(code, 0, `SCHEMATHESIS_SEED=${SEED} repeats it:\n${said}`)

  /** @type {Record<string, Record<string, number>>} */
  const answers = JSON.parse(readFileSync(counted, 'utf8'))
  // A run in which everything is refused proves little.
  const { body: document } = await service.fetchJson('/openapi.json')
  for (const [path, methods] of Object.entries(document.paths))
    for (const [method, { responses, security }] of Object.entries(methods)) {
      const label = `${method.toUpperCase()} ${path}`
      const statuses = Object.keys(answers[label] ?? {})
      // A socket requires an upgrade, and the tool reads the document itself; it asks no host for a handle.
      // A function that this service does not have is always refused (N173, N174).
      const hasNone = !Object.keys(responses).some((status) => status.startsWith('2') || status === '101')
      // Nobody is in a call whom a moderator could mute or move (R57); a person reports, and the API key is none (R86).
      const forOthers = ['/api/voice/moderate', '/api/report'].includes(path)
      const elsewhere = hasNone || forOthers || path === '/openapi.json' || path === '/xrpc/com.atproto.identity.resolveHandle'
      // The tool has the API key and no token.
      const forTokens = security?.length > 0 && security.every((/** @type {any} */ one) => one.ServiceAuth)
      const reached = statuses.some((status) => status.startsWith('2')) || responses[101] || elsewhere || forTokens
      assert(reached, `${label} never had what it was asked for, only ${statuses}\n${ended}`)
    }
  const all = Object.values(answers).flatMap((one) => Object.entries(one))
  const by = (digit) => all.filter(([status]) => status.startsWith(digit)).reduce((sum, [, count]) => sum + count, 0)
  t.diagnostic(`${by('2')} answers of 2xx, ${by('3')} of 3xx, ${by('4')} of 4xx, ${by('5')} of 5xx`)
})
