// A call through a signaling room: the demo, and a working example of the protocol. `Room`, the client's class `Call`, is
// the line to the room; the media are this page's business.
//
// There is one RTCPeerConnection per other peer. A joining peer sends offers to everybody in the room, so no two peers
// send offers to each other at once. If the socket breaks, the call continues without it, and the page joins again.
// In a voice channel the page also joins its voice list (A12), so that others see who is there. `window.call` exposes
// everything for inspection and tests.

import { Call as Room, Line, Service } from '/pages/client.js'

const JOIN_AGAIN_MILLIS = 180_000

const service = new Service(location.origin)

const element = (id) => document.getElementById(id)
// The browser gives this name to the section with the id; nobody calls yet.
window.call = undefined
const [form, section, tiles, status, problem] = ['join', 'call', 'tiles', 'status', 'problem'].map(element)

const say = (text) => {
  status.textContent = text
}
const complain = (text) => {
  problem.textContent = text
  problem.hidden = !text
}

/**
 * The video and audio of a page without a camera: a moving shape with the name on it, and a soft tone now and then.
 */
function testStream(name) {
  const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 240 })
  const paint = canvas.getContext('2d')
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7)
  const draw = () => {
    const t = performance.now() / 1000
    paint.fillStyle = `hsl(${hue} 55% 42%)`
    paint.fillRect(0, 0, 320, 240)
    paint.fillStyle = `hsl(${hue} 80% 78%)`
    paint.beginPath()
    paint.arc(160 + 90 * Math.cos(t), 100 + 50 * Math.sin(2 * t), 26, 0, 7)
    paint.fill()
    paint.fillStyle = '#fff'
    paint.font = '600 24px system-ui, sans-serif'
    paint.textAlign = 'center'
    paint.fillText(name, 160, 190, 300)
  }
  draw()
  const drawing = setInterval(draw, 66)
  const audio = new AudioContext()
  const tone = new OscillatorNode(audio, { frequency: 220 + hue })
  const volume = new GainNode(audio, { gain: 0 })
  const beeping = setInterval(() => {
    volume.gain.setTargetAtTime(0.02, audio.currentTime, 0.05)
    volume.gain.setTargetAtTime(0, audio.currentTime + 0.25, 0.05)
  }, 2000)
  const out = new MediaStreamAudioDestinationNode(audio)
  tone.connect(volume).connect(out)
  tone.start()
  const stream = new MediaStream([...canvas.captureStream(15).getTracks(), ...out.stream.getTracks()])
  const end = () => {
    clearInterval(drawing)
    clearInterval(beeping)
    audio.close()
  }
  return { stream, end }
}

/** The DID of a handle or a DID; empty for nothing. */
const didOf = async (given) =>
  given === '' || given.startsWith('did:') ? given : (await service.get('/api/identity', { id: given.replace(/^@/, '') })).did

/** The handle of a DID, or undefined. */
const handleOf = (did) => service.get('/api/identity', { id: did }).then(({ handle }) => handle ?? undefined, () => undefined)

/** The voice channels of the communities that a person owns or belongs to. */
async function voiceChannels(did) {
  const { owned, joined } = await service.get('/api/communities', { did })
  const found = await Promise.all(
    [...owned, ...joined].map(async ({ owner_did: owner, rkey, name }) => {
      const uri = `at://${owner}/social.colibri.community/${rkey}`
      const channels = await service.get('/api/channels', { community: uri })
      return channels
        .filter(({ channel_type: type }) => type === 'voice' || type === 'social.colibri.channel.voice')
        .map((channel) => ({ uri: channel.uri, rkey: channel.rkey, community: uri, name: `${channel.name}, ${name}` }))
    }),
  )
  return found.flat()
}

async function cameraStream() {
  // Browsers give no devices to a page that came over plain http from another machine.
  if (!navigator.mediaDevices) {
    throw new Error(
      'The browser gives camera and microphone only to pages over https, or from this machine itself (http://localhost). Open the page that way, or choose the test picture.',
    )
  }
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 480 } })
  return { stream, end: () => stream.getTracks().forEach((track) => track.stop()) }
}

/** An error of the person or of their machine, in words. */
const inWords = (error) =>
  ({
    NotAllowedError: 'The browser may not use the camera and microphone. Allow it, or choose the test picture.',
    NotFoundError: 'There is no camera or microphone. Choose the test picture.',
    NotReadableError: 'Another program is using the camera or microphone.',
  })[error.name] ?? `${error.message}`

class Tile {
  constructor(name, { self = false, test = false } = {}) {
    this.item = Object.assign(document.createElement('li'), { className: 'tile no-picture' })
    this.item.classList.toggle('self', self)
    this.item.classList.toggle('test', test)
    this.video = Object.assign(document.createElement('video'), { autoplay: true, playsInline: true, muted: self })
    this.video.setAttribute('aria-label', `Picture of ${name}`)
    const caption = Object.assign(document.createElement('p'), { className: 'caption' })
    this.who = Object.assign(document.createElement('span'), { className: 'who', textContent: self ? `${name} (you)` : name })
    this.note = Object.assign(document.createElement('span'), { className: 'note' })
    caption.append(this.who, this.note)
    this.item.append(this.video, caption)
    tiles.append(this.item)
    this.state = {}
    this.line = ''
  }

  show(stream) {
    if (this.video.srcObject !== stream) this.video.srcObject = stream
    this.item.classList.remove('no-picture')
  }

  /** Shows the state of the peer's devices, and of the connection to it. */
  describe({ state = this.state, line = this.line }) {
    this.state = state
    this.line = line
    const notes = [
      line,
      state.deafened ? 'deafened' : state.muted ? 'muted' : '',
      state.camera === false ? 'picture hidden' : '',
      state.screen ? 'shows a screen' : '',
    ]
    this.note.textContent = notes.filter(Boolean).join(', ')
    this.item.classList.toggle('no-picture', state.camera === false || !this.video.srcObject)
  }

  remove() {
    this.item.remove()
  }
}

class Call {
  /** The connection and the tile of each other peer, by peer_id. */
  peers = new Map()
  state = { muted: false, deafened: false, camera: true, screen: false }
  #over = false
  /** Frames are processed one after the other: offers wait while we request servers. */
  #hearing = Promise.resolve()

  constructor({ room, channel, name, did, inFrame, media, test }) {
    this.room = room
    // The voice channel whose AT-URI the room is, if the person has such a one.
    this.channel = channel
    this.did = did
    this.inFrame = inFrame
    this.media = media
    // In a voice channel the name must begin with the DID; everywhere it must be unique to this page.
    const own = crypto.getRandomValues(new Uint32Array(1))[0].toString(36)
    this.peerId = did ? `${did}#${name}-${own}` : `${name}#${own}`
    this.tile = new Tile(name, { self: true, test })
    this.tile.show(media.stream)
  }

  /** Resolves once the page is in the room and knows its servers. */
  start() {
    return new Promise((resolve, reject) => {
      this.started = { resolve, reject }
      this.#connect()
    })
  }

  /** Credentials are for peers in the room, so this runs after `joined`; they expire, so it runs again. */
  async #askForServers() {
    clearTimeout(this.renewing)
    const { room, peerId: peer_id, secret } = this.line
    const body = await service.get('/api/webrtc/ice-servers', { room, peer_id, secret, did: this.did })
    this.configuration = {
      iceServers: body.ice_servers,
      iceTransportPolicy: body.relay_only ? 'relay' : 'all',
    }
    const left = Date.parse(body.expires_at) - Date.now()
    if (left > 0 && !this.#over) {
      this.renewing = setTimeout(() => this.#askForServers().catch(() => {}), left / 2)
    }
  }

  #connect() {
    say('Joining …')
    // The room may be named in the address, or by the frames alone.
    const address = service.socketAddress('/api/webrtc/signal', { did: this.did, room: this.inFrame ? '' : this.room })
    this.line = new Room(this.room, this.peerId, async () => [address, []], {
      joined: (peers) => this.#hear(() => this.#joined(peers)),
      frame: (frame) => this.#hear(() => this.#receive(frame)),
      cut: () => say('The line to the room is cut; the call goes on. Trying again …'),
      ended: () => {
        const reason = problem.textContent || 'The room sent you away.'
        this.started?.reject(new Error(reason))
        this.end(reason)
      },
    })
  }

  #hear(act) {
    this.#hearing = this.#hearing.then(() => this.#over || act()).catch((error) => this.#fail(error))
  }

  /** Without servers there is no call; a running one keeps those it has. */
  #fail(error) {
    if (this.started) return this.started.reject(error)
    complain(inWords(error))
  }

  async #joined(peers) {
    complain('')
    if (!this.configuration) await this.#askForServers()
    else this.#askForServers().catch(() => {})
    this.started?.resolve()
    this.started = undefined
    if (this.#over) return
    this.#list()
    this.line.setVoiceState(this.state)
    // Somebody may have left while we were disconnected.
    for (const known of [...this.peers.keys()]) if (!peers.includes(known) && !this.#isConnected(known)) this.#drop(known)
    for (const peer of peers) if (!this.#isConnected(peer)) this.#offer(peer)
    this.#count()
  }

  #receive(frame) {
    const from = frame.from_peer_id ?? frame.peer_id
    switch (frame.type) {
      case 'peer_joined':
        this.line.setVoiceState(this.state)
        break
      case 'peer_left':
        this.#drop(from)
        break
      case 'offer':
        this.#answer(from, frame.sdp)
        break
      case 'answer':
        this.#settle(from, { type: 'answer', sdp: frame.sdp })
        break
      case 'ice':
        this.#candidate(from, frame.candidate)
        break
      case 'voice_state':
        this.#peer(from).tile.describe({ state: frame })
        break
      case 'moderated':
        if (frame.action === 'mute') {
          element('mute').setAttribute('aria-pressed', 'true')
          this.set({ muted: true })
          complain('A moderator muted you.')
        } else complain(frame.action === 'move' ? 'A moderator moved you to another channel.' : 'A moderator ended your call.')
        break
      case 'error':
        complain(frame.message)
        // A refused join: there is nothing to wait for.
        this.started?.reject(new Error(frame.message))
        break
    }
    this.#count()
  }

  /** Joins the voice list of the channel, for as long as the call lasts (V07). */
  #list() {
    if (!this.channel || this.listing) return
    const { community, rkey } = this.channel
    const join = () =>
      this.listing.send({ action: 'voice_event', community_uri: community, voice_channel_rkey: rkey, voice_action: 'join' })
    const ignored = () => {}
    this.listing = new Line(async () => [service.socketAddress('/api/subscribe', { did: this.did }), []], {
      event: ({ type, message }) => type === 'error' && complain(`Others do not see you in the list of the channel: ${message}.`),
      readAnew: ignored,
      resumed: ignored,
      state: (state) => state === 'open' && join(),
    })
    // A repeated join says that the person is still there (V04).
    this.joining = setInterval(join, JOIN_AGAIN_MILLIS)
  }

  #count() {
    const others = this.peers.size
    say(`In “${this.channel?.name ?? this.room}” with ${others === 0 ? 'nobody else yet' : others === 1 ? 'one other' : `${others} others`}.`)
  }

  /** Whether the connection to a peer carries a call. */
  #isConnected(id) {
    return this.peers.get(id)?.connection?.connectionState === 'connected'
  }

  #peer(id) {
    let peer = this.peers.get(id)
    if (!peer) {
      // The name without the DID before it and the page's own suffix after it.
      const name = id.replace(/^did:[^#]*#/, '').replace(/[-#][^-#]*$/, '')
      peer = { tile: new Tile(name), waiting: [] }
      this.peers.set(id, peer)
      const { tile } = peer
      if (id.startsWith('did:')) {
        handleOf(id.split('#')[0]).then((handle) => {
          if (handle) tile.who.textContent = `${name} (${handle})`
        })
      }
    }
    return peer
  }

  /** A fresh connection to a peer. */
  #open(id, offers) {
    const peer = this.#peer(id)
    peer.connection?.close()
    peer.waiting = []
    const connection = new RTCPeerConnection(this.configuration)
    peer.connection = connection
    for (const track of this.media.stream.getTracks()) connection.addTrack(track, this.media.stream)
    connection.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) this.line.signal(id, { type: 'ice', candidate: candidate.toJSON() })
    }
    connection.ontrack = ({ streams: [stream] }) => {
      peer.tile.show(stream)
      peer.tile.video.muted = this.state.deafened
      peer.tile.describe({})
    }
    connection.onconnectionstatechange = () => {
      const words = { connecting: 'connecting …', disconnected: 'the line is bad', failed: 'no connection', closed: 'no connection' }
      peer.tile.describe({ line: words[connection.connectionState] ?? '' })
      // The peer that sent the offer tries again; the other one waits.
      if (connection.connectionState === 'failed' && offers && peer.connection === connection) this.#offer(id)
    }
    return connection
  }

  async #offer(id) {
    const connection = this.#open(id, true)
    await connection.setLocalDescription()
    this.line.signal(id, { type: 'offer', sdp: connection.localDescription.sdp })
  }

  async #answer(id, sdp) {
    const connection = this.#open(id, false)
    await this.#settle(id, { type: 'offer', sdp })
    await connection.setLocalDescription()
    this.line.signal(id, { type: 'answer', sdp: connection.localDescription.sdp })
  }

  async #settle(id, description) {
    const peer = this.peers.get(id)
    if (!peer?.connection) return
    await peer.connection.setRemoteDescription(description)
    for (const candidate of peer.waiting.splice(0)) await peer.connection.addIceCandidate(candidate)
  }

  async #candidate(id, candidate) {
    const peer = this.#peer(id)
    if (!peer.connection?.remoteDescription) return peer.waiting.push(candidate)
    await peer.connection.addIceCandidate(candidate)
  }

  #drop(id) {
    const peer = this.peers.get(id)
    peer?.connection?.close()
    peer?.tile.remove()
    this.peers.delete(id)
  }

  /** Switches one of our devices. */
  set(change) {
    Object.assign(this.state, change)
    const { muted, deafened, camera } = this.state
    for (const track of this.media.stream.getAudioTracks()) track.enabled = !muted && !deafened
    for (const track of this.media.stream.getVideoTracks()) track.enabled = camera
    for (const { tile } of this.peers.values()) tile.video.muted = deafened
    this.tile.describe({ state: this.state })
    this.line.setVoiceState(change)
  }

  end(reason = '') {
    this.#over = true
    clearTimeout(this.renewing)
    clearInterval(this.joining)
    this.line?.leave()
    this.listing?.send({ action: 'voice_event', voice_action: 'leave' })
    this.listing?.cut()
    for (const id of [...this.peers.keys()]) this.#drop(id)
    this.tile.remove()
    this.media.end()
    window.call = undefined
    section.hidden = true
    form.hidden = false
    say('Not in a room.')
    complain(reason)
    element('room').focus()
  }
}

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  complain('')
  const [room, name, who] = ['room', 'name', 'did'].map((id) => element(id).value.trim())
  const test = new FormData(form).get('source') === 'test'
  const button = form.querySelector('button')
  button.disabled = true
  say('Starting …')
  try {
    const did = await didOf(who)
    const channel = did && room.startsWith('at://') ? (await voiceChannels(did)).find(({ uri }) => uri === room) : undefined
    const media = test ? testStream(name) : await cameraStream()
    const call = new Call({ room, channel, name, did, inFrame: element('in-frame').checked, media, test })
    window.call = call
    try {
      await call.start()
    } catch (error) {
      call.end(error.message)
      return
    }
    for (const id of ['mute', 'deafen', 'camera']) element(id).setAttribute('aria-pressed', 'false')
    form.hidden = true
    section.hidden = false
    element('mute').focus()
  } catch (error) {
    say('Not in a room.')
    complain(inWords(error))
  } finally {
    button.disabled = false
  }
})

const toggle = (id, change) =>
  element(id).addEventListener('click', ({ currentTarget }) => {
    const pressed = currentTarget.getAttribute('aria-pressed') !== 'true'
    currentTarget.setAttribute('aria-pressed', String(pressed))
    window.call?.set(change(pressed))
  })
toggle('mute', (muted) => ({ muted }))
toggle('deafen', (deafened) => ({ deafened }))
toggle('camera', (hidden) => ({ camera: !hidden }))

/** Offers the voice channels of the person in the form. */
async function offer() {
  const who = element('did').value.trim()
  const channels = who ? await didOf(who).then(voiceChannels).catch(() => []) : []
  element('rooms').replaceChildren(...channels.map(({ uri, name }) => new Option(name, uri)))
}
element('did').addEventListener('change', offer)
element('leave').addEventListener('click', () => window.call?.end())
addEventListener('pagehide', () => window.call?.end())

// ?room=…&name=…&did=…&source=test fills in the form.
const given = new URLSearchParams(location.search)
for (const id of ['room', 'name', 'did']) element(id).value = given.get(id) ?? ''
if (given.get('source') === 'test') form.querySelector('[value=test]').checked = true
if (given.has('in-frame')) element('in-frame').checked = true
offer()
