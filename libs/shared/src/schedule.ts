/**
 * The nouns of a schedule as schemas: a job that is submitted again and again, by the
 * clock. They mirror `spear/sms/v1/schedule.proto`.
 */
import { Type, type Static } from "@sinclair/typebox";
import { JobSpec } from "./job.ts";
import { closed, oneOf, words } from "./task.ts";

/** Most schedules of a cluster. */
export const maxSchedules = 1_000;

export const scheduleName = words(
  "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$",
  "must be 1–63 letters, digits, '_' and '-', and start with a letter or digit",
  63,
  "Name of the schedule.",
);

/** What a job file says under `schedule`. */
export const ScheduleTimes = Type.Object(
  {
    cron: Type.String({
      minLength: 1,
      maxLength: 256,
      description: "Minute, hour, day, month and weekday, or six fields with seconds first.",
    }),
    timeZone: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 64,
        description: "Of the tz database, as Europe/Berlin. Default UTC.",
      }),
    ),
    overlap: Type.Optional(
      oneOf(
        ["skip", "queue", "replace"],
        "While the job before has not ended: skip this time, queue it, or replace the job before. Default skip.",
      ),
    ),
    catchUp: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 100,
        description: "How many missed times are made up for, the latest. Default 1.",
      }),
    ),
  },
  { ...closed, description: "When the job is submitted, again and again." },
);

export const ScheduleSpec = Type.Object(
  { ...ScheduleTimes.properties, job: Type.Ref(JobSpec, { description: "What is submitted." }) },
  { ...closed, $id: "ScheduleSpec", description: "When a job is submitted, again and again." },
);
export type ScheduleSpec = Static<typeof ScheduleTimes> & { job: JobSpec };

/** A schedule as it stands. */
export const Schedule = Type.Object(
  {
    name: Type.String(),
    spec: Type.Ref(ScheduleSpec),
    paused: Type.Boolean({ description: "Nothing is submitted until it is resumed." }),
    createdAtMs: Type.Integer(),
    nextAtMs: Type.Optional(
      Type.Integer({ description: "The next time; absent while it is paused." }),
    ),
    lastAtMs: Type.Optional(
      Type.Integer({ description: "The last time that was acted upon or passed over." }),
    ),
    lastJobId: Type.Optional(Type.String({ description: "job_… that was submitted last." })),
    submitted: Type.Integer({ description: "How many jobs it has submitted." }),
    skipped: Type.Integer({ description: "How many times it passed over." }),
    queued: Type.Integer({ description: "How many times wait for the job before." }),
  },
  { $id: "Schedule", description: "A schedule as it stands." },
);
export type Schedule = Omit<Static<typeof Schedule>, "spec"> & { spec: ScheduleSpec };
