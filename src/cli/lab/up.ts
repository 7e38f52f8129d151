import { Option } from 'commander';
import { BACKENDS } from '../../backends/registry.ts';
import { Fields } from '../../cluster/fields.ts';
import { type Network, readNetwork } from '../../cluster/network.ts';
import { parseNetworkFile, readNetworkFile } from '../../cluster/network-file.ts';
import { isPhysical, WIRING_NAMES, type WiringName } from '../../cluster/wiring.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import { familyOf } from '../../ip/address.ts';
import { parseCidr } from '../../ip/cidr.ts';
import { splitWarning } from '../../lab/bgp/topology.ts';
import {
  PRESET_NAMES,
  type PresetName,
  withBackend,
  withPolicies,
  withPreset,
  withWiring,
} from '../../lab/network.ts';
import { labFlag } from '../../lab/record/lab.ts';
import { TOR_PROGRAMS, type TorProgram } from '../../lab/record/topology.ts';
import { up } from '../../lab/up.ts';
import { integer, newCommand } from '../shared/commands.ts';
import { stopSignal } from '../shared/daemon.ts';
import { inFile, ofFile, warnUnknownKeys } from '../shared/network.ts';
import { Progress, print } from '../shared/output.ts';
import { readText } from '../shared/read-text.ts';
import { type LabOptions, labOptions } from './shared.ts';

type Options = LabOptions & {
  readonly nodes: number;
  readonly subnets: number;
  readonly preset?: PresetName;
  readonly backend?: string;
  readonly wiring?: WiringName;
  readonly reflectors?: number;
  readonly tor?: TorProgram;
  readonly network?: string;
  readonly config?: string;
  readonly policy?: boolean;
  readonly keep?: boolean;
};

export const command = labOptions(
  newCommand('Start a lab; returns when every node can take pods.', [
    'flatnet lab up',
    'flatnet lab up --nodes 5 --subnets 2',
    'flatnet lab up --backend host-gw --lab second',
    'flatnet lab up --wiring macvlan',
    'flatnet lab up --policy',
    'flatnet lab up --preset calico-bgp --nodes 4 --reflectors 2',
    'flatnet lab up --preset calico-bgp --nodes 4 --subnets 2 --tor',
    'flatnet lab up --network 10.244.0.0/16,fd00:10:244::/56',
    'flatnet lab up --config net-conf.json',
  ]),
)
  .option('--nodes <n>', 'number of nodes', integer(1, 200), 3)
  .option('--subnets <k>', 'number of underlay subnets, connected by a router', integer(1, 16), 1)
  .addOption(
    new Option(
      '--preset <name>',
      'flannel: a subnet per node, bridges; calico: blocks, routed pods, BGP, IPIP; calico-bgp: the same without IPIP (default: flannel)',
    ).choices(PRESET_NAMES),
  )
  .option('--backend <type>', `${BACKENDS.map(({ type }) => type).join(', ')} (default: vxlan)`)
  .addOption(
    new Option(
      '--wiring <name>',
      'how pods are attached; with macvlan and ipvlan they are in the network of the nodes (default: bridge)',
    ).choices(WIRING_NAMES),
  )
  .option(
    '--network <cidr>',
    'pod network, or an IPv4 and an IPv6 network separated by a comma (default: 10.244.0.0/16, or that of the nodes)',
  )
  .option('--config <file>', "flannel's net-conf.json, or the same keys as YAML")
  .option(
    '--reflectors <n>',
    'make the first n nodes BGP route reflectors and turn off the mesh',
    integer(1, 200),
  )
  .addOption(
    new Option(
      '--tor [program]',
      'add a top-of-rack router to each subnet that speaks BGP with its nodes: bird or frr',
    )
      .choices(TOR_PROGRAMS)
      .preset('bird'),
  )
  .option('--policy', 'enforce network policies, which flatnet lab apply writes')
  .option('--keep', 'after a failure, leave everything in place for inspection')
  .action(async (options: Options) => {
    const network = networkOf(options);
    const { reflectors, tor } = options;
    const bgp = { ...(reflectors !== undefined && { reflectors }), ...(tor !== undefined && { tor }) };
    const warning = splitWarning({ ...options, network, bgp });
    if (warning !== undefined) process.stderr.write(`warning: ${warning}\n`);
    const begun = performance.now();
    using progress = new Progress(options.json === true);
    const lab = await up({
      ...options,
      name: options.lab,
      network,
      bgp,
      progress: progress.say,
      signal: stopSignal(),
    }).catch((error: unknown) => {
      throw options.config === undefined ? error : ofFile(options.config, error);
    });
    progress[Symbol.dispose]();
    const seconds = Number(((performance.now() - begun) / 1000).toFixed(1));
    print({ lab: lab.name, nodes: lab.nodes, backend: network.backend.type, seconds }, options.json, () => {
      const option = labFlag(lab.name);
      const names = lab.nodes.map((node) => node.name);
      return `lab '${lab.name}' is up in ${seconds} s: ${names.join(' ')} (${network.backend.type})
next: flatnet lab pod create web${option}; flatnet lab matrix${option}; ip netns exec ${lab.name}-${names[0]} ip route`;
    });
  });

function networkOf({ config, network, backend, preset, wiring, policy }: Options): Network {
  if (config !== undefined && network !== undefined) {
    throw new FlatnetError('--config and --network both define the pod network', {
      code: 'USAGE',
      object: '--network',
      fix: 'use one of them',
    });
  }
  if (backend === 'bgp' && config === undefined && preset === undefined) {
    throw new FlatnetError('bgp needs routed pods', {
      code: 'USAGE',
      object: '--backend',
      fix: 'use --preset calico-bgp instead',
    });
  }
  const complete = (value: unknown): unknown => {
    const { source: written } = new Fields(value);
    const wired = wiring === undefined ? written : withWiring(wiring, written);
    const source = policy ? withPolicies(wired) : wired;
    if (backend === undefined) return preset === undefined ? source : withPreset(preset, source);
    return asOption('--backend', () => {
      const chosen = withBackend(backend, source);
      return preset === undefined ? chosen : withPreset(preset, chosen);
    });
  };
  const isOnPhysical = wiring !== undefined && isPhysical(wiring);
  if (config === undefined)
    return readNetwork(
      complete(network === undefined && isOnPhysical ? {} : fromCidrs(network ?? '10.244.0.0/16')),
    );
  const text = readText(config, 'CONFIG_INVALID');
  const read = readNetworkFile(text, config, complete);
  inFile(config, () => warnUnknownKeys(parseNetworkFile(text, config)));
  return read;
}

/** Attributes an error in `Backend.Type` to the option that set it. */
function asOption<T>(option: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.object !== 'Backend.Type') throw error;
    const text = error.message.replace(`${error.object}: `, '');
    throw new FlatnetError(text, { code: 'USAGE', object: option, cause: error });
  }
}

function fromCidrs(text: string): Record<string, unknown> {
  const cidrs = text.split(',').map((part) => {
    try {
      return parseCidr(part.trim());
    } catch (error) {
      throw new FlatnetError(messageOf(error), { code: 'CONFIG_INVALID', object: '--network', cause: error });
    }
  });
  const v4 = cidrs.filter((cidr) => familyOf(cidr) === 4);
  const v6 = cidrs.filter((cidr) => familyOf(cidr) === 6);
  if (v4.length > 1 || v6.length > 1) {
    throw new FlatnetError(`'${text}' has two networks of the same family`, {
      code: 'CONFIG_INVALID',
      object: '--network',
      fix: 'write one IPv4 network, one IPv6 network, or both',
    });
  }
  return {
    EnableIPv4: v4.length > 0,
    EnableIPv6: v6.length > 0,
    ...(v4[0] && { Network: v4[0] }),
    ...(v6[0] && { IPv6Network: v6[0] }),
  };
}
