// An account at its PDS: signing in, writing records, and proofs for the service.
//
// The service never sees the password, and writes nothing for anybody: a post is a record that its author writes into
// their own repository, and the service reads it from the network.

import { answerOf, Refused, withQuery, type Service } from './service.ts'

/** A file at a PDS, as a record names it. */
export interface BlobReference {
  ref: { $link: string }
  mimeType: string
}

interface Session {
  did: string
  handle: string
  accessJwt: string
  refreshJwt: string
}

const JSON_BODY = { 'content-type': 'application/json' }

export class Account {
  readonly pds: string
  private session: Session

  private constructor(pds: string, session: Session) {
    this.pds = pds
    this.session = session
  }

  get did() {
    return this.session.did
  }

  get handle() {
    return this.session.handle
  }

  /** Signs in with a handle or DID, and an app password, at the PDS that the service finds. */
  static async signIn(service: Service, identifier: string, password: string): Promise<Account> {
    const { did, pds } = await service.get('/api/identity', { id: identifier.trim().replace(/^@/, '') })
    if (!pds) throw new Refused(404, 'NotFound', `${identifier}: no PDS`)
    const answer = await answerOf(`${pds}/xrpc/com.atproto.server.createSession`, {
      method: 'POST',
      headers: JSON_BODY,
      body: JSON.stringify({ identifier: did, password }),
    })
    return new Account(pds, await answer.json())
  }

  /** Creates a record, and returns the rkey that the PDS chose. */
  async create(collection: string, fields: object): Promise<string> {
    const record = { $type: collection, ...fields }
    const { uri } = await this.post('com.atproto.repo.createRecord', { repo: this.did, collection, record })
    return uri.split('/').at(-1)
  }

  /** Writes a record in place of the one with this rkey. */
  async put(collection: string, rkey: string, fields: object) {
    const record = { $type: collection, ...fields }
    await this.post('com.atproto.repo.putRecord', { repo: this.did, collection, rkey, record })
  }

  async remove(collection: string, rkey: string) {
    await this.post('com.atproto.repo.deleteRecord', { repo: this.did, collection, rkey })
  }

  /** Stores a file at the PDS; a record that names it keeps it there. */
  async upload(file: Blob): Promise<BlobReference> {
    const headers = { 'content-type': file.type || 'application/octet-stream' }
    return (await this.ask('com.atproto.repo.uploadBlob', { method: 'POST', headers, body: file })).blob
  }

  /** A token that proves this account to `audience` for one method, once, within a minute. */
  async proof(audience: string, method: string): Promise<string> {
    return (await this.ask(withQuery('com.atproto.server.getServiceAuth', { aud: audience, lxm: method }))).token
  }

  private post(method: string, body: object) {
    return this.ask(method, { method: 'POST', headers: JSON_BODY, body: JSON.stringify(body) })
  }

  /** A request to the PDS; an expired session is renewed once. */
  private async ask(method: string, init: RequestInit = {}): Promise<any> {
    const send = async (token: string, path: string, { headers, ...rest }: RequestInit) => {
      const answer = await answerOf(`${this.pds}/xrpc/${path}`, {
        ...rest,
        headers: { ...headers, authorization: `Bearer ${token}` },
      })
      return answer.headers.get('content-type')?.startsWith('application/json') ? answer.json() : undefined
    }
    try {
      return await send(this.session.accessJwt, method, init)
    } catch (refused) {
      if (!(refused instanceof Refused && refused.code === 'ExpiredToken')) throw refused
      this.session = await send(this.session.refreshJwt, 'com.atproto.server.refreshSession', { method: 'POST' })
      return send(this.session.accessJwt, method, init)
    }
  }
}
