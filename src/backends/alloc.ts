import type { Backend } from './backend.ts';

/**
 * Subnets and wiring only: something else carries packets between nodes, such as routes that people or
 * another program set, or a cloud that knows each node's subnet.
 */
export const alloc: Backend<undefined> = {
  type: 'alloc',
  // flannel's nodes with this backend publish no name.
  alsoNamed: [''],
  options: () => undefined,
  overhead: () => 0,
  data: () => undefined,
  device: () => [],
  peer: () => ({ items: [] }),
};
