// @ts-check
// A real PDS (`@atproto/pds`) on 127.0.0.1, with all its data in the state directory.
//
// It needs only the PLC directory that it is given: no invites, no e-mail, no rate limits, no relay, no Bluesky
// AppView, so it never contacts anything beyond this machine. Handles end in `.test`. Its secrets are generated once
// and kept, so sessions and accounts survive a restart.

import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PDS, envToCfg, envToSecrets } from '@atproto/pds'
import { Faults } from './faults.js'
import { HOST } from './ports.js'

/** Far beyond the age of any state directory: the bridge must be able to catch up after any pause. */
const BACKFILL_MILLIS = 10 * 365 * 24 * 3600 * 1000

/** Events a subscriber of the PDS may lag behind; the default of 500 is passed by a few bulk commits. */
const SUBSCRIPTION_BUFFER = 100_000

/**
 * @param {{state: string, port: number, plc: string, name?: string}} options `name` is that of its folder and distinguishes several
 * @returns {Promise<{url: string, faults: Faults, mail: Map<string, string>, stop(): Promise<void>}>} `mail`: the last token by address
 */
export async function startPds({ state, port, plc, name = 'pds' }) {
  const directory = join(state, name)
  mkdirSync(directory, { recursive: true })
  const url = `http://${HOST}:${port}`
  const config = envToCfg({
    port,
    hostname: 'localhost',
    serviceHandleDomains: ['.test'],
    devMode: true,
    dataDirectory: directory,
    blobstoreDiskLocation: join(directory, 'blobs'),
    blobstoreDiskTmpLocation: join(directory, 'blobs-uploading'),
    didPlcUrl: plc,
    inviteRequired: false,
    rateLimitsEnabled: false,
    maxSubscriptionBuffer: SUBSCRIPTION_BUFFER,
    repoBackfillLimitMs: BACKFILL_MILLIS,
  })
  // The PDS would call itself `localhost`, which is ::1 for some of its readers, and listen everywhere.
  config.service.publicUrl = url
  config.oauth.issuer = url
  const pds = await PDS.create(config, envToSecrets(secrets(join(state, name === 'pds' ? 'secrets.json' : `${name}-secrets.json`))))
  // No mail is sent: a test that plays the owner of the mailbox reads it here.
  const mail = new Map()
  pds.ctx.mailer.sendPlcOperation = async ({ token }, { to }) => void mail.set(String(to), token)
  const faults = new Faults()
  const listen = pds.app.listen.bind(pds.app) // it also serves the upgrades of subscribeRepos
  pds.app.listen = /** @type {any} */ (
    (/** @type {number} */ at) => {
      const server = listen(at, HOST)
      server.removeAllListeners('request')
      return server.on('request', (request, response) => faults.handle(request, response, pds.app))
    }
  )
  await pds.start()
  return { url, faults, mail, stop: () => pds.destroy() }
}

/** @param {string} file */
function secrets(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error
  }
  const hex = () => randomBytes(32).toString('hex')
  const made = {
    plcRotationKeyK256PrivateKeyHex: hex(),
    jwtSecret: hex(),
    dpopSecret: hex(),
    adminPassword: hex(),
  }
  writeFileSync(file, JSON.stringify(made) + '\n', { mode: 0o600 })
  return made
}
