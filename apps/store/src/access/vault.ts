/**
 * Secrets at rest. Signing is symmetric: the store must know each secret itself,
 * not a hash of it. So Redis, its files and its backups hold secrets encrypted
 * under a key that lies in the store's directory, readable by its owner only;
 * one without the other gives nothing away.
 */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import { replaceFile } from "../chunks/disk.ts";

const fileName = "access.key";
const keyBytes = 32;
const ivBytes = 12;
const tagBytes = 16;

export class Vault {
  readonly #key: Buffer;

  private constructor(key: Buffer) {
    this.#key = key;
  }

  /** The vault of a store's directory; made on first use. Errors: `internal` for a damaged file. */
  static async open(dataDir: string): Promise<Vault> {
    const path = join(dataDir, fileName);
    if (!existsSync(path)) await replaceFile(path, randomBytes(keyBytes), 0o600);
    const key = await readFile(path);
    if (key.length === keyBytes) return new Vault(key);
    throw new Fault("internal", `${path} is damaged`, {
      help: "restore it from a backup, or remove it: then all access keys must be made anew",
    });
  }

  /** A secret under the name of its owner, for nobody else to use. */
  seal(owner: string, secret: string): string {
    const iv = randomBytes(ivBytes);
    const cipher = createCipheriv("aes-256-gcm", this.#key, iv).setAAD(Buffer.from(owner));
    const sealed = [iv, cipher.update(secret, "utf8"), cipher.final()];
    return Buffer.concat([...sealed, cipher.getAuthTag()]).toString("base64");
  }

  /** A sealed secret; undefined if it was sealed with another key or for another owner. */
  unseal(owner: string, sealed: string): string | undefined {
    const bytes = Buffer.from(sealed, "base64");
    try {
      const iv = bytes.subarray(0, ivBytes);
      const decipher = createDecipheriv("aes-256-gcm", this.#key, iv)
        .setAAD(Buffer.from(owner))
        .setAuthTag(bytes.subarray(-tagBytes));
      const secret = decipher.update(bytes.subarray(ivBytes, -tagBytes));
      return Buffer.concat([secret, decipher.final()]).toString();
    } catch {
      return undefined;
    }
  }
}
