// @ts-check
// The checks of `npm test` on the lock files: that the installed packages are the chosen ones, and whether any has a
// known vulnerability.
//
// Promises: the first check needs no network and fails the build. The second asks the npm registry for a bounded time,
// and prints one line if the registry has no data. A high or critical vulnerability fails the build in a package that
// runs the service, and is printed for a package that only tests install.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

import { ROOT } from './paths.js'
import { Refusal } from './progress.js'

const WITHIN_MILLIS = 30_000
const GRAVE = ['high', 'critical']

/** @type {{ file: string, shipped: boolean }[]} */
const NPM_LOCKS = [
  { file: 'package-lock.json', shipped: true },
  { file: 'tests/network/package-lock.json', shipped: false },
]
const CARGO_LOCK = 'Cargo.lock'

/**
 * The problems of an npm lock file: each package must have a hash and no address of its own, which would be that of the
 * author's mirror. @param {string} text
 * @returns {string[]}
 */
export function problemsOfNpmLock(text) {
  const { packages } = JSON.parse(text)
  return Object.entries(packages).flatMap(([path, entry]) => {
    if (path === '' || entry.link) return []
    const problems = []
    if (!/^sha512-[A-Za-z0-9+/]{86}==$/.test(entry.integrity ?? '')) problems.push(`${path} has no SHA-512`)
    if (entry.resolved !== undefined) problems.push(`${path} comes from ${entry.resolved}, not from whatever registry is set up`)
    return problems
  })
}

/** The same for cargo: one public source for all, and a checksum for each. @param {string} text @returns {string[]} */
export function problemsOfCargoLock(text) {
  const packages = text.split('[[package]]').slice(1)
  const field = (/** @type {string} */ entry, /** @type {string} */ name) => entry.match(new RegExp(`^${name} = "(.*)"$`, 'm'))?.[1]
  const sources = new Set(packages.flatMap((entry) => field(entry, 'source') ?? []))
  const named = packages.filter((entry) => field(entry, 'source') && !/^[0-9a-f]{64}$/.test(field(entry, 'checksum') ?? ''))
  return [
    ...named.map((entry) => `${field(entry, 'name')} has no checksum`),
    ...(sources.size > 1 ? [`packages come from ${[...sources].join(' and ')}`] : []),
    ...[...sources].filter((source) => !/^registry\+https:\/\/[a-z.-]+\/[^:@]*$/.test(source)).map((source) => `${source} is no public index`),
  ]
}

/**
 * The high and critical vulnerabilities in the output of `npm audit --json`, or undefined if it has no data.
 * @param {string} output
 * @returns {string[] | undefined}
 */
export function graveOf(output) {
  let report
  try {
    report = JSON.parse(output)
  } catch {
    return undefined
  }
  if (typeof report?.vulnerabilities !== 'object' || !report.metadata) return undefined
  return Object.entries(report.vulnerabilities)
    .filter(([, { severity }]) => GRAVE.includes(severity))
    .map(([name, { severity, range }]) => `${name} ${range ?? ''} (${severity})`)
}

/** @param {string} folder @returns {Promise<string>} npm's output, even if it fails */
function audit(folder) {
  const args = ['audit', '--json', '--package-lock-only', '--fetch-retries=0', `--fetch-timeout=${WITHIN_MILLIS / 2}`]
  return new Promise((resolve) =>
    execFile('npm', args, { cwd: folder, timeout: WITHIN_MILLIS, maxBuffer: 1 << 26 }, (_, stdout) => resolve(stdout)),
  )
}

export async function checkLocks() {
  const read = (/** @type {string} */ file) => readFileSync(join(ROOT, file), 'utf8')
  const problems = [
    ...NPM_LOCKS.flatMap(({ file }) => problemsOfNpmLock(read(file)).map((problem) => `${file}: ${problem}`)),
    ...problemsOfCargoLock(read(CARGO_LOCK)).map((problem) => `${CARGO_LOCK}: ${problem}`),
  ]
  if (problems.length > 0) throw new Refusal(problems.join('\n'))
  console.log(`every package in ${[...NPM_LOCKS.map(({ file }) => file), CARGO_LOCK].join(', ')} has its hash, and none an address of its own`)
  const asked = await Promise.all(NPM_LOCKS.map(async (lock) => ({ ...lock, grave: graveOf(await audit(dirname(join(ROOT, lock.file)))) })))
  for (const { file, shipped, grave } of asked) {
    if (!grave) console.log(`${file}: not compared with known weaknesses, the registry gives no list of them`)
    else if (grave.length === 0) console.log(`${file}: no grave weakness is known`)
    else if (shipped) throw new Refusal(`${file}: known weaknesses:\n${grave.join('\n')}`)
    else console.log(`${file}: known weaknesses in what only tests use: ${grave.join(', ')}`)
  }
  console.log(`${CARGO_LOCK}: not compared with known weaknesses`)
}
