/** At most 63 characters, letters and digits at both ends. */
const WORD = /^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const PREFIX = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;

/** Whether Kubernetes takes it for the key of a label: `rack`, `example.com/rack`. */
export function isLabelKey(text: string): boolean {
  const slash = text.indexOf('/');
  if (slash < 0) return WORD.test(text);
  return slash <= 253 && PREFIX.test(text.slice(0, slash)) && WORD.test(text.slice(slash + 1));
}

/** Whether Kubernetes takes it for the value of a label. */
export function isLabelValue(text: string): boolean {
  return text === '' || WORD.test(text);
}
