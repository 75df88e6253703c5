// @ts-check
// The commands of `npm run admin`: what each does, its arguments and options, and the request of the HTTP API that does
// it. The rules are the API's (docs/contract.md, section 3); nothing is decided here.
//
// Words of `arguments` that mean something: COMMUNITY is an AT-URI, an rkey or a name; PERSON is a DID or a handle;
// MESSAGE is an AT-URI. A command without `request` is performed in admin.js. Uses nothing, because the help of every
// command is made from it.

/**
 * @typedef {{ value?: string, default?: string, about: string }} Option
 * @typedef {Record<string, any>} Given the arguments by their names in lower case, and the options
 * @typedef {[method: string, path: string, sent?: { query?: Record<string, any>, body?: object }]} Asked
 *
 * @typedef {object} AdminCommand
 * @property {string} about @property {string} [arguments] @property {Record<string, Option>} [options]
 * @property {(given: Given) => Asked} [request]
 * @property {string} [warns] what it will do, for commands that cannot be undone; --yes is the consent
 * @property {boolean} [isLocal] needs no running service, and takes neither --url nor a key
 */

const REASON = { value: 'TEXT', about: 'why, for the audit log' }
const UNTIL = { value: 'TIME', about: 'when it ends by itself, such as 2026-03-02T12:00:00Z' }
const STATE = { value: 'DIR', about: 'the folder of that `serve`, as it was given there' }
const YES = { about: 'do it without asking' }

/** @param {string} method @param {Given} given @returns {Asked} */
const ofMessage = (method, { message, reason }) => {
  const [, , author, , rkey] = message.split('/')
  return [method, '/api/message/block', { query: { author_did: author, rkey, reason } }]
}

/** @type {Record<string, AdminCommand>} */
export const ADMIN = {
  status: { about: 'Whether the service works, part by part.' },
  doctor: {
    about: 'Checks variables, key, DNS, hosts, schema, disk and the running service, and says what is wrong.',
    options: { state: STATE },
  },
  statistics: { about: 'Who is present, and how many are in which community.', request: () => ['GET', '/api/statistics'] },
  restart: {
    about: 'Lets a part start afresh: sockets, calls, stream or all. Clients come back and miss nothing.',
    arguments: 'SCOPE',
    request: ({ scope }) => ['POST', '/api/admin/restart', { body: { scope } }],
  },
  'community list': { about: 'Every known community.' },
  'community members': {
    about: 'The members of a community.',
    arguments: 'COMMUNITY',
    request: ({ community }) => ['GET', '/api/members', { query: { community } }],
  },
  'community moderators': {
    about: 'The moderators of a community; with PERSONs, names these and no others.',
    arguments: 'COMMUNITY [PERSON …]',
    request: ({ community, people }) =>
      people.length === 0
        ? ['GET', '/api/community/moderators', { query: { community } }]
        : ['PUT', '/api/community/moderators', { body: { community_uri: community, moderators: people } }],
  },
  'community members-only': {
    about: 'Whether only members read a community: on or off.',
    arguments: 'COMMUNITY [on|off]',
    request: ({ community, setting }) =>
      setting === undefined
        ? ['GET', '/api/community/members-only', { query: { community } }]
        : ['PUT', '/api/community/members-only', { body: { community_uri: community, members_only: setting === 'on' } }],
  },
  ban: {
    about: 'Bans a person from a community.',
    arguments: 'COMMUNITY PERSON',
    options: { until: UNTIL, reason: REASON },
    request: ({ community, person, until, reason }) => [
      'POST',
      '/api/community/ban',
      { body: { community_uri: community, member_did: person, until, reason } },
    ],
  },
  unban: {
    about: 'Ends a ban.',
    arguments: 'COMMUNITY PERSON',
    options: { reason: REASON },
    request: ({ community, person, reason }) => ['DELETE', '/api/community/ban', { query: { community, member_did: person, reason } }],
  },
  bans: { about: 'Who is banned.', arguments: 'COMMUNITY', request: ({ community }) => ['GET', '/api/community/bans', { query: { community } }] },
  kick: {
    about: 'Ends a membership; the person may apply again.',
    arguments: 'COMMUNITY PERSON',
    options: { reason: REASON },
    request: ({ community, person, reason }) => ['POST', '/api/community/kick', { body: { community_uri: community, member_did: person, reason } }],
  },
  block: {
    about: 'Hides a message.',
    arguments: 'MESSAGE',
    options: { reason: REASON },
    request: (given) => ofMessage('POST', given),
  },
  unblock: {
    about: 'Shows a blocked message again.',
    arguments: 'MESSAGE',
    options: { reason: REASON },
    request: (given) => ofMessage('DELETE', given),
  },
  invite: {
    about: 'Makes an invite.',
    arguments: 'COMMUNITY',
    options: { 'max-uses': { value: 'N', about: 'how often it can be used; without it, without end' } },
    request: ({ community, ...given }) => [
      'POST',
      '/api/invite',
      { body: { community_uri: community, owner_did: community.split('/')[2], max_uses: given['max-uses'] && Number(given['max-uses']) } },
    ],
  },
  invites: { about: 'The invites of a community.', arguments: 'COMMUNITY', request: ({ community }) => ['GET', '/api/invites', { query: { community } }] },
  'invite revoke': {
    about: 'Makes an invite useless.',
    arguments: 'COMMUNITY CODE',
    request: ({ community, code }) => ['DELETE', `/api/invite/${encodeURIComponent(code)}`, { query: { owner_did: community.split('/')[2] } }],
  },
  audit: {
    about: 'What was done in a community, newest first.',
    arguments: 'COMMUNITY',
    options: { limit: { value: 'N', default: '50', about: 'how many acts' } },
    request: ({ community, limit }) => ['GET', '/api/audit', { query: { community, limit } }],
  },
  sync: {
    about: "Reads a person's repository again.",
    arguments: 'PERSON',
    request: ({ person }) => ['POST', '/api/sync', { body: { did: person } }],
  },
  export: {
    about: 'Writes the records of a community or of a person to a new file.',
    arguments: 'FILE',
    options: {
      community: { value: 'COMMUNITY', about: 'the records of a community' },
      person: { value: 'PERSON', about: 'the records of a person' },
    },
  },
  import: {
    about: 'Plays an export to a service: the same as `npm run import`.',
    arguments: 'FILE',
    options: {
      state: STATE,
      url: { value: 'SERVICE', about: 'the URL of a running service instead' },
      port: { value: 'PORT', about: 'where that service reads its stream' },
      merge: { about: 'add to what is there' },
    },
    isLocal: true,
  },
  erase: {
    about: 'Erases everything that is kept about a person.',
    arguments: 'PERSON',
    options: { yes: YES },
    warns: 'Everything that this service keeps about that person goes, in every community, and nothing of them is indexed any more.',
    request: ({ person }) => ['DELETE', '/api/user', { query: { did: person } }],
  },
  'erase status': {
    about: 'How far an erasure is.',
    arguments: 'PERSON',
    request: ({ person }) => ['GET', '/api/user/erasure', { query: { did: person } }],
  },
  'erase lift': {
    about: "Indexes an erased person's repository again.",
    arguments: 'PERSON',
    request: ({ person }) => ['DELETE', '/api/user/erasure', { query: { did: person } }],
  },
  backup: { about: 'Copies the state of a `serve`: the same as `npm run backup`.', arguments: 'FOLDER', options: { state: STATE }, isLocal: true },
  restore: {
    about: 'Makes the state of a `serve` that of a backup: the same as `npm run restore`.',
    arguments: 'FOLDER',
    options: { state: STATE, replace: { about: 'also if the folder has a state, which stays beside the new one' } },
    isLocal: true,
  },
}
