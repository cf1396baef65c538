import { Fault } from "@spear/shared/fault.ts";
import { describe, expect, test } from "bun:test";
import { checkCron, dueTimes, nextAfter } from "./times.ts";

const at = (text: string) => Date.parse(text);
const hourly = { cron: "0 * * * *" };

describe("the next time", () => {
  test("is after the one given, in the time zone of the schedule", () => {
    expect(nextAfter(hourly, at("2026-03-01T10:00:00Z"))).toBe(at("2026-03-01T11:00:00Z"));
    const morning = { cron: "30 2 * * *", timeZone: "Europe/Berlin" };
    expect(nextAfter(morning, at("2026-01-10T00:00:00Z"))).toBe(at("2026-01-10T01:30:00Z"));
    expect(nextAfter(morning, at("2026-07-10T00:00:00Z"))).toBe(at("2026-07-10T00:30:00Z"));
  });

  test("comes once on the days on which clocks change", () => {
    const morning = { cron: "30 2 * * *", timeZone: "Europe/Berlin" };
    for (const [from, until] of [
      ["2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z"],
      ["2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"],
    ] as const) {
      const { times } = dueTimes(morning, at(from), at(until), 10);
      expect(times).toHaveLength(2);
    }
  });

  test("of an impossible date is none", () => {
    expect(() => checkCron({ cron: "0 0 31 2 *" }, "spec")).toThrow(Fault);
  });
});

describe("due times", () => {
  test("are the one that is on time and the latest of those missed", () => {
    const now = at("2026-03-01T10:00:01Z");
    expect(dueTimes(hourly, at("2026-03-01T09:00:00Z"), now, 0)).toEqual({
      times: [at("2026-03-01T10:00:00Z")],
      passed: 0,
    });
    expect(dueTimes(hourly, at("2026-03-01T05:30:00Z"), now, 2)).toEqual({
      times: [at("2026-03-01T08:00:00Z"), at("2026-03-01T09:00:00Z"), at("2026-03-01T10:00:00Z")],
      passed: 2,
    });
    expect(dueTimes(hourly, at("2026-03-01T05:30:00Z"), at("2026-03-01T10:30:00Z"), 1)).toEqual({
      times: [at("2026-03-01T10:00:00Z")],
      passed: 4,
    });
  });

  test("are found soon after years of absence", () => {
    const now = at("2026-03-01T10:00:00.500Z");
    const startedMs = performance.now();
    const { times, passed } = dueTimes({ cron: "* * * * * *" }, at("2016-01-01T00:00:00Z"), now, 2);
    expect(times).toEqual([now - 2_500, now - 1_500, now - 500]);
    expect(passed).toBeGreaterThan(1_000);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });

  test("are none where nothing came", () => {
    const from = at("2026-03-01T10:00:00Z");
    expect(dueTimes(hourly, from, from + 1_000, 5)).toEqual({ times: [], passed: 0 });
  });
});

test.each([
  [{ cron: "soon" }, "spec.cron: "],
  [{ cron: "61 * * * *" }, "spec.cron: "],
  [{ cron: "0 3 * * *", timeZone: "Mars/Olympus" }, 'spec.timeZone: there is no time zone "Mars'],
])("%o is refused: %s", (cron, said) => {
  let message = "";
  try {
    checkCron(cron, "spec");
  } catch (error) {
    message = (error as Fault).message;
  }
  expect(message).toStartWith(said);
});
