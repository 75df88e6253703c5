// @ts-check
// The output of a long command: numbered steps, and the progress of a long step.
//
// Promises: a step that takes more than a few seconds never looks dead. On a terminal one line is rewritten every
// second; elsewhere (CI, a pipe) a new line appears every 20 seconds. A command that fails shows its last lines and how
// to run it again. Uses only Node's own modules, because set-up runs before any package is installed.

import { spawn } from 'node:child_process'

const liveTerminal = Boolean(process.stderr.isTTY) && !process.env.CI
const REPORT_EVERY_MS = liveTerminal ? 1_000 : 20_000
/** How many lines of a failed command are shown: enough for the first of several compiler errors. */
const LINES_SHOWN_ON_FAILURE = 200
/** Lines that only report cargo's progress. */
const PROGRESS_LINE = /^\s*(Building|Compiling|Downloaded|Downloading|Updating|Locking)\b/

/** A failure that a person can fix: its message is shown without a stack trace. */
export class Refusal extends Error {}

/** Prints to stderr, so that standard output contains only the result of the script. */
export function say(line) {
  process.stderr.write(`${line}\n`)
}

/**
 * Ends the process in the common way for failures: a plain message for a Refusal, a stack trace for a defect.
 * @returns {never}
 */
export function exitWith(error) {
  say(error instanceof Refusal ? `\n${error.message}` : `\n${error?.stack ?? error}`)
  process.exit(1)
}

export function elapsed(sinceMillis) {
  const seconds = Math.round((Date.now() - sinceMillis) / 1000)
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${String(seconds % 60).padStart(2, '0')}s`
}

/**
 * Runs a command quietly and resolves with its output.
 * @param {string} command
 * @param {string[]} args
 * @param {object} [options]
 * @param {string} [options.cwd]
 * @param {Record<string, string | undefined>} [options.env] added to the environment of this process
 * @param {(line: string) => string | undefined} [options.progress] turns a line of output into a progress text
 * @param {string} [options.instead] the command to suggest when this fails; the command itself by default
 */
export function runQuietly(command, args, { cwd, env, progress, instead } = {}) {
  const startedAt = Date.now()
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let unfinishedLine = ''
    let standing = ''
    const read = (chunk) => {
      output += chunk
      // Cargo rewrites its progress bar with carriage returns, so those end a line too.
      const lines = (unfinishedLine + chunk).split(/[\r\n]+/)
      unfinishedLine = lines.pop() ?? ''
      for (const line of lines) standing = progress?.(line) ?? standing
    }
    child.stdout.setEncoding('utf8').on('data', read)
    child.stderr.setEncoding('utf8').on('data', read)
    const report = setInterval(() => {
      const text = `      ${elapsed(startedAt)}${standing ? ` · ${standing}` : ''}`
      process.stderr.write(liveTerminal ? `\r\x1b[K${text}` : `${text}\n`)
    }, REPORT_EVERY_MS)
    const finish = (settle) => {
      clearInterval(report)
      if (liveTerminal) process.stderr.write('\r\x1b[K')
      settle()
    }
    child.once('error', (error) => finish(() => reject(error)))
    child.once('close', (code, signal) =>
      finish(() => {
        if (code === 0) return resolve(output)
        const shown = output
          .split(/[\r\n]+/)
          .filter((line) => line.trim() && !PROGRESS_LINE.test(line))
          .slice(-LINES_SHOWN_ON_FAILURE)
          .join('\n')
        const again = instead ?? [command, ...args].join(' ')
        reject(new Refusal(`${shown}\n\nfailed (${signal ?? `exit ${code}`}). To run only this again:  ${again}`))
      }),
    )
  })
}

/**
 * Runs a command and shows its output as it arrives. Resolves with the exit code.
 * @param {string} command
 * @param {string[]} args
 * @param {object} options
 * @param {string} options.cwd
 * @param {Record<string, string>} options.env added to the environment of this process
 * @param {(text: string) => void} [options.onOutput] receives the text too, for example to count something in it
 * @returns {Promise<number>}
 */
export function runShown(command, args, { cwd, env, onOutput }) {
  return new Promise((resolve, reject) => {
    const output = onOutput ? 'pipe' : 'inherit'
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['inherit', output, output] })
    child.stdout?.on('data', (chunk) => {
      process.stdout.write(chunk)
      onOutput(String(chunk))
    })
    child.stderr?.on('data', (chunk) => {
      process.stderr.write(chunk)
      onOutput(String(chunk))
    })
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(code ?? (signal ? 1 : 0)))
  })
}
