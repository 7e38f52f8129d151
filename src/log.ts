/** Where a part of flatnet reports what it does. A pino logger fits, and so does any object of this shape. */
export type Log = {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
};

const nothing = (): void => {};

/** Keeps nothing: for tools and tests that have nowhere to report to. */
export const SILENT: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing };
