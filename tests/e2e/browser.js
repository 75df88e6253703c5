// @ts-check
// A real browser for tests of pages and calls: Debian's Chromium, driven by playwright-core.
//
// Promises: media stays on this machine's loopback interface; every browser ends with the test file; without Chromium,
// tests are skipped with the reason, except in CI, where it is required.

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { chromium } from 'playwright-core'

import { atEnd } from './harness.js'

/** Where screenshots are kept; not in git. */
const ARTIFACTS = fileURLToPath(new URL('./artifacts', import.meta.url))
const INSTALL = 'install it with: sudo apt-get install -y chromium coturn'

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  // A page of this name is one of another machine to the browser: no secure context.
  '--host-resolver-rules=MAP lan.test 127.0.0.1',
  // Without this, a browser without a network finds no way to itself.
  '--allow-loopback-in-peer-connection',
]

/** The path of a program, if it is installed. @param {string} name */
export function program(name) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/usr/sbin']
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path))
}

/** Why tests that need these programs are skipped here; `false` if they are installed. @param {string[]} names */
export function missing(...names) {
  const absent = names.filter((name) => !program(name))
  if (absent.length === 0) return false
  const reason = `there is no ${absent.join(' and no ')} here; ${INSTALL}`
  assert(process.env.CI !== 'true', reason)
  return reason
}

/** Runs in every page before its own code: accepts only candidates that lead to this machine itself. */
function stayOnLoopback() {
  const local = (/** @type {string} */ line) => / (127\.0\.0\.1|::1) \d+ typ /.test(line)
  const { addIceCandidate, setRemoteDescription } = RTCPeerConnection.prototype
  RTCPeerConnection.prototype.addIceCandidate = async function (/** @type {any} */ candidate) {
    if (local(candidate.candidate)) return addIceCandidate.call(this, candidate)
  }
  RTCPeerConnection.prototype.setRemoteDescription = function (/** @type {any} */ { type, sdp }) {
    const lines = sdp.split('\r\n').filter((/** @type {string} */ line) => !line.startsWith('a=candidate:') || local(line))
    return setRemoteDescription.call(this, { type, sdp: lines.join('\r\n') })
  }
}

/** A new browser; `kill` ends it as a power cut would. */
export async function openBrowser() {
  const server = await chromium.launchServer({ executablePath: program('chromium'), headless: true, args: FLAGS })
  const kill = async () => {
    if (server.process().exitCode === null && server.process().signalCode === null) await server.kill()
  }
  atEnd(kill)
  const browser = await chromium.connect(server.wsEndpoint())
  return {
    kill,
    /**
     * A page of a new person. `problems` of the page are the errors of its code and of the browser until now.
     * @param {{ width?: number, height?: number, locale?: string, dark?: boolean }} [options]
     */
    async page({ width = 900, height = 760, locale = 'en-US', dark = false } = {}) {
      const context = await browser.newContext({ viewport: { width, height }, locale, colorScheme: dark ? 'dark' : 'light' })
      await context.addInitScript(stayOnLoopback)
      const page = Object.assign(await context.newPage(), { problems: /** @type {string[]} */ ([]) })
      page.on('pageerror', (error) => page.problems.push(String(error)))
      page.on('console', (message) => message.type() === 'error' && page.problems.push(message.text()))
      return page
    },
    /** Closes every page, so that the next test has the machine for itself. */
    clear: () => Promise.all(browser.contexts().map((context) => context.close())),
  }
}

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/**
 * What axe-core finds wrong with a page for people who use a keyboard, a screen reader or weak eyes: a line for each rule.
 * @param {import('playwright-core').Page} page
 */
export async function obstacles(page) {
  await page.evaluate(AXE)
  const { violations } = await page.evaluate(() => /** @type {any} */ (globalThis).axe.run())
  return violations.map((/** @type {any} */ { id, nodes }) => `${id}: ${nodes.map((/** @type {any} */ { html }) => html).join(' ')}`)
}

/** Whether a page must be scrolled sideways. @param {import('playwright-core').Page} page */
export const isTooWide = (page) => page.evaluate(() => document.documentElement.scrollWidth > innerWidth)

/** Stores a screenshot of a page. @param {import('playwright-core').Page} page @param {string} name */
export async function screenshot(page, name) {
  mkdirSync(ARTIFACTS, { recursive: true })
  await page.screenshot({ path: join(ARTIFACTS, `${name}.png`) })
}
