import type { Cidr } from '../ip/cidr.ts';
import type { Network } from './network.ts';
import type { Resources } from './resources.ts';

/** Returns the networks of Services, as far as anybody has said them. */
export function serviceNetworks(
  { serviceNetworks = [] }: Pick<Network, 'serviceNetworks'>,
  { bgpConfiguration }: Resources,
): readonly Cidr[] {
  return [...new Set([...serviceNetworks, ...bgpConfiguration.serviceCidrs])];
}

/** Whether nobody has said them; that there are none counts, too. */
export function areServicesUnknown(
  network: Pick<Network, 'serviceNetworks'>,
  { bgpConfiguration }: Resources,
): boolean {
  return network.serviceNetworks === undefined && bgpConfiguration.serviceCidrs.length === 0;
}
