// This browser takes pushes for the person (contract U28): it subscribes at the push service of its maker, and the service
// learns where that is.

import { Refused } from '../../../packages/client/src/index.ts'
import { service } from '../client/api.ts'
import { t } from '../texts/index.ts'

/** The method that the proof names (X09). */
const METHOD = 'social.colibri.sync.registerPush'
/** Its scope is where it lies: it shows pushes, and serves no page. */
const WORKER = { path: '/pages/push.js', scope: '/pages/' }

/** Whether this browser can take pushes at all: not without a service worker, which takes https or this machine. */
export const canTakePushes = () => 'serviceWorker' in navigator && 'PushManager' in window

/** A browser subscribes only with a worker that runs. */
async function running(): Promise<ServiceWorkerRegistration> {
  const registration = await navigator.serviceWorker.register(WORKER.path, { scope: WORKER.scope })
  const worker = registration.installing ?? registration.waiting
  if (worker && !registration.active) {
    await new Promise<void>((resolve) => {
      worker.addEventListener('statechange', () => worker.state === 'activated' && resolve())
    })
  }
  return registration
}

/** Has the person notified on this device, or says why that is not possible. */
export async function takePushes(did: string, proof: (method: string) => Promise<string>): Promise<string> {
  try {
    const { public_key: applicationServerKey } = await service.get('/api/push/key', {})
    if ((await Notification.requestPermission()) !== 'granted') return t.chat.pushesForbidden
    const { pushManager } = await running()
    const { endpoint, keys } = (await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey })).toJSON()
    const { p256dh = '', auth = '' } = keys ?? {}
    const subscription = { endpoint: endpoint ?? '', keys: { p256dh, auth } }
    await service.act('POST /api/push', { proof: await proof(METHOD), query: { did }, body: { subscription } })
    return t.chat.pushed
  } catch (error) {
    const { message } = error as Error
    return error instanceof Refused && error.code === 'NotEnabled' ? t.chat.noPushes : t.chat.failed(message)
  }
}
