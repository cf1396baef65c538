/**
 * The place in the engine's bytes where a script goes: a mark, the script's
 * length, the script, the rest filled. Only what is written changes; the file
 * stays as long as it was, so nothing in it needs to be made anew.
 */
import { Fault } from "@spear/shared/fault.ts";

export const slotMark = "spear script slot\n";
export const slotBytes = 1024 * 1024;
/** What fills it: no zeros, which would not be kept in the file. */
export const slotFill = 0xa5;

const lengthBytes = 4;

/** A copy of the engine with the script in its slot. Throws `payload_too_large`. */
export function withScript(engine: Uint8Array, script: string): Uint8Array {
  const text = new TextEncoder().encode(script);
  const room = slotBytes - slotMark.length - lengthBytes;
  if (text.length > room) {
    throw new Fault(
      "payload_too_large",
      `the script is ${text.length} bytes with all that it imports, of at most ${room}`,
    );
  }
  // The mark alone also stands in the code that looks for it.
  const empty = Buffer.alloc(64, slotFill);
  empty.write(slotMark);
  const at = Buffer.from(engine.buffer, engine.byteOffset, engine.length).indexOf(empty);
  if (at < 0) throw new Fault("internal", "the engine has no slot for a script");
  const made = Uint8Array.from(engine);
  const from = at + slotMark.length;
  new DataView(made.buffer).setUint32(from, text.length, true);
  made.set(text, from + lengthBytes);
  return made;
}
