/**
 * Replays the journal: each record is the script that made it, under the same
 * generation. In their order, records may be replayed onto a state that has seen
 * some of them already, and the state comes out the same.
 */
import { Fault } from "@spear/shared/fault.ts";
import { bucketScripts } from "../buckets/buckets.ts";
import { collectScript } from "../lifecycle/collector.ts";
import { moveScript } from "../lifecycle/compactor.ts";
import { keepScript } from "../lifecycle/lifecycle.ts";
import { objectScripts } from "../objects/redis.ts";
import { changeScript, type StoreScripts } from "../objects/scripts.ts";
import type { JournalRecord } from "./file.ts";
import restoreLua from "./restore.lua" with { type: "text" };

const restoreScript = changeScript("restore", 0, restoreLua);
const unconditional = ["", "", ""] as const;

/** Replays one record. Errors: `internal` for one that nobody knows. */
export async function replay(scripts: StoreScripts, record: JournalRecord): Promise<void> {
  const { generation, fields } = record;
  const value = (name: string): Buffer => fields.get(name) ?? Buffer.alloc(0);
  const names = (): string => scripts.keys.names(value("bucket").toString());
  const op = value("op").toString();
  switch (op) {
    case "bucket":
      await scripts.replay(bucketScripts.create, [], generation, [value("bucket"), value("now")]);
      return;
    case "unbucket":
      await scripts.replay(bucketScripts.remove, [names()], generation, [value("bucket")]);
      return;
    case "rules":
      await scripts.replay(bucketScripts.rules, [], generation, ["bucket", "rules"].map(value));
      return;
    case "put":
      await scripts.replay(objectScripts.commit, [names(), names()], generation, [
        ...["bucket", "key", "id", "record", "locations", "now"].map(value),
        ...unconditional,
      ]);
      return;
    case "delete":
      await scripts.replay(objectScripts.delete, [names()], generation, [
        ...["bucket", "key", "now"].map(value),
        ...unconditional,
      ]);
      return;
    case "copy":
      await scripts.replay(objectScripts.copy, [names(), names()], generation, [
        ...["bucket", "key", "source"].map(value),
        "",
        "",
        value("now"),
        ...unconditional,
        "",
        "",
      ]);
      return;
    case "pin":
    case "unpin":
    case "ref":
    case "unref":
      await scripts.replay(keepScript, [], generation, [
        op,
        ...["id", "now", "holder", "ends"].map(value),
        Number.MAX_SAFE_INTEGER,
      ]);
      return;
    case "collect":
      await scripts.replay(collectScript, [], generation, [value("id"), 0, 0]);
      return;
    case "move":
      await scripts.replay(moveScript, [], generation, [
        ...["hash", "from", "to", "bytes"].map(value),
        0,
      ]);
      return;
    case "restore":
      await scripts.replay(
        restoreScript,
        [],
        generation,
        ["id", "record", "locations", "now"].map(value),
      );
      return;
    default:
      throw new Fault("internal", `the journal has a record of an unknown kind: ${op}`);
  }
}
