// @ts-check
// schemathesis, in a Python environment of its own next to the other tools of this machine; nothing of it is in the
// repository.
//
// Promises: installed once per list of versions; an interrupted install never counts as a finished one; names what is
// missing on this machine. Uses the machine's python3.

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { TOOLS_DIR } from '../../scripts/paths.js'

const VERSIONS = fileURLToPath(new URL('./requirements.txt', import.meta.url))
const INSTALL_MILLIS = 120_000
const execute = promisify(execFile)

/**
 * Where the program is, installing it first if need be; or why there is none.
 * @returns {Promise<{ program: string } | { missing: string, python: boolean }>}
 */
export async function schemathesis() {
  const digest = createHash('sha256').update(readFileSync(VERSIONS)).digest('hex').slice(0, 12)
  const folder = join(TOOLS_DIR, `schemathesis-${digest}`)
  const program = join(folder, 'bin', 'schemathesis')
  const finished = join(folder, '.finished')
  if (existsSync(finished)) return { program }
  try {
    await execute('python3', ['--version'])
  } catch {
    return { missing: 'there is no python3 on this machine', python: false }
  }
  try {
    mkdirSync(TOOLS_DIR, { recursive: true })
    rmSync(folder, { recursive: true, force: true })
    await execute('python3', ['-m', 'venv', folder], { timeout: INSTALL_MILLIS })
    await execute(join(folder, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', VERSIONS], {
      timeout: INSTALL_MILLIS,
    })
    writeFileSync(finished, '')
    return { program }
  } catch (error) {
    const said = String(error.stderr || error.message)
      .trim()
      .split('\n')
      .slice(-3)
      .join(' ')
    return { missing: `python3 could not install schemathesis (pip and venv: apt-get install python3-venv): ${said}`, python: true }
  }
}
