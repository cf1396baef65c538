import { expect, test } from "bun:test";
import { plain } from "../output.ts";
import { formatLogLine } from "./console.ts";

const now = new Date(2026, 10, 24, 7, 8, 9, 10);
const line = (text: string) => formatLogLine("sms", text, plain, now);

test("a line of pino's, with its fields", () => {
  const entry = {
    level: 30,
    time: new Date(2026, 10, 24, 1, 2, 3, 4).toISOString(),
    program: "sms",
    msg: "node registered",
    nodeId: "node_1",
    held: 0,
    said: "two words",
    err: { type: "Error", message: "it broke", stack: "Error: it broke\n at x" },
  };
  expect(line(JSON.stringify(entry))).toBe(
    '01:02:03.004 sms     node registered  nodeId=node_1 held=0 said="two words" err="it broke"',
  );
  expect(line(JSON.stringify({ ...entry, level: 40 }))).toContain("WARN node registered");
  expect(line(JSON.stringify({ level: 50, msg: "x" }))).toBe("07:08:09.010 sms     ERROR x");
});

test("a line of something else is shown as it is, but for control characters", () => {
  expect(line("Segmentation fault")).toBe("07:08:09.010 sms     Segmentation fault");
  expect(line('{"level":30')).toBe('07:08:09.010 sms     {"level":30');
  expect(line("\u001b[2J")).toBe("07:08:09.010 sms     \\x1b[2J");
});
