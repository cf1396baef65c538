/**
 * Access keys: who may do what over S3. A key that was removed or has ended
 * opens nothing from the next request on.
 */
import { randomBytes } from "node:crypto";
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { checkBucketName, checkKeyPart } from "../objects/names.ts";
import type { StoreScripts } from "../objects/scripts.ts";
import {
  actions,
  type AccessKey,
  type AccessKeyRequest,
  type Grant,
  type NewAccessKey,
} from "./schema.ts";
import type { Vault } from "./vault.ts";

const idPattern = /^SPEAR[A-Z2-7]{15}$/;
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const secretBytes = 30;
const mostKeys = 10_000;

/** As Redis keeps it. */
interface StoredKey extends AccessKey {
  sealed: string;
}

export class AccessKeys {
  readonly #scripts: StoreScripts;
  readonly #vault: Vault;
  readonly #clock: Clock;

  constructor(scripts: StoreScripts, vault: Vault, clock: Clock) {
    this.#scripts = scripts;
    this.#vault = vault;
    this.#clock = clock;
  }

  /** Makes a key; its secret is not to be had again. Errors: `invalid_argument`, `too_many_requests`. */
  async create(request: AccessKeyRequest): Promise<NewAccessKey> {
    const { description = "", ttlMs } = request;
    const grants: Grant[] = request.grants ?? [{ bucket: "*", actions: [...actions] }];
    for (const [at, { bucket, prefix }] of grants.entries()) {
      if (bucket !== "*") checkBucketName(bucket, `grants.${at}.bucket`);
      checkKeyPart(prefix ?? "", `grants.${at}.prefix`);
    }
    const { redis, keys } = this.#scripts;
    if ((await this.#scripts.call(redis.hlen(keys.accessKeys))) >= mostKeys) {
      throw new Fault("too_many_requests", `there are ${mostKeys} access keys already`, {
        help: "remove those that nobody uses",
      });
    }
    const createdAtMs = this.#clock.nowMs();
    const id = `SPEAR${Array.from(randomBytes(15), (byte) => letters[byte % 32]).join("")}`;
    const secret = randomBytes(secretBytes).toString("base64url");
    const key: AccessKey = {
      id,
      description,
      grants,
      createdAtMs,
      ...(ttlMs === undefined ? {} : { expiresAtMs: createdAtMs + ttlMs }),
    };
    const stored: StoredKey = { ...key, sealed: this.#vault.seal(id, secret) };
    await this.#scripts.call(redis.hset(keys.accessKeys, id, JSON.stringify(stored)));
    return { ...key, secret };
  }

  /** All keys, the oldest first, without their secrets. */
  async list(): Promise<AccessKey[]> {
    const { redis, keys } = this.#scripts;
    const all = await this.#scripts.call(redis.hvals(keys.accessKeys));
    return all
      .map((text) => {
        const { sealed: _, ...key } = JSON.parse(text) as StoredKey;
        return key;
      })
      .toSorted((a, b) => a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1));
  }

  /** Errors: `not_found`. */
  async remove(id: string): Promise<void> {
    const { redis, keys } = this.#scripts;
    if ((await this.#scripts.call(redis.hdel(keys.accessKeys, id))) > 0) return;
    throw new Fault("not_found", `there is no access key ${id}`, { field: "id" });
  }

  /** A key that holds, with its secret; undefined if there is none. */
  async find(id: string): Promise<NewAccessKey | undefined> {
    if (!idPattern.test(id)) return undefined;
    const { redis, keys } = this.#scripts;
    const text = await this.#scripts.call(redis.hget(keys.accessKeys, id));
    if (text === null) return undefined;
    const { sealed, ...key } = JSON.parse(text) as StoredKey;
    if (key.expiresAtMs !== undefined && key.expiresAtMs <= this.#clock.nowMs()) return undefined;
    const secret = this.#vault.unseal(id, sealed);
    return secret === undefined ? undefined : { ...key, secret };
  }
}
