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
      part.startsWith('```') ? h('pre', {}, part.replace(/^```\n|\n```$/g, '')) : h('p', {}, rich(part)),
    )

const pretty = (value) => h('pre', {}, JSON.stringify(value, null, 2))
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
  /** The proofs that an operation accepts, in words; empty if it needs none. */
  const lock = ({ security = [] }) => security.flatMap(Object.keys).map((name) => KEYS[name]).join(' or ')

  function curl(method, path, { parameters = [], requestBody, security = [], responses }) {
    const given = parameters.map(resolve).filter(({ required, name, example }) => example !== undefined && (required || name === 'limit'))
    const shown = (value) => encodeURIComponent(value).replaceAll('%3A', ':').replaceAll('%2F', '/')
    const query = given.filter((one) => one.in === 'query').map(({ name, example }) => `${name}=${shown(example)}`)
    const filled = given.filter((one) => one.in === 'path').reduce((at, { name, example }) => at.replace(`{${name}}`, example), path)
    const url = `${location.origin}${filled}${query.length > 0 ? `?${query.join('&')}` : ''}`
    if (responses[101]) return `npx wscat -c '${url.replace(/^http/, 'ws')}'`
    const body = requestBody?.content['application/json'].example
    return [
      `curl ${method === 'get' ? '' : `-X ${method.toUpperCase()} `}'${url}'`,
      security.length > 0 && `-H "Authorization: Bearer $KEY"`,
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
    return h('div', { class: 'curl' }, h('pre', {}, text), navigator.clipboard && button)
  }

  function answer(status, reference) {
    const { description, headers = {}, content = {} } = resolve(reference)
    const [[kind, media] = []] = Object.entries(content)
    const good = status < 400
    const told = Object.entries(headers).filter(([name]) => !name.startsWith('RateLimit'))
    const title = [h('code', { class: good ? 'get' : 'delete' }, status), ' ', rich(description.replace(/^\d{3}: /, '')), media?.schema && [' ', h('span', { class: 'faint' }, good ? type(media.schema) : media.example?.error)]]
    if (media?.example === undefined && told.length === 0) return h('div', { class: 'answer bare' }, title)
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
          told.length > 0 && h('dl', {}, told.map(([name, one]) => row(name, resolve(one).schema, resolve(one).description))),
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
      { id, 'data-words': [method, path, summary, id, operation['x-rule']].join(' ').toLowerCase() },
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
  )
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
    h('a', { class: 'plain', href: 'openapi.json' }, 'openapi.json'),
  )

  const failures = Object.entries(spec.components.responses).filter(([, one]) => one.content)
  $('#state').remove()
  $('main').append(
    h('h1', {}, 'API of ', spec.info.title),
    ...prose(spec.info.description),
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
        { id: name, 'data-words': name.toLowerCase() },
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

/** Shows the entries that match every word of the filter, and highlights the current section. */
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

  filter.addEventListener('input', () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean)
    for (const introduction of document.querySelectorAll('main > h1, main > h1 ~ p')) introduction.hidden = words.length > 0
    for (const section of document.querySelectorAll('section'))
      section.hidden = !words.every((word) => section.dataset.words.includes(word))
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
