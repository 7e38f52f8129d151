import { FlatnetError } from '../../../error.ts';
import type { ManifestFields } from './fields.ts';

/** Checks a name by a function that throws NAME_INVALID; the error gets its place in the manifest. */
export function checked(
  fields: ManifestFields,
  field: string,
  name: string,
  check: (name: string) => string,
): string {
  try {
    return check(name);
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.code !== 'NAME_INVALID') throw error;
    throw fields.invalid(field, error.message);
  }
}
