/**
 * The frame that every program's main runs in: flags from its configuration
 * schema, `--help` made from it, one line when it is ready, an orderly end.
 */
import type { Static, TObject, TSchema } from "@sinclair/typebox";
import { parseArgs } from "node:util";
import { environmentOf, flagOf, loadConfig } from "./config.ts";
import { Fault, faultLines } from "./fault.ts";
import { aborted, lifelineSignal, terminationSignal } from "./lifecycle.ts";
import { createLog, type Log } from "./log.ts";

/** A started program; where it listens, as `127.0.0.1:7700`. */
export interface Started extends AsyncDisposable {
  readonly http: string;
  readonly grpc: string;
}

export interface Program<S extends TObject> {
  /** `sms`: names the section of spear.yaml and the environment's variables. */
  name: string;
  /** One sentence for `--help`. */
  summary: string;
  /** Has a `logLevel` among its properties. */
  config: S;
  start(config: Static<S>, deps: { log: Log }): Promise<Started>;
}

/** What a shell may write for a property beside its flag. */
const aliases: Readonly<Record<string, string>> = { listen: "httpListen" };

/** How long a stopped program may take to end by itself. */
const lingerMs = 250;

/** A setting that is no flag, marked `secret: true` in its schema. */
const isSecret = (rule: unknown) => (rule as TSchema)["secret"] === true;

const name = (property: string) => flagOf(property).slice("--".length);

/**
 * The configuration that the command line, the environment and spear.yaml give;
 * undefined if help was asked for. Throws `invalid_argument` naming the flag.
 */
export function parseCommandLine<S extends TObject>(
  program: Program<S>,
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Static<S> | undefined {
  // Every process on the machine can read a command line: secrets come another way.
  const properties = Object.entries(program.config.properties).filter(
    ([, rule]) => !isSecret(rule),
  );
  const byFlag = new Map(properties.map(([property]) => [name(property), property]));
  for (const [alias, property] of Object.entries(aliases)) byFlag.set(alias, property);
  const type = (property: string) =>
    (program.config.properties[property] as TSchema)["type"] as unknown;
  const { values } = parse(argv, {
    help: { type: "boolean", short: "h" },
    config: { type: "string" },
    ...Object.fromEntries(
      [...byFlag].map(([flag, property]) => [
        flag,
        type(property) === "boolean"
          ? { type: "boolean" as const }
          : { type: "string" as const, multiple: true as const },
      ]),
    ),
  });
  if (values["help"] === true) return undefined;
  const flags: Record<string, unknown> = {};
  for (const [flag, property] of byFlag) {
    const value = values[flag];
    if (value === undefined) continue;
    if (!Array.isArray(value)) flags[property] = value;
    else if (type(property) === "array" || type(property) === "object") {
      flags[property] = value.join(",");
    } else flags[property] = value.at(-1);
  }
  const file = values["config"] ?? environment["SPEAR_CONFIG"];
  return loadConfig(program.name, program.config, {
    flags,
    environment,
    file:
      typeof file === "string"
        ? { path: file, required: true }
        : { path: "spear.yaml", required: false },
  });
}

type Options = NonNullable<NonNullable<Parameters<typeof parseArgs>[0]>["options"]>;

function parse(argv: readonly string[], options: Options) {
  try {
    return parseArgs({ args: [...argv], options, strict: true, allowPositionals: false });
  } catch (error) {
    const message = (error as Error).message.split(". ")[0] ?? "";
    const flag = /--?[A-Za-z][\w-]*/.exec(message)?.[0];
    throw new Fault("invalid_argument", message.charAt(0).toLowerCase() + message.slice(1), {
      ...(flag === undefined ? {} : { field: flag }),
      help: "see --help for the flags that there are",
    });
  }
}

/** `--help`: one line for each property of the schema, with its variable and default. */
export function usageOf(program: Program<TObject>): string {
  const rows = Object.entries(program.config.properties).map(([property, rule]) => {
    const { description, default: value } = rule as { description?: string; default?: unknown };
    const said = Array.isArray(value) ? value.join(",") : JSON.stringify(value);
    const given = value === undefined || said === "{}" || said === "" ? "" : ` (default ${said})`;
    const aliased = Object.entries(aliases).find(([, target]) => target === property)?.[0];
    return {
      flag: isSecret(rule)
        ? "(no flag)"
        : aliased === undefined
          ? flagOf(property)
          : `${flagOf(property)}, --${aliased}`,
      text: `${description ?? ""}${given}`.trim(),
      variable: environmentOf(program.name, property),
    };
  });
  const width = Math.max(...rows.map(({ flag }) => flag.length), "--config".length) + 2;
  const line = (flag: string, text: string) => `  ${flag.padEnd(width)}${text}\n`;
  return [
    `Usage: spear ${program.name} [flags]\n\n${program.summary}\n\nFlags:\n`,
    line("--config", "YAML file with settings (default spear.yaml, if it is there)"),
    line("--help", "show this"),
    ...rows.map(({ flag, text, variable }) => line(flag, `${text} [${variable}]`)),
  ].join("");
}

/**
 * Runs a program until a signal tells it to end, and with `SPEAR_LIFELINE=stdin`
 * also until standard input ends. Resolves with the exit code: 0, 1 if it can't
 * run, 2 for a wrong command line. Prints one line of JSON on standard output
 * when it is ready.
 */
export async function runProgram<S extends TObject>(
  program: Program<S>,
  argv: readonly string[],
): Promise<number> {
  let config: Static<S> | undefined;
  try {
    config = parseCommandLine(program, argv, process.env);
  } catch (error) {
    process.stderr.write(faultLines(Fault.from(error)));
    return 2;
  }
  if (config === undefined) {
    process.stdout.write(usageOf(program));
    return 0;
  }
  const level = (config as { logLevel?: unknown }).logLevel;
  const log = createLog(program.name, typeof level === "string" ? level : "info");
  const end =
    process.env["SPEAR_LIFELINE"] === "stdin"
      ? AbortSignal.any([terminationSignal(), lifelineSignal()])
      : terminationSignal();
  try {
    await using started = await program.start(config, { log });
    const { http, grpc } = started;
    process.stdout.write(`${JSON.stringify({ ready: true, program: program.name, http, grpc })}\n`);
    await aborted(end);
    log.info({ reason: String(end.reason) }, "stopping");
  } catch (error) {
    const fault = Fault.from(error);
    if (fault.code === "internal") log.fatal({ err: fault.cause ?? fault }, "internal error");
    process.stderr.write(faultLines(fault));
    endSoon(log, 1);
    return 1;
  }
  endSoon(log, 0);
  return 0;
}

/** Everything was disposed of: what some library forgot to close must not keep the process. */
function endSoon(log: Log, code: number): void {
  const linger = setTimeout(() => {
    log.debug({ lingerMs }, "something was left open");
    process.exit(code);
  }, lingerMs);
  linger.unref();
}
