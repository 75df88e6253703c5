// @ts-check
// What strangers write into the stream during the soak: records that are held, refused, too large or invalid, and
// deletions of records that never existed. The index itself hardly grows.
//
// Promises: a rate, and each kind in turn.

import { Repositories } from '../bench/frames.js'
import { COLLECTION } from '../network/records.js'

/** Accounts of strangers who write. */
const AUTHORS = 50
const OF_HOSTS_PER_SECOND = 10

/** @param {import('../network/jetstream.js').Jetstream} jetstream @param {{ perSecond: number, only: string, channel: string, community: string, hosts: number }} options */
export function flood(jetstream, { perSecond, only, channel, community, hosts }) {
  const repos = new Repositories({ from: Date.now() * 1000 })
  const huge = 'x'.repeat(70_000)
  const deep = JSON.parse(`${'['.repeat(100)}${']'.repeat(100)}`)
  const long = 'k'.repeat(480)
  const records = (/** @type {number} */ n) => {
    const did = `did:plc:evilwriter${n % AUTHORS}`
    const round = Math.floor(n / 18)
    const text = (/** @type {object} */ more = {}) => ({ text: 'x', channel, createdAt: new Date().toISOString(), ...more })
    const create = (/** @type {string} */ collection, /** @type {object} */ record, rkey = `${n}`) => repos.create(did, collection, record, rkey)
    switch (n % 18) {
      case 0: case 1: case 2: case 3:
        return create(COLLECTION.message, text({ channel: `nosuch${n % 7}` }))
      case 4: case 5: case 6: case 7:
        return create(COLLECTION.message, text(), `${n}${long}`)
      case 8: case 9: case 10: case 11:
        return repos.delete(did, [COLLECTION.message, COLLECTION.reaction, COLLECTION.membership, COLLECTION.channel][n % 4], `never${n}`)
      case 12:
        return create(COLLECTION.reaction, { emoji: '👍', targetMessage: `at://did:plc:nobody/${COLLECTION.message}/${n}` })
      case 13:
        return create(COLLECTION.read, { channel: `at://did:plc:nobody/${COLLECTION.channel}/${n}`, cursor: new Date().toISOString() })
      case 14:
        return create(COLLECTION.actor, { status: 'x'.repeat(30) })
      case 15:
        return create(COLLECTION.approval, { membership: `at://did:plc:made${n}/${COLLECTION.membership}/m`, community, createdAt: text().createdAt })
      case 16:
        return round % 10 ? create(COLLECTION.message, text({ facets: deep })) : create(COLLECTION.message, text({ text: huge }))
      default:
        return repos.update(`did:plc:passerby${n}`, COLLECTION.profile, 'self', { displayName: 'x'.repeat(600) })
    }
  }
  const ofHosts = (/** @type {number} */ n) => {
    // For each host whose repositories do not end, somebody has a community, and reports again and again that they
    // moved.
    const did = `did:plc:evilhost${Math.floor(n / 2) % hosts}`
    return n % 2 ? repos.identity(did, `h${n}.test`) : repos.update(did, COLLECTION.community, 'c', { name: 'c', requiresApprovalToJoin: false })
  }
  const beganAt = performance.now()
  const kinds = [
    { name: 'the stream: records', perSecond, write: records, count: 0 },
    { name: 'the stream: people of endless hosts', perSecond: OF_HOSTS_PER_SECOND, write: ofHosts, count: 0 },
  ].filter(({ name }) => only.split(',').some((part) => name.includes(part)))
  const timer = setInterval(() => {
    for (const kind of kinds) {
      for (; kind.count < ((performance.now() - beganAt) / 1000) * kind.perSecond; kind.count++) {
        jetstream.injectFrame(/** @type {any} */ (kind.write(kind.count)))
        if (kind.write === records && kind.count % 50 === 0)
          jetstream.injectText(['{', '[]', '{"kind":"commit","did":7}', `{"did":"${huge}"}`][(kind.count / 50) % 4])
      }
    }
  }, 50)
  return { counts: () => kinds.map(({ name, count }) => ({ name, counts: count > 0 ? { frames: count } : {} })), stop: () => clearInterval(timer) }
}
