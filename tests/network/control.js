// @ts-check
// The remote control of a network: JSON over HTTP on 127.0.0.1.
//
//   GET  /stats
//   GET  /dns-query?name=_atproto.alice.test&type=TXT   DNS over HTTPS (dns.js), which is answered as it is
//   POST /jetstream/stop | resume | freeze | thaw | drop
//   POST /jetstream/inject    {"raw": "text"} as it is, to the clients of now
//                             {"frame": {…}}  into the log, with the next time_us
//   POST /jetstream/lookback  {"timeUs": 0}   frames older than this are not replayed
//   POST /jetstream/load      {"path": "…"}   frames of a JSONL file into the log
//   POST /pds/fault           {"pds": 0, "did": "…", "fault": "400"}  see faults.js; without "fault" all is well again
//   POST /pds/mail            {"pds": 0, "to": "…"}  the last token that this address was sent
//   POST /pds/asked           {"pds": 0}  how it was asked for repositories since the last time
//
// An answer is what the control returned, as {"result": …} (nothing for most), or {"error": "…"}: 404 for an unknown
// path, 400 for anything that cannot be done.

import { createServer } from 'node:http'
import { once } from 'node:events'
import { answerDns } from './dns.js'
import { HOST } from './ports.js'

/**
 * @param {{port: number, jetstream: import('./jetstream.js').Jetstream, pdses?: {url: string, faults: import('./faults.js').Faults, mail: Map<string, string>}[]}} options
 * @returns {Promise<{url: string, stop(): Promise<void>}>}
 */
export async function startControl({ port, jetstream, pdses = [] }) {
  /** @type {Record<string, (body: any) => unknown>} */
  const controls = {
    'GET /stats': () => jetstream.stats,
    'POST /jetstream/stop': () => jetstream.stop(),
    'POST /jetstream/resume': () => jetstream.resume(),
    'POST /jetstream/freeze': () => jetstream.freeze(),
    'POST /jetstream/thaw': () => jetstream.thaw(),
    'POST /jetstream/drop': () => jetstream.drop(),
    'POST /jetstream/inject': (body) => inject(jetstream, body),
    'POST /jetstream/lookback': ({ timeUs }) => {
      if (!Number.isSafeInteger(timeUs)) throw new Error(`timeUs: ${timeUs} is not a whole number`)
      jetstream.lookback(timeUs)
    },
    'POST /jetstream/load': ({ path }) => jetstream.load(path),
    'POST /pds/fault': ({ pds = 0, did, fault }) => pdses[pds].faults.set(did, fault),
    'POST /pds/mail': ({ pds = 0, to }) => pdses[pds].mail.get(to),
    'POST /pds/asked': ({ pds = 0 }) => pdses[pds].faults.takeStats(),
  }
  const server = createServer(async (request, response) => {
    const answer = (/** @type {number} */ status, /** @type {object} */ body) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body) + '\n')
    const name = `${request.method} ${request.url}`
    const control = Object.hasOwn(controls, name) ? controls[name] : undefined
    if (name.startsWith('GET /dns-query?')) {
      const query = new URL(request.url ?? '', 'http://dns').searchParams
      return answerDns(pdses.map((pds) => pds.url), query).then(
        (found) => answer(200, found),
        (error) => answer(502, { error: String(error) }),
      )
    }
    if (!control) return answer(404, { error: `no such control: ${name}` })
    try {
      answer(200, { result: await control(await readBody(request)) })
    } catch (error) {
      answer(400, { error: error instanceof Error ? error.message : String(error) })
    }
  })
  server.listen(port, HOST)
  await once(server, 'listening')
  const stop = async () => {
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
  return { url: `http://${HOST}:${port}`, stop }
}

/** @param {import('./jetstream.js').Jetstream} jetstream @param {any} body */
function inject(jetstream, { raw, frame }) {
  if (typeof raw === 'string') return jetstream.injectText(raw)
  if (frame && typeof frame === 'object') return jetstream.injectFrame(frame)
  throw new Error('inject needs "raw" (a text) or "frame" (an object)')
}

/** @param {import('node:http').IncomingMessage} request */
async function readBody(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const text = Buffer.concat(chunks).toString()
  return text === '' ? {} : JSON.parse(text)
}
