// `/`: what this service is, whether it works, and where to go.

import { render } from 'preact'

import type { Health } from '../../packages/client/src/index.ts'
import { service } from './client/api.ts'
import { entitle, t, timeOf } from './texts/index.ts'

const PLACES = [
  ['/demo/chat', t.home.chat, t.home.chatAbout],
  ['/demo/call', t.home.call, t.home.callAbout],
  ['/console', t.home.console, t.home.consoleAbout],
  ['/docs', t.home.docs, t.home.docsAbout],
  ['/docs/sockets', t.home.sockets, t.home.socketsAbout],
  ['/openapi.json', t.home.openapi, t.home.openapiAbout],
  ['/api/health', t.home.health, t.home.healthAbout],
] as const

/** Whether the service works, in a sentence. */
const verdict = ({ ok, message, ingest: { host, last_frame_at: last } }: Health) =>
  ok ? t.home.reads(host, last ? timeOf(last) : undefined) : t.home.troubled(message ?? '')

const Home = ({ health }: { health?: Health }) => (
  <main class="home">
    <h1>{t.home.title}</h1>
    <p>{t.home.about}</p>
    <p role="status" class={health && !health.ok ? 'trouble' : 'faint'}>
      {health ? verdict(health) : ' '}
    </p>
    <ul class="places">
      {PLACES.map(([href, name, about]) => (
        <li key={href}>
          <a href={href}>{name}</a>
          <span>{about}</span>
        </li>
      ))}
    </ul>
  </main>
)

const page = document.getElementById('page')!
entitle(t.home.title)
render(<Home />, page)
render(<Home health={await service.health()} />, page)
