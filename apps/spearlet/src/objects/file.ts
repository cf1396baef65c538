/** Writing bytes to a file that must not be there yet. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";

/** Never through a symbolic link at the end of the path, never over another file. */
const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Writes a file and resolves with its SHA-256. Throws what `bytes` throws, and system errors. */
export async function writeNew(path: string, bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  const file = await open(path, flags, 0o644);
  try {
    for await (const piece of bytes) {
      hash.update(piece);
      await file.writeFile(piece);
    }
  } finally {
    await file.close();
  }
  return hash.digest("hex");
}
