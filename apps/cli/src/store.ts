/**
 * `spear store fsck|rebuild|scrub|backup|backups|restore`: what an operator does
 * to a store. They run where the Store runs, with its configuration. fsck,
 * rebuild and restore want it stopped; scrub and backup run beside it.
 */
import { Fault } from "@spear/shared/fault.ts";
import { terminationSignal } from "@spear/shared/lifecycle.ts";
import { createLog } from "@spear/shared/log.ts";
import { parseCommandLine, usageOf } from "@spear/shared/program.ts";
import { sizeBytes } from "@spear/shared/units.ts";
import { storeToolConfig, type StoreToolConfig } from "@spear/store/config.ts";
import { formats, Output, plain, type Column, type Format } from "./output.ts";
import { Line } from "./progress.ts";
import { formatBytes } from "./values.ts";

interface Run {
  config: StoreToolConfig;
  /** Where a backup lies. */
  place: string;
  output: Output;
  line: Line;
  signal: AbortSignal;
}

interface Action {
  brief: string;
  takesPlace?: boolean;
  /** Resolves with the exit code. */
  run: (run: Run) => Promise<number>;
}

/** Remarks only: what is found is the command's answer. */
const log = createLog("store", "error");

const findingColumns: readonly Column<{
  kind: string;
  subject: string;
  detail: string;
  mended: boolean;
}>[] = [
  ["FOUND", ({ kind }) => kind],
  ["WHAT", ({ subject }) => subject],
  ["DETAIL", ({ detail }) => detail],
  ["NOW", ({ mended }) => (mended ? "put right" : "is so")],
];

async function fsck({ config, output, line }: Run): Promise<number> {
  const { fsckStore } = await import("@spear/store/lifecycle/maintenance.ts");
  const report = await fsckStore(config, config.fix, log, (what) => line.show(what));
  line.end();
  const left = report.findings.filter(({ mended }) => !mended).length;
  const { objects, chunks, blobs, findings } = report;
  if (output.format !== "table") await output.done({ ...report, left }, "");
  else {
    if (findings.length > 0) await output.many(findings, findingColumns);
    const said = `${objects} objects, ${chunks} chunks, ${blobs} blobs`;
    const wrong = `${findings.length} found, ${findings.length - left} put right${config.fix ? "" : "; --fix puts right what can be"}`;
    await output.done(report, `${said}: ${findings.length === 0 ? "all is well" : wrong}`);
  }
  return left === 0 ? 0 : 1;
}

async function rebuild({ config, output }: Run): Promise<number> {
  const { rebuildStore } = await import("@spear/store/lifecycle/maintenance.ts");
  const changes = await rebuildStore(config, log);
  await output.done({ changes }, `made the metadata again from ${changes} changes`);
  return 0;
}

function rateOf(text: string): number {
  const bytes = text === "max" ? Number.POSITIVE_INFINITY : sizeBytes(text);
  if (bytes > 0) return bytes;
  throw new Fault("invalid_argument", `--rate: "${text}" is no rate`, {
    field: "--rate",
    help: "write it as 64Mi or 1G, in a second, or max",
  });
}

async function scrub({ config, output, line, signal }: Run): Promise<number> {
  const { scrubStore } = await import("@spear/store/lifecycle/maintenance.ts");
  const rate = rateOf(config.rate);
  const report = await scrubStore(config, rate, signal, log, (chunks, bytes) =>
    line.show(`read ${chunks} chunks, ${formatBytes(bytes)}`),
  );
  line.end();
  const { chunks, bytes, damaged } = report;
  if (output.format !== "table") await output.done(report, "");
  else {
    if (damaged.length > 0) {
      await output.many(damaged, [
        ["CHUNK", ({ chunk }) => chunk],
        ["OF", ({ objectId }) => objectId],
        ["DETAIL", ({ detail }) => detail],
      ]);
    }
    const said = damaged.length === 0 ? "all are whole" : `${damaged.length} are damaged`;
    await output.done(report, `${chunks} chunks, ${formatBytes(bytes)}: ${said}`);
  }
  return damaged.length === 0 ? 0 : 1;
}

interface Copied {
  cut: string;
  objects: number;
  chunks: number;
  bytes: number;
  known: number;
  damaged: string[];
}

/** What a backup or a restore did. */
async function tellCopied(output: Output, report: Copied, verb: string): Promise<number> {
  const { cut, objects, chunks, bytes, known, damaged } = report;
  const lines = [
    `${verb} ${cut}: ${objects} objects, ${chunks} chunks copied (${formatBytes(bytes)}), ${known} there already`,
    ...damaged.map((hash) => `damaged or missing: chunk ${hash}`),
  ];
  if (output.format !== "table") await output.done(report, "");
  else for (const said of lines) await output.done(report, said);
  return damaged.length === 0 ? 0 : 1;
}

async function backup({ config, place, output, line, signal }: Run): Promise<number> {
  const { backupStore } = await import("@spear/store/backup/backup.ts");
  const report = await backupStore(config, place, signal, log, ({ chunks, bytes, known }) =>
    line.show(`copied ${chunks} chunks, ${formatBytes(bytes)}; ${known} there already`),
  );
  line.end();
  return tellCopied(output, report, "took");
}

async function backups({ config, place, output }: Run): Promise<number> {
  const { listCuts } = await import("@spear/store/backup/backup.ts");
  const cuts = (await listCuts(config, place)).map((cut) => ({ cut }));
  await output.many(cuts, [["CUT", ({ cut }) => cut]]);
  return 0;
}

async function restore({ config, place, output, line, signal }: Run): Promise<number> {
  const { restoreStore } = await import("@spear/store/backup/restore.ts");
  const report = await restoreStore(config, place, config.cut, signal, log, ({ chunks, bytes }) =>
    line.show(`restored ${chunks} chunks, ${formatBytes(bytes)}`),
  );
  line.end();
  return tellCopied(output, report, "restored");
}

const storeActions: Readonly<Record<string, Action>> = {
  fsck: { brief: "checks a store that does not run, and with --fix mends it", run: fsck },
  rebuild: { brief: "makes the metadata again after Redis was lost", run: rebuild },
  scrub: { brief: "reads everything again and verifies it", run: scrub },
  backup: { brief: "backs up to a directory or s3://BUCKET/PREFIX", takesPlace: true, run: backup },
  backups: { brief: "lists the cuts of a backup", takesPlace: true, run: backups },
  restore: { brief: "restores a backup into an empty store", takesPlace: true, run: restore },
};

/** Takes `-o json` and what stands for a place out of the words. */
function split(words: readonly string[]) {
  const flags: string[] = [];
  const others: string[] = [];
  let format = "table";
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? "";
    if (word === "-o" || word === "--format") format = words[++at] ?? "";
    else if (word.startsWith("--format=")) format = word.slice("--format=".length);
    else if (word === "--fix" || word === "--help" || word === "-h" || word.includes("=")) {
      flags.push(word);
    } else if (word.startsWith("-")) flags.push(word, ...words.slice(++at, at + 1));
    else others.push(word);
  }
  return { flags, others, format };
}

/** Runs `spear store NAME WORDS…`; resolves with the exit code. */
export async function runStoreAction(name: string, words: readonly string[]): Promise<number> {
  const action = Object.hasOwn(storeActions, name) ? storeActions[name] : undefined;
  if (action === undefined) {
    throw new Fault("invalid_argument", `spear store knows no "${name}"`, {
      field: "--help",
      help: `it knows ${Object.keys(storeActions).join(", ")}`,
    });
  }
  const { flags, others, format } = split(words);
  const program = {
    name: "store",
    summary: `spear store ${name}: ${action.brief}.`,
    config: storeToolConfig,
    start: () => Promise.reject(new Error("it is no program")),
  };
  const parsed = parseCommandLine(program, flags, process.env);
  if (parsed === undefined) {
    const usage = `spear store ${name}${action.takesPlace === true ? " PLACE" : ""} [-o FORMAT] [flags]`;
    process.stdout.write(usageOf(program).replace("spear store [flags]", usage));
    return 0;
  }
  const [place = "", ...extra] = others;
  if ((action.takesPlace === true) !== (place !== "") || extra.length > 0) {
    throw new Fault(
      "invalid_argument",
      action.takesPlace === true
        ? `spear store ${name} takes one place: a directory or s3://BUCKET/PREFIX`
        : `spear store ${name} takes no "${place}"`,
      { field: "--help" },
    );
  }
  if (!(formats as readonly string[]).includes(format)) {
    throw new Fault("invalid_argument", `--format: must be one of ${formats.join(", ")}`, {
      field: "--format",
    });
  }
  const output = new Output(format as Format, plain);
  using line = new Line();
  return await action.run({ config: parsed, place, output, line, signal: terminationSignal() });
}
