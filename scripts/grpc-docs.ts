/** docs/grpc.md: the gRPC reference, from the comments of the protos. */
import {
  createFileRegistry,
  fromBinary,
  ScalarType,
  type DescEnum,
  type DescField,
  type DescFile,
  type DescMessage,
  type DescService,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

/** Numbers of the fields in descriptor.proto, by which source locations are addressed. */
const inFile = { message: 4, enum: 5, service: 6 } as const;
const inMessage = { field: 2 } as const;
const inEnum = { value: 2 } as const;
const inService = { method: 2 } as const;

/** Comments of a file by the path of what they stand before. */
function commentsOf(file: DescFile): (...path: number[]) => string {
  const byPath = new Map(
    (file.proto.sourceCodeInfo?.location ?? []).map((location) => [
      location.path.join(),
      location.leadingComments
        .split("\n")
        .map((line) => line.trim())
        .join(" ")
        .trim(),
    ]),
  );
  return (...path) => byPath.get(path.join()) ?? "";
}

/** A link to a type's section, whose heading is the type's full name. */
function link({ name, typeName }: DescEnum | DescMessage): string {
  return `[${name}](#${typeName.toLowerCase().replaceAll(".", "")})`;
}

function typeOf(field: DescField): string {
  const element =
    field.message !== undefined
      ? link(field.message)
      : field.enum !== undefined
        ? link(field.enum)
        : ScalarType[field.scalar].toLowerCase();
  if (field.fieldKind === "list") return `list of ${element}`;
  if (field.fieldKind !== "map") return element;
  return `map of ${ScalarType[field.mapKey].toLowerCase()} to ${element}`;
}

const cell = (text: string) => text.replaceAll("|", "\\|");

function messageSection(message: DescMessage, comment: ReturnType<typeof commentsOf>): string[] {
  const at = message.file.messages.indexOf(message);
  const rows = message.fields.map((field, index) => {
    const said = comment(inFile.message, at, inMessage.field, index);
    const choice = field.oneof === undefined ? "" : ` (one of ${field.oneof.name})`;
    const presence = field.proto.proto3Optional ? " (optional)" : "";
    return `| ${field.number} | \`${field.name}\` | ${typeOf(field)} | ${cell(said)}${choice}${presence} |`;
  });
  return [
    `#### ${message.typeName}`,
    comment(inFile.message, at),
    ...(rows.length === 0
      ? []
      : [["| # | field | type | meaning |", "|---|---|---|---|", ...rows].join("\n")]),
  ];
}

function enumSection(description: DescEnum, comment: ReturnType<typeof commentsOf>): string[] {
  const at = description.file.enums.indexOf(description);
  const rows = description.values.map(
    ({ number, name }, index) =>
      `| ${number} | \`${name}\` | ${cell(comment(inFile.enum, at, inEnum.value, index))} |`,
  );
  return [
    `#### ${description.typeName}`,
    comment(inFile.enum, at),
    ["| # | name | meaning |", "|---|---|---|", ...rows].join("\n"),
  ];
}

function serviceSection(service: DescService, comment: ReturnType<typeof commentsOf>): string[] {
  const at = service.file.services.indexOf(service);
  const stream = (kind: string) => new RegExp(`^(${kind}|bidi)_`);
  const rows = service.methods.map((method, index) => {
    const takes = stream("client").test(method.methodKind) ? "stream of " : "";
    const gives = stream("server").test(method.methodKind) ? "stream of " : "";
    const said = comment(inFile.service, at, inService.method, index);
    return `| \`${method.name}\` | ${takes}${link(method.input)} | ${gives}${link(method.output)} | ${cell(said)} |`;
  });
  return [
    `### ${service.typeName}`,
    comment(inFile.service, at),
    ["| method | takes | gives | what it does |", "|---|---|---|---|", ...rows].join("\n"),
  ];
}

/** The page for the `spear.*` packages of a descriptor set that holds source info. */
export function grpcReference(image: Uint8Array): string {
  const files = [...createFileRegistry(fromBinary(FileDescriptorSetSchema, image)).files]
    .filter(({ proto }) => proto.package.startsWith("spear."))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const services = files.flatMap((file) =>
    file.services.flatMap((service) => serviceSection(service, commentsOf(file))),
  );
  const types = files.flatMap((file) => {
    const comment = commentsOf(file);
    return [
      `### ${file.name}.proto`,
      ...file.enums.flatMap((description) => enumSection(description, comment)),
      ...file.messages.flatMap((message) => messageSection(message, comment)),
    ];
  });
  return `${[
    "# gRPC reference",
    "Made by `bun run generate` from `libs/proto/proto`; do not edit. Every server also offers " +
      "`grpc.health.v1.Health` and server reflection (v1 and v1alpha). Errors carry SPEAR's code in " +
      "the metadata entry `spear-code`, the field at fault in `spear-field` and advice in " +
      "`spear-help` (both percent-encoded).",
    "## Services",
    ...services,
    "## Types",
    ...types,
  ]
    .filter((part) => part !== "")
    .join("\n\n")}\n`;
}
