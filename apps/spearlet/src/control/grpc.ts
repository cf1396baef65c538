/** The node's HealthService over gRPC. */
import {
  HealthServiceService,
  type HealthServiceServer,
} from "@spear/proto/gen/spear/spearlet/v1/spearlet.ts";
import type { GrpcService, Handlers } from "@spear/shared/grpc/handlers.ts";
import type { Examine } from "./schema.ts";

export function healthService(handlers: Handlers, examine: Examine): GrpcService {
  const implementation: HealthServiceServer = {
    getHealth: handlers.unary(() => Promise.resolve(examine())),
  };
  return { definition: HealthServiceService, handlers: implementation };
}
