/** Times of cron expressions. Pure. */
import { Fault } from "@spear/shared/fault.ts";
import { type CronExpression, CronExpressionParser } from "cron-parser";

/** A time that is acted upon no later than this is on time, in milliseconds. */
const onTimeMs = 10_000;
/** Most missed times that are counted. */
const maxCounted = 2_000;

export interface Cron {
  cron: string;
  timeZone?: string;
}

function expression({ cron, timeZone = "UTC" }: Cron, atMs: number): CronExpression {
  return CronExpressionParser.parse(cron, { currentDate: new Date(atMs), tz: timeZone });
}

/** Throws `invalid_argument` for an expression or a time zone that means nothing. */
export function checkCron(cron: Cron, root: string): void {
  const bad = (name: string, said: string, help: string) =>
    new Fault("invalid_argument", `${root}.${name}: ${said}`, { field: `${root}.${name}`, help });
  try {
    void new Intl.DateTimeFormat("en", { timeZone: cron.timeZone ?? "UTC" });
  } catch {
    throw bad("timeZone", `there is no time zone "${cron.timeZone}"`, "as Europe/Berlin or UTC");
  }
  try {
    expression(cron, 0).next();
  } catch (error) {
    const said = error instanceof Error ? error.message : "is no cron expression";
    throw bad("cron", said, 'as "0 3 * * *", every day at three');
  }
}

/** The first time after `afterMs`; undefined if none will come. */
export function nextAfter(cron: Cron, afterMs: number): number | undefined {
  try {
    return expression(cron, afterMs).next().getTime();
  } catch {
    return undefined;
  }
}

/**
 * The times after `afterMs` up to `nowMs` that are to be acted upon, oldest first: the
 * latest `catchUp` of those missed, and one that is on time. `passed` counts the others,
 * up to some thousands.
 */
export function dueTimes(
  cron: Cron,
  afterMs: number,
  nowMs: number,
  catchUp: number,
): { times: number[]; passed: number } {
  let times: number[] = [];
  let passed = 0;
  let atMs = afterMs;
  for (let count = 1; ; count++) {
    const next = nextAfter(cron, atMs);
    if (next === undefined || next > nowMs) break;
    times.push(next);
    atMs = next;
    if (times.length > catchUp + 1) {
      times = times.slice(1);
      passed += 1;
    }
    if (count === maxCounted) {
      // Far behind: go on where the last few must be.
      const apart = (atMs - afterMs) / maxCounted;
      atMs = Math.max(atMs, nowMs - 2 * apart * (catchUp + 1));
    }
  }
  const onTime = nowMs - (times.at(-1) ?? 0) <= onTimeMs;
  if (!onTime && times.length > catchUp) {
    passed += 1;
    times = times.slice(1);
  }
  return { times, passed };
}
