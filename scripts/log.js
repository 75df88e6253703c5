// @ts-check
// The log of `npm run serve`, on stderr.
//
// Promises: every line begins with its time (those of the Worker have it inside, as `{"time":…`); what the runtime says
// about itself again and again, with a stack that helps nobody twice, appears once a minute, with the number of times.

const AGAIN_AFTER_MILLIS = 60_000
/** Texts that are remembered; more are forgotten, oldest first. */
const REMEMBERED = 100

/** A text without what differs each time: addresses, numbers and references. @param {string} text */
const kindOf = (text) => text.replace(/(reference|wdErrId) ?= ?\w+|@?0x[0-9a-f]+|@[0-9a-f]{5,}|\d+/g, '#')

export class ServiceLog {
  #write
  #clock
  /** @type {Map<string, { at: number, left: number }>} */
  #said = new Map()

  /** @param {(text: string) => void} write @param {() => number} [clock] */
  constructor(write, clock = Date.now) {
    this.#write = write
    this.#clock = clock
  }

  /** A line of serve or of the Worker. @param {string} text */
  say = (text) => {
    const begins = /^\{"time":"/.test(text) ? '' : `${new Date(this.#clock()).toISOString()} `
    this.#write(`${begins}${text}\n`)
  }

  /** What the runtime or the Worker logged; a stack of the runtime is said once. @param {string} text */
  onLog = (text) => {
    if (!/(^|\n)\s*stack: /.test(text)) return this.say(text)
    const now = this.#clock()
    const kind = kindOf(text)
    const before = this.#said.get(kind)
    if (before && now - before.at < AGAIN_AFTER_MILLIS) {
      before.left += 1
      return
    }
    this.#said.delete(kind)
    this.#said.set(kind, { at: now, left: 0 })
    if (this.#said.size > REMEMBERED) this.#said.delete(this.#said.keys().next().value)
    const first = text.replace(/\n\s*stack: [^]*$/, '')
    this.say(!before ? text : before.left === 0 ? first : `${first} (and ${before.left} times more in the last minute)`)
  }
}
