// @ts-check
// An index of any size, written straight into the database of a service that is not running: a million messages take
// seconds instead of the minutes they would take through the stream.
//
// Promises: the same numbers give the same rows; indexes are those of the migrations (dropped while rows are inserted,
// and created again from their own text); rows are like those of ingest, with people, replies and reactions in addition
// to messages.

import { DatabaseSync } from 'node:sqlite'

import { databaseFile } from './databases.js'
import { didOf, Repositories } from './frames.js'

const OWNER = didOf('owner')
const MEMBER = didOf('member 0')
const COMMUNITY = `at://${OWNER}/social.colibri.community/bench`
const channelOf = (rkey) => `at://${OWNER}/social.colibri.channel/${rkey}`
const REV = '3maaaaaaaaaaa'
const BEGAN = '2026-01-01T00:00:00.000000Z'

/** What can be asked of the index that [`fill`] makes. `{n}` stands for a number that no other request has: what was not asked
 * for before is not kept, but read. */
export const PATHS = {
  'messages, short channel': `/api/messages?channel=${channelOf('small')}`,
  'messages, long channel': `/api/messages?channel=${channelOf('large')}`,
  'unkept messages, short channel': `/api/messages?channel=${channelOf('small')}&n={n}`,
  'unkept messages, long channel': `/api/messages?channel=${channelOf('large')}&n={n}`,
  'search, a common word': `/api/search?community=${COMMUNITY}&q=line&n={n}`,
  'search, a rare word': `/api/search?community=${COMMUNITY}&q=4711&n={n}`,
  'search, a phrase': `/api/search?community=${COMMUNITY}&q=more-than-that&n={n}`,
  'sidebar, 60 channels': `/api/sidebar?community=${COMMUNITY}`,
  'members, 1,000': `/api/members?community=${COMMUNITY}`,
  'communities, 20': `/api/communities?did=${MEMBER}`,
  'authors': `/api/authors?did=${MEMBER}`,
}

/** What stands for the owner among the words of a message (`src/wire/words.rs`). */
const PLACE = `\ue000o${[...OWNER]
  .reduce((hash, letter) => BigInt.asUintN(64, (hash ^ BigInt(letter.charCodeAt(0))) * 0x100000001b3n), 0xcbf29ce484222325n)
  .toString(16)
  .padStart(16, '0')}`

/**
 * @param {string} state a state folder of `npm run serve`, whose service is not running
 * @param {{ small: number, large: number, members: number, channels: number }} size
 */
export function fill(state, { small, large, members, channels }) {
  const db = new DatabaseSync(databaseFile(state))
  const insert = (table, row) => {
    const names = Object.keys(row)
    const statement = db.prepare(`INSERT INTO ${table} (${names}) VALUES (${names.map(() => '?')})`)
    const add = (values) => statement.run(...names.map((name) => values[name]))
    add(row)
    return add
  }
  try {
    db.exec('PRAGMA synchronous = OFF; PRAGMA cache_size = -200000; PRAGMA temp_store = MEMORY')
    const indexes = db
      .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name IN ('messages', 'reactions') AND sql IS NOT NULL")
      .all()
    db.exec('BEGIN')
    for (const { name } of indexes) db.exec(`DROP INDEX "${name}"`)
    const stamp = { rev: REV, indexed_at: BEGAN }

    const community = (rkey, name) => ({
      uri: `at://${OWNER}/social.colibri.community/${rkey}`,
      owner_did: OWNER,
      rkey,
      name,
      description: 'Made for a benchmark',
      picture: '{"$type":"blob","ref":{"$link":"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},"mimeType":"image/png","size":12345}',
      category_order: JSON.stringify(Array.from({ length: 6 }, (_, n) => `category${n}`)),
      requires_approval_to_join: 0,
      ...stamp,
    })
    const addCommunity = insert('communities', community('bench', 'Bench'))
    for (let n = 1; n < 20; n++) addCommunity(community(`bench${n}`, `Bench ${n}`))

    const category = (n) => ({
      uri: `at://${OWNER}/social.colibri.category/category${n}`,
      rkey: `category${n}`,
      community_uri: COMMUNITY,
      name: `Category ${n}`,
      channel_order: null,
      ...stamp,
    })
    const addCategory = insert('categories', category(0))
    for (let n = 1; n < 6; n++) addCategory(category(n))

    const channel = (rkey, n) => ({
      uri: channelOf(rkey),
      rkey,
      community_uri: COMMUNITY,
      name: rkey,
      description: 'What is said here',
      channel_type: 'text',
      category_rkey: `category${n % 6}`,
      owner_only: 0,
      ...stamp,
    })
    const addChannel = insert('channels', channel('small', 0))
    addChannel(channel('large', 1))
    for (let n = 2; n < channels; n++) addChannel(channel(`channel${n}`, n))

    const person = (did, n) => ({
      did,
      handle: `member${n}.example.com`,
      display_name: `Member ${n}`,
      avatar_cid: 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku',
      banner_cid: null,
      description: 'Somebody who is a member of a community that was made for a benchmark',
      status_text: 'Reading',
      emoji: '📚',
      state: null,
      updated_at: BEGAN,
    })
    const membership = (did, uri, n) => ({
      uri: `at://${did}/social.colibri.membership/m${n}`,
      member_did: did,
      community_uri: uri,
      ...stamp,
    })
    const approval = (did) => ({
      uri: `at://${OWNER}/social.colibri.approval/${did.slice(8)}`,
      approver_did: OWNER,
      membership_uri: `at://${did}/social.colibri.membership/m0`,
      community_uri: COMMUNITY,
      ...stamp,
    })
    const dids = Array.from({ length: members - 1 }, (_, n) => didOf(`member ${n}`))
    const addPerson = insert('people', person(OWNER, 'owner'))
    const addMembership = insert('memberships', membership(MEMBER, COMMUNITY, 0))
    const addApproval = insert('approvals', approval(MEMBER))
    for (let n = 1; n < 20; n++) addMembership(membership(MEMBER, `at://${OWNER}/social.colibri.community/bench${n}`, n))
    for (const [n, did] of dids.entries()) {
      addPerson(person(did, n))
      if (n === 0) continue
      addMembership(membership(did, COMMUNITY, 0))
      addApproval(approval(did))
    }

    let addMessage, addReaction
    const addWords = db.prepare('INSERT INTO message_words (rowid, words) SELECT rowid, ? FROM messages WHERE uri = ?')
    for (const [rkey, count] of /** @type {[string, number][]} */ ([['small', small], ['large', large]])) {
      const repositories = new Repositories({ from: Date.UTC(2026, 0, 1) * 1000, step: 1_000_000 })
      let parent = null
      for (let n = 0; n < count; n++) {
        const did = dids[(n * 7) % dids.length]
        const { time_us, commit } = repositories.create(did, 'social.colibri.message', {})
        const at = new Date(time_us / 1000).toISOString()
        const uri = `at://${did}/social.colibri.message/${commit.rkey}${rkey}`
        const message = {
          uri,
          author_did: did,
          rkey: `${commit.rkey}${rkey}`,
          channel_uri: channelOf(rkey),
          channel: rkey,
          text: `Message ${n} says as much as people say, which is about a line of text and no more than that.`,
          created_at: at,
          sort_at: at.replace('Z', '000Z'),
          indexed_at: at.replace('Z', '000Z'),
          edited: 0,
          parent: n % 10 === 9 ? parent : null,
          facets: null,
          attachments: null,
          rev: REV,
        }
        if (addMessage) addMessage(message)
        else addMessage = insert('messages', message)
        addWords.run(`${message.text.toLowerCase().replace(/[,.]/g, '')} ${PLACE}`, uri)
        parent = message.rkey
        if (n % 5 > 0 || n < count - 10_000) continue
        for (const [m, emoji] of ['👍', '👍', '🌿'].entries()) {
          const reactor = dids[(n + m) % dids.length]
          const reaction = { uri: `at://${reactor}/social.colibri.reaction/${commit.rkey}${rkey}${m}`, reactor_did: reactor, target_uri: uri, emoji, ...stamp }
          if (addReaction) addReaction(reaction)
          else addReaction = insert('reactions', reaction)
        }
      }
    }
    for (const { sql } of indexes) db.exec(String(sql))
    db.exec('COMMIT; PRAGMA wal_checkpoint(TRUNCATE)')
  } finally {
    db.close()
  }
}
