import { describe, expect, test } from "bun:test";
import {
  coloured,
  plain,
  renderPairs,
  renderTable,
  visible,
  wantsColour,
  type Column,
} from "./output.ts";

interface Row {
  name: string;
  state: string;
}
const columns: readonly Column<Row>[] = [
  ["NAME", (row) => row.name],
  ["STATE", (row) => row.state],
];

describe("tables", () => {
  test("columns are as wide as their widest cell, and no line ends in blanks", () => {
    const rows = [
      { name: "a-long-name", state: "running" },
      { name: "b", state: "" },
    ];
    expect(renderTable(columns, rows, plain)).toBe("NAME         STATE\na-long-name  running\nb\n");
  });

  test("no rows leave the headings", () => {
    expect(renderTable(columns, [], plain)).toBe("NAME  STATE\n");
  });

  test("states are coloured without moving the columns", () => {
    const text = renderTable(columns, [{ name: "a", state: "failed" }], coloured);
    expect(text).toContain("\u001b[31mfailed\u001b[0m");
    // eslint-disable-next-line no-control-regex -- takes the colours out again
    expect(text.replaceAll(/\u001b\[\d+m/g, "")).toBe("NAME  STATE\na     failed\n");
  });

  test("what came from elsewhere can't steer the terminal", () => {
    expect(visible("a\u001b[2Jb\nc\u009b")).toBe("a\\x1b[2Jb\\x0ac\\x9b");
    expect(renderTable(columns, [{ name: "\u0007", state: "x" }], plain)).toContain("\\x07");
  });
});

test("pairs leave out what has no value and indent further lines", () => {
  const text = renderPairs(
    [
      ["id", "task_1"],
      ["signal", undefined],
      ["outputs", "one\ntwo"],
    ],
    plain,
  );
  expect(text).toBe("id       task_1\noutputs  one\n         two\n");
});

test("colours need a terminal and nobody who objects", () => {
  const terminal = { isTTY: true };
  expect(wantsColour(terminal, true, {})).toBe(true);
  expect(wantsColour({}, true, {})).toBe(false);
  expect(wantsColour(terminal, false, {})).toBe(false);
  expect(wantsColour(terminal, true, { NO_COLOR: "1" })).toBe(false);
  expect(wantsColour(terminal, true, { NO_COLOR: "" })).toBe(true);
  expect(wantsColour(terminal, true, { TERM: "dumb" })).toBe(false);
});
