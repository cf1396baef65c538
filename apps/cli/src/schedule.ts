/** `spear schedule`: jobs that are submitted again and again. */
import type { Schedule } from "@spear/shared/schedule.ts";
import type { Command } from "commander";
import type { Column } from "./output.ts";
import { sessionOf } from "./session.ts";

const time = (ms: number | undefined) => (ms === undefined ? "" : new Date(ms).toISOString());
const times = ({ spec }: Schedule) => `${spec.cron} ${spec.timeZone ?? "UTC"}`;

const columns: readonly Column<Schedule>[] = [
  ["NAME", (schedule) => schedule.name],
  ["TIMES", times],
  ["NEXT", (schedule) => (schedule.paused ? "paused" : time(schedule.nextAtMs))],
  ["SUBMITTED", (schedule) => String(schedule.submitted)],
  ["LAST JOB", (schedule) => schedule.lastJobId ?? ""],
];

const details = (schedule: Schedule) =>
  [
    ["name", schedule.name],
    ["times", times(schedule)],
    ["next", schedule.paused ? "paused" : time(schedule.nextAtMs)],
    ["last", time(schedule.lastAtMs)],
    ["last job", schedule.lastJobId],
    ["overlap", schedule.spec.overlap ?? "skip"],
    ["submitted", String(schedule.submitted)],
    ["skipped", String(schedule.skipped)],
    ["queued", String(schedule.queued)],
  ] as const;

const pathOf = (name: string) => `/v1/schedules/${encodeURIComponent(name)}`;

export function addSchedule(program: Command): void {
  const schedule = program
    .command("schedule")
    .summary("list, pause and remove schedules")
    .description("Schedules: jobs that are submitted by the clock. spear submit sets them.");
  schedule
    .command("ls")
    .summary("list schedules")
    .action(async (_: unknown, command: Command) => {
      const { sms, output } = sessionOf(command);
      const { schedules } = await sms.json<{ schedules: Schedule[] }>("GET", "/v1/schedules");
      await output.many(schedules, columns);
    });
  schedule
    .command("get")
    .summary("show a schedule")
    .argument("<name>")
    .action(async (name: string, _: unknown, command: Command) => {
      const { sms, output } = sessionOf(command);
      await output.one(await sms.json<Schedule>("GET", pathOf(name)), details);
    });
  for (const [verb, summary, said] of [
    ["pause", "submit nothing until it is resumed", "is paused"],
    ["resume", "take a pause back", "goes on"],
  ] as const) {
    schedule
      .command(verb)
      .summary(summary)
      .argument("<name>")
      .action(async (name: string, _: unknown, command: Command) => {
        const { sms, output } = sessionOf(command);
        const changed = await sms.json<Schedule>("POST", `${pathOf(name)}/${verb}`);
        await output.done(changed, `${name} ${said}`);
      });
  }
  schedule
    .command("rm")
    .summary("take a schedule away; its jobs go on")
    .argument("<name>")
    .action(async (name: string, _: unknown, command: Command) => {
      const { sms, output } = sessionOf(command);
      await sms.request("DELETE", pathOf(name));
      await output.done({ name, removed: true }, `${name} is removed`);
    });
}
