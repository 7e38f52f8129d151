import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LeasesOptions } from '../dhcp/leases.ts';
import type { LeaseRules } from '../dhcp/protocol/lease.ts';
import type { Ip } from '../ip/address.ts';
import type { Log } from '../log.ts';
import type { Facts } from './facts.ts';

/** The DHCP client of this node's pods, as the facts have it. */
export function leasesOptions(facts: Facts, log: Log): LeasesOptions {
  return {
    dir: join(facts.options.paths.state, 'leases'),
    netns: '/proc/self/ns/net',
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    rules: () => rulesOf(facts),
    podOf: (id) =>
      facts.pods.list().find(({ containerId, ifName }) => id.includes(`:${containerId}:${ifName}:`)),
    log,
  };
}

/** Undefined where addresses do not come from DHCP. */
function rulesOf({ network, host, nodes = [], pods }: Facts): LeaseRules | undefined {
  const cidr = network?.pools[4]?.cidr;
  if (network?.addresses !== 'dhcp' || cidr === undefined) return undefined;
  const gateways = [...(host.gateways ?? []), ...Object.values(network.physical?.gateways ?? {})];
  return {
    network: cidr,
    ownerOf: (ip: Ip) => {
      if (host.addresses.includes(ip)) return 'an address of this node';
      if (gateways.includes(ip)) return 'a gateway';
      const node = nodes.find(({ addresses }) => Object.values(addresses).includes(ip));
      if (node) return `the address of node ${node.name}`;
      return pods.list().some(({ addresses }) => addresses.includes(ip)) ? 'another pod’s' : undefined;
    },
  };
}
