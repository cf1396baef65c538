/** Multi-part uploads over S3. An upload belongs to its key: under another it is not found. */
import type { Part, Upload } from "../uploads/schema.ts";
import type { Uploads } from "../uploads/uploads.ts";
import { resolveRange, parseRangeHeader } from "../objects/range.ts";
import { checkOffered, headerAttributes, headerTags } from "./attributes.ts";
import { owner } from "./buckets.ts";
import type { Handler, S3Call } from "./call.ts";
import { writeCondition } from "./conditions.ts";
import { sourceOf } from "./copies.ts";
import { S3Error } from "./errors.ts";
import { knownTag, shownTag } from "./etag.ts";
import { elementsOf, malformedXml, textOf, xmlResponse } from "./xml.ts";

const mostParts = 10_000;
const mostListed = 1_000;
/** Least size of a part that is not the last. */
const minPartBytes = 5 << 20;

/** The upload that a request is about. Errors: `NoSuchUpload`. */
async function uploadOf(call: S3Call, uploads: Uploads): Promise<Upload> {
  const upload = await uploads.get(call.query.get("uploadId") ?? "");
  if (upload.bucket === call.bucket && upload.key === call.key) return upload;
  throw new S3Error("NoSuchUpload", "The specified upload does not exist.");
}

function partNumber(call: S3Call): number {
  const text = call.query.get("partNumber") ?? "";
  const number = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= mostParts) return number;
  throw new S3Error("InvalidArgument", `Part number must be an integer between 1 and ${mostParts}`);
}

export const createUpload: Handler = async (call, { uploads }) => {
  const { headers } = call;
  checkOffered(headers);
  const { id } = await uploads.create(call.name, {
    ...headerAttributes(headers),
    tags: headerTags(headers),
  });
  return xmlResponse("InitiateMultipartUploadResult", {
    Bucket: call.bucket,
    Key: call.key,
    UploadId: id,
  });
};

export const uploadPart: Handler = async (call, { uploads }) => {
  const number = partNumber(call);
  const { id } = await uploadOf(call, uploads);
  const { payload } = call;
  const request = {
    sizeBytes: payload.sizeBytes,
    sha256: payload.sha256,
    etag: () => payload.md5,
  };
  const { etag } = await uploads.putPart(id, number, request, payload.bytes(), call.signal);
  return new Response(null, { headers: { ...payload.confirmed, etag: `"${etag}"` } });
};

export const copyPart: Handler = async (call, { uploads, objects }) => {
  const number = partNumber(call);
  const { id } = await uploadOf(call, uploads);
  const source = await sourceOf(call, objects);
  const header = call.headers.get("x-amz-copy-source-range");
  const asked = parseRangeHeader(header);
  if (header !== null && asked === undefined) {
    throw new S3Error(
      "InvalidArgument",
      "The x-amz-copy-source-range value must be bytes=first-last",
    );
  }
  const range = asked === undefined ? undefined : resolveRange(asked, source.sizeBytes);
  const { body } = await objects.open(source.id, call.signal, () => asked);
  const pieces = async function* () {
    // A piece is good until the next is asked for only.
    for await (const piece of body) yield Buffer.from(piece);
  };
  const sizeBytes = range === undefined ? source.sizeBytes : range.end - range.start;
  const part = await uploads.putPart(id, number, { sizeBytes }, pieces(), call.signal);
  return xmlResponse("CopyPartResult", {
    LastModified: new Date(part.createdAtMs).toISOString(),
    ETag: `"${shownTag(part.etag)}"`,
  });
};

export const completeUpload: Handler = async (call, { uploads }) => {
  const { id } = await uploadOf(call, uploads);
  const document = await call.document("CompleteMultipartUpload");
  const asked = elementsOf(document, "Part").map((part) => ({
    number: Number(textOf(part, "PartNumber")?.trim()),
    etag: knownTag(textOf(part, "ETag") ?? ""),
  }));
  if (asked.length === 0 || asked.length > mostParts) throw malformedXml();
  await checkParts(id, asked, uploads);
  const object = await uploads.complete(id, {
    parts: asked,
    condition: writeCondition(call.headers),
  });
  return xmlResponse(
    "CompleteMultipartUploadResult",
    {
      Location: `http://${call.headers.get("host") ?? ""}/${call.bucket}/${encodeURI(call.key)}`,
      Bucket: call.bucket,
      Key: call.key,
      ETag: `"${object.etag}"`,
    },
    { headers: { "x-spear-object-id": object.id } },
  );
};

/** Errors: `InvalidPartOrder`, `InvalidPart`, `EntityTooSmall`. */
async function checkParts(
  id: string,
  asked: readonly { number: number; etag: string }[],
  uploads: Uploads,
): Promise<void> {
  if (asked.some(({ number }, at) => at > 0 && !(number > (asked[at - 1]?.number ?? 0)))) {
    throw new S3Error("InvalidPartOrder", "The list of parts was not in ascending order.");
  }
  const known = new Map<number, Part>();
  for (let after: number | undefined = 0; after !== undefined;) {
    const page: Awaited<ReturnType<Uploads["listParts"]>> = await uploads.listParts(id, after);
    for (const part of page.parts) known.set(part.number, part);
    after = page.next;
  }
  for (const [index, { number, etag }] of asked.entries()) {
    const part = known.get(number);
    if (part?.etag !== etag) {
      throw new S3Error(
        "InvalidPart",
        `Part ${number} could not be found, or the specified entity tag is not the part's.`,
      );
    }
    if (index < asked.length - 1 && part.sizeBytes < minPartBytes) {
      throw new S3Error(
        "EntityTooSmall",
        "Your proposed upload is smaller than the minimum allowed size",
      );
    }
  }
}

export const abortUpload: Handler = async (call, { uploads }) => {
  const { id } = await uploadOf(call, uploads);
  await uploads.abort(id);
  return new Response(null, { status: 204 });
};

export const listParts: Handler = async (call, { uploads }) => {
  const upload = await uploadOf(call, uploads);
  const marker = call.query.get("part-number-marker");
  const after = marker === undefined ? 0 : call.count("part-number-marker", mostParts);
  const limit = Math.max(1, call.count("max-parts", mostListed));
  const { parts, next } = await uploads.listParts(upload.id, after, limit);
  return xmlResponse("ListPartsResult", {
    Bucket: upload.bucket,
    Key: upload.key,
    UploadId: upload.id,
    Initiator: owner,
    Owner: owner,
    StorageClass: "STANDARD",
    PartNumberMarker: after,
    NextPartNumberMarker: next,
    MaxParts: limit,
    IsTruncated: next !== undefined,
    Part: parts.map((part) => ({
      PartNumber: part.number,
      LastModified: new Date(part.createdAtMs).toISOString(),
      ETag: `"${shownTag(part.etag)}"`,
      Size: part.sizeBytes,
    })),
  });
};

export const listUploads: Handler = async (call, { uploads }) => {
  const { query, bucket } = call;
  const prefix = query.get("prefix") ?? "";
  const keyMarker = query.get("key-marker") ?? "";
  const idMarker = query.get("upload-id-marker") ?? "";
  const limit = call.count("max-uploads", mostListed);
  if ((query.get("delimiter") ?? "") !== "") {
    throw new S3Error("NotImplemented", "Uploads are not listed with a delimiter.");
  }
  const behind = ({ key, id }: Upload) => {
    const order = Buffer.compare(Buffer.from(key), Buffer.from(keyMarker));
    return keyMarker === "" || order > 0 || (order === 0 && idMarker !== "" && id > idMarker);
  };
  const found = (await uploads.list(bucket)).filter(
    (upload) => upload.key.startsWith(prefix) && behind(upload),
  );
  const shown = found.slice(0, limit);
  const last = found.length > limit ? shown.at(-1) : undefined;
  return xmlResponse("ListMultipartUploadsResult", {
    Bucket: bucket,
    Prefix: prefix,
    KeyMarker: keyMarker,
    UploadIdMarker: idMarker,
    NextKeyMarker: last?.key,
    NextUploadIdMarker: last?.id,
    MaxUploads: limit,
    IsTruncated: last !== undefined,
    Upload: shown.map((upload) => ({
      Key: upload.key,
      UploadId: upload.id,
      Initiator: owner,
      Owner: owner,
      StorageClass: "STANDARD",
      Initiated: new Date(upload.createdAtMs).toISOString(),
    })),
  });
};
