/**
 * Objects as a task sees them: through the node's cache and from the store, in
 * constant memory. A put names the attempt, and the store commits it only while that
 * attempt is the current one and runs (T3).
 */
import type { Gives, ObjectInfo, Takes } from "@spear/shared/hostcalls.ts";
import type { AttemptId } from "../executions/attempt.ts";
import type { StoreClient } from "@spear/shared/store/client.ts";
import type { NodeObjects } from "../objects/objects.ts";
import { objectName, textOf, type ObjectInfo as StoredInfo } from "@spear/shared/store/schema.ts";
import type { Body } from "./body.ts";

export interface ObjectSources {
  objects: Pick<NodeObjects, "head" | "open" | "put">;
  store: Pick<StoreClient, "addRef" | "removeRef" | "pin" | "list" | "small">;
}

/** Up to here an object is asked for in one request, without the node's cache. */
const smallBytes = 64 * 1024;
/** How long what was read may be given again, in milliseconds; see `ObjectCalls.forget`. */
const rememberedMs = 250;
const mostRemembered = 64;

interface Small {
  info: ObjectInfo;
  bytes: Uint8Array;
}

export class ObjectCalls {
  readonly #objects: ObjectSources["objects"];
  readonly #store: ObjectSources["store"];
  readonly #id: AttemptId;
  readonly #remembers: boolean;
  readonly #remembered = new Map<string, Small & { atMs: number }>();

  /** `remembers`: the task has no way but hostcalls to learn what others do. */
  constructor({ objects, store }: ObjectSources, id: AttemptId, remembers: boolean) {
    this.#objects = objects;
    this.#store = store;
    this.#id = id;
    this.#remembers = remembers;
  }

  /**
   * Called before anything but a read: from its answer the task may learn that an object
   * has changed, and then must not be given what it was.
   */
  forget(): void {
    this.#remembered.clear();
  }

  /** A small object with its bytes; undefined if it is not small. */
  async #small(object: string, signal: AbortSignal): Promise<Small | undefined> {
    const known = this.#remembered.get(object);
    if (known !== undefined && performance.now() - known.atMs < rememberedMs) return known;
    // From before it was asked for: that is how old the answer can be.
    const atMs = performance.now();
    const found = await this.#store.small(objectName(object), smallBytes, signal);
    if (found === undefined) return undefined;
    const small = { info: shown(found.info), bytes: found.bytes };
    if (this.#remembers) {
      if (this.#remembered.size >= mostRemembered) this.#remembered.clear();
      this.#remembered.set(object, { ...small, atMs });
    }
    return small;
  }

  /** Throws `object_not_found`, `range_not_satisfiable`. */
  async get(
    { object, offset = 0, lengthBytes }: Takes<"object.get">,
    signal: AbortSignal,
  ): Promise<{ info: ObjectInfo; body: Body }> {
    if (offset === 0 && lengthBytes === undefined) {
      const small = await this.#small(object, signal);
      if (small !== undefined) return { info: small.info, body: small.bytes };
    }
    const range = { offset, length: lengthBytes };
    const { info, body } = await this.#objects.open(objectName(object), range, signal);
    return { info: shown(info), body };
  }

  async stat({ object }: Takes<"object.stat">, signal: AbortSignal): Promise<ObjectInfo> {
    return shown(await this.#objects.head(objectName(object), signal));
  }

  async list(
    { prefix: start, pageSize, pageToken }: Takes<"object.list">,
    signal: AbortSignal,
  ): Promise<Gives<"object.list">> {
    const { bucket, key: prefix } = objectName(start);
    const page = await this.#store.list(bucket, { prefix, pageSize, pageToken }, signal);
    return { ...page, objects: page.objects.map(shown) };
  }

  /** Throws `precondition_failed`, `stale_attempt` and what else the store refuses. */
  async put(
    { object, contentType, metadata, ifAbsent, ifGeneration }: Takes<"object.put">,
    body: Body,
    signal: AbortSignal,
  ): Promise<ObjectInfo> {
    const condition = { ifAbsent, ifGeneration, attempt: this.#id };
    const request = { ...objectName(object), contentType, metadata, condition };
    const bytes = body instanceof Uint8Array ? new Uint8Array(body) : body;
    return shown(await this.#objects.put(request, bytes, signal));
  }

  /** References are held in the task's name, so that it can't take away another's. */
  async ref({ object, ttlMs }: Takes<"object.ref">, signal: AbortSignal): Promise<void> {
    const { id } = await this.#objects.head(objectName(object), signal);
    await this.#store.addRef(id, this.#id.taskId, signal, ttlMs);
  }

  async unref({ object }: Takes<"object.unref">, signal: AbortSignal): Promise<void> {
    const { id } = await this.#objects.head(objectName(object), signal);
    await this.#store.removeRef(id, this.#id.taskId, signal);
  }

  async pin({ object }: Takes<"object.pin">, pinned: boolean, signal: AbortSignal): Promise<void> {
    const { id } = await this.#objects.head(objectName(object), signal);
    await this.#store.pin(id, pinned, signal);
  }
}

function shown(info: StoredInfo): ObjectInfo {
  const { id, sizeBytes, sha256, contentType, generation, metadata } = info;
  return { object: textOf(info), id, sizeBytes, sha256, contentType, generation, metadata };
}
