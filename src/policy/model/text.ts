import { hash } from 'node:crypto';

/** Longer ones would be joined and compared for each address that they hold for. */
const LONGEST = 300;
/** Characters of such a text that are kept, for people. */
const KEPT = 100;

/** The text of a condition: as it is, or of a long one its beginning and what tells it from all others. */
export function conditionText(text: string): string {
  if (text.length <= LONGEST) return text;
  return `${text.slice(0, KEPT)}… (${text.length} characters, SHA-256 ${hash('sha256', text)})`;
}
