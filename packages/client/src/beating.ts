// What every socket of a client does: it sends heartbeats, notices a dead connection, and waits longer each time.

const BEAT_MILLIS = 20_000
/** No answer to two heartbeats: the connection is dead. */
const DEAD_MILLIS = 50_000
const RETRY_MILLIS = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000]

/** How long to wait before another try, after this many in vain; spread, so that clients do not come all at once. */
export const pauseAfter = (failures: number) =>
  (RETRY_MILLIS[Math.min(failures, RETRY_MILLIS.length - 1)] ?? 0) * (0.75 + Math.random() / 2)

export class Beating {
  private heardAt = 0
  private timer?: ReturnType<typeof setInterval>
  private readonly text: string
  private readonly dead: () => void

  /** `text`: what it sends. `dead`: what to do about a dead connection. */
  constructor(text: string, dead: () => void) {
    this.text = text
    this.dead = dead
  }

  start(socket: WebSocket) {
    this.stop()
    this.heard()
    this.timer = setInterval(() => {
      if (Date.now() - this.heardAt > DEAD_MILLIS) this.dead()
      else if (socket.readyState === WebSocket.OPEN) socket.send(this.text)
    }, BEAT_MILLIS)
  }

  /** Some frame came. */
  heard() {
    this.heardAt = Date.now()
  }

  stop() {
    clearInterval(this.timer)
  }
}
