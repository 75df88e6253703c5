// The objects of signaling rooms and waiting observers: the rule of src/platform/objects.rs, written a second time.

/** Maps a name to one of `count` places: FNV-1a. */
function placeOf(name, count) {
  let hash = 0xcbf29ce484222325n
  for (const byte of Buffer.from(name)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn
  return Number(hash % BigInt(count))
}

/** The object that holds a signaling room. */
export const roomsOf = (room) => `rooms-${placeOf(room, 16)}`

/** The object in which observers of an unknown community wait. */
export const lobbyOf = (community) => `lobby-${placeOf(community, 4)}`
