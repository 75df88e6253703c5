// `/docs/sockets`: the sockets as a page, drawn from asyncapi.json. Its texts are English, as those of the document are.

import { render, type ComponentChildren } from 'preact'

import { service } from './client/api.ts'
import { entitle, t } from './texts/index.ts'

interface Schema {
  type?: string | string[]
  const?: unknown
  enum?: unknown[]
  description?: string
  $ref?: string
  allOf?: Schema[]
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
}

interface Reference {
  $ref: string
}

interface Message {
  name: string
  title: string
  summary: string
  payload: Schema
  examples: { payload: unknown }[]
  'x-rule'?: string
  'x-needs'?: string
  'x-texts'?: string[]
}

interface Operation {
  title: string
  channel: Reference
  messages: Reference[]
  reply?: { messages: Reference[] }
}

interface Channel {
  address: string
  title: string
  description: string
  bindings: { ws: { query: Schema } }
  messages: Record<string, Reference>
  'x-close-codes': Record<string, string>
}

interface Document {
  channels: Record<string, Channel>
  operations: Record<string, Operation>
  components: { messages: Record<string, Message>; schemas: Record<string, Schema> }
}

const last = (reference: string) => reference.split('/').at(-1) ?? ''

/** Text with `code` and **bold**. */
const rich = (text = '') =>
  text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith('`')) return <code>{part.slice(1, -1)}</code>
    return part.startsWith('**') ? <strong>{part.slice(2, -2)}</strong> : part
  })

const prose = (text: string) => text.split('\n\n').map((part) => <p>{rich(part)}</p>)

/** The type of a field, in a few words. An object of openapi.json is a link. */
function kind(schema: Schema): ComponentChildren {
  const { $ref, type, items } = schema
  if ($ref?.startsWith('openapi.json')) return <a href={`/docs#${last($ref)}`}>{last($ref)}</a>
  if ($ref) return last($ref)
  if (schema.const !== undefined) return <code>{JSON.stringify(schema.const)}</code>
  if (schema.enum) return schema.enum.map((one, n) => [n > 0 && ' or ', <code>{JSON.stringify(one)}</code>])
  if (type === 'array' && items) return ['array of ', kind(items)]
  return [type ?? 'anything'].flat().join(' or ')
}

function Fields({ document, schema }: { document: Document; schema: Schema }) {
  const own = schema.allOf?.find((part) => part.properties) ?? schema
  const parts = (schema.allOf ?? []).filter(({ $ref }) => $ref)
  const said = ({ description, $ref }: Schema) => description ?? document.components.schemas[last($ref ?? '')]?.description
  return (
    <dl>
      {parts.map((part) => (
        <div>
          <dt>…</dt>
          <dd>the fields of {kind(part)}</dd>
        </div>
      ))}
      {Object.entries(own.properties ?? {}).map(([name, field]) => (
        <div key={name}>
          <dt>
            <code>{name}</code> <span class="faint">{kind(field)}</span>
            {!own.required?.includes(name) && <span class="faint">, optional</span>}
          </dt>
          <dd>{rich(said(field))}</dd>
        </div>
      ))}
    </dl>
  )
}

function Frame({ document, reference }: { document: Document; reference: Reference }) {
  const id = last(reference.$ref)
  const message = document.components.messages[id]
  if (!message) return null
  // A frame of two sockets is described at the first, so that its address names one place.
  const first = Object.entries(document.channels).find(([, { messages }]) => id in messages)
  if (first && !reference.$ref.startsWith(`#/channels/${first[0]}/`)) {
    return (
      <p>
        <a href={`#${id}`}>
          <code>{message.name}</code>
        </a>{' '}
        {message.title}
      </p>
    )
  }
  return (
    <section id={id}>
      <h4>
        <a href={`#${id}`}>
          <code>{message.name}</code>
        </a>{' '}
        {message.title} <span class="faint">{message['x-rule']}</span>
      </h4>
      <p>{rich(message.summary)}</p>
      {message['x-needs'] && <p class="faint">Subscription: {message['x-needs']}.</p>}
      {message.examples.map(({ payload }) => (
        <pre tabIndex={0}>{JSON.stringify(payload, null, JSON.stringify(payload).length > 100 ? 2 : 0)}</pre>
      ))}
      <Fields document={document} schema={message.payload} />
      {message['x-texts'] && (
        <ul class="texts">
          {message['x-texts'].map((text) => (
            <li key={text}>
              <code>{text}</code>
            </li>
          ))}
        </ul>
      )}
    </section>
  )
}

function Socket({ document, name, channel }: { document: Document; name: string; channel: Channel }) {
  const operations = Object.values(document.operations).filter(({ channel: { $ref } }) => last($ref) === name)
  return (
    <section id={`socket-${name}`}>
      <h2>{channel.title}</h2>
      <p>
        <code>GET {channel.address}</code>
      </p>
      {prose(channel.description)}
      <h3>Parameters of the address</h3>
      <Fields document={document} schema={channel.bindings.ws.query} />
      {operations.map(({ title, messages, reply }) => (
        <div key={title}>
          <h3>{title}</h3>
          {[...messages, ...(reply?.messages ?? [])].map((reference) => (
            <Frame key={reference.$ref} document={document} reference={reference} />
          ))}
        </div>
      ))}
      <h3>Close codes</h3>
      <dl>
        {Object.entries(channel['x-close-codes']).map(([code, meaning]) => (
          <div key={code}>
            <dt>
              <code>{code}</code>
            </dt>
            <dd>{rich(meaning)}</dd>
          </div>
        ))}
      </dl>
    </section>
  )
}

const Sockets = ({ document }: { document: Document }) => (
  <main class="sockets">
    <h1>{t.sockets.title}</h1>
    <p>
      <a href="/docs">{t.sockets.requests}</a> · <a href="/asyncapi.json">asyncapi.json</a>
    </p>
    <nav aria-label={t.sockets.title}>
      <ul>
        {Object.entries(document.channels).map(([name, { title }]) => (
          <li key={name}>
            <a href={`#socket-${name}`}>{title}</a>
          </li>
        ))}
      </ul>
    </nav>
    {Object.entries(document.channels).map(([name, channel]) => (
      <Socket key={name} document={document} name={name} channel={channel} />
    ))}
  </main>
)

entitle(t.sockets.title)
const page = document.getElementById('page')!
try {
  render(<Sockets document={await (await service.request('/asyncapi.json')).json()} />, page)
  // The browser looked for the anchor in the address before it existed.
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView()
} catch (error) {
  render(<p role="alert">{t.sockets.failed((error as Error).message)}</p>, page)
}
