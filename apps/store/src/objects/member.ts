/** A member of a bucket's sorted set of names: key, NUL, id, generation (u48); see lib.lua. */
const idBytes = 16;
const tailBytes = 1 + idBytes + 6;

export interface NameMember {
  readonly key: string;
  readonly id: Buffer;
  readonly generation: number;
}

export function nameOfMember(member: Buffer): NameMember {
  const tail = member.length - tailBytes;
  return {
    key: member.toString("utf8", 0, tail),
    id: member.subarray(tail + 1, tail + 1 + idBytes),
    generation: member.readUIntBE(tail + 1 + idBytes, 6),
  };
}
