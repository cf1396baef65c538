/** The standard health service (grpc.health.v1), as probes and load balancers use it. */
import { systemClock } from "../clock.ts";
import { Fault } from "../fault.ts";
import { jsonDefinition } from "./descriptors.ts";
import type { GrpcService, Handlers } from "./handlers.ts";

const watchPeriodMs = 500;

/** Answers for the server as a whole (""), and for each service that it has. */
export function health(
  served: readonly string[],
  ready: () => Promise<boolean>,
  handlers: Handlers,
): GrpcService {
  const names = ["", ...served];
  const standing = async () => ({ status: (await ready()) ? "SERVING" : "NOT_SERVING" });
  return {
    definition: jsonDefinition("grpc.health.v1.Health"),
    handlers: {
      Check: handlers.unary(async ({ service = "" }: { service?: string }) => {
        if (!names.includes(service)) throw new Fault("not_found", `no service ${service} here`);
        return standing();
      }),
      List: handlers.unary(async () => {
        const status = await standing();
        return { statuses: Object.fromEntries(names.map((name) => [name, status])) };
      }),
      Watch: handlers.serverStream(async function* (
        { service = "" }: { service?: string },
        { signal },
      ) {
        let last = "";
        while (!signal.aborted) {
          const next = names.includes(service) ? await standing() : { status: "SERVICE_UNKNOWN" };
          if (next.status !== last) yield next;
          last = next.status;
          await systemClock.wait(watchPeriodMs, signal);
        }
      }),
    },
  };
}
