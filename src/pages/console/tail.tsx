// The events of the whole service as they are published, over its own socket: filtered, paused.

import { useEffect, useRef, useState } from 'preact/hooks'

import { Line, type Frame } from '../../../packages/client/src/index.ts'
import { service } from '../client/api.ts'
import { t } from '../texts/index.ts'

const KEPT = 300

interface Seen {
  n: number
  at: string
  frame: Frame
}

/** What an event is about, in a line. */
const inShort = ({ type: _, message, live: __, ...fields }: Frame) => JSON.stringify(message ?? fields)

export function Tail() {
  const [seen, setSeen] = useState<Seen[]>([])
  const [filter, setFilter] = useState('')
  const [isPaused, setPaused] = useState(false)
  const paused = useRef(false)
  paused.current = isPaused
  const missed = useRef(0)

  useEffect(() => {
    let n = 0
    const line = new Line(async () => [service.socketAddress('/api/subscribe'), []], {
      event(frame) {
        n += 1
        if (paused.current) return void (missed.current += 1)
        setSeen((before) => [{ n, at: new Date().toLocaleTimeString(t.language), frame }, ...before].slice(0, KEPT))
      },
      readAnew() {},
      resumed() {},
      state(state) {
        if (state !== 'open') return
        for (const event_type of ['message', 'community', 'user_status']) line.send({ action: 'subscribe', event_type })
      },
    })
    return () => line.cut()
  }, [])

  const shown = seen.filter(({ frame }) => JSON.stringify(frame).toLowerCase().includes(filter.toLowerCase()))
  return (
    <section class="card tail" aria-labelledby="tail">
      <h2 id="tail">{t.console.tail}</h2>
      <div class="row">
        <label class="hidden" for="filter">
          {t.console.filter}
        </label>
        <input
          id="filter"
          type="search"
          placeholder={t.console.filter}
          value={filter}
          onInput={({ currentTarget }) => setFilter(currentTarget.value)}
        />
        <button
          type="button"
          aria-pressed={isPaused}
          onClick={() => {
            missed.current = 0
            setPaused(!isPaused)
          }}
        >
          {isPaused ? t.console.resume : t.console.pause}
        </button>
      </div>
      <ol tabIndex={0} aria-label={t.console.tail}>
        {shown.length === 0 && <li class="faint">{t.console.silent}</li>}
        {shown.map(({ n, at, frame }) => (
          <li key={n}>
            <time>{at}</time> <strong>{frame.type}</strong> <code>{inShort(frame)}</code>
          </li>
        ))}
      </ol>
    </section>
  )
}
