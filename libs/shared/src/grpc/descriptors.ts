/**
 * What the protos say, at run time: the descriptors of SPEAR's services and of
 * gRPC's standard ones, from the image that `bun run generate` builds.
 */
import {
  createFileRegistry,
  fromBinary,
  fromJson,
  toBinary,
  toJson,
  type DescMessage,
  type JsonValue,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { readFileSync } from "node:fs";
import image from "./image.binpb" with { type: "file" };

export const descriptors = createFileRegistry(
  fromBinary(FileDescriptorSetSchema, readFileSync(image)),
);

const encode = (message: DescMessage) => (value: JsonValue) =>
  Buffer.from(toBinary(message, fromJson(message, value)));

const decode = (message: DescMessage) => (bytes: Buffer) =>
  toJson(message, fromBinary(message, bytes));

/**
 * Definition of a service whose handlers and clients see messages as proto3
 * JSON. For small protocols that need no generated code.
 */
export function jsonDefinition(name: string): ServiceDefinition {
  const service = descriptors.getService(name);
  if (service === undefined) throw new TypeError(`no service ${name} in the image`);
  return Object.fromEntries(
    service.methods.map((method) => [
      method.name,
      {
        path: `/${service.typeName}/${method.name}`,
        requestStream: /^(client|bidi)_/.test(method.methodKind),
        responseStream: /^(server|bidi)_/.test(method.methodKind),
        requestSerialize: encode(method.input),
        requestDeserialize: decode(method.input),
        responseSerialize: encode(method.output),
        responseDeserialize: decode(method.output),
      },
    ]),
  );
}

/** Full name of the service that a definition describes. */
export function serviceName(definition: ServiceDefinition): string {
  const path = Object.values(definition)[0]?.path ?? "";
  return path.slice(1, path.lastIndexOf("/"));
}
