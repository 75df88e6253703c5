// @ts-check
// `npm run client:types`: writes packages/client/src/types.ts from openapi.json and asyncapi.json, so that the types of
// the client are those of the documents, which tests compare with the code. `--check` only says whether they are current.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { readArguments } from './commands.js'
import { ROOT } from './paths.js'
import { exitWith, Refusal } from './progress.js'

const FILE = join(ROOT, 'packages', 'client', 'src', 'types.ts')
const HEAD = '// Generated from openapi.json and asyncapi.json by `npm run client:types`. Do not change it by hand.\n'

const documentNamed = (/** @type {string} */ name) =>
  JSON.parse(readFileSync(join(ROOT, 'src', 'api', 'reference', name), 'utf8'))

const key = (/** @type {string} */ name) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : `'${name}'`)
const last = (/** @type {string} */ reference) => reference.split('/').at(-1) ?? ''
const PLAIN = { integer: 'number', number: 'number', string: 'string', boolean: 'boolean', null: 'null' }

/** A schema as a type. @param {any} schema @returns {string} */
function typeOf(schema) {
  if (schema.$ref) return last(schema.$ref)
  if ('const' in schema) return JSON.stringify(schema.const)
  if (schema.enum) return schema.enum.map((/** @type {any} */ one) => JSON.stringify(one)).join(' | ')
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(' | ')
  if (schema.allOf) return schema.allOf.map(typeOf).join(' & ')
  if (Array.isArray(schema.type)) return schema.type.map((/** @type {string} */ type) => typeOf({ ...schema, type })).join(' | ')
  if (schema.type === 'array') {
    const item = schema.items ? typeOf(schema.items) : 'unknown'
    return item.includes(' ') ? `(${item})[]` : `${item}[]`
  }
  if (schema.properties) return objectOf(schema.properties, schema.required ?? [])
  if (schema.additionalProperties) return `Record<string, ${typeOf(schema.additionalProperties)}>`
  return PLAIN[schema.type] ?? (schema.type === 'object' ? 'Record<string, unknown>' : 'unknown')
}

/** @param {Record<string, any>} fields @param {string[]} required */
function objectOf(fields, required) {
  const inside = Object.entries(fields).map(([name, field]) => `${key(name)}${required.includes(name) ? '' : '?'}: ${typeOf(field)}`)
  return inside.length > 0 ? `{ ${inside.join('; ')} }` : '{}'
}

/** A declaration, over several lines if it is long. @param {string} name @param {any} schema */
function declared(name, schema) {
  const about = schema.description ? `/** ${schema.description.replaceAll('*/', '*\\/')} */\n` : ''
  if (!schema.properties) return `${about}export type ${name} = ${typeOf(schema)}\n`
  const fields = Object.entries(schema.properties).map(([field, inside]) => {
    const said = inside.description ? `  /** ${inside.description} */\n` : ''
    return `${said}  ${key(field)}${schema.required?.includes(field) ? '' : '?'}: ${typeOf(inside)}`
  })
  return `${about}export interface ${name} {\n${fields.join('\n')}\n}\n`
}

/** The requests of `/api` by method and path: parameters, body, answer. @param {any} openapi */
function requests(openapi) {
  const at = (/** @type {string} */ reference) =>
    reference.slice(2).split('/').reduce((/** @type {any} */ part, name) => part[name], openapi)
  const resolved = (/** @type {any} */ value) => (value.$ref ? at(value.$ref) : value)
  const lines = Object.entries(openapi.paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { parameters = [], requestBody, responses }]) => {
      const content = Object.entries(responses).find(([status]) => status.startsWith('2'))?.[1].content
      if (!path.startsWith('/api/') || responses[101] || (content && !content['application/json'])) return []
      const query = parameters.map(resolved).filter((/** @type {any} */ one) => one.in === 'query')
      const named = Object.fromEntries(query.map((/** @type {any} */ one) => [one.name, one.schema]))
      const required = query.filter((/** @type {any} */ one) => one.required).map((/** @type {any} */ one) => one.name)
      const body = requestBody ? typeOf(requestBody.content['application/json'].schema) : 'undefined'
      const answer = content ? typeOf(content['application/json'].schema) : 'undefined'
      const kinds = `query: ${objectOf(named, required)}; body: ${body}; answer: ${answer}`
      return [`  '${method.toUpperCase()} ${path}': { ${kinds} }`]
    }),
  )
  return `/** The requests of the API. */\nexport interface Requests {\n${lines.join('\n')}\n}\n`
}

/** The frames of an operation as a union. @param {any} asyncapi @param {string} name @param {string} about @param {any[]} lists */
function frames(asyncapi, name, about, lists) {
  const payloads = lists.flat().map(({ $ref }) => {
    const [, , channel, , message] = $ref.split('/')
    return asyncapi.components.messages[last(asyncapi.channels[channel].messages[message].$ref)].payload
  })
  return `/** ${about} */\nexport type ${name} =\n${payloads.map((payload) => `  | ${typeOf(payload).replaceAll('} & {', '} & {')}`).join('\n')}\n`
}

function generated() {
  const [openapi, asyncapi] = [documentNamed('openapi.json'), documentNamed('asyncapi.json')]
  const { act, publish, callPeers, connectPeers } = asyncapi.operations
  const schemas = { ...openapi.components.schemas, ...asyncapi.components.schemas }
  return [
    HEAD,
    ...Object.entries(schemas).map(([name, schema]) => declared(name, schema)),
    requests(openapi),
    frames(asyncapi, 'ClientFrame', 'What a client sends on the events socket.', [act.messages]),
    frames(asyncapi, 'ServerFrame', 'What a client receives on the events socket.', [act.reply.messages, publish.messages]),
    frames(asyncapi, 'PeerFrame', 'What a peer of a call sends.', [callPeers.messages]),
    frames(asyncapi, 'CallFrame', 'What a peer of a call receives.', [connectPeers.messages]),
  ].join('\n')
}

try {
  const { values } = readArguments('client:types')
  if (!values.check) writeFileSync(FILE, generated())
  else if (readFileSync(FILE, 'utf8') !== generated()) {
    throw new Refusal('packages/client/src/types.ts is not what the documents say. Write it anew: npm run client:types')
  }
} catch (error) {
  exitWith(error)
}
