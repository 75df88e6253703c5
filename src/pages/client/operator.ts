// What the holder of the API key may do (X01): the same requests with the key, and acts with one idempotency key each,
// so that a request that is sent twice acts once (X23).

import { answerOf, pageOf, withQuery, type Page, type Query } from './api.ts'

export interface Entry {
  actor: string
  action: string
  subject: string
  reason: string | null
  until: string | null
  at: string
}

export interface Refusals {
  reason: string
  count: number
  last_at: string
  example: string | null
}

export interface Repository {
  did: string
  handle: string | null
  host: string | null
  status: string
  reason: string
  failures: number
  error: string | null
  next_attempt_at: string
}

export interface Listed {
  uri: string
  owner_did: string
  owner_handle: string | null
  name: string
  requires_approval_to_join: boolean
}

export class Operator {
  constructor(private readonly key: string) {}

  async answer(path: string, query: Query = {}, init: RequestInit = {}): Promise<Response> {
    const headers = { ...init.headers, authorization: `Bearer ${this.key}` }
    return answerOf(withQuery(path, query), { ...init, headers })
  }

  async read<T>(path: string, query: Query = {}): Promise<T> {
    return (await this.answer(path, query)).json()
  }

  /** Reads one page of a list. */
  async page<T>(path: string, query: Query = {}): Promise<Page<T>> {
    return pageOf(await this.answer(path, query))
  }

  /** Acts; resolves with the answer's body, if it has one. */
  async act(method: 'POST' | 'DELETE', path: string, query: Query = {}, body?: object): Promise<any> {
    const headers = { 'idempotency-key': crypto.randomUUID(), ...(body && { 'content-type': 'application/json' }) }
    const answer = await this.answer(path, query, { method, headers, body: body && JSON.stringify(body) })
    const text = await answer.text()
    return text ? JSON.parse(text) : undefined
  }
}
