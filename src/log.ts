/** A structured logger. A pino logger fits, as does any object of this shape. */
export type Log = {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
};

const nothing = (): void => {};

/** Discards everything: for tools and tests that have no log. */
export const SILENT: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing };
