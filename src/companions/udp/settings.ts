import { type Family, familyOf, type Ip, parseIp } from '../../ip/address.ts';
import { type Cidr, parseCidr } from '../../ip/cidr.ts';

/** What the forwarder is to do; everything it knows. */
export type UdpSettings = {
  readonly device: string;
  /** UDP, of every node. */
  readonly port: number;
  /** This node's addresses on the underlay, at most one of each family. */
  readonly local: readonly Ip[];
  /** What errors about pods' packets come from, at most one of each family. */
  readonly router: readonly Ip[];
  /** Where packets for a subnet go. */
  readonly routes: readonly { readonly subnet: Cidr; readonly node: Ip }[];
  /** Further addresses that peers' packets may come from. */
  readonly senders: readonly Ip[];
};

/** A line per fact, so that any program can read it. */
export function settingsText({ device, port, local, router, routes, senders }: UdpSettings): string {
  const lines = [
    `device ${device}`,
    `port ${port}`,
    ...local.map((ip) => `local ${ip}`),
    ...router.map((ip) => `router ${ip}`),
    ...routes.map(({ subnet, node }) => `route ${subnet} ${node}`),
    ...senders.map((ip) => `sender ${ip}`),
    'end',
  ];
  return `${lines.join('\n')}\n`;
}

/** Throws for a text that is cut off or says something else. */
export function parseSettings(text: string): UdpSettings {
  const lines = text.split('\n').filter((line) => line !== '');
  if (lines.pop() !== 'end') throw new Error('the settings are cut off');
  const values = (name: string): string[][] =>
    lines
      .map((line) => line.split(' '))
      .filter(([first]) => first === name)
      .map(([, ...rest]) => rest);
  const ips = (name: string): Ip[] => values(name).map(([ip = '']) => parseIp(ip));
  const [[device = ''] = []] = values('device');
  const [[port = ''] = []] = values('port');
  if (device === '' || !/^\d+$/.test(port)) throw new Error('the settings name no device or port');
  return {
    device,
    port: Number(port),
    local: ips('local'),
    router: ips('router'),
    routes: values('route').map(([subnet = '', node = '']) => ({
      subnet: parseCidr(subnet),
      node: parseIp(node),
    })),
    senders: ips('sender'),
  };
}

/** The address of a family. */
export function ofFamily(ips: readonly Ip[], family: Family): Ip | undefined {
  return ips.find((ip) => familyOf(ip) === family);
}
