/** The part of a structured logger that the product uses; pino's loggers fit. */
export interface Log {
  /** What is said from which importance on; can be changed while the service runs. */
  level?: string;
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const ignore = (): void => {};

export const silentLog: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore };
