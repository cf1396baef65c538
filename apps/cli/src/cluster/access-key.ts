/**
 * The access key of a development cluster, for S3 clients: made once, and kept in
 * its directory, readable by its owner only, since the Store shows a secret just once.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NewAccessKey } from "../access-key.ts";
import { Client } from "../client.ts";

type Kept = Pick<NewAccessKey, "id" | "secret">;

/** The key of the cluster in `dataDir` whose Store is at `address`; another if the Store no longer knows it. */
export async function developmentKey(dataDir: string, address: string): Promise<Kept> {
  const path = join(dataDir, "access-key.json");
  const store = new Client({
    what: "the Object Store",
    address: `http://${address}`,
    help: "",
    token: undefined,
  });
  if (existsSync(path)) {
    const kept = JSON.parse(readFileSync(path, "utf8")) as Kept;
    const { accessKeys } = await store.json<{ accessKeys: { id: string }[] }>(
      "GET",
      "/v1/access-keys",
    );
    if (accessKeys.some(({ id }) => id === kept.id)) return kept;
  }
  const { id, secret } = await store.json<NewAccessKey>("POST", "/v1/access-keys", {
    body: { description: "spear dev" },
  });
  writeFileSync(path, `${JSON.stringify({ id, secret })}\n`, { mode: 0o600 });
  return { id, secret };
}
