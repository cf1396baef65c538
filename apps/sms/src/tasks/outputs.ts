/** Publishing staged outputs under their final names; repeating it changes nothing. */
import { Fault, type Problem } from "@spear/shared/fault.ts";
import type { OutputObject } from "@spear/shared/task.ts";

/** Bucket where nodes put outputs until their attempt has won. */
export const stagingBucket = "spear-staging";
const requestMs = 10_000;

export class OutputPublisher {
  readonly #storeUrl: string;

  /** `storeUrl` as `http://127.0.0.1:7720`; empty if the cluster has no store. */
  constructor(storeUrl: string) {
    this.#storeUrl = storeUrl;
  }

  /** Names every output; throws `unavailable` if the store can't be reached. */
  async publish(outputs: readonly OutputObject[]): Promise<void> {
    for (const { object, objectId } of outputs) {
      const at = object.indexOf("/");
      await this.#call("POST", "/v1/copies", {
        objectId,
        bucket: object.slice(0, at),
        key: object.slice(at + 1),
      });
    }
  }

  async #call(method: string, path: string, body: unknown): Promise<void> {
    let response: Response;
    try {
      response = await fetch(this.#storeUrl + path, {
        method,
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(requestMs),
      });
    } catch (error) {
      throw new Fault("unavailable", `the Object Store at ${this.#storeUrl} does not answer`, {
        help: "check that it runs and that --store-url is its address",
        cause: error,
      });
    }
    if (response.ok) return;
    throw Fault.fromProblem((await response.json().catch(() => ({}))) as Partial<Problem>);
  }
}
