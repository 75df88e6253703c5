// @ts-check
// What the newest client asks for, in its order, with what Node and a page both have: `fetch` and `WebSocket`. It knows
// a handle, a password and the DID of a service, as a person does who signs in.
//
// Promises: HTTP goes through the person's PDS with `atproto-proxy`, except for what browsers ask of the service itself
// (N156); the socket goes to the service; every answer and frame is kept, so that a test can look at all of them. No import:
// a page loads this file as it is.

const COLIBRI = 'social.colibri.'
const EVENTS = `${COLIBRI}sync.subscribeEvents`
const TOKEN_SECONDS = 60
const FIRST_PAGE = 50

/** A record key from the clock, as the client makes it before it writes. */
function tid() {
  const digits = '234567abcdefghijklmnopqrstuvwxyz'
  const number = (BigInt(Date.now()) * 1000n + BigInt(Math.floor(Math.random() * 1000))) * 1024n
  return Array.from({ length: 13 }, (_, at) => digits[Number((number >> BigInt(5 * (12 - at))) & 31n)]).join('')
}

const rkeyOf = (/** @type {string} */ uri) => uri.slice(uri.lastIndexOf('/') + 1)

export class NewestClient {
  /** @type {{ name: string, query: Record<string, any>, status: number, body: any }[]} every answer of the service */
  answers = []
  /** @type {any[]} every frame of the socket */
  frames = []
  /** @type {{ did: string, handle: string, accessJwt: string } | undefined} */
  session
  pds = ''
  /** @type {WebSocket | undefined} */
  #socket

  /** @param {string} appview the DID of a service on this machine */
  constructor(appview) {
    this.appview = appview
    this.origin = `http://${decodeURIComponent(appview.slice('did:web:'.length))}`
  }

  /** A call of the service itself. @param {string} name @param {Record<string, any>} [query] @param {RequestInit} [init] */
  async direct(name, query = {}, init) {
    const response = await fetch(`${this.origin}/xrpc/${name}?${new URLSearchParams(query)}`, init)
    return this.#keep(name, query, response)
  }

  /** A call through the PDS. @param {string} name @param {Record<string, any>} [query] @param {'GET' | 'POST'} [method] */
  async call(name, query = {}, method = 'GET') {
    const headers = { ...this.#authorized(), 'atproto-proxy': `${this.appview}#colibri_appview` }
    const response = await fetch(`${this.pds}/xrpc/${COLIBRI}${name}?${new URLSearchParams(query)}`, { method, headers })
    return this.#keep(COLIBRI + name, query, response)
  }

  /** Is this a Colibri service? */
  describe() {
    return this.direct(`${COLIBRI}server.describeServer`)
  }

  /** @param {string} identifier a handle @param {string} password */
  async signIn(identifier, password) {
    const { body: resolved } = await this.direct('com.atproto.identity.resolveHandle', { handle: identifier })
    const { body: document } = await this.direct('com.atproto.identity.resolveDid', { did: resolved.did })
    this.pds = document.service.find((/** @type {any} */ { id }) => id === '#atproto_pds').serviceEndpoint
    this.session = await this.#pds('com.atproto.server.createSession', { identifier, password })
    return resolved.did
  }

  /** The start: the socket, beside it the person and their communities, and what is unread in each. */
  async start() {
    const me = () => this.call('actor.getData', { identifier: this.#did })
    const [protocol, { body: person }, { body: list }] = await Promise.all([this.connect(), me(), this.call('actor.listCommunities')])
    const unread = list.communities.map((/** @type {any} */ { uri }) => this.call('channel.listUnreadStatus', { community: uri }))
    return { protocol, person, communities: list.communities, unread: await Promise.all(unread) }
  }

  /** Opens a channel. @param {string} community @param {string} channel */
  async open(community, channel) {
    const [view, data] = await Promise.all([
      this.call('channel.getChannelView', { channel, limit: FIRST_PAGE }),
      this.call('community.getData', { community }),
    ])
    this.send({ type: 'view', data: { channel } })
    return { view: view.body, data: data.body }
  }

  /**
   * A token for a socket. The client asks for one with `#colibri_appview`; the PDS of these tests ends such a request
   * with a 500.
   */
  async proof() {
    const exp = String(Math.floor(Date.now() / 1000) + TOKEN_SECONDS)
    const query = new URLSearchParams({ aud: this.appview, lxm: EVENTS, exp })
    const response = await fetch(`${this.pds}/xrpc/com.atproto.server.getServiceAuth?${query}`, { headers: this.#authorized() })
    if (!response.ok) throw new Error(`no token: ${response.status} ${await response.text()}`)
    return (await response.json()).token
  }

  /**
   * Opens the socket; resolves with the chosen sub-protocol, or rejects with the code it was closed with.
   * @param {{ token?: string }} [options]
   */
  async connect({ token } = {}) {
    const proof = token ?? (await this.proof())
    const socket = new WebSocket(`${this.origin.replace('http', 'ws')}/xrpc/${EVENTS}`, ['colibri.auth.bearer', proof])
    socket.addEventListener('message', ({ data }) => this.frames.push(JSON.parse(data)))
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve)
      socket.addEventListener('close', ({ code }) => reject(new Error(`closed with ${code}`)))
    })
    this.#socket?.close()
    this.#socket = socket
    return socket.protocol
  }

  /** @param {object} frame */
  send(frame) {
    this.#socket?.send(JSON.stringify(frame))
  }

  close() {
    this.#socket?.close()
  }

  /** Writes a message under a key of its own, and returns its AT-URI. @param {string} channel @param {string} text @param {object} [more] */
  async say(channel, text, more) {
    const record = { text, channel, createdAt: new Date().toISOString(), ...more }
    return (await this.put(`${COLIBRI}message`, tid(), record)).uri
  }

  /** Edits a message. @param {string} uri @param {object} change */
  async edit(uri, change) {
    const query = new URLSearchParams({ repo: this.#did, collection: `${COLIBRI}message`, rkey: rkeyOf(uri) })
    const { value } = await (await fetch(`${this.pds}/xrpc/com.atproto.repo.getRecord?${query}`)).json()
    return this.put(`${COLIBRI}message`, rkeyOf(uri), { ...value, ...change })
  }

  /** @param {string} parent a message @param {string} emoji */
  react(parent, emoji) {
    return this.put(`${COLIBRI}reaction`, tid(), { parent, emoji, createdAt: new Date().toISOString() })
  }

  /** Everything up to a message is read. @param {string} channel @param {string} cursor its AT-URI */
  read(channel, cursor) {
    return this.put(`${COLIBRI}channel.read`, rkeyOf(channel), { channel, cursor, createdAt: new Date().toISOString() })
  }

  /** Takes back every membership that names a community, and says so. @param {string} community */
  async leave(community) {
    const collection = `${COLIBRI}membership`
    const query = new URLSearchParams({ repo: this.#did, collection })
    const { records } = await (await fetch(`${this.pds}/xrpc/com.atproto.repo.listRecords?${query}`)).json()
    for (const { uri, value } of records) {
      if (value.community === community) await this.#pds('com.atproto.repo.deleteRecord', { repo: this.#did, collection, rkey: rkeyOf(uri) })
    }
    return this.call('community.leave', { community }, 'POST')
  }

  /** @param {string} collection @param {string} rkey @param {object} record */
  put(collection, rkey, record) {
    return this.#pds('com.atproto.repo.putRecord', { repo: this.#did, collection, rkey, record: { $type: collection, ...record } })
  }

  get #did() {
    return this.session?.did ?? ''
  }

  #authorized() {
    return { authorization: `Bearer ${this.session?.accessJwt}` }
  }

  /** A call of the PDS for itself. @param {string} name @param {object} input */
  async #pds(name, input) {
    const headers = { 'content-type': 'application/json', ...(this.session && this.#authorized()) }
    const response = await fetch(`${this.pds}/xrpc/${name}`, { method: 'POST', headers, body: JSON.stringify(input) })
    const body = await response.json()
    if (!response.ok) throw new Error(`${name}: ${response.status} ${JSON.stringify(body)}`)
    return body
  }

  /** @param {string} name @param {Record<string, any>} query @param {Response} response */
  async #keep(name, query, response) {
    const answer = { name, query, status: response.status, body: JSON.parse(await response.text()) }
    this.answers.push(answer)
    return answer
  }
}
