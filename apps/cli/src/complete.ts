/**
 * What can follow on a command line: the words that the shell's completion
 * offers. Commands and options come from the command tree, ids and names from
 * the cluster; when that does not answer, there are none.
 */
import type { Argument, Command, Option } from "commander";
import type { Session } from "./session.ts";

const most = 100;

/** The command that words lead to, and what is left open behind them. */
interface Place {
  command: Command;
  /** The option whose value comes next. */
  option: Option | undefined;
  /** How many arguments of the command were given. */
  given: number;
  /** Behind `--`: nothing of ours. */
  closed: boolean;
}

function optionsOf(command: Command): Option[] {
  const own = command.options.filter(({ hidden }) => !hidden);
  return command.parent === null ? own : [...own, ...optionsOf(command.parent)];
}

function placeOf(program: Command, words: readonly string[]): Place {
  const place: Place = { command: program, option: undefined, given: 0, closed: false };
  for (const word of words) {
    if (place.option !== undefined) place.option = undefined;
    else if (word === "--") place.closed = true;
    else if (word.startsWith("-")) {
      const option = optionsOf(place.command).find(({ short, long }) =>
        [short, long].includes(word),
      );
      if (option?.required === true) place.option = option;
    } else {
      const inner = place.command.commands.find((command) => command.name() === word);
      if (inner === undefined) place.given += 1;
      else place.command = inner;
    }
  }
  return place;
}

/** The argument of the command that comes after `given` others. */
function argumentAt({ command, given }: Place): Argument | undefined {
  const all = command.registeredArguments;
  const last = all.at(-1);
  return all[given] ?? (last?.variadic === true ? last : undefined);
}

/** What may stand in place of the last of `words`, which is not complete yet. */
export async function candidates(
  program: Command,
  words: readonly string[],
  session: Session,
): Promise<string[]> {
  const typed = words.at(-1) ?? "";
  const place = placeOf(program, words.slice(0, -1));
  const found = await wordsAt(place, typed, session).catch(() => []);
  return found.filter((word) => word.startsWith(typed)).slice(0, most);
}

async function wordsAt(place: Place, typed: string, session: Session): Promise<readonly string[]> {
  const { command, option, closed } = place;
  if (closed) return [];
  if (option !== undefined) {
    if (option.argChoices !== undefined) return option.argChoices;
    return option.long === "--node" ? ids(session, "nodes") : [];
  }
  if (typed.startsWith("-")) return optionsOf(command).flatMap(({ long }) => long ?? []);
  if (command.commands.length > 0) {
    const shown = command.createHelp().visibleCommands(command);
    return shown.map((inner) => inner.name());
  }
  const argument = argumentAt(place);
  if (argument?.argChoices !== undefined) return argument.argChoices;
  const name = argument?.name() ?? "";
  if (name === "id") return ids(session, `${command.parent?.name() ?? ""}s`);
  if (name.startsWith("BUCKET")) return objects(session, typed);
  return name === "name" && command.parent?.name() === "bucket" ? buckets(session) : [];
}

/** Ids of what SMS lists under that name: tasks, jobs or nodes. */
async function ids({ sms }: Session, list: string): Promise<string[]> {
  const query = list === "nodes" ? {} : { pageSize: most };
  const answer = await sms.json<Record<string, { id: string }[]>>("GET", `/v1/${list}`, { query });
  return (answer[list] ?? []).map(({ id }) => id);
}

async function buckets({ store }: Session): Promise<string[]> {
  const answer = await store.json<{ buckets: { name: string }[] }>("GET", "/v1/buckets");
  return answer.buckets.map(({ name }) => name);
}

/** Buckets, or a bucket's keys up to the next slash. */
async function objects(session: Session, typed: string): Promise<string[]> {
  const slash = typed.indexOf("/");
  if (slash < 0) return (await buckets(session)).map((name) => `${name}/`);
  const bucket = typed.slice(0, slash);
  const page = await session.store.json<{ objects: { key: string }[]; prefixes: string[] }>(
    "GET",
    `/v1/buckets/${encodeURIComponent(bucket)}/objects`,
    { query: { prefix: typed.slice(slash + 1), delimiter: "/", pageSize: most } },
  );
  return [...page.prefixes, ...page.objects.map(({ key }) => key)].map((key) => `${bucket}/${key}`);
}
