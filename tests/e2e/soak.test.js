// A minute of the soak (`npm run soak`): all attacks at once, next to 200 honest sockets and 20 events a second.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { soak } from '../soak/soak.js'

test('a minute of all that strangers do costs honest people nothing, and leaves nothing', async (t) => {
  const { quiet, hostile, peak, settledMillis, strangers, failures, log } = await soak({
    quietMillis: 10_000,
    hostileMillis: 60_000,
    settleMillis: 60_000,
  })
  // Not asserted: other processes on the machine affect it.
  t.diagnostic(`p99 ${quiet.p99} ms in quiet, ${hostile.p99} ms beside strangers`)
  t.diagnostic(`at most ${Math.round(peak.memory)} MiB, ${peak.descriptors} descriptors; settled after ${settledMillis} ms`)
  for (const { name, counts } of strangers) t.diagnostic(`${name}: ${JSON.stringify(counts)}`)
  assert.deepEqual(failures, [], log.join('\n'))
})
