// @ts-check
// Creates what the examples of the document name: a community with channels, members, messages, reactions, a ban,
// invites and a file, so that requests from the document find their targets.
//
// Promises: everything is on 127.0.0.1 and ends with the test file.

import { WORLD } from '../e2e/golden/reads.js'
import { openStage } from '../e2e/stage.js'

export const KEY = 'the key of the tests'
const COMMUNITY = 'at://did:plc:owner/social.colibri.community/3kcom'
/** The names the examples use. */
const CODE = '0f3a9c51d2e84b76'
const CID = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

/** What signs pushes: a number below the order of the curve. Nothing is pushed, since nobody is mentioned. */
const VAPID = Buffer.alloc(32, 7).toString('base64url')

/** @returns {Promise<{ service: import('../e2e/harness.js').Service, host: string }>} the service, and a host that it may contact */
export async function openWorld() {
  const stage = await openStage({ env: { INVITE_API_KEY: KEY, VAPID_PRIVATE_KEY: VAPID } })
  const { service, host } = stage
  await stage.say(.../** @type {any} */ (WORLD))
  // More messages than fit on a page, so that there are cursors.
  const many = Array.from({ length: 130 }, (_, n) => {
    const createdAt = new Date(Date.UTC(2026, 1, 1) + n * 1000).toISOString()
    return ['member', 'create', `message/3kmany${n}`, { text: `Message ${n}`, channel: '3kchan', createdAt }]
  })
  await stage.say(.../** @type {any} */ (many))
  const open = { name: 'News', description: '', categoryOrder: [], requiresApprovalToJoin: false }
  await stage.say(
    .../** @type {any} */ ([
      ['owner', 'create', 'community/3kopen', open],
      ['owner', 'create', 'channel/3knews', { name: 'news', type: 'text', community: '3kopen' }],
    ]),
  )

  const guarded = { authorization: `Bearer ${KEY}` }
  const post = async (path, body) => {
    const answer = await service.fetchJson(path, { method: 'POST', headers: guarded, body: JSON.stringify(body) })
    if (answer.status >= 300) throw new Error(`${path} answers ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer.body
  }
  await post('/api/community/ban', { community_uri: COMMUNITY, member_did: 'did:plc:banned' })
  const { code } = await post('/api/invite', { community_uri: COMMUNITY, owner_did: 'did:plc:owner', max_uses: null })
  stage.behindItsBack((db) => db.prepare('UPDATE invites SET code = ? WHERE code = ?').run(CODE, code))

  stage.behindItsBack((db) =>
    db
      .prepare(
        `INSERT INTO reports (id, community_uri, reporter_did, subject, about_did, reason, reported_at)
         VALUES (7, ?, 'did:plc:member', 'did:plc:other', 'did:plc:other', 'spam', '2026-03-01T12:00:00.000Z')`,
      )
      .run(COMMUNITY),
  )

  const services = [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: host.url }]
  host.routes.set('/plc/did:plc:member', { id: 'did:plc:member', service: services })
  const Answer = [{ name: '_atproto.member.example.com', type: 16, TTL: 60, data: '"did=did:plc:member"' }]
  host.routes.set('/dns?name=_atproto.member.example.com&type=TXT', { Status: 0, Answer })
  host.routes.set(`/xrpc/com.atproto.sync.getBlob?did=did%3Aplc%3Amember&cid=${CID}`, [200, Buffer.alloc(0), { 'content-type': 'image/png' }])
  return { service, host: host.url }
}
