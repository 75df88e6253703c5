// The cost of names that strangers invent: sockets, and only a fixed number of objects, files, descriptors and alarms.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { eventually, startService } from './harness.js'

const NAMES = 300
/** Sixteen objects of rooms, four lobbies and four gateways, each with a database of three files and five descriptors. */
const OBJECTS = 24
const FILES_MAX = OBJECTS * 3
const DESCRIPTORS_MAX = OBJECTS * 5
/** What the runtime opens for a client's connection, whatever happens with it. */
const OF_A_SOCKET = 2

const files = (service) => readdirSync(service.state, { recursive: true }).filter((name) => /\.sqlite/.test(String(name))).length
const descriptors = (service) => readdirSync(`/proc/${readFileSync(join(service.state, 'serve', 'workerd.pid'), 'utf8').split(' ')[0]}/fd`).length

test('300 rooms and 300 communities that nobody knows share a few objects', async () => {
  const service = await startService()
  // The service has opened its own descriptors by now.
  await service.connect('/api/subscribe')
  await (await service.connect('/api/webrtc/signal?room=first')).close()
  const before = { files: files(service), descriptors: descriptors(service) }
  const sockets = []
  for (let n = 0; n < NAMES; n++) {
    const community = `at://did:plc:nobody${n}/social.colibri.community/made-up`
    const [room, named, observer, subscriber] = await Promise.all([
      service.connect(`/api/webrtc/signal?room=made-up-${n}`),
      service.connect(`/api/webrtc/signal?room=at://did:plc:nobody${n}/social.colibri.channel/made-up`),
      service.connect(`/api/subscribe?community=${community}`),
      n < 20 ? service.connect('/api/subscribe') : undefined,
    ])
    if (n % 3 === 0) room.send({ type: 'join', room: `made-up-${n}`, peer_id: 'p' })
    if (subscriber) await subscriber.subscribe({ event_type: 'community', community_uri: community, cursor: 0 })
    for (const path of ['sidebar', 'channels', 'members']) await service.fetchJson(`/api/${path}?community=${community}`)
    sockets.push(room, named, observer, ...(subscriber ? [subscriber] : []))
  }
  const own = sockets.length * OF_A_SOCKET
  const grown = { files: files(service) - before.files, descriptors: descriptors(service) - before.descriptors - own }
  assert(grown.files <= FILES_MAX, `${grown.files} files`)
  assert(grown.descriptors <= DESCRIPTORS_MAX, `${grown.descriptors} descriptors beside the ${own} of sockets`)
  const joined = sockets.filter((socket) => socket.frames.some(({ type }) => type === 'joined'))
  assert(joined.length === NAMES / 3, 'and they work')
  for (const socket of sockets) socket.ws.terminate()
  await eventually(() => descriptors(service) <= before.descriptors + DESCRIPTORS_MAX, { what: 'the sockets to end' })
})
