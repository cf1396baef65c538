/** What works on the node and what does not, over both transports. */
import {
  HealthServiceService,
  type HealthServiceServer,
} from "@spear/proto/gen/spear/spearlet/v1/spearlet.ts";
import type { GrpcService, Handlers } from "@spear/shared/grpc/server.ts";
import { Elysia, t } from "elysia";
import { NodeUsage, RuntimeInfo } from "@spear/shared/node.ts";
import { Type, type Static } from "@sinclair/typebox";

export const Health = Type.Object(
  {
    nodeId: Type.String({ description: "Empty before the node registered." }),
    smsConnected: Type.Boolean(),
    redisConnected: Type.Boolean(),
    usage: NodeUsage,
    runtimes: Type.Array(RuntimeInfo),
    pendingReports: Type.Integer({ description: "Reports that wait for SMS." }),
  },
  { $id: "Health", description: "What works on the node and what does not." },
);
export type Health = Static<typeof Health>;

/** Looks now. */
export type Examine = () => Health;

export function healthService(handlers: Handlers, examine: Examine): GrpcService {
  const implementation: HealthServiceServer = {
    getHealth: handlers.unary(() => Promise.resolve(examine())),
  };
  return { definition: HealthServiceService, handlers: implementation };
}

export function healthRoutes(examine: Examine) {
  return new Elysia().model({ Health }).get("/v1/health", () => examine(), {
    response: t.Ref(Health),
    detail: { operationId: "getNodeHealth", summary: "What works on the node.", tags: ["node"] },
  });
}
