import type { Values } from './helm.ts';

/** Other values where not any other would do. */
const OTHERS: Readonly<Record<string, unknown>> = {
  'image.pullPolicy': 'Always',
  'image.pullSecrets': [{ name: 'registry' }],
  'network.Network': '10.0.0.0/8',
  'network.Backend.Type': 'host-gw',
  affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [] } } },
};

/** For each value of the chart, by its path: values that change it alone. */
export function changedValues(values: Values, path: readonly string[] = []): [string, Values][] {
  return Object.entries(values).flatMap(([name, value]) => {
    const own = [...path, name];
    const isGroup = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (isGroup && Object.keys(value).length > 0) return changedValues(value as Values, own);
    const title = own.join('.');
    return [[title, nested(own, OTHERS[title] ?? otherThan(value, title))]];
  });
}

function otherThan(value: unknown, title: string): unknown {
  switch (typeof value) {
    case 'boolean':
      return !value;
    case 'number':
      return value + 1;
    case 'string':
      // Also as a quantity.
      return /m$|Mi$/.test(value) ? `1${value}` : `${value}-2`;
    default:
      if (Array.isArray(value)) return ['--kube-annotation-prefix=a.example/b: "c" # d', ''];
      throw new Error(`what else could ${title} be?`);
  }
}

function nested([first = '', ...rest]: readonly string[], value: unknown): Values {
  return { [first]: rest.length === 0 ? value : nested(rest, value) };
}
