/**
 * Where the output of attempts that have ended is: a field of the task's record for each
 * attempt, so that it goes when the record goes. The field is empty if the attempt wrote
 * nothing, else a line for each object: stream, id, offset, size.
 */
import type { AttemptReport } from "@spear/proto/gen/spear/sms/v1/node.ts";
import { Fault } from "@spear/shared/fault.ts";
import { parseId, type TaskId } from "@spear/shared/ids.ts";
import type { Keys } from "@spear/shared/redis/keys.ts";
import { Script } from "@spear/shared/redis/script.ts";
import { sealedParts, type SealedStream } from "@spear/shared/sealed-output.ts";
import type { Redis } from "ioredis";
import { sealField } from "./record.ts";
import sealLua from "./seal.lua" with { type: "text" };

const seal = new Script<number>("seal", 1, sealLua);

export class Seals {
  readonly #redis: Redis;
  readonly #keys: Keys;

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
  }

  /** Takes a report of a seal; stale if the task is no more. Throws `invalid_argument`. */
  async take({ taskId, attempt, body }: AttemptReport): Promise<{ stale: boolean }> {
    const streams = body?.$case === "seal" ? body.value.streams : [];
    const lines = streams.map(({ stream, objectId, offset, sizeBytes }) => {
      if (!sealedParts.some((part) => part === stream)) {
        throw new Fault("invalid_argument", "report.seal.streams: there is no such stream", {
          field: "report.seal.streams",
        });
      }
      parseId("obj", objectId, "report.seal.streams");
      return `${stream} ${objectId} ${offset} ${sizeBytes}`;
    });
    const known = await seal.run(
      this.#redis,
      [this.#keys.task(taskId)],
      [sealField(attempt), lines.join("\n")],
    );
    return { stale: known === 0 };
  }

  /** The objects of an attempt's output; none if it wrote nothing, undefined if it is not sealed. */
  async of(id: TaskId, attempt: number): Promise<SealedStream[] | undefined> {
    const text = await this.#redis.hget(this.#keys.task(id), sealField(attempt));
    if (text === null) return undefined;
    return text.split("\n").flatMap((line) => {
      const [name, objectId, offset, size] = line.split(" ");
      const stream = sealedParts.find((part) => part === name);
      if (stream === undefined) return [];
      const id = parseId("obj", objectId, "objectId");
      return [{ stream, objectId: id, offset: Number(offset), sizeBytes: Number(size) }];
    });
  }
}
