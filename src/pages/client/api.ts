// REST: requests to the service that serves this page, and the shapes of its answers (/openapi.json has all of them).

/** An answer of the service or of a PDS that is not a success. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message)
  }
}

export type Query = Record<string, string | number | undefined>

/** The successful answer to a request; every other one is thrown as `Refused`. */
export async function answerOf(address: string, init?: RequestInit): Promise<Response> {
  const answer = await fetch(address, init)
  if (answer.ok) return answer
  const { error, message } = await answer.json().catch(() => ({}))
  throw new Refused(answer.status, error ?? '', message ?? `${answer.status} ${answer.statusText}`)
}

export const withQuery = (path: string, query: Query) => {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '')
  return given.length > 0 ? `${path}?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : path
}

/** The headers of a request with a proof, for what only members may read (X41). */
const proven = (proof?: string): RequestInit => (proof ? { headers: { authorization: `Bearer ${proof}` } } : {})

/** Reads from the service. */
export async function read<T>(path: string, query: Query = {}, proof?: string): Promise<T> {
  return (await answerOf(withQuery(path, query), proven(proof))).json()
}

/** One page of a list; `next` is the cursor of the page after it, if there is one. */
export interface Page<T> {
  rows: T[]
  next?: string
}

export const pageOf = async (answer: Response) => ({
  rows: await answer.json(),
  next: answer.headers.get('colibri-cursor') ?? undefined,
})

/** Reads one page of a list. */
export async function readPage<T>(path: string, query: Query, proof?: string): Promise<Page<T>> {
  return pageOf(await answerOf(withQuery(path, query), proven(proof)))
}

/** Whether the service works. While something is wrong, the answer is a 503 with the same body. */
export const health = async (): Promise<Health> => (await fetch('/api/health')).json()

/** A blob of somebody, through the service, which checks its hash. */
export const blobAddress = (did: string, blob: Blob) => withQuery('/api/blob', { did, cid: blob.ref.$link })

export interface Server {
  name: string
  version: string
  did: string | null
  auth_mode: string
}

/** The parts of `/api/health` that the pages show. */
export interface Health {
  ok: boolean
  message?: string
  ingest: {
    host: string
    last_frame_at: string | null
    cursor_at?: string | null
    queued: number
    untold: number
    held_records?: number
    set_aside?: number
    restarts?: number
    gaps?: { reason: string; from: string }[]
    repos?: { known: number; due: number; failing: number }
    since_woken: { events: number }
  }
}

export interface Identity {
  did: string
  handle: string | null
  pds: string | null
}

export interface Blob {
  ref: { $link: string }
  mimeType: string
}

export interface Facet {
  index: { byteStart: number; byteEnd: number }
  features: { $type: string; uri?: string; did?: string; channel?: string }[]
}

export interface Reactions {
  emoji: string
  count: number
  authors: string[]
  rkeys: string[]
}

/** The part of a message that a quotation has too. */
export interface Quotation {
  id: string
  rkey: string
  author_did: string
  text: string
  display_name: string | null
  handle: string | null
}

export interface Message extends Quotation {
  channel: string
  created_at: string
  edited: boolean
  parent: string | null
  facets: Facet[] | null
  attachments: { blob: Blob; name?: string }[] | null
  parent_message: Quotation | null
  reactions: Reactions[]
}

export interface Community {
  owner_did: string
  rkey: string
  name: string
  description: string | null
  requires_approval_to_join: boolean
}

export interface Channel {
  uri: string
  rkey: string
  name: string
  channel_type: string
  owner_only: boolean
  voice_members: string[]
}

export interface Sidebar {
  categories: { uri: string; name: string; channels: Channel[] }[]
  uncategorized: Channel[]
}

export interface Member {
  member_did: string
  status: 'owner' | 'approved' | 'pending'
  display_name: string | null
  handle: string | null
  status_text: string | null
  emoji: string | null
  state: string | null
}

export interface ChannelRead {
  channel_uri: string
  cursor_at: string
}

export const isVoice = ({ channel_type: type }: Channel) => /(^|\.)voice$/.test(type)
export const communityUri = ({ owner_did, rkey }: Community) => `at://${owner_did}/social.colibri.community/${rkey}`
