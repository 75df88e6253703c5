// @ts-check
// Installs the dependencies of the network, or finds them installed: `node setup.js [--node PATH]`.
//
// Safe to run any number of times; if all is well it takes no time and says so. The Node that will run the network is
// the one named by --node, otherwise this one. From Node 22 on nothing is compiled; for an older one `better-sqlite3`
// is (sqlite.js), which needs a C++ compiler. Exit code 0 means that the Node has loaded it. One installation serves
// both kinds of Node.
//
// Why not plain `npm ci`: it would compile in every case. And npm puts `node_modules/.bin` of every folder above on the
// PATH of install scripts; the repository's own one has another Node, for which the addon would be built. A link to the
// right Node in our own `.bin` comes before it.

import { spawnSync } from 'node:child_process'
import { rmSync, symlinkSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { FOLDER, lockDigest, readStamp, writeStamp } from './installation.js'
import { COMPILED, needsCompiled } from './sqlite.js'

const { values: options } = parseArgs({ options: { node: { type: 'string' } } })
const node = options.node ?? process.execPath
const [version, abi] = ask(['-p', 'process.versions.node + " " + process.versions.modules']).split(' ')

let stamp = readStamp()
const changed = stamp?.lock !== lockDigest()
if (changed) {
  say('installing packages, takes about half a minute')
  npm(['ci', '--ignore-scripts'])
  stamp = { lock: lockDigest() }
}
const compiles = needsCompiled(version) && stamp?.compiledFor !== abi
if (compiles) {
  say(`compiling better-sqlite3 for Node ${version}, takes about 2 minutes unless a ready one can be downloaded`)
  const link = FOLDER + 'node_modules/.bin/node'
  rmSync(link, { force: true })
  symlinkSync(node, link)
  npm(['rebuild', COMPILED, '--ignore-scripts=false'])
  rmSync(link)
}
if (changed || compiles) {
  const addon = needsCompiled(version) ? COMPILED : 'better-sqlite3'
  ask(['-e', `new (require('${addon}'))(':memory:').close()`])
  writeStamp({ lock: lockDigest(), compiledFor: compiles ? abi : stamp?.compiledFor })
}
say(`ready for Node ${version}`)

/** Runs npm in this folder with the right Node; ends this process when npm fails. @param {string[]} args */
function npm(args) {
  const [command, ...first] = process.env.npm_execpath ? [node, process.env.npm_execpath] : ['npm']
  const quiet = [...first, ...args, '--no-audit', '--no-fund', '--loglevel=error']
  const { status, error } = spawnSync(command, quiet, { cwd: FOLDER, stdio: ['ignore', 2, 2] })
  if (status !== 0) fail(`npm ${args.join(' ')} failed${error ? `: ${error.message}` : ''}`)
}

/** What the Node of the network prints. @param {string[]} args */
function ask(args) {
  const { status, signal, error, stdout, stderr } = spawnSync(node, args, { cwd: FOLDER, encoding: 'utf8' })
  if (status !== 0) fail(`${node} ${args.join(' ')} failed: ${error?.message ?? (stderr || signal)}`)
  return stdout.trim()
}

/** @param {string} message */
function say(message) {
  console.error(`tests/network: ${message}`)
}

/** @param {string} message @returns {never} */
function fail(message) {
  say(message)
  process.exit(1)
}
