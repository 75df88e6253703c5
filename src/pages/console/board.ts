// What the console shows, read again and again: health every two seconds, the operator's lists and the communities every
// ten. Every number is the API's own, or the difference of two of them.

import {
  Service,
  type AuditEntry,
  type DueRepository,
  type Health,
  type ListedCommunity,
  type Member,
  type RefusedFor,
  type Webhook,
} from '../../../packages/client/src/index.ts'
import { isVoice } from '../client/api.ts'

const HEALTH_EVERY_MILLIS = 2_000
const LISTS_EVERY_MILLIS = 10_000
/** Rates that the sparkline shows: four minutes. */
const RATES = 120
/** Communities on a page; members and voice rooms of each are read one by one. */
const PAGE = 20
const MEMBERS_MAX = 1_000

export interface Watched extends ListedCommunity {
  members: Member[]
  /** Whether there are more members than were read. */
  isMore: boolean
  voice: { name: string; members: string[] }[]
}

export class Board {
  health?: Health
  /** Events that were stored, per second; the newest last. */
  rates: number[] = []
  refusals: RefusedFor[] = []
  repositories: DueRepository[] = []
  webhooks: Webhook[] = []
  communities: Watched[] = []
  /** The cursors of the pages of communities until now; the last one is shown. */
  pages: (string | undefined)[] = [undefined]
  next?: string
  /** The community whose people and messages are acted on, and its acts. */
  chosen?: Pick<ListedCommunity, 'uri' | 'name' | 'owner_did'>
  audit: AuditEntry[] = []
  trouble = ''
  private last?: { events: number; at: number }

  private constructor(
    readonly operator: Service,
    private readonly changed: () => void,
  ) {}

  /** Signs in: the lists are only for the key. */
  static async open(key: string, changed: () => void): Promise<Board> {
    const board = new Board(new Service(location.origin, key), changed)
    await board.readLists()
    board.repeat(() => board.readHealth(), HEALTH_EVERY_MILLIS)
    board.repeat(() => board.readLists(), LISTS_EVERY_MILLIS)
    return board
  }

  private repeat(work: () => Promise<void>, every: number) {
    const again = async () => {
      try {
        if (!document.hidden) await work()
        this.trouble = ''
      } catch (error) {
        this.trouble = String(error instanceof Error ? error.message : error)
      }
      this.changed()
      setTimeout(again, every)
    }
    void again()
  }

  private async readHealth() {
    this.health = await this.operator.health()
    const { events } = this.health.ingest.since_woken
    const now = { events, at: Date.now() }
    // The stream's object woke again: its count began anew.
    if (this.last && events >= this.last.events) {
      const rate = ((events - this.last.events) * 1_000) / Math.max(1, now.at - this.last.at)
      this.rates = [...this.rates, rate].slice(-RATES)
    }
    this.last = now
  }

  async readLists() {
    const { refusals, repositories, webhooks } = await this.operator.get('/api/operator', {})
    Object.assign(this, { refusals, repositories, webhooks })
    await this.readCommunities()
    await this.readAudit()
  }

  async readCommunities() {
    const { rows, next } = await this.operator.page('/api/operator/communities', {
      limit: PAGE,
      cursor: this.pages.at(-1),
    })
    this.communities = await Promise.all(rows.map((row) => this.watched(row)))
    this.next = next
    this.chosen = rows.find(({ uri }) => uri === this.chosen?.uri) ?? this.chosen ?? rows[0]
  }

  private async watched(row: ListedCommunity): Promise<Watched> {
    const community = row.uri
    const [{ rows: members, next }, { categories, uncategorized }] = await Promise.all([
      this.operator.page('/api/members', { community, limit: MEMBERS_MAX }),
      this.operator.get('/api/sidebar', { community }),
    ])
    const channels = [...categories.flatMap(({ channels }) => channels), ...uncategorized]
    const voice = channels.filter(isVoice).map(({ name, voice_members }) => ({ name, members: voice_members }))
    return { ...row, members, isMore: next !== undefined, voice }
  }

  async turn(pages: (string | undefined)[]) {
    this.pages = pages
    await this.readCommunities()
    this.changed()
  }

  async choose(community: Board['chosen']) {
    this.chosen = community
    await this.readAudit()
    this.changed()
  }

  async readAudit() {
    if (!this.chosen) return
    const { rows } = await this.operator.page('/api/audit', { community: this.chosen.uri, limit: 50 })
    this.audit = rows
  }

  /** How a person is called here. */
  nameOf(did: string): string {
    const found = this.communities.flatMap(({ members }) => members).find(({ member_did }) => member_did === did)
    return found?.handle ?? found?.display_name ?? did
  }
}
