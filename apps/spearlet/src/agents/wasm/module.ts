/**
 * The little that must be known and changed of a module's bytes before an
 * engine sees them: what kind it is, how much memory it may take, and the name
 * of one import. Bytes that make no sense are passed on as they are: the
 * engine's compiler says what is wrong with them.
 */

export const pageBytes = 64 * 1024;
const maxPages = 65_536;
const sectionImport = 2;
const sectionMemory = 5;

/** A module's layout is broken before the part that is looked for. */
class Malformed extends Error {}

/** A module that asks for more memory at its start than it may have. */
export class MemoryTooSmall extends Error {
  /** What it asks for, in bytes. */
  readonly neededBytes: number;

  constructor(neededBytes: number) {
    super(`the module needs ${neededBytes} bytes of memory to start`);
    this.name = "MemoryTooSmall";
    this.neededBytes = neededBytes;
  }
}

/** What the first eight bytes say it is. */
export function kindOf(bytes: Uint8Array): "core" | "component" | undefined {
  const [nul, a, s, m, version, version2, layer, layer2] = bytes;
  if (nul !== 0 || a !== 0x61 || s !== 0x73 || m !== 0x6d) return undefined;
  if (layer === 0 && layer2 === 0 && version === 1 && version2 === 0) return "core";
  return layer === 1 && layer2 === 0 ? "component" : undefined;
}

class Reader {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  byte(): number {
    const value = this.bytes[this.at++];
    if (value === undefined) throw new Malformed();
    return value;
  }

  /** Unsigned LEB128 of at most 64 bits. */
  number(): number {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const part = this.byte();
      value += (part & 0x7f) * 2 ** shift;
      if ((part & 0x80) === 0) return value;
    }
    throw new Malformed();
  }

  take(size: number): Uint8Array {
    if (size > this.bytes.length - this.at) throw new Malformed();
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  text(): string {
    return new TextDecoder().decode(this.take(this.number()));
  }
}

/** A number as unsigned LEB128. */
function leb(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return bytes;
}

/** A name with its length in front. */
function text(value: string): Uint8Array {
  const bytes = new TextEncoder().encode(value);
  return new Uint8Array([...leb(bytes.length), ...bytes]);
}

/** The bytes with every section of that kind replaced by what `edit` makes of its content. */
function editSections(
  bytes: Uint8Array,
  kind: number,
  edit: (content: Reader) => Uint8Array,
): Uint8Array {
  const pieces: Uint8Array[] = [];
  const reader = new Reader(bytes, 8);
  let copied = 0;
  try {
    while (reader.at < bytes.length) {
      const start = reader.at;
      const id = reader.byte();
      const content = reader.take(reader.number());
      if (id !== kind) continue;
      const edited = edit(new Reader(content, 0));
      pieces.push(bytes.subarray(copied, start));
      pieces.push(new Uint8Array([id, ...leb(edited.length)]), edited);
      copied = reader.at;
    }
  } catch (error) {
    if (error instanceof Malformed) return bytes;
    throw error;
  }
  if (copied === 0) return bytes;
  return new Uint8Array(Buffer.concat([...pieces, bytes.subarray(copied)]));
}

/**
 * The module with every memory's maximum lowered to what fits in `limitBytes`,
 * so that growing beyond fails as the guest's language expects it to.
 * Throws `MemoryTooSmall` if its start asks for more.
 */
export function capMemory(bytes: Uint8Array, limitBytes: number): Uint8Array {
  const limitPages = Math.min(Math.floor(limitBytes / pageBytes), maxPages);
  return editSections(bytes, sectionMemory, (content) => {
    const count = content.number();
    const out = leb(count);
    for (let index = 0; index < count; index++) {
      const flags = content.byte();
      // Custom page sizes are no standard yet: the engine refuses them by itself.
      if ((flags & ~7) !== 0) throw new Malformed();
      const least = content.number();
      const most = (flags & 1) !== 0 ? content.number() : maxPages;
      if (least > limitPages) throw new MemoryTooSmall(least * pageBytes);
      out.push(flags | 1, ...leb(least), ...leb(Math.max(least, Math.min(most, limitPages))));
    }
    return new Uint8Array(out);
  });
}

/** An import's two names. */
export interface ImportName {
  module: string;
  name: string;
}

/** The module with an import under another name. */
export function renameImport(bytes: Uint8Array, from: ImportName, to: ImportName): Uint8Array {
  const renamed = new Uint8Array([...text(to.module), ...text(to.name)]);
  return editSections(bytes, sectionImport, (content) => {
    const count = content.number();
    const out: Uint8Array[] = [new Uint8Array(leb(count))];
    for (let index = 0; index < count; index++) {
      const start = content.at;
      const found = content.text() === from.module;
      const matches = content.text() === from.name && found;
      const typeAt = content.at;
      skipImportType(content);
      if (matches) out.push(renamed, content.bytes.subarray(typeAt, content.at));
      else out.push(content.bytes.subarray(start, content.at));
    }
    return new Uint8Array(Buffer.concat(out));
  });
}

/** Function, table, memory, global or tag. */
function skipImportType(content: Reader): void {
  const kind = content.byte();
  const limits = () => {
    const flags = content.byte();
    content.number();
    if ((flags & 1) !== 0) content.number();
  };
  switch (kind) {
    case 0:
      content.number();
      return;
    case 1:
      skipReferenceType(content);
      limits();
      return;
    case 2:
      limits();
      return;
    case 3:
      skipReferenceType(content);
      content.byte();
      return;
    case 4:
      content.byte();
      content.number();
      return;
    default:
      throw new Malformed();
  }
}

/** A value type is a byte, but for typed references, which have a heap type behind it. */
function skipReferenceType(content: Reader): void {
  const code = content.byte();
  if (code === 0x63 || code === 0x64) content.number();
}
