/** What a port is called by: a number, or a range of them as Calico writes it, has none. */
const NUMBER = /^\d+(:\d+)?$/;
const OF_ACCOUNTS = /\bpcsa\.|\bprojectcalico\.org\/serviceaccount\b/;

const PORTS: readonly string[] = ['port', 'ports', 'notports'];
const NAMED_PORTS: readonly string[] = ['destinationnamedport', 'namedport'];
const ACCOUNTS: readonly string[] = ['serviceaccounts', 'serviceaccountselector'];
const SELECTORS: readonly string[] = ['selector', 'notselector'];

const ACCOUNT = 'nobody tells this store of pods’ service accounts; write a selector of labels';
const PORT = 'nobody tells this store what ports are called; write numbers';

/**
 * Where a policy's spec asks for what nodes cannot tell of their pods, and why that is refused: rules that
 * deny would match nothing. Undefined: nowhere.
 */
export function untold(spec: unknown, path = 'spec'): string | undefined {
  if (typeof spec !== 'object' || spec === null) return undefined;
  for (const [key, value] of Object.entries(spec)) {
    // Labels may have any name.
    if (key.toLowerCase() === 'matchlabels') continue;
    const here = Array.isArray(spec) ? `${path}[${key}]` : `${path}.${key}`;
    // Fields are read in any case.
    const reason = reasonOf(key.toLowerCase(), value);
    if (reason !== undefined) return `${here}: ${reason}`;
    const inside = untold(value, here);
    if (inside !== undefined) return inside;
  }
  return undefined;
}

function reasonOf(key: string, value: unknown): string | undefined {
  if (value === null || value === undefined || value === '') return undefined;
  if (ACCOUNTS.includes(key) && !isEmpty(value)) return ACCOUNT;
  if (SELECTORS.includes(key) && typeof value === 'string' && OF_ACCOUNTS.test(value)) return ACCOUNT;
  if (NAMED_PORTS.includes(key)) return PORT;
  const all: readonly unknown[] = Array.isArray(value) ? value : [value];
  const isNamed = all.some((each) => typeof each === 'string' && !NUMBER.test(each));
  return PORTS.includes(key) && isNamed ? PORT : undefined;
}

/** `{}`, or with nothing but empty values. */
function isEmpty(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return value === '' || value === null;
  return Object.values(value).every(isEmpty);
}
