// @colibri/edge-client: requests (`Service`), live events that miss nothing and the person's presence (`Line`), an
// account at its PDS (`Account`), calls (`Call`). No dependencies; for browsers, and Node.js 22 or newer.

export { Account, type BlobReference } from './account.ts'
export { Call, type CallListener, type Outgoing } from './call.ts'
export { Line, type Frame, type LineState, type Listener } from './line.ts'
export { answerOf, Refused, Service, withQuery, type Act, type Listed, type Page, type Query, type Readable } from './service.ts'
export type * from './types.ts'
