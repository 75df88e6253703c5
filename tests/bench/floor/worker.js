// The floor of `npm run bench:fanout`: the least that an object can do to send texts to its sockets. They hibernate,
// the runtime answers heartbeats, and nothing is numbered, stored, matched or resumed.

import { DurableObject } from 'cloudflare:workers'

export class Floor extends DurableObject {
  constructor(state, env) {
    super(state, env)
    const heartbeat = '{"action":"heartbeat","event_type":"heartbeat"}'
    state.setWebSocketAutoResponse(new WebSocketRequestResponsePair(heartbeat, '{"type":"ack","message":""}'))
  }

  async fetch(request) {
    if (request.headers.get('upgrade')) {
      const [client, server] = Object.values(new WebSocketPair())
      this.ctx.acceptWebSocket(server)
      return new Response(null, { status: 101, webSocket: client })
    }
    const texts = await request.json()
    const sockets = this.ctx.getWebSockets()
    for (const text of texts) for (const socket of sockets) socket.send(text)
    return new Response()
  }

  webSocketMessage() {}
  webSocketClose() {}
}

export default {
  fetch: (request, env) => env.FLOOR.getByName('one').fetch(request),
}
