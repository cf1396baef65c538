/**
 * Who may join. A new node shows a join token; a node that is known shows the credential
 * that it made for itself and told when it first came, so that tokens may expire behind
 * it and nobody else can take its id. Neither is kept: a hash is, and is compared in
 * constant time. Both are random and long, so that a plain hash will do.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { NodeId } from "@spear/shared/ids.ts";
import type { JoinToken } from "@spear/shared/node.ts";
import { redisFault } from "@spear/shared/redis/client.ts";
import type { Keys } from "@spear/shared/redis/keys.ts";
import type { Redis } from "ioredis";

const defaultTtlMs = 86_400_000;
const maxTtlMs = 3_650 * 86_400_000;
const maxTokens = 1_000;
const secretBytes = 32;
/** As `spear-join-1f0c5a77.…`: the id, and what only its holder knows. */
const tokenShape = /^spear-join-([0-9a-f]{8})\.([A-Za-z0-9_-]{43})$/;

interface Kept extends JoinToken {
  hash: string;
}

const hashOf = (secret: string) => createHash("sha256").update(secret).digest("hex");

/** True if `secret` is what the hash was made of. Takes the same time either way. */
function matches(secret: string, hash: string): boolean {
  return timingSafeEqual(Buffer.from(hashOf(secret)), Buffer.from(hash));
}

export class Admission {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #clock: Clock;
  readonly #required: boolean;

  /** `required`: nodes that are not known have to show a join token. */
  constructor(deps: { redis: Redis; keys: Keys; clock: Clock; required: boolean }) {
    this.#redis = deps.redis;
    this.#keys = deps.keys;
    this.#clock = deps.clock;
    this.#required = deps.required;
  }

  /** Lets a node register, by its credential if it is known, else by a join token. Throws `unauthenticated`. */
  async admit(id: NodeId | undefined, joinToken: string, credential: string): Promise<void> {
    if (!this.#required) return;
    if (id !== undefined && (await this.#isKnown(id, credential))) return;
    await this.#checkToken(joinToken);
  }

  /** Lets a node that has registered open a session. Throws `unauthenticated`. */
  async recognise(id: NodeId, credential: string): Promise<void> {
    if (this.#required) await this.#isKnown(id, credential);
  }

  /** False if no credential of the node is known. Throws `unauthenticated` if it is another. */
  async #isKnown(id: NodeId, credential: string): Promise<boolean> {
    const hash = await this.#read(() => this.#redis.hget(this.#keys.nodeCredentials, id));
    if (hash === null) return false;
    if (matches(credential, hash)) return true;
    throw new Fault("unauthenticated", `node ${id} is known by another credential`, {
      field: "nodeCredential",
      help: "start it with the data directory that it had, or in a new one as a new node",
    });
  }

  /** Remembers the credential of a node that has none yet. Throws `unauthenticated` if it has another. */
  async bind(id: NodeId, credential: string): Promise<void> {
    if (credential === "") return;
    await this.#read(() => this.#redis.hsetnx(this.#keys.nodeCredentials, id, hashOf(credential)));
    if (this.#required) await this.#isKnown(id, credential);
  }

  /** The node is to show a join token again if it comes back. */
  async forget(id: NodeId): Promise<void> {
    await this.#read(() => this.#redis.hdel(this.#keys.nodeCredentials, id));
  }

  async #checkToken(token: string): Promise<void> {
    const refused = (said: string) =>
      new Fault("unauthenticated", said, {
        field: "joinToken",
        help: "make one with: spear node token create, and give it to the SPEARlet as joinToken",
      });
    if (token === "") throw refused("a join token is needed");
    const [, id = "", secret = ""] = tokenShape.exec(token) ?? [];
    const kept = (await this.#kept()).find((one) => one.id === id);
    // Looks the same from outside whether the id or the secret is wrong.
    if (!matches(secret, kept?.hash ?? hashOf("")) || kept === undefined)
      throw refused("the join token is not valid");
    if (this.#hasExpired(kept)) throw refused("the join token has expired");
  }

  #hasExpired({ expiresAtMs }: Kept): boolean {
    return expiresAtMs !== undefined && expiresAtMs <= this.#clock.nowMs();
  }

  async #kept(): Promise<Kept[]> {
    const texts = await this.#read(() => this.#redis.hvals(this.#keys.joinTokens));
    return texts.map((text) => JSON.parse(text) as Kept);
  }

  /** Makes a token, good for a day unless said (0: for ever). Throws `invalid_argument`, `conflict`. */
  async create(
    name: string,
    ttlMs = defaultTtlMs,
  ): Promise<{ joinToken: JoinToken; secret: string }> {
    if (!/^[\x20-\x7e]{0,128}$/.test(name)) {
      throw new Fault("invalid_argument", "name: must be up to 128 printable characters", {
        field: "name",
      });
    }
    if (ttlMs < 0 || ttlMs > maxTtlMs) {
      throw new Fault("invalid_argument", `ttlMs: must be 0 to ${maxTtlMs}`, { field: "ttlMs" });
    }
    const all = await this.#kept();
    const expired = all.filter((one) => this.#hasExpired(one)).map(({ id }) => id);
    if (expired.length > 0)
      await this.#read(() => this.#redis.hdel(this.#keys.joinTokens, ...expired));
    if (all.length - expired.length >= maxTokens)
      throw new Fault("conflict", `there are ${maxTokens} join tokens`, { help: "revoke some" });
    const id = randomBytes(4).toString("hex");
    const secret = randomBytes(secretBytes).toString("base64url");
    const now = this.#clock.nowMs();
    const joinToken: JoinToken = {
      id,
      name,
      createdAtMs: now,
      ...(ttlMs === 0 ? {} : { expiresAtMs: now + ttlMs }),
    };
    const kept: Kept = { ...joinToken, hash: hashOf(secret) };
    await this.#read(() => this.#redis.hset(this.#keys.joinTokens, id, JSON.stringify(kept)));
    return { joinToken, secret: `spear-join-${id}.${secret}` };
  }

  /** Tokens that have not expired, oldest first. */
  async list(): Promise<JoinToken[]> {
    return (await this.#kept())
      .filter((one) => !this.#hasExpired(one))
      .toSorted((a, b) => a.createdAtMs - b.createdAtMs)
      .map((kept) => {
        const { hash: _, ...shown } = kept;
        return shown;
      });
  }

  /** Makes a token worthless; who has joined with it stays. Throws `not_found`. */
  async revoke(id: string): Promise<void> {
    if ((await this.#read(() => this.#redis.hdel(this.#keys.joinTokens, id))) === 1) return;
    throw new Fault("not_found", `there is no join token ${id}`, {
      field: "id",
      help: "list them with: spear node token ls",
    });
  }

  async #read<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw redisFault(error);
    }
  }
}
