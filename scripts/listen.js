// @ts-check
// `npm run listen`: subscribes to a community and its messages, and prints each frame as one line of JSON. Options:
// --service URL, --community AT-URI; the default is the demo of a running `npm start`.

import WebSocket from 'ws'

import { readArguments } from './commands.js'
import { runningDemo } from './demo.js'
import { exitWith, Refusal, say } from './progress.js'

/** Exactly the string that the web client sends; the runtime answers it without waking any code. */
const HEARTBEAT = '{"action":"heartbeat","event_type":"heartbeat"}'
const HEARTBEAT_EVERY_MILLIS = 20_000

function listen() {
  const { values } = readArguments('listen')
  const service = values.service ?? runningDemo().service
  const community = values.community ?? runningDemo().communityUri
  const socket = new WebSocket(`${service.replace(/^http/, 'ws')}/api/subscribe`)
  const send = (frame) => socket.send(JSON.stringify(frame))
  socket.on('open', () => {
    send({ action: 'subscribe', event_type: 'community', community_uri: community })
    // Without a channel: the messages of all channels.
    send({ action: 'subscribe', event_type: 'message' })
    setInterval(() => socket.send(HEARTBEAT), HEARTBEAT_EVERY_MILLIS)
    say(`listening to ${community}; Ctrl-C ends`)
  })
  socket.on('message', (frame) => console.log(String(frame)))
  socket.on('error', (error) =>
    exitWith(new Refusal(`${service} does not answer (${error.message || error}). Is \`npm start\` running?`)),
  )
  socket.on('close', (code) => exitWith(new Refusal(`the service closed the socket (${code})`)))
}

try {
  listen()
} catch (error) {
  exitWith(error)
}
