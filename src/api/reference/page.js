// Renders the reference page from openapi.json. Text from the document stays text: nothing is parsed as HTML.

const $ = (selector) => document.querySelector(selector)

/** An element with attributes and children; a string becomes text, and a missing child is left out. */
function h(tag, attributes, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes ?? {})) if (value !== undefined) element.setAttribute(name, value)
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== false && child !== ''))
  return element
}

/** Text with `code` and **bold**. */
function rich(text = '') {
  return text
    .split(/(`[^`]+`|\*\*[^*]+\*\*)/)
    .map((part) =>
      part.startsWith('`')
        ? h('code', {}, part.slice(1, -1))
        : part.startsWith('**')
          ? h('strong', {}, part.slice(2, -2))
          : part,
    )
}

/** Paragraphs, and blocks between three backticks. */
const prose = (text = '') =>
  text
    .split('\n\n')
    .filter(Boolean)
    .map((part) =>
      part.startsWith('```') ? h('pre', { tabindex: '0' }, part.replace(/^```\n|\n```$/g, '')) : h('p', {}, rich(part)),
    )

/** The longest answer that is shown, in characters. */
const SHOWN = 20_000
/** Values that exist here, by the names of parameters. */
const found = {}

/** Looks up what belongs to a person (handle or DID) or to a community (AT-URI). */
async function find(given) {
  const ask = async (path, query) => {
    const answer = await fetch(`${path}?${new URLSearchParams(query)}`)
    const body = await answer.json()
    if (!answer.ok) throw new Error(body.message)
    return body
  }
  for (const name of Object.keys(found)) delete found[name]
  const community = given.startsWith('at://') ? given : undefined
  const { did } = await ask('/api/identity', { id: community?.split('/')[2] ?? given })
  Object.assign(found, { id: did, did, author: did })
  found.community = community
  if (!community) {
    const { owned, joined } = await ask('/api/communities', { did })
    const [first] = [...owned, ...joined]
    if (first) found.community = `at://${first.owner_did}/social.colibri.community/${first.rkey}`
  }
  if (!found.community) return 'a person without a community'
  const channels = await ask('/api/channels', { community: found.community })
  const channel = channels.find(({ channel_type }) => channel_type === 'text') ?? channels[0]
  if (!channel) return 'a community without channels'
  found.channel = channel.uri
  const [message] = await ask('/api/messages', { channel: channel.uri, limit: 1 })
  if (!message) return `the channel ${channel.name}, which has no message`
  Object.assign(found, { author: message.author_did, rkey: message.rkey, message: message.rkey })
  return `the channel ${channel.name} and its newest message`
}

/** Asks whose values the Try buttons use. `?who=` fills it in. */
function whoForm() {
  const field = h('input', { id: 'who', name: 'who', autocomplete: 'off', spellcheck: 'false', placeholder: 'alice.example.com' })
  const status = h('p', { class: 'faint', role: 'status' })
  const form = h('form', { id: 'try' }, h('label', { for: 'who' }, 'Try it with what a person or a community has here (handle, DID or AT-URI)'), h('div', {}, field, h('button', {}, 'Use')), status)
  const use = async () => {
    status.textContent = 'Looking …'
    status.textContent = await find(field.value.trim()).then((what) => `Try uses ${what}.`, ({ message }) => `Not found: ${message}`)
  }
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    if (field.value.trim()) use()
  })
  field.value = new URLSearchParams(location.search).get('who') ?? ''
  if (field.value) use()
  return form
}

const pretty = (value) => h('pre', { tabindex: '0' }, JSON.stringify(value, null, 2))
const nameOf = (reference) => reference.split('/').at(-1)

function draw(spec) {
  const resolve = (value) =>
    value?.$ref
      ? value.$ref
          .slice(2)
          .split('/')
          .reduce((at, key) => at[key], spec)
      : value

  /** The type of a schema, in a few words with links. */
  function type(schema = {}) {
    if (schema.$ref) return h('a', { href: `#${nameOf(schema.$ref)}` }, nameOf(schema.$ref))
    if (schema.anyOf) return schema.anyOf.map((one, n) => [n > 0 && ' or ', type(one)])
    if (schema.additionalProperties) return ['object of ', type(schema.additionalProperties)]
    if ('const' in schema) return JSON.stringify(schema.const)
    const types = [schema.type ?? 'anything'].flat().map((one) => (one === 'array' && schema.items ? ['array of ', type(schema.items)] : one))
    return [
      types.map((one, n) => [n > 0 && ' or ', one]),
      schema.format === 'date-time' && ', a time',
      schema.default !== undefined && `, default ${schema.default}`,
      schema.minimum !== undefined && `, ${schema.minimum} to ${schema.maximum}`,
    ]
  }

  const row = (name, schema, description, must) =>
    h(
      'div',
      {},
      h('dt', {}, h('code', {}, name), must && [' ', h('span', { class: 'must' }, 'required')], h('span', { class: 'type' }, type(schema))),
      h('dd', {}, description && h('p', {}, rich(description)), schema?.enum && h('p', { class: 'faint' }, rich(schema.enum.map((one) => `\`${one}\``).join(', ')))),
    )

  /** The fields of an object, including those of its parts. */
  function fields(schema, { must = false } = {}) {
    const { allOf = [], properties = {}, required = [] } = resolve(schema)
    return [
      allOf.map((part) => fields(part, { must })),
      Object.entries(properties).map(([name, field]) =>
        row(name, field, field.description ?? resolve(field).description, must && required.includes(name)),
      ),
    ]
  }

  const KEYS = { ApiKey: 'API key', ServiceAuth: 'token' }
  /** Whether an operation answers without a proof, at least for what everybody may see. */
  const isOpen = ({ security = [] }) => security.length === 0 || security.some((one) => Object.keys(one).length === 0)
  /** The proofs that an operation accepts, in words; empty if it needs none. */
  const lock = ({ security = [] }) => security.flatMap(Object.keys).map((name) => KEYS[name]).join(' or ')

  /** The address of a request with its required parameters; `values` stand before the examples. */
  function address(path, { parameters = [] }, values = {}) {
    const given = parameters.map(resolve).filter(({ required, name, example }) => example !== undefined && (required || name === 'limit'))
    const valueOf = ({ name, example }) => values[name] ?? example
    const shown = (value) => encodeURIComponent(value).replaceAll('%3A', ':').replaceAll('%2F', '/')
    const query = given.filter((one) => one.in === 'query').map((one) => `${one.name}=${shown(valueOf(one))}`)
    const filled = given.filter((one) => one.in === 'path').reduce((at, one) => at.replace(`{${one.name}}`, valueOf(one)), path)
    return `${location.origin}${filled}${query.length > 0 ? `?${query.join('&')}` : ''}`
  }

  function curl(method, path, operation) {
    const { requestBody, responses } = operation
    const url = address(path, operation)
    if (responses[101]) return `npx wscat -c '${url.replace(/^http/, 'ws')}'`
    const body = requestBody?.content['application/json'].example
    return [
      `curl ${method === 'get' ? '' : `-X ${method.toUpperCase()} `}'${url}'`,
      !isOpen(operation) && `-H "Authorization: Bearer $KEY"`,
      body && `-d '${JSON.stringify(body)}'`,
    ]
      .filter(Boolean)
      .join(' \\\n  ')
  }

  function copyable(text) {
    const button = h('button', { type: 'button' }, 'copy')
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(text)
      button.textContent = 'copied'
      setTimeout(() => (button.textContent = 'copy'), 1500)
    })
    return h('div', { class: 'curl' }, h('pre', { tabindex: '0' }, text), navigator.clipboard && button)
  }

  /** A button that asks this service, with values that exist here (`found`). */
  function tryable(path, operation) {
    const { parameters = [], responses } = operation
    const button = h('button', { type: 'button', class: 'try' }, 'Try')
    const output = h('div', { class: 'tried', 'aria-live': 'polite' })
    const needed = parameters.map(resolve).filter(({ required, name }) => required && name !== 'room').map(({ name }) => name)
    button.addEventListener('click', async () => {
      const missing = needed.filter((name) => found[name] === undefined)
      if (missing.length > 0) {
        const nothing = Object.keys(found).length > 0 ? ' Nothing of that kind is there.' : ''
        output.replaceChildren(h('p', {}, `This takes ${missing.join(', ')}.${nothing} Name a person or a community at the top of this page first.`))
        if (!nothing) $('#who').focus()
        return
      }
      const url = address(path, operation, found)
      const answer = await fetch(url).catch((error) => ({ status: error.message, text: () => '' }))
      const text = await answer.text()
      const type = answer.headers?.get('content-type') ?? ''
      const shown = type.includes('json') ? JSON.stringify(JSON.parse(text), null, 2) : `${text.length} characters of ${type}`
      output.replaceChildren(h('p', {}, h('code', {}, answer.status), ' ', h('code', {}, url)), h('pre', { tabindex: '0' }, shown.slice(0, SHOWN)))
    })
    return isOpen(operation) && !responses[101] && [h('div', { class: 'trying' }, button), output]
  }

  function answer(status, reference) {
    const { description, headers = {}, content = {} } = resolve(reference)
    const [[kind, media] = []] = Object.entries(content)
    const good = status < 400
    const own = Object.entries(headers).filter(([name]) => !name.startsWith('RateLimit'))
    const titled = (what) => [h('code', { class: good ? 'get' : 'delete' }, status), ' ', rich(description.replace(/^\d{3}: /, '')), media?.schema && [' ', h('span', { class: 'faint' }, what)]]
    const what = good && media?.schema ? type(media.schema) : media?.example?.error
    if (media?.example === undefined && own.length === 0) return h('div', { class: 'answer bare' }, titled(what))
    // What opens and closes must not hold links: they stand below.
    const title = titled(h('span', {}, what).textContent)
    return h(
      'div',
      { class: 'answer' },
      h(
        'details',
        {},
        h('summary', {}, title),
        h(
          'div',
          {},
          own.length > 0 && h('dl', {}, own.map(([name, one]) => row(name, resolve(one).schema, resolve(one).description))),
          good && media?.schema && h('p', { class: 'faint' }, 'Form: ', type(media.schema)),
          media?.example !== undefined && [h('h4', {}, 'Example'), pretty(media.example)],
          kind && kind !== 'application/json' && h('p', { class: 'faint' }, `As ${kind}.`),
        ),
      ),
    )
  }

  function section(method, path, operation) {
    const { operationId, summary, description, parameters = [], requestBody, responses } = operation
    const id = operationId
    return h(
      'section',
      { id, 'data-words': [method, id, operation['x-rule']].join(' ') },
      h(
        'h3',
        {},
        h('a', { href: `#${id}` }, h('span', { class: `method ${method}` }, method.toUpperCase()), ' ', h('code', {}, path)),
        lock(operation) !== '' && h('span', { class: 'tag lock' }, lock(operation)),
        /^R\d/.test(operation['x-rule']) && h('span', { class: 'tag' }, operation['x-rule']),
      ),
      h('p', { class: 'summary' }, summary),
      prose(description),
      operation['x-lxm'] && h('p', { class: 'faint' }, 'Methods (lxm): ', operation['x-lxm'].join(', ')),
      copyable(curl(method, path, operation)),
      method === 'get' && tryable(path, operation),
      parameters.length > 0 && [
        h('h4', {}, 'Parameters'),
        h('dl', {}, parameters.map(resolve).map((one) => row(one.in === 'header' ? `${one.name}:` : one.name, one.schema, one.description, one.required))),
      ],
      requestBody && [h('h4', {}, 'Body'), h('dl', {}, fields(requestBody.content['application/json'].schema, { must: true })), h('p', { class: 'faint' }, rich(requestBody.description))],
      h('h4', {}, 'Answers'),
      Object.entries(responses).map(([status, one]) => answer(status, one)),
    )
  }

  const operations = Object.entries(spec.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method, path, operation })),
  ).filter(({ operation }) => !operation['x-part-of'])
  const groups = spec.tags.map((tag) => ({ tag, inside: operations.filter(({ operation }) => operation.tags[0] === tag.name) }))

  $('#version').textContent = spec.info.version
  $('nav').append(
    h('button', { type: 'button', 'aria-expanded': 'false' }, 'All endpoints'),
    ...groups.flatMap(({ tag, inside }) => [
      h('h2', {}, tag.name),
      ...inside.map(({ method, path, operation }) =>
        h('a', { href: `#${operation.operationId}`, title: operation.summary }, h('span', { class: `method ${method}` }, method.toUpperCase()), h('span', {}, path.replace(/^\/api\//, ''))),
      ),
    ]),
    h('h2', {}, 'Reference'),
    h('a', { class: 'plain', href: '#errors' }, 'Errors'),
    h('a', { class: 'plain', href: '#keys' }, 'Keys and tokens'),
    h('a', { class: 'plain', href: '#objects' }, 'Objects'),
    h('a', { class: 'plain', href: 'docs/sockets' }, 'Frames of the sockets'),
    h('a', { class: 'plain', href: 'openapi.json' }, 'openapi.json'),
  )

  const failures = Object.entries(spec.components.responses).filter(([, one]) => one.content)
  $('#state').remove()
  $('main').append(
    h('h1', {}, 'API of ', spec.info.title),
    ...prose(spec.info.description),
    whoForm(),
    h('p', { id: 'nothing', role: 'status' }),
    ...groups.flatMap(({ tag, inside }) => [
      h('h2', { id: `tag-${tag.name}` }, tag.name),
      h('div', { class: 'group' }, tag.description && h('p', { class: 'faint' }, rich(tag.description)), inside.map(({ method, path, operation }) => section(method, path, operation))),
    ]),
    h('h2', { id: 'errors' }, 'Errors'),
    h(
      'dl',
      {},
      failures.map(([, one]) => {
        const { error, message } = one.content['application/json'].example
        const [, status, meaning] = one.description.match(/^(\d+): (.*)$/)
        return h('div', {}, h('dt', {}, h('code', { class: 'delete' }, status), ' ', error), h('dd', {}, h('p', {}, rich(meaning)), h('p', { class: 'faint' }, `“${message}”`)))
      }),
    ),
    h('h2', { id: 'keys' }, 'Keys and tokens'),
    h('dl', {}, Object.entries(spec.components.securitySchemes).map(([name, one]) => h('div', {}, h('dt', {}, name), h('dd', {}, h('p', {}, h('code', {}, 'Authorization: Bearer …')), h('p', {}, rich(one.description)))))),
    h('h2', { id: 'objects' }, 'Objects'),
    ...Object.entries(spec.components.schemas).map(([name, schema]) =>
      h(
        'section',
        { id: name },
        h('h3', {}, h('a', { href: `#${name}` }, name), !schema.properties && !schema.allOf && h('span', { class: 'faint' }, type(schema))),
        schema.description && h('p', {}, rich(schema.description)),
        schema.pattern && h('p', {}, h('code', {}, schema.pattern)),
        (schema.properties || schema.allOf) && h('dl', {}, fields(schema)),
      ),
    ),
  )
  // The browser looked for the anchor in the address before it existed.
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView()
}

/** Everything that is found by its text. */
const entries = () => document.querySelectorAll('section, main > p:not(#nothing), main > dl > div')

/** Shows the entries whose text has every word of the filter, and highlights the current section. */
function steer() {
  const filter = $('#filter')
  const links = [...document.querySelectorAll('nav a[href^="#"]:not(.plain)')]
  const menu = $('nav > button')
  const open = (is) => {
    $('nav').classList.toggle('open', is)
    menu.setAttribute('aria-expanded', String(is))
  }
  menu.addEventListener('click', () => open(!$('nav').classList.contains('open')))
  $('nav').addEventListener('click', ({ target }) => target.closest('a') && open(false))

  const texts = new Map([...entries()].map((entry) => [entry, `${entry.dataset.words ?? ''} ${entry.textContent}`.toLowerCase()]))
  filter.addEventListener('input', () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean)
    let any = false
    for (const entry of entries()) {
      entry.hidden = !words.every((word) => texts.get(entry).includes(word))
      any ||= !entry.hidden
    }
    for (const other of document.querySelectorAll('main > h1, #try, main > pre')) other.hidden = words.length > 0
    for (const list of document.querySelectorAll('main > dl')) list.hidden = !list.querySelector('div:not([hidden])')
    $('#nothing').textContent = any ? '' : `Nothing here says “${filter.value.trim()}”.`
    for (const group of document.querySelectorAll('.group')) group.hidden = !group.querySelector('section:not([hidden])')
    for (const link of links) link.hidden = document.getElementById(link.hash.slice(1)).hidden
    // A heading is hidden with everything below it.
    for (const heading of document.querySelectorAll('main > h2, nav > h2')) {
      let next = heading.nextElementSibling
      let any = false
      for (; next && next.tagName !== 'H2'; next = next.nextElementSibling)
        any ||= !next.hidden
      heading.hidden = !any
    }
  })
  addEventListener('keydown', (event) => {
    if (event.key === '/' && document.activeElement !== filter) {
      event.preventDefault()
      filter.focus()
      filter.select()
    }
    if (event.key === 'Enter' && document.activeElement === filter) {
      const first = links.find((link) => !link.hidden)
      if (first) location.hash = first.hash
    }
  })

  const seen = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        const link = links.find(({ hash }) => hash === `#${target.id}`)
        if (!isIntersecting || !link) continue
        for (const other of links) other.removeAttribute('aria-current')
        link.setAttribute('aria-current', 'true')
      }
    },
    { rootMargin: '-15% 0px -75% 0px' },
  )
  for (const section of document.querySelectorAll('section')) seen.observe(section)
}

try {
  const answer = await fetch('openapi.json')
  if (!answer.ok) throw new Error(`openapi.json: ${answer.status}`)
  draw(await answer.json())
  steer()
} catch (error) {
  const state = $('#state') ?? $('main').appendChild(h('p', { id: 'state' }))
  state.textContent = `The document could not be read: ${error.message}`
}
