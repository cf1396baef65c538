/** The node's view of the Object Store over gRPC: parses, calls, encodes. */
import {
  ObjectServiceService,
  type ObjectServiceServer,
} from "@spear/proto/gen/spear/spearlet/v1/spearlet.ts";
import type {
  GetObjectRequest,
  GetObjectResponse,
  HeadObjectRequest,
  PutObjectHeader,
  PutObjectRequest,
} from "@spear/proto/gen/spear/store/v1/store.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { GrpcService, Handlers } from "@spear/shared/grpc/handlers.ts";
import { parseId } from "@spear/shared/ids.ts";
import type { ObjectTarget, PutRequest } from "@spear/shared/store/schema.ts";
import type { NodeObjects } from "./objects.ts";

/** An optional text of proto3: empty is absent. */
const given = (text: string): string | undefined => (text === "" ? undefined : text);

function targetOf({ bucket, key, objectId }: GetObjectRequest | HeadObjectRequest): ObjectTarget {
  return objectId === "" ? { bucket, key } : parseId("obj", objectId, "object_id");
}

function putRequest(header: PutObjectHeader): PutRequest {
  const { bucket, key, metadata, sizeBytes, condition } = header;
  return {
    bucket,
    key,
    metadata,
    sizeBytes,
    contentType: given(header.contentType),
    sha256: given(header.sha256),
    condition: {
      ifMatch: given(condition?.ifMatch ?? ""),
      ifAbsent: condition?.ifAbsent,
      ifGeneration: condition?.ifGeneration,
    },
  };
}

/** The data messages behind the header. */
async function* dataOf(messages: AsyncIterator<PutObjectRequest>): AsyncGenerator<Buffer> {
  for (;;) {
    const next = await messages.next();
    if (next.done === true) return;
    const { body } = next.value;
    if (body?.$case !== "data") {
      throw new Fault("invalid_argument", "data: only the first message may be a header", {
        field: "data",
      });
    }
    yield body.value;
  }
}

export function objectService(handlers: Handlers, objects: NodeObjects): GrpcService {
  const implementation: ObjectServiceServer = {
    getObject: handlers.serverStream(async function* (
      request: GetObjectRequest,
      { signal },
    ): AsyncGenerator<GetObjectResponse> {
      const target = targetOf(request);
      const { info, body } = await objects.open(target, request, signal);
      yield { body: { $case: "object", value: await objects.describe(info.id, signal) } };
      for await (const data of body) {
        const value = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
        yield { body: { $case: "data", value } };
      }
    }),
    putObject: handlers.clientStream(async (requests, { signal }) => {
      const messages = requests[Symbol.asyncIterator]();
      const first = await messages.next();
      if (first.done === true || first.value.body?.$case !== "header") {
        throw new Fault("invalid_argument", "header: the first message must be a header", {
          field: "header",
        });
      }
      return objects.put(putRequest(first.value.body.value), dataOf(messages), signal);
    }),
    headObject: handlers.unary((request, { signal }) =>
      objects.describe(targetOf(request), signal),
    ),
  };
  return { definition: ObjectServiceService, handlers: { ...implementation } };
}
