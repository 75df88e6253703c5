// @ts-check
// Many people on two PDSes in one community, and their messages: for tests and benchmarks of reading repositories.

import { WRITES_PER_COMMIT } from './account.js'
import { COLLECTION } from './records.js'

/** Accounts created at the same time: hashing passwords takes most of the time. */
const AT_ONCE = 4

/**
 * alice on the first PDS owns an open community with a channel; everybody, on both PDSes in turn, is a member of it.
 *
 * @param {import('./client.js').Network} network with two PDSes @param {number} count
 */
export async function gather(network, count) {
  const alice = await network.createAccount('alice')
  const community = await alice.community({ name: 'Crowd', requiresApprovalToJoin: false })
  const channel = await alice.channel({ name: 'hall', type: 'text', community: community.rkey })
  /** @type {import('./account.js').Account[]} */
  const people = []
  for (let first = 0; first < count; first += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, count - first) }, async (_, n) => {
      const pds = (first + n) % 2 === 1 ? network.pds2 : network.pds
      const account = await network.createAccount(`person${first + n}`, undefined, pds)
      await account.membership(community.uri)
      return account
    })
    people.push(...(await Promise.all(some)))
  }
  return { alice, community, channel, people }
}

/**
 * Everybody writes about `total / people.length` messages.
 *
 * @param {import('./account.js').Account[]} people @param {string} channel rkey or AT-URI @param {number} total
 */
export async function chatter(people, channel, total) {
  const each = Math.ceil(total / people.length)
  for (const [n, person] of people.entries()) {
    for (let done = 0; done < each; done += WRITES_PER_COMMIT) {
      const texts = Array.from({ length: Math.min(WRITES_PER_COMMIT, each - done) }, (_, m) => ({
        text: `person ${n}, message ${done + m}`,
        channel,
        createdAt: new Date().toISOString(),
      }))
      await person.createMany(COLLECTION.message, texts)
    }
  }
  return each * people.length
}

/**
 * Every message of a channel as REST has it, by AT-URI.
 *
 * @param {{fetchJson(path: string): Promise<{headers: Headers, body: any}>}} service @param {string} channel
 */
export async function shownMessages(service, channel) {
  /** @type {Map<string, any>} */
  const shown = new Map()
  for (let cursor = ''; ;) {
    const path = `/api/messages?channel=${encodeURIComponent(channel)}&limit=100${cursor && `&cursor=${encodeURIComponent(cursor)}`}`
    const { headers, body } = await service.fetchJson(path)
    for (const message of body) shown.set(`at://${message.author_did}/${COLLECTION.message}/${message.rkey}`, message)
    cursor = headers.get('colibri-cursor') ?? ''
    if (cursor === '') return shown
  }
}

/** Every message that these people's PDSes list, by AT-URI. @param {import('./account.js').Account[]} people */
export async function listedMessages(people) {
  /** @type {Map<string, any>} */
  const listed = new Map()
  for (const person of people) {
    for (const { uri, value } of await person.list(COLLECTION.message)) listed.set(uri, value)
  }
  return listed
}
