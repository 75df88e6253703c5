// @ts-check
// `npm test`: every check, the same here and in CI. `npm test -- clippy native` runs some of them; a *.test.js among
// the arguments narrows the step it belongs to: `npm test -- e2e tests/e2e/serve.test.js`.
//
// Promises: each step has a header; the first failure ends the run and names the command that runs only that step; the
// last lines are the summaries of the test runners, and the very last one adds them up: `N passed, N failed, N
// skipped`.

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'

import { build } from './build.js'
import { readArguments } from './commands.js'
import { checkLocks } from './locks.js'
import { node24 } from './node24.js'
import { packaged, ROOT, WRANGLER } from './paths.js'
import { exitWith, Refusal, runShown } from './progress.js'
import { setUp } from './toolchain.js'

/** The time limit of a test; one that hangs would otherwise use up the time of all. */
const TEST_TIMEOUT_MILLIS = 180_000

let chosen = []
try {
  chosen = readArguments('test').positionals
} catch (error) {
  exitWith(error)
}
const chosenFiles = chosen.filter((argument) => argument.endsWith('.test.js'))
const chosenSteps = chosen.filter((argument) => !argument.endsWith('.test.js'))

/** End-to-end tests that measure time or fill the machine: nothing else runs beside them. */
const ALONE = ['flood', 'limits', 'outbound', 'signaling', 'soak', 'strangers-rooms']

const command = (program, ...args) => ({ program, args })
const cargo = (...args) => command('cargo', ...args)

/** The test files of a folder, or the requested ones among them. */
function testFiles(folder) {
  const directory = join(ROOT, folder)
  const files = existsSync(directory)
    ? readdirSync(directory)
        .filter((file) => file.endsWith('.test.js'))
        .map((file) => `${folder}/${file}`)
    : []
  return chosenFiles.length > 0 ? files.filter((file) => chosenFiles.some((wanted) => wanted.endsWith(file))) : files
}

/** Runs test files, so many at the same time; no command for no files. */
function nodeTests(files, { atOnce }) {
  return files.length === 0
    ? []
    : [
        command(
          node24(),
          '--test',
          '--test-reporter=spec',
          `--test-concurrency=${atOnce}`,
          `--test-timeout=${TEST_TIMEOUT_MILLIS}`,
          ...files,
        ),
      ]
}

/** Each file starts its own services and ends them, so two run side by side, and those of `ALONE` after them. */
function endToEnd() {
  const files = testFiles('tests/e2e')
  const isAlone = (file) => ALONE.some((name) => file === `tests/e2e/${name}.test.js`)
  return [
    ...nodeTests(files.filter((file) => !isAlone(file)), { atOnce: 2 }),
    ...nodeTests(files.filter(isAlone), { atOnce: 1 }),
  ]
}

/** In the order of how fast they fail. `needs`: what must be set up; `before`: what runs first; `counts`: a test runner. */
const steps = [
  { name: 'setup', title: 'set-up', run: () => setUp({ rust: true, lints: true, network: true, calls: true }) },
  {
    name: 'format',
    title: 'formatting (rustfmt)',
    needs: { rust: true, lints: true },
    spawn: () => [cargo('fmt', '--all', '--check')],
  },
  {
    name: 'clippy',
    title: 'lints (clippy)',
    needs: { rust: true, lints: true },
    spawn: () => [cargo('clippy', '--workspace', '--all-targets', '--', '-D', 'warnings')],
  },
  {
    name: 'types',
    title: 'types of scripts and tests (tsc)',
    needs: { network: true },
    spawn: () => [command(node24(), packaged('tsc'))],
  },
  {
    name: 'pages',
    title: 'types of the pages and of the client (tsc)',
    needs: {},
    spawn: () => [
      command(node24(), packaged('tsc'), '-p', 'src/pages'),
      command(node24(), packaged('tsc'), '-p', 'packages/client', '--noEmit'),
    ],
  },
  { name: 'locks', title: 'what the lock files install', run: checkLocks },
  { name: 'native', title: 'native tests', counts: true, needs: { rust: true }, spawn: () => [cargo('test', '--workspace')] },
  { name: 'build', title: 'build of the Worker', run: async () => console.log(await build()) },
  {
    name: 'deploy',
    title: 'what would be deployed (wrangler, dry run)',
    before: build,
    spawn: () => [command(node24(), WRANGLER, 'deploy', '--dry-run')],
  },
  {
    name: 'network',
    title: 'tests of the local atproto network',
    counts: true,
    needs: { network: true },
    spawn: () => nodeTests(testFiles('tests/network'), { atOnce: 1 }),
  },
  {
    name: 'e2e',
    title: 'end-to-end tests on workerd',
    counts: true,
    needs: { network: true },
    before: build,
    spawn: endToEnd,
  },
  {
    name: 'schemathesis',
    title: 'the service against its own description (schemathesis)',
    counts: true,
    before: build,
    spawn: () => nodeTests(testFiles('tests/schemathesis'), { atOnce: 1 }),
  },
]

const totals = { passed: 0, failed: 0, skipped: 0 }
const summaries = []

/** Node's words for its counts. A "todo" test proves nothing yet, so it counts as skipped. */
const NODE_WORDS = { pass: 'passed', fail: 'failed', cancelled: 'failed', skipped: 'skipped', todo: 'skipped' }

/** Reads the counts from the final lines of cargo's and Node's runners, and keeps those lines for the end. */
function count(title, output) {
  const own = { passed: 0, failed: 0, skipped: 0 }
  const lines = []
  for (const line of stripVTControlCharacters(output).split('\n')) {
    const cargo = line
      .match(/^test result: .* (\d+) passed; (\d+) failed; (\d+) ignored/)
      ?.slice(1)
      .map(Number)
    const node = line.match(/^ℹ (pass|fail|cancelled|skipped|todo) (\d+)$/)
    if (cargo) {
      own.passed += cargo[0]
      own.failed += cargo[1]
      own.skipped += cargo[2]
    }
    if (node) own[NODE_WORDS[node[1]]] += Number(node[2])
    if (cargo?.some((number) => number > 0) || (node && Number(node[2]) > 0)) lines.push(line)
  }
  for (const key of Object.keys(totals)) totals[key] += own[key]
  summaries.push('', `${title}:`, ...lines)
  return own
}

const inWords = ({ passed, failed, skipped }) => `${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`

async function runStep(step) {
  if (step.needs) await setUp(step.needs)
  await step.before?.()
  if (step.run) return step.run()
  const commands = step.spawn()
  if (commands.length === 0) return console.log('nothing to run')
  let output = ''
  let code = 0
  // All of them, also after a failure: one run shows all that fails.
  for (const { program, args } of commands) {
    const own = await runShown(program, args, {
      cwd: ROOT,
      env: { WRANGLER_SEND_METRICS: 'false', WRANGLER_HIDE_BANNER: 'true' },
      onOutput: step.counts
        ? (text) => {
            output += text
          }
        : undefined,
    })
    code ||= own
  }
  const counted = step.counts ? count(step.title, output) : undefined
  if (code === 0) return
  // A failure that no runner counted (a lint, a compiler error) must not end in "0 failed".
  if (!counted?.failed) totals.failed += 1
  throw new Refusal(`failed: ${step.title}`)
}

const unknown = chosenSteps.filter((name) => !steps.some((step) => step.name === name))
if (unknown.length > 0)
  exitWith(new Refusal(`There is no step ${unknown.join(', ')}. The steps: ${steps.map(({ name }) => name).join(' ')}`))
const wanted = chosenSteps.length > 0 ? steps.filter(({ name }) => chosenSteps.includes(name)) : steps

let exitCode = 0
for (const [index, step] of wanted.entries()) {
  const startedAt = Date.now()
  console.log(`\n=== ${index + 1}/${wanted.length} ${step.title}`)
  try {
    await runStep(step)
    console.log(`--- ${step.title}: ${Math.round((Date.now() - startedAt) / 1000)} s`)
  } catch (error) {
    exitCode = 1
    if (!(error instanceof Refusal)) throw error
    if (totals.failed === 0) totals.failed = 1
    console.log(`\n${error.message}\nTo run only this step again:  npm test -- ${step.name}`)
    break
  }
}
console.log([...summaries, '', inWords(totals)].join('\n'))
process.exitCode = exitCode
