// @ts-check
// What README.md and docs/ tell people to type: every npm script takes these arguments, wrangler has these commands, and
// the first deployment gets as far as it can without an account.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { readArguments } from '../../scripts/commands.js'
import { WRANGLER } from '../../scripts/paths.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const FILES = ['README.md', 'CONTRIBUTING.md', ...readdirSync(join(ROOT, 'docs')).filter((file) => file.endsWith('.md')).map((file) => `docs/${file}`)]
const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: 'true', NO_COLOR: '1' }

/** The lines of the fenced blocks of a document. @param {string} file */
function typed(file) {
  const parts = readFileSync(join(ROOT, file), 'utf8').split(/^ *```.*$/m)
  return parts.filter((_, at) => at % 2 === 1).flatMap((block) => block.split('\n').map((line) => line.trim()))
}

/** The words of a command, as a shell would have them, up to a pipe or a comment. @param {string} text */
function wordsOf(text) {
  const [command] = text.split(/ [|#>] /)
  return (command.match(/"[^"]*"|\S+/g) ?? []).map((word) => (word === '"$api"' ? 'http://127.0.0.1:8787' : word.replace(/^"|"$/g, '')))
}

const lines = FILES.flatMap((file) => typed(file).map((line) => ({ file, line })))

test('every npm script of the documents takes the arguments that stand there', () => {
  const commands = lines.flatMap(({ file, line }) => {
    const found = /^npm (?:run (\S+)|(start|test))(?: -- (.*))?$/.exec(line)
    return found ? [{ file, line, name: found[1] ?? found[2], args: wordsOf(found[3] ?? '') }] : []
  })
  assert(commands.length >= 15, `${commands.length} commands`)
  for (const { file, line, name, args } of commands) assert.doesNotThrow(() => readArguments(name, args), `${file}: ${line}`)
})

test('every command of wrangler that the documents name exists', async () => {
  const named = lines.flatMap(({ line }) => /npm exec wrangler ((?:[a-z0-9-]+ ?)+)/.exec(line)?.[1].trim() ?? [])
  const commands = [...new Set(named.map((text) => text.replace(/ (colibri|DB)\b.*$/, '')))]
  assert(commands.length >= 5, commands.join())
  for (const command of commands) {
    const { stdout } = await promisify(execFile)(process.execPath, [WRANGLER, ...command.split(' '), '--help'], { cwd: ROOT, env })
    assert.match(stdout, new RegExp(`wrangler ${command.split(' ')[0]}`), command)
  }
})

test('the deployment of docs/operating.md: what would be uploaded has every binding and no mistake', async () => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [join(ROOT, 'scripts', 'run.js'), 'deploy', '--dry-run'], { cwd: ROOT, env })
  for (const binding of ['env.DB', 'env.ASSETS', 'env.JETSTREAM', 'env.EDITIONS', 'env.IDENTITIES', 'env.REPO_SYNC', 'env.COMMUNITY', 'env.GATEWAY', 'env.VOICE_ROOM'])
    assert(stdout.includes(binding), `${binding}\n${stdout}`)
  assert.doesNotMatch(stdout + stderr, /warning|unexpected/i)
})
