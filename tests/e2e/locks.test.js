// The checks of scripts/locks.js on lock files and on npm's output.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { graveOf, problemsOfCargoLock, problemsOfNpmLock } from '../../scripts/locks.js'

const HASH = `sha512-${'a'.repeat(86)}==`

test('a lock file of npm: a hash for each package, and no address', () => {
  const lock = (entry) => JSON.stringify({ packages: { '': { name: 'x' }, 'node_modules/a': entry } })
  for (const [entry, count, why] of [
    [{ version: '1.0.0', integrity: HASH }, 0, 'as it should be'],
    [{ version: '1.0.0' }, 1, 'no hash'],
    [{ version: '1.0.0', integrity: 'sha1-abc=' }, 1, 'a weak hash'],
    [{ version: '1.0.0', integrity: HASH, resolved: 'http://10.0.0.1/npm/a.tgz' }, 1, 'a mirror'],
    [{ link: true, resolved: 'tests/a' }, 0, 'a folder of this repository'],
  ]) {
    assert.equal(problemsOfNpmLock(lock(entry)).length, count, why)
  }
})

test('a lock file of cargo: one public source, and a checksum for each package', () => {
  const entry = (source, checksum) => `[[package]]\nname = "a"\nversion = "1.0.0"\nsource = "${source}"\n${checksum ? `checksum = "${checksum}"\n` : ''}\n`
  const [index, sum] = ['registry+https://index.test/all', 'a'.repeat(64)]
  for (const [text, count, why] of [
    [`[[package]]\nname = "own"\nversion = "1.0.0"\n\n${entry(index, sum)}`, 0, 'as it should be'],
    [entry(index), 1, 'no checksum'],
    [entry('registry+http://10.0.0.1/index', sum), 1, 'a mirror'],
    [entry('registry+https://localhost:8080/index', sum), 1, 'a mirror on this machine'],
    [entry(index, sum) + entry('git+https://elsewhere.test/a', sum), 2, 'another source'],
  ]) {
    assert.equal(problemsOfCargoLock(text).length, count, why)
  }
})

test('what npm says: grave weaknesses, none, or nothing', () => {
  const report = (vulnerabilities) => JSON.stringify({ vulnerabilities, metadata: {} })
  assert.deepEqual(graveOf(report({ a: { severity: 'high', range: '<2' }, b: { severity: 'moderate' }, c: { severity: 'critical' } })), [
    'a <2 (high)',
    'c  (critical)',
  ])
  assert.deepEqual(graveOf(report({})), [])
  for (const silence of ['', '<html>', 'null', '{"message":"405 Method Not Allowed"}']) assert.equal(graveOf(silence), undefined, silence)
})
