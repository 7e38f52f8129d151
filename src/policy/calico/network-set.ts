import { refuseOthers } from '../../cluster/calico/spec.ts';
import type { Fields } from '../../cluster/fields.ts';
import type { NetworkSetEntity } from '../model/entity.ts';
import { networkOrAddress } from './entity-rule.ts';

/**
 * Reads a NetworkSet, or a GlobalNetworkSet, which has no namespace. Throws CONFIG_INVALID naming the field:
 * a rule that denies what is in it must not lose a part.
 */
export function readNetworkSet(
  of: Pick<NetworkSetEntity, 'namespace' | 'name' | 'labels' | 'namespaceLabels'>,
  spec: Fields,
): NetworkSetEntity {
  refuseOthers(spec, ['nets']);
  return { kind: 'network-set', ...of, nets: spec.parsedList('nets', networkOrAddress) ?? [] };
}
