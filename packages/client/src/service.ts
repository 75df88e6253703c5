// REST: requests to a service, with the parameters, bodies and answers of openapi.json.

import type { Requests } from './types.ts'

/** An answer of the service or of a PDS that is not a success. */
export class Refused extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

export type Query = Record<string, string | number | undefined>

/** One page of a list; `next` is the cursor of the page after it, if there is one. */
export interface Page<T> {
  rows: T[]
  next?: string
}

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

type Names = keyof Requests
/** The paths that answer GET. */
export type Readable = Names extends infer N ? (N extends `GET ${infer Path}` ? Path : never) : never
type Read<P extends Readable> = Requests[`GET ${P}` & Names]
/** The paths of lists, which come in pages. */
export type Listed = {
  [P in Readable]: Read<P>['answer'] extends unknown[] ? P : never
}[Readable]
type Row<P extends Listed> = Read<P>['answer'] extends (infer R)[] ? R : never
/** The requests that change something, such as `POST /api/community/ban`. */
export type Act = Exclude<Names, `GET ${string}`>

/** A request beside its query: `proof` is a token or the API key, `body` is sent as JSON. */
export interface Sent {
  method?: string
  proof?: string
  body?: object
  headers?: Record<string, string>
  /** Ends the request, and rejects with its reason: `AbortSignal.timeout(5000)`, for example. */
  signal?: AbortSignal
}

export class Service {
  /** Its origin, without a slash at the end. */
  readonly url: string
  private readonly proof?: string

  /** `proof`: goes with every request that has none of its own; the API key, for example. */
  constructor(url: string, proof?: string) {
    this.url = url.replace(/\/+$/, '')
    this.proof = proof
  }

  /** Whether it has a proof of its own. */
  get hasProof() {
    return this.proof !== undefined
  }

  address = (path: string, query: Query = {}) => withQuery(this.url + path, query)

  /** The address of one of its sockets. */
  socketAddress = (path: string, query: Query = {}) => this.address(path, query).replace(/^http/, 'ws')

  /** A blob of somebody, through the service, which checks its hash. */
  blobAddress = (did: string, cid: string) => this.address('/api/blob', { did, cid })

  /** Any request; every answer that is not a success is thrown as `Refused`. */
  request(path: string, query: Query = {}, sent: Sent = {}): Promise<Response> {
    const { method = 'GET', proof = this.proof, body, headers = {}, signal } = sent
    return answerOf(this.address(path, query), {
      method,
      signal,
      headers: {
        ...headers,
        ...(proof && { authorization: `Bearer ${proof}` }),
        ...(body && { 'content-type': 'application/json' }),
      },
      body: body && JSON.stringify(body),
    })
  }

  /** The body of the answer to any request, if it has one. */
  async body(path: string, query: Query = {}, sent: Sent = {}): Promise<any> {
    const text = await (await this.request(path, query, sent)).text()
    return text ? JSON.parse(text) : undefined
  }

  async get<P extends Readable>(path: P, query: Read<P>['query'], proof?: string): Promise<Read<P>['answer']> {
    return (await this.request(path, query, { proof })).json()
  }

  /** One page of a list. */
  async page<P extends Listed>(path: P, query: Read<P>['query'], proof?: string): Promise<Page<Row<P>>> {
    const answer = await this.request(path, query, { proof })
    return { rows: await answer.json(), next: answer.headers.get('colibri-cursor') ?? undefined }
  }

  /** All rows of a list, page by page. */
  async *rows<P extends Listed>(path: P, query: Read<P>['query'], proof?: string): AsyncGenerator<Row<P>> {
    for (let cursor: string | undefined, isFirst = true; isFirst || cursor; isFirst = false) {
      const page: Page<Row<P>> = await this.page(path, { limit: 100, ...query, cursor } as Read<P>['query'], proof)
      yield* page.rows
      cursor = page.next
    }
  }

  /** Changes something. Sent twice with one `key`, it acts once. Resolves with the answer's body, if it has one. */
  async act<A extends Act>(
    name: A,
    given: { proof?: string; query?: Requests[A]['query']; body?: Requests[A]['body']; key?: string },
  ): Promise<Requests[A]['answer']> {
    const [method, path] = name.split(' ') as [string, string]
    const headers = { 'idempotency-key': given.key ?? crypto.randomUUID() }
    const { proof, query, body } = given as { proof?: string; query?: Query; body?: object }
    return this.body(path, query, { method, proof, body, headers })
  }

  /** Whether the service works: a 503 has the same body. With the API key, gateways are asked anew. */
  async health(signal?: AbortSignal): Promise<Requests['GET /api/health']['answer']> {
    const headers = this.proof && { authorization: `Bearer ${this.proof}` }
    return (await fetch(this.address('/api/health'), { headers: headers || {}, signal })).json()
  }
}
