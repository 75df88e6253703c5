// The service worker of `/demo/chat` (chat/push.ts registers it): shows what the service pushes (contract U28, U29) while
// no page is open, and opens the chat when the person follows it.

import { t } from './texts/index.ts'

/** What the service says in a push. Of a community for members only it names no author and has no text. */
type Pushed =
  | { type: 'notification'; kind: string; id: number; author?: string | null; text?: string }
  | { type: 'digest'; count: number }

/** What the page's types do not have of a service worker. */
interface Scope extends EventTarget {
  registration: ServiceWorkerRegistration
  clients: {
    matchAll(options: object): Promise<{ url: string; focus(): Promise<unknown> }[]>
    openWindow(path: string): Promise<unknown>
  }
}
interface Extended extends Event {
  waitUntil(work: Promise<unknown>): void
  data?: { json(): Pushed } | null
  notification?: { close(): void }
}

const CHAT = '/demo/chat'
const scope = globalThis as unknown as Scope

function show(pushed: Pushed): Promise<void> {
  if (pushed.type === 'digest') {
    return scope.registration.showNotification(t.chat.title, { body: t.chat.waits(pushed.count), tag: 'digest' })
  }
  const says = pushed.kind === 'mention' ? t.chat.mentionsYou : t.chat.answersYou
  const title = says(pushed.author ?? t.chat.somebody)
  return scope.registration.showNotification(title, { body: pushed.text ?? '', tag: String(pushed.id) })
}

/** The window that shows the chat comes to the front, or a new one opens. */
async function open(): Promise<void> {
  const windows = await scope.clients.matchAll({ type: 'window', includeUncontrolled: true })
  const chat = windows.find(({ url }) => new URL(url).pathname === CHAT)
  await (chat ? chat.focus() : scope.clients.openWindow(CHAT))
}

scope.addEventListener('push', (event) => {
  const { data, waitUntil } = event as Extended
  if (data) waitUntil.call(event, show(data.json()))
})
scope.addEventListener('notificationclick', (event) => {
  const { notification, waitUntil } = event as Extended
  notification?.close()
  waitUntil.call(event, open())
})
