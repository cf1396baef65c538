/** Logs: pino, one JSON object a line on standard error, data in fields. */
import { pino, type Logger } from "pino";

export type Log = Logger;

/** `level` as pino's: fatal, error, warn, info, debug, trace or silent. */
export function createLog(program: string, level: string): Log {
  return pino(
    { level, base: { program }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  );
}

export const silentLog: Log = pino({ level: "silent" });
