/**
 * `spear demo`: the main job on real text, with every real part. A two-node
 * cluster in a temporary directory counts words in parallel, merges the counts
 * and is gone afterwards. It fails unless the counts are right.
 */
import { Fault } from "@spear/shared/fault.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import type { Command } from "commander";
import { mkdtemp, rm } from "node:fs/promises";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "./client.ts";
import { startCluster, type Cluster } from "./cluster/cluster.ts";
import { formatLogLine } from "./cluster/console.ts";
import { gatherCorpus } from "./demo/corpus.ts";
import { timeline, topWords, whereabouts } from "./demo/report.ts";
import { countOnCluster, type WordCount } from "./demo/wordcount.ts";
import { Interrupts } from "./interrupts.ts";
import { plain, write } from "./output.ts";
import { sessionOf, type Session } from "./session.ts";
import { formatBytes, formatDuration } from "./values.ts";

const nodes = 2;
const shownWords = 10;
/** Lines of the cluster's log that are kept, to be shown if the demo fails. */
const maxKeptLines = 200;

interface DemoOptions {
  redis?: string;
  save?: string;
  verbose?: boolean;
}

export function addDemo(program: Command): void {
  program
    .command("demo")
    .summary("count words on a cluster of two nodes, and clean up")
    .description(
      "Starts a cluster of two nodes in a temporary directory, stores some MB of real text in parts,\n" +
        "counts the words of each part in a task of its own, merges the counts in a last task, checks\n" +
        "the result and shows what happened where. Then everything is stopped and removed.",
    )
    .option("--redis <url>", "use this Redis, under keys of its own, and start none")
    .option("--save <directory>", "keep the text (corpus.txt) and the result (counts.txt) there")
    .option("--verbose", "show the cluster's log")
    .action(async (options: DemoOptions, command: Command) => {
      await demo(options, sessionOf(command));
    });
}

async function demo(options: DemoOptions, { output }: Session): Promise<void> {
  const kept: string[] = [];
  const stop = new AbortController();
  using interrupts = new Interrupts((signal) => stop.abort(new Error(`ended by ${signal}`)));
  const startedAt = performance.now();
  const say = (text: string) => {
    const at = formatDuration(performance.now() - startedAt);
    process.stderr.write(`${at.padStart(6)}  ${text}\n`);
  };
  const onLine = (name: string, line: string) => {
    const shown = formatLogLine(name, line, plain, new Date());
    if (options.verbose === true) process.stderr.write(`${shown}\n`);
    else if (kept.push(shown) > maxKeptLines) kept.shift();
  };
  try {
    const directory = await mkdtemp(join(tmpdir(), "spear-demo-"));
    await using cleanUp = new AsyncDisposableStack();
    cleanUp.defer(() => rm(directory, { recursive: true, force: true }));
    const namespace = `demo-${crypto.randomUUID().slice(0, 8)}`;
    const { redis } = options;
    if (redis !== undefined) cleanUp.defer(() => removeKeys(redis, namespace));
    say(`starting redis-server, the Object Store, SMS and ${nodes} nodes`);
    const cluster = cleanUp.use(
      await startCluster(
        {
          dataDir: directory,
          nodes,
          listen: { host: "127.0.0.1", port: 0 },
          redisUrl: redis,
          namespace,
          cwd: directory,
          onLine,
          onTrouble: onLine,
        },
        stop.signal,
      ),
    );
    const corpus = await gatherCorpus();
    say(`${formatBytes(corpus.text.length)} of text from ${corpus.files} files on this machine`);
    const counted = await countOnCluster(clientsOf(cluster), corpus.text, {
      directory,
      say,
      signal: stop.signal,
    });
    say("the counts were read back from the store and are right");
    if (options.save !== undefined) {
      await Bun.write(join(options.save, "corpus.txt"), corpus.text);
      await Bun.write(join(options.save, "counts.txt"), counted.result);
    }
    if (output.format === "table") {
      await write(process.stdout, reportOf(counted, cluster, directory, output.paint));
    } else await output.done(summaryOf(counted), "");
    say(`stopping the cluster and removing ${directory}`);
  } catch (error) {
    if (interrupts.first !== undefined) {
      process.exitCode = 128 + constants.signals[interrupts.first];
      return;
    }
    process.stderr.write(kept.map((line) => `${line}\n`).join(""));
    throw error;
  }
  say("done");
}

function clientsOf({ sms, store }: Cluster): { sms: Client; store: Client } {
  const client = (what: string, address: string) =>
    new Client({
      what,
      address: `http://${address}`,
      help: "the log above says more",
      token: undefined,
    });
  return { sms: client("SMS", sms.http), store: client("the Object Store", store.http) };
}

function summaryOf({ counts, tasks, objects }: WordCount): unknown {
  return {
    words: sumOf(counts),
    distinct: counts.size,
    top: [...counts].slice(0, shownWords).map(([word, count]) => ({ word, count })),
    tasks,
    objects,
  };
}

const sumOf = (counts: ReadonlyMap<string, number>) =>
  [...counts.values()].reduce((sum, count) => sum + count, 0);

function reportOf(
  { counts, tasks, nodeNames, objects }: WordCount,
  cluster: Cluster,
  directory: string,
  paint: Session["output"]["paint"],
): string {
  const places = [
    ["records, queues and names", cluster.redisUrl],
    ["bytes of the objects", join(directory, "store")],
    ...cluster.nodes.map((name) => [`work and output of ${name}`, join(directory, name)] as const),
  ] as const;
  const total = `${sumOf(counts)} words, ${counts.size} different ones; the most frequent:`;
  return `
${paint("bold", total)}
${topWords(counts, shownWords)}
${paint("bold", "When each task ran, and on which node:")}
${timeline(tasks, nodeNames)}
${paint("bold", "Where each thing lived:")}
${whereabouts(objects, places, paint)}
`;
}

/** Takes the demo's keys out of a Redis that is not ours. */
async function removeKeys(url: string, namespace: string): Promise<void> {
  // Loaded when it is wanted: no other command pays for it.
  const [{ connectRedis }, { silentLog }] = await Promise.all([
    import("@spear/shared/redis/client.ts"),
    import("@spear/shared/log.ts"),
  ]);
  const redis = connectRedis(url, "commands", silentLog);
  try {
    for await (const keys of redis.scanStream({
      match: `${new Keys(namespace).tag}*`,
      count: 1_000,
    })) {
      const found = keys as string[];
      if (found.length > 0) await redis.unlink(found);
    }
  } catch (error) {
    throw new Fault("unavailable", "the demo's keys could not be removed from Redis", {
      cause: error,
    });
  } finally {
    redis.disconnect();
  }
}
