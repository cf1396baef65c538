/**
 * The one list of what the protos promise and nothing does yet. Each method
 * answers UNIMPLEMENTED; the contract tests hold the running programs to this
 * list in both directions.
 */

/** gRPC methods by their full names. */
export const unimplementedMethods: readonly string[] = [];
