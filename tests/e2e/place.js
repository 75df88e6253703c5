// A local network with a service and the usual people: the start of most end-to-end tests.
//
// Promises: everything ends with the test file; each place has its own people, so tests do not interfere.

import { join } from 'node:path'

import { startNetwork } from '../network/client.js'
import { atEnd, eventually, freshFolder, startService } from './harness.js'

/**
 * Starts a network and, unless `serve` is false, a service that reads its stream.
 * @param {{ env?: Record<string, string | undefined>, serve?: boolean, two?: boolean }} [options] `two`: with a second PDS
 */
export async function openPlace({ env = {}, serve = true, two = false } = {}) {
  const folder = freshFolder()
  const network = await startNetwork({ state: join(folder, 'network'), two })
  atEnd(() => network.stop())
  const settings = {
    state: join(folder, 'service'),
    env: { JETSTREAM_URL: network.jetstream, PLC_URL: network.plc, INSECURE_HOSTS: hosts(network), ...env },
  }
  const place = { network, settings, service: serve ? await startService(settings) : undefined }
  if (place.service) await connected(place.service)
  return place
}

const hosts = ({ plc, pds, pds2, jetstream }) =>
  [plc, pds, pds2, jetstream].filter((url) => url).map((url) => new URL(url).host).join(',')

/** Waits until the service reads the stream. */
export const connected = (service, options) =>
  eventually(async () => (await service.fetchJson('/api/health')).body.ingest.connected, {
    what: 'the stream to be connected',
    timeout: 20_000,
    ...options,
  })

/**
 * alice owns an open community with one text channel, and bob is a member.
 * @param {Awaited<ReturnType<typeof openPlace>>} place
 */
export async function garden({ network }) {
  const [alice, bob] = await Promise.all([network.createAccount('alice'), network.createAccount('bob')])
  const community = await alice.community({ name: 'Garden', requiresApprovalToJoin: false })
  const channel = await alice.channel({ name: 'hall', type: 'text', community: community.rkey })
  const membership = await bob.membership(community.uri)
  return { alice, bob, community, channel, membership }
}

/** Waits until a GET of `path` answers `status` and, if given, a body that `fits`. */
export const answers = (service, path, status = 200, fits = () => true) =>
  eventually(
    async () => {
      const answer = await service.fetchJson(path)
      if (answer.status !== status || !fits(answer.body)) {
        throw new Error(`${path} answers ${answer.status} ${JSON.stringify(answer.body)}`)
      }
      return answer.body
    },
    { what: `${path} to answer ${status} as expected` },
  )
