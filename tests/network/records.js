// @ts-check
// Valid records of the lexicons that this service reads, for tests that need a community rather than JSON.
//
// Every builder returns the record alone; `Account` writes it. A reference to another record takes what the lexicon
// takes, an AT-URI or an rkey, unchanged. `extra` fields override all others, so that a test can also break a record.

/** The name of each collection. */
export const COLLECTION = Object.freeze({
  community: 'social.colibri.community',
  category: 'social.colibri.category',
  channel: 'social.colibri.channel',
  membership: 'social.colibri.membership',
  approval: 'social.colibri.approval',
  member: 'social.colibri.member',
  role: 'social.colibri.role',
  moderation: 'social.colibri.moderation',
  message: 'social.colibri.message',
  reaction: 'social.colibri.reaction',
  actor: 'social.colibri.actor.data',
  actorProfile: 'social.colibri.actor.profile',
  mute: 'social.colibri.actor.mute',
  read: 'social.colibri.channel.read',
  profile: 'app.bsky.actor.profile',
})

/** @typedef {Record<string, unknown> & {$type: string}} AtRecord */

/**
 * @param {{name: string, description?: string, picture?: object, categoryOrder?: string[], requiresApprovalToJoin?: boolean}} fields
 * @returns {AtRecord}
 */
export function community(fields) {
  return { $type: COLLECTION.community, description: '', categoryOrder: [], requiresApprovalToJoin: true, ...fields }
}

/** @param {{name: string, community: string, channelOrder?: string[]}} fields @returns {AtRecord} */
export function category(fields) {
  return { $type: COLLECTION.category, channelOrder: [], ...fields }
}

/**
 * @param {{name: string, community: string, type?: string, category?: string, description?: string, ownerOnly?: boolean}} fields
 * @returns {AtRecord}
 */
export function channel(fields) {
  return { $type: COLLECTION.channel, type: 'text', ...fields }
}

/** @param {string} communityUri @param {object} [extra] @returns {AtRecord} */
export function membership(communityUri, extra) {
  return { $type: COLLECTION.membership, community: communityUri, createdAt: now(), ...extra }
}

/** @param {string} membershipUri @param {string} communityUri @param {object} [extra] @returns {AtRecord} */
export function approval(membershipUri, communityUri, extra) {
  return { $type: COLLECTION.approval, membership: membershipUri, community: communityUri, createdAt: now(), ...extra }
}

/** An admission to a community of the newest form. @param {string} subject @param {object} [extra] @returns {AtRecord} */
export function member(subject, extra) {
  return { $type: COLLECTION.member, subject, roles: [], joinedAt: now(), ...extra }
}

/** @param {{name: string, position: number, permissions?: string[], protected?: boolean}} fields @returns {AtRecord} */
export function role(fields) {
  return { $type: COLLECTION.role, permissions: [], ...fields }
}

/**
 * A decision of a community of the newest form.
 * @param {string} action @param {{did: string} | {uri: string}} subject @param {object} [extra] @returns {AtRecord}
 */
export function moderation(action, subject, extra) {
  return { $type: COLLECTION.moderation, action, subject, createdAt: now(), ...extra }
}

/** @param {string} channel rkey or AT-URI @param {string} text @param {object} [extra] @returns {AtRecord} */
export function message(channel, text, extra) {
  return { $type: COLLECTION.message, channel, text, createdAt: now(), ...extra }
}

/** @param {string} targetMessage rkey or AT-URI @param {string} emoji @param {object} [extra] @returns {AtRecord} */
export function reaction(targetMessage, emoji, extra) {
  return { $type: COLLECTION.reaction, targetMessage, emoji, ...extra }
}

/** @param {{status: string, emoji?: string, communities?: string[]}} fields @returns {AtRecord} */
export function actor(fields) {
  return { $type: COLLECTION.actor, communities: [], ...fields }
}

/** @param {{displayName?: string, description?: string, avatar?: object, banner?: object}} fields @returns {AtRecord} */
export function profile(fields) {
  return { $type: COLLECTION.profile, ...fields }
}

/** @param {string} channelUri @param {string} [cursor] RFC 3339; now when left out @returns {AtRecord} */
export function read(channelUri, cursor = now()) {
  return { $type: COLLECTION.read, channel: channelUri, cursor }
}

function now() {
  return new Date().toISOString()
}
