// Where signaling rooms and waiting observers are: the rule of src/platform/objects.rs, written a second time.

/** One of so many places for a name: FNV-1a. */
function placeOf(name, count) {
  let hash = 0xcbf29ce484222325n
  for (const byte of Buffer.from(name)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn
  return Number(hash % BigInt(count))
}

/** The object that holds a signaling room. */
export const roomsOf = (room) => `rooms-${placeOf(room, 16)}`

/** The object in which observers of a community wait that nobody knows. */
export const lobbyOf = (community) => `lobby-${placeOf(community, 4)}`
