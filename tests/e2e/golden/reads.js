// The exact bodies of the reads, for the world of rest-reads.test.js. Each says who breaks if it changes: a change here
// is a change of the contract (sections 2 and 3), not of a test. `RECEIVED` represents a receive time (H10).

export const RECEIVED = '<received>'

const nobody = {
  display_name: null,
  avatar_url: null,
  banner_url: null,
  description: null,
  handle: null,
  status_text: null,
  emoji: null,
  state: null,
}
const owner = { ...nobody, display_name: 'Owner' }
const member = {
  ...nobody,
  display_name: 'Member One',
  avatar_url: 'https://cdn.bsky.app/img/avatar/plain/did:plc:member/bafkreia@jpeg',
  banner_url: 'https://cdn.bsky.app/img/feed_thumbnail/plain/did:plc:member/bafkreib@jpeg',
  description: 'Plants people',
  status_text: 'Reading',
  emoji: '📚',
}

const welcome = {
  id: 'e883def7-0d20-5975-98ce-05bffc38a4fa',
  rkey: '3kmsg1',
  author_did: 'did:plc:owner',
  text: 'Welcome',
  channel: '3kchan',
  created_at: '2026-03-01T11:59:00.000Z',
  indexed_at: RECEIVED,
  edited: false,
  parent: null,
  facets: null,
  attachments: null,
  ...owner,
}

const reactions = [
  {
    emoji: '👍',
    count: 2,
    reactor_dids: ['did:plc:owner', 'did:plc:member'],
    authors: ['did:plc:owner', 'did:plc:member'],
    rkeys: ['3kra', '3krb'],
  },
  { emoji: '🌿', count: 1, reactor_dids: ['did:plc:owner'], authors: ['did:plc:owner'], rkeys: ['3krc'] },
]

const hello = {
  id: '2f63fd0e-f108-5adc-86df-02c8dd3239e3',
  rkey: '3kmsg2',
  author_did: 'did:plc:member',
  text: 'Hello!',
  channel: '3kchan',
  created_at: '2026-03-01T13:00:00+01:00',
  indexed_at: RECEIVED,
  edited: false,
  parent: '3kmsg1',
  facets: [],
  attachments: [],
  ...member,
  parent_message: welcome,
  reactions,
}

const garden = {
  owner_did: 'did:plc:owner',
  rkey: '3kcom',
  name: 'Garden',
  description: 'Plants',
  picture: { $type: 'blob', ref: { $link: 'bafkreib' }, mimeType: 'image/png', size: 12345 },
  category_order: ['3kcat'],
  requires_approval_to_join: true,
}

const hall = {
  uri: 'at://did:plc:owner/social.colibri.channel/3kchan',
  rkey: '3kchan',
  community_uri: 'at://did:plc:owner/social.colibri.community/3kcom',
  name: 'hall',
  description: null,
  channel_type: 'text',
  category_rkey: '3kcat',
  owner_only: false,
  voice_members: [],
}
const stage = {
  uri: 'at://did:plc:owner/social.colibri.channel/3kvoice',
  rkey: '3kvoice',
  community_uri: 'at://did:plc:owner/social.colibri.community/3kcom',
  name: 'stage',
  description: 'Talk here',
  channel_type: 'voice',
  category_rkey: null,
  owner_only: true,
  voice_members: [],
}

const COMMUNITY = 'at://did:plc:owner/social.colibri.community/3kcom'

export const GOLDEN = {
  R01: {
    path: '/api/messages?channel=3kchan',
    breaks:
      'the web client: it hashes text, facets, channel, created_at, parent and attachments (W08) and shows the rest by name',
    body: [hello, { ...welcome, parent_message: null, reactions: [] }],
  },
  'R01 all': {
    path: '/api/messages?channel=3kchan&all=',
    breaks: 'the web client, when it deletes a community: author_did, rkey, reactions[].authors and .rkeys (W10)',
    body: [hello, { ...welcome, parent_message: null, reactions: [] }],
  },
  R02: {
    path: '/api/message?author=did:plc:member&rkey=3kmsg2',
    breaks: 'clients that open a link to one message',
    body: { ...hello, reply_count: 0 },
  },
  R04: {
    path: '/api/authors?did=did:plc:member',
    breaks: 'clients that show somebody who is no member',
    body: {
      did: 'did:plc:member',
      display_name: 'Member One',
      avatar_url: member.avatar_url,
      banner_url: member.banner_url,
      description: 'Plants people',
      handle: null,
      status: 'Reading',
      status_text: 'Reading',
      emoji: '📚',
      state: null,
      updated_at: RECEIVED,
    },
  },
  R05: {
    path: '/api/reactions?message=3kmsg2',
    breaks: 'clients that show the reactions of a message',
    body: reactions,
  },
  R06: {
    path: '/api/reactions/channel?channel=at://did:plc:owner/social.colibri.channel/3kchan',
    breaks: 'clients that show the reactions of a channel: they find a message by its rkey',
    body: { '3kmsg2': reactions },
  },
  R07: {
    path: '/api/community?community=3kcom',
    breaks: 'the web client (W21): it asks by bare rkey and builds the picture from picture.ref.$link (W13)',
    body: garden,
  },
  R11: {
    path: '/api/communities?did=did:plc:member',
    breaks: 'the web client: the list of communities at the left, and its join flow (W16)',
    body: {
      owned: [
        {
          ...garden,
          owner_did: 'did:plc:member',
          rkey: '3kown',
          name: 'Own',
          description: null,
          picture: null,
          category_order: null,
        },
      ],
      joined: [garden],
    },
  },
  R12: {
    path: `/api/channels?community=${COMMUNITY}`,
    breaks: 'clients that list channels',
    body: [hall, stage],
  },
  R13: {
    path: `/api/sidebar?community=${COMMUNITY}`,
    breaks: 'the web client: the whole sidebar of a community',
    body: {
      categories: [
        {
          uri: 'at://did:plc:owner/social.colibri.category/3kcat',
          rkey: '3kcat',
          name: 'General',
          channel_order: ['3kchan'],
          channels: [hall],
        },
      ],
      uncategorized: [stage],
    },
  },
  R14: {
    path: `/api/members?community=${COMMUNITY}`,
    breaks: 'the web client: the list of members, mentions, and its join flow (W16)',
    body: [
      { member_did: 'did:plc:owner', status: 'owner', ...owner },
      { member_did: 'did:plc:member', status: 'approved', ...member },
      { member_did: 'did:plc:guest', status: 'pending', ...nobody },
    ],
  },
  R22: {
    path: '/api/channel-reads?did=did:plc:member',
    breaks: 'clients that mark channels as unread',
    body: [{ channel_uri: hall.uri, cursor_at: '2026-03-15T14:30:00.000Z' }],
  },
}

/** The frames of this world. */
export const WORLD = [
  [
    'owner',
    'create',
    'community/3kcom',
    { name: 'Garden', description: 'Plants', picture: garden.picture, categoryOrder: ['3kcat'], requiresApprovalToJoin: true },
  ],
  ['owner', 'create', 'category/3kcat', { name: 'General', community: '3kcom', channelOrder: ['3kchan'] }],
  ['owner', 'create', 'channel/3kchan', { name: 'hall', type: 'text', community: '3kcom', category: '3kcat' }],
  [
    'owner',
    'create',
    'channel/3kvoice',
    { name: 'stage', description: 'Talk here', type: 'voice', community: '3kcom', ownerOnly: true },
  ],
  ['member', 'create', 'membership/m', { community: COMMUNITY }],
  ['guest', 'create', 'membership/m', { community: COMMUNITY }],
  ['owner', 'create', 'approval/a', { membership: 'at://did:plc:member/social.colibri.membership/m', community: COMMUNITY }],
  ['member', 'create', 'community/3kown', { name: 'Own' }],
  ['owner', 'create', 'app.bsky.actor.profile/self', { displayName: 'Owner' }],
  [
    'member',
    'create',
    'app.bsky.actor.profile/self',
    {
      displayName: 'Member One',
      description: 'Plants people',
      avatar: { $type: 'blob', ref: { $link: 'bafkreia' }, mimeType: 'image/png', size: 1 },
      banner: { $type: 'blob', ref: { $link: 'bafkreib' }, mimeType: 'image/png', size: 1 },
    },
  ],
  ['owner', 'create', 'message/3kmsg1', { text: 'Welcome', channel: '3kchan', createdAt: '2026-03-01T11:59:00.000Z' }],
  [
    'member',
    'create',
    'message/3kmsg2',
    { text: 'Hello!', channel: '3kchan', createdAt: '2026-03-01T13:00:00+01:00', parent: '3kmsg1', facets: [], attachments: [] },
  ],
  ['owner', 'create', 'reaction/3kra', { emoji: '👍', parent: '3kmsg2' }],
  ['owner', 'create', 'reaction/3krc', { emoji: '🌿', parent: '3kmsg2' }],
  ['member', 'create', 'reaction/3krb', { emoji: '👍', targetMessage: 'at://did:plc:member/social.colibri.message/3kmsg2' }],
  ['member', 'create', 'channel.read/r', { channel: hall.uri, cursor: '2026-03-15T15:30:00+01:00' }],
  ['member', 'create', 'actor.data/self', { status: 'Reading', emoji: '📚' }],
]
