// A client that follows communities across reconnections and crashes, and keeps every event that it receives.
//
// It resumes as a client should (contract Q02): first the `message` subscriptions, then each community with the last
// `seq` seen. Events of a community before the ack of its resume come again in the replay, and are not counted.

/** @typedef {{ uri: string, channels: string[] }} Followed a community and the AT-URIs of its channels */

export class Follower {
  /** Events by community, in the order they came. @type {Map<string, any[]>} */
  seen
  #service
  #followed
  #socket
  /** Where in the socket's frames the events of a community start to count. */
  #begins = new Map()

  /** @param {import('./harness.js').Service} service @param {Followed[]} followed */
  constructor(service, followed) {
    this.#service = service
    this.#followed = followed
    this.seen = new Map(followed.map(({ uri }) => [uri, []]))
  }

  /** The last `seq` seen of a community. */
  cursor(uri) {
    return this.seen.get(uri).at(-1)?.seq ?? 0
  }

  /** Connects and resumes. Resolves with the `resumed` frames, one for each community. */
  async connect() {
    const socket = await this.#service.connect('/api/subscribe')
    this.#socket = socket
    this.#begins.clear()
    let replies = 0
    for (const channel of this.#followed.flatMap(({ channels }) => channels)) {
      await socket.subscribe({ event_type: 'message', channel })
      replies += 1
    }
    const resumed = []
    for (const { uri } of this.#followed) {
      await socket.subscribe({ event_type: 'community', community_uri: uri, cursor: this.cursor(uri) })
      replies += 1
      this.#begins.set(uri, nthReply(socket.frames, replies))
      resumed.push(await socket.next({ type: 'resumed', community_uri: uri }))
    }
    return resumed
  }

  /** Everything seen so far of all communities. */
  events() {
    return [...[...this.seen.values()].flat(), ...this.#counted()]
  }

  /** Takes over the frames of the socket, and drops it. */
  leave() {
    for (const event of this.#counted()) this.seen.get(event.community_uri).push(event)
    this.#socket = undefined
  }

  #counted() {
    const frames = this.#socket?.frames ?? []
    return frames.filter((frame, at) => frame.seq !== undefined && at > (this.#begins.get(frame.community_uri) ?? Infinity))
  }
}

/** The index of the n-th ack or error. */
function nthReply(frames, n) {
  let replies = 0
  return frames.findIndex((frame) => (frame.type === 'ack' || frame.type === 'error') && ++replies === n)
}
