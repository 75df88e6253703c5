// @ts-check
// What README.md and docs/ tell people to type: every npm script takes these arguments, wrangler has these commands, and
// the first deployment gets as far as it can without an account.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { readArguments } from '../../scripts/commands.js'
import { WRANGLER } from '../../scripts/paths.js'
import { checkSecrets } from '../../scripts/secrets.js'
import { mistakes } from '../../scripts/variables.js'
import { program } from './browser.js'
import { freshFolder } from './harness.js'

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

/** Why a test is skipped that needs programs which only operators have. @param {string[]} names */
const missing = (...names) => (names.every(program) ? false : `there is no ${names.join(' or no ')} here`)

/** The fenced block of docs/operating.md that begins with these words. @param {string} begin */
function block(begin) {
  const found = readFileSync(join(ROOT, 'docs/operating.md'), 'utf8').split(/^ *```.*\n/m).find((part, at) => at % 2 === 1 && part.startsWith(begin))
  assert(found, begin)
  return found
}

test('an environment of wrangler.toml, once its marks of comment are gone, has every binding', async () => {
  const text = readFileSync(join(ROOT, 'wrangler.toml'), 'utf8')
  const [before, staging, ...rest] = text.split(/^(?=# \[env\.staging\])|^(?=# End of the environment)/m)
  const file = join(freshFolder(), 'wrangler.toml')
  const paths = (/** @type {string} */ toml) => toml.replace(/^(main|migrations_dir|directory) = "/gm, (found) => `${found}${ROOT}`)
  writeFileSync(file, paths([before, staging.replace(/^# ?/gm, ''), ...rest].join('')).replace(/^command = .*$/m, 'command = "true"'))
  const args = [WRANGLER, 'deploy', '--dry-run', '--config', file, '--env', 'staging']
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { cwd: ROOT, env })
  for (const binding of ['env.DB', 'env.ASSETS', 'env.JETSTREAM', 'env.EDITIONS', 'env.IDENTITIES', 'env.REPO_SYNC', 'env.COMMUNITY', 'env.GATEWAY', 'env.VOICE_ROOM'])
    assert(stdout.includes(binding), `${binding}\n${stdout}`)
  assert.match(stdout, /env\.AUTH_MODE \("mixed"\)/)
  assert.doesNotMatch(stdout + stderr, /warning|unexpected/i)
})

test('the environment file of docs/operating.md has no mistake, but for what its reader fills in', () => {
  const given = Object.fromEntries(block('AUTH_MODE=').trim().split('\n').map((line) => line.split(/=(.*)/s).slice(0, 2)))
  assert.deepEqual(mistakes(given), [])
  assert.doesNotThrow(() => checkSecrets(given, assert.fail))
})

test('systemd takes the unit of docs/operating.md', { skip: missing('systemd-analyze') }, async () => {
  const folder = freshFolder()
  // Programs, users and folders of the reader's machine are those of this one.
  const unit = block('[Unit]\nDescription=colibri-edge').replace('/usr/bin/npm', '/bin/sh').replace('User=colibri', 'User=root').replaceAll('/opt/colibri-edge', folder)
  writeFileSync(join(folder, 'colibri.service'), unit)
  const { stdout, stderr } = await promisify(execFile)(program('systemd-analyze'), ['verify', '--man=no', join(folder, 'colibri.service')])
  const about = (stdout + stderr).split('\n').filter((line) => line.includes('colibri.service'))
  assert.deepEqual(about, [])
})

test('nginx takes the server of docs/operating.md', { skip: missing('nginx', 'openssl') }, async () => {
  const folder = freshFolder()
  const [key, certificate] = [join(folder, 'privkey.pem'), join(folder, 'fullchain.pem')]
  await promisify(execFile)(program('openssl'), ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=api.example.com', '-keyout', key, '-out', certificate])
  mkdirSync(join(folder, 'logs'))
  const server = block('map $http_upgrade').replaceAll('/etc/letsencrypt/live/api.example.com', folder)
  const config = join(folder, 'nginx.conf')
  // nginx makes these folders, in places that this user may not have.
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((of) => `${of}_temp_path ${folder}/${of};`).join('\n')
  writeFileSync(config, `pid ${folder}/nginx.pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n${folders}\n${server}}\n`)
  await promisify(execFile)(program('nginx'), ['-t', '-q', '-p', folder, '-c', config])
})

test('Caddy takes the file of docs/operating.md', { skip: missing('caddy') }, async () => {
  const file = join(freshFolder(), 'Caddyfile')
  writeFileSync(file, block('api.example.com {'))
  await promisify(execFile)(program('caddy'), ['validate', '--adapter', 'caddyfile', '--config', file])
})
