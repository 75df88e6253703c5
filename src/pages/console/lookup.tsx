// Looking up a person, a message or a community, and what can be done with it.

import { useRef, useState } from 'preact/hooks'

import { Refused, type Community } from '../../../packages/client/src/index.ts'
import { textIn } from '../page.ts'
import { t, timeOf } from '../texts/index.ts'
import { OF_COMMUNITY, OF_MESSAGE, OF_PERSON, type Act, type Subject } from './acts.ts'
import type { Board } from './board.ts'
import { Lines, type Line } from './lines.tsx'

/** What was found: lines to read, and acts that fit. */
interface Found {
  title: string
  lines: Line[]
  acts: Act[]
  person?: string
  message?: { author: string; rkey: string }
}

/** An act that waits for its confirmation. */
interface Asked {
  act: Act
  about: string
  place: string
  subject: Subject
}

const absent = (error: unknown) => {
  if (error instanceof Refused && [404, 422].includes(error.status)) return undefined
  throw error
}

async function person(board: Board, id: string): Promise<Found> {
  const { operator } = board
  const { did, handle, pds } = await operator.get('/api/identity', { id })
  const [communities, sync, erasure] = await Promise.all([
    operator.get('/api/communities', { did }),
    operator.get('/api/sync', { did }).catch(absent),
    operator.get('/api/user/erasure', { did }).catch(absent),
  ])
  const names = (list: Community[]) => list.map(({ name }) => name).join(', ') || t.console.none
  return {
    title: handle ?? did,
    person: did,
    acts: OF_PERSON,
    lines: [
      [t.console.did, did],
      [t.console.pds, pds ?? t.console.unknown],
      [t.console.owns, names(communities.owned)],
      [t.console.belongs, names(communities.joined)],
      [t.console.repository, sync ? sync.status : t.console.unknown],
      ...(erasure ? ([[t.console.erasure, erasure.state]] satisfies Line[]) : []),
    ],
  }
}

async function message(board: Board, author: string, rkey: string): Promise<Found> {
  const found = await board.operator.get('/api/message', { author, rkey }).catch(absent)
  return {
    title: t.console.message,
    message: { author, rkey },
    acts: OF_MESSAGE,
    lines: found
      ? [
          [t.console.author, found.handle ?? author],
          [t.console.at, timeOf(found.created_at)],
          [t.console.text, found.text],
        ]
      : [
          [t.console.author, author],
          [t.console.text, t.console.notShown],
        ],
  }
}

async function community(board: Board, uri: string): Promise<Found> {
  const { operator } = board
  const { name, description, owner_did } = await operator.get('/api/community', { community: uri })
  await board.choose({ uri, name, owner_did })
  const bans = await operator.get('/api/community/bans', { community: uri })
  const moderators = await operator.get('/api/community/moderators', { community: uri })
  return {
    title: name,
    acts: OF_COMMUNITY,
    lines: [
      [t.console.uri, uri],
      [t.console.description, description ?? ''],
      [t.console.banned, bans.map(({ member_did }) => board.nameOf(member_did)).join(', ') || t.console.none],
      [t.console.moderators, moderators.map((did) => board.nameOf(did)).join(', ') || t.console.none],
    ],
  }
}

/** A handle, a DID, or the AT-URI of a message or a community. */
function find(board: Board, given: string): Promise<Found> {
  const [, , authority = '', collection, rkey = ''] = given.split('/')
  if (!given.startsWith('at://')) return person(board, given.replace(/^@/, ''))
  if (collection === 'social.colibri.message') return message(board, authority, rkey)
  if (collection === 'social.colibri.community') return community(board, given)
  return person(board, authority)
}

export function Lookup({ board, changed }: { board: Board; changed: () => void }) {
  const [found, setFound] = useState<Found>()
  const [note, setNote] = useState('')
  const [asked, setAsked] = useState<Asked>()
  const [given, setGiven] = useState('')
  /** Counts searches: an answer that comes after a later one is not shown. */
  const searches = useRef(0)

  async function search(event: Event) {
    event.preventDefault()
    const search = ++searches.current
    setNote('')
    const answer = await find(board, given.trim()).catch(
      (error: Error) => void setNote(t.console.failed(error.message)),
    )
    if (search === searches.current) setFound(answer ?? undefined)
  }

  function ask(act: Act, { title, person, message }: Found) {
    if (!board.chosen) return
    const { uri: community, owner_did: owner, name } = board.chosen
    setAsked({ act, about: title, place: name, subject: { community, owner, person, message } })
  }

  async function confirmed({ act, subject }: Asked, reason: string) {
    const search = searches.current
    setAsked(undefined)
    try {
      const answer = await act.run(board.operator, subject, reason)
      setNote(answer?.code ? t.console.code(answer.code) : t.console.done(t.console.acts[act.name].title))
    } catch (error) {
      setNote(t.console.failed((error as Error).message))
    }
    await board.readLists().catch(() => {})
    changed()
    const again = await find(board, given.trim()).catch(() => undefined)
    if (again && search === searches.current) setFound(again)
  }

  return (
    <section class="card lookup" aria-labelledby="lookup">
      <h2 id="lookup">{t.console.lookup}</h2>
      <form onSubmit={search}>
        <label for="given">{t.console.lookupAbout}</label>
        <div class="row">
          <input
            id="given"
            required
            autocomplete="off"
            spellcheck={false}
            value={given}
            onInput={({ currentTarget }) => setGiven(currentTarget.value)}
          />
          <button type="submit">{t.console.find}</button>
        </div>
      </form>
      <p role="status">{note}</p>
      {found && (
        <>
          <h3>{found.title}</h3>
          <Lines lines={found.lines} />
          {found.person && board.chosen && <p class="faint">{t.console.actsIn(board.chosen.name)}</p>}
          <div class="row">
            {found.acts.map((one) => (
              <button key={one.name} type="button" class={one.isGrave ? 'danger' : ''} onClick={() => ask(one, found)}>
                {t.console.acts[one.name].title}
              </button>
            ))}
          </div>
        </>
      )}
      {asked && (
        <Confirmation
          asked={asked}
          close={() => setAsked(undefined)}
          confirmed={(reason) => void confirmed(asked, reason)}
        />
      )}
    </section>
  )
}

interface Question {
  asked: Asked
  close: () => void
  confirmed: (reason: string) => void
}

/** Says what will happen; nothing has happened before it is confirmed. */
function Confirmation({ asked: { act, about, place }, close, confirmed }: Question) {
  const { title, says } = t.console.acts[act.name]
  function submit(event: SubmitEvent) {
    event.preventDefault()
    confirmed(textIn(event, 'reason'))
  }
  return (
    <dialog ref={(dialog) => void (dialog && !dialog.open && dialog.showModal())} onClose={close} aria-labelledby="act">
      <form onSubmit={submit}>
        <h2 id="act">{title}</h2>
        <p>{says(about, place)}</p>
        {act.isLogged && (
          <>
            <label for="reason">{t.console.reason}</label>
            <input id="reason" name="reason" maxLength={300} autocomplete="off" />
          </>
        )}
        <div class="row">
          <button type="submit" class={act.isGrave ? 'danger' : 'main'}>
            {title}
          </button>
          <button type="button" onClick={close}>
            {t.console.cancel}
          </button>
        </div>
      </form>
    </dialog>
  )
}
