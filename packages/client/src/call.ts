// Signaling of calls: a room, its peers, and the signals between them. Media is the business of the caller, with
// RTCPeerConnection for example. Contract, section 7.
//
// Promises: the call survives a break of its socket: it connects again, later each time, and joins under its name by a
// secret (S12); a connection that says nothing for two heartbeats counts as dead.

import { Beating, pauseAfter } from './beating.ts'
import type { CallFrame, PeerFrame } from './types.ts'

const HEARTBEAT = '{"type":"heartbeat"}'

export interface CallListener {
  /** The socket is in the room, for the first time or again; `peers` are the others. */
  joined(peers: string[]): void
  /** Any other frame: a peer came or left, a signal, an error. */
  frame(frame: CallFrame): void
  /** The connection to the room is gone, and another one is on its way. */
  cut?(): void
  /** The call is over: the service does not admit this peer (any more). */
  ended(code: number): void
}

/** A signal for one peer. */
export type Outgoing =
  | { type: 'offer' | 'answer'; sdp: string }
  | { type: 'ice'; candidate: string | Record<string, unknown> | null }

/** 128 random bits. Browsers give no `randomUUID` to a page that came over plain http from another machine. */
const secret = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')

export class Call {
  readonly room: string
  readonly peerId: string
  /** `/api/webrtc/ice-servers` takes it as the proof that this peer is in the room. */
  readonly secret = secret()
  private readonly open: () => Promise<[string, string[]]>
  private readonly listener: CallListener
  private readonly beating = new Beating(HEARTBEAT, () => this.again())
  private socket?: WebSocket
  private retries = 0
  private retrying?: ReturnType<typeof setTimeout>
  private isOver = false

  /** `open`: the address of a new socket and its sub-protocols; a proof in them is valid only once. */
  constructor(room: string, peerId: string, open: () => Promise<[string, string[]]>, listener: CallListener) {
    this.room = room
    this.peerId = peerId
    this.open = open
    this.listener = listener
    void this.connect()
  }

  /** Sends a signal to a peer. Without a connection it is lost: the peers negotiate anew after `joined`. */
  signal(target: string, signal: Outgoing) {
    this.send({ ...signal, room: this.room, target_peer_id: target })
  }

  /** Says which devices are on; what is left out stays as it was. */
  setVoiceState(devices: { muted?: boolean; deafened?: boolean; camera?: boolean; screen?: boolean }) {
    this.send({ type: 'voice_state', room: this.room, ...devices })
  }

  leave() {
    this.isOver = true
    this.send({ type: 'leave', room: this.room })
    clearTimeout(this.retrying)
    this.drop()
  }

  private send(frame: PeerFrame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame))
  }

  private async connect() {
    try {
      const [address, protocols] = await this.open()
      if (this.isOver) return
      const socket = new WebSocket(address, protocols)
      this.socket = socket
      socket.onopen = () => {
        this.beating.start(socket)
        this.send({ type: 'join', room: this.room, peer_id: this.peerId, secret: this.secret })
      }
      socket.onmessage = ({ data }) => this.receive(JSON.parse(data))
      socket.onclose = ({ code }) => (code === 1008 ? this.end(code) : this.again())
    } catch {
      this.again()
    }
  }

  private receive(frame: CallFrame) {
    this.beating.heard()
    if (frame.type === 'joined') {
      this.retries = 0
      this.listener.joined(frame.peers)
    } else if (frame.type !== 'ack') this.listener.frame(frame)
  }

  private again() {
    if (this.isOver) return
    this.drop()
    this.listener.cut?.()
    this.retrying = setTimeout(() => void this.connect(), pauseAfter(this.retries++))
  }

  private end(code: number) {
    this.isOver = true
    this.drop()
    this.listener.ended(code)
  }

  private drop() {
    const { socket } = this
    this.socket = undefined
    this.beating.stop()
    if (!socket) return
    socket.onclose = null
    socket.onmessage = null
    socket.close()
  }
}
