/** ScheduleService: parses, calls, encodes. */
import {
  type ScheduleServiceServer,
  ScheduleServiceService,
} from "@spear/proto/gen/spear/sms/v1/schedule.ts";
import type { GrpcService, Handlers } from "@spear/shared/grpc/handlers.ts";
import type { Jobs } from "../jobs/jobs.ts";
import type { Schedules } from "./schedules.ts";
import { scheduleSpecFromProto, scheduleToProto } from "./wire.ts";

export interface ScheduleGrpcDeps {
  schedules: Schedules;
  jobs: Jobs;
}

export function scheduleService(
  handlers: Handlers,
  { schedules, jobs }: ScheduleGrpcDeps,
): GrpcService {
  const implementation: ScheduleServiceServer = {
    putSchedule: handlers.unary(async ({ name, spec }) => {
      const { times, job } = scheduleSpecFromProto(spec);
      return scheduleToProto(
        await schedules.put(name, times, jobs.check({ spec: job, params: {} })),
      );
    }),
    getSchedule: handlers.unary(async ({ name }) => scheduleToProto(await schedules.get(name))),
    listSchedules: handlers.unary(async () => ({
      schedules: (await schedules.list()).map(scheduleToProto),
    })),
    deleteSchedule: handlers.unary(async ({ name }) => {
      await schedules.delete(name);
      return {};
    }),
    pauseSchedule: handlers.unary(async ({ name }) =>
      scheduleToProto(await schedules.pause(name, true)),
    ),
    resumeSchedule: handlers.unary(async ({ name }) =>
      scheduleToProto(await schedules.pause(name, false)),
    ),
  };
  return { definition: ScheduleServiceService, handlers: { ...implementation } };
}
