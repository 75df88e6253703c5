// A bot that misses no event of a community, whatever breaks in between. Node.js 22 or newer, no packages.
// docs/bots.md explains it, and tests/e2e/bots.test.js runs it.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'

const { SERVICE, PDS, HANDLE, PASSWORD, COMMUNITY, CURSOR_FILE = 'cursor.txt' } = process.env
const HEARTBEAT = '{"action":"heartbeat","event_type":"heartbeat"}' // exactly this text costs the service nothing
const BEAT_MILLIS = 20_000
const DEAD_MILLIS = 50_000

/** The `seq` up to which every event is handled; -1 at the very first start. */
let cursor = existsSync(CURSOR_FILE) ? Number(readFileSync(CURSOR_FILE, 'utf8')) : -1
let pauseMillis = 1_000

/** What the bot does with an event. */
function handle(event) {
  console.log(JSON.stringify(event))
}

/** Events are lost for good: read what the bot needs through REST. */
async function readAnew() {
  const channels = await ask(`${SERVICE}/api/channels?community=${encodeURIComponent(COMMUNITY)}`)
  console.log(JSON.stringify({ type: 'read_anew', channels: channels.map(({ uri }) => uri) }))
}

async function ask(address, init) {
  const answer = await fetch(address, init)
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`)
  return answer.json()
}

function handled(seq) {
  cursor = seq
  writeFileSync(CURSOR_FILE, String(cursor))
}

/** A token of the bot's PDS for this service and for sockets: it is valid once, and for a minute. */
async function proof() {
  const { did } = await ask(`${SERVICE}/api/server`)
  const session = await ask(`${PDS}/xrpc/com.atproto.server.createSession`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ identifier: HANDLE, password: PASSWORD }),
  })
  const asked = new URLSearchParams({ aud: did, lxm: 'social.colibri.sync.subscribeEvents' })
  const headers = { authorization: `Bearer ${session.accessJwt}` }
  return (await ask(`${PDS}/xrpc/com.atproto.server.getServiceAuth?${asked}`, { headers })).token
}

/** Follows the community until the connection ends. */
function follow(token) {
  return new Promise((ended) => {
    const socket = new WebSocket(`${SERVICE.replace(/^http/, 'ws')}/api/subscribe`, ['colibri.auth.bearer', token])
    let [counts, isLost, heardAt] = [false, false, Date.now()]
    const resume = () => {
      counts = false
      const frame = { action: 'subscribe', event_type: 'community', community_uri: COMMUNITY, cursor }
      socket.send(JSON.stringify(frame))
    }
    const end = () => {
      clearInterval(beat)
      socket.onmessage = null
      socket.close()
      ended()
    }
    // A dead connection says nothing: no answer to two heartbeats means that it is dead.
    const beat = setInterval(() => {
      if (Date.now() - heardAt > DEAD_MILLIS) end()
      else if (socket.readyState === WebSocket.OPEN) socket.send(HEARTBEAT)
    }, BEAT_MILLIS)
    socket.onopen = () => {
      pauseMillis = 1_000
      // Without a channel: the messages of all channels, also of those created while the bot was away.
      socket.send('{"action":"subscribe","event_type":"message"}')
      resume()
    }
    socket.onmessage = ({ data }) => {
      heardAt = Date.now()
      const frame = JSON.parse(data)
      if (frame.type === 'error') return end()
      if (frame.type === 'ack' && frame.message === 'Subscribed to community') counts = true
      // Before that ack, events come that the replay repeats.
      if (!counts || frame.community_uri !== COMMUNITY) return
      if (frame.type === 'resync_required') {
        ;[cursor, isLost] = [-1, true]
        return resume()
      }
      if (frame.type === 'resumed') {
        handled(frame.to)
        if (isLost) readAnew().then(() => (isLost = false), end)
      } else if (frame.seq) {
        handle(frame)
        handled(frame.seq)
      }
    }
    socket.onclose = end
    socket.onerror = end
  })
}

for (;;) {
  try {
    await follow(await proof())
  } catch (error) {
    console.error(error.message)
  }
  await new Promise((done) => setTimeout(done, pauseMillis))
  pauseMillis = Math.min(pauseMillis * 2, 60_000)
}
