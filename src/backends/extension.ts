import { parseCommand, type Word } from '../cluster/command.ts';
import type { Fields } from '../cluster/fields.ts';
import type { Node } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import type { Backend, PeerItems } from './backend.ts';

/** What a companion runs, and what it tells it in variables. */
export type Command = {
  /** The option's name. */
  readonly name: string;
  /** As configured. */
  readonly text: string;
  /** Undefined: a shell reads the text. */
  readonly words: readonly Word[] | undefined;
};

export type ExtensionOptions = {
  readonly preStartup: Command | undefined;
  readonly postStartup: Command | undefined;
  readonly subnetAdd: Command | undefined;
  readonly subnetRemove: Command | undefined;
  /** Seconds after which a command is ended. */
  readonly timeout: number;
  readonly mtu: number | undefined;
};

export type ExtensionFacts = {
  /** What PreStartupCommand has written, for the peers' commands; undefined where there is none. */
  readonly data: string | undefined;
};

/** flannel spells the IPv6 subnet in both ways. */
const OF_LEASE = ['SUBNET', 'PUBLIC_IP', 'IPV6_SUBNET', 'IPV6SUBNET', 'PUBLIC_IPV6'];
const OF_NODE = ['NETWORK', 'IPV6_NETWORK', ...OF_LEASE];

/** Seconds. */
const TIMEOUT = 30;

/**
 * flannel's hook for what it does not know: commands of the configuration carry packets between nodes. This
 * node's kernel holds nothing of it that we compute; the companion runs the commands.
 */
export const extension: Backend<ExtensionOptions, ExtensionFacts> = {
  type: 'extension',
  options: readOptions,
  overhead: () => 0,
  underlayMtu: ({ mtu }) => mtu,
  // flannel's nodes publish it as a JSON string, too.
  data: ({ companion }) => companion?.data,
  device: () => [],
  peer,
};

function readOptions(fields: Fields): ExtensionOptions {
  const usesShell = fields.boolean('shell') ?? false;
  const read = (name: string, variables: readonly string[]): Command | undefined => {
    const text = fields.string(name)?.trim();
    if (!text) return undefined;
    const words = fields.parsed(name, () => {
      // A program's arguments end at the first null byte.
      if (text.includes('\0')) throw new Error('contains a null byte');
      return usesShell ? undefined : parseCommand(text, variables);
    });
    return { name, text, words };
  };
  return {
    preStartup: read('PreStartupCommand', []),
    postStartup: read('PostStartupCommand', OF_NODE),
    subnetAdd: read('SubnetAddCommand', OF_LEASE),
    subnetRemove: read('SubnetRemoveCommand', OF_LEASE),
    timeout: fields.integer('timeout', 1, 3600) ?? TIMEOUT,
    mtu: fields.integer('MTU', 0, 65535) || undefined,
  };
}

function peer(_self: unknown, node: Node, _options: ExtensionOptions, family: Family): PeerItems {
  return hasText(node, family)
    ? { items: [] }
    : { items: [], warning: 'its BackendData is no text: no command is run for it' };
}

/** Whether the data is what PreStartupCommand writes, or absent. */
export function hasText({ backend }: Node, family: Family): boolean {
  const data = backend.data[family] ?? '';
  return typeof data === 'string';
}
