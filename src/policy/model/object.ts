import type { Fields } from '../../cluster/fields.ts';

/** A policy as its store has it, before its spec is read. */
export type PolicyObject = {
  /** Empty for a policy of the whole cluster. */
  readonly namespace: string;
  readonly name: string;
  readonly spec: Fields;
};

/** For what is in force of a policy that cannot be read: undefined if this part of it cannot be read. */
export function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
