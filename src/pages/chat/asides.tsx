// What opens beside the talk: the messages that mention or answer the person, and one thread.

import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'

import type { Found, Notification, ThreadMessage } from '../../../packages/client/src/index.ts'
import { t, timeOf } from '../texts/index.ts'
import type { Inbox } from './inbox.ts'
import { nameOf } from './messages.tsx'
import { canTakePushes } from './push.ts'

type Core = ThreadMessage['message']

function Aside({ title, close, children }: { title: string; close: () => void; children: ComponentChildren }) {
  return (
    <dialog
      class="aside"
      aria-labelledby="aside"
      ref={(dialog) => void (dialog && !dialog.open && dialog.showModal())}
      onClose={close}
    >
      <header class="row">
        <h2 id="aside">{title}</h2>
        <button type="button" onClick={close}>
          {t.chat.close}
        </button>
      </header>
      {children}
    </dialog>
  )
}

const Said = ({ message }: { message: Core }) => (
  <>
    <strong>{nameOf(message, message.author_did)}</strong>{' '}
    <time dateTime={message.created_at}>{timeOf(message.created_at)}</time>
    <p class="text">{message.text}</p>
  </>
)

const why = ({ kind, message }: Notification) =>
  (kind === 'mention' ? t.chat.mentionsYou : t.chat.answersYou)(nameOf(message, message.author_did))

function PushHere({ take }: { take: () => Promise<string> }) {
  const [note, setNote] = useState('')
  return (
    <p class="row">
      <button type="button" onClick={() => void take().then(setNote)}>
        {t.chat.pushHere}
      </button>
      <span role="status">{note}</span>
    </p>
  )
}

interface Notices {
  inbox: Inbox
  go: (notification: Notification) => void
  seeAll: () => void
  close: () => void
}

export function Notifications({ inbox, go, seeAll, close }: Notices) {
  return (
    <Aside title={t.chat.inbox} close={close}>
      {inbox.list.length === 0 && <p class="faint">{t.chat.noNotices}</p>}
      <ul class="notices">
        {inbox.list.map((one) => (
          <li key={one.id} data-seen={one.seen_at !== null}>
            <button type="button" onClick={() => go(one)}>
              <span>{why(one)}</span>
              {!one.seen_at && <span class="unread">{t.chat.isNew}</span>}
            </button>
            <p class="text">{one.message.text}</p>
          </li>
        ))}
      </ul>
      {inbox.unseen > 0 && (
        <button type="button" class="main" onClick={seeAll}>
          {t.chat.seeAll}
        </button>
      )}
      {canTakePushes() && <PushHere take={inbox.takePushes} />}
    </Aside>
  )
}

export function Thread({ messages, close }: { messages: ThreadMessage[]; close: () => void }) {
  return (
    <Aside title={t.chat.thread} close={close}>
      <ol class="thread">
        {messages.map(({ depth, message }) => (
          <li key={message.id} style={{ '--depth': String(Math.min(depth, 4)) }}>
            <Said message={message} />
          </li>
        ))}
      </ol>
    </Aside>
  )
}

/** A snippet, with what was found in it marked. Marks are in bytes of UTF-8, in order and apart. */
function Snippet({ text, marks }: Found['snippet']) {
  const bytes = new TextEncoder().encode(text)
  const part = (from: number, to?: number) => new TextDecoder().decode(bytes.subarray(from, to))
  const before = marks.map((_, n) => marks[n - 1]?.byteEnd ?? 0)
  return (
    <p class="text">
      {marks.map(({ byteStart, byteEnd }, n) => (
        <>
          {part(before[n] ?? 0, byteStart)}
          <mark>{part(byteStart, byteEnd)}</mark>
        </>
      ))}
      {part(marks.at(-1)?.byteEnd ?? 0)}
    </p>
  )
}

interface Results {
  words: string
  rows: Found[]
  more?: () => void
  close: () => void
}

export function Results({ words, rows, more, close }: Results) {
  return (
    <Aside title={t.chat.foundFor(words)} close={close}>
      {rows.length === 0 && !more && <p class="faint">{t.chat.nothingFound}</p>}
      <ol class="notices">
        {rows.map(({ snippet, message }) => (
          <li key={message.id}>
            <strong>{nameOf(message, message.author_did)}</strong>{' '}
            <time dateTime={message.created_at}>{timeOf(message.created_at)}</time>
            <Snippet {...snippet} />
          </li>
        ))}
      </ol>
      {more && (
        <button type="button" class="main" onClick={more}>
          {t.chat.more}
        </button>
      )}
    </Aside>
  )
}
