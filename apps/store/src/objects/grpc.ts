/** The store over gRPC: parse, call, encode. */
import { ObjectStoreService } from "@spear/proto/gen/spear/store/v1/store.ts";
import type {
  CopyObjectRequest,
  GetObjectRequest,
  GetObjectResponse,
  HeadObjectRequest,
  ListObjectsRequest,
  ObjectStoreServer,
  PutObjectHeader,
  PutObjectRequest,
  WriteCondition as WireCondition,
} from "@spear/proto/gen/spear/store/v1/store.ts";
import { Fault } from "@spear/shared/fault.ts";
import { Handlers, type GrpcService } from "@spear/shared/grpc/handlers.ts";
import { strictRequests } from "@spear/shared/grpc/strict.ts";
import { parseId, type ObjectId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Buckets } from "../buckets/buckets.ts";
import type { BucketRules } from "../buckets/schema.ts";
import type { Body } from "../chunks/chunks.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import type { CopyRequest, Objects, PutRequest } from "./objects.ts";
import type { RangeRequest } from "./range.ts";
import type { ObjectName, WriteCondition } from "./schema.ts";

/** An optional text of proto3: empty is absent. */
const given = (text: string): string | undefined => (text === "" ? undefined : text);

function conditionOf(wire: WireCondition | undefined): WriteCondition {
  return {
    ifMatch: given(wire?.ifMatch ?? ""),
    ifAbsent: wire?.ifAbsent,
    ifGeneration: wire?.ifGeneration,
  };
}

function putRequest(header: PutObjectHeader): PutRequest {
  return {
    bucket: header.bucket,
    key: header.key,
    contentType: given(header.contentType),
    metadata: header.metadata,
    sha256: given(header.sha256),
    sizeBytes: header.sizeBytes,
    condition: conditionOf(header.condition),
  };
}

function target(request: GetObjectRequest | HeadObjectRequest): ObjectName | ObjectId {
  return request.objectId === ""
    ? { bucket: request.bucket, key: request.key }
    : parseId("obj", request.objectId, "object_id");
}

function rangeOf({ offset, length }: GetObjectRequest): RangeRequest | undefined {
  return offset === 0 && length === undefined ? undefined : { offset, length };
}

function listRequest(request: ListObjectsRequest) {
  return { ...request, pageSize: request.pageSize === 0 ? undefined : request.pageSize };
}

function copyRequest(request: CopyObjectRequest): CopyRequest {
  return {
    source:
      request.objectId === ""
        ? { bucket: request.sourceBucket, key: request.sourceKey }
        : parseId("obj", request.objectId, "object_id"),
    bucket: request.bucket,
    key: request.key,
    condition: conditionOf(request.condition),
    ...(request.replaceAttributes
      ? { replace: { contentType: given(request.contentType), metadata: request.metadata } }
      : {}),
  };
}

/** Rules as the wire has them: no list is an empty one. */
function wireRules({ expiry = [], ...quota }: BucketRules) {
  return { ...quota, expiry };
}

/** The data messages behind the header. */
async function* dataOf(messages: AsyncIterator<PutObjectRequest>): Body & AsyncGenerator<Buffer> {
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

export function objectStoreService(services: {
  objects: Objects;
  buckets: Buckets;
  lifecycle: Lifecycle;
  log: Log;
}): GrpcService {
  const { objects, buckets, lifecycle } = services;
  const handlers = new Handlers(services.log);
  const id = (request: { objectId: string }) => parseId("obj", request.objectId, "object_id");
  const implementation: ObjectStoreServer = {
    createBucket: handlers.unary(({ name, ifAbsent }) => buckets.create(name, ifAbsent)),
    deleteBucket: handlers.unary(async ({ name }) => {
      await buckets.remove(name);
      return {};
    }),
    listBuckets: handlers.unary(async () => ({ buckets: await buckets.list() })),
    getBucketUsage: handlers.unary(({ bucket }) => buckets.usage(bucket)),
    getBucketRules: handlers.unary(async ({ bucket }) => wireRules(await buckets.rules(bucket))),
    setBucketRules: handlers.unary(async ({ bucket, rules }) =>
      wireRules(await buckets.setRules(bucket, rules ?? {})),
    ),
    deleteBucketRules: handlers.unary(async ({ bucket }) => {
      await buckets.setRules(bucket, {});
      return {};
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
    getObject: handlers.serverStream(async function* (
      request: GetObjectRequest,
      { signal },
    ): AsyncGenerator<GetObjectResponse> {
      const { object, body } = await objects.open(target(request), signal, () => rangeOf(request));
      yield { body: { $case: "object", value: object } };
      for await (const value of body) yield { body: { $case: "data", value } };
    }),
    headObject: handlers.unary((request) => objects.head(target(request))),
    listObjects: handlers.unary(async (request) => {
      const page = await objects.list(listRequest(request));
      return { ...page, nextPageToken: page.nextPageToken ?? "" };
    }),
    deleteObject: handlers.unary(async ({ bucket, key, condition }) => ({
      deleted: await objects.delete({ bucket, key }, conditionOf(condition)),
    })),
    copyObject: handlers.unary((request) => objects.copy(copyRequest(request))),
    deleteObjects: handlers.unary(async ({ bucket, keys }) => ({
      results: (await objects.deleteAll(bucket, keys)).map(({ key, deleted, fault }) => ({
        key,
        deleted,
        ...(fault === undefined ? {} : { failure: { code: fault.code, message: fault.message } }),
      })),
    })),
    addObjectRef: handlers.unary((request) =>
      lifecycle.addRef(id(request), request.holder, request.ttlMs),
    ),
    removeObjectRef: handlers.unary((request) => lifecycle.removeRef(id(request), request.holder)),
    pinObject: handlers.unary((request) => lifecycle.pin(id(request))),
    unpinObject: handlers.unary((request) => lifecycle.unpin(id(request))),
    explainObject: handlers.unary((request) => lifecycle.why(id(request))),
  };
  return { definition: strictRequests(ObjectStoreService), handlers: { ...implementation } };
}
