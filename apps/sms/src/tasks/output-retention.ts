/**
 * Removes sealed output that nobody is to have any more: its task was removed, or is a
 * task of its own whose retention has passed. The bucket is gone through page by page,
 * over and over; whatever a crash or an outage left out is found by the next round, and
 * what a node stored and never told of goes like the rest.
 */
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { isId, jobOfOne, type ObjectId, type TaskId } from "@spear/shared/ids.ts";
import { defaultRetentionMs } from "@spear/shared/job.ts";
import { outputBucket } from "@spear/shared/output.ts";
import { outputHolder } from "@spear/shared/sealed-output.ts";
import type { StoreClient } from "@spear/shared/store/client.ts";
import type { RecordStore } from "./store.ts";

/** Objects whose removal is under way at the same time. */
const lanes = 8;

interface Kept {
  id: ObjectId;
  key: string;
  taskId: TaskId;
}

export class OutputRetention {
  readonly #store: StoreClient;
  readonly #tasks: Pick<RecordStore, "getMany">;
  readonly #clock: Clock;
  readonly #roundMs: number;
  #after = "";
  #dueMs = 0;

  /** `roundMs`: pause between two rounds. */
  constructor(deps: {
    store: StoreClient;
    tasks: Pick<RecordStore, "getMany">;
    clock: Clock;
    roundMs: number;
  }) {
    this.#store = deps.store;
    this.#tasks = deps.tasks;
    this.#clock = deps.clock;
    this.#roundMs = deps.roundMs;
  }

  /** Looks at one page, if a round is due. Throws `unavailable` while the store is away. */
  async step(signal: AbortSignal): Promise<void> {
    if (!this.#store.present || this.#clock.nowMs() < this.#dueMs) return;
    const page = await this.#page(signal);
    const last = page.at(-1);
    if (last === undefined) this.#dueMs = this.#clock.nowMs() + this.#roundMs;
    this.#after = last?.key ?? "";
    const kept = page.flatMap(({ id, key }): Kept[] => {
      const taskId = key.slice(0, key.indexOf("/"));
      // Whatever else somebody puts there is not ours to remove.
      return isId("task", taskId) ? [{ id, key, taskId }] : [];
    });
    const ids = [...new Set(kept.map(({ taskId }) => taskId))];
    const outlived = await this.#outlived(ids);
    const queue = kept.filter(({ taskId }) => outlived.has(taskId)).values();
    await Promise.all(
      Array.from({ length: lanes }, async () => {
        for (const one of queue) await this.#remove(one, signal);
      }),
    );
  }

  async #page(signal: AbortSignal): Promise<{ id: ObjectId; key: string }[]> {
    try {
      return (await this.#store.list(outputBucket, { startAfter: this.#after }, signal)).objects;
    } catch (error) {
      this.#dueMs = this.#clock.nowMs() + this.#roundMs;
      // Nothing was ever sealed.
      if (error instanceof Fault && error.code === "bucket_not_found") return [];
      throw error;
    }
  }

  /** Those of the tasks whose output is to go. */
  async #outlived(ids: readonly TaskId[]): Promise<ReadonlySet<TaskId>> {
    const gone = new Set(ids);
    const nowMs = this.#clock.nowMs();
    for (const { task } of await this.#tasks.getMany(ids)) {
      const id = task.id as TaskId;
      const retentionMs = task.spec.retentionMs ?? defaultRetentionMs;
      // A job keeps all its tasks until it is removed with them.
      const keeps = task.jobId !== jobOfOne(id) || task.finishedAtMs === undefined;
      if (keeps || (task.finishedAtMs ?? 0) + retentionMs > nowMs) gone.delete(id);
    }
    return gone;
  }

  async #remove({ id, key, taskId }: Kept, signal: AbortSignal): Promise<void> {
    // The name last: while it is there, the next round tries again.
    await this.#store.removeRef(id, outputHolder(taskId), signal);
    await this.#store.delete({ bucket: outputBucket, key }, signal);
  }
}
