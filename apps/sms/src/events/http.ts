/** Events over WebSocket: JSON events, one a message; `?after=<seq>` resumes. */
import { Fault } from "@spear/shared/fault.ts";
import { parseId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Event } from "@spear/shared/task.ts";
import { Elysia, t } from "elysia";
import type { Jobs } from "../jobs/jobs.ts";
import type { Tasks } from "../tasks/tasks.ts";
import type { EventLog } from "./events.ts";

export interface EventHttpDeps {
  events: EventLog;
  tasks: Tasks;
  jobs: Jobs;
  log: Log;
}

/** Bytes that may wait for a slow follower before it is cut off. */
const backpressureBytes = 8 << 20;
const goingAway = 1001;
const tooSlow = 1013;
const badRequest = 4400;
const internal = 4500;

interface Socket {
  id: string;
  data: { query: { after?: number | undefined }; params?: { id?: string } };
  send(data: string): unknown;
  close(code?: number, reason?: string): unknown;
  raw: { getBufferedAmount?(): number };
}

export function eventRoutes({ events, tasks, jobs, log }: EventHttpDeps) {
  const followers = new Map<string, AbortController>();

  async function follow(socket: Socket, wanted: (event: Event) => boolean): Promise<void> {
    const abort = new AbortController();
    followers.set(socket.id, abort);
    try {
      for await (const event of events.follow(socket.data.query.after, wanted, abort.signal)) {
        if ((socket.raw.getBufferedAmount?.() ?? 0) > backpressureBytes) {
          socket.close(tooSlow, "too slow: resume with ?after=");
          return;
        }
        socket.send(JSON.stringify(event));
      }
      if (!abort.signal.aborted) socket.close(goingAway, "SMS is stopping");
    } catch (error) {
      fail(socket, error);
    }
  }

  function fail(socket: Socket, error: unknown): void {
    const fault = Fault.from(error);
    if (fault.code === "internal")
      log.error({ err: fault.cause ?? fault }, "following events failed");
    socket.send(JSON.stringify({ error: fault.toProblem() }));
    socket.close(fault.code === "internal" ? internal : badRequest, fault.code);
  }

  const query = t.Object({
    after: t.Optional(t.Integer({ minimum: 0, description: "Start behind this sequence number." })),
  });
  const close = (socket: { id: string }) => {
    followers.get(socket.id)?.abort();
    followers.delete(socket.id);
  };
  return new Elysia()
    .ws("/v1/events", {
      query,
      detail: {
        operationId: "watchEvents",
        summary: "All events, as a WebSocket.",
        tags: ["events"],
      },
      open: (socket) => void follow(socket as unknown as Socket, () => true),
      close,
    })
    .ws("/v1/tasks/:id/events", {
      query,
      detail: {
        operationId: "watchTaskEvents",
        summary: "Events of one task, as a WebSocket.",
        tags: ["events"],
      },
      open: async (raw) => {
        const socket = raw as unknown as Socket;
        try {
          const id = parseId("task", socket.data.params?.id, "id");
          await tasks.get(id);
          void follow(socket, (event) => event.taskId === id);
        } catch (error) {
          fail(socket, error);
        }
      },
      close,
    })
    .ws("/v1/jobs/:id/events", {
      query,
      detail: {
        operationId: "watchJob",
        summary: "Events of a job and its tasks, as a WebSocket.",
        tags: ["events"],
      },
      open: async (raw) => {
        const socket = raw as unknown as Socket;
        try {
          const id = parseId("job", socket.data.params?.id, "id");
          await jobs.get(id);
          void follow(socket, (event) => event.jobId === id);
        } catch (error) {
          fail(socket, error);
        }
      },
      close,
    });
}
