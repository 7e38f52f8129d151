import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { PerFamily } from '../cluster/node.ts';
import { codeOf, FlatnetError, ioError, messageOf } from '../error.ts';
import { FAMILIES, type Family } from '../ip/address.ts';
import { type Cidr, lengthOf, nthIp, parseCidr, prefixed } from '../ip/cidr.ts';
import { replaceFileFlushed } from '../replace-file.ts';

/** The file flannel writes for its node's CNI plugin, by default `/run/flannel/subnet.env`. */
export type SubnetFile = {
  /** Pod networks; flannel writes one per family, its CNI plugin reads comma-separated lists. */
  readonly networks: PerFamily<readonly Cidr[]>;
  /** This node's subnets. */
  readonly subnets: PerFamily<Cidr>;
  /** Bytes. */
  readonly mtu: number;
  readonly masquerade: boolean;
};

const PREFIX: Record<Family, string> = { 4: 'FLANNEL_', 6: 'FLANNEL_IPV6_' };

/** Formats the file as flannel does: lines in a fixed order, each subnet as its first usable address. */
export function renderSubnetFile(file: SubnetFile): string {
  const lines = FAMILIES.flatMap((family) => {
    const subnet = file.subnets[family];
    if (!subnet) return [];
    return [
      `${PREFIX[family]}NETWORK=${(file.networks[family] ?? []).join(',')}`,
      `${PREFIX[family]}SUBNET=${prefixed(nthIp(subnet, 1), lengthOf(subnet))}`,
    ];
  });
  return `${[...lines, `FLANNEL_MTU=${file.mtu}`, `FLANNEL_IPMASQ=${file.masquerade}`].join('\n')}\n`;
}

/** Parses the file, ignoring unknown lines and duplicate list entries. Throws CONFIG_INVALID with the key. */
export function parseSubnetFile(text: string): SubnetFile {
  const values = new Map(
    [...text.matchAll(/^[ \t]*(FLANNEL_[A-Z0-9_]+)=(.*)$/gm)].map(([, key = '', value = '']) => [
      key,
      value.trim().replace(/^(["'])(.*)\1$/, '$2'),
    ]),
  );
  const cidrs = (key: string): Cidr[] => {
    const list = (values.get(key) ?? '').split(',').filter((part) => part.trim() !== '');
    try {
      return [...new Set(list.map((part) => parseCidr(part.trim())))];
    } catch (error) {
      throw invalid(key, messageOf(error), error);
    }
  };
  const mtu = Number(values.get('FLANNEL_MTU') ?? '0');
  if (!Number.isInteger(mtu) || mtu < 0)
    throw invalid('FLANNEL_MTU', `'${values.get('FLANNEL_MTU')}' is not a number`);
  const networks: { [F in Family]?: readonly Cidr[] } = {};
  const subnets: { [F in Family]?: Cidr } = {};
  for (const family of FAMILIES) {
    const [subnet] = cidrs(`${PREFIX[family]}SUBNET`);
    if (!subnet) continue;
    subnets[family] = subnet;
    networks[family] = cidrs(`${PREFIX[family]}NETWORK`);
  }
  return { networks, subnets, mtu, masquerade: values.get('FLANNEL_IPMASQ') === 'true' };
}

/** Reads the file; undefined when there is none. Throws IO, or CONFIG_INVALID like `parseSubnetFile`. */
export async function readSubnetFile(path: string): Promise<SubnetFile | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw ioError('read', path, error);
  }
  return parseSubnetFile(text);
}

/**
 * Replaces the file atomically, mode 0644, creating its directory if missing: readers see the old text or the
 * new.
 */
export async function writeSubnetFile(path: string, file: SubnetFile): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await replaceFileFlushed(path, renderSubnetFile(file), 0o644);
  } catch (error) {
    throw ioError('write', path, error);
  }
}

function invalid(key: string, text: string, cause?: unknown): FlatnetError {
  return new FlatnetError(text, { code: 'CONFIG_INVALID', object: key, cause });
}
