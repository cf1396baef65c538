/** gRPC servers: listeners with health, reflection and decoders that never throw. */
import { logVerbosity, Server, ServerCredentials, setLogVerbosity } from "@grpc/grpc-js";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { Fault } from "../fault.ts";
import { silentLog, type Log } from "../log.ts";
import { serviceName } from "./descriptors.ts";
import { type GrpcService, Handlers, Undecodable } from "./handlers.ts";
import { health } from "./health.ts";
import { reflection } from "./reflection.ts";

// What goes wrong reaches a handler or a caller as a fault; grpc-js need not print it too.
setLogVerbosity(logVerbosity.NONE);

/** The definition with decoders that never throw: a bad message becomes `invalid_argument`. */
function tolerant(definition: ServiceDefinition): ServiceDefinition {
  return Object.fromEntries(
    Object.entries(definition).map(([name, method]) => [
      name,
      {
        ...method,
        requestDeserialize: (bytes: Buffer): unknown => {
          try {
            return method.requestDeserialize(bytes);
          } catch (error) {
            return new Undecodable(error instanceof Error ? error.message : "not a message");
          }
        },
      },
    ]),
  ) as ServiceDefinition;
}

export interface RunningGrpc extends AsyncDisposable {
  /** Where it listens, as `127.0.0.1:7701`. */
  readonly address: string;
}

export interface GrpcOptions {
  /** What the standard health service says. Default: always ready. */
  ready?: () => Promise<boolean>;
  log?: Log;
}

/**
 * Starts a server with these services, health and reflection.
 * `listen` is `host:port`; port 0 picks one.
 */
export async function startGrpc(
  listen: string,
  services: GrpcService[],
  { ready = () => Promise.resolve(true), log = silentLog }: GrpcOptions = {},
): Promise<RunningGrpc> {
  const server = new Server({
    "grpc-node.flow_control_window": 8 << 20,
    "grpc.max_receive_message_length": 4 << 20,
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
  });
  const standard = new Handlers(log);
  const names = services.map(({ definition }) => serviceName(definition));
  const all = [
    ...services,
    health(names, ready, standard),
    ...reflection([...names, "grpc.health.v1.Health"], standard),
  ];
  for (const service of all) server.addService(tolerant(service.definition), service.handlers);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(listen, ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else {
        reject(
          new Fault("unavailable", `can't listen on ${listen}: ${error.message}`, {
            help: "choose another address with --grpc-listen, or port 0 for any free one",
          }),
        );
      }
    });
  });
  return {
    address: `${listen.slice(0, listen.lastIndexOf(":"))}:${port}`,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        const force = setTimeout(() => server.forceShutdown(), 1_000);
        server.tryShutdown(() => {
          clearTimeout(force);
          resolve();
        });
      }),
  };
}
