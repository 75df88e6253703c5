// The messages of a channel, and the form that writes them.

import { useEffect, useRef, useState } from 'preact/hooks'

import type { Message } from '../../../packages/client/src/index.ts'
import { service, type Attachment, type Facet, type Quotation } from '../client/api.ts'
import { isWeb, segments, type Segment } from '../client/richtext.ts'
import { t, timeOf } from '../texts/index.ts'
import type { Post, Room, World } from './world.ts'

const EMOJI = ['👍', '❤️', '😂', '🎉', '👀', '🙏']
const MARKS = [
  ['bold', 'strong'],
  ['italic', 'em'],
  ['underline', 'u'],
  ['strikethrough', 's'],
  ['code', 'code'],
] as const
const PICTURE = /^image\/(png|jpeg|gif|webp|avif)$/

export const nameOf = (of: { display_name: string | null; handle: string | null }, did: string) =>
  of.display_name || of.handle || did
const authorOf = (message: Quotation) => nameOf(message, message.author_did)

/** The first letter of a name on a colour of its own: no picture is loaded from elsewhere. */
export function Badge({ name, did }: { name: string; did: string }) {
  const hue = [...did].reduce((sum, letter) => (sum * 33) ^ letter.charCodeAt(0), 5381)
  return (
    <span class="badge" aria-hidden="true" style={{ '--hue': String((hue >>> 0) % 360) }}>
      {[...name.toUpperCase()][0]}
    </span>
  )
}

function Piece({ segment: { text, features } }: { segment: Segment }) {
  const link = features.get('link')?.uri
  const isName = ['mention', 'channel', 'role'].some((feature) => features.has(feature))
  const inner = MARKS.reduce(
    (shown, [feature, Tag]) => (features.has(feature) ? <Tag>{shown}</Tag> : shown),
    isName ? <span class="mention">{text}</span> : <>{text}</>,
  )
  return isWeb(link) ? (
    <a href={link} target="_blank" rel="noopener noreferrer">
      {inner}
    </a>
  ) : (
    inner
  )
}

function Attachments({ message: { attachments, author_did: author } }: { message: Message }) {
  return ((attachments ?? []) as Attachment[]).map(({ blob, name }) => {
    const address = service.blobAddress(author, blob.ref.$link)
    const shown = name || t.chat.attachment
    return (
      <a key={address} class="attachment" href={address} download={name}>
        {PICTURE.test(blob.mimeType) ? <img src={address} alt={shown} loading="lazy" /> : shown}
      </a>
    )
  })
}

/** What can be done with a message, where it stands and in the form below. */
export interface Intent {
  kind: 'reply' | 'edit'
  message: Message
}

interface Shown {
  world: World
  message: Message
  /** How many answer it, if it is the root of a thread. */
  answers: number
  intend: (intent: Intent) => void
}

function One({ world, message, answers, intend }: Shown) {
  const isOwn = message.author_did === world.me.did
  const { parent_message: parent } = message
  const react = (emoji: string) => () => world.react(message, emoji).catch(world.fail)
  return (
    <li class="message">
      <Badge name={authorOf(message)} did={message.author_did} />
      <article aria-label={authorOf(message)}>
        {parent && (
          <blockquote>
            {t.chat.answers(authorOf(parent))}: {parent.text}
          </blockquote>
        )}
        <header>
          <strong>{authorOf(message)}</strong>
          <time dateTime={message.created_at}>{timeOf(message.created_at)}</time>
          {message.edited && <span class="faint">{t.chat.edited}</span>}
        </header>
        <p class="text">
          {segments(message.text, message.facets as Facet[] | null).map((segment, n) => (
            <Piece key={n} segment={segment} />
          ))}
        </p>
        <Attachments message={message} />
        <div class="acts">
          {message.reactions.map(({ emoji, count, authors }) => (
            <button
              key={emoji}
              type="button"
              class="reaction"
              aria-pressed={authors.includes(world.me.did)}
              aria-label={t.chat.reactions(emoji, count)}
              onClick={react(emoji)}
            >
              {emoji} {count}
            </button>
          ))}
          <details class="quiet">
            <summary>{t.chat.react}</summary>
            <div class="emoji">
              {EMOJI.map((emoji) => (
                <button key={emoji} type="button" aria-label={t.chat.reactWith(emoji)} onClick={react(emoji)}>
                  {emoji}
                </button>
              ))}
            </div>
          </details>
          {answers > 0 && (
            <button type="button" onClick={() => world.openThread(message).catch(world.fail)}>
              {t.chat.answersBelow(answers)}
            </button>
          )}
          <button type="button" class="quiet" onClick={() => intend({ kind: 'reply', message })}>
            {t.chat.reply}
          </button>
          {isOwn && (
            <>
              <button type="button" class="quiet" onClick={() => intend({ kind: 'edit', message })}>
                {t.chat.edit}
              </button>
              <button type="button" class="quiet" onClick={() => world.remove(message).catch(world.fail)}>
                {t.chat.delete}
              </button>
            </>
          )}
        </div>
      </article>
    </li>
  )
}

const Waiting = ({ post }: { post: Post }) => (
  <li class="message waiting">
    <span />
    <article>
      <p class="text">{post.text}</p>
      <p class={post.state === 'sending' ? 'faint' : 'trouble'}>
        {post.state === 'rejected'
          ? t.chat.rejected(post.why ?? '')
          : post.state === 'unseen'
            ? t.chat.unseen
            : t.chat.sending}
      </p>
    </article>
  </li>
)

export function Messages({ world, room, place }: { world: World; room: Room; place: string }) {
  const [intent, setIntent] = useState<Intent>()
  const list = useRef<HTMLDivElement>(null)
  const newest = room.messages.at(-1)?.id
  useEffect(() => setIntent(undefined), [room.uri])
  useEffect(() => list.current?.scrollTo(0, list.current.scrollHeight), [room.uri, newest, world.posts.length])
  return (
    <section class="talk" aria-labelledby="room">
      <h2 id="room">
        {room.name}, {place}
      </h2>
      <div ref={list} class="log" role="log" aria-label={t.chat.messages} tabIndex={0}>
        <ol>
          {room.older && (
            <li>
              <button type="button" onClick={() => world.readOlder(room).catch(world.fail)}>
                {t.chat.older}
              </button>
            </li>
          )}
          {room.messages.length === 0 && <li class="faint">{t.chat.empty}</li>}
          {room.messages.map((message) => (
            <One
              key={message.id}
              world={world}
              message={message}
              answers={room.answers.get(message.id) ?? 0}
              intend={setIntent}
            />
          ))}
          {world.posts
            .filter(({ channel }) => channel === room.uri)
            .map((post) => (
              <Waiting key={post.rkey} post={post} />
            ))}
        </ol>
      </div>
      <Composer
        key={room.uri + (intent?.message.id ?? '')}
        world={world}
        room={room}
        intent={intent}
        done={() => setIntent(undefined)}
      />
    </section>
  )
}

function Composer({ world, room, intent, done }: { world: World; room: Room; intent?: Intent; done: () => void }) {
  const edited = intent?.kind === 'edit' ? intent.message : undefined
  const parent = intent?.kind === 'reply' ? intent.message : undefined
  const [text, setText] = useState(edited?.text ?? '')
  const [files, setFiles] = useState<File[]>([])
  const [isBusy, setBusy] = useState(false)
  const field = useRef<HTMLTextAreaElement>(null)
  const writers = world.writers(room).map((did) => {
    const member = world.member(did)
    return member ? nameOf(member, did) : did
  })
  useEffect(() => {
    if (intent) field.current?.focus()
  }, [intent])

  async function submit(event?: Event) {
    event?.preventDefault()
    if (isBusy || (text.trim() === '' && files.length === 0)) return
    setBusy(true)
    try {
      if (edited) await world.change(edited, text)
      else await world.post(text, files, parent)
      setText('')
      setFiles([])
      done()
    } catch (error) {
      world.fail(error)
    } finally {
      setBusy(false)
    }
  }

  function key(event: KeyboardEvent) {
    if (event.key === 'Escape') done()
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
    void submit(event)
  }

  return (
    <form class="composer" onSubmit={submit}>
      {writers.length > 0 && (
        <p class="faint" role="status">
          {t.chat.writes(writers.join(', '))}
        </p>
      )}
      {intent && (
        <p class="faint">
          {parent ? t.chat.replyTo(authorOf(parent)) : t.chat.editing}{' '}
          <button type="button" class="quiet" onClick={done}>
            {t.chat.cancel}
          </button>
        </p>
      )}
      {files.map((file) => (
        <button key={file.name} type="button" onClick={() => setFiles(files.filter((one) => one !== file))}>
          ✕ {t.chat.detach(file.name)}
        </button>
      ))}
      <textarea
        ref={field}
        rows={2}
        maxLength={2048}
        aria-label={t.chat.write(room.name)}
        placeholder={t.chat.write(room.name)}
        value={text}
        onInput={({ currentTarget }) => {
          setText(currentTarget.value)
          world.write()
        }}
        onKeyDown={key}
      />
      {!edited && (
        <label class="attach">
          <input type="file" multiple onChange={({ currentTarget }) => setFiles([...(currentTarget.files ?? [])])} />
          <span>{t.chat.attach}</span>
        </label>
      )}
      <button type="submit" class="main" disabled={isBusy}>
        {edited ? t.chat.save : t.chat.send}
      </button>
    </form>
  )
}
