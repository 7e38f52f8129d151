import type { Rule } from '../model/policy.ts';
import { type IcmpKind, type Ports, protocolText, type Traffic } from '../model/traffic.ts';

/** Whom a rule is about at the other end, a line for each way to be meant: `pods app = client`. */
export function peersText({ peers }: Rule): readonly string[] {
  if (peers === undefined) return ['anyone'];
  return peers.map(({ are, areNot }) =>
    [...are.map(({ text }) => text), ...areNot.map(({ text }) => `not ${text}`)].join(' and '),
  );
}

/** Which traffic a rule is about, likewise: `TCP port 80, 8000-8080`. */
export function trafficText({ traffic }: Rule): readonly string[] {
  return traffic === undefined ? ['everything'] : traffic.map(oneText);
}

function oneText({ family, protocol, notProtocol, ports, notPorts, icmp, notIcmp }: Traffic): string {
  const parts = [
    family && `IPv${family}`,
    protocol !== undefined && protocolText(protocol),
    notProtocol !== undefined && `not ${protocolText(notProtocol)}`,
    ports && portsText(ports),
    notPorts && `not ${portsText(notPorts)}`,
    icmp && kindText(icmp),
    notIcmp && `not ${kindText(notIcmp)}`,
  ];
  return parts.filter(Boolean).join(' ') || 'everything';
}

function portsText({ ranges, names }: Ports): string {
  const numbers = ranges.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`));
  return `port ${[...numbers, ...names].join(', ') || 'none'}`;
}

function kindText({ type, code }: IcmpKind): string {
  return `type ${type}${code === undefined ? '' : ` code ${code}`}`;
}
