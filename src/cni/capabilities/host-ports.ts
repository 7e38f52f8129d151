import { Fields } from '../../cluster/fields.ts';
import { collide, type HostPort, hostPortText, PORT_PROTOCOLS } from '../../cluster/host-port.ts';
import { type Family, familyOf, type Ip, parseIp } from '../../ip/address.ts';
import { CniError, CODE } from '../protocol/error.ts';

const KEY = 'runtimeConfig.portMappings';

/**
 * Returns the host ports that a call asks for: `runtimeConfig.portMappings`, `[{hostPort, containerPort,
 * protocol, hostIP}]`. Kubelets also list ports that have no host port; these are skipped. Throws
 * CONFIG_INVALID naming the field.
 */
export function readHostPorts(conf: Fields): readonly HostPort[] {
  const list = conf.object('runtimeConfig')?.list('portMappings') ?? [];
  const ports: HostPort[] = [];
  for (const [i, entry] of list.entries()) {
    const fields = new Fields(entry, `${KEY}[${i}]`);
    const port = readHostPort(fields);
    if (!port) continue;
    const same = ports.find((each) => collide(each, port) && each.hostIp === port.hostIp);
    if (same && same.containerPort !== port.containerPort)
      throw fields.invalid('hostPort', `${hostPortText(port)} already leads to port ${same.containerPort}`);
    if (!same) ports.push(port);
  }
  return ports;
}

function readHostPort(fields: Fields): HostPort | undefined {
  const hostPort = fields.integer('hostPort', 0, 65535) ?? 0;
  if (hostPort === 0) return undefined;
  const containerPort = fields.integer('containerPort', 1, 65535);
  if (containerPort === undefined) throw fields.invalid('containerPort', 'is missing');
  const hostIp = fields.parsed('hostIP', (text) => (text === '' ? undefined : parseIp(text)));
  const protocol = fields.parsed('protocol', readProtocol) ?? 'tcp';
  return { protocol, hostPort, containerPort, ...(hostIp !== undefined && { hostIp }) };
}

function readProtocol(text: string): HostPort['protocol'] {
  const protocol = PORT_PROTOCOLS.find((name) => name === (text.toLowerCase() || 'tcp'));
  if (protocol) return protocol;
  throw new Error(`must be ${PORT_PROTOCOLS.join(', ')}, not '${text}'`);
}

/**
 * Throws CniError 7 for a host port at an address of a family in which the pod has none. `families`: those of
 * the network.
 */
export function checkFamilies(
  ports: readonly HostPort[],
  addresses: readonly Ip[],
  families: readonly Family[],
): void {
  const reachable = new Set(addresses.map(familyOf).filter((family) => families.includes(family)));
  for (const port of ports) {
    const { hostIp } = port;
    if (hostIp === undefined ? reachable.size > 0 : reachable.has(familyOf(hostIp))) continue;
    const family = hostIp === undefined ? '' : ` IPv${familyOf(hostIp)}`;
    throw new CniError(CODE.INVALID_CONFIG, `${KEY}: ${hostPortText(port)}: the pod has no${family} address`);
  }
}
