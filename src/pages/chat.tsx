// `/demo/chat`: the shortest complete client. Start reading here: this file is what one sees, `chat/world.ts` what the
// page knows, `client/` how it talks to the service and to the PDS.
//
// `#handle:password,handle:password` in the address offers these accounts for one click; browsers send nothing of it to
// a server. `npm start` prints such an address for the people of its demo.

import { useState } from 'preact/hooks'

import { Notifications, Results, Thread } from './chat/asides.tsx'
import type { Inbox } from './chat/inbox.ts'
import { Badge, Messages, nameOf } from './chat/messages.tsx'
import { World, type Room } from './chat/world.ts'
import { Refused, withQuery, type Member } from '../../packages/client/src/index.ts'
import { isVoice } from './client/api.ts'
import { drawing, textIn } from './page.ts'
import { entitle, t } from './texts/index.ts'

const STATES = ['online', 'away', 'dnd'] as const
const PANES = ['channels', 'messages', 'members'] as const
type Pane = (typeof PANES)[number]

/** The accounts in the address: handle and password. */
const offered = decodeURIComponent(location.hash.slice(1))
  .split(',')
  .map((account) => account.split(':'))
  .filter((account): account is [string, string] => account.length === 2)

let world: World | undefined
const draw = drawing(() => (world ? <Chat world={world} /> : <SignIn />))

function SignIn() {
  const [note, setNote] = useState('')
  const [isBusy, setBusy] = useState(false)
  async function enter(handle: string, password: string) {
    setBusy(true)
    setNote(t.chat.signingIn)
    try {
      world = await World.enter(handle, password, draw)
      draw()
    } catch (error) {
      const { status, message } = error as Refused
      setBusy(false)
      setNote(
        status === 401
          ? t.chat.wrongPassword
          : [404, 422, 502].includes(status)
            ? t.chat.noPds(handle)
            : t.chat.failed(message),
      )
    }
  }
  function submit(event: SubmitEvent) {
    event.preventDefault()
    void enter(textIn(event, 'handle'), textIn(event, 'password'))
  }
  return (
    <main class="sign-in">
      <h1>{t.chat.title}</h1>
      {offered.map(([handle, password]) => (
        <button key={handle} type="button" class="main" disabled={isBusy} onClick={() => enter(handle, password)}>
          {t.chat.signInAs(handle)}
        </button>
      ))}
      <form onSubmit={submit}>
        <p class="faint">{t.chat.signInAbout}</p>
        <label for="handle">{t.chat.handle}</label>
        <input
          id="handle"
          name="handle"
          required
          autocomplete="username"
          autocapitalize="none"
          spellcheck={false}
          placeholder="alice.example.com"
        />
        <label for="password">{t.chat.password}</label>
        <input id="password" name="password" type="password" required autocomplete="current-password" />
        <button type="submit" class="main" disabled={isBusy}>
          {t.chat.signIn}
        </button>
      </form>
      <p role="status">{note}</p>
    </main>
  )
}

function Chat({ world }: { world: World }) {
  const [pane, setPane] = useState<Pane>('messages')
  return (
    <main class="chat" data-pane={pane} onKeyDown={() => world.active()} onPointerDown={() => world.active()}>
      <Top world={world} />
      <nav class="panes">
        {PANES.map((one) => (
          <button key={one} type="button" aria-pressed={pane === one} onClick={() => setPane(one)}>
            {t.chat[one]}
          </button>
        ))}
      </nav>
      <Channels world={world} entered={() => setPane('messages')} />
      {world.room && <Messages world={world} room={world.room} place={world.place?.name ?? ''} />}
      <Members world={world} />
      {world.found && <FoundMessages world={world} found={world.found} />}
      {world.thread.length > 0 && <Thread messages={world.thread} close={() => world.closeThread()} />}
    </main>
  )
}

function Top({ world }: { world: World }) {
  const own = world.member(world.me.did)?.state ?? 'online'
  return (
    <header class="top">
      <h1 class="hidden">{t.chat.title}</h1>
      <strong>{world.me.handle}</strong>
      <label>
        <span class="hidden">{t.chat.yourState}</span>
        <select value={own} onChange={({ currentTarget }) => world.setState(currentTarget.value as (typeof STATES)[number])}>
          {STATES.map((state) => (
            <option key={state} value={state}>
              {t.chat.statesOf[state]}
            </option>
          ))}
        </select>
      </label>
      {world.inbox && <InboxButton world={world} inbox={world.inbox} />}
      <span class="line" role="status" data-state={world.line}>
        {t.chat.line[world.line]}
        {world.cameBack && <span class="came-back"> {world.cameBack}</span>}
      </span>
      <button type="button" onClick={() => (world.line === 'cut' ? world.mend() : world.cut())}>
        {world.line === 'cut' ? t.chat.mend : t.chat.cut}
      </button>
      <button type="button" onClick={() => location.reload()}>
        {t.chat.signOut}
      </button>
      {world.trouble && (
        <p class="trouble" role="alert">
          {world.trouble}
        </p>
      )}
    </header>
  )
}

function InboxButton({ world, inbox }: { world: World; inbox: Inbox }) {
  const [isOpen, setOpen] = useState(false)
  return (
    <>
      <button type="button" aria-haspopup="dialog" onClick={() => setOpen(true)}>
        {t.chat.inbox}
        <Count count={inbox.unseen} says={t.chat.notSeen} />
      </button>
      {isOpen && (
        <Notifications
          inbox={inbox}
          close={() => setOpen(false)}
          seeAll={() => void inbox.seeAll().catch(world.fail)}
          go={(notification) => {
            setOpen(false)
            world.goTo(notification)
          }}
        />
      )}
    </>
  )
}

function Channels({ world, entered }: { world: World; entered: () => void }) {
  const enter = (room: Room) => {
    world.enterRoom(room)
    entered()
  }
  return (
    <nav class="channels" aria-label={t.chat.channels}>
      <h2>{t.chat.communities}</h2>
      {world.places.size === 0 && <p class="faint">{t.chat.none}</p>}
      <ul>
        {[...world.places.values()].map((place) => (
          <li key={place.uri}>
            <button type="button" aria-current={place === world.place} onClick={() => world.enterPlace(place.uri)}>
              {place.name}
              <Count
                count={world.rooms(place).reduce((sum, room) => sum + world.unread(room), 0)}
                says={t.chat.unread}
              />
            </button>
          </li>
        ))}
      </ul>
      {world.place?.categories.map(({ name, rooms }) => (
        <section key={name}>
          <h2>{name || t.chat.otherChannels}</h2>
          <ul>
            {rooms.map((room) => (
              <li key={room.uri}>
                {isVoice(room) ? (
                  <Voice world={world} room={room} />
                ) : (
                  <button type="button" aria-current={room === world.room} onClick={() => enter(room)}>
                    # {room.name}
                    <Count count={world.unread(room)} says={t.chat.unread} />
                    <Count count={world.inbox?.mentions(room.uri) ?? 0} says={t.chat.mentions} sign="@" />
                  </button>
                )}
              </li>
            ))}
          </ul>
        </section>
      ))}
      {world.place && <Search world={world} />}
      <Join world={world} />
    </nav>
  )
}

/** A number in a badge, if there is anything to count; `says` is its words for a screen reader. */
const Count = ({ count, says, sign = '' }: { count: number; says: (count: number) => string; sign?: string }) =>
  count > 0 ? (
    <span class="unread">
      <span aria-hidden="true">
        {sign}
        {count}
      </span>
      <span class="hidden">{says(count)}</span>
    </span>
  ) : null

/** A voice channel: who is in it, and the way into its call. */
function Voice({ world, room }: { world: World; room: Room }) {
  const names = room.voice_members.map((did) => {
    const member = world.member(did)
    const { muted, deafened } = world.devices.get(did) ?? {}
    const device = deafened ? t.chat.deafened : muted && t.chat.muted
    const name = member ? nameOf(member, did) : did
    return device ? `${name} (${device})` : name
  })
  const call = withQuery('/demo/call', { room: room.uri, did: world.me.handle, name: world.me.handle.split('.')[0] })
  return (
    <div class="voice">
      <span>♪ {room.name}</span>
      <a href={call} target="_blank" rel="noopener">
        {t.chat.call}
      </a>
      <span class="faint">{names.join(', ') || t.chat.nobody}</span>
    </div>
  )
}

/** Searches the community that is open. */
function Search({ world }: { world: World }) {
  function submit(event: SubmitEvent) {
    event.preventDefault()
    world.search(textIn(event, 'words')).catch(world.fail)
  }
  return (
    <form role="search" class="search" onSubmit={submit}>
      <label for="words">{t.chat.searchIn(world.place?.name ?? '')}</label>
      <input id="words" name="words" type="search" required autocomplete="off" />
      <button type="submit">{t.chat.search}</button>
    </form>
  )
}

function FoundMessages({ world, found }: { world: World; found: NonNullable<World['found']> }) {
  const { words, rows, next } = found
  const more = next === undefined ? undefined : () => void world.search(words, next).catch(world.fail)
  return <Results words={words} rows={rows} more={more} close={() => world.closeSearch()} />
}

function Join({ world }: { world: World }) {
  const [note, setNote] = useState('')
  async function submit(event: SubmitEvent) {
    event.preventDefault()
    const named = textIn(event, 'named').trim()
    await world.join(named).then(
      () => setNote(t.chat.joined),
      ({ message }) => setNote(t.chat.failed(message)),
    )
  }
  return (
    <details class="join">
      <summary>{t.chat.join}</summary>
      <form onSubmit={submit}>
        <label for="named">{t.chat.joinAbout}</label>
        <input id="named" name="named" required autocomplete="off" spellcheck={false} />
        <button type="submit">{t.chat.joinButton}</button>
        <p role="status">{note}</p>
      </form>
    </details>
  )
}

function Members({ world }: { world: World }) {
  return (
    <aside class="members" aria-label={t.chat.members}>
      <h2>{t.chat.members}</h2>
      <ul>
        {(world.place?.members ?? []).map((member) => (
          <Person key={member.member_did} member={member} isClosed={world.place?.isClosed ?? false} />
        ))}
      </ul>
    </aside>
  )
}

/** `isClosed`: pending members wait for the owner; in an open community they belong. */
function Person({ member, isClosed }: { member: Member; isClosed: boolean }) {
  const { member_did: did, status, state, emoji, status_text } = member
  const standing = status === 'owner' ? t.chat.owner : status === 'pending' && isClosed && t.chat.pending
  const notes = [standing, emoji, status_text].filter(Boolean)
  return (
    <li data-state={state ?? 'offline'}>
      <Badge name={nameOf(member, did)} did={did} />
      <span>
        {nameOf(member, did)}
        <span class="faint">{[t.chat.statesOf[state ?? 'offline'], ...notes].join(', ')}</span>
      </span>
    </li>
  )
}

entitle(t.chat.title)
document.addEventListener('visibilitychange', () => world?.markRead())
draw()
