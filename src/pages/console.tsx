// `/console`: what the service does now, and moderation, for the holder of the API key. The key stays in the memory of
// this page; `console/board.ts` reads, `console/acts.ts` acts.

import type { ComponentChild } from 'preact'
import { useState } from 'preact/hooks'

import type { Refused } from '../../packages/client/src/index.ts'
import { Board, type Watched } from './console/board.ts'
import { Lines, type Line } from './console/lines.tsx'
import { Lookup } from './console/lookup.tsx'
import { Tail } from './console/tail.tsx'
import { drawing, textIn } from './page.ts'
import { entitle, t, timeOf } from './texts/index.ts'

let board: Board | undefined
const draw = drawing(() => (board ? <Console board={board} /> : <SignIn />))

const number = (value: number | undefined) => (value ?? 0).toLocaleString(t.language)
const time = (value: string | null | undefined) => (value ? timeOf(value) : t.console.unknown)

/** The seconds since a time. */
const behind = (at: string) => number(Math.max(0, Math.round((Date.now() - Date.parse(at)) / 1_000)))

function SignIn() {
  const [note, setNote] = useState('')
  async function submit(event: SubmitEvent) {
    event.preventDefault()
    try {
      board = await Board.open(textIn(event, 'key').trim(), draw)
      draw()
    } catch (error) {
      const { status, code, message } = error as Refused
      if (status === 401) setNote(t.console.wrongKey)
      else setNote(code === 'NotConfigured' ? t.console.noKey : t.console.failed(message))
    }
  }
  return (
    <main class="sign-in">
      <h1>{t.console.title}</h1>
      <form onSubmit={submit}>
        <p class="faint">{t.console.signInAbout}</p>
        <label for="key">{t.console.key}</label>
        <input id="key" name="key" type="password" required autocomplete="off" />
        <button type="submit" class="main">
          {t.console.open}
        </button>
      </form>
      <p role="status">{note}</p>
    </main>
  )
}

function Console({ board }: { board: Board }) {
  const { health } = board
  return (
    <main class="console">
      <header>
        <h1>{t.console.title}</h1>
        {health && (
          <p class={health.ok ? 'works' : 'trouble'} role="status">
            {health.ok ? t.console.works : t.console.broken(health.message ?? '')}
          </p>
        )}
        {board.trouble && (
          <p class="trouble" role="alert">
            {t.console.failed(board.trouble)}
          </p>
        )}
      </header>
      <Stream board={board} />
      <Parts board={board} />
      <Gateways board={board} />
      <Communities board={board} />
      <Lookup board={board} changed={draw} />
      <Audit board={board} />
      <Repositories board={board} />
      <Refusals board={board} />
      <Webhooks board={board} />
      <Tail />
    </main>
  )
}

function Stream({ board: { health, rates } }: { board: Board }) {
  const ingest = health?.ingest
  const rows: Line[] = [
    [t.console.host, ingest?.host ?? ''],
    [t.console.lastFrame, time(ingest?.last_frame_at)],
    [
      t.console.storedTo,
      ingest?.cursor_at ? t.console.ago(time(ingest.cursor_at), behind(ingest.cursor_at)) : t.console.unknown,
    ],
    [t.console.queued, number(ingest?.queued)],
    [t.console.untold, number(ingest?.untold)],
    [t.console.held, number(ingest?.held_records)],
    [t.console.setAside, number(ingest?.set_aside)],
    [t.console.restarts, number(ingest?.restarts)],
    [t.console.gaps, ingest?.gaps?.map(({ reason, from }) => `${reason}, ${time(from)}`).join('; ') || t.console.none],
  ]
  return (
    <section class="card" aria-labelledby="stream">
      <h2 id="stream">{t.console.stream}</h2>
      <Sparkline rates={rates} />
      <Lines lines={rows} />
    </section>
  )
}

/** Events per second of the last minutes. */
function Sparkline({ rates }: { rates: number[] }) {
  const top = Math.max(1, ...rates)
  const points = rates.map((rate, n) => `${(n * 240) / Math.max(1, rates.length - 1)},${44 - (rate / top) * 40}`)
  const now = (rates.at(-1) ?? 0).toLocaleString(t.language, { maximumFractionDigits: 1 })
  return (
    <figure>
      <svg viewBox="0 0 240 48" preserveAspectRatio="none" aria-hidden="true">
        <polyline points={points.join(' ')} />
      </svg>
      <figcaption>
        {t.console.rate}: {t.console.rateNow(now)}
      </figcaption>
    </figure>
  )
}

/** A table that scrolls by itself where it is too wide. */
function Table({ name, head, rows }: { name: string; head: string[]; rows: ComponentChild[][] }) {
  return (
    <div class="table" tabIndex={0} role="group" aria-label={name}>
      <table>
        <thead>
          <tr>
            {head.map((title) => (
              <th key={title} scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((cells, n) => (
            <tr key={n}>
              {cells.map((cell, column) => (
                <td key={column}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length === 0 && <p class="faint">{t.console.none}</p>}
    </div>
  )
}

/** Each part of the service, gateways and their sockets among them; the service's own words. */
function Parts({ board: { health } }: { board: Board }) {
  const rows = (health?.parts ?? []).map(({ part, verdict, message, advice }) => [part, verdict, message, advice ?? ''])
  const head = [t.console.part, t.console.verdict, t.console.what, t.console.advice]
  return (
    <section class="card" aria-labelledby="parts">
      <h2 id="parts">{t.console.parts}</h2>
      <Table name={t.console.parts} head={head} rows={rows} />
    </section>
  )
}

/** What each gateway carries, and what it refused since it woke. */
function Gateways({ board: { health } }: { board: Board }) {
  const rows = (health?.gateways ?? []).map((one) => [
    one.name,
    number(one.sockets),
    number(one.slow),
    number(one.closed_slow),
    number(one.closed_flooding),
    number(one.refused_frames),
    number(one.refused_subscriptions),
    number(one.turned_away),
  ])
  const head = [
    t.console.name,
    t.console.sockets,
    t.console.slow,
    t.console.closedSlow,
    t.console.closedFlooding,
    t.console.refusedFrames,
    t.console.refusedSubscriptions,
    t.console.turnedAway,
  ]
  return (
    <section class="card wide" aria-labelledby="gateways">
      <h2 id="gateways">{t.console.gateways}</h2>
      <Table name={t.console.gateways} head={head} rows={rows} />
    </section>
  )
}

function Communities({ board }: { board: Board }) {
  const online = ({ members }: Watched) => members.filter(({ state }) => state && state !== 'offline').length
  const belong = ({ members, requires_approval_to_join: isClosed }: Watched) =>
    members.filter(({ status }) => status !== 'pending' || !isClosed).length
  const voice = ({ voice }: Watched) =>
    voice
      .filter(({ members }) => members.length > 0)
      .map(({ name, members }) => `${name}: ${members.map((did) => board.nameOf(did)).join(', ')}`)
      .join('; ')
  const isChosen = ({ uri }: Watched) => uri === board.chosen?.uri
  const head = [t.console.name, t.console.owner, t.console.members, t.console.online, t.console.voice, t.console.acting]
  const rows = board.communities.map((one) => [
    one.name,
    one.owner_handle ?? one.owner_did,
    `${number(belong(one))}${one.isMore ? '+' : ''}`,
    number(online(one)),
    voice(one) || t.console.none,
    isChosen(one) ? (
      <strong>{t.console.chosen}</strong>
    ) : (
      <button type="button" onClick={() => void board.choose(one)}>
        {t.console.choose(one.name)}
      </button>
    ),
  ])
  return (
    <section class="card wide" aria-labelledby="communities">
      <h2 id="communities">{t.console.communities}</h2>
      <Table name={t.console.communities} head={head} rows={rows} />
      {(board.pages.length > 1 || board.next) && (
        <div class="row">
          <button type="button" disabled={board.pages.length < 2} onClick={() => board.turn(board.pages.slice(0, -1))}>
            {t.console.previousPage}
          </button>
          <button type="button" disabled={!board.next} onClick={() => board.turn([...board.pages, board.next])}>
            {t.console.nextPage}
          </button>
        </div>
      )}
    </section>
  )
}

function Audit({ board }: { board: Board }) {
  const who = (actor: string) => (actor === 'operator' ? t.console.operator : board.nameOf(actor))
  const rows = board.audit.map(({ at, actor, action, subject, reason }) => [
    time(at),
    who(actor),
    action,
    reason ?? '',
    <code>{board.nameOf(subject)}</code>,
  ])
  const head = [t.console.when, t.console.who, t.console.what, t.console.reason, t.console.whom]
  const title = t.console.audit(board.chosen?.name ?? '')
  return (
    <section class="card wide" aria-labelledby="audit">
      <h2 id="audit">{title}</h2>
      <Table name={title} head={head} rows={rows} />
    </section>
  )
}

function Repositories({ board: { health, repositories } }: { board: Board }) {
  const counts = health?.ingest.repos
  const head = [t.console.person, t.console.host, t.console.state, t.console.reason, t.console.failures, t.console.next]
  const rows = repositories.map(({ did, handle, host, status, reason, failures, error, next_attempt_at: next }) => [
    handle ?? did,
    host ?? t.console.unknown,
    status,
    reason,
    failures > 0 ? `${number(failures)}: ${error ?? ''}` : '0',
    time(next),
  ])
  return (
    <section class="card" aria-labelledby="repositories">
      <h2 id="repositories">{t.console.repositories}</h2>
      <p>{t.console.repositoriesAre(number(counts?.known), number(counts?.due), number(counts?.failing))}</p>
      <Table name={t.console.repositories} head={head} rows={rows} />
    </section>
  )
}

function Refusals({ board: { refusals } }: { board: Board }) {
  const head = [t.console.reason, t.console.count, t.console.newest, t.console.example]
  const rows = refusals.map(({ reason, count, last_at: last, example }) => [
    reason,
    number(count),
    time(last),
    example ? <code>{example}</code> : '',
  ])
  return (
    <section class="card wide" aria-labelledby="refusals">
      <h2 id="refusals">{t.console.refusals}</h2>
      <Table name={t.console.refusals} head={head} rows={rows} />
    </section>
  )
}

function Webhooks({ board: { webhooks } }: { board: Board }) {
  if (webhooks.length === 0) return null
  const head = [t.console.name, t.console.host, t.console.reason, t.console.newest]
  const rows = webhooks.map(({ community_uri: community, url, disabled_at: at, disabled_because: because }) => [
    <code>{community}</code>,
    url,
    because ?? '',
    time(at ?? undefined),
  ])
  return (
    <section class="card wide" aria-labelledby="webhooks">
      <h2 id="webhooks">{t.console.webhooks}</h2>
      <Table name={t.console.webhooks} head={head} rows={rows} />
    </section>
  )
}

entitle(t.console.title)
draw()
