// Which messages mention or answer the person (contract, section 15). The service keeps the list: the page reads it
// again whenever a frame says that it changed, so that it is the same on every device.

import type { Notification } from '../../../packages/client/src/index.ts'
import { service } from '../client/api.ts'
import { takePushes } from './push.ts'

/** The method that a proof for the list names (X09). */
const METHOD = 'social.colibri.notification.listNotifications'
/** The frames after which the list is another one. */
export const CHANGES = ['notification', 'notifications_seen', 'channel_read']

export class Inbox {
  /** How many are not seen, of all. */
  unseen = 0
  /** The newest first. */
  list: Notification[] = []
  private isReading = false
  private isAgain = false

  /** `proof`: one for a method; a proof is valid once. */
  constructor(
    private readonly did: string,
    private readonly proof: (method: string) => Promise<string>,
    private readonly changed: () => void,
  ) {}

  /** Reads the list. What is asked for during a reading is one more reading. */
  async read(): Promise<void> {
    this.isAgain = this.isReading
    if (this.isReading) return
    this.isReading = true
    try {
      const { unseen, notifications } = await service.get('/api/notifications', { did: this.did }, await this.proof(METHOD))
      Object.assign(this, { unseen, list: notifications })
      this.changed()
    } finally {
      this.isReading = false
    }
    if (this.isAgain) await this.read()
  }

  /** Messages of a channel that mention or answer the person, and were not seen. */
  mentions = (channel: string) =>
    new Set(this.list.filter((one) => one.channel_uri === channel && !one.seen_at).map(({ message }) => message.id)).size

  /** Everything that came until now is seen; a frame says so to all devices. */
  async seeAll(): Promise<void> {
    const proof = await this.proof('social.colibri.notification.updateSeen')
    await service.act('POST /api/notifications/seen', { proof, query: { did: this.did } })
  }

  /** Has the person notified on this device too; resolves with what is to be said about it. */
  takePushes = () => takePushes(this.did, this.proof)
}
