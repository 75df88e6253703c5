// @ts-check
// The demo world of `npm start`: two people, a community with a text and a voice channel, a first message.
//
// Promises: created once per state folder; every record has a fixed key, so an interrupted creation is simply repeated;
// demo.json contains what `npm run post` and `npm run listen` need.

import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { LOCAL_DIR } from './paths.js'
import { Refusal } from './progress.js'

export const DEMO_DIR = join(LOCAL_DIR, 'demo')
const DEMO_FILE = join(DEMO_DIR, 'demo.json')

const OWNER = 'alice'
const MEMBER = 'bob'
/** Records that exist once per community have readable keys, so that the addresses below can be typed. */
const COMMUNITY = 'garden'
const CATEGORY = 'paths'
const TEXT_CHANNEL = 'hall'
const VOICE_CHANNEL = 'lounge'

/** The data of the last `npm start`, or undefined. */
export function readDemo() {
  return existsSync(DEMO_FILE) ? JSON.parse(readFileSync(DEMO_FILE, 'utf8')) : undefined
}

/** The same for commands that cannot work without it. */
export function runningDemo() {
  const demo = readDemo()
  if (!demo) throw new Refusal('There is no demo yet. Start it in another terminal: npm start')
  return demo
}

function keep(demo) {
  writeFileSync(`${DEMO_FILE}.new`, JSON.stringify(demo, null, 2))
  renameSync(`${DEMO_FILE}.new`, DEMO_FILE)
}

async function person(network, name) {
  return network.signIn(name).catch(() => network.createAccount(name))
}

/**
 * Creates the demo on a network, or finds it there. Resolves with the contents of demo.json.
 * @param {import("../tests/network/client.js").Network} network
 * @param {typeof import("../tests/network/records.js")} records
 * @param {string} service the URL of the service
 */
export async function createDemo(network, records, service) {
  const addresses = { service, pds: network.pds, plc: network.plc, jetstream: network.jetstream }
  const made = readDemo()
  if (made) {
    const demo = { ...made, ...addresses }
    keep(demo)
    return demo
  }
  const { COLLECTION } = records
  const [alice, bob] = [await person(network, OWNER), await person(network, MEMBER)]
  const communityUri = `at://${alice.did}/${COLLECTION.community}/${COMMUNITY}`
  const membershipUri = `at://${bob.did}/${COLLECTION.membership}/${COMMUNITY}`
  const writes = [
    [alice, COLLECTION.profile, 'self', records.profile({ displayName: 'Alice' })],
    [bob, COLLECTION.profile, 'self', records.profile({ displayName: 'Bob' })],
    [
      alice,
      COLLECTION.community,
      COMMUNITY,
      records.community({ name: 'Garden', description: 'A demo', categoryOrder: [CATEGORY] }),
    ],
    [
      alice,
      COLLECTION.category,
      CATEGORY,
      records.category({ name: 'Paths', community: COMMUNITY, channelOrder: [TEXT_CHANNEL, VOICE_CHANNEL] }),
    ],
    [alice, COLLECTION.channel, TEXT_CHANNEL, records.channel({ name: 'hall', community: COMMUNITY, category: CATEGORY })],
    [
      alice,
      COLLECTION.channel,
      VOICE_CHANNEL,
      records.channel({ name: 'lounge', type: 'voice', community: COMMUNITY, category: CATEGORY }),
    ],
    [bob, COLLECTION.membership, COMMUNITY, records.membership(communityUri)],
    [alice, COLLECTION.approval, MEMBER, records.approval(membershipUri, communityUri)],
    [alice, COLLECTION.message, 'welcome', records.message(TEXT_CHANNEL, 'Welcome to the garden!')],
  ]
  for (const [author, collection, rkey, record] of writes) await author.put(collection, rkey, record)
  const account = ({ did, handle, password }) => ({ did, handle, password })
  const demo = {
    ...addresses,
    communityUri,
    textChannel: TEXT_CHANNEL,
    voiceChannel: VOICE_CHANNEL,
    people: { [OWNER]: account(alice), [MEMBER]: account(bob) },
  }
  keep(demo)
  return demo
}
