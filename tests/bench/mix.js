// @ts-check
// The realistic mix: 200 communities, 5,000 authors; of 100 events 70 messages, 20 reactions, 5 memberships and
// approvals, 5 others.
//
// `prologue` has the communities, channels and members that the mix needs; they are not part of it. The rules accept
// these events, apart from the few percent that the real network would get wrong as well: a refused event costs less,
// and would make the result look better than it is.

import { COLLECTION } from '../network/records.js'
import { Dice, didOf, Repositories } from './frames.js'

const COMMUNITIES = 200
const AUTHORS = 5_000
const CHANNELS_EACH = 3
/** Communities an author belongs to at first. */
const JOINED = 2
/** Messages of a channel that people still answer and react to. */
const RECENT = 100
const EMOJI = ['👍', '❤️', '😂', '🎉', '🌿', '👀', '🔥', '🙏']
const WORDS =
  'the garden is open and we are planting tomatoes today who has seen the small green watering can it was near the gate yesterday evening när kommer du 雨'.split(
    ' ',
  )

/** @typedef {import('./frames.js').Frame} Frame */

export class Mix {
  #dice
  #repos
  #owners = Array.from({ length: COMMUNITIES }, (_, n) => didOf(`owner ${n}`))
  #authors = Array.from({ length: AUTHORS }, (_, n) => didOf(`author ${n}`))
  #communities
  /** The newest reactions. @type {{ did: string, rkey: string }[]} */
  #reactions = []
  /** Messages that were written and not deleted. */
  messages = 0
  /** Unknown people whose profiles pass by. */
  #strangers = 0

  /** @param {{ seed?: number, from?: number }} [options] */
  constructor({ seed = 1, from } = {}) {
    this.#dice = new Dice(seed)
    this.#repos = new Repositories({ from })
    this.#communities = this.#owners.map((owner, n) => ({
      owner,
      rkey: `community${n}`,
      uri: `at://${owner}/${COLLECTION.community}/community${n}`,
      members: /** @type {string[]} */ ([owner]),
      joinedBy: /** @type {Map<string, { membership: string, approval: string }>} */ (new Map()),
      channels: Array.from({ length: CHANNELS_EACH }, (_, c) => ({
        rkey: `channel${n}x${c}`,
        uri: `at://${owner}/${COLLECTION.channel}/channel${n}x${c}`,
        recent: /** @type {{ did: string, rkey: string }[]} */ ([]),
      })),
    }))
  }

  /** @returns {Generator<Frame>} */
  *prologue() {
    const repos = this.#repos
    for (const [n, { owner, rkey, channels }] of this.#communities.entries()) {
      // One in four is open.
      yield repos.create(owner, COLLECTION.community, { name: `Community ${n}`, description: 'Made for a benchmark', categoryOrder: ['main'], requiresApprovalToJoin: n % 4 !== 0 }, rkey)
      yield repos.create(owner, COLLECTION.category, { name: 'Main', community: rkey, channelOrder: channels.map((channel) => channel.rkey) }, `main${n}`)
      for (const [c, channel] of channels.entries()) {
        yield repos.create(owner, COLLECTION.channel, { name: `channel ${c}`, type: 'text', community: rkey, category: `main${n}` }, channel.rkey)
      }
    }
    for (const author of this.#authors) {
      for (let joined = 0; joined < JOINED; joined++) yield* this.#join(author)
    }
  }

  /** @param {number} count @returns {Generator<Frame>} */
  *events(count) {
    for (let made = 0; made < count; ) {
      for (const frame of this.#some()) {
        if (made++ < count) yield frame
      }
    }
  }

  #some() {
    // Of 97.5 steps: a membership mostly brings an approval with it, so 2.5 of them make 5 of 100 events.
    const share = this.#dice.roll() * 97.5
    if (share < 70) return this.#message()
    if (share < 90) return this.#reaction()
    if (share < 92.5) return this.#membership()
    return this.#rest()
  }

  /** Some communities are busy, most are not. */
  #community() {
    return this.#communities[Math.floor(this.#dice.roll() ** 2 * COMMUNITIES)]
  }

  #text() {
    return Array.from({ length: 3 + this.#dice.below(40) }, () => this.#dice.one(WORDS)).join(' ')
  }

  *#message() {
    const dice = this.#dice
    const { members, channels } = this.#community()
    const { rkey: channel, recent } = dice.one(channels)
    const what = dice.roll()
    const known = recent.length > 0 ? dice.one(recent) : undefined
    const record = () => ({ channel, text: this.#text(), createdAt: this.#repos.now })
    if (known && what < 0.05) return yield this.#repos.update(known.did, COLLECTION.message, known.rkey, { ...record(), edited: true })
    if (known && what < 0.08) {
      recent.splice(recent.indexOf(known), 1)
      this.messages -= 1
      return yield this.#repos.delete(known.did, COLLECTION.message, known.rkey)
    }
    const did = dice.one(members)
    const rkey = this.#repos.tid()
    const text = record()
    this.messages += 1
    const bold = { index: { byteStart: 0, byteEnd: 3 }, features: [{ $type: 'social.colibri.richtext.facet#bold' }] }
    yield this.#repos.create(
      did,
      COLLECTION.message,
      { ...text, ...(known && what < 0.28 && { parent: known.rkey }), ...(what > 0.9 && { facets: [bold] }) },
      rkey,
    )
    recent.push({ did, rkey })
    if (recent.length > RECENT) recent.shift()
  }

  *#reaction() {
    const dice = this.#dice
    const { members, channels } = this.#community()
    const { recent } = dice.one(channels)
    if (this.#reactions.length > 0 && dice.happens(0.1)) {
      const [{ did, rkey }] = this.#reactions.splice(dice.below(this.#reactions.length), 1)
      return yield this.#repos.delete(did, COLLECTION.reaction, rkey)
    }
    // A channel without messages: somebody posts first.
    if (recent.length === 0) return yield* this.#message()
    const { did: author, rkey: message } = dice.one(recent)
    const did = dice.one(members)
    const rkey = this.#repos.tid()
    // The lexicon's field with an AT-URI, or the shipped client's with an rkey.
    const target = dice.happens(0.3) ? { targetMessage: `at://${author}/${COLLECTION.message}/${message}` } : { parent: message }
    yield this.#repos.create(did, COLLECTION.reaction, { emoji: dice.one(EMOJI), ...target }, rkey)
    this.#reactions.push({ did, rkey })
    if (this.#reactions.length > 10 * RECENT) this.#reactions.shift()
  }

  *#membership() {
    const dice = this.#dice
    if (dice.happens(0.9)) return yield* this.#join(dice.one(this.#authors))
    const { owner, members, joinedBy } = this.#community()
    const leaver = dice.one(members)
    const joined = joinedBy.get(leaver)
    if (leaver === owner || !joined) return yield* this.#join(dice.one(this.#authors))
    members.splice(members.indexOf(leaver), 1)
    joinedBy.delete(leaver)
    yield this.#repos.delete(leaver, COLLECTION.membership, joined.membership)
    yield this.#repos.delete(owner, COLLECTION.approval, joined.approval)
  }

  /** @param {string} author */
  *#join(author) {
    const { owner, uri, members, joinedBy } = this.#community()
    if (joinedBy.has(author)) return
    const repos = this.#repos
    const [membership, approval] = [repos.tid(), repos.tid()]
    yield repos.create(author, COLLECTION.membership, { community: uri, createdAt: repos.now }, membership)
    const membershipUri = `at://${author}/${COLLECTION.membership}/${membership}`
    yield repos.create(owner, COLLECTION.approval, { membership: membershipUri, community: uri, createdAt: repos.now }, approval)
    members.push(author)
    joinedBy.set(author, { membership, approval })
  }

  *#rest() {
    const dice = this.#dice
    const repos = this.#repos
    const did = dice.one(this.#authors)
    const what = dice.roll()
    if (what < 0.4) {
      const { uri } = dice.one(this.#community().channels)
      return yield repos.update(did, COLLECTION.read, repos.tid(), { channel: uri, cursor: repos.now })
    }
    if (what < 0.6) return yield repos.update(did, COLLECTION.actor, 'self', { status: dice.one(WORDS), emoji: dice.one(EMOJI), communities: [] })
    if (what < 0.7) return yield repos.update(did, COLLECTION.profile, 'self', { displayName: this.#text().slice(0, 60), description: this.#text() })
    if (what < 0.95) {
      const stranger = didOf(`stranger ${this.#strangers++}`)
      return yield repos.update(stranger, COLLECTION.profile, 'self', { displayName: this.#text().slice(0, 60), description: this.#text() })
    }
    if (what < 0.98) return yield repos.identity(did, `${did.slice(8, 20)}.test`)
    const { owner, rkey, channels } = this.#community()
    yield repos.update(owner, COLLECTION.channel, channels[0].rkey, { name: this.#text().slice(0, 30), type: 'text', community: rkey })
  }
}
