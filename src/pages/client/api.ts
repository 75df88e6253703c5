// The service that serves this page, and what its answers leave open: facets and blobs are as their authors wrote them.

import {
  Service,
  type BlobReference,
  type Channel,
  type Community,
  type MessageCore,
} from '../../../packages/client/src/index.ts'

export const service = new Service(location.origin)

export interface Facet {
  index: { byteStart: number; byteEnd: number }
  features: { $type: string; uri?: string; did?: string; channel?: string }[]
}

export interface Attachment {
  blob: BlobReference
  name?: string
}

/** The part of a message that a quotation has too. */
export type Quotation = Pick<MessageCore, 'id' | 'rkey' | 'author_did' | 'text' | 'display_name' | 'handle'>

export const isVoice = ({ channel_type: type }: Channel) => /(^|\.)voice$/.test(type)
export const communityUri = ({ owner_did, rkey }: Community) => `at://${owner_did}/social.colibri.community/${rkey}`
