/**
 * Pieces of a body that nobody needs once they were copied, as the buffers that a
 * socket was read into. Their memory is given back at once: the collector of
 * garbage hears of such memory late, and left to itself keeps a hundred megabytes.
 */
const given = new WeakSet<Uint8Array>();

/** Says of a piece that whoever consumes it may take its memory away. */
export function giveAway(piece: Uint8Array): void {
  if (piece.byteLength === piece.buffer.byteLength) given.add(piece);
}

/** Frees a piece that was given away; false for one that somebody may still need. */
export function release(piece: Uint8Array): boolean {
  if (!given.has(piece) || !(piece.buffer instanceof ArrayBuffer)) return false;
  piece.buffer.transfer(0);
  return true;
}
