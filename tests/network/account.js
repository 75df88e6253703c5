// @ts-check
// A person on the network: an account of the PDS, with its session, writing its own repository.
//
// Every method is one real XRPC call (two if the session has expired and is refreshed first), and throws an `XrpcError`
// with status and body if the PDS refuses. The last part of the class uses the lexicons of this service (records.js).

import { COLLECTION } from './records.js'
import * as records from './records.js'
import { XrpcError, xrpc } from './xrpc.js'

/** The limit of `com.atproto.repo.applyWrites`. */
export const WRITES_PER_COMMIT = 200

const RECORDS_PER_PAGE = 100

/**
 * @typedef {{uri: string, cid: string, rkey: string, rev: string}} Written
 * @typedef {{action: 'create' | 'update', collection: string, rkey?: string, value: object}
 *   | {action: 'delete', collection: string, rkey: string}} Write
 * @typedef {{accessJwt: string, refreshJwt: string, did: string, handle: string}} Session
 */

export class Account {
  /** @type {Promise<void> | undefined} */
  #refreshing

  /** @param {string} pds @param {Session} session @param {string} password */
  constructor(pds, session, password) {
    this.pds = pds
    this.session = session
    this.password = password
    this.did = session.did
    this.handle = session.handle
  }

  /** An authenticated call. @param {string} nsid @param {Parameters<typeof xrpc>[2]} [options] */
  async call(nsid, options) {
    try {
      return await xrpc(this.pds, nsid, { token: this.session.accessJwt, ...options })
    } catch (error) {
      if (!(error instanceof XrpcError) || error.error !== 'ExpiredToken') throw error
    }
    this.#refreshing ??= this.refresh().finally(() => (this.#refreshing = undefined))
    await this.#refreshing
    return xrpc(this.pds, nsid, { token: this.session.accessJwt, ...options })
  }

  /** Replaces the session. A refresh token can be used once. */
  async refresh() {
    const options = { procedure: true, token: this.session.refreshJwt }
    this.session = await xrpc(this.pds, 'com.atproto.server.refreshSession', options)
  }

  /** @param {string} collection @param {object} record @param {string} [rkey] @returns {Promise<Written>} */
  async create(collection, record, rkey) {
    const input = { repo: this.did, collection, rkey, record: typed(collection, record) }
    return written(await this.call('com.atproto.repo.createRecord', { input }))
  }

  /**
   * Creates or replaces. Replacing a record by an equal one makes no commit: `rev` is then empty.
   *
   * @param {string} collection @param {string} rkey @param {object} record @returns {Promise<Written>}
   */
  async put(collection, rkey, record) {
    const input = { repo: this.did, collection, rkey, record: typed(collection, record) }
    return written(await this.call('com.atproto.repo.putRecord', { input }))
  }

  /**
   * Deleting a missing record makes no commit: `rev` is then empty. @param {string} collection @param {string} rkey
   */
  async delete(collection, rkey) {
    const input = { repo: this.did, collection, rkey }
    const { commit } = await this.call('com.atproto.repo.deleteRecord', { input })
    return { rev: /** @type {string} */ (commit?.rev ?? '') }
  }

  /** All records of a collection, oldest key first. @param {string} collection */
  async list(collection) {
    /** @type {{uri: string, cid: string, rkey: string, value: any}[]} */
    const found = []
    let cursor
    do {
      const params = { repo: this.did, collection, limit: RECORDS_PER_PAGE, reverse: true, cursor }
      const page = await this.call('com.atproto.repo.listRecords', { params })
      for (const { uri, cid, value } of page.records) found.push({ uri, cid, rkey: rkeyOf(uri), value })
      cursor = page.records.length === RECORDS_PER_PAGE ? page.cursor : undefined
    } while (cursor)
    return found
  }

  /**
   * Up to 200 writes in one commit. The results stand in the order of the writes; those of deletes
   * have no `cid`.
   *
   * @param {Write[]} writes
   * @returns {Promise<{rev: string, results: Written[]}>}
   */
  async applyWrites(writes) {
    if (writes.length > WRITES_PER_COMMIT) {
      throw new Error(`${writes.length} writes in one commit, at most ${WRITES_PER_COMMIT} are allowed; see createMany`)
    }
    const input = { repo: this.did, writes: writes.map(toWire) }
    const { commit, results } = await this.call('com.atproto.repo.applyWrites', { input })
    const rev = commit.rev
    return {
      rev,
      results: results.map((/** @type {any} */ { uri, cid }, /** @type {number} */ index) => {
        const { collection, rkey } = writes[index]
        return written({ uri: uri ?? `at://${this.did}/${collection}/${rkey}`, cid, commit })
      }),
    }
  }

  /** Creates any number of records of a collection, 200 to a commit. @param {string} collection @param {object[]} values */
  async createMany(collection, values) {
    /** @type {Written[]} */
    const made = []
    for (let first = 0; first < values.length; first += WRITES_PER_COMMIT) {
      const part = values.slice(first, first + WRITES_PER_COMMIT)
      const { results } = await this.applyWrites(part.map((value) => ({ action: 'create', collection, value })))
      made.push(...results)
    }
    return made
  }

  /** Returns the blob reference to put into a record. @param {Uint8Array} bytes @param {string} mime */
  async uploadBlob(bytes, mime) {
    const { blob } = await this.call('com.atproto.repo.uploadBlob', { input: bytes, mime })
    return /** @type {{$type: 'blob', ref: {$link: string}, mimeType: string, size: number}} */ (blob)
  }

  async deactivate() {
    await this.call('com.atproto.server.deactivateAccount', { input: {} })
  }

  async activate() {
    await this.call('com.atproto.server.activateAccount', { procedure: true })
  }

  /** @param {string} handle such as `new-name.test` */
  async updateHandle(handle) {
    await this.call('com.atproto.identity.updateHandle', { input: { handle } })
    this.handle = handle
  }

  /** A service-auth token of this person. @param {string} aud the DID of the service @param {string} [lxm] */
  async serviceToken(aud, lxm) {
    const { token } = await this.call('com.atproto.server.getServiceAuth', { params: { aud, lxm } })
    return /** @type {string} */ (token)
  }

  /** @param {Parameters<typeof records.community>[0]} fields @param {string} [rkey] */
  community(fields, rkey) {
    return this.create(COLLECTION.community, records.community(fields), rkey)
  }

  /** @param {Parameters<typeof records.category>[0]} fields @param {string} [rkey] */
  category(fields, rkey) {
    return this.create(COLLECTION.category, records.category(fields), rkey)
  }

  /** @param {Parameters<typeof records.channel>[0]} fields @param {string} [rkey] */
  channel(fields, rkey) {
    return this.create(COLLECTION.channel, records.channel(fields), rkey)
  }

  /** @param {string} communityUri @param {object} [extra] */
  membership(communityUri, extra) {
    return this.create(COLLECTION.membership, records.membership(communityUri, extra))
  }

  /** @param {string} membershipUri @param {string} communityUri @param {object} [extra] */
  approval(membershipUri, communityUri, extra) {
    return this.create(COLLECTION.approval, records.approval(membershipUri, communityUri, extra))
  }

  /** @param {string} channel rkey or AT-URI @param {string} text @param {object} [extra] */
  message(channel, text, extra) {
    return this.create(COLLECTION.message, records.message(channel, text, extra))
  }

  /** @param {string} targetMessage rkey or AT-URI @param {string} emoji @param {object} [extra] */
  reaction(targetMessage, emoji, extra) {
    return this.create(COLLECTION.reaction, records.reaction(targetMessage, emoji, extra))
  }

  /** @param {Parameters<typeof records.actor>[0]} fields */
  actor(fields) {
    return this.put(COLLECTION.actor, 'self', records.actor(fields))
  }

  /** @param {Parameters<typeof records.profile>[0]} fields */
  profile(fields) {
    return this.put(COLLECTION.profile, 'self', records.profile(fields))
  }

  /** @param {string} channelUri @param {string} [cursor] */
  read(channelUri, cursor) {
    return this.create(COLLECTION.read, records.read(channelUri, cursor))
  }
}

/** @param {string} collection @param {object} record */
function typed(collection, record) {
  return { $type: collection, ...record }
}

/** @param {Write} write */
function toWire(write) {
  const { action, collection, rkey } = write
  const $type = `com.atproto.repo.applyWrites#${action}`
  if (write.action === 'delete') return { $type, collection, rkey }
  return { $type, collection, rkey, value: typed(collection, write.value) }
}

/** @param {any} answer @returns {Written} */
function written({ uri, cid, commit }) {
  return { uri, cid, rkey: rkeyOf(uri), rev: commit?.rev ?? '' }
}

/** @param {string} uri */
function rkeyOf(uri) {
  return uri.slice(uri.lastIndexOf('/') + 1)
}
