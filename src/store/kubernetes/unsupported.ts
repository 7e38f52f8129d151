import { FlatnetError } from '../../error.ts';

/** A port of which every method refuses: what it stores has no place in the Kubernetes API yet. */
export function unsupported<T extends object>(what: string): T {
  const refuse = async (): Promise<never> => {
    throw new FlatnetError('has no place in the Kubernetes API yet', {
      code: 'CONFIG_INVALID',
      object: what,
      fix: 'use etcd as the store, or the plan lease, which needs none',
    });
  };
  return new Proxy<T>(Object.create(null), { get: () => refuse });
}
