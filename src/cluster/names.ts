import { FlatnetError } from '../error.ts';

/** RFC 1123 §2.1 as Kubernetes interprets it: valid names of pods, namespaces and nodes. */
const LABEL = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const LONGEST = 63;

/** Whether a node may have this name, a DNS subdomain: Kubernetes allows dots in it. */
export function isNodeName(name: string): boolean {
  return name.length <= 253 && /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(name);
}

/**
 * Returns the name when it is a DNS label of at most `longest` bytes. Throws NAME_INVALID naming the field,
 * e.g. `pod name`, and suggests a valid name.
 */
export function dnsLabel(field: string, name: string, longest: number = LONGEST): string {
  if (name.length <= longest && LABEL.test(name)) return name;
  const why = name.length > longest ? `has ${name.length} characters; the limit is ${longest}` : reason(name);
  const proposal = nearest(name, longest);
  throw new FlatnetError(`'${name}' ${why}`, {
    code: 'NAME_INVALID',
    object: field,
    fix: `use lower-case letters, digits and '-'${proposal ? `, such as '${proposal}'` : ''}`,
  });
}

function reason(name: string): string {
  if (name === '') return 'is empty';
  const wrong = name.match(/[^a-z0-9-]/u);
  return wrong ? `has '${wrong[0]}', which a DNS label cannot contain` : "begins or ends with '-'";
}

function nearest(name: string, longest: number): string {
  const trim = (text: string): string => text.replace(/^-+|-+$/g, '');
  return trim(trim(name.toLowerCase().replace(/[^a-z0-9-]+/g, '-')).slice(0, longest));
}
