/** `spear dev`: a whole cluster on this machine, until Ctrl-C. */
import { aborted } from "@spear/shared/lifecycle.ts";
import { InvalidArgumentError, Option, type Command } from "commander";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { NewAccessKey } from "./access-key.ts";
import { developmentKey } from "./cluster/access-key.ts";
import { startCluster, type Cluster } from "./cluster/cluster.ts";
import { formatLogLine } from "./cluster/console.ts";
import { Interrupts } from "./interrupts.ts";
import { coloured, plain, wantsColour, type Paint } from "./output.ts";
import { defaultAddress, defaultStoreAddress } from "./session.ts";
import { parseCount } from "./values.ts";

const maxNodes = 64;

interface DevOptions {
  nodes: number;
  dataDir: string;
  listen: { host: string; port: number };
  redis?: string;
  namespace: string;
  color: boolean;
}

function parseNodes(text: string): number {
  const count = parseCount(text);
  if (count < 1 || count > maxNodes) throw new InvalidArgumentError(`Write 1 to ${maxNodes}.`);
  return count;
}

function parseListen(text: string): DevOptions["listen"] {
  const at = text.lastIndexOf(":");
  const port = Number(text.slice(at + 1));
  if (at < 1 || !/:\d{1,5}$/.test(text) || port + 21 > 65_535) {
    throw new InvalidArgumentError("Write it as 127.0.0.1:7700; port 0 takes any free ones.");
  }
  return { host: text.slice(0, at), port };
}

function defaultDataDir(): string {
  const base = process.env["XDG_DATA_HOME"] ?? "";
  return join(base === "" ? join(homedir(), ".local", "share") : base, "spear", "dev");
}

export function addDev(program: Command): void {
  program
    .command("dev")
    .summary("run a whole cluster on this machine")
    .description(
      "Runs redis-server, the Object Store, SMS and some nodes, each as its own process, and shows\n" +
        "their log. What dies is started again. Ctrl-C stops all; the state stays for the next start.",
    )
    .option("--nodes <count>", "number of nodes", parseNodes, 1)
    .addOption(
      new Option("--data-dir <directory>", "where all state goes").default(
        defaultDataDir(),
        "~/.local/share/spear/dev",
      ),
    )
    .addOption(
      new Option(
        "--listen <host:port>",
        "where SMS listens; its gRPC is at the next port, the Store at +20 and +21, and 0 takes any free ports",
      )
        .argParser(parseListen)
        .default({ host: "127.0.0.1", port: 7700 }, "127.0.0.1:7700"),
    )
    .option("--redis <url>", "use this Redis, as redis://127.0.0.1:6379, and start none")
    .option("--namespace <name>", "prefix of all keys in Redis", "spear")
    .action(async (_: unknown, command: Command) => {
      await dev(command.optsWithGlobals<DevOptions>());
    });
}

async function dev(options: DevOptions): Promise<void> {
  const paint = wantsColour(process.stderr, options.color, process.env) ? coloured : plain;
  const say = (name: string, line: string) => {
    process.stderr.write(`${formatLogLine(name, line, paint, new Date())}\n`);
  };
  const stop = new AbortController();
  let cluster: Cluster | undefined;
  using interrupts = new Interrupts(
    (signal) => {
      say("dev", `${signal}: stopping; once more ends everything at once`);
      stop.abort(new Error(`ended by ${signal}`));
    },
    () => cluster?.kill(),
  );
  try {
    cluster = await startCluster(
      {
        ...options,
        dataDir: resolve(options.dataDir),
        redisUrl: options.redis,
        cwd: process.cwd(),
        onLine: say,
        onTrouble: say,
      },
      stop.signal,
    );
  } catch (error) {
    if (interrupts.first !== undefined) return;
    throw error;
  }
  try {
    const key = await developmentKey(resolve(options.dataDir), cluster.store.http);
    process.stdout.write(banner(cluster, key, options, paint));
    await aborted(stop.signal);
  } finally {
    await cluster[Symbol.asyncDispose]();
  }
  say("dev", "stopped");
}

/** Where things are, and what to try. */
export function banner(
  { sms, store, nodes }: Pick<Cluster, "sms" | "store" | "nodes">,
  key: Pick<NewAccessKey, "id" | "secret">,
  { dataDir }: Pick<DevOptions, "dataDir">,
  paint: Paint,
): string {
  const spear = process.env["SPEAR_COMMAND"] ?? "spear";
  const addresses = [
    [`http://${sms.http}`, defaultAddress, "SPEAR_ADDRESS"],
    [`http://${store.http}`, defaultStoreAddress, "SPEAR_STORE_ADDRESS"],
  ] as const;
  const exports = addresses
    .filter(([address, usual]) => address !== usual)
    .map(([address, , variable]) => `  export ${variable}=${address}\n`)
    .join("");
  return `
${paint("green", "SPEAR is ready.")} Ctrl-C stops it; its state stays in ${resolve(dataDir)}

  SMS     http://${sms.http}  (API: /docs)  gRPC ${sms.grpc}
  Store   http://${store.http}  (API: /docs)  gRPC ${store.grpc}
  S3      http://${store.http}  with AWS_ACCESS_KEY_ID=${key.id} AWS_SECRET_ACCESS_KEY=${key.secret}
  Nodes   ${nodes.join(", ")}

Try in another terminal:
${exports}  ${spear} run -- sh -c 'echo hello from $(hostname)'
  ${spear} node ls
  ${spear} task ls

`;
}
