/**
 * Server reflection (grpc.reflection.v1 and v1alpha), so that grpcurl and other
 * generic clients can call a server without having its protos.
 */
import { toBinary, type DescFile } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { status } from "@grpc/grpc-js";
import { descriptors, jsonDefinition } from "./descriptors.ts";
import type { GrpcService, Handlers } from "./handlers.ts";

/** ServerReflectionRequest as JSON; one of these is set. */
interface Question {
  host?: string;
  fileByFilename?: string;
  fileContainingSymbol?: string;
  fileContainingExtension?: { containingType?: string; extensionNumber?: number };
  allExtensionNumbersOfType?: string;
  listServices?: string;
}

/** ServerReflectionResponse as JSON. */
interface Answer {
  validHost: string;
  originalRequest: Question;
  fileDescriptorResponse?: { fileDescriptorProto: string[] };
  allExtensionNumbersResponse?: { baseTypeName: string };
  listServicesResponse?: { service: { name: string }[] };
  errorResponse?: { errorCode: number; errorMessage: string };
}

/** The file that declares a message, an enum, a service, or a member of one. */
function fileOf(symbol: string): DescFile | undefined {
  const type = descriptors.get(symbol);
  if (type !== undefined) return type.file;
  const dot = symbol.lastIndexOf(".");
  const owner = descriptors.get(symbol.slice(0, Math.max(0, dot)));
  const members =
    owner?.kind === "service" ? owner.methods : owner?.kind === "message" ? owner.fields : [];
  const isMember = members.some(({ name }) => name === symbol.slice(dot + 1));
  return isMember ? owner?.file : undefined;
}

/** A file behind everything that it imports, each once. */
function withImports(file: DescFile, seen = new Set<DescFile>()): Set<DescFile> {
  for (const imported of file.dependencies) if (!seen.has(imported)) withImports(imported, seen);
  return seen.add(file);
}

function answerTo(question: Question, services: readonly string[]): Answer {
  const answer = { validHost: question.host ?? "", originalRequest: question };
  const missing = (what: string): Answer => ({
    ...answer,
    errorResponse: { errorCode: status.NOT_FOUND, errorMessage: `there is no ${what}` },
  });
  const found = (file: DescFile | undefined, what: string): Answer => {
    if (file === undefined) return missing(what);
    const fileDescriptorProto = [...withImports(file)].map(({ proto }) =>
      Buffer.from(toBinary(FileDescriptorProtoSchema, proto)).toString("base64"),
    );
    return { ...answer, fileDescriptorResponse: { fileDescriptorProto } };
  };
  if (question.listServices !== undefined) {
    return { ...answer, listServicesResponse: { service: services.map((name) => ({ name })) } };
  }
  if (question.fileContainingSymbol !== undefined) {
    const symbol = question.fileContainingSymbol;
    return found(fileOf(symbol), `symbol ${symbol}`);
  }
  if (question.fileByFilename !== undefined) {
    const path = question.fileByFilename;
    return found(descriptors.getFile(path), `file ${path}`);
  }
  // SPEAR's protos declare no extensions.
  if (question.allExtensionNumbersOfType !== undefined) {
    const type = question.allExtensionNumbersOfType;
    return descriptors.getMessage(type) === undefined
      ? missing(`type ${type}`)
      : { ...answer, allExtensionNumbersResponse: { baseTypeName: type } };
  }
  return missing("such extension");
}

/** Both versions of the protocol, for a server that has these services besides. */
export function reflection(served: readonly string[], handlers: Handlers): GrpcService[] {
  const names = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
  const services = [...served, ...names].toSorted();
  return names.map((name) => ({
    definition: jsonDefinition(name),
    handlers: {
      ServerReflectionInfo: handlers.bidi<Question, Answer>(async function* (questions) {
        for await (const question of questions) yield answerTo(question, services);
      }),
    },
  }));
}
