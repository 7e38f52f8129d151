import type { Fields } from '../../cluster/fields.ts';
import { type Mac, parseMac } from '../../ip/mac.ts';
import { readRangeSets } from '../../ipam/ranges.ts';
import { unsupported } from './error.ts';
import type { Invocation } from './invocation.ts';

/** The plugin type of our executable in configurations. */
export const TYPE = 'flatnet';

/**
 * The role our executable is called in: for a pod's `lo`, for an interface, or for addresses as the IPAM
 * delegate of another plugin (`ipam.type`).
 */
export type Role = 'loopback' | 'interface' | 'ipam';

export function roleOf(conf: Fields): Role {
  const type = conf.string('type') ?? TYPE;
  if (type === 'loopback') return 'loopback';
  return type !== TYPE && conf.object('ipam')?.string('type') === TYPE ? 'ipam' : 'interface';
}

/** Keys of newer reference plugins that would change the kernel's state, with the value that does not. */
const UNSUPPORTED: readonly (readonly [key: string, neutral: unknown])[] = [
  ['vlan', 0],
  ['preserveDefaultVlan', true],
  ['macspoofchk', false],
  ['enabledad', false],
  ['disableContainerInterface', false],
  ['portIsolation', false],
];
const UNSUPPORTED_CAPABILITIES = ['infinibandGUID', 'deviceID'];

/** Whether the agent decides on wiring and addresses: the configuration names neither a bridge nor ranges. */
export function isOurs(conf: Fields): boolean {
  return !conf.has('bridge') && !namesRanges(conf);
}

function namesRanges(conf: Fields): boolean {
  const ipam = conf.object('ipam');
  return (ipam?.string('type') ?? TYPE) !== TYPE || readRangeSets(conf.source).length > 0;
}

/** Throws CniError 2, naming the key, for features of the reference plugins that we don't support. */
export function rejectUnsupported(conf: Fields): void {
  const backend = conf.raw('ipMasqBackend');
  if (conf.boolean('ipMasq') && backend !== undefined && backend !== 'nftables') {
    throw unsupported('ipMasqBackend', backend, 'the agent masquerades with nftables');
  }
  for (const [key, neutral] of UNSUPPORTED) {
    const value = conf.raw(key);
    if (value !== undefined && value !== neutral) throw unsupported(key, value);
  }
  if (conf.list('vlanTrunk')?.length) throw unsupported('vlanTrunk', conf.raw('vlanTrunk'));
  const runtime = conf.object('runtimeConfig');
  for (const key of UNSUPPORTED_CAPABILITIES) {
    const value = runtime?.raw(key);
    // Runtimes send an empty string for anything a pod does not ask for.
    if (value) throw unsupported(`runtimeConfig.${key}`, value, 'chain the plugin that does this after us');
  }
}

/** A MAC that a runtime asks for, and the field that does. */
export type RequestedMac = { readonly mac: Mac; readonly field: string };

/**
 * The last of these wins, as in the reference plugins: `mac`, `args.cni.mac`, CNI_ARGS `MAC=`, `mac`
 * capability. An empty one asks for nothing.
 */
export function readMac({ conf, args }: Invocation): RequestedMac | undefined {
  const optional = (text = ''): Mac | undefined => (text === '' ? undefined : parseMac(text));
  const found: readonly (readonly [field: string, mac: Mac | undefined])[] = [
    ['runtimeConfig.mac', conf.object('runtimeConfig')?.parsed('mac', optional)],
    ['MAC in CNI_ARGS', optional(args.get('MAC'))],
    ['args.cni.mac', conf.object('args')?.object('cni')?.parsed('mac', optional)],
    ['mac', conf.parsed('mac', optional)],
  ];
  for (const [field, mac] of found) if (mac) return { mac, field };
  return undefined;
}
