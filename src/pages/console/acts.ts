// Every act of the console: what it does in words, and the request that does it. Nothing acts before its confirmation.

import type { Service } from '../../../packages/client/src/index.ts'
import { t } from '../texts/index.ts'

export interface Subject {
  /** The community in which it happens. */
  community: string
  owner: string
  person?: string
  message?: { author: string; rkey: string }
}

export type Name = keyof typeof t.console.acts

export interface Act {
  name: Name
  /** Whether it takes something away from somebody. */
  isGrave?: boolean
  /** Whether a reason goes into the audit log. */
  isLogged?: boolean
  run(operator: Service, subject: Subject, reason: string): Promise<any>
}

const personOf = ({ person }: Subject) => person ?? ''
const ban = (subject: Subject) => ({ community_uri: subject.community, member_did: personOf(subject) })
const banQuery = (subject: Subject) => ({ community: subject.community, member_did: personOf(subject) })
const messageOf = ({ message }: Subject, reason: string) => ({
  author_did: message?.author ?? '',
  rkey: message?.rkey ?? '',
  reason,
})

/** Saves an export as a file. */
async function save(operator: Service, query: { did?: string; community?: string }, name: string) {
  const answer = await operator.request('/api/export', query)
  const link = document.createElement('a')
  link.href = URL.createObjectURL(await answer.blob())
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

const fileOf = (name: string) => `${name.replace(/[^a-z0-9]+/gi, '-')}.jsonl`

export const OF_PERSON: Act[] = [
  {
    name: 'ban',
    isGrave: true,
    isLogged: true,
    run: (operator, subject, reason) => operator.act('POST /api/community/ban', { body: { ...ban(subject), reason } }),
  },
  {
    name: 'unban',
    isLogged: true,
    run: (operator, subject, reason) => operator.act('DELETE /api/community/ban', { query: { ...banQuery(subject), reason } }),
  },
  {
    name: 'kick',
    isGrave: true,
    isLogged: true,
    run: (operator, subject, reason) => operator.act('POST /api/community/kick', { body: { ...ban(subject), reason } }),
  },
  { name: 'sync', run: (operator, subject) => operator.act('POST /api/sync', { body: { did: personOf(subject) } }) },
  { name: 'exportPerson', run: (operator, { person }) => save(operator, { did: person }, fileOf(person ?? '')) },
  { name: 'erase', isGrave: true, run: (operator, subject) => operator.act('DELETE /api/user', { query: { did: personOf(subject) } }) },
  { name: 'lift', run: (operator, subject) => operator.act('DELETE /api/user/erasure', { query: { did: personOf(subject) } }) },
]

export const OF_MESSAGE: Act[] = [
  {
    name: 'block',
    isGrave: true,
    isLogged: true,
    run: (operator, subject, reason) => operator.act('POST /api/message/block', { query: messageOf(subject, reason) }),
  },
  {
    name: 'unblock',
    isLogged: true,
    run: (operator, subject, reason) => operator.act('DELETE /api/message/block', { query: messageOf(subject, reason) }),
  },
]

export const OF_COMMUNITY: Act[] = [
  {
    name: 'invite',
    isLogged: true,
    run: (operator, { community, owner }, reason) =>
      operator.act('POST /api/invite', { body: { community_uri: community, owner_did: owner, reason } }),
  },
  { name: 'exportCommunity', run: (operator, { community }) => save(operator, { community }, fileOf(community)) },
]
