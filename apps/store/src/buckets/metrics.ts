/** What the store tells Prometheus of what it holds and of the room that is left. */
import type { Metrics } from "@spear/shared/metrics.ts";
import { statfs } from "node:fs/promises";
import type { Buckets } from "./buckets.ts";

/** Buckets that are shown apart; of more, only the first by name. */
const mostBuckets = 1_000;

/** Registers the metrics of the store's contents and of its disk. */
export function registerMetrics(metrics: Metrics, buckets: Buckets, dataDir: string): void {
  const usages = async () => {
    const all = (await buckets.list()).slice(0, mostBuckets);
    return Promise.all(
      all.map(async ({ name }) => ({ bucket: name, ...(await buckets.usage(name)) })),
    );
  };
  metrics.gauge(
    "spear_store_bytes",
    "Bytes that a bucket's names point at.",
    ["bucket"],
    async () => (await usages()).map(({ bucket, sizeBytes }) => [{ bucket }, sizeBytes]),
  );
  metrics.gauge("spear_store_objects", "Objects that a bucket names.", ["bucket"], async () =>
    (await usages()).map(({ bucket, objects }) => [{ bucket }, objects]),
  );
  metrics.gauge("spear_store_free_bytes", "Room on the store's disk.", [], async () => {
    const { bavail, bsize } = await statfs(dataDir);
    return [[{}, bavail * bsize]];
  });
}
