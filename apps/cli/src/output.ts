/**
 * What commands print: a table for people, or JSON or YAML for programs, on
 * standard output; remarks on standard error. Control characters that came from
 * elsewhere are shown, not sent to the terminal.
 */
import { stringify } from "yaml";

export const formats = ["table", "json", "yaml"] as const;
export type Format = (typeof formats)[number];

/** A column: its heading, and a row's cell. */
export type Column<T> = readonly [heading: string, cell: (row: T) => string];

type Colour = "red" | "green" | "yellow" | "blue" | "magenta" | "cyan" | "dim" | "bold";
const codes: Readonly<Record<Colour, number>> = {
  bold: 1,
  dim: 2,
  red: 31,
  green: 32,
  yellow: 33,
  blue: 34,
  magenta: 35,
  cyan: 36,
};
const stateColours: Readonly<Record<string, Colour>> = {
  pending: "yellow",
  assigned: "cyan",
  running: "cyan",
  succeeded: "green",
  failed: "red",
  timed_out: "red",
  cancelled: "yellow",
  ready: "green",
  draining: "yellow",
  down: "red",
  left: "dim",
};

/** Makes a text coloured, or leaves it as it is. */
export type Paint = (colour: Colour, text: string) => string;
export const plain: Paint = (_colour, text) => text;
export const coloured: Paint = (colour, text) => `\u001b[${codes[colour]}m${text}\u001b[0m`;

/** True if `stream` should get colours: it is a terminal and nobody objects (https://no-color.org). */
export function wantsColour(
  stream: { isTTY?: boolean },
  asked: boolean,
  environment: Readonly<Record<string, string | undefined>>,
): boolean {
  const refused = (environment["NO_COLOR"] ?? "") !== "" || environment["TERM"] === "dumb";
  return asked && !refused && stream.isTTY === true;
}

/** The text with control characters made visible, so that it can't steer a terminal. */
export function visible(text: string): string {
  // eslint-disable-next-line no-control-regex -- these are what it is about
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, (character) => {
    const code = character.charCodeAt(0);
    return `\\x${code.toString(16).padStart(2, "0")}`;
  });
}

function paintCell(paint: Paint, text: string): string {
  const colour = stateColours[text.trimEnd()];
  return colour === undefined ? text : paint(colour, text);
}

/** Rows below headings, columns as wide as their widest cell. Ends with a line feed. */
export function renderTable<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  paint: Paint,
): string {
  const cells = rows.map((row) => columns.map(([, cell]) => visible(cell(row))));
  const widths = columns.map(([heading], index) =>
    Math.max(heading.length, ...cells.map((row) => (row[index] ?? "").length)),
  );
  const pad = (text: string, index: number) =>
    index === columns.length - 1 ? text : text.padEnd(widths[index] ?? 0);
  const head = columns.map(([heading], index) => paint("bold", pad(heading, index))).join("  ");
  const body = cells.map((row) =>
    row.map((text, index) => paintCell(paint, pad(text, index))).join("  "),
  );
  return [head, ...body].map((line) => `${line.trimEnd()}\n`).join("");
}

/** Names and values, one pair a line; pairs without a value are left out. */
export function renderPairs(
  pairs: readonly (readonly [string, string | undefined])[],
  paint: Paint,
): string {
  const said = pairs.filter((pair): pair is [string, string] => (pair[1] ?? "") !== "");
  const width = Math.max(...said.map(([name]) => name.length)) + 2;
  return said
    .map(([name, text]) => {
      const [first, ...more] = text.split("\n").map(visible);
      const rest = more.map((line) => `${" ".repeat(width)}${line}\n`).join("");
      return `${paint("bold", name.padEnd(width))}${paintCell(paint, first ?? "")}\n${rest}`;
    })
    .join("");
}

/** Writes and waits until the stream has taken it, so that a slow reader slows us down. */
export function write(stream: NodeJS.WritableStream, data: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(data, (error) => (error ? reject(error) : resolve()));
  });
}

export class Output {
  readonly format: Format;
  readonly paint: Paint;

  constructor(format: Format, paint: Paint) {
    this.format = format;
    this.paint = paint;
  }

  /** One thing, with all that is known of it. */
  async one<T>(
    value: T,
    pairs: (value: T) => readonly (readonly [string, string | undefined])[],
  ): Promise<void> {
    await write(
      process.stdout,
      this.format === "table" ? renderPairs(pairs(value), this.paint) : this.#data(value),
    );
  }

  /** Many things; as JSON and YAML one array. */
  async many<T>(values: readonly T[], columns: readonly Column<T>[]): Promise<void> {
    await write(
      process.stdout,
      this.format === "table" ? renderTable(columns, values, this.paint) : this.#data(values),
    );
  }

  /** One of a stream of things: a line of JSON, a YAML document, or a line for people. */
  async item<T>(value: T, line: (value: T) => string): Promise<void> {
    const text =
      this.format === "table"
        ? `${line(value)}\n`
        : this.format === "json"
          ? `${JSON.stringify(value)}\n`
          : `---\n${stringify(value)}`;
    await write(process.stdout, text);
  }

  /** What happened, for people; programs get `value` instead. */
  async done(value: unknown, sentence: string): Promise<void> {
    await write(
      process.stdout,
      this.format === "table" ? `${visible(sentence)}\n` : this.#data(value),
    );
  }

  #data(value: unknown): string {
    return this.format === "json" ? `${JSON.stringify(value, null, 2)}\n` : stringify(value);
  }
}

/** A remark on standard error. */
export function remark(text: string): void {
  process.stderr.write(`spear: ${visible(text)}\n`);
}
