/** Errors as S3 clients know them: code and status are S3's own, whatever failed beneath. */
import { Fault, type FaultCode } from "@spear/shared/fault.ts";

/** Code → status. */
const statuses = {
  AccessControlListNotSupported: 400,
  AccessDenied: 403,
  AccessForbidden: 403,
  AuthorizationHeaderMalformed: 400,
  AuthorizationQueryParametersError: 400,
  BadDigest: 400,
  BucketAlreadyOwnedByYou: 409,
  BucketNotEmpty: 409,
  EntityTooLarge: 400,
  EntityTooSmall: 400,
  IncompleteBody: 400,
  InternalError: 500,
  InvalidAccessKeyId: 403,
  InvalidArgument: 400,
  InvalidBucketName: 400,
  InvalidDigest: 400,
  InvalidPart: 400,
  InvalidPartOrder: 400,
  InvalidRange: 416,
  InvalidRequest: 400,
  InvalidTag: 400,
  InvalidURI: 400,
  KeyTooLongError: 400,
  MalformedTrailerError: 400,
  MalformedXML: 400,
  MaxMessageLengthExceeded: 400,
  MetadataTooLarge: 400,
  MissingContentLength: 411,
  NoSuchBucket: 404,
  NoSuchBucketPolicy: 404,
  NoSuchCORSConfiguration: 404,
  NoSuchKey: 404,
  NoSuchLifecycleConfiguration: 404,
  NoSuchPublicAccessBlockConfiguration: 404,
  NoSuchTagSet: 404,
  NoSuchUpload: 404,
  NoSuchVersion: 404,
  NoSuchWebsiteConfiguration: 404,
  NotImplemented: 501,
  ObjectLockConfigurationNotFoundError: 404,
  OperationAborted: 409,
  PreconditionFailed: 412,
  QuotaExceeded: 507,
  ReplicationConfigurationNotFoundError: 404,
  RequestTimeTooSkewed: 403,
  RequestTimeout: 400,
  ServerSideEncryptionConfigurationNotFoundError: 404,
  ServiceUnavailable: 503,
  SignatureDoesNotMatch: 403,
  SlowDown: 503,
  StorageFull: 507,
  XAmzContentSHA256Mismatch: 400,
} as const;

export type S3Code = keyof typeof statuses;

/** An error under its code in S3. */
export class S3Error extends Error {
  readonly code: S3Code;

  constructor(code: S3Code, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "S3Error";
    this.code = code;
  }

  get status(): number {
    return statuses[this.code];
  }

  /** Any thrown value. What is internal keeps its cause and says nothing of it. */
  static from(error: unknown): S3Error {
    if (error instanceof S3Error) return error;
    const fault = Fault.from(error);
    const code = codeOf(fault);
    return code === "InternalError"
      ? new S3Error(code, "Something went wrong inside.", fault.cause ?? fault)
      : new S3Error(code, fault.help === undefined ? fault.message : sentence(fault), fault);
  }
}

const sentence = ({ message, help }: Fault) => `${message}; ${help}`;

const codes: Partial<Record<FaultCode, S3Code>> = {
  bucket_exists: "BucketAlreadyOwnedByYou",
  bucket_not_empty: "BucketNotEmpty",
  bucket_not_found: "NoSuchBucket",
  cancelled: "IncompleteBody",
  checksum_mismatch: "XAmzContentSHA256Mismatch",
  conflict: "OperationAborted",
  invalid_argument: "InvalidArgument",
  not_found: "NoSuchKey",
  object_not_found: "NoSuchKey",
  payload_too_large: "EntityTooLarge",
  permission_denied: "AccessDenied",
  precondition_failed: "PreconditionFailed",
  quota_exceeded: "QuotaExceeded",
  range_not_satisfiable: "InvalidRange",
  store_full: "StorageFull",
  timeout: "RequestTimeout",
  too_many_requests: "SlowDown",
  unauthenticated: "AccessDenied",
  unavailable: "ServiceUnavailable",
  unimplemented: "NotImplemented",
  upload_not_found: "NoSuchUpload",
};

/** Codes for what is wrong with one field. */
const fieldCodes: Readonly<Record<string, S3Code>> = {
  body: "IncompleteBody",
  bucket: "InvalidBucketName",
  name: "InvalidBucketName",
  tags: "InvalidTag",
};

function codeOf(fault: Fault): S3Code {
  if (fault.code === "invalid_argument") {
    if (fault.message.startsWith("key: is longer than")) return "KeyTooLongError";
    return fieldCodes[fault.field ?? ""] ?? "InvalidArgument";
  }
  return codes[fault.code] ?? "InternalError";
}
