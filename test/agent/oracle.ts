import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { tableText } from '../../src/linux/nftables/values/render.ts';
import type { Item } from '../../src/state/item.ts';
import type { LinkItem } from '../../src/state/kinds/link/item.ts';
import type { NftTableItem } from '../../src/state/kinds/nft-table.ts';
import type { SysctlItem } from '../../src/state/kinds/sysctl.ts';

const exec = promisify(execFile);

/** RFC 8200 §5. */
const IPV6_MIN_MTU = 1280;

/** A pod's end of its veth, which no item describes. */
export type PodEnd = { readonly netns: string; readonly mtu: number };

/**
 * Lists what a node's kernel holds, as reported by `ip`, `bridge` and `nft`, one line each: everything except
 * the underlay, loopback, link-local addresses and what the kernel adds itself. Independent of how flatnet
 * reads the kernel.
 */
export async function actualLines(
  netns: string,
  sysctls: readonly SysctlItem[],
  pods: readonly PodEnd[],
): Promise<string[]> {
  const commands = [
    'ip -j -d link show',
    'ip -j address show',
    'ip -j -4 route show table all',
    'ip -j -6 route show table all',
    'ip -j neigh show nud all',
    'bridge -j fdb show',
    'nft -s list ruleset',
    ...sysctls.map(({ path }) => `cat /proc/sys/${path}`),
    ...pods.map((pod) => `ip -n ${pod.netns} -j link show eth0`),
  ];
  const [links, addresses, routes4, routes6, neighbours, fdb, ruleset = '', ...rest] = await shell(
    netns,
    commands,
  );
  const withoutIpv6 = json(links)
    .filter(({ mtu }) => Number(mtu) < IPV6_MIN_MTU)
    .map(({ ifname }) => ifname as string);
  const lines = [
    ...json(links).flatMap(linkLine),
    ...json(addresses).flatMap(addressLines),
    ...[routes4, routes6].flatMap((text) => json(withRemote(text)).flatMap(routeLine)),
    ...json(neighbours).flatMap(neighbourLine),
    ...json(fdb).flatMap(fdbLine),
    ...tables(ruleset),
    ...sysctls.map((item, i) => sysctlLine(item, (rest[i] ?? '').trim(), withoutIpv6)),
    ...pods.map(({ netns: pod }, i) => `pod ${pod} mtu ${json(rest[sysctls.length + i])[0]?.mtu}`),
  ];
  return lines.sort();
}

/**
 * The same lines for a desired state. nft runs in `scratch`, a dedicated namespace, to show how it lists a
 * table.
 */
export async function expectedLines(
  items: readonly Item[],
  pods: readonly PodEnd[],
  scratch: string,
): Promise<string[]> {
  const lines = pods.map(({ netns, mtu }) => `pod ${netns} mtu ${mtu}`);
  for (const item of items) {
    if (item.kind === 'nft-table') lines.push(...tables(await listing(item, items, scratch)));
    else if (item.kind !== 'nft-element') lines.push(expectedLine(item));
  }
  return lines.sort();
}

/** The differences, one line each: `-` is missing in the kernel, `+` should not be there. */
export function compare(expected: readonly string[], actual: readonly string[]): string[] {
  const [want, have] = [new Set(expected), new Set(actual)];
  return [
    ...expected.filter((line) => !have.has(line)).map((line) => `- ${line}`),
    ...actual.filter((line) => !want.has(line)).map((line) => `+ ${line}`),
  ];
}

type Json = Readonly<Record<string, unknown>>;

/**
 * Runs commands in a namespace in one shell and returns their outputs. Ignores failures, which a device that
 * appears or disappears meanwhile may cause.
 */
async function shell(netns: string, commands: readonly string[]): Promise<string[]> {
  const script = commands.map((command) => `${command} 2>/dev/null; echo '%%'`).join('\n');
  const { stdout } = await exec('ip', ['netns', 'exec', netns, 'sh', '-c', script], { maxBuffer: 1 << 26 });
  return stdout.split('%%\n');
}

function json(text = ''): Json[] {
  const value: unknown = text.trim() === '' ? [] : JSON.parse(text);
  // iproute2 prints empty objects for filtered entries.
  return Array.isArray(value) ? value.filter((each) => Object.keys(each).length > 0) : [];
}

function inner(value: unknown): Json {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

const BELOW = ['lo', 'eth0'];

function linkLine(link: Json): string[] {
  if (BELOW.includes(String(link.ifname))) return [];
  const info = inner(link.linkinfo);
  const up = (link.flags as string[]).includes('UP') ? 'up' : 'down';
  const common = `mtu ${link.mtu} ${up}`;
  if (info.info_kind === 'veth') {
    const hairpin = inner(info.info_slave_data).hairpin ?? false;
    return [`link ${link.ifname} port of ${link.master} hairpin ${hairpin} ${common}`];
  }
  const made = `${common} address ${link.address} alias '${link.ifalias}'`;
  if (info.info_kind !== 'vxlan') return [`link ${link.ifname} ${info.info_kind} ${made}`];
  const data = inner(info.info_data);
  const checksum = data.udp_csum;
  const local = data.local ?? data.local6;
  const flags = `learning ${data.learning} gbp ${data.gbp ?? false}`;
  return [
    `link ${link.ifname} vxlan id ${data.id} local ${local} dev ${data.link} dstport ${data.port} ${flags}` +
      // The flag concerns IPv4 only.
      (String(local).includes(':') ? ` ${made}` : ` udpcsum ${checksum} ${made}`),
  ];
}

function addressLines(link: Json): string[] {
  if (BELOW.includes(String(link.ifname))) return [];
  return (link.addr_info as Json[])
    .filter((info) => info.local !== undefined && info.scope !== 'link')
    .map((info) => `address ${info.local}/${info.prefixlen} dev ${link.ifname}`);
}

/** `ip` gives a lightweight tunnel's ends the same names as the route's. */
function withRemote(text = ''): string {
  return text.replace(/("encap":"[^"]*","id":\d+,)(?:"src":"[^"]*",)?"dst"/g, '$1"remote"');
}

function routeLine(route: Json): string[] {
  // Routes of the kernel and of the administrator.
  if (route.protocol === 'kernel' || route.protocol === 'static' || route.dst === 'default') return [];
  const words = [`route ${route.type ?? 'unicast'} ${route.dst}`];
  if (route.remote !== undefined) words.push(`encap ${route.remote}`);
  if (route.gateway !== undefined) words.push(`via ${route.gateway}`);
  words.push(`dev ${route.dev}`, `proto ${route.protocol}`);
  if ((route.flags as string[]).includes('onlink')) words.push('onlink');
  if (route.table !== undefined) words.push(`table ${route.table}`);
  return [words.join(' ')];
}

function neighbourLine(neighbour: Json): string[] {
  const permanent = (neighbour.state as string[]).includes('PERMANENT');
  return permanent ? [`neigh ${neighbour.dst} lladdr ${neighbour.lladdr} dev ${neighbour.dev}`] : [];
}

function fdbLine(entry: Json): string[] {
  return entry.dst === undefined
    ? []
    : [`fdb ${entry.mac} dst ${entry.dst} dev ${entry.ifname} ${entry.state}`];
}

/**
 * A setting that replaces only a certain value accepts any other; IPv6 has no settings on a device whose MTU
 * is too small for it (addrconf_notify).
 */
function sysctlLine(
  { path, value, when }: SysctlItem,
  actual: string,
  withoutIpv6: readonly string[],
): string {
  const isAbsent = actual === '' && withoutIpv6.some((dev) => path.startsWith(`net/ipv6/conf/${dev}/`));
  return `sysctl ${path}=${isAbsent || (when !== undefined && actual !== when) ? value : actual}`;
}

/** A ruleset table by table: nft lists them by age. */
function tables(ruleset: string): string[] {
  return ruleset
    .split(/^(?=table )/m)
    .map((text) => text.trim())
    .filter(Boolean);
}

function expectedLine(item: Exclude<Item, { kind: 'nft-table' | 'nft-element' }>): string {
  switch (item.kind) {
    case 'link':
      return expectedLink(item);
    case 'address':
      return `address ${item.address} dev ${item.dev}`;
    case 'route': {
      const dst = item.dst.replace(/\/(32|128)$/, (length) =>
        length === (item.dst.includes(':') ? '/128' : '/32') ? '' : length,
      );
      const via = item.via === undefined ? '' : ` via ${item.via}`;
      const encap = item.encapsulation ? ` encap ${item.encapsulation.dst}` : '';
      return `route ${item.type} ${dst}${encap}${via} dev ${item.dev} proto ${item.protocol}${item.onlink ? ' onlink' : ''}`;
    }
    case 'neighbour':
      return `neigh ${item.ip} lladdr ${item.mac} dev ${item.dev}`;
    case 'fdb':
      return `fdb ${item.mac} dst ${item.dst} dev ${item.dev} permanent`;
    case 'sysctl':
      return `sysctl ${item.path}=${item.value}`;
    case 'qdisc':
    case 'redirect':
      return `${item.kind} ${item.dev}`;
    case 'rule':
      return `rule ${item.priority}`;
    default:
      return unlisted(item);
  }
}

/** The compiler names a kind of item that has no line yet. */
function unlisted(item: never): never {
  throw new Error(`no line for ${JSON.stringify(item)}`);
}

function expectedLink({ name, link, mtu, up, mac, alias, master, port }: LinkItem): string {
  const common = `mtu ${mtu} ${up ? 'up' : 'down'}`;
  if (link.type === 'existing') return `link ${name} port of ${master} hairpin ${port?.hairpin} ${common}`;
  const made = `${common} address ${mac} alias '${alias}'`;
  if (link.type !== 'vxlan') return `link ${name} ${link.type} ${made}`;
  const flags = `learning ${link.learning} gbp ${link.gbp}`;
  return (
    `link ${name} vxlan id ${link.vni} local ${link.local} dev ${link.dev} dstport ${link.port} ${flags}` +
    (link.local.includes(':') ? ` ${made}` : ` udpcsum ${link.udpChecksum ?? false} ${made}`)
  );
}

const listed = new Map<string, string>();

/** Serialises use of the scratch namespace. */
let turn: Promise<unknown> = Promise.resolve();

async function listing(table: NftTableItem, items: readonly Item[], scratch: string): Promise<string> {
  const elements = items
    .filter((item) => item.kind === 'nft-element')
    .filter((item) => item.family === table.family && item.table === table.table);
  const text = tableText(table, elements);
  const work = async (): Promise<string> => {
    const known = listed.get(text);
    if (known !== undefined) return known;
    const script = `nft flush ruleset; printf '%s' "$1" | nft -f - && nft -s list ruleset`;
    const { stdout } = await exec('ip', ['netns', 'exec', scratch, 'sh', '-c', script, 'sh', text]);
    listed.set(text, stdout);
    return stdout;
  };
  const result = turn.then(work);
  turn = result.catch(() => undefined);
  return result;
}
